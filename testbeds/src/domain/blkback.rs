//! The driver domain with disks: serves every vbd that comes.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use blkif::back::disk::Source;
use blkif::back::{Blkback, Config, Queue, VbdEvent, VbdId};
use rings::{DomId, GrantMode};
use rings_host::{Connect, HostDomain};

use super::netback::{cost, start_workers};
use super::process::{StopFlag, connect, end_with_host, unless_host_gone};
use super::reports;
use super::worker::{Command, Handle, Told};
use crate::config::{self, BlkbackConfig};
use crate::workload::SideReport;
use crate::workload::blk::Served;

/// Between two looks at signals and workers.
const STEP: Duration = Duration::from_millis(20);
/// Rings we offer each vbd.
const MAX_QUEUES: u32 = 8;
/// Pages of a ring we offer, as a power of two.
const MAX_RING_ORDER: u32 = 4;
/// Segments of an indirect request we offer, as Linux does.
const MAX_INDIRECT: u16 = 256;

/// Runs this process as the driver domain of the lab in `config.run.dir`, until told to stop.
///
/// # Errors
/// If there is no lab, or the disk cannot be had.
pub fn run(config: &BlkbackConfig, stop: &StopFlag) -> anyhow::Result<()> {
    let dir = config.run.dir.clone().context("--dir is needed to find the host")?;
    let disk = &config.disk;
    // Before anybody is told that we are there: a disk that cannot be had is our own affair.
    let source = Source::open(&disk.spec(config.run.seed), disk.read_only, disk.sector_size)
        .map_err(|why| anyhow!("--disk {}: {why}", disk.disk))?;
    if let Some(remark) = source.remark() {
        // A closed terminal is no reason for a disk to fail.
        let _ = writeln!(std::io::stderr(), "note: {remark}");
    }
    let domain = connect(&Connect {
        dir,
        domid: Some(DomId::DOM0),
        pool_frames: 1,
        name: "blkback".into(),
        cost: cost(&config.run),
    })?;
    end_with_host(&domain, "blkback")?;
    let outcome =
        Driver::start(&domain, config, Arc::new(source)).and_then(|driver| driver.serve(stop));
    let outcome = unless_host_gone(&domain, outcome);
    domain.goodbye(u32::from(outcome.is_err()));
    outcome
}

/// Where the queues of a vbd are.
struct Whereabouts {
    /// Workers that have some of them and have not reported yet.
    workers: Vec<usize>,
    report: Option<SideReport>,
}

struct Driver {
    blkback: Blkback<HostDomain>,
    workers: Vec<Handle<VbdId>>,
    told: Receiver<Told<VbdId>>,
    served: BTreeMap<VbdId, Whereabouts>,
    /// Which worker gets the next queue.
    turn: usize,
}

impl Driver {
    fn start(
        domain: &HostDomain,
        config: &BlkbackConfig,
        source: Arc<Source>,
    ) -> anyhow::Result<Self> {
        let (tell, told) = channel();
        let run = &config.run;
        let workers = start_workers(domain, run, &tell)?;
        let grant = match run.grant {
            config::GrantMode::Copy => GrantMode::Copy,
            config::GrantMode::Map => GrantMode::Map,
            config::GrantMode::Persistent => GrantMode::Persistent,
        };
        let blkback = Blkback::new(
            domain,
            Config {
                max_queues: MAX_QUEUES,
                max_ring_order: MAX_RING_ORDER,
                max_indirect: MAX_INDIRECT,
                grant,
                per_page: config.disk.in_flight,
                batch: run.batch as usize,
                always_notify: run.notify == config::NotifyPolicy::Always,
                dialect: config.disk.dialect_back.into(),
                disk: source,
            },
        )?;
        Ok(Self { blkback, workers, told, served: BTreeMap::new(), turn: 0 })
    }

    fn serve(mut self, stop: &StopFlag) -> anyhow::Result<()> {
        while !stop.is_set() {
            for event in self.blkback.step(STEP)? {
                match event {
                    VbdEvent::Connected(id, queues) => self.connected(id, queues),
                    VbdEvent::Disconnect(id) => self.disconnect(id)?,
                }
            }
            while let Ok(told) = self.told.try_recv() {
                self.hear(told)?;
            }
        }
        for id in self.served.keys().copied().collect::<Vec<_>>() {
            self.disconnect(id)?;
        }
        self.workers.into_iter().for_each(Handle::stop);
        Ok(())
    }

    /// A vbd is up: puts its queues on workers.
    fn connected(&mut self, id: VbdId, queues: Vec<Queue<HostDomain>>) {
        let mut workers = Vec::new();
        for queue in queues {
            let worker = self.turn % self.workers.len();
            self.turn += 1;
            self.workers[worker].tell(Command::Add(id, Box::new(Served::new(queue))));
            workers.push(worker);
        }
        workers.sort_unstable();
        workers.dedup();
        self.served.insert(id, Whereabouts { workers, report: None });
    }

    fn disconnect(&mut self, id: VbdId) -> anyhow::Result<()> {
        let Some(served) = self.served.get(&id) else {
            return Ok(self.blkback.disconnected(id)?);
        };
        for &worker in &served.workers {
            self.workers[worker].tell(Command::Remove(id));
        }
        Ok(())
    }

    fn hear(&mut self, told: Told<VbdId>) -> anyhow::Result<()> {
        match told {
            Told::Finished(id, Some(why)) => self.blkback.rogue(id, &why)?,
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
                    let dir = format!("backend/vbd/{}/{}", id.front, id.handle);
                    reports::leave(self.blkback.store(), &dir, &report)?;
                    self.blkback.disconnected(id)?;
                }
            }
        }
        Ok(())
    }
}
