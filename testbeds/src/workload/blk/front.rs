//! The guest's end of a disk's run: keeps operations in flight until the run is over, and then reads again
//! what was written and is to be checked. What becomes of each operation is in `jobs`.

use std::any::Any;
use std::time::{Duration, Instant};

use blkif::front::{OpKind, Queue};
use rings::DomainError;
use rings::worker::Task;
use rings_host::{EpollWaiter, HostDomain};
use tracer::clock::cycles;

use super::Change;
use super::jobs::Jobs;
use super::report::BlkReport;
use crate::config::BlkConfig;
use crate::counters::Counters;
use crate::workload::{Job, SideReport, think};

/// What the jobs of a queue are at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// What they are there for.
    Work,
    /// The last of that is in flight.
    LastAnswers,
    /// What was written is read again.
    ReadBack,
    /// Nothing any more.
    Over,
}

/// The jobs of one queue.
#[derive(Debug)]
pub struct Exerciser {
    queue: Queue<HostDomain>,
    jobs: Jobs,
    think_ns: u64,
    /// Reads and writes begun.
    begun: u64,
    /// Slots begun in this turn.
    fresh: Vec<u32>,
    stage: Stage,
    /// When reading back began.
    back_since: Option<Instant>,
    /// What the queue had counted when measuring began.
    base: Option<BlkReport>,
}

impl Exerciser {
    /// The jobs of queue `index` of `count`.
    #[must_use]
    pub fn new(queue: Queue<HostDomain>, config: &BlkConfig, index: u32, count: u32) -> Self {
        let bytes = config.disk.size.unwrap_or(u64::MAX).min(queue.disk().sectors * 512);
        let jobs = Jobs::new(config, index, count, bytes);
        let fresh = Vec::with_capacity(jobs.slots.len());
        let think_ns = config.run.think_ns;
        let (stage, back_since, base) = (Stage::Work, None, None);
        Self { queue, jobs, think_ns, begun: 0, fresh, stage, back_since, base }
    }

    /// Whether there is room for another operation, and there are to be more.
    #[inline(always)]
    fn may_begin(&self) -> bool {
        let more = match self.stage {
            Stage::Work => self.jobs.meter.left(self.begun) > 0,
            Stage::ReadBack => true,
            Stage::LastAnswers | Stage::Over => false,
        };
        more && self.queue.has_room()
    }

    /// Answers came, or nothing has been begun yet: whether this is the end of measuring.
    #[inline]
    fn tick(&mut self, now: Instant) {
        self.jobs.meter.tick(now);
        if self.jobs.meter.wants_base() {
            self.measure_from_here();
        }
        if self.jobs.meter.is_over(now, self.begun) {
            self.stage = Stage::LastAnswers;
        }
    }

    /// Nothing is in flight any more, and nothing is to be measured: what is next.
    #[cold]
    fn next_stage(&mut self, now: Instant) {
        let more = self.stage == Stage::LastAnswers && self.jobs.read_back();
        self.stage = if more { Stage::ReadBack } else { Stage::Over };
        match (&mut self.jobs.back, self.back_since) {
            (Some(back), Some(since)) => back.seconds = now.duration_since(since).as_secs_f64(),
            (Some(_), None) => self.back_since = Some(now),
            (None, _) => {}
        }
    }

    /// Begins as many operations as there is room for, and pushes them.
    #[inline]
    fn begin(&mut self, now: Instant) -> bool {
        let _span = tracer::quiet_span!(GUEST, "begin");
        let (start, first) = (cycles(), self.begun);
        let (mut reads, mut writes) = (0, 0);
        for job in 0..self.jobs.streams.len() {
            while self.may_begin() {
                let Some(op) = self.jobs.next(job, now) else { break };
                let stream = &mut self.jobs.streams[job];
                if op.kind == OpKind::Write && stream.verifies() {
                    let block = self.jobs.slots[op.tag as usize].block;
                    let fill = |bytes: &mut [u8]| stream.fill(block, bytes);
                    self.queue.buffers().fill(op.page as usize, self.jobs.bs, fill);
                }
                think(self.think_ns);
                if self.queue.start(op).is_err() {
                    // There was room, so it is a flush that the backend does not do.
                    stream.no_more_flushes();
                    continue;
                }
                if op.kind == OpKind::Flush {
                    stream.flush_begins(op.tag);
                }
                self.jobs.free[job].pop();
                self.fresh.push(op.tag);
                reads += u64::from(op.kind == OpKind::Read);
                writes += u64::from(op.kind == OpKind::Write);
                self.begun += u64::from(op.kind != OpKind::Flush);
            }
        }
        if self.fresh.is_empty() {
            return false;
        }
        tracer::mark!(ITERATION, "batch", first = first & 0xffff_ffff);
        self.queue.flush();
        let end = cycles();
        for tag in self.fresh.drain(..) {
            let slot = &mut self.jobs.slots[tag as usize];
            (slot.decided, slot.pushed) = (start, end);
        }
        if self.stage == Stage::Work {
            let slat = self.jobs.ns(end.wrapping_sub(start));
            self.jobs.read.slat.add(slat, reads);
            self.jobs.write.slat.add(slat, writes);
        }
        true
    }

