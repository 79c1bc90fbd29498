//! A worker: a thread, pinned to a CPU, that serves jobs and publishes its counters.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use anyhow::Context as _;
use rings::Waiter;
use rings::cost::Cost;
use rings::evtchn::Spin;
use rings::worker::Worker;
use rings_host::{Block, EpollWaiter};
use tracer::clock::{cycles, cycles_per_us};
use tracer::traced;

use super::process::{pin, renice};
use crate::counters::Counters;
use crate::workload::{Job, SideReport};

/// Something a worker is told. `K` names jobs.
pub(super) enum Command<K> {
    /// Serve this job.
    Add(K, Box<dyn Job>),
    /// Give this to the jobs with this name; what they sleep on may change with it.
    Change(K, Box<dyn Any + Send>),
    /// Close the jobs with this name, and report.
    Remove(K),
    /// End.
    Stop,
}

/// Something a worker tells.
pub(super) enum Told<K> {
    /// A job is done, or cannot go on, and why.
    Finished(K, Option<String>),
    /// The other end of a job has stalled, or has not any more.
    Stalled(K, bool),
    /// All jobs with this name are closed; what they measured together.
    Removed(K, Box<SideReport>),
}

/// What a worker is made of.
pub(super) struct Parts {
    pub(super) number: u32,
    pub(super) waiter: EpollWaiter,
    pub(super) spin: Spin,
    pub(super) cost: Cost,
    pub(super) block: Block,
    pub(super) cpu: usize,
    /// Frontend or backend, as the user calls it.
    pub(super) side: &'static str,
    pub(super) nice: i32,
}

/// A worker as the control thread sees it.
pub(super) struct Handle<K> {
    commands: Sender<Command<K>>,
    waiting: Arc<AtomicUsize>,
    kick: Arc<dyn Fn() + Send + Sync>,
    thread: Option<JoinHandle<()>>,
}

impl<K: Copy + Eq + Send + 'static> Handle<K> {
    /// Starts a worker, which tells what happens through `tell`.
    ///
    /// # Errors
    /// If there can be no thread, or none on this CPU with this priority.
    pub(super) fn start(parts: Parts, tell: Sender<Told<K>>) -> anyhow::Result<Self> {
        let (commands, receiver) = channel();
        let (settle, settled) = channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let kick = parts.waiter.kicker();
        let seen = Arc::clone(&waiting);
        let name = format!("worker-{}", parts.cpu);
        let thread = std::thread::Builder::new().name(name).spawn(move || {
            let place = pin(parts.cpu).and_then(|()| renice(parts.nice, parts.side));
            let refused = place.is_err();
            // Whoever starts it waits for this.
            let _ = settle.send(place);
            if refused {
                return;
            }
            tracer::attach();
            // Time that is burnt on purpose is no standstill.
            let block = parts.block.clone();
            rings::cost::on_burn(move || beat(&block));
            Loop::new(parts, receiver, seen, tell).run();
        })?;
        settled.recv().context("a worker died")??;
        Ok(Self { commands, waiting, kick, thread: Some(thread) })
    }

    /// Tells the worker something.
    pub(super) fn tell(&self, command: Command<K>) {
        // A worker that has ended needs no telling.
        if self.commands.send(command).is_ok() {
            // SYNC command waits: with the Acquire load in the worker's `run`.
            self.waiting.fetch_add(1, Ordering::Release);
            (self.kick)();
        }
    }

    /// What wakes the worker.
    pub(super) fn kicker(&self) -> Arc<dyn Fn() + Send + Sync> {
        Arc::clone(&self.kick)
    }

    /// Ends the worker. Its jobs must be gone.
    pub(super) fn stop(mut self) {
        self.tell(Command::Stop);
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed by itself.
            let _span = tracer::span!(WAIT, "wait_for_workers");
            let _ = thread.join();
        }
    }
}

/// The thread's own part.
struct Loop<K> {
    number: u32,
    worker: Worker<EpollWaiter>,
    jobs: Vec<Box<dyn Job>>,
    names: Vec<Name<K>>,
    commands: Receiver<Command<K>>,
    waiting: Arc<AtomicUsize>,
    tell: Sender<Told<K>>,
    block: Block,
    cost: Cost,
    published: u64,
    /// Counters of jobs that are gone.
    past: Counters,
}

struct Name<K> {
    key: K,
    told: bool,
    /// Its measuring has begun.
    begun: bool,
    /// Its other end has stalled, and that was told.
    stalled: bool,
    /// The worker's own counters then.
    base: Counters,
    /// The same when it ended, where it does before the job is removed.
    end: Option<Counters>,
}

/// Shows that the worker makes progress.
#[inline]
fn beat(block: &Block) {
    block.set_beat(block.beat().wrapping_add(1));
}

/// Between two publications of the counters, in microseconds.
const PUBLISH_US: u64 = 1000;
/// Turns between two looks at the clock for that.
const TURNS_PER_LOOK: u64 = 64;

impl<K: Copy + Eq> Loop<K> {
    fn new(
        parts: Parts,
        commands: Receiver<Command<K>>,
        waiting: Arc<AtomicUsize>,
        tell: Sender<Told<K>>,
    ) -> Self {
        let Parts { number, waiter, spin, cost, block, .. } = parts;
        Self {
            number,
            worker: Worker::new(waiter, spin, cost.clone()),
            jobs: Vec::new(),
            names: Vec::new(),
            commands,
            waiting,
            tell,
            block,
            cost,
            published: 0,
            past: Counters::default(),
        }
    }

