//! One grant entry, and where the table lies in its domain's memory.
//!
//! ```text
//!    0       1       2       3       4       5       6       7     octet
//!  +-------+-------+-------+-------+-------+-------+-------+-------+
//!  |     flags     |     domid     |             frame             |   grant_entry_v1
//!  +-------+-------+-------+-------+-------+-------+-------+-------+
//! ```
//!
//! An entry is read and written as one 64-bit word, so that flags, domid and frame are of one piece
//! even while the granter rewrites it.

use super::GntStatus;
use crate::mem::Region;
use crate::sync::Ordering;
use crate::{DomId, Gref, PAGE_SIZE, Pfn};

/// Type bits: this entry permits access (`GTF_permit_access`).
pub(super) const PERMIT_ACCESS: u16 = 1;
const TYPE_MASK: u16 = 3;
/// The grant is for reading only (`GTF_readonly`).
pub(super) const READONLY: u16 = 1 << 2;
/// Mapped for reading (`GTF_reading`); set and cleared by the mapping side.
pub(super) const READING: u16 = 1 << 3;
/// Mapped for writing (`GTF_writing`); set and cleared by the mapping side.
pub(super) const WRITING: u16 = 1 << 4;
/// Either of the two: the page is in use.
pub(super) const IN_USE: u16 = READING | WRITING;

/// A grant entry as a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Entry {
    /// `GTF_*` bits.
    pub flags: u16,
    /// Who may use it.
    pub domid: DomId,
    /// Which of the granter's frames.
    pub frame: Pfn,
}

impl Entry {
    /// The entry as it lies in memory, little-endian.
    #[inline(always)]
    #[must_use]
    pub const fn to_word(self) -> u64 {
        self.flags as u64 | (self.domid.0 as u64) << 16 | (self.frame.0 as u64) << 32
    }

    /// The entry in a word of memory.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "takes the word apart into its fields")]
    pub const fn from_word(word: u64) -> Self {
        Self {
            flags: word as u16,
            domid: DomId((word >> 16) as u16),
            frame: Pfn((word >> 32) as u32),
        }
    }

    /// Whether somebody has it mapped.
    #[inline(always)]
    #[must_use]
    pub const fn in_use(self) -> bool {
        self.flags & IN_USE != 0
    }
}

/// May `caller` read, or write, through this entry? Returns the frame it leads to.
///
/// # Errors
/// `GeneralError` for the wrong type, domain or direction, as Xen answers.
#[inline(always)]
pub fn check(entry: Entry, caller: DomId, write: bool) -> Result<Pfn, GntStatus> {
    let permits = entry.flags & TYPE_MASK == PERMIT_ACCESS;
    let readonly = entry.flags & READONLY != 0;
    if !permits || entry.domid != caller || (write && readonly) {
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
    pub const ENTRIES_PER_FRAME: u32 = 512;

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
    fn an_entry_is_flags_domid_frame_in_this_order() {
        let e = Entry { flags: 0x0102, domid: DomId(0x0304), frame: Pfn(0x0506_0708) };
        assert_eq!(e.to_word().to_le_bytes(), [2, 1, 4, 3, 8, 7, 6, 5]);
        assert_eq!(Entry::from_word(e.to_word()), e);
    }

    #[test]
    fn only_the_right_type_domain_and_direction_pass() {
        let rw = Entry { flags: PERMIT_ACCESS, domid: DomId(3), frame: Pfn(9) };
        let ro = Entry { flags: PERMIT_ACCESS | READONLY, ..rw };
        assert_eq!(check(rw, DomId(3), true), Ok(Pfn(9)));
        assert_eq!(check(ro, DomId(3), false), Ok(Pfn(9)));
        for (entry, caller, write) in [
            (ro, DomId(3), true),
            (rw, DomId(4), false),
            (Entry { flags: 0, ..rw }, DomId(3), false),
            (Entry { flags: 2, ..rw }, DomId(3), false),
            (Entry { flags: 3, ..rw }, DomId(3), false),
        ] {
            assert_eq!(check(entry, caller, write), Err(GntStatus::GeneralError));
        }
    }
}
