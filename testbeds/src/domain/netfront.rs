//! A guest: connects its vif, runs its end of the workload, and reports.

use std::time::Duration;

use frontend::{Config, Features, Netfront, Wanted as WantedFeatures};
use rings::store::{Nodes, StoreError, XenbusState};
use rings::{DomId, Domain};
use rings_host::HostDomain;
use tracer::traced;

use super::crew::Crew;
use super::log_console::log_to_console;
use super::netback::MAC;
use super::otherend::{self, Other};
use super::process::{StopFlag, Wanted, live};
use super::reports::{self, FrontReport, Outcome};
use crate::config::{NetConfig, NetPath};
use crate::workload::{Place, Role, build};

/// How long it may take to let go at the end.
const FAREWELL: Duration = Duration::from_secs(5);
/// Added to a guest's number: the other end of what it says to itself.
const LOOPBACK: u16 = 100;

/// Runs this process as a guest of the lab in `config.run.dir`.
///
/// # Errors
/// Whatever keeps the run from taking place.
pub fn run(config: &NetConfig, domid: Option<u16>, stop: &StopFlag) -> anyhow::Result<FrontReport> {
    let domid = domid.map(DomId);
    let wanted = Wanted {
        name: "netfront",
        domid,
        pool_frames: pool_frames(config)?,
        needs: Some("netback"),
    };
    live(&wanted, &config.run, |domain| {
        let _route = config.run.console.then(|| log_to_console(domain)).transpose()?;
        let _watch = otherend::watch(domain.dir(), &config.run, partner(config.path, domain))?;
        stop.unheard(|| Guest::connect(domain, config))?.run(stop)
    })
}

/// Frames for all queues, and some room.
fn pool_frames(config: &NetConfig) -> anyhow::Result<u32> {
    Ok(u32::try_from(config.queues as usize * frontend::QUEUE_FRAMES + 64)?)
}

/// Without whom this guest gets nowhere, beside netback.
fn partner(path: NetPath, domain: &HostDomain) -> Vec<Other> {
    match path {
        NetPath::Bridge => {
            vec![Other::Domain(DomId(part(path, domain.domid().0).1), "netfront")]
        }
        NetPath::Backend | NetPath::Loopback => Vec::new(),
    }
}

/// Which part a guest plays, and with whom: on a bridge guests talk in pairs.
fn part(path: NetPath, own: u16) -> (Role, u16) {
    match path {
        NetPath::Bridge if own.is_multiple_of(2) => (Role::Server, own - 1),
        NetPath::Bridge => (Role::Client, own + 1),
        NetPath::Backend => (Role::Client, 0),
        // Both ends are here; the other one has a number that no guest has.
        NetPath::Loopback => (Role::Client, own + LOOPBACK),
    }
}

struct Guest {
    domain: HostDomain,
    config: NetConfig,
    netfront: Netfront<HostDomain>,
    queues: Vec<frontend::Queue<HostDomain>>,
    features: Features,
}

impl Guest {
    #[traced]
    fn connect(domain: &HostDomain, config: &NetConfig) -> anyhow::Result<Self> {
        let workload = serde_json::to_string(config)?;
        // Before the backend can see us connected: it reads this to know what to serve us with.
        domain.store()?.write(reports::WORKLOAD, workload)?;
        let (netfront, queues) = Netfront::connect(
            domain,
            &Config {
                handle: 0,
                wanted: WantedFeatures {
                    csum_tx: config.csum_tx,
                    csum_rx: config.csum_rx,
                    gso: config.gso > 0,
                    sg: config.sg,
                    queues: config.queues,
                },
                always_notify: config.run.notify == crate::config::NotifyPolicy::Always,
                index_base: config.run.index_base,
                // Twice what makes the other end count as stalled: then the host has said so before.
                timeout: Duration::from_secs_f64(config.run.stall_timeout * 2.0),
            },
        )?;
        let features = *netfront.features();
        Ok(Self { domain: domain.clone(), config: config.clone(), netfront, queues, features })
    }

    fn run(mut self, stop: &StopFlag) -> anyhow::Result<FrontReport> {
        let vifs = usize::try_from(self.config.vifs).unwrap_or(1);
        let queues = self.queues.len();
        let mut crew = Crew::of_frontend(&self.domain, &self.config.run, queues, vifs)?;
        self.distribute(&mut crew)?;
        self.netfront.watch_otherend()?;
        let mut failure = crew.supervise(stop, |_| self.look());
        if let Some(lie) = failure.as_ref().filter(|why| why.starts_with("backend")) {
            let lie = lie.clone();
            tracing::warn!(lie, "device broken");
            let _ = self.netfront.fatal(&lie);
        }
        let back_dir = self.netfront.backend_dir().to_owned();
        // Closing first: the backend must have stopped before the pages are taken back.
        self.netfront.close(FAREWELL)?;
        let back = reports::fetch(self.netfront.store(), &back_dir)?;
        let front = crew.finish();
        // A server is told to end when all its clients are done.
        if failure.is_none() && stop.is_set() && !self.serves() {
            failure = Some("interrupted".into());
        }
        let f = &self.features;
        let outcome = Outcome {
            csum_tx: f.csum_tx,
            csum_rx: f.csum_rx,
            gso: f.gso_tx,
            sg: f.sg,
            queues: f.queues,
            mtu: f.mtu,
        };
        let domid = self.domain.domid().0;
        Ok(FrontReport { domid, front, back, outcome, failure })
    }

    /// Gives each worker its queues.
    #[traced]
    fn distribute(&mut self, crew: &mut Crew<usize>) -> anyhow::Result<()> {
        let count = u32::try_from(self.queues.len())?;
        let own = self.domain.domid().0;
        let (role, other) = part(self.config.path, own);
        for (n, queue) in self.queues.drain(..).enumerate() {
            let place = Place {
                role,
                own,
                other,
                mac: self.features.mac,
                other_mac: match self.config.path {
                    NetPath::Bridge => rings_host::vif_mac(DomId(other), 0),
                    NetPath::Backend | NetPath::Loopback => MAC,
                },
                queue: (u32::try_from(n)?, count),
            };
            let nic = frontend::Nic::new(queue, self.config.gso);
            if let Some(job) = build(nic, &self.config, &place)? {
                crew.add(n, job);
            }
        }
        Ok(())
    }

    /// Whether it is the end that others connect to.
    fn serves(&self) -> bool {
        part(self.config.path, self.domain.domid().0).0 == Role::Server
    }

    /// Looks whether the backend is still there.
    fn look(&mut self) -> Result<(), String> {
        match self.left() {
            Ok(None) => Ok(()),
            Ok(Some(state)) => Err(format!("the backend has left (its state: {state})")),
            Err(error) => Err(error.to_string()),
        }
    }

    /// The state of a backend that is not connected any more.
    fn left(&mut self) -> Result<Option<XenbusState>, StoreError> {
        if !self.netfront.otherend_changed()? {
            return Ok(None);
        }
        Ok(Some(self.netfront.otherend()?).filter(|state| *state != XenbusState::Connected))
    }
}
