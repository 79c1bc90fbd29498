//! The workers of a domain, and which of them has whose jobs.
//!
//! A job goes by the name of what it belongs to: the vif, the vbd or the guest that a backend serves,
//! the number of a frontend's queue. What belongs to one name may be spread over several workers; it
//! is removed as one, and reports as one.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rings::Domain as _;
use rings::evtchn::Spin;
use rings_host::{BlockKind, HostDomain, Segment};
use tracer::traced;

use super::process::{StopFlag, spin};
use super::worker::{Command, Handle, Parts, Told};
use crate::config::RunConfig;
use crate::workload::{Job, SideReport};

/// Between two looks at the other end.
const LOOK: Duration = Duration::from_millis(20);
/// How long workers may take to give their jobs back.
const FAREWELL: Duration = Duration::from_secs(5);

/// A domain's workers.
pub(super) struct Crew<K> {
    workers: Vec<Handle<K>>,
    told: Receiver<Told<K>>,
    places: BTreeMap<K, Places>,
    /// Which worker gets the next job.
    turn: usize,
}

/// Where the jobs of one name are.
#[derive(Default)]
struct Places {
    /// Workers that have some of them and have not given them back.
    workers: Vec<usize>,
    leaving: bool,
    report: Option<SideReport>,
}

/// What is the same for all workers of a domain.
pub(super) struct Terms<'a> {
    /// Whose counters they publish.
    pub(super) kind: BlockKind,
    /// Their CPUs.
    pub(super) cpus: &'a [usize],
    /// Their priority.
    pub(super) nice: i32,
    /// What each does while there is nothing to do.
    pub(super) idle: &'a dyn Fn() -> Spin,
}

