//! The guest's end of a disk's run: keeps operations in flight, times them, checks what they bring.

use std::any::Any;
use std::time::{Duration, Instant};

use blkif::front::{Buffers, Op, OpKind, Outcome, Queue};
use rings::DomainError;
use rings::worker::Task;
use rings_host::{EpollWaiter, HostDomain};
use tracer::clock::{cycles, cycles_per_us};

use super::Change;
use super::report::{BlkReport, Direction};
use super::stream::{Next, Stream};
use crate::config::BlkConfig;
use crate::counters::Counters;
use crate::units::float;
use crate::workload::{Job, Meter, SideReport, think};

/// An operation in flight.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    block: u64,
    /// When it was pushed. Cycles.
    pushed: u64,
    /// Backends before the one it was begun with.
    lives: u32,
}

/// The jobs, and what was measured of them: everything but the queue.
#[derive(Debug)]
struct Jobs {
    streams: Vec<Stream>,
    slots: Vec<Slot>,
    /// Free slots of each stream.
    free: Vec<Vec<u32>>,
    iodepth: u32,
    bs: usize,
    pages: u32,
    meter: Meter,
    read: Direction,
    write: Direction,
    flushes: u64,
    /// Private room for what is checked.
    room: Vec<u8>,
    ns_per_cycle: f64,
    /// When the answers at hand were taken. Cycles.
    now: u64,
    /// Backends that have died.
    lives: u32,
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
    over: bool,
    /// What the queue had counted when measuring began.
    base: Option<BlkReport>,
}

impl Jobs {
    /// The jobs of queue `index` of `count` on a disk of so many bytes.
    fn new(config: &BlkConfig, index: u32, count: u32, bytes: u64) -> Self {
        let jobs = (index..config.numjobs).step_by(count.max(1) as usize);
        let all = u64::from(config.numjobs);
        let streams: Vec<Stream> =
            jobs.map(|job| Stream::new(config, job.into(), all, bytes)).collect();
        let numbers = 0..u32::try_from(streams.len()).unwrap_or(0);
        let iodepth = config.iodepth;
        let free = numbers.map(|n| (n * iodepth..(n + 1) * iodepth).rev().collect()).collect();
        Self {
            slots: vec![Slot::default(); streams.len() * iodepth as usize],
            streams,
            free,
            iodepth,
            bs: config.bs,
            pages: u32::try_from(config.bs.div_ceil(rings::PAGE_SIZE)).unwrap_or(1),
            meter: Meter::new(&config.run, index.into(), count.into()),
            read: Direction::new(),
            write: Direction::new(),
            flushes: 0,
            room: vec![0; config.bs],
            ns_per_cycle: 1e3 / float(cycles_per_us()),
            now: 0,
            lives: 0,
        }
    }

    #[inline(always)]
    fn ns(&self, cycles: u64) -> u64 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "not negative")]
        let ns = (float(cycles) * self.ns_per_cycle) as u64;
        ns
    }

    /// The next operation of a job, if it has a free slot and anything to do.
    #[inline]
    fn next(&mut self, job: usize, now: Instant) -> Option<Op> {
        let &tag = self.free[job].last()?;
        let stream = &mut self.streams[job];
        let (kind, block) = match stream.next(now) {
            Next::Read(block) => (OpKind::Read, block),
            Next::Write(block) => (OpKind::Write, block),
            Next::Flush => (OpKind::Flush, 0),
            Next::Wait => return None,
        };
        self.slots[tag as usize] = Slot { block, pushed: 0, lives: self.lives };
        let (sectors, sector) = match kind {
            OpKind::Flush => (0, 0),
            _ => (self.bs / 512, stream.offset(block) / 512),
        };
        let (sectors, page) = (u32::try_from(sectors).unwrap_or(0), tag * self.pages);
        Some(Op { kind, sector, sectors, page, tag })
    }

    /// How long until a rate allows an operation that nothing else keeps.
    fn due_in(&self, now: Instant) -> Option<Duration> {
        let free = self.streams.iter().zip(&self.free).filter(|(_, free)| !free.is_empty());
        free.filter_map(|(stream, _)| stream.due_in(now)).min()
    }

    /// An operation is over.
    #[inline]
    fn over(&mut self, buffers: &mut Buffers, op: Op, outcome: Outcome) {
        let slot = self.slots[op.tag as usize];
        let job = (op.tag / self.iodepth) as usize;
        self.free[job].push(op.tag);
        let ns = self.ns(self.now.wrapping_sub(slot.pushed));
        if matches!(op.kind, OpKind::Flush | OpKind::Barrier) {
            self.flushes += 1;
            return self.flushed(job, op.tag, outcome);
        }
        let reads = op.kind == OpKind::Read;
        let direction = if reads { &mut self.read } else { &mut self.write };
        direction.ops += 1;
        direction.bytes += self.bs as u64;
        direction.clat.add(ns, 1);
        if let Some(clats) = &mut direction.clats {
            clats.record(ns);
        }
        self.meter.report.ops += 1;
        self.meter.report.bytes += self.bs as u64;
        if outcome == Outcome::Okay {
            if self.streams[job].verifies() {
                self.settle(buffers, job, slot.block, op);
            }
        } else {
            self.failed(job, slot.block, reads);
        }
        self.streams[job].release(slot.block);
    }

    fn flushed(&mut self, job: usize, tag: u32, outcome: Outcome) {
        self.streams[job].flushed(tag, outcome == Outcome::Okay);
        match outcome {
            Outcome::Okay => {}
            Outcome::Unsupported => self.streams[job].no_more_flushes(),
            // It promised nothing, and that is as it must be: its backend died before.
            Outcome::Error if self.slots[tag as usize].lives != self.lives => {}
            Outcome::Error => self.meter.error(|| "a flush failed".into()),
        }
    }

    /// Another backend goes on.
    fn backend_died(&mut self) {
        self.lives += 1;
        self.streams.iter_mut().for_each(Stream::backend_died);
    }

    /// Notes what was written, checks what was read: copied out of the shared page, and then looked at.
    fn settle(&mut self, buffers: &Buffers, job: usize, block: u64, op: Op) {
        if op.kind == OpKind::Write {
            return self.streams[job].wrote(block);
        }
        let _span = tracer::span!(GUEST, "verify", bytes = self.bs);
        buffers.copy_out(op.page as usize, &mut self.room);
        match self.streams[job].check(block, &self.room) {
            Ok(bytes) => self.meter.report.verified += bytes,
            Err(wrong) => self.meter.error(|| wrong),
        }
    }

    #[cold]
    fn failed(&mut self, job: usize, block: u64, reads: bool) {
        let offset = self.streams[job].offset(block);
        if !reads {
            self.streams[job].spoil(block);
        }
        let what = if reads { "read" } else { "write" };
        self.meter.error(|| format!("the {what} of {} bytes at byte {offset} failed", self.bs));
    }
}

