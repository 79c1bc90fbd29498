//! What an application may do in one turn of its stack: make so many bytes, think for so long. Whoever
//! has used it up goes on in the next turn, so that nobody else on the worker waits for more than that,
//! however large its buffers are.

use super::{THINK_NS, think};

/// Bytes made in one turn: more than a ring holds.
const BYTES: usize = 1 << 20;

/// What is left of it in this turn.
pub(super) struct Allowance {
    bytes: usize,
    think_ns: u64,
}

impl Allowance {
    /// That of a turn that begins.
    pub(super) fn of_a_turn() -> Self {
        Self { bytes: BYTES, think_ns: THINK_NS }
    }

    /// Whether anything is left; the first operation of a turn always finds something.
    #[inline]
    pub(super) fn is_left(&self) -> bool {
        self.bytes > 0 && self.think_ns > 0
    }

    /// Who of many comes first from now on: as before, or, where the last of it was had by number `last`, the
    /// one after that.
    #[inline]
    pub(super) fn next(&self, before: usize, last: Option<usize>) -> usize {
        last.filter(|_| !self.is_left()).map_or(before, |last| last + 1)
    }

    /// So many bytes were made.
    #[inline]
    pub(super) fn take(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// The guest's own work, before an operation.
    #[inline]
    pub(super) fn think(&mut self, ns: u64) {
        think(ns);
        self.think_ns = self.think_ns.saturating_sub(ns);
    }
}
