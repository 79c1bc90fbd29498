//! The driver domain with disks: serves every vbd that comes.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use blkif::back::disk::Source;
use blkif::back::{Blkback, Config, Queue, VbdEvent, VbdId};
use rings::DomId;
use rings_host::HostDomain;

use super::consoled::Daemon;
use super::crew::Crew;
use super::process::{StopFlag, Wanted, grant_mode, live};
use super::reports;
use super::worker::Told;
use crate::config::{self, BlkbackConfig};
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
    let disk = &config.disk;
    // Before anybody is told that we are there: a disk that cannot be had is our own affair.
    let source = Source::open(&disk.spec(config.run.seed), disk.read_only, disk.sector_size)
        .map_err(|why| anyhow!("--disk {}: {why}", disk.disk))?;
    for remark in source.remarks() {
        // A closed terminal is no reason for a disk to fail.
        let _ = writeln!(std::io::stderr(), "note: {remark}");
    }
    let wanted = Wanted { name: "blkback", domid: Some(DomId::DOM0), pool_frames: 1, needs: None };
    live(&wanted, &config.run, |domain| Driver::start(domain, config, source.into())?.serve(stop))
}

struct Driver {
    blkback: Blkback<HostDomain>,
    crew: Crew<VbdId>,
    /// The guests' consoles, if we serve those too.
    consoles: Option<Daemon>,
}

impl Driver {
    fn start(
        domain: &HostDomain,
        config: &BlkbackConfig,
        source: Arc<Source>,
    ) -> anyhow::Result<Self> {
        let run = &config.run;
        let crew = Crew::of_backend(domain, run)?;
        let blkback = Blkback::new(
            domain,
            Config {
                max_queues: MAX_QUEUES,
                max_ring_order: MAX_RING_ORDER,
                max_indirect: MAX_INDIRECT,
                grant: grant_mode(run),
                per_page: config.disk.in_flight,
                batch: run.batch as usize,
                always_notify: run.notify == config::NotifyPolicy::Always,
                dialect: config.disk.dialect_back.into(),
                disk: source,
                name: config.disk.disk.to_string(),
            },
        )?;
        let consoles = run.console.then(|| Daemon::beside_backend(domain, run)).transpose()?;
        Ok(Self { blkback, crew, consoles })
    }

    fn serve(mut self, stop: &StopFlag) -> anyhow::Result<()> {
        while !stop.is_set() {
            for event in self.blkback.step(STEP)? {
                match event {
                    VbdEvent::Connected(id, queues) => self.connected(id, queues),
                    VbdEvent::Disconnect(id) => self.disconnect(id)?,
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

    /// A vbd is up: puts its queues on workers.
    fn connected(&mut self, id: VbdId, queues: Vec<Queue<HostDomain>>) {
        for queue in queues {
            self.crew.add(id, Box::new(Served::new(queue)));
        }
    }

    fn disconnect(&mut self, id: VbdId) -> anyhow::Result<()> {
        if !self.crew.remove(id) {
            self.blkback.disconnected(id)?;
        }
        Ok(())
    }

    fn hear(&mut self, told: Told<VbdId>) -> anyhow::Result<()> {
        match told {
            Told::Finished(id, Some(why)) => self.blkback.rogue(id, &why)?,
            Told::Finished(_, None) | Told::Stalled(..) => {}
            Told::Removed(id, report) => {
                let dir = format!("backend/vbd/{}/{}", id.front, id.handle);
                reports::leave(self.blkback.store(), &dir, &report)?;
                self.blkback.disconnected(id)?;
            }
        }
        Ok(())
    }
}
