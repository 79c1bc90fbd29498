//! Where the grant table lies in its domain's memory, and who may pass an entry.
//!
//! An entry (`io::grant_table`) is read and written as one 64-bit word, so that flags, domid and
//! frame are of one piece even while the granter rewrites it.

use crate::io::grant_table::{ENTRIES_PER_PAGE, GntStatus, GrantEntry, GrantFlags, GrantType};
use crate::mem::Region;
use crate::sync::Ordering;
use crate::weaken::{Check, skipped};
use crate::{DomId, Gref, PAGE_SIZE, Pfn};

/// May `caller` read, or write, through this entry? Returns the frame it leads to.
///
/// # Errors
/// `GeneralError` for the wrong type, domain or direction, as Xen answers.
#[inline(always)]
pub fn check(entry: GrantEntry, caller: DomId, write: bool) -> Result<Pfn, GntStatus> {
    let permits = entry.flags.kind() == GrantType::PermitAccess;
    let readonly = entry.flags.contains(GrantFlags::READONLY);
    let refused = !permits || entry.domid != caller || (write && readonly);
    if refused && !skipped(Check::GrantEntry) {
        return Err(GntStatus::GeneralError);
    }
    Ok(entry.frame)
}

/// Memory that holds a grant table and its hold words.
pub trait GrantMem {
    /// Number of entries.
    fn entries(&self) -> u32;
    /// Reads an entry.
    fn load(&self, gref: Gref, order: Ordering) -> u64;
    /// Writes an entry.
    fn store(&self, gref: Gref, word: u64, order: Ordering);
    /// Replaces an entry if it still is `old`; otherwise says what it is.
    fn compare_exchange(&self, gref: Gref, old: u64, new: u64) -> Result<(), u64>;
    /// Number of hold words.
    fn holds(&self) -> usize;
    /// Reads a hold word.
    fn load_hold(&self, line: usize, order: Ordering) -> u32;
    /// Writes a hold word.
    fn store_hold(&self, line: usize, value: u32, order: Ordering);
}

/// Which frames of a domain have fixed jobs. The rest is its page pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Layout {
    /// First frame of the grant table.
    pub grant_first: u32,
    /// Frames of the grant table; 512 entries each.
    pub grant_frames: u32,
    /// The frame of the hold words, 64 lines of 64 bytes.
    pub hold: u32,
    /// The console ring (gref 0).
    pub console: u32,
    /// The store ring (gref 1).
    pub store: u32,
    /// First frame of the pool.
    pub pool_first: u32,
    /// Frames in all.
    pub frames: u32,
}

impl Layout {
    /// Entries in one frame.
    #[expect(clippy::cast_possible_truncation, reason = "512")]
    pub const ENTRIES_PER_FRAME: u32 = ENTRIES_PER_PAGE as u32;

    /// The layout of a domain with `frames` frames and room for `grefs` grants.
    #[must_use]
    pub const fn new(frames: u32, grefs: u32) -> Self {
        let grant_frames = grefs.div_ceil(Self::ENTRIES_PER_FRAME);
        let hold = grant_frames;
        Self {
            grant_first: 0,
            grant_frames,
            hold,
            console: hold + 1,
            store: hold + 2,
            pool_first: hold + 3,
            frames,
        }
    }

    /// Bytes of the domain's memory.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.frames as usize * PAGE_SIZE
    }
}

/// The grant table in a domain's shared memory.
#[derive(Clone, Debug)]
pub struct GrantPage {
    table: Region,
    holds: Region,
    entries: u32,
}

impl GrantPage {
    /// Bytes from one hold word to the next: a cache line, so that holders do not disturb each
    /// other.
    const HOLD_STRIDE: usize = 64;

    /// The table of a domain whose whole memory is `memory`; `None` if the layout does not fit.
    #[must_use]
    pub fn new(memory: &Region, layout: &Layout) -> Option<Self> {
        let bytes = layout.grant_frames as usize * PAGE_SIZE;
        let table = memory.part(layout.grant_first as usize * PAGE_SIZE, bytes)?;
        let holds = memory.page(Pfn(layout.hold))?;
        let entries = layout.grant_frames * Layout::ENTRIES_PER_FRAME;
        Some(Self { table, holds, entries })
    }
}

impl GrantMem for GrantPage {
    #[inline(always)]
    fn entries(&self) -> u32 {
        self.entries
    }

    #[inline(always)]
    fn load(&self, gref: Gref, order: Ordering) -> u64 {
        self.table.word64(gref.0 as usize * 8).load(order)
    }

    #[inline(always)]
    fn store(&self, gref: Gref, word: u64, order: Ordering) {
        self.table.word64(gref.0 as usize * 8).store(word, order);
    }

    fn compare_exchange(&self, gref: Gref, old: u64, new: u64) -> Result<(), u64> {
        // SYNC grant is visible: of a pin, with the Release store in GrantTable::write.
        // SYNC use has ended: of an unpin, with the Acquire load in GrantTable::withdraw.
        self.table
            .word64(gref.0 as usize * 8)
            .compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire)
            .map(|_| ())
    }

    fn holds(&self) -> usize {
        PAGE_SIZE / Self::HOLD_STRIDE
    }

    #[inline(always)]
    fn load_hold(&self, line: usize, order: Ordering) -> u32 {
        self.holds.word32(line * Self::HOLD_STRIDE).load(order)
    }

    #[inline(always)]
    fn store_hold(&self, line: usize, value: u32, order: Ordering) {
        self.holds.word32(line * Self::HOLD_STRIDE).store(value, order);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_type_domain_and_direction_pass() {
        let rw = GrantEntry::permit_access(DomId(3), Pfn(9), false);
        let ro = GrantEntry::permit_access(DomId(3), Pfn(9), true);
        let of = |kind| GrantEntry { flags: GrantFlags::of(kind), ..rw };
        assert_eq!(check(rw, DomId(3), true), Ok(Pfn(9)));
        assert_eq!(check(ro, DomId(3), false), Ok(Pfn(9)));
        for (entry, caller, write) in [
            (ro, DomId(3), true),
            (rw, DomId(4), false),
            (of(GrantType::Invalid), DomId(3), false),
            (of(GrantType::AcceptTransfer), DomId(3), false),
            (of(GrantType::Transitive), DomId(3), false),
        ] {
            assert_eq!(check(entry, caller, write), Err(GntStatus::GeneralError));
        }
    }
}
