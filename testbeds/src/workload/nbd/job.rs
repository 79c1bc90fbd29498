//! The worker's end of the NBD server: requests from the desk become operations of blkfront, and their
//! ends become replies.
//!
//! A request that is longer than a slot of buffers is done in parts, which may be in flight together; its
//! reply goes out after the last of them.

use std::any::Any;
use std::time::{Duration, Instant};

use blkif::front::{Buffers, Op, OpKind, Outcome, Queue};
use rings::DomainError;
use rings::worker::Task;
use rings_host::{EpollWaiter, HostDomain};

use super::desk::{Desk, Reply, Request, Wish};
use super::wire::error;
use crate::config::RunConfig;
use crate::counters::Counters;
use crate::results::Latencies;
use crate::workload::blk::{BlkReport, Change};
use crate::workload::{Job, Meter, SideReport};

/// Bytes of a slot of buffers.
pub const SLOT: usize = 256 << 10;
const SLOT_PAGES: u32 = 64;
const _: () = assert!(SLOT_PAGES as usize * rings::PAGE_SIZE == SLOT);

/// A request that has been begun.
struct Running {
    request: Request,
    begun: Instant,
    /// Bytes whose operations have been begun.
    put: usize,
    /// Operations that are not over.
    left: u32,
    error: u32,
    /// The flush that follows has been begun.
    flushing: bool,
}

/// What an operation is a part of.
#[derive(Clone, Copy)]
struct Part {
    running: usize,
    at: usize,
    len: usize,
}

/// Serves NBD clients with one queue.
pub struct Clerk {
    queue: Queue<HostDomain>,
    desk: Desk,
    running: Vec<Option<Running>>,
    parts: Vec<Part>,
    free: Vec<u32>,
    meter: Meter,
    latencies: Latencies,
    flushes: u64,
    reads: (u64, u64),
    writes: (u64, u64),
}

impl std::fmt::Debug for Clerk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Clerk").field("queue", &self.queue).finish_non_exhaustive()
    }
}

impl Clerk {
    /// Serves what lies on `desk` with this queue, `slots` operations at once.
    #[must_use]
    pub fn new(queue: Queue<HostDomain>, desk: Desk, slots: u32, run: &RunConfig) -> Self {
        let none = Part { running: 0, at: 0, len: 0 };
        Self {
            queue,
            desk,
            running: Vec::new(),
            parts: vec![none; slots as usize],
            free: (0..slots).rev().collect(),
            meter: Meter::new(run, 1),
            latencies: Latencies::new(),
            flushes: 0,
            reads: (0, 0),
            writes: (0, 0),
        }
    }

    /// Takes requests as long as there is room, and begins what can be begun of those taken.
    fn begin(&mut self) -> bool {
        let mut any = false;
        for at in 0..self.running.len() {
            any |= self.begin_parts(at);
        }
        while self.queue.has_room() && !self.free.is_empty() {
            let Some(request) = self.desk.take() else { break };
            let running = Running {
                request,
                begun: Instant::now(),
                put: 0,
                left: 0,
                error: 0,
                flushing: false,
            };
            let at = self.running.iter().position(Option::is_none).unwrap_or(self.running.len());
            if at == self.running.len() {
                self.running.push(None);
            }
            self.running[at] = Some(running);
            any |= self.begin_parts(at);
            self.end_if_over(at);
        }
        any
    }

