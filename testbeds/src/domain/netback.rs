//! The driver domain: serves every vif that comes, with the wire its guest asks for.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context as _;
use backend::wire::{Bridge, BridgePort, Reflect};
use backend::{Config, Netback, Queue, VifEvent, VifId};
use rings::cost::CostNs;
use rings::store::Nodes;
use rings::{DomId, Domain, GrantMode};
use rings_host::{BlockKind, Connect, HostDomain, Segment};
use tracer::traced;

use super::consoled::Daemon;
use super::process::{StopFlag, connect, end_with_host, spin, unless_host_gone};
use super::reports;
use super::wired::Wired;
use super::worker::{Command, Handle, Parts, Told};
use crate::config::{self, NetConfig, RunConfig, WireKind};
use crate::workload::{Job, Place, Role, SideReport, build};

/// The backend's Ethernet address, as Linux gives it to its vifs.
pub(super) const MAC: [u8; 6] = [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff];
/// Between two looks at signals and workers.
const STEP: Duration = Duration::from_millis(20);
/// Pairs of rings we offer each vif.
const MAX_QUEUES: u32 = 8;

/// Runs this process as the driver domain of the lab in `run.dir`, until told to stop.
///
/// # Errors
/// If there is no lab.
pub fn run(run: &RunConfig, stop: &StopFlag) -> anyhow::Result<()> {
    let dir = run.dir.clone().context("--dir is needed to find the host")?;
    let domain = connect(&Connect {
        dir,
        domid: Some(DomId::DOM0),
        pool_frames: 1,
        name: "netback".into(),
        cost: cost(run),
    })?;
    end_with_host(&domain, "netback")?;
    let outcome = Driver::start(&domain, run).and_then(|driver| driver.serve(stop));
    let outcome = unless_host_gone(&domain, outcome);
    domain.goodbye(u32::from(outcome.is_err()));
    outcome
}

/// The cost model that the options ask for.
pub(super) fn cost(run: &RunConfig) -> CostNs {
    let config::CostNs { hypercall, evtchn, gntmap, gntcopy, exit } = run.cost;
    CostNs { hypercall, evtchn, gntmap, gntcopy, exit }
}

/// Where the queues of a vif are.
struct Served {
    /// Workers that have some of them and have not reported yet.
    workers: Vec<usize>,
    report: Option<SideReport>,
    leaving: bool,
}

struct Driver {
    netback: Netback<HostDomain>,
    workers: Vec<Handle<Key>>,
    told: Receiver<Told<Key>>,
    served: BTreeMap<VifId, Served>,
    /// The bridge between guests that ask for it; all its queues are on the first worker.
    bridge: Arc<Mutex<Bridge<HostDomain>>>,
    /// Which worker gets the next queue.
    turn: usize,
    /// The guests' consoles, if we serve those too.
    consoles: Option<Daemon>,
}

/// What a job is called: its vif.
type Key = VifId;

impl Driver {
    fn start(domain: &HostDomain, run: &RunConfig) -> anyhow::Result<Self> {
        let (tell, told) = channel();
        let workers = start_workers(domain, run, &tell)?;
        let grant = match run.grant {
            config::GrantMode::Copy => GrantMode::Copy,
            config::GrantMode::Map => GrantMode::Map,
            config::GrantMode::Persistent => GrantMode::Persistent,
        };
        let netback = Netback::new(
            domain,
            Config {
                max_queues: MAX_QUEUES,
                grant,
                // Four batches of the usual size: what a ring of 256 slots holds is not waited for.
                batch: (run.batch as usize * 4).min(256),
                always_notify: run.notify == config::NotifyPolicy::Always,
            },
        )?;
        let bridge = Arc::new(Mutex::new(Bridge::new()));
        let consoles = run.console.then(|| Daemon::beside_netback(domain, run)).transpose()?;
        Ok(Self { netback, workers, told, served: BTreeMap::new(), bridge, turn: 0, consoles })
    }

