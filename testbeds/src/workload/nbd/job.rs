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
    /// Its only operation, where there are no bytes, has been begun.
    bare_put: bool,
    /// The flush that follows has been begun.
    flushing: bool,
    /// Operations that are not over.
    left: u32,
    error: u32,
}

impl Running {
    /// Memory for what is read is taken now, not while the request waits.
    fn new(mut request: Request) -> Self {
        if request.wish == Wish::Read {
            request.data = vec![0; request.length as usize];
        }
        let begun = Instant::now();
        Self { request, begun, put: 0, bare_put: false, flushing: false, left: 0, error: 0 }
    }

    /// What is to be begun next: what it is, from which byte of the request, and how many. Nothing while
    /// the flush at the end has to wait for what it is to save, nor after an error.
    fn next(&self) -> Option<(OpKind, usize, usize)> {
        let length = self.request.length as usize;
        let part = (self.put, (length - self.put).min(SLOT));
        match self.request.wish {
            _ if self.error != 0 => None,
            Wish::Read if part.1 > 0 => Some((OpKind::Read, part.0, part.1)),
            Wish::Write if part.1 > 0 => Some((OpKind::Write, part.0, part.1)),
            Wish::Trim if !self.bare_put => Some((OpKind::Discard { secure: false }, 0, length)),
            Wish::Flush if !self.bare_put => Some((OpKind::Flush, 0, 0)),
            _ if self.request.fua && !self.flushing && self.left == 0 => {
                Some((OpKind::Flush, 0, 0))
            }
            _ => None,
        }
    }

    /// This is what [`next`](Self::next) said, and it has been begun.
    fn begin(&mut self, len: usize) {
        match self.request.wish {
            Wish::Read | Wish::Write if self.put < self.request.length as usize => self.put += len,
            Wish::Flush | Wish::Trim if !self.bare_put => self.bare_put = true,
            _ => self.flushing = true,
        }
        self.left += 1;
    }

    fn is_over(&self) -> bool {
        self.left == 0 && self.next().is_none()
    }
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
            let at = self.running.iter().position(Option::is_none).unwrap_or(self.running.len());
            if at == self.running.len() {
                self.running.push(None);
            }
            self.running[at] = Some(Running::new(request));
            any |= self.begin_parts(at);
        }
        any
    }

    /// Begins the next parts of a request, as far as there is room, and replies to it if it is over.
    fn begin_parts(&mut self, at: usize) -> bool {
        let mut any = false;
        while let Some(running) = self.running.get_mut(at).and_then(Option::as_mut) {
            let Some((kind, from, len)) = running.next() else { break };
            let Some(&tag) = self.free.last().filter(|_| self.queue.has_room()) else { break };
            let op = operation(&running.request, kind, from, len, tag);
            if kind == OpKind::Write {
                let bytes = &running.request.data[from..from + len];
                self.queue.buffers().copy_in(op.page as usize, bytes);
            }
            match self.queue.start(op) {
                Ok(()) => {
                    self.free.pop();
                    self.parts[tag as usize] = Part { running: at, at: from, len };
                    running.begin(len);
                    any = true;
                }
                Err(Outcome::Unsupported) => running.error = error::ENOTSUP,
                Err(_) => running.error = error::EIO,
            }
        }
        self.end_if_over(at);
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
        // What must be durable is flushed now, before the reply.
        self.begin_parts(part.running);
    }

    /// Replies to a request whose last operation is over.
    fn end_if_over(&mut self, at: usize) {
        let Some(slot) = self.running.get_mut(at) else { return };
        let Some(running) = slot.take_if(|running| running.is_over()) else { return };
        let Running { request, begun, error, .. } = running;
        self.count(&request, begun, error);
        let reads = request.wish == Wish::Read && error == 0;
        let Request { cookie, data, reply, share, .. } = request;
        let data = if reads { data } else { Vec::new() };
        // A client that has gone wants no answer.
        let _ = reply.send(Reply { cookie, error, data, share });
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
fn operation(request: &Request, kind: OpKind, from: usize, len: usize, tag: u32) -> Op {
    let sector = if kind == OpKind::Flush { 0 } else { (request.offset + from as u64) / 512 };
    let sectors = u32::try_from(len / 512).unwrap_or(u32::MAX);
    Op { kind, sector, sectors, page: tag * SLOT_PAGES, tag }
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

    fn missed(&mut self) -> bool {
        self.queue.missed()
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
