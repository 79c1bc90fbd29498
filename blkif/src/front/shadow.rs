//! Requests in flight, as we know them ourselves: what an answer is checked against, and what is put
//! again when a backend has died.

use rings::weaken::{Check, skipped};

use super::error::Misbehaviour;
use super::split::Piece;

/// A request in flight.
#[derive(Clone, Copy, Debug)]
pub(super) struct InFlight {
    /// The operation it is a part of.
    pub(super) op: u32,
    /// Which part.
    pub(super) piece: Piece,
    /// The operation that the answer must name.
    pub(super) echo: u8,
    /// When it was put: requests are put again in this order.
    order: u64,
}

/// All requests that a ring has room for, by id.
#[derive(Debug)]
pub(super) struct Shadow {
    slots: Vec<Option<InFlight>>,
    free: Vec<u32>,
    orders: u64,
}

impl Shadow {
    pub(super) fn new(size: u32) -> Self {
        Self { slots: vec![None; size as usize], free: (0..size).rev().collect(), orders: 0 }
    }

    /// Notes a request that is about to be put. Returns its id. There must be one free: as many as the
    /// ring has slots.
    #[inline(always)]
    pub(super) fn start(&mut self, op: u32, piece: Piece, echo: u8) -> u32 {
        let Some(id) = self.free.pop() else { unreachable!("as many ids as slots") };
        self.orders += 1;
        self.slots[id as usize] = Some(InFlight { op, piece, echo, order: self.orders });
        id
    }

    /// Whether another request can be noted.
    #[inline(always)]
    pub(super) fn has_room(&self) -> bool {
        !self.free.is_empty()
    }

    /// The backend answers: believed only about a request in flight, and only with its operation.
    #[inline(always)]
    pub(super) fn finish(&mut self, id: u64, operation: u8) -> Result<InFlight, Misbehaviour> {
        let slot = usize::try_from(id).ok().and_then(|at| self.slots.get_mut(at));
        let slot = slot.ok_or(Misbehaviour::IdRange(id))?;
        let Some(found) = *slot else {
            return Err(Misbehaviour::IdIdle(id));
        };
        if found.echo != operation && !skipped(Check::BlkOp) {
            return Err(Misbehaviour::Operation(id, found.echo, operation));
        }
        if !skipped(Check::BlkId) {
            *slot = None;
            self.free.push(u32::try_from(id).unwrap_or(0));
        }
        Ok(found)
    }

    /// Ids of all requests in flight, in the order in which they were put.
    pub(super) fn in_order(&self) -> Vec<u32> {
        let numbered = (0..).zip(&self.slots);
        let mut all: Vec<_> = numbered.filter_map(|(id, slot)| Some((id, (*slot)?))).collect();
        all.sort_unstable_by_key(|(_, found): &(u32, InFlight)| found.order);
        all.into_iter().map(|(id, _)| id).collect()
    }

    /// Forgets the requests of all operations but those that `keep` names.
    pub(super) fn retain(&mut self, keep: impl Fn(u32) -> bool) {
        for (id, slot) in (0..).zip(&mut self.slots) {
            if slot.take_if(|found| !keep(found.op)).is_some() {
                self.free.push(id);
            }
        }
    }

    /// A request in flight.
    pub(super) fn get(&self, id: u32) -> Option<InFlight> {
        *self.slots.get(id as usize)?
    }
}
