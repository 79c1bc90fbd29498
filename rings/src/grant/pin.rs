//! Pinning grants while they are mapped (`GNTTABOP_map_grant_ref`, `..._unmap_grant_ref`).
//!
//! What is mapped how often is private to the mapping side; the entry shows only whether it is at
//! all. The mapping itself, an mmap of the page, is `rings-host`'s.

use std::collections::HashMap;

use super::{GntStatus, GrantMem, check};
use crate::io::grant_table::{GrantEntry, GrantFlags};
use crate::sync::Ordering;
use crate::weaken::{Check, skipped};
use crate::{DomId, Gref, Pfn};

const IN_USE: GrantFlags = GrantFlags::READING.union(GrantFlags::WRITING);

/// How often each grant of one granter is mapped by us.
#[derive(Debug, Default)]
pub struct Pins {
    pins: HashMap<Gref, Pin>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Pin {
    frame: Pfn,
    readers: u8,
    writers: u8,
}

impl Pins {
    /// Pins of one kind that one grant can have at a time; Xen refuses the next.
    pub const MAX: u8 = 128;
    /// Tries against a granter that keeps changing the entry (XSA-295).
    const SWAP_TRIES: u32 = 5;

    /// Pins a grant for reading, or reading and writing. Returns the frame to map.
    ///
    /// # Errors
    /// The status Xen would answer; nothing is pinned then.
    pub fn pin(
        &mut self,
        mem: &impl GrantMem,
        caller: DomId,
        gref: Gref,
        write: bool,
    ) -> Result<Pfn, GntStatus> {
        if gref.0 >= mem.entries() {
            return Err(GntStatus::BadGntref);
        }
        let held = self.pins.get(&gref).copied();
        let pin = held.unwrap_or_default();
        let count = if write { pin.writers } else { pin.readers };
        if count >= Self::MAX && !skipped(Check::Pins) {
            return Err(GntStatus::GeneralError);
        }
        let frame = set_bits(mem, caller, gref, write)?;
        if held.is_some_and(|pin| pin.frame != frame) {
            // The entry may not change while pinned; a granter that does it anyway gets nothing.
            return Err(GntStatus::GeneralError);
        }
        let pin = self.pins.entry(gref).or_default();
        pin.frame = frame;
        if write {
            pin.writers += 1;
        } else {
            pin.readers += 1;
        }
        Ok(frame)
    }

    /// Takes one pin back; the last of its kind clears the bit in the entry (XSA-230).
    ///
    /// # Errors
    /// `BadHandle` if there is no such pin.
    pub fn unpin(&mut self, mem: &impl GrantMem, gref: Gref, write: bool) -> Result<(), GntStatus> {
        let pin = self.pins.get_mut(&gref).ok_or(GntStatus::BadHandle)?;
        let count = if write { &mut pin.writers } else { &mut pin.readers };
        *count = count.checked_sub(1).ok_or(GntStatus::BadHandle)?;
        let (readers, writers) = (pin.readers, pin.writers);
        let mut keep = GrantFlags::empty();
        if readers > 0 || writers > 0 {
            keep |= GrantFlags::READING;
        }
        if writers > 0 {
            keep |= GrantFlags::WRITING;
        }
        if keep.is_empty() {
            self.pins.remove(&gref);
        }
        clear_bits(mem, gref, keep);
        Ok(())
    }

    /// Pins held on all grants of this granter.
    #[must_use]
    pub fn active(&self) -> usize {
        self.pins.values().map(|p| usize::from(p.readers) + usize::from(p.writers)).sum()
    }
}

fn set_bits(mem: &impl GrantMem, caller: DomId, gref: Gref, write: bool) -> Result<Pfn, GntStatus> {
    let bits = if write { IN_USE } else { GrantFlags::READING };
    // SYNC grant is visible: with the Release store in GrantTable::grant_at.
    let mut word = mem.load(gref, Ordering::Acquire);
    for _ in 0..Pins::SWAP_TRIES {
        let mut entry = GrantEntry::from_u64(word);
        let frame = check(entry, caller, write)?;
        entry.flags |= bits;
        match mem.compare_exchange(gref, word, entry.to_u64()) {
            Ok(()) => return Ok(frame),
            Err(now) => word = now,
        }
    }
    Err(GntStatus::GeneralError)
}

/// Leaves of the in-use bits only `keep`. Gives up on an entry that never holds still: its granter
/// spoils nothing but its own table.
fn clear_bits(mem: &impl GrantMem, gref: Gref, keep: GrantFlags) {
    // Only the word itself is looked at; that the page is used no more is told by the swap.
    let mut word = mem.load(gref, Ordering::Relaxed);
    for _ in 0..Pins::SWAP_TRIES {
        let mut entry = GrantEntry::from_u64(word);
        entry.flags = entry.flags.difference(IN_USE).union(keep);
        match mem.compare_exchange(gref, word, entry.to_u64()) {
            Ok(()) => return,
            Err(now) => word = now,
        }
    }
}
