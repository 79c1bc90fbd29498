//! What is being done: requests that were taken and are not answered yet (blkback's `pending_req`).
//!
//! There are as many as may be in flight; a request that finds none free stays on the ring.

use rings::io::blkif::Request;

use super::disk::{Buffer, Kind};
use super::parse::{Action, Segment};

/// One request on its way.
#[derive(Debug)]
pub(super) struct Pending {
    /// The guest's number for it.
    pub(super) id: u64,
    /// The operation to echo.
    pub(super) echo: u8,
    pub(super) action: Action,
    pub(super) sector: u64,
    pub(super) sectors: u64,
    /// Where its bytes are in the guest's pages.
    pub(super) segments: Vec<Segment>,
    /// Where they are with us; with the disk while that has it.
    pub(super) buffer: Buffer,
    /// Steps that are done.
    step: u8,
}

/// All that may be in flight.
#[derive(Debug)]
pub(super) struct Table {
    slots: Vec<Pending>,
    /// The most recently used first: its buffer is in the nearest caches.
    free: Vec<u32>,
}

impl Pending {
    fn idle() -> Self {
        Self {
            id: 0,
            echo: 0,
            action: Action::Read,
            sector: 0,
            sectors: 0,
            segments: Vec::new(),
            buffer: Buffer::default(),
            step: 0,
        }
    }

    /// What the disk is to do next; nothing if the request is done.
    pub(super) fn next_step(&mut self) -> Option<Kind> {
        let data = (self.sectors > 0).then_some(Kind::Write);
        let steps = match self.action {
            Action::Read => [Some(Kind::Read), None, None],
            Action::Write => [data, None, None],
            // A flush saves what came before it; what it brings itself is written after.
            Action::Flush => [Some(Kind::Flush), data, None],
            // A barrier is durable when it is answered, and so is everything before it.
            Action::Barrier => [Some(Kind::Flush), data, Some(Kind::Flush)],
            Action::Discard { secure } => [Some(Kind::Discard { secure }), None, None],
        };
        while let Some(step) = steps.get(usize::from(self.step)) {
            self.step += 1;
            if step.is_some() {
                return *step;
            }
        }
        None
    }

    /// Whether the guest's bytes are to be fetched before anything else.
    pub(super) fn brings_data(&self) -> bool {
        self.sectors > 0 && !matches!(self.action, Action::Read | Action::Discard { .. })
    }
}

impl Table {
    pub(super) fn new(count: u32) -> Self {
        let slots = (0..count).map(|_| Pending::idle()).collect();
        Self { slots, free: (0..count).rev().collect() }
    }

    /// How many there can be.
    pub(super) fn size(&self) -> u32 {
        u32::try_from(self.slots.len()).unwrap_or(u32::MAX)
    }

    /// How many there are.
    pub(super) fn in_flight(&self) -> u32 {
        self.size() - u32::try_from(self.free.len()).unwrap_or(0)
    }

    /// Whether there can be another one.
    #[inline(always)]
    pub(super) fn has_room(&self) -> bool {
        !self.free.is_empty()
    }

    /// Begins one, with these segments. There must be room.
    #[inline]
    pub(super) fn begin(&mut self, segments: &[Segment]) -> Option<(u32, &mut Pending)> {
        let tag = self.free.pop()?;
        let slot = &mut self.slots[tag as usize];
        slot.segments.clear();
        slot.segments.extend_from_slice(segments);
        slot.step = 0;
        Some((tag, slot))
    }

    /// One of those in flight.
    #[inline(always)]
    pub(super) fn get(&mut self, tag: u32) -> &mut Pending {
        &mut self.slots[tag as usize]
    }

    /// It is over.
    #[inline(always)]
    pub(super) fn end(&mut self, tag: u32) {
        self.free.push(tag);
    }
}

/// A read whose pages become zeros at the end of the turn, together with those of others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Zeroed {
    pub(super) id: u64,
    pub(super) echo: u8,
    /// Where its segments end among those of all.
    pub(super) end: usize,
}

/// What a barrier is doing.
#[derive(Clone, Copy, Debug)]
pub(super) enum Barrier {
    /// For what is in flight.
    Waits(Request),
    /// With this tag.
    Runs(u32),
}