impl<K: Copy + Ord + Send + 'static> Crew<K> {
    /// A worker for each CPU of the backend's side.
    pub(super) fn of_backend(domain: &HostDomain, run: &RunConfig) -> anyhow::Result<Self> {
        let (kind, cpus, nice) = (BlockKind::Back, &run.back_cpus, run.nice_back);
        Self::start_workers(domain, &Terms { kind, cpus, nice, idle: &|| spin(run, 1) })
    }

    /// A worker for each of `queues`, as far as the frontend's side has CPUs, which it shares with
    /// `guests` of its kind.
    pub(super) fn of_frontend(
        domain: &HostDomain,
        run: &RunConfig,
        queues: usize,
        guests: usize,
    ) -> anyhow::Result<Self> {
        let cpus = &run.front_cpus[..queues.min(run.front_cpus.len())];
        let (kind, nice, guests) = (BlockKind::Front, run.nice_front, cpus.len() * guests);
        Self::start_workers(domain, &Terms { kind, cpus, nice, idle: &|| spin(run, guests) })
    }

    /// A worker for each of these CPUs.
    #[traced]
    pub(super) fn start_workers(domain: &HostDomain, terms: &Terms<'_>) -> anyhow::Result<Self> {
        let side = if terms.kind == BlockKind::Front { "frontend" } else { "backend" };
        if terms.cpus.is_empty() {
            bail!("-A leaves the {side} without a CPU");
        }
        let (tell, told) = channel();
        let segment = Segment::open(domain.dir())?;
        let mut workers = Vec::new();
        for (n, &cpu) in terms.cpus.iter().enumerate() {
            let number = u32::try_from(n)?;
            let block = domain.stats_block(terms.kind.number(), number)?;
            let parts = Parts {
                number,
                waiter: domain.waiter()?,
                spin: (terms.idle)(),
                cost: domain.cost().clone(),
                block: segment.block(block).context("the statistics segment is too small")?,
                cpu,
                side,
                nice: terms.nice,
            };
            workers.push(Handle::start(parts, tell.clone())?);
        }
        Ok(Self { workers, told, places: BTreeMap::new(), turn: 0 })
    }

    /// Whether no job is left.
    pub(super) fn is_idle(&self) -> bool {
        self.places.is_empty()
    }

    /// Gives a job to the worker whose turn it is.
    pub(super) fn add(&mut self, name: K, job: Box<dyn Job>) {
        let worker = self.next();
        self.turn += 1;
        self.add_to(worker, name, job);
    }

    /// Gives a job to this worker.
    pub(super) fn add_to(&mut self, worker: usize, name: K, job: Box<dyn Job>) {
        let places = self.places.entry(name).or_default();
        if !places.workers.contains(&worker) {
            places.workers.push(worker);
        }
        self.workers[worker].tell(Command::Add(name, job));
    }

    /// What wakes the worker whose turn it is.
    pub(super) fn next_kicker(&self) -> Arc<dyn Fn() + Send + Sync> {
        self.workers[self.next()].kicker()
    }

    fn next(&self) -> usize {
        self.turn % self.workers.len()
    }

    /// Gives something to the one job of this name.
    pub(super) fn change(&self, name: K, what: Box<dyn Any + Send>) {
        if let Some(&worker) = self.places.get(&name).and_then(|places| places.workers.first()) {
            self.workers[worker].tell(Command::Change(name, what));
        }
    }

    /// Asks for the jobs of this name back; [`hear`](Self::hear) says when they are. `false` if there
    /// are none.
    pub(super) fn remove(&mut self, name: K) -> bool {
        let Some(places) = self.places.get_mut(&name) else { return false };
        if !std::mem::replace(&mut places.leaving, true) {
            for &worker in &places.workers {
                self.workers[worker].tell(Command::Remove(name));
            }
        }
        true
    }

    /// Asks for all jobs back.
    pub(super) fn remove_all(&mut self) {
        for name in self.places.keys().copied().collect::<Vec<_>>() {
            self.remove(name);
        }
    }

    /// What there is to hear from the workers within `timeout`. That the jobs of a name are removed is
    /// told once, when the last worker has given its own back.
    ///
    /// # Errors
    /// If all workers have died.
    pub(super) fn hear(&mut self, timeout: Duration) -> anyhow::Result<Option<Told<K>>> {
        let deadline = Instant::now() + timeout;
        let _span = (!timeout.is_zero()).then(|| tracer::span!(WAIT, "wait_for_workers"));
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.told.recv_timeout(left) {
                Ok(Told::Removed(name, report)) => {
                    if let Some(report) = self.given_back(name, *report) {
                        return Ok(Some(Told::Removed(name, Box::new(report))));
                    }
                }
                Ok(finished) => return Ok(Some(finished)),
                Err(RecvTimeoutError::Timeout) => return Ok(None),
                Err(RecvTimeoutError::Disconnected) => bail!("a worker died"),
            }
        }
    }

    /// One worker less has jobs of this name. Their report, if it was the last.
    fn given_back(&mut self, name: K, report: SideReport) -> Option<SideReport> {
        let places = self.places.get_mut(&name)?;
        places.workers.pop();
        add(&mut places.report, report);
        if !places.workers.is_empty() {
            return None;
        }
        self.places.remove(&name).and_then(|places| places.report)
    }

    /// Waits until every job is done, or something ends the run before; says what, then. Now and then
    /// `look` has a look at the other end.
    pub(super) fn supervise(
        &mut self,
        stop: &StopFlag,
        mut look: impl FnMut(&Self) -> Result<(), String>,
    ) -> Option<String> {
        let (mut done, jobs) = (0, self.places.len());
        let mut looked = Instant::now();
        while done < jobs && !stop.is_set() {
            match self.hear(LOOK) {
                Ok(Some(Told::Finished(_, None))) => done += 1,
                Ok(Some(Told::Finished(_, Some(why)))) => return Some(why),
                Ok(Some(Told::Removed(..) | Told::Stalled(..)) | None) => {}
                Err(why) => return Some(why.to_string()),
            }
            if looked.elapsed() >= LOOK {
                looked = Instant::now();
                if let Err(why) = look(self) {
                    return Some(why);
                }
            }
        }
        None
    }

    /// Takes all jobs back and ends the workers. What the jobs measured, together.
    #[traced]
    pub(super) fn finish(mut self) -> SideReport {
        self.remove_all();
        let mut sum: Option<SideReport> = None;
        while !self.is_idle() {
            match self.hear(FAREWELL) {
                Ok(Some(Told::Removed(_, report))) => add(&mut sum, *report),
                Ok(Some(Told::Finished(..) | Told::Stalled(..))) => {}
                Ok(None) | Err(_) => break,
            }
        }
        self.stop();
        sum.unwrap_or_default().settled()
    }

    /// Ends the workers, whose jobs are closed with them.
    pub(super) fn stop(mut self) {
        self.remove_all();
        self.workers.into_iter().for_each(Handle::stop);
    }
}

fn add(sum: &mut Option<SideReport>, one: SideReport) {
    *sum = Some(match sum.take() {
        Some(sum) => sum.plus(one),
        None => one,
    });
}