    /// Begins the next parts of a request.
    fn begin_parts(&mut self, at: usize) -> bool {
        let mut any = false;
        while let Some(running) = self.running.get_mut(at).and_then(Option::as_mut) {
            let length = running.request.length as usize;
            let bare = matches!(running.request.wish, Wish::Flush | Wish::Trim);
            let more = running.put < length || (bare && running.put == 0 && !running.flushing);
            if !more || running.error != 0 || !self.queue.has_room() {
                break;
            }
            let Some(&tag) = self.free.last() else { break };
            let (from, len) = match running.request.wish {
                Wish::Read | Wish::Write => (running.put, (length - running.put).min(SLOT)),
                Wish::Flush | Wish::Trim => (0, length),
            };
            let op = operation(&running.request, from, len, tag);
            if op.kind == OpKind::Write {
                let bytes = &running.request.data[from..from + len];
                self.queue.buffers().copy_in(op.page as usize, bytes);
            }
            match self.queue.start(op) {
                Ok(()) => {
                    self.free.pop();
                    self.parts[tag as usize] = Part { running: at, at: from, len };
                    running.left += 1;
                    any = true;
                }
                Err(Outcome::Unsupported) => running.error = error::ENOTSUP,
                Err(_) => running.error = error::EIO,
            }
            running.put = from + len;
            running.flushing |= bare;
        }
        any
    }

    /// An operation is over.
    fn over(&mut self, op: Op, outcome: Outcome, data: Option<Vec<u8>>) {
        self.free.push(op.tag);
        let part = self.parts[op.tag as usize];
        let Some(running) = self.running.get_mut(part.running).and_then(Option::as_mut) else {
            return;
        };
        running.left -= 1;
        match outcome {
            Outcome::Okay => {}
            Outcome::Unsupported => running.error = error::ENOTSUP,
            Outcome::Error => running.error = error::EIO,
        }
        if let Some(data) = data {
            running.request.data[part.at..part.at + part.len].copy_from_slice(&data);
        }
        self.end_if_over(part.running);
    }

    /// Replies to a request whose last operation is over; a write that must be durable is flushed first.
    fn end_if_over(&mut self, at: usize) {
        let Some(running) = self.running.get_mut(at).and_then(Option::as_mut) else { return };
        let put = running.put >= running.request.length as usize;
        if running.left > 0 || (running.error == 0 && !put) {
            return;
        }
        if running.request.fua && running.error == 0 && !running.flushing {
            running.flushing = true;
            let Some(tag) = self.free.pop() else { return };
            let op = Op { kind: OpKind::Flush, sector: 0, sectors: 0, page: 0, tag };
            self.parts[tag as usize] = Part { running: at, at: 0, len: 0 };
            match self.queue.start(op) {
                Ok(()) => {
                    running.left += 1;
                    return;
                }
                Err(_) => {
                    self.free.push(tag);
                    running.error = error::EIO;
                }
            }
        }
        let Some(Running { request, begun, error, .. }) = self.running[at].take() else { return };
        self.count(&request, begun, error);
        let reads = request.wish == Wish::Read && error == 0;
        let data = if reads { request.data } else { Vec::new() };
        // A client that has gone wants no answer.
        let _ = request.reply.send(Reply { cookie: request.cookie, error, data });
    }

    fn count(&mut self, request: &Request, begun: Instant, error: u32) {
        let bytes = u64::from(request.length);
        match request.wish {
            Wish::Read => self.reads = (self.reads.0 + 1, self.reads.1 + bytes),
            Wish::Write => self.writes = (self.writes.0 + 1, self.writes.1 + bytes),
            Wish::Flush => self.flushes += 1,
            Wish::Trim => {}
        }
        if matches!(request.wish, Wish::Read | Wish::Write) {
            self.meter.report.bytes += bytes;
            self.meter.report.ops += 1;
            let ns = begun.elapsed().as_nanos();
            self.latencies.record(u64::try_from(ns).unwrap_or(u64::MAX));
        }
        if error != 0 {
            let at = request.offset;
            self.meter.error(|| format!("a request at byte {at} failed (errno {error})"));
        }
    }
}

/// A part of a request as an operation.
fn operation(request: &Request, from: usize, len: usize, tag: u32) -> Op {
    let kind = match request.wish {
        Wish::Read => OpKind::Read,
        Wish::Write => OpKind::Write,
        Wish::Flush => OpKind::Flush,
        Wish::Trim => OpKind::Discard { secure: false },
    };
    let sectors = if kind == OpKind::Flush { 0 } else { len / 512 };
    Op {
        kind,
        sector: (request.offset + from as u64) / 512,
        sectors: u32::try_from(sectors).unwrap_or(u32::MAX),
        page: tag * SLOT_PAGES,
        tag,
    }
}

