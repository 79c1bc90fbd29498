//! One domain, as the host keeps it, and what is taken back from it when another is gone.

use std::os::fd::OwnedFd;

use rings::grant::{GrantMem, GrantPage, HOLD_LINES, Layout};
use rings::io::grant_table::{GrantEntry, GrantFlags};
use rings::sync::Ordering;
use rings::{DomId, Gref};

use super::DomainInfo;
use crate::mapping::map;
use crate::stall::Stall;

/// One domain.
pub(super) struct Dom {
    pub(super) info: DomainInfo,
    /// Which registration it is of all that there were, from 1.
    pub(super) life: u32,
    pub(super) memory: OwnedFd,
    pub(super) layout: Layout,
    /// Who holds which hold word in this domain's memory.
    pub(super) holds: [Option<DomId>; HOLD_LINES],
    /// Blocks of the statistics segment that it was given.
    pub(super) blocks: Vec<usize>,
    /// Whether it makes progress.
    pub(super) stall: Stall,
    /// It has a trace connection.
    pub(super) traced: bool,
    pub(super) goodbye: Option<u32>,
}

impl Dom {
    /// Ends what a dead domain was doing with our grants, so that they can be taken back: the batches
    /// of copies that it was in, and its mappings.
    pub(super) fn end_access_of(&mut self, dead: DomId) {
        let table = map(&self.memory, self.layout.bytes())
            .ok()
            .and_then(|region| GrantPage::new(&region, &self.layout));
        for (line, hold) in self.holds.iter_mut().enumerate() {
            if *hold != Some(dead) {
                continue;
            }
            *hold = None;
            if let Some(table) = &table {
                // SYNC copies are over: in place of the Hold::end that the dead will not come to, with
                // the Acquire loads in GrantTable. Nobody else writes the word.
                let seq = table.load_hold(line, Ordering::Relaxed);
                table.store_hold(line, seq.wrapping_add(seq & 1), Ordering::Release);
            }
        }
        if let Some(table) = &table {
            unpin_all(table, dead);
        }
    }
}

/// Clears the in-use bits of every entry that is granted to `dead`: nobody else can have set them.
/// An entry that its granter keeps changing stays as it is: that spoils its own table alone.
fn unpin_all(table: &GrantPage, dead: DomId) {
    let in_use = GrantFlags::READING.union(GrantFlags::WRITING);
    for gref in (0..table.entries()).map(Gref) {
        let word = table.load(gref, Ordering::Relaxed);
        let mut entry = GrantEntry::from_u64(word);
        if entry.domid == dead && entry.flags.in_use() {
            entry.flags = entry.flags.difference(in_use);
            let _ = table.compare_exchange(gref, word, entry.to_u64());
        }
    }
}
