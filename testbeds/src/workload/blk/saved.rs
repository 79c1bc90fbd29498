//! What flushes have saved: with a disk whose cache dies with its backend, a block may afterwards hold
//! any write since the last that was saved, but no older one, and never half of one.

use std::collections::HashMap;

/// Blocks, and of each the write that was answered last.
type Writes = HashMap<usize, u32>;

/// The flushes of one job, and what each is to save.
#[derive(Debug, Default)]
pub(super) struct Saved {
    /// For each block, the last of its writes that a flush has saved.
    saved: Vec<u32>,
    /// Answered, and no flush has begun since.
    unsaved: Writes,
    /// Of the flushes on their way, by tag in the order in which they began: what was answered before.
    flushes: Vec<(u32, Writes)>,
    /// Blocks of which a backend that died may have lost something: the oldest write they may hold.
    unsure: Writes,
}

impl Saved {
    /// For so many blocks.
    pub(super) fn new(blocks: usize) -> Self {
        Self { saved: vec![0; blocks], ..Self::default() }
    }

    /// A write was answered.
    pub(super) fn wrote(&mut self, block: usize, generation: u32) {
        self.unsaved.insert(block, generation);
        self.unsure.remove(&block);
    }

    /// A flush begins: it saves what has been answered.
    pub(super) fn flush_begins(&mut self, tag: u32) {
        let unsaved = std::mem::take(&mut self.unsaved);
        self.flushes.push((tag, unsaved));
    }

    /// A flush is over. One that failed has saved nothing: the next one has more to save.
    pub(super) fn flushed(&mut self, tag: u32, good: bool) {
        // One that a backend took with it is forgotten already.
        let Some(at) = self.flushes.iter().position(|(other, _)| *other == tag) else { return };
        if !good {
            for (block, generation) in self.flushes.remove(at).1 {
                // Unless there is a later one.
                self.unsaved.entry(block).or_insert(generation);
            }
            return;
        }
        // Those that began before it have less to save than it had.
        for (block, generation) in self.flushes.drain(..=at).flat_map(|(_, writes)| writes) {
            self.saved[block] = self.saved[block].max(generation);
        }
    }

    /// The backend died: what was not saved is there or is not.
    pub(super) fn backend_died(&mut self) {
        let flying = self.flushes.drain(..).flat_map(|(_, writes)| writes);
        for (block, _) in flying.chain(self.unsaved.drain()) {
            self.unsure.insert(block, self.saved[block]);
        }
    }

    /// The oldest write that a block may hold, where that is not the last.
    pub(super) fn oldest(&self, block: usize) -> Option<u32> {
        self.unsure.get(&block).copied()
    }

    /// An unsure block was read: what it holds it has from the disk itself.
    pub(super) fn found(&mut self, block: usize, generation: u32) {
        if self.unsure.remove(&block).is_some() {
            self.saved[block] = generation;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_answered_before_a_flush_is_saved_by_it_and_nothing_else() {
        let mut saved = Saved::new(3);
        saved.wrote(0, 1);
        saved.flush_begins(7);
        saved.wrote(1, 1);
        saved.flushed(7, true);
        saved.wrote(0, 2);
        saved.backend_died();
        assert_eq!((saved.oldest(0), saved.oldest(1), saved.oldest(2)), (Some(1), Some(0), None));
        saved.found(0, 2);
        assert_eq!(saved.oldest(0), None);
        saved.wrote(0, 3);
        saved.backend_died();
        assert_eq!(saved.oldest(0), Some(2), "what was read from the disk is on it");
    }

    #[test]
    fn a_flush_that_failed_leaves_its_work_to_the_next() {
        let mut saved = Saved::new(1);
        saved.wrote(0, 1);
        saved.flush_begins(1);
        saved.flushed(1, false);
        saved.flush_begins(2);
        saved.flushed(2, true);
        saved.wrote(0, 2);
        saved.flush_begins(3);
        saved.flush_begins(4);
        saved.backend_died();
        saved.flushed(4, true);
        assert_eq!(saved.oldest(0), Some(1), "a dead backend's flush saves nothing");
    }
}
