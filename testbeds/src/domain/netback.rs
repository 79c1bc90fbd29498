//! The driver domain: serves every vif that comes, with the wire its guest asks for.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use backend::wire::{Bridge, BridgePort, Reflect};
use backend::{Config, Netback, Queue, VifEvent, VifId};
use rings::DomId;
use rings::store::{Nodes, keys, xenbus};
use rings_host::HostDomain;
use tracer::traced;

use super::asked::asked;
use super::consoled::Daemon;
use super::crew::Crew;
use super::process::{StopFlag, Wanted, grant_mode, live};
use super::reports;
use super::wired::Wired;
use super::worker::Told;
use crate::config::{self, NetConfig, NetbackConfig, WireKind};
use crate::workload::{Job, Place, Role, build, made};

/// The backend's Ethernet address, as Linux gives it to its vifs.
pub(super) const MAC: [u8; 6] = [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff];

/// Between two looks at signals and workers.
const STEP: Duration = Duration::from_millis(20);
/// Pairs of rings we offer each vif.
const MAX_QUEUES: u32 = 8;

/// Runs this process as the driver domain of the lab in `config.run.dir`, until told to stop.
///
/// # Errors
/// If there is no lab.
pub fn run(config: &NetbackConfig, stop: &StopFlag) -> anyhow::Result<()> {
    let wanted = Wanted { name: "netback", domid: Some(DomId::DOM0), pool_frames: 1, needs: None };
    live(&wanted, &config.run, |domain| Driver::start(domain, config)?.serve(stop))
}

struct Driver {
    config: NetbackConfig,
    netback: Netback<HostDomain>,
    crew: Crew<VifId>,
    /// The bridge between guests that ask for it; all its queues are on the first worker.
    bridge: Arc<Mutex<Bridge<HostDomain>>>,
    /// The guests' consoles, if we serve those too.
    consoles: Option<Daemon>,
}

impl Driver {
    fn start(domain: &HostDomain, config: &NetbackConfig) -> anyhow::Result<Self> {
        if let Some(path) = &config.out {
            // Its own affair, and no guest's.
            made(path)?;
        }
        let run = &config.run;
        let crew = Crew::of_backend(domain, run)?;
        let netback = Netback::new(
            domain,
            Config {
                max_queues: MAX_QUEUES,
                grant: grant_mode(run),
                // Four batches of the usual size: what a ring of 256 slots holds is not waited for.
                batch: (run.batch as usize * 4).min(256),
                always_notify: run.notify == config::NotifyPolicy::Always,
                timers: config.timers.into(),
            },
        )?;
        let bridge = Arc::new(Mutex::new(Bridge::new()));
        let consoles = run.console.then(|| Daemon::beside_backend(domain, run)).transpose()?;
        Ok(Self { config: config.clone(), netback, crew, bridge, consoles })
    }

    fn serve(mut self, stop: &StopFlag) -> anyhow::Result<()> {
        while !stop.is_set() {
            for event in self.netback.step(STEP)? {
                match event {
                    VifEvent::Connected(id, queues) => self.connected(id, queues)?,
                    VifEvent::Disconnect(id) => self.disconnect(id)?,
                }
            }
            while let Some(told) = self.crew.hear(Duration::ZERO)? {
                self.hear(told)?;
            }
            if let Some(consoles) = &mut self.consoles {
                consoles.step(Duration::ZERO)?;
            }
        }
        self.consoles.take().map(Daemon::end).transpose()?;
        self.crew.stop();
        Ok(())
    }

    /// A vif is up: puts its queues on workers, with what its guest asked for behind them.
    #[traced]
    fn connected(&mut self, id: VifId, queues: Vec<Queue<HostDomain>>) -> anyhow::Result<()> {
        let path = format!("/local/domain/{}/{}", id.front, reports::WORKLOAD);
        let workload = match self.netback.store().read_if_present(&path) {
            Err(why) if why.is_answer() => return Ok(self.netback.rogue(id, &why.to_string())?),
            read => read?,
        };
        // A guest that is none of ours asks for nothing: it gets its own frames back.
        let config = match workload.map(|text| asked(&text, &self.config)).transpose() {
            Ok(config) => config,
            Err(why) => return Ok(self.netback.rogue(id, &why)?),
        };
        // Bare frames are for whoever the guest takes itself for.
        let path = format!("/local/domain/{}/device/vif/{}/{}", id.front, id.handle, keys::MAC);
        let other_mac = match xenbus::read_mac(self.netback.store(), &path) {
            Err(why) if why.is_answer() => return Ok(self.netback.rogue(id, &why.to_string())?),
            read => read?,
        };
        let count = u32::try_from(queues.len())?;
        for (n, mut queue) in queues.into_iter().enumerate() {
            if let Some(config) = &config {
                queue.lose_frames(config.drop, config.run.seed.wrapping_add(n as u64));
            }
            let place = Place {
                role: Role::Server,
                own: 0,
                other: id.front.0,
                mac: MAC,
                other_mac,
                queue: (u32::try_from(n)?, count),
            };
            let bridged = config.as_ref().is_some_and(|c| c.wire == WireKind::Bridge);
            let job = match self.job(queue, config.as_ref(), &place) {
                Ok(Some(job)) => job,
                Ok(None) => continue,
                // It is this guest's: the others are served.
                Err(why) => return Ok(self.netback.rogue(id, &format!("{why:#}"))?),
            };
            if bridged {
                self.crew.add_to(0, id, job);
            } else {
                self.crew.add(id, job);
            }
        }
        Ok(())
    }

    #[traced]
    fn job(
        &mut self,
        queue: Queue<HostDomain>,
        config: Option<&NetConfig>,
        place: &Place,
    ) -> anyhow::Result<Option<Box<dyn Job>>> {
        Ok(match config.map(|config| (config, config.wire)) {
            None | Some((_, WireKind::Reflect)) => {
                Some(Box::new(Wired::reflect(Reflect::new(queue))))
            }
            Some((_, WireKind::Bridge)) => {
                Some(Box::new(Wired::bridge(BridgePort::join(&self.bridge, queue))))
            }
            Some((config, WireKind::Sink | WireKind::Stack)) => {
                build(backend::Nic::new(queue, config.gso, config.mtu), config, place)?
            }
        })
    }

    #[traced]
    fn disconnect(&mut self, id: VifId) -> anyhow::Result<()> {
        // A sink serves no jobs: there is nobody to wait for.
        if !self.crew.remove(id) {
            self.netback.disconnected(id)?;
        }
        Ok(())
    }

    #[traced]
    fn hear(&mut self, told: Told<VifId>) -> anyhow::Result<()> {
        match told {
            Told::Finished(id, Some(why)) => self.netback.rogue(id, &why)?,
            Told::Finished(_, None) => {}
            Told::Stalled(id, stalled) => self.netback.stalled(id, stalled)?,
            Told::Removed(id, report) => {
                let dir = format!("backend/vif/{}/{}", id.front, id.handle);
                reports::leave(self.netback.store(), &dir, &report)?;
                self.netback.disconnected(id)?;
            }
        }
        Ok(())
    }
}
