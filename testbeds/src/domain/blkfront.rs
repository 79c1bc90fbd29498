//! A guest with a disk: connects its vbd, runs its jobs, goes on when its backend is replaced, reports.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::bail;
use blkif::front::{Blkfront, Config, DiskInfo, Limits, Queue, SplitMode};
use rings::store::{Nodes as _, XenbusState, keys};
use rings::{DomId, Domain};
use rings_host::HostDomain;
use serde::{Deserialize, Serialize};

use super::crew::Crew;
use super::log_console::log_to_console;
use super::process::{StopFlag, Wanted, live};
use super::reports::{self, FrontReport};
use crate::config::{self, BlkConfig, NotifyPolicy, Split, word};
use crate::units::format_size;
use crate::workload::blk::{Change, Exerciser};
use crate::workload::nbd::{Clerk, Desk, Export, serve};

/// How long it may take to let go at the end.
const FAREWELL: Duration = Duration::from_secs(5);
/// Between two looks at the other end.
const LOOK: Duration = Duration::from_millis(20);
/// How long another backend is waited for when one has died.
const ANOTHER: Duration = Duration::from_secs(60);
/// The number of our vbd: xvda.
const XVDA: u32 = 202 << 8;

/// What was negotiated, as far as a report shows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BlkOutcome {
    /// Rings.
    pub queues: u32,
    /// Pages of each, as a power of two.
    pub ring_order: u32,
    /// Segments of a request at most.
    pub segments: u32,
    /// Bytes of the disk.
    pub bytes: u64,
    /// Bytes of its own sectors.
    pub sector_size: u32,
    /// What its backend calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// Runs this process as a guest of the lab in `config.run.dir`.
///
/// # Errors
/// Whatever keeps the run from taking place.
pub fn run(config: &BlkConfig, stop: &StopFlag) -> anyhow::Result<FrontReport<BlkOutcome>> {
    let pool_frames = pool_frames(config)?;
    let wanted =
        Wanted { name: "blkfront", domid: Some(DomId(1)), pool_frames, needs: Some("blkback") };
    live(&wanted, &config.run, |domain| {
        let _route = config.run.console.then(|| log_to_console(domain)).transpose()?;
        stop.unheard(|| Guest::connect(domain, config))?.run(stop)
    })
}

/// Frames for all queues: buffers, rings, a list of segments for each slot of a ring, and some room for
/// the rings of the next connection.
fn pool_frames(config: &BlkConfig) -> anyhow::Result<u32> {
    let slots = 32_usize << config.ring_order;
    let each = config.pages() + slots + 4 * (1 << config.ring_order);
    Ok(u32::try_from(config.queues as usize * each + 64)?)
}

struct Guest {
    domain: HostDomain,
    config: BlkConfig,
    blkfront: Blkfront<HostDomain>,
    queues: Vec<Queue<HostDomain>>,
    /// What the backend calls the disk.
    name: Option<String>,
}

impl Guest {
    fn connect(domain: &HostDomain, config: &BlkConfig) -> anyhow::Result<Self> {
        let depth = config.depth();
        let limits = Limits {
            depth,
            segments: config.segments,
            split: match config.split {
                Split::Parallel => SplitMode::Parallel,
                Split::Serial => SplitMode::Serial,
            },
            // Half of what is in flight at a time: one end works while the other does.
            batch: config.run.batch.min(depth.div_ceil(2)),
            always_notify: config.run.notify == NotifyPolicy::Always,
            dialect: config.dialect.into(),
            handle: 0,
        };
        let (mut blkfront, queues) = Blkfront::connect(
            domain,
            &Config {
                handle: XVDA,
                queues: config.queues,
                ring_order: config.ring_order,
                indirect: config.indirect,
                persistent: config.run.grant == config::GrantMode::Persistent,
                limits,
                pages: config.pages(),
                index_base: config.run.index_base,
                // Twice what makes the other end count as stalled: then the host has said so before.
                timeout: Duration::from_secs_f64(config.run.stall_timeout * 2.0),
            },
        )?;
        if config.nbd.is_none() {
            fits(config, blkfront.disk())?;
        }
        let mut config = config.clone();
        let name = name(&mut blkfront)?;
        if !crate::lab::is_child() {
            // The backend is not ours: what its disk is it says itself.
            config = config.on_disk_called(name.as_deref());
        }
        Ok(Self { domain: domain.clone(), config, blkfront, queues, name })
    }

    fn run(mut self, stop: &StopFlag) -> anyhow::Result<FrontReport<BlkOutcome>> {
        let jobs = self.queues.len();
        let mut crew = Crew::of_frontend(&self.domain, &self.config.run, jobs, 1)?;
        let _open = match self.config.nbd.clone() {
            Some(path) => Some(self.open_desks(&mut crew, &path)?),
            None => {
                self.distribute(&mut crew)?;
                None
            }
        };
        let mut failure = crew.supervise(stop, |crew| self.look(crew, jobs, stop));
        if let Some(lie) = failure.as_ref().filter(|why| why.starts_with("backend")) {
            let lie = lie.clone();
            tracing::warn!(lie, "device broken");
            let _ = self.blkfront.fatal(&lie);
        }
        let outcome = self.outcome();
        let back_dir = self.blkfront.backend_dir().to_owned();
        // Closing first: the backend must have stopped before the pages are taken back.
        self.blkfront.close(FAREWELL)?;
        let back = reports::fetch(self.blkfront.store(), &back_dir)?;
        let front = crew.finish();
        // A server ends when it is told to.
        if failure.is_none() && stop.is_set() && self.config.nbd.is_none() {
            failure = Some("interrupted".into());
        }
        let domid = self.domain.domid().0;
        Ok(FrontReport { domid, front, back, outcome, failure })
    }

