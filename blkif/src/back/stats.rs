//! What one queue has done so far: plain counters, counted where the thing happens.

use super::parse::Action;
use crate::depth::{DEPTHS, level};

/// Counters of one queue; all only grow. The names are those of Linux' blkback where it has them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stats {
    /// Reads (`rd_req`).
    pub rd_req: u64,
    /// Writes, barriers among them (`wr_req`).
    pub wr_req: u64,
    /// Flushes (`f_req`).
    pub f_req: u64,
    /// Discards (`ds_req`).
    pub ds_req: u64,
    /// Sectors read.
    pub rd_sect: u64,
    /// Sectors written.
    pub wr_sect: u64,
    /// Requests that had their segments in pages of their own.
    pub indirect: u64,
    /// Segments of all requests.
    pub segments: u64,
    /// Times all requests that we allow in flight were (`oo_req`).
    pub oo_req: u64,
    /// Requests answered with an error.
    pub errors: u64,
    /// Requests answered with EOPNOTSUPP.
    pub unsupported: u64,
    /// Times responses were published.
    pub pushes: u64,
    /// Responses published.
    pub pushed: u64,
    /// Pushes for which the frontend asked to be woken.
    pub notifies: u64,
    /// Pushes for which it did not.
    pub suppressed: u64,
    /// Bytes copied between pages and buffers.
    pub copied: u64,
    /// How many requests were in flight when one was taken; see [`DEPTHS`].
    pub depth: [u64; DEPTHS],
}

impl Stats {
    /// Counts a request that is begun.
    #[inline(always)]
    pub(super) fn count(&mut self, action: Action, sectors: u64) {
        match action {
            Action::Read => {
                self.rd_req += 1;
                self.rd_sect += sectors;
            }
            Action::Write | Action::Barrier => {
                self.wr_req += 1;
                self.wr_sect += sectors;
            }
            Action::Flush => self.f_req += 1,
            Action::Discard { .. } => self.ds_req += 1,
        }
    }

    /// A request was taken, and now so many are in flight.
    #[inline(always)]
    pub(crate) fn in_flight(&mut self, count: u32) {
        self.depth[level(count)] += 1;
    }
}
