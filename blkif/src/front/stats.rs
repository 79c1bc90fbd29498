//! What one queue has done so far: plain counters, counted where the thing happens.

use crate::depth::{DEPTHS, level};

/// Counters of one queue; all only grow.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stats {
    /// Requests put on the ring, those put again after a backend's death apart.
    pub requests: u64,
    /// Of them, requests with their segments in pages of their own.
    pub indirect: u64,
    /// Segments of all of them.
    pub segments: u64,
    /// Operations that are over.
    pub ops: u64,
    /// Of them, those that failed.
    pub errors: u64,
    /// Times requests were published.
    pub pushes: u64,
    /// Requests published.
    pub pushed: u64,
    /// Pushes for which the backend asked to be woken.
    pub notifies: u64,
    /// Pushes for which it did not.
    pub suppressed: u64,
    /// Times an operation had to wait because the ring was full.
    pub ring_full: u64,
    /// Requests put again because their backend had died.
    pub requeued: u64,
    /// Backends that took the place of another.
    pub reconnects: u64,
    /// Features given up because the backend turned out not to have them.
    pub downgrades: u64,
    /// How many requests were in flight when one was put; see [`DEPTHS`].
    pub depth: [u64; DEPTHS],
}

impl Stats {
    /// A request was put, and now so many are in flight.
    #[inline(always)]
    pub(super) fn in_flight(&mut self, count: u32) {
        self.depth[level(count)] += 1;
    }
}