impl Exerciser {
    /// The jobs of queue `index` of `count`.
    #[must_use]
    pub fn new(queue: Queue<HostDomain>, config: &BlkConfig, index: u32, count: u32) -> Self {
        let bytes = config.disk.size.unwrap_or(u64::MAX).min(queue.disk().sectors * 512);
        let jobs = Jobs::new(config, index, count, bytes);
        let fresh = Vec::with_capacity(jobs.slots.len());
        let think_ns = config.run.think_ns;
        Self { queue, jobs, think_ns, begun: 0, fresh, over: false, base: None }
    }

    /// Whether there is room for another operation, and there are to be more.
    #[inline(always)]
    fn may_begin(&self) -> bool {
        !self.over && self.queue.has_room() && self.jobs.meter.left(self.begun) > 0
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
            self.jobs.slots[tag as usize].pushed = end;
        }
        let slat = self.jobs.ns(end.wrapping_sub(start));
        self.jobs.read.slat.add(slat, reads);
        self.jobs.write.slat.add(slat, writes);
        true
    }

    /// The warm-up is over: what was measured until now does not count.
    #[cold]
    fn measure_from_here(&mut self) {
        self.base = Some(BlkReport::of(self.queue.stats()));
        let counters = self.counters();
        self.jobs.meter.set_base(counters);
        (self.jobs.read, self.jobs.write) = (Direction::new(), Direction::new());
        self.jobs.flushes = 0;
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
        if answers > 0 || !self.jobs.meter.started() {
            self.jobs.meter.tick(now);
            if self.jobs.meter.wants_base() {
                self.measure_from_here();
            }
            self.over |= self.jobs.meter.is_over(now, self.begun);
        }
        let begun = !self.over && self.begin(now);
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
        let due = self.may_begin().then(|| self.jobs.due_in(now)).flatten();
        self.queue.patience(now).min(due.unwrap_or(Duration::MAX))
    }

    fn missed(&mut self) -> bool {
        self.queue.missed()
    }

    fn finished(&self) -> bool {
        self.queue.broken().is_some() || (self.over && self.queue.running() == 0)
    }
}

impl Job for Exerciser {
    fn counters(&self) -> Counters {
        let (stats, events) = (self.queue.stats(), self.queue.events());
        let report = &self.jobs.meter.report;
        let both = Counters {
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
            ..Counters::default()
        };
        both.plus(&self.jobs.meter.counters())
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
        let Self { queue, jobs, base, .. } = *self;
        queue.close();
        let mut report = jobs.meter.finish(counters);
        let mut latencies = crate::results::Latencies::new();
        for direction in [&jobs.read, &jobs.write] {
            direction.clats.iter().for_each(|clats| latencies.merge(clats));
        }
        report.latencies = Some(latencies);
        let (read, write, flushes) = (jobs.read, jobs.write, jobs.flushes);
        let since = base.map_or(all.clone(), |base| all.since(&base));
        report.blk = Some(BlkReport { read, write, flushes, ..since });
        report
    }
}
