//! The jobs of one queue, and what was measured of them: which operation each begins next, and what becomes
//! of it when it is over. The queue itself, and when to begin what, is in `front`.

use std::time::{Duration, Instant};

use blkif::front::{Buffers, Op, OpKind, Outcome};
use tracer::clock::cycles_per_us;

use super::report::{Direction, ReadBack};
use super::stream::{Next, Stream};
use crate::config::BlkConfig;
use crate::units::float;
use crate::workload::Meter;

/// An operation in flight.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Slot {
    pub(super) block: u64,
    /// When it was decided on. Cycles.
    pub(super) decided: u64,
    /// When it was pushed. Cycles.
    pub(super) pushed: u64,
    /// Backends before the one it was begun with.
    lives: u32,
}

/// The jobs, and what was measured of them.
#[derive(Debug)]
pub(super) struct Jobs {
    pub(super) streams: Vec<Stream>,
    pub(super) slots: Vec<Slot>,
    /// Free slots of each stream.
    pub(super) free: Vec<Vec<u32>>,
    iodepth: u32,
    pub(super) bs: usize,
    pages: u32,
    pub(super) meter: Meter,
    pub(super) read: Direction,
    pub(super) write: Direction,
    pub(super) flushes: u64,
    /// What was written is being read again, and nothing else: nothing of that is measured.
    pub(super) back: Option<ReadBack>,
    /// Private room for what is checked.
    room: Vec<u8>,
    ns_per_cycle: f64,
    /// When the answers at hand were taken. Cycles.
    pub(super) now: u64,
    /// Backends that have died.
    lives: u32,
}

impl Jobs {
    /// The jobs of queue `index` of `count` on a disk of so many bytes.
    pub(super) fn new(config: &BlkConfig, index: u32, count: u32, bytes: u64) -> Self {
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
            back: None,
            room: vec![0; config.bs],
            ns_per_cycle: 1e3 / float(cycles_per_us()),
            now: 0,
            lives: 0,
        }
    }

    #[inline(always)]
    pub(super) fn ns(&self, cycles: u64) -> u64 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "not negative")]
        let ns = (float(cycles) * self.ns_per_cycle) as u64;
        ns
    }

    /// The next operation of a job, if it has a free slot and anything to do.
    #[inline]
    pub(super) fn next(&mut self, job: usize, now: Instant) -> Option<Op> {
        let &tag = self.free[job].last()?;
        let stream = &mut self.streams[job];
        let next = if self.back.is_some() { stream.next_back() } else { stream.next(now) };
        let (kind, block) = match next {
            Next::Read(block) => (OpKind::Read, block),
            Next::Write(block) => (OpKind::Write, block),
            Next::Flush => (OpKind::Flush, 0),
            Next::Wait => return None,
        };
        self.slots[tag as usize] = Slot { block, lives: self.lives, ..Slot::default() };
        let (sectors, sector) = match kind {
            OpKind::Flush => (0, 0),
            _ => (self.bs / 512, stream.offset(block) / 512),
        };
        let (sectors, page) = (u32::try_from(sectors).unwrap_or(0), tag * self.pages);
        Some(Op { kind, sector, sectors, page, tag })
    }

    /// How long until a rate allows an operation that nothing else keeps.
    pub(super) fn due_in(&self, now: Instant) -> Option<Duration> {
        let free = self.streams.iter().zip(&self.free).filter(|(_, free)| !free.is_empty());
        free.filter_map(|(stream, _)| stream.due_in(now)).min()
    }

    /// An operation is over.
    #[inline]
    pub(super) fn over(&mut self, buffers: &mut Buffers, op: Op, outcome: Outcome) {
        let slot = self.slots[op.tag as usize];
        let job = (op.tag / self.iodepth) as usize;
        self.free[job].push(op.tag);
        if matches!(op.kind, OpKind::Flush | OpKind::Barrier) {
            return self.flushed(job, op.tag, outcome);
        }
        if outcome == Outcome::Okay {
            self.measure(&slot, op.kind);
            if self.streams[job].verifies() {
                self.settle(buffers, job, slot.block, op);
            }
        } else {
            self.failed(job, slot.block, op.kind);
        }
        self.streams[job].release(slot.block);
    }

    /// Counts and times an operation that was done.
    #[inline]
    fn measure(&mut self, slot: &Slot, kind: OpKind) {
        let bytes = self.bs as u64;
        if let Some(back) = &mut self.back {
            (back.blocks, back.bytes) = (back.blocks + 1, back.bytes + bytes);
            return;
        }
        let clat = self.ns(self.now.wrapping_sub(slot.pushed));
        let lat = self.ns(self.now.wrapping_sub(slot.decided));
        let direction = if kind == OpKind::Read { &mut self.read } else { &mut self.write };
        direction.ops += 1;
        direction.bytes += bytes;
        direction.clat.add(clat, 1);
        direction.lat.add(lat, 1);
        if let Some(clats) = &mut direction.clats {
            clats.record(clat);
        }
        self.meter.report.ops += 1;
        self.meter.report.bytes += bytes;
    }

    fn flushed(&mut self, job: usize, tag: u32, outcome: Outcome) {
        self.streams[job].flushed(tag, outcome == Outcome::Okay);
        match outcome {
            Outcome::Okay => self.flushes += 1,
            // The next is a barrier, where the backend has those, or cannot be begun.
            Outcome::Unsupported => {}
            // It promised nothing, and that is as it must be: its backend died before.
            Outcome::Error if self.slots[tag as usize].lives != self.lives => {}
            Outcome::Error => self.meter.error(|| "a flush failed".into()),
        }
    }

    /// Another backend goes on.
    pub(super) fn backend_died(&mut self) {
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

    /// An operation was answered with an error: it moved nothing.
    #[cold]
    fn failed(&mut self, job: usize, block: u64, kind: OpKind) {
        let offset = self.streams[job].offset(block);
        let reads = kind == OpKind::Read;
        if !reads {
            self.streams[job].spoil(block);
        }
        if self.back.is_none() {
            let direction = if reads { &mut self.read } else { &mut self.write };
            direction.failed += 1;
        }
        let what = if reads { "read" } else { "write" };
        self.meter.error(|| format!("the {what} of {} bytes at byte {offset} failed", self.bs));
    }

    /// Goes over to reading again what was written and is to be checked. `false` if there is nothing. No
    /// operation may be in flight.
    pub(super) fn read_back(&mut self) -> bool {
        let all = self.streams.iter_mut().map(Stream::read_back).sum();
        self.back = (all > 0).then(|| ReadBack { all, ..ReadBack::default() });
        self.back.is_some()
    }

    /// Measuring begins here: what was until now does not count.
    pub(super) fn forget(&mut self) {
        (self.read, self.write) = (Direction::new(), Direction::new());
        self.flushes = 0;
    }
}
