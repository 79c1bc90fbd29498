//! One queue of a vbd: operations on a ring; the unit of work of a worker.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rings::Domain;
use rings::evtchn::{Eoi, EventCounters};
use rings::io::blkif::Response;
use rings::ring::Notify;
use tracer::traced;

use super::buffers::Buffers;
use super::disk::DiskInfo;
use super::error::Misbehaviour;
use super::link::{Link, Ring};
use super::ops::{Op, OpKind, Ops, Outcome};
use super::shadow::Shadow;
use super::split::DIRECT;
use super::stats::Stats;
use crate::dialect::{Dialect, Units};

/// How the parts of an operation that is longer than a request are sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum SplitMode {
    /// All at once, as far as the ring has room.
    #[default]
    Parallel,
    /// The next when the one before is answered, as MirageOS' driver did.
    Serial,
}

/// How a queue works.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Operations at once.
    pub depth: u32,
    /// Segments of a request; more than 11 need indirect requests.
    pub segments: u32,
    /// How long operations are sent.
    pub split: SplitMode,
    /// Requests put between two pushes.
    pub batch: u32,
    /// Notify after every push, whatever the event index says.
    pub always_notify: bool,
    /// In which units we count.
    pub dialect: Dialect,
    /// The vbd's number, for requests.
    pub handle: u16,
}

/// One queue.
#[derive(Debug)]
pub struct Queue<D: Domain> {
    pub(super) domain: D,
    pub(super) link: Link<D>,
    /// What the backend said of the disk, and has not taken back.
    pub(super) disk: DiskInfo,
    pub(super) limits: Limits,
    pub(super) units: Units,
    pub(super) buffers: Buffers,
    /// A page of segments for each request in flight, where there are indirect ones.
    pub(super) lists: Option<Buffers>,
    pub(super) shadow: Shadow,
    pub(super) ops: Ops,
    /// Operations with requests to be put.
    pub(super) todo: VecDeque<u32>,
    /// Requests that were on the ring of a backend that has died, to be put before anything new.
    pub(super) again: VecDeque<u32>,
    /// A write was answered, on any queue of the vbd: a backend that dies may take it with it.
    pub(super) written: Arc<AtomicBool>,
    /// Flushes that a dead backend owed; over with an error, and nobody has heard of it.
    pub(super) failed: Vec<Op>,
    /// Requests put since the last push.
    pub(super) put: u32,
    notify_due: bool,
    pub(super) eoi: Eoi,
    pub(super) stats: Stats,
    pub(super) broken: Option<Misbehaviour>,
}

impl<D: Domain> Queue<D> {
    pub(super) fn new(
        domain: &D,
        link: Link<D>,
        disk: DiskInfo,
        limits: Limits,
        buffers: Buffers,
        lists: Option<Buffers>,
        written: Arc<AtomicBool>,
    ) -> Self {
        let size = link.ring.size();
        Self {
            domain: domain.clone(),
            link,
            disk,
            limits,
            units: limits.dialect.units(disk.sector_size),
            buffers,
            lists,
            shadow: Shadow::new(size),
            ops: Ops::new(limits.depth),
            todo: VecDeque::with_capacity(limits.depth as usize),
            again: VecDeque::new(),
            written,
            failed: Vec::new(),
            put: 0,
            notify_due: false,
            eoi: Eoi::default(),
            stats: Stats::default(),
            broken: None,
        }
    }

    /// What the backend said of the disk.
    #[must_use]
    pub fn disk(&self) -> &DiskInfo {
        &self.disk
    }

    /// The pages that operations read into and write from.
    pub fn buffers(&mut self) -> &mut Buffers {
        &mut self.buffers
    }

    /// Counters.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// What happened on the port.
    #[must_use]
    pub fn events(&self) -> EventCounters {
        self.link.port.counters()
    }

    /// How often the port was kept masked because its events brought no work.
    #[must_use]
    pub fn storm_delays(&self) -> u64 {
        self.eoi.delays()
    }

    /// The lie that broke the device, if one did.
    #[must_use]
    pub fn broken(&self) -> Option<Misbehaviour> {
        self.broken
    }

    /// Whether the backend has died, or closed its end.
    #[must_use]
    pub fn lost(&self) -> bool {
        self.link.port.closed()
    }

    /// Operations that are not over.
    #[must_use]
    pub fn running(&self) -> usize {
        self.ops.count()
    }