    /// The warm-up is over: what was measured until now does not count.
    #[cold]
    fn measure_from_here(&mut self) {
        self.base = Some(BlkReport::of(self.queue.stats()));
        self.jobs.forget();
        self.jobs.meter.set_base(self.device_counters());
    }

    /// All but what the meter counts.
    fn device_counters(&self) -> Counters {
        let (stats, events) = (self.queue.stats(), self.queue.events());
        let report = &self.jobs.meter.report;
        let (read_back, to_read_back) = self.jobs.back.map_or((0, 0), |b| (b.blocks, b.all));
        Counters {
            frames_out: stats.requests,
            bytes_out: self.jobs.write.bytes,
            bytes_in: self.jobs.read.bytes,
            errors: stats.errors,
            pushes: stats.pushes,
            pushed: stats.pushed,
            notifies: events.sent(),
            suppressed: stats.suppressed,
            ring_full: stats.ring_full,
            copied_bytes: report.verified,
            syscalls: events.rung,
            storm_delays: self.queue.storm_delays(),
            read_back,
            to_read_back,
            ..Counters::default()
        }
    }
}

impl Task for Exerciser {
    #[inline]
    fn work(&mut self) -> bool {
        if self.queue.lost() {
            return false;
        }
        let _span = tracer::quiet_span!(GUEST, "exercise");
        let Self { queue, jobs, .. } = self;
        jobs.now = cycles();
        let answers = queue.reap(|buffers, op, outcome| jobs.over(buffers, op, outcome));
        if answers == 0 && queue.running() > 0 && !queue.has_room() {
            return false;
        }
        let now = Instant::now();
        if self.stage == Stage::Work && (answers > 0 || !self.jobs.meter.started()) {
            self.tick(now);
        }
        if self.stage == Stage::LastAnswers && self.queue.running() == 0 {
            self.next_stage(now);
        }
        let begun = self.begin(now);
        if self.stage == Stage::ReadBack && self.queue.running() == 0 {
            self.next_stage(now);
        }
        if answers > 0 && !begun {
            // Parts of operations that wait for room, or for the part before them.
            self.queue.flush();
        }
        answers > 0 || begun
    }

    fn arm(&mut self, now: Instant) -> bool {
        !self.queue.lost() && self.queue.arm(now)
    }

    fn disarm(&mut self) -> bool {
        self.queue.disarm()
    }

    fn settle(&mut self, worked: bool, now: Instant) {
        self.queue.settle_event(worked, now);
    }

    fn patience(&self, now: Instant) -> Duration {
        // What waits for an answer is woken by it.
        let keeps = self.stage == Stage::Work && self.may_begin();
        let due = keeps.then(|| self.jobs.due_in(now)).flatten();
        self.queue.patience(now).min(due.unwrap_or(Duration::MAX))
    }

    fn missed(&mut self) -> bool {
        self.queue.missed()
    }

    fn finished(&self) -> bool {
        self.queue.broken().is_some() || self.stage == Stage::Over
    }
}

impl Job for Exerciser {
    fn counters(&self) -> Counters {
        self.device_counters().plus(&self.jobs.meter.counters())
    }

    fn failure(&self) -> Option<String> {
        self.queue.broken().map(|lie| lie.to_string())
    }

    fn begun(&self) -> bool {
        self.jobs.meter.begun()
    }

    fn watch(&self, waiter: &mut EpollWaiter) -> Result<(), DomainError> {
        self.queue.watch(waiter)
    }

    fn unwatch(&self, waiter: &mut EpollWaiter) {
        self.queue.unwatch(waiter);
    }

    fn change(&mut self, what: Box<dyn Any + Send>) {
        match what.downcast::<Change>().map(|change| *change) {
            Ok(Change::Relink(link, disk)) => {
                self.jobs.backend_died();
                self.queue.relink(*link, disk);
            }
            Ok(Change::Resize(sectors)) => self.queue.resize(sectors),
            // Nobody has anything else for a disk.
            Err(_) => {}
        }
    }

    fn finish(self: Box<Self>) -> SideReport {
        let (counters, all) = (self.counters(), BlkReport::of(self.queue.stats()));
        let Self { queue, mut jobs, stage, back_since, base, .. } = *self;
        queue.close();
        // Whoever is told to end while it reads back has read for so long.
        if let (Stage::ReadBack, Some(back), Some(since)) = (stage, &mut jobs.back, back_since) {
            back.seconds = since.elapsed().as_secs_f64();
        }
        let mut report = jobs.meter.finish(counters);
        let mut latencies = crate::results::Latencies::new();
        for direction in [&jobs.read, &jobs.write] {
            direction.clats.iter().for_each(|clats| latencies.merge(clats));
        }
        report.latencies = Some(latencies);
        let (read, write, flushes) = (jobs.read, jobs.write, jobs.flushes);
        let read_back = jobs.back;
        let since = base.map_or(all.clone(), |base| all.since(&base));
        report.blk = Some(BlkReport { read, write, flushes, read_back, ..since });
        report
    }
}
