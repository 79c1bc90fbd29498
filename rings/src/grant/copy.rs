//! Copying through grants (`GNTTABOP_copy`): the simulated hypervisor checks the entry,
//! the domain, the direction and the bounds of each operation, and copies.

use super::{GntStatus, GrantMem, GrantPage, Hold, check};
use crate::io::grant_table::GrantEntry;
use crate::mem::Region;
use crate::sync::Ordering;
use crate::weaken::{Check, skipped};
use crate::{CACHE_LINE, DomId, Gref, PAGE_SIZE, Pfn};

/// One copy between a granted page and private memory.
#[derive(Clone, Copy, Debug)]
pub struct CopyOp {
    /// The page, in the other domain's table.
    pub gref: Gref,
    /// Where in the page. Bytes.
    pub offset: u16,
    /// How many bytes. 0 is answered `Okay` without a look at the gref, as Xen does (XSA-448).
    pub len: u16,
    /// Where in the private memory. Bytes.
    pub local: u32,
    /// The answer.
    pub status: GntStatus,
}

impl Default for CopyOp {
    fn default() -> Self {
        Self { gref: Gref(0), offset: 0, len: 0, local: 0, status: GntStatus::Okay }
    }
}

/// Operations whose pages are asked for together: what a CPU has in flight at a time, and as much
/// again.
const GROUP: usize = 32;

/// The operations of a group that may be done, as runs: neighbours whose bytes follow one another in
/// both memories are copied in one go. A large frame lies in contiguous pages, and one long copy is
/// much faster than sixteen of a page.
struct Runs<'a> {
    group: &'a [CopyOp],
    places: &'a [usize; GROUP],
    next: usize,
}

impl<'a> Runs<'a> {
    #[inline(always)]
    fn of(group: &'a [CopyOp], places: &'a [usize; GROUP]) -> Self {
        Self { group, places, next: 0 }
    }
}

impl Iterator for Runs<'_> {
    /// Where in the granter's memory, where in the arena, how many bytes.
    type Item = (usize, usize, usize);

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        while self.group.get(self.next)?.status != GntStatus::Okay {
            self.next += 1;
        }
        let op = &self.group[self.next];
        let (at, local) = (self.places[self.next], op.local as usize);
        let mut len = op.len as usize;
        self.next += 1;
        while let Some(op) = self.group.get(self.next) {
            let follows = op.status == GntStatus::Okay
                && self.places[self.next] == at + len
                && op.local as usize == local + len;
            if !follows {
                break;
            }
            len += op.len as usize;
            self.next += 1;
        }
        Some((at, local, len))
    }
}

/// The checks and the copying, for one copier and one granter.
#[derive(Debug)]
pub struct CopyEngine {
    caller: DomId,
    memory: Region,
    table: GrantPage,
    hold: Hold,
    /// Where the last batch read first.
    last: usize,
}

impl CopyEngine {
    /// Copies between `caller` and the domain whose whole memory is `memory`.
    #[must_use]
    pub fn new(caller: DomId, memory: Region, table: GrantPage, hold: Hold) -> Self {
        Self { caller, memory, table, hold, last: 0 }
    }

    /// The granter's table.
    #[must_use]
    pub fn table(&self) -> &GrantPage {
        &self.table
    }

    /// Whether the granter has this frame at all.
    #[must_use]
    pub fn in_memory(&self, frame: Pfn) -> bool {
        (frame.0 as usize) < self.memory.len() / PAGE_SIZE
    }

    /// Which hold word is ours.
    #[must_use]
    pub fn hold_line(&self) -> usize {
        self.hold.line()
    }

    /// Asks for the cache lines that the last batch began with (see `Foreign::anticipate`).
    #[inline(always)]
    pub fn anticipate(&self) {
        self.memory.prefetch_read(self.last);
        self.memory.prefetch_read((self.last + CACHE_LINE).min(self.memory.len() - 1));
    }

    /// Journey 12. Copies each operation's bytes out of its page into `arena`. Returns the bytes
    /// copied.
    #[inline]
    pub fn copy_from(&mut self, ops: &mut [CopyOp], arena: &mut [u8]) -> u64 {
        let mut span = tracer::span!(GRANT, "copy_from", ops = ops.len() => bytes);
        self.hold.begin(&self.table);
        let mut bytes = 0;
        for group in ops.chunks_mut(GROUP) {
            let places = self.locate_all(group, false, arena.len());
            self.last = places[0];
            for (at, local, len) in Runs::of(group, &places) {
                self.memory.copy_out(at, &mut arena[local..local + len]);
                bytes += len as u64;
            }
        }
        self.hold.end(&self.table);
        span.result(tracer::clamp(bytes));
        bytes
    }

    /// Copies each operation's bytes from `arena` into its page. Returns the bytes copied.
    #[inline]
    pub fn copy_to(&mut self, ops: &mut [CopyOp], arena: &[u8]) -> u64 {
        let mut span = tracer::span!(GRANT, "copy_to", ops = ops.len() => bytes);
        self.hold.begin(&self.table);
        let mut bytes = 0;
        for group in ops.chunks_mut(GROUP) {
            let places = self.locate_all(group, true, arena.len());
            for (at, local, len) in Runs::of(group, &places) {
                self.memory.copy_in(at, &arena[local..local + len]);
                bytes += len as u64;
            }
        }
        self.hold.end(&self.table);
        span.result(tracer::clamp(bytes));
        bytes
    }

    /// Checks a group of operations, sets their statuses, and asks for the first cache line of each
    /// one's page: the other domain's CPU has it, and asked for together the waits overlap.
    #[inline(always)]
    fn locate_all(&self, group: &mut [CopyOp], write: bool, arena: usize) -> [usize; GROUP] {
        let mut places = [0; GROUP];
        for (op, place) in group.iter_mut().zip(&mut places) {
            let fits = op.local as usize + op.len as usize <= arena;
            let located = self.locate(op, write);
            match if fits { located } else { located.and(Err(GntStatus::BadCopyArg)) } {
                Ok(at) => {
                    (op.status, *place) = (GntStatus::Okay, at);
                    if write {
                        self.memory.prefetch_write(at);
                    } else {
                        self.memory.prefetch_read(at);
                    }
                }
                Err(status) => op.status = status,
            }
        }
        places
    }

    /// Where in the granter's memory the operation's bytes lie, if it may have them.
    #[inline(always)]
    fn locate(&self, op: &CopyOp, write: bool) -> Result<usize, GntStatus> {
        if op.len == 0 && !skipped(Check::EmptySlot) {
            return Ok(0);
        }
        let crosses = op.offset as usize + op.len as usize > PAGE_SIZE;
        if crosses && !skipped(Check::CopyBounds) {
            return Err(GntStatus::BadCopyArg);
        }
        if op.gref.0 >= self.table.entries() {
            return Err(GntStatus::BadGntref);
        }
        // SYNC grant is visible: with the Release store in GrantTable::grant_at.
        let entry = GrantEntry::from_u64(self.table.load(op.gref, Ordering::Acquire));
        let frame = check(entry, self.caller, write)?;
        let at = frame.0 as usize * PAGE_SIZE + op.offset as usize;
        if at + op.len as usize > self.memory.len() {
            return Err(GntStatus::BadPage);
        }
        Ok(at)
    }
}
