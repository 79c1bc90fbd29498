//! The granter's half: giving access, and taking it back only when nobody uses it.

use std::collections::{HashMap, HashSet};

use super::{GrantMem, HOLD_LINES};
use crate::io::grant_table::{GrantEntry, NR_RESERVED_ENTRIES};
use crate::sync::{Ordering, fence};
use crate::weaken::{Check, skipped};
use crate::{DomId, Gref, Pfn};

/// The grant is in use: the page may not be reused and the gref not be given away. Ask again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("grant {0} is still in use by the other domain")]
pub struct StillInUse(pub Gref);

/// A domain's own grant table: which grefs are free, and which are on their way back.
#[derive(Debug)]
pub struct GrantTable<M> {
    mem: M,
    free: Vec<Gref>,
    /// Grefs given and not taken back, the reserved ones apart.
    given: HashSet<Gref>,
    /// Withdrawn entries whose batch of copies had not ended yet: the hold words seen then.
    withdrawn: HashMap<Gref, [u32; HOLD_LINES]>,
}

impl<M: GrantMem> GrantTable<M> {
    /// Tries to swap an entry that the other side keeps changing before we call it in use: whoever
    /// that flips flags must not keep us here (XSA-295).
    const SWAP_TRIES: u32 = 5;

    /// An empty table.
    pub fn new(mem: M) -> Self {
        let free = (NR_RESERVED_ENTRIES..mem.entries()).rev().map(Gref).collect();
        Self { mem, free, given: HashSet::new(), withdrawn: HashMap::new() }
    }

    /// Lets `domid` read, and unless `readonly` write, `frame`. `None` if all grefs are taken.
    pub fn grant_access(&mut self, domid: DomId, frame: Pfn, readonly: bool) -> Option<Gref> {
        let gref = self.free.pop()?;
        self.given.insert(gref);
        self.write(gref, domid, frame, readonly);
        Some(gref)
    }

    /// As [`grant_access`](Self::grant_access), for a gref with a fixed number (console, store).
    ///
    /// # Panics
    /// If `gref` is not a reserved one: the others are handed out by `grant_access` alone.
    pub fn grant_at(&mut self, gref: Gref, domid: DomId, frame: Pfn, readonly: bool) {
        assert!(gref.0 < NR_RESERVED_ENTRIES, "gref {gref} has no fixed number");
        // What was on its way back is given anew.
        self.withdrawn.remove(&gref);
        self.write(gref, domid, frame, readonly);
    }

    fn write(&self, gref: Gref, domid: DomId, frame: Pfn, readonly: bool) {
        // grant_table.h: 1. write domid; 2. write frame; 3. barrier; 4. write flags. As one word
        // they appear together.
        // SYNC grant is visible: with the Acquire loads in CopyEngine and map.
        let entry = GrantEntry::permit_access(domid, frame, readonly);
        self.mem.store(gref, entry.to_u64(), Ordering::Release);
    }

    /// Takes access back. Until this says `Ok`, the page must neither be reused nor freed
    /// (XSA-396): keep it aside and ask again. A gref that is not given (any more) is `Ok` at once.
    ///
    /// # Errors
    /// If the page is mapped, or a copy that may have seen the grant has not ended.
    pub fn end_access(&mut self, gref: Gref) -> Result<(), StillInUse> {
        let reserved = gref.0 < NR_RESERVED_ENTRIES;
        if !reserved && !self.given.contains(&gref) {
            return Ok(());
        }
        let seen = match self.withdrawn.get(&gref) {
            Some(seen) => *seen,
            None => self.withdraw(gref)?,
        };
        if self.copies_ended(&seen) {
            self.withdrawn.remove(&gref);
            if self.given.remove(&gref) {
                self.free.push(gref);
            }
            Ok(())
        } else {
            self.withdrawn.insert(gref, seen);
            Err(StillInUse(gref))
        }
    }

    /// Grants given and not taken back, the reserved ones apart.
    #[must_use]
    pub fn active(&self) -> usize {
        self.given.len()
    }

    /// Clears the entry and notes which batches of copies were running then.
    fn withdraw(&self, gref: Gref) -> Result<[u32; HOLD_LINES], StillInUse> {
        // SYNC use has ended: with the swap that clears the in-use bits, in `clear_bits`.
        let mut word = self.mem.load(gref, Ordering::Acquire);
        for _ in 0..Self::SWAP_TRIES {
            if GrantEntry::from_u64(word).flags.in_use() && !skipped(Check::InUse) {
                break;
            }
            match self.mem.compare_exchange(gref, word, 0) {
                Ok(()) => {
                    // SYNC copy against end_access: with the fence in Hold::begin.
                    fence(Ordering::SeqCst);
                    return Ok(self.running());
                }
                Err(now) => word = now,
            }
        }
        Err(StillInUse(gref))
    }

    /// The hold words, 0 where nothing runs.
    fn running(&self) -> [u32; HOLD_LINES] {
        let mut seen = [0; HOLD_LINES];
        for (line, word) in seen.iter_mut().enumerate().take(self.mem.holds()) {
            // SYNC copies are over: with the Release store in Hold::end, where it is even.
            let now = self.mem.load_hold(line, Ordering::Acquire);
            *word = if now & 1 == 1 { now } else { 0 };
        }
        seen
    }

    /// Whether each batch that ran when the entry was withdrawn has ended since.
    fn copies_ended(&self, seen: &[u32; HOLD_LINES]) -> bool {
        // SYNC copies are over: with the Release stores in Hold::end and Hold::begin.
        seen.iter()
            .enumerate()
            .take(self.mem.holds())
            .all(|(line, &then)| then == 0 || self.mem.load_hold(line, Ordering::Acquire) != then)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::grant::{GrantPage, Hold, Layout};
    use crate::mem::Region;

    #[test]
    fn a_fixed_gref_that_is_given_anew_is_taken_back_anew() {
        let layout = Layout::new(4, 512);
        let mem = GrantPage::new(&Region::anonymous(layout.bytes()), &layout).expect("fits");
        let (mut table, mut hold) = (GrantTable::new(mem.clone()), Hold::attach(0, &mem));
        let console = Gref(0);
        table.grant_at(console, DomId(0), Pfn(1), false);
        hold.begin(&mem);
        assert_eq!(table.end_access(console), Err(StillInUse(console)));
        table.grant_at(console, DomId(0), Pfn(1), false);
        hold.end(&mem);
        assert_eq!(table.end_access(console), Ok(()));
        assert_eq!(mem.load(console, Ordering::Relaxed), 0, "nobody may use it any more");
    }
}