impl Task for Clerk {
    fn work(&mut self) -> bool {
        if self.queue.lost() {
            return false;
        }
        let mut over = Vec::new();
        let parts = &self.parts;
        let answers = self.queue.reap(|buffers: &mut Buffers, op, outcome| {
            let data = (op.kind == OpKind::Read && outcome == Outcome::Okay).then(|| {
                let mut data = vec![0; parts[op.tag as usize].len];
                buffers.copy_out(op.page as usize, &mut data);
                data
            });
            over.push((op, outcome, data));
        });
        for (op, outcome, data) in over {
            self.over(op, outcome, data);
        }
        let begun = self.begin();
        if answers > 0 || begun {
            self.meter.tick(Instant::now());
            self.queue.flush();
        }
        answers > 0 || begun
    }

    fn arm(&mut self, now: Instant) -> bool {
        let asked = self.desk.len() > 0 && self.queue.has_room();
        !self.queue.lost() && (self.queue.arm(now) || asked)
    }

    fn disarm(&mut self) -> bool {
        self.queue.disarm()
    }

    fn settle(&mut self, worked: bool, now: Instant) {
        self.queue.settle_event(worked, now);
    }

    fn patience(&self, now: Instant) -> Duration {
        self.queue.patience(now)
    }

    fn finished(&self) -> bool {
        self.queue.broken().is_some()
    }
}

impl Job for Clerk {
    fn counters(&self) -> Counters {
        let (stats, events) = (self.queue.stats(), self.queue.events());
        let both = Counters {
            frames_out: stats.requests,
            bytes_out: self.writes.1,
            bytes_in: self.reads.1,
            errors: stats.errors,
            pushes: stats.pushes,
            pushed: stats.pushed,
            notifies: events.rung,
            suppressed: stats.suppressed,
            ring_full: stats.ring_full,
            syscalls: events.rung,
            storm_delays: self.queue.storm_delays(),
            ..Counters::default()
        };
        both.plus(&self.meter.counters())
    }

    fn failure(&self) -> Option<String> {
        self.queue.broken().map(|lie| lie.to_string())
    }

    fn begun(&self) -> bool {
        self.meter.begun()
    }

    fn watch(&self, waiter: &mut EpollWaiter) -> Result<(), DomainError> {
        self.queue.watch(waiter)
    }

    fn unwatch(&self, waiter: &mut EpollWaiter) {
        self.queue.unwatch(waiter);
    }

    fn change(&mut self, what: Box<dyn Any + Send>) {
        match what.downcast::<Change>().map(|change| *change) {
            Ok(Change::Relink(link, disk)) => self.queue.relink(*link, disk),
            Ok(Change::Resize(sectors)) => self.queue.resize(sectors),
            // Nobody has anything else for a disk.
            Err(_) => {}
        }
    }

    fn finish(self: Box<Self>) -> SideReport {
        let counters = self.counters();
        let stats = *self.queue.stats();
        let Self { queue, meter, latencies, flushes, reads, writes, .. } = *self;
        queue.close();
        let mut report = meter.finish(counters);
        let mut blk = BlkReport {
            flushes,
            requests: stats.requests,
            indirect: stats.indirect,
            segments: stats.segments,
            requeued: stats.requeued,
            reconnects: stats.reconnects,
            downgrades: stats.downgrades,
            depth: stats.depth,
            ..BlkReport::default()
        };
        (blk.read.ops, blk.read.bytes) = reads;
        (blk.write.ops, blk.write.bytes) = writes;
        report.latencies = Some(latencies);
        report.blk = Some(blk);
        report
    }
}
