//! A guest with a disk: connects its vbd, runs its jobs, goes on when its backend is replaced, reports.

use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use blkif::front::{Blkfront, Config, Limits, Queue, SplitMode};
use rings::store::XenbusState;
use rings::{DomId, Domain};
use rings_host::{BlockKind, Connect, HostDomain, Segment};
use serde::{Deserialize, Serialize};

use super::process::{StopFlag, connect, end_with_host, spin, unless_host_gone};
use super::reports::{self, FrontReport};
use super::worker::{Command, Handle, Parts, Told};
use crate::config::{self, BlkConfig, NotifyPolicy, Split};
use crate::workload::SideReport;
use crate::workload::blk::{Change, Exerciser};
use crate::workload::nbd::{Clerk, Desk, serve};

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
    /// The backend keeps pages mapped.
    pub persistent: bool,
    /// Bytes of the disk.
    pub bytes: u64,
    /// Bytes of its own sectors.
    pub sector_size: u32,
}

/// Runs this process as a guest of the lab in `config.run.dir`.
///
/// # Errors
/// Whatever keeps the run from taking place.
pub fn run(config: &BlkConfig, stop: &StopFlag) -> anyhow::Result<FrontReport<BlkOutcome>> {
    let dir = config.run.dir.clone().context("--dir is needed to find the host")?;
    let domain = connect(&Connect {
        dir,
        domid: Some(DomId(1)),
        pool_frames: pool_frames(config)?,
        name: "blkfront".into(),
        cost: super::netback::cost(&config.run),
    })?;
    end_with_host(&domain, "blkfront")?;
    let outcome = Guest::connect(&domain, config).and_then(|guest| guest.run(stop));
    let outcome = unless_host_gone(&domain, outcome);
    domain.goodbye(u32::from(outcome.is_err()));
    outcome
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
        let (blkfront, queues) = Blkfront::connect(
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
            fits(config, blkfront.disk().sectors * 512)?;
        }
        Ok(Self { domain: domain.clone(), config: config.clone(), blkfront, queues })
    }

    fn run(mut self, stop: &StopFlag) -> anyhow::Result<FrontReport<BlkOutcome>> {
        let (tell, told) = channel();
        let workers = self.start_workers(&tell)?;
        let jobs = self.queues.len();
        let _open = match self.config.nbd.clone() {
            Some(path) => Some(self.open_desks(&workers, &path)?),
            None => {
                self.distribute(&workers)?;
                None
            }
        };
        let mut failure = self.supervise(&workers, &told, jobs, stop);
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
        let front = collect(&workers, &told, jobs);
        workers.into_iter().for_each(Handle::stop);
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
            persistent: disk.persistent && self.config.run.grant == config::GrantMode::Persistent,
            bytes: disk.sectors * 512,
            sector_size: disk.sector_size,
        }
    }

    fn start_workers(&self, tell: &Sender<Told<usize>>) -> anyhow::Result<Vec<Handle<usize>>> {
        let run = &self.config.run;
        let segment = Segment::open(self.domain.dir())?;
        let mut workers = Vec::new();
        for (n, &cpu) in run.front_cpus.iter().enumerate().take(self.queues.len()) {
            let number = u32::try_from(n)?;
            let block = self.domain.stats_block(BlockKind::Front.number(), number)?;
            let parts = Parts {
                waiter: self.domain.waiter()?,
                spin: spin(run, self.queues.len().min(run.front_cpus.len())),
                cost: self.domain.cost().clone(),
                block: segment.block(block).context("the statistics segment is too small")?,
                cpu,
                nice: run.nice_front,
            };
            workers.push(Handle::start(parts, tell.clone())?);
        }
        if workers.is_empty() {
            bail!("-A leaves the frontend without a CPU");
        }
        Ok(workers)
    }

    /// Serves NBD clients with the queues, as long as the answer lives.
    fn open_desks(
        &mut self,
        workers: &[Handle<usize>],
        path: &Path,
    ) -> anyhow::Result<impl Drop + use<>> {
        let mut desks = Vec::new();
        let slots = self.config.iodepth;
        for (n, queue) in self.queues.drain(..).enumerate() {
            let worker = &workers[n % workers.len()];
            let desk = Desk::new(worker.kicker());
            let clerk = Clerk::new(queue, desk.clone(), slots, &self.config.run);
            worker.tell(Command::Add(n, Box::new(clerk)));
            desks.push(desk);
        }
        serve(path, self.blkfront.disk(), desks)
    }

    /// Gives each worker its queues.
    fn distribute(&mut self, workers: &[Handle<usize>]) -> anyhow::Result<()> {
        let count = u32::try_from(self.queues.len())?;
        for (n, queue) in self.queues.drain(..).enumerate() {
            let job = Exerciser::new(queue, &self.config, u32::try_from(n)?, count);
            workers[n % workers.len()].tell(Command::Add(n, Box::new(job)));
        }
        Ok(())
    }

    /// Waits until all jobs are done, or something ends the run before. Says what, then.
    fn supervise(
        &mut self,
        workers: &[Handle<usize>],
        told: &Receiver<Told<usize>>,
        jobs: usize,
        stop: &StopFlag,
    ) -> Option<String> {
        let mut done = 0;
        let mut looked = Instant::now();
        while done < jobs && !stop.is_set() {
            match told.recv_timeout(LOOK) {
                Ok(Told::Finished(_, None)) => done += 1,
                Ok(Told::Finished(_, Some(why))) => return Some(why),
                Ok(Told::Removed(..)) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Some("a worker died".into()),
            }
            if looked.elapsed() >= LOOK {
                looked = Instant::now();
                if let Err(why) = self.look(workers, jobs, stop) {
                    return Some(why);
                }
            }
        }
        None
    }

    /// Looks at the backend: whether it lives, whether the disk has another length.
    fn look(
        &mut self,
        workers: &[Handle<usize>],
        jobs: usize,
        stop: &StopFlag,
    ) -> Result<(), String> {
        match self.blkfront.otherend() {
            Ok(XenbusState::Connected) => {
                let resized = self.blkfront.resized();
                if let Ok(Some(sectors)) = resized {
                    tracing::warn!(bytes = sectors * 512, "the disk has another length");
                    for n in 0..jobs {
                        let change = Box::new(Change::Resize(sectors));
                        workers[n % workers.len()].tell(Command::Change(n, change));
                    }
                }
                Ok(())
            }
            // Its directory is gone, or there again and not ready: it died, and another one comes.
            Ok(XenbusState::Unknown | XenbusState::Initialising | XenbusState::InitWait) => {
                self.go_on(workers, stop)
            }
            Ok(state) => Err(format!("the backend has left (its state: {state})")),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Connects to the backend that comes after one that died.
    fn go_on(&mut self, workers: &[Handle<usize>], stop: &StopFlag) -> Result<(), String> {
        tracing::info!("the backend has died; waiting for another one");
        let deadline = Instant::now() + ANOTHER;
        let timeout = Duration::from_secs_f64(self.config.run.stall_timeout * 2.0);
        loop {
            match self.blkfront.reconnect(LOOK * 10, timeout) {
                Ok(links) => {
                    for (n, link) in links.into_iter().enumerate() {
                        let change = Change::Relink(Box::new(link), *self.blkfront.disk());
                        workers[n % workers.len()].tell(Command::Change(n, Box::new(change)));
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

/// The part of the disk that is used must be there.
fn fits(config: &BlkConfig, bytes: u64) -> anyhow::Result<()> {
    let used = config.disk.size.unwrap_or(0);
    if used > bytes {
        bail!("--size {used}: the disk has only {bytes} bytes; use a smaller --size");
    }
    let each = bytes.min(config.disk.size.unwrap_or(bytes)) / u64::from(config.numjobs.max(1));
    if each < config.bs as u64 {
        bail!("--bs {}: larger than a job's part of the disk, {each} bytes; use less", config.bs);
    }
    Ok(())
}

/// Takes the jobs from the workers, and what they measured.
fn collect(workers: &[Handle<usize>], told: &Receiver<Told<usize>>, jobs: usize) -> SideReport {
    for n in 0..jobs {
        workers[n % workers.len()].tell(Command::Remove(n));
    }
    let mut sum: Option<SideReport> = None;
    let mut left = jobs;
    while left > 0 {
        match told.recv_timeout(FAREWELL) {
            Ok(Told::Removed(_, report)) => {
                left -= 1;
                sum = Some(match sum.take() {
                    Some(sum) => sum.plus(*report),
                    None => *report,
                });
            }
            Ok(Told::Finished(..)) => {}
            Err(_) => break,
        }
    }
    sum.unwrap_or_default()
}