    /// Whether another operation can be begun.
    #[inline(always)]
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.broken.is_none() && self.ops.has_room()
    }

    /// Begins an operation; visible with the next [`flush`](Self::flush). A flush becomes a barrier
    /// where the backend has only those.
    ///
    /// # Errors
    /// [`Outcome::Unsupported`] if the backend does not do this, [`Outcome::Error`] if there is no
    /// room, or the device is broken.
    #[inline]
    pub fn start(&mut self, mut op: Op) -> Result<(), Outcome> {
        op.kind = match op.kind {
            OpKind::Flush if !self.disk.flush && self.disk.barrier => OpKind::Barrier,
            OpKind::Flush if !self.disk.flush => return Err(Outcome::Unsupported),
            OpKind::Barrier if !self.disk.barrier => return Err(Outcome::Unsupported),
            OpKind::Discard { .. } if self.disk.discard.is_none() => {
                return Err(Outcome::Unsupported);
            }
            OpKind::Discard { secure: true } if !self.disk.secure => {
                return Err(Outcome::Unsupported);
            }
            kind => kind,
        };
        if self.broken.is_some() {
            return Err(Outcome::Error);
        }
        let number = self.ops.begin(op).ok_or(Outcome::Error)?;
        self.todo.push_back(number);
        Ok(())
    }

    /// Puts what was begun on the ring, as far as there is room, publishes it, and wakes the backend if
    /// it asked for it.
    #[traced(quiet)]
    #[inline]
    pub fn flush(&mut self) {
        if self.broken.is_some() {
            return;
        }
        self.put_again();
        while let Some(&number) = self.todo.front() {
            if !self.again.is_empty() || !self.put_some(number) {
                self.stats.ring_full += 1;
                self.link.ring.trace().full();
                break;
            }
            self.link.ring.trace().room();
            self.todo.pop_front();
        }
        self.push();
        if std::mem::take(&mut self.notify_due) {
            self.link.port.send();
        }
    }

    /// Puts the requests of one operation that can be put now. `false` if the ring is full.
    #[inline]
    fn put_some(&mut self, number: u32) -> bool {
        loop {
            if self.link.ring.free_requests() == 0 || !self.shadow.has_room() {
                return false;
            }
            let Some(op) = self.ops.get(number).map(|running| running.op) else { return true };
            let most = match op.kind {
                // Only reads and writes can have their segments elsewhere.
                OpKind::Read | OpKind::Write => self.limits.segments,
                _ => DIRECT,
            };
            let Some(piece) = self.ops.next_piece(number, most) else { return true };
            let echo = op.kind.wire() as u8;
            let id = self.shadow.start(number, piece, echo);
            self.put_request(id, &op, piece);
            self.stats.requests += 1;
            if self.put >= self.limits.batch {
                self.push();
            }
            if self.limits.split == SplitMode::Serial || self.ops.all_put(number) {
                return true;
            }
        }
    }

    /// Publishes what was put.
    #[traced(quiet, slots = self.put)]
    #[inline]
    fn push(&mut self) {
        if self.put == 0 {
            return;
        }
        let notify = self.link.ring.push_requests();
        self.stats.pushes += 1;
        self.stats.pushed += u64::from(std::mem::take(&mut self.put));
        let notify = self.limits.always_notify || notify == Notify::Yes;
        self.notify_due |= notify;
        self.stats.notifies += u64::from(notify);
        self.stats.suppressed += u64::from(!notify);
    }

    /// Takes the backend's answers; `over` hears of each operation that is over. Says how many answers
    /// there were.
    #[traced(quiet)]
    #[inline]
    pub fn reap(&mut self, mut over: impl FnMut(&mut Buffers, Op, Outcome)) -> u32 {
        if self.broken.is_some() {
            return 0;
        }
        let failed = u32::try_from(self.failed.len()).unwrap_or(u32::MAX);
        for op in std::mem::take(&mut self.failed) {
            self.note(op, Outcome::Error);
            over(&mut self.buffers, op, Outcome::Error);
        }
        let waiting = match self.link.ring.poll_responses() {
            Ok(waiting) => waiting,
            Err(lie) => return self.lie(lie.into()),
        };
        for _ in 0..waiting {
            let Some((_, response)) = self.link.ring.take_response() else { break };
            match self.answer(&response) {
                Ok(None) => {}
                Ok(Some((op, outcome))) => {
                    self.note(op, outcome);
                    over(&mut self.buffers, op, outcome);
                }
                Err(lie) => return self.lie(lie),
            }
        }
        waiting + failed
    }

    #[inline]
    fn answer(&mut self, response: &Response) -> Result<Option<(Op, Outcome)>, Misbehaviour> {
        let found = self.shadow.finish(response.id, response.operation)?;
        self.link.ring.trace().answered(response.id);
        let ended = self.ops.answered(found.op, response.status);
        if ended.is_none() && self.limits.split == SplitMode::Serial {
            self.todo.push_back(found.op);
        }
        Ok(ended)
    }

    /// Counts an operation that is over, and gives up what the backend does not do.
    #[inline]
    fn note(&mut self, op: Op, outcome: Outcome) {
        self.stats.ops += 1;
        self.stats.errors += u64::from(outcome == Outcome::Error);
        // Looked at first: the queues share it, and it is seldom told anything new. Only a hint for
        // one that hears of the backend's death, long after.
        let writes = (op.kind, outcome) == (OpKind::Write, Outcome::Okay);
        if writes && !self.written.load(Ordering::Relaxed) {
            self.written.store(true, Ordering::Relaxed);
        }
        if outcome == Outcome::Unsupported {
            let had = match op.kind {
                OpKind::Flush => std::mem::take(&mut self.disk.flush),
                OpKind::Barrier => std::mem::take(&mut self.disk.barrier),
                OpKind::Discard { secure: true } => std::mem::take(&mut self.disk.secure),
                OpKind::Discard { secure: false } => self.disk.discard.take().is_some(),
                OpKind::Read | OpKind::Write => false,
            };
            // Each once, however many were in flight.
            self.stats.downgrades += u64::from(had);
        }
    }

    /// A lie breaks the device, once and for all.
    pub(super) fn lie(&mut self, lie: Misbehaviour) -> u32 {
        self.broken.get_or_insert(lie);
        0
    }

    /// Closes the port, takes the grants back and returns the pages. Says how many grants the backend
    /// still uses: their pages come back when it does not.
    pub fn close(self) -> usize {
        let memory = self.domain.memory();
        let lists = self.lists.map_or(0, |lists| lists.close(memory));
        self.link.close(&self.domain) + self.buffers.close(memory) + lists
    }

    /// The ring, for those that look at it from outside.
    #[must_use]
    pub fn outstanding(&self) -> u32 {
        Ring::outstanding(&self.link.ring)
    }
}
