//! Holding grants while a batch of copies runs.

use super::GrantMem;
use crate::sync::{Ordering, fence};

/// Hold words of one grant table: as many copiers (queues of backends) can serve one domain.
pub const HOLD_LINES: usize = 64;

/// One copier's hold word in a granter's memory: odd while a batch runs, even between batches.
///
/// The word is written by this copier alone; the granter reads it.
#[derive(Debug)]
pub struct Hold {
    line: usize,
    seq: u32,
}

impl Hold {
    /// The hold word `line`, which the host gave to this copier alone. It goes on where a former
    /// holder of the line left off, so that the granter can tell their batches apart; one that died
    /// within a batch copies no more, and must not keep the granter waiting.
    pub fn attach(line: usize, mem: &impl GrantMem) -> Self {
        let mut hold = Self { line, seq: mem.load_hold(line, Ordering::Relaxed) };
        if hold.seq % 2 == 1 {
            hold.end(mem);
        }
        hold
    }

    /// Which word.
    #[must_use]
    pub fn line(&self) -> usize {
        self.line
    }

    /// From here until [`end`](Self::end) no grant that is seen valid can be withdrawn.
    #[inline(always)]
    pub fn begin(&mut self, mem: &impl GrantMem) {
        self.seq = self.seq.wrapping_add(1) | 1;
        // SYNC copies are over: a granter that misses the even word between two batches and finds
        // this one must know the copies of the former batch done, as if it had seen that word.
        mem.store_hold(self.line, self.seq, Ordering::Release);
        // SYNC copy against end_access: with the fence in GrantTable::end_access. Either the
        // granter sees this hold, or we see the entry withdrawn.
        fence(Ordering::SeqCst);
    }

    /// The batch is done; every byte has been copied.
    #[inline(always)]
    pub fn end(&mut self, mem: &impl GrantMem) {
        self.seq = self.seq.wrapping_add(1);
        // SYNC copies are over: with the Acquire load of the hold in GrantTable::end_access.
        mem.store_hold(self.line, self.seq, Ordering::Release);
    }
}