    fn outcome(&self) -> BlkOutcome {
        let (queues, ring_order) = self.blkfront.agreed();
        let disk = self.blkfront.disk();
        BlkOutcome {
            queues,
            ring_order,
            segments: self.blkfront.segments(),
            bytes: disk.sectors * 512,
            sector_size: disk.sector_size,
            name: self.name.clone(),
        }
    }

    /// Serves NBD clients with the queues, as long as the answer lives.
    fn open_desks(
        &mut self,
        crew: &mut Crew<usize>,
        path: &Path,
    ) -> anyhow::Result<impl Drop + use<>> {
        let mut desks = Vec::new();
        let (slots, export) = (self.config.iodepth, Export::of(self.blkfront.disk()));
        for (n, queue) in self.queues.drain(..).enumerate() {
            let desk = Desk::new(crew.next_kicker());
            let clerk = Clerk::new(queue, desk.clone(), export.clone(), slots, &self.config.run);
            crew.add(n, Box::new(clerk));
            desks.push(desk);
        }
        serve(path, export, desks)
    }

    /// Gives each worker its queues.
    fn distribute(&mut self, crew: &mut Crew<usize>) -> anyhow::Result<()> {
        let count = u32::try_from(self.queues.len())?;
        for (n, queue) in self.queues.drain(..).enumerate() {
            let job = Exerciser::new(queue, &self.config, u32::try_from(n)?, count);
            crew.add(n, Box::new(job));
        }
        Ok(())
    }

    /// Looks at the backend: whether it lives, whether the disk has another length.
    fn look(&mut self, crew: &Crew<usize>, jobs: usize, stop: &StopFlag) -> Result<(), String> {
        match self.blkfront.otherend() {
            Ok(XenbusState::Connected) => {
                let resized = self.blkfront.resized();
                if let Ok(Some(sectors)) = resized {
                    tracing::info!(bytes = sectors * 512, "the disk has another length");
                    for n in 0..jobs {
                        crew.change(n, Box::new(Change::Resize(sectors)));
                    }
                }
                Ok(())
            }
            // Its directory is gone, or there again and not ready: it died, and another one comes.
            Ok(XenbusState::Unknown | XenbusState::Initialising | XenbusState::InitWait) => {
                self.go_on(crew, stop)
            }
            Ok(state) => Err(format!("the backend has left (its state: {state})")),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Connects to the backend that comes after one that died.
    fn go_on(&mut self, crew: &Crew<usize>, stop: &StopFlag) -> Result<(), String> {
        tracing::info!("the backend has died; waiting for another one");
        let deadline = Instant::now() + ANOTHER;
        let timeout = Duration::from_secs_f64(self.config.run.stall_timeout * 2.0);
        loop {
            match self.blkfront.reconnect(LOOK * 10, timeout) {
                Ok(links) => {
                    for (n, link) in links.into_iter().enumerate() {
                        let change = Change::Relink(Box::new(link), *self.blkfront.disk());
                        crew.change(n, Box::new(change));
                    }
                    return Ok(());
                }
                Err(_) if stop.is_set() => return Ok(()),
                Err(why) if Instant::now() >= deadline => return Err(why.to_string()),
                Err(_) => {}
            }
        }
    }
}

/// What the backend's directory calls the disk, if anything.
fn name(blkfront: &mut Blkfront<HostDomain>) -> anyhow::Result<Option<String>> {
    let path = format!("{}/{}", blkfront.backend_dir(), keys::PHYSICAL_DEVICE_PATH);
    let found = blkfront.store().read_if_present(&path)?;
    Ok(found.filter(|name| !name.is_empty()))
}

/// The part of the disk that is used must be there, and take what is to be done to it.
fn fits(config: &BlkConfig, disk: &DiskInfo) -> anyhow::Result<()> {
    let bytes = disk.sectors * 512;
    if disk.read_only && config.rw.writes() {
        bail!("--rw {}: the disk is for reading only; use --rw randread", word(&config.rw));
    }
    let used = config.disk.size.unwrap_or(0);
    if used > bytes {
        let (used, bytes) = (format_size(used), format_size(bytes));
        bail!("--size {used}: the disk has only {bytes}; use a smaller --size");
    }
    let each = bytes.min(config.disk.size.unwrap_or(bytes)) / u64::from(config.numjobs.max(1));
    if each < config.bs as u64 {
        bail!("--bs {}: larger than a job's part of the disk, {each} bytes; use less", config.bs);
    }
    Ok(())
}