    fn serve(mut self, stop: &StopFlag) -> anyhow::Result<()> {
        while !stop.is_set() {
            for event in self.netback.step(STEP)? {
                match event {
                    VifEvent::Connected(id, queues) => self.connected(id, queues)?,
                    VifEvent::Disconnect(id) => self.disconnect(id)?,
                }
            }
            while let Ok(told) = self.told.try_recv() {
                self.hear(told)?;
            }
            if let Some(consoles) = &mut self.consoles {
                consoles.step(Duration::ZERO)?;
            }
        }
        self.consoles.take().map(Daemon::end).transpose()?;
        for id in self.served.keys().copied().collect::<Vec<_>>() {
            self.disconnect(id)?;
        }
        self.workers.into_iter().for_each(Handle::stop);
        Ok(())
    }

    /// A vif is up: puts its queues on workers, with what its guest asked for behind them.
    #[traced]
    fn connected(&mut self, id: VifId, queues: Vec<Queue<HostDomain>>) -> anyhow::Result<()> {
        let path = format!("/local/domain/{}/{}", id.front, reports::WORKLOAD);
        let workload = self.netback.store().read_if_present(&path)?;
        // A guest that is none of ours asks for nothing: it gets its own frames back.
        let config: Option<NetConfig> = workload.and_then(|text| serde_json::from_str(&text).ok());
        let count = u32::try_from(queues.len())?;
        let mut workers = Vec::new();
        for (n, mut queue) in queues.into_iter().enumerate() {
            if let Some(config) = &config {
                queue.lose_frames(config.drop, config.run.seed.wrapping_add(n as u64));
            }
            let place = Place {
                role: Role::Server,
                own: 0,
                other: id.front.0,
                mac: MAC,
                other_mac: [0, 0x16, 0x3e, 0, 0, id.front.0.to_be_bytes()[1]],
                queue: (u32::try_from(n)?, count),
            };
            let bridged = config.as_ref().is_some_and(|c| c.wire == WireKind::Bridge);
            let Some(job) = self.job(queue, config.as_ref(), &place)? else { continue };
            let worker = if bridged { 0 } else { self.turn % self.workers.len() };
            self.turn += 1;
            self.workers[worker].tell(Command::Add(id, job));
            workers.push(worker);
        }
        workers.sort_unstable();
        workers.dedup();
        self.served.insert(id, Served { workers, report: None, leaving: false });
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
        let Some(served) = self.served.get_mut(&id) else {
            return Ok(self.netback.disconnected(id)?);
        };
        served.leaving = true;
        for &worker in &served.workers {
            self.workers[worker].tell(Command::Remove(id));
        }
        if served.workers.is_empty() {
            self.served.remove(&id);
            self.netback.disconnected(id)?;
        }
        Ok(())
    }

    #[traced]
    fn hear(&mut self, told: Told<Key>) -> anyhow::Result<()> {
        match told {
            Told::Finished(id, Some(why)) => self.netback.rogue(id, &why)?,
            Told::Finished(_, None) => {}
            Told::Removed(id, report) => {
                let Some(served) = self.served.get_mut(&id) else { return Ok(()) };
                served.workers.pop();
                served.report = Some(match served.report.take() {
                    Some(sum) => sum.plus(*report),
                    None => *report,
                });
                if served.workers.is_empty()
                    && let Some(report) = self.served.remove(&id).and_then(|s| s.report)
                {
                    let dir = format!("backend/vif/{}/{}", id.front, id.handle);
                    reports::leave(self.netback.store(), &dir, &report)?;
                    self.netback.disconnected(id)?;
                }
            }
        }
        Ok(())
    }
}

/// A worker for each CPU of the backend's side.
#[traced]
pub(super) fn start_workers<K: Copy + Eq + Send + 'static>(
    domain: &HostDomain,
    run: &RunConfig,
    tell: &Sender<Told<K>>,
) -> anyhow::Result<Vec<Handle<K>>> {
    let segment = Segment::open(domain.dir())?;
    let mut workers = Vec::new();
    for (n, &cpu) in run.back_cpus.iter().enumerate() {
        let block = domain.stats_block(BlockKind::Back.number(), u32::try_from(n)?)?;
        let parts = Parts {
            waiter: domain.waiter()?,
            spin: spin(run, 1),
            cost: domain.cost().clone(),
            block: segment.block(block).context("the statistics segment is too small")?,
            cpu,
            nice: run.nice_back,
        };
        workers.push(Handle::start(parts, tell.clone())?);
    }
    Ok(workers)
}
