//! Requests that have been begun: which operation is next, which are in flight, and the reply after the
//! last. Whose queue does them, and when, is the clerk's business.
//!
//! A request that is longer than a slot of buffers is done in parts, which may be in flight together; its
//! reply goes out after the last of them.

use std::collections::VecDeque;
use std::time::Instant;

use blkif::front::{Buffers, Op, OpKind, Outcome, Queue};
use rings_host::HostDomain;

use super::desk::{Reply, Request, Wish};
use super::wire::error;
use crate::config::RunConfig;
use crate::results::Latencies;
use crate::workload::Meter;

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

    fn fail(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Okay => {}
            Outcome::Unsupported => self.error = error::ENOTSUP,
            Outcome::Error => self.error = error::EIO,
        }
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

/// What has been replied to.
pub(super) struct Done {
    pub(super) meter: Meter,
    pub(super) latencies: Latencies,
    pub(super) flushes: u64,
    /// How many, and their bytes.
    pub(super) reads: (u64, u64),
    pub(super) writes: (u64, u64),
}

/// All that have been begun.
pub(super) struct Requests {
    running: Vec<Option<Running>>,
    /// Places of `running` that nobody has.
    vacant: Vec<usize>,
    /// Those of which more can be begun, in the order in which that came to be. One may be here that has
    /// failed meanwhile.
    ready: VecDeque<usize>,
    /// By the tag of an operation.
    parts: Vec<Part>,
    /// Tags, and so slots of buffers, that no operation has.
    free: Vec<u32>,
    pub(super) done: Done,
}

impl Requests {
    /// With `slots` operations at once.
    pub(super) fn new(slots: u32, run: &RunConfig) -> Self {
        let none = Part { running: 0, at: 0, len: 0 };
        let (meter, latencies) = (Meter::new(run, 0, 1), Latencies::new());
        Self {
            running: Vec::new(),
            vacant: Vec::new(),
            ready: VecDeque::new(),
            parts: vec![none; slots as usize],
            free: (0..slots).rev().collect(),
            done: Done { meter, latencies, flushes: 0, reads: (0, 0), writes: (0, 0) },
        }
    }

    /// Whether there is room for the operations of another request.
    pub(super) fn has_room(&self) -> bool {
        !self.free.is_empty()
    }

    /// Takes one, to be begun.
    pub(super) fn take(&mut self, request: Request) {
        let at = self.vacant.pop().unwrap_or_else(|| {
            self.running.push(None);
            self.running.len() - 1
        });
        self.running[at] = Some(Running::new(request));
        self.ready.push_back(at);
    }

    /// Begins the next operations, as far as there is room. `false` if there were none.
    pub(super) fn begin(&mut self, queue: &mut Queue<HostDomain>) -> bool {
        let mut any = false;
        while let Some(&at) = self.ready.front() {
            let Some(next) = self.running[at].as_ref().and_then(Running::next) else {
                self.ready.pop_front();
                self.end_if_over(at);
                continue;
            };
            let Some(tag) = self.free.pop_if(|_| queue.has_room()) else { break };
            any |= self.start(at, next, tag, queue);
        }
        any
    }

    fn start(
        &mut self,
        at: usize,
        (kind, from, len): (OpKind, usize, usize),
        tag: u32,
        queue: &mut Queue<HostDomain>,
    ) -> bool {
        let Some(running) = &mut self.running[at] else { return false };
        let op = operation(&running.request, kind, from, len, tag);
        if kind == OpKind::Write {
            queue.buffers().copy_in(op.page as usize, &running.request.data[from..from + len]);
        }
        let started = queue.start(op);
        match started {
            Ok(()) => {
                self.parts[tag as usize] = Part { running: at, at: from, len };
                running.begin(len);
            }
            Err(outcome) => {
                self.free.push(tag);
                running.fail(outcome);
            }
        }
        started.is_ok()
    }

    /// An operation is over.
    pub(super) fn over(&mut self, buffers: &Buffers, op: Op, outcome: Outcome) {
        self.free.push(op.tag);
        let Part { running: at, at: from, len } = self.parts[op.tag as usize];
        let Some(running) = self.running.get_mut(at).and_then(Option::as_mut) else { return };
        let waited = running.next().is_some();
        running.left -= 1;
        running.fail(outcome);
        if op.kind == OpKind::Read && outcome == Outcome::Okay {
            buffers.copy_out(op.page as usize, &mut running.request.data[from..from + len]);
        }
        // What must be durable is flushed now, before the reply.
        if !waited && running.next().is_some() {
            self.ready.push_back(at);
        }
        self.end_if_over(at);
    }

    /// Replies to a request whose last operation is over.
    fn end_if_over(&mut self, at: usize) {
        let over = self.running[at].take_if(|running| running.is_over());
        let Some(Running { request, begun, error, .. }) = over else { return };
        self.vacant.push(at);
        self.done.add(&request, begun, error);
        let reads = request.wish == Wish::Read && error == 0;
        let Request { cookie, data, reply, share, .. } = request;
        let data = if reads { data } else { Vec::new() };
        // A client that has gone wants no answer.
        let _ = reply.send(Reply { cookie, error, data, share });
    }
}

impl Done {
    /// Counts a request that has been replied to: as what it was, or as an error.
    fn add(&mut self, request: &Request, begun: Instant, error: u32) {
        if error != 0 {
            let at = request.offset;
            return self.meter.error(|| format!("a request at byte {at} failed (errno {error})"));
        }
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
    }
}

/// A part of a request as an operation.
fn operation(request: &Request, kind: OpKind, from: usize, len: usize, tag: u32) -> Op {
    let sector = if kind == OpKind::Flush { 0 } else { (request.offset + from as u64) / 512 };
    let sectors = u32::try_from(len / 512).unwrap_or(u32::MAX);
    Op { kind, sector, sectors, page: tag * SLOT_PAGES, tag }
}
