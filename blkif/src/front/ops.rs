//! Operations that are not over: what the application asked for, and how far each has come.

use rings::io::blkif::{Op as WireOp, RSP_EOPNOTSUPP, RSP_OKAY};

use super::split::{Piece, piece};

/// What an operation does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OpKind {
    /// Read into the buffer.
    Read,
    /// Write the buffer.
    Write,
    /// Write the buffer, durably, after everything before and before everything after.
    Barrier,
    /// Make durable what was answered before.
    Flush,
    /// Forget the sectors.
    Discard {
        /// No copy may survive.
        secure: bool,
    },
}

impl OpKind {
    /// As it stands in a request.
    #[inline(always)]
    pub(super) fn wire(self) -> WireOp {
        match self {
            Self::Read => WireOp::Read,
            Self::Write => WireOp::Write,
            Self::Barrier => WireOp::WriteBarrier,
            Self::Flush => WireOp::FlushDiskcache,
            Self::Discard { .. } => WireOp::Discard,
        }
    }
}

/// An operation, of any length.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Op {
    /// What it does.
    pub kind: OpKind,
    /// First sector on the disk.
    pub sector: u64,
    /// How many.
    pub sectors: u32,
    /// First page of the buffer.
    pub page: u32,
    /// The application's number for it, given back when it is over.
    pub tag: u32,
}

/// How an operation ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Done.
    Okay,
    /// It failed, or a part of it did.
    Error,
    /// The backend does not do this.
    Unsupported,
}

impl Outcome {
    /// What a status means; one that blkif.h does not have is an error.
    pub(super) fn of(status: i16) -> Self {
        match status {
            RSP_OKAY => Self::Okay,
            RSP_EOPNOTSUPP => Self::Unsupported,
            _ => Self::Error,
        }
    }

    /// The worse of two parts' ends.
    fn worse(self, other: Self) -> Self {
        match (self, other) {
            (Self::Error, _) | (_, Self::Error) => Self::Error,
            (Self::Unsupported, _) | (_, Self::Unsupported) => Self::Unsupported,
            _ => Self::Okay,
        }
    }
}

/// An operation and how far it has come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Running {
    pub(super) op: Op,
    /// Sectors whose requests have been put.
    put: u32,
    /// Requests not answered.
    left: u32,
    outcome: Outcome,
    /// Its only request, if it has no data, has been put.
    bare: bool,
}

impl Running {
    /// Whether all its requests have been put.
    #[inline(always)]
    fn all_put(&self) -> bool {
        self.bare || (self.put >= self.op.sectors && self.op.sectors > 0)
    }
}

/// All operations that are not over.
#[derive(Debug)]
pub(super) struct Ops {
    slots: Vec<Option<Running>>,
    free: Vec<u32>,
}

impl Ops {
    pub(super) fn new(depth: u32) -> Self {
        Self { slots: vec![None; depth as usize], free: (0..depth).rev().collect() }
    }

    #[inline(always)]
    pub(super) fn has_room(&self) -> bool {
        !self.free.is_empty()
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Begins one. Returns its number; `None` if there are as many as may be.
    #[inline]
    pub(super) fn begin(&mut self, op: Op) -> Option<u32> {
        let number = self.free.pop()?;
        let running = Running { op, put: 0, left: 0, outcome: Outcome::Okay, bare: false };
        self.slots[number as usize] = Some(running);
        Some(number)
    }

    #[inline(always)]
    pub(super) fn get(&self, number: u32) -> Option<&Running> {
        self.slots.get(number as usize)?.as_ref()
    }

    /// The next request of an operation, which is about to be put; nothing after the last.
    #[inline]
    pub(super) fn next_piece(&mut self, number: u32, segments: u32) -> Option<Piece> {
        let running = self.slots.get_mut(number as usize)?.as_mut()?;
        if running.op.sectors == 0 || matches!(running.op.kind, OpKind::Discard { .. }) {
            let first = !std::mem::replace(&mut running.bare, true);
            running.left += u32::from(first);
            return first.then_some(Piece { page: 0, sector: 0, sectors: 0 });
        }
        let next = piece(running.put, running.op.sectors, segments)?;
        running.put += next.sectors;
        running.left += 1;
        Some(next)
    }

    /// Whether all its requests have been put.
    #[inline(always)]
    pub(super) fn all_put(&self, number: u32) -> bool {
        self.get(number).is_none_or(Running::all_put)
    }

    /// Ends all flushes and barriers: appends them to `ended`.
    pub(super) fn end_flushes(&mut self, ended: &mut Vec<Op>) {
        for (number, slot) in (0..).zip(&mut self.slots) {
            let flushes = |r: &mut Running| matches!(r.op.kind, OpKind::Flush | OpKind::Barrier);
            if let Some(running) = slot.take_if(flushes) {
                ended.push(running.op);
                self.free.push(number);
            }
        }
    }

    /// One of its requests was answered. Says how the operation ended, if that was the last.
    #[inline]
    pub(super) fn answered(&mut self, number: u32, status: i16) -> Option<(Op, Outcome)> {
        let slot = self.slots.get_mut(number as usize)?;
        let running = slot.as_mut()?;
        running.outcome = running.outcome.worse(Outcome::of(status));
        running.left = running.left.saturating_sub(1);
        if running.left > 0 || !running.all_put() {
            return None;
        }
        let ended = (running.op, running.outcome);
        *slot = None;
        self.free.push(number);
        Some(ended)
    }
}

#[cfg(test)]
mod tests {
    use super::super::shadow::Shadow;
    use super::*;

    /// What a backend's death leaves of operations: reads and writes are put again, flushes end.
    #[test]
    fn flushes_and_barriers_end_and_the_rest_is_put_again() {
        let (mut ops, mut shadow) = (Ops::new(4), Shadow::new(8));
        let kinds = [OpKind::Write, OpKind::Flush, OpKind::Barrier, OpKind::Read];
        for (tag, kind) in (0..).zip(kinds) {
            let sectors = if kind == OpKind::Flush { 0 } else { 8 };
            let op = Op { kind, sector: 0, sectors, page: 0, tag };
            let number = ops.begin(op).expect("room");
            let piece = ops.next_piece(number, 11).expect("a request");
            shadow.start(number, piece, kind.wire() as u8);
        }
        let mut ended = Vec::new();
        ops.end_flushes(&mut ended);
        shadow.retain(|op| ops.get(op).is_some());
        assert_eq!(ended.iter().map(|op| op.tag).collect::<Vec<_>>(), [1, 2]);
        assert_eq!((ops.count(), shadow.in_order().len()), (2, 2));
        let left = shadow.in_order().into_iter().filter_map(|id| ops.get(shadow.get(id)?.op));
        assert_eq!(left.map(|r| r.op.tag).collect::<Vec<_>>(), [0, 3]);
        // Their places are free again, once.
        let op = Op { kind: OpKind::Flush, sector: 0, sectors: 0, page: 0, tag: 9 };
        assert!(ops.begin(op).is_some() && ops.begin(op).is_some() && ops.begin(op).is_none());
    }
}
