//! What is being done: requests that were taken and are not answered yet (blkback's `pending_req`).
//!
//! There are as many as may be in flight; a request that finds none free stays on the ring. So does one for
//! which there may be no memory: a guest decides how long its requests are, and not how much we take.

use rings::io::blkif::Request;

use rings::PAGE_SIZE;
use rings::weaken::{Check, skipped};

use super::disk::{Buffer, Kind};
use super::parse::{Action, Segment};

/// Bytes that the requests in flight of all queues of a vbd may take, by and large: the buffers of those
/// that are over are kept for the next, half as many at most.
pub(super) const MEMORY: usize = 256 << 20;

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
    /// Bytes of all buffers, and of those in flight alone.
    room: usize,
    busy: usize,
    /// Bytes that those in flight may have, and that the longest request takes.
    memory: usize,
    longest: usize,
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
            Action::Barrier if skipped(Check::BlkBarrier) => [data, None, None],
            Action::Barrier => [Some(Kind::Flush), data, Some(Kind::Flush)],
            Action::Discard { secure } => {
                [(self.sectors > 0).then_some(Kind::Discard { secure }), None, None]
            }
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
    /// Room for `count` requests of up to `segments` pages, whose buffers take up to `memory` bytes.
    pub(super) fn new(count: u32, segments: usize, memory: usize) -> Self {
        let slots = (0..count).map(|_| Pending::idle()).collect();
        let (free, longest) = ((0..count).rev().collect(), (segments + 1) * PAGE_SIZE);
        Self { slots, free, room: 0, busy: 0, memory, longest }
    }

    /// How many there can be.
    pub(super) fn size(&self) -> u32 {
        u32::try_from(self.slots.len()).unwrap_or(u32::MAX)
    }

    /// How many there are.
    pub(super) fn in_flight(&self) -> u32 {
        self.size() - u32::try_from(self.free.len()).unwrap_or(0)
    }

    /// Whether there can be another one, however long it is. There always can be one.
    #[inline(always)]
    pub(super) fn has_room(&self) -> bool {
        !self.free.is_empty() && (self.busy + self.longest <= self.memory || self.in_flight() == 0)
    }

    /// Begins one, with these segments and so many bytes. There must be room.
    #[inline]
    pub(super) fn begin(
        &mut self,
        segments: &[Segment],
        bytes: usize,
    ) -> Option<(u32, &mut Pending)> {
        let tag = self.free.pop()?;
        let slot = &mut self.slots[tag as usize];
        slot.segments.clear();
        slot.segments.extend_from_slice(segments);
        slot.step = 0;
        let before = slot.buffer.room();
        slot.buffer.set_len(bytes);
        self.room += slot.buffer.room() - before;
        self.busy += slot.buffer.room();
        Some((tag, slot))
    }

    /// One of those in flight.
    #[inline(always)]
    pub(super) fn get(&mut self, tag: u32) -> &mut Pending {
        &mut self.slots[tag as usize]
    }

    /// It is over, and has its buffer back.
    #[inline(always)]
    pub(super) fn end(&mut self, tag: u32) {
        let room = self.slots[tag as usize].buffer.room();
        self.busy -= room;
        // What is kept for nobody.
        if self.room - self.busy > self.memory / 2 {
            self.slots[tag as usize].buffer = Buffer::default();
            self.room -= room;
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Requests that are short while others are long, in every place of the table in turn.
    #[test]
    fn a_guest_does_not_decide_how_much_memory_its_requests_take() {
        const MIB: usize = 1 << 20;
        let mut table = Table::new(512, 256, 16 * MIB);
        let (mut most, mut taken) = (0, 0_usize);
        for held in 0..500 {
            let begin = |table: &mut Table, bytes| {
                let room = table.has_room();
                room.then(|| table.begin(&[], bytes).expect("room").0)
            };
            let short: Vec<_> = (0..held).map_while(|_| begin(&mut table, 512)).collect();
            let long: Vec<_> =
                std::iter::repeat_with(|| begin(&mut table, MIB)).map_while(|t| t).collect();
            taken = taken.max(long.len());
            assert!(table.busy <= 17 * MIB, "{}", table.busy);
            let all: usize = table.slots.iter().map(|slot| slot.buffer.room()).sum();
            assert_eq!(table.room, all);
            most = most.max(all);
            short.into_iter().chain(long).for_each(|tag| table.end(tag));
            assert_eq!((table.busy, table.in_flight()), (0, 0));
        }
        assert!(most <= 25 * MIB, "{most}");
        assert!(taken >= 14, "{taken} of 1 MiB");
    }

    #[test]
    fn what_is_over_leaves_its_buffer_to_the_next() {
        let mut table = Table::new(32, 256, MEMORY);
        for _ in 0..2 {
            let tags: Vec<_> =
                (0..32).map(|_| table.begin(&[], 1 << 20).expect("room").0).collect();
            tags.into_iter().for_each(|tag| table.end(tag));
            assert!(table.room >= 32 << 20, "32 MiB in flight cost no memory each time");
        }
    }

    #[test]
    fn one_request_always_finds_room() {
        let mut table = Table::new(4, 256, 0);
        assert!(table.has_room());
        let (tag, _) = table.begin(&[], 1 << 20).expect("room");
        assert!(!table.has_room());
        table.end(tag);
        assert!(table.has_room() && table.room == 0);
    }
}