    fn run(mut self) {
        let mut sleeps = 0;
        loop {
            // SYNC command waits: with the Release addition in `tell`.
            if self.waiting.load(Ordering::Acquire) > 0 && !self.obey() {
                break;
            }
            self.worker.turn(&mut self.jobs);
            // After each: some take as long as many others do.
            beat(&self.block);
            self.tell_finished();
            let slept = self.worker.wakeups() != sleeps;
            sleeps = self.worker.wakeups();
            if slept || self.worker.turns().is_multiple_of(TURNS_PER_LOOK) {
                self.look_around(slept);
            }
        }
        self.publish();
    }

    /// Deals with what it was told; `false` to end.
    fn obey(&mut self) -> bool {
        while let Ok(command) = self.commands.try_recv() {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            match command {
                Command::Add(key, mut job) => {
                    if let Err(error) = job.watch(self.worker.waiter()) {
                        let why = Some(format!("cannot wait for events: {error}"));
                        let _ = self.tell.send(Told::Finished(key, why));
                    }
                    // Until it first sleeps, nobody rings for it.
                    job.disarm();
                    self.jobs.push(job);
                    let base = self.own_counters();
                    let (told, begun, stalled, end) = (false, false, false, None);
                    self.names.push(Name { key, told, begun, stalled, base, end });
                }
                Command::Change(key, what) => self.change(key, what),
                Command::Remove(key) => self.remove(key),
                Command::Stop => return false,
            }
        }
        true
    }

    fn change(&mut self, key: K, what: Box<dyn Any + Send>) {
        let Some(at) = self.names.iter().position(|name| name.key == key) else { return };
        let job = &mut self.jobs[at];
        job.unwatch(self.worker.waiter());
        job.change(what);
        if let Err(error) = job.watch(self.worker.waiter()) {
            let why = Some(format!("cannot wait for events: {error}"));
            let _ = self.tell.send(Told::Finished(key, why));
        }
        job.disarm();
    }

    #[traced]
    fn remove(&mut self, key: K) {
        let own = self.own_counters();
        let mut report: Option<SideReport> = None;
        while let Some(at) = self.names.iter().position(|name| name.key == key) {
            let name = self.names.swap_remove(at);
            let job = self.jobs.swap_remove(at);
            job.unwatch(self.worker.waiter());
            self.past = self.past.plus(&job.counters());
            let mut one = job.finish();
            one.workers = [(self.number, name.end.unwrap_or(own).since(&name.base))].into();
            report = Some(match report.take() {
                Some(sum) => sum.plus(one),
                None => one,
            });
        }
        let _ = self.tell.send(Told::Removed(key, Box::new(report.unwrap_or_default())));
    }

    /// Now and then, and after each sleep: publishes the counters.
    fn look_around(&mut self, slept: bool) {
        // Who spins does nothing else.
        let mut span = tracer::quiet_span!("look_around");
        span.keep_if(slept);
        self.tell_stalled();
        let now = cycles();
        if now.wrapping_sub(self.published) < PUBLISH_US * cycles_per_us() {
            return;
        }
        self.published = now;
        self.publish();
        let own = self.own_counters();
        for (job, name) in self.jobs.iter().zip(&mut self.names) {
            if !name.begun && job.begun() {
                (name.begun, name.base) = (true, own);
            }
            if name.end.is_none() && job.over() {
                name.end = Some(own);
            }
        }
    }

    /// Tells which jobs are done. After every turn: the next one may sleep.
    #[inline]
    fn tell_finished(&mut self) {
        for (job, name) in self.jobs.iter().zip(&mut self.names) {
            if !name.told && job.finished() {
                name.told = true;
                let _ = self.tell.send(Told::Finished(name.key, job.failure()));
            }
        }
    }

    /// Tells whose other end has stalled, and whose has not any more.
    fn tell_stalled(&mut self) {
        for (job, name) in self.jobs.iter().zip(&mut self.names) {
            let stalled = job.stalled();
            if name.stalled != stalled {
                name.stalled = stalled;
                let _ = self.tell.send(Told::Stalled(name.key, stalled));
            }
        }
    }

    fn publish(&mut self) {
        let _span = tracer::span!("publish_counters");
        let own = self.own_counters();
        let jobs = self.jobs.iter().map(|job| job.counters());
        let sum = jobs.fold(self.past.plus(&own), |sum, one| sum.plus(&one));
        sum.publish(&self.block);
    }

    /// What the worker itself counts.
    fn own_counters(&self) -> Counters {
        let time = self.worker.time();
        Counters {
            wakeups: self.worker.wakeups(),
            lost_wakeups: self.worker.lost_wakeups(),
            syscalls: self.worker.waiter_ref().sleeps(),
            busy_cycles: time.busy,
            spin_cycles: time.spun,
            sleep_cycles: time.slept,
            allocs: tracer::alloc::thread_calls(),
            cost_ns: self.cost.charged_ns(),
            ..Counters::default()
        }
    }
}
