//! What a writer of lines counts, and what it reports.

use rings::evtchn::EventCounters;
use serde::{Deserialize, Serialize};

use super::series::{Series, Stalls};
use crate::counters::Counters;
use crate::results::Latencies;

/// What a writer found, beside what every job reports.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct WriterReport {
    /// Lines over time.
    pub series: Series,
    /// When it was held.
    pub stalls: Stalls,
    /// The longest time from one line to the next, thinking and pacing apart. Microseconds.
    pub longest_us: u64,
    /// All lines ever put, warm-up included.
    pub all_lines: u64,
    /// All lines ever dropped, warm-up included.
    pub all_dropped: u64,
    /// Times from a line to its being read, where lines are paced.
    pub read: Option<Latencies>,
    /// Whether all of it was read in the end.
    pub flushed: bool,
}

/// What was done since measuring began.
#[derive(Debug, Default)]
pub(super) struct Counted {
    pub(super) warm: bool,
    pub(super) lines: u64,
    pub(super) bytes: u64,
    pub(super) dropped: u64,
    pub(super) puts: u64,
    pub(super) full: u64,
    /// Bytes read of what was written before measuring began come first.
    pub(super) unread_at_start: u64,
    /// Events sent before, and of them those that rang a doorbell.
    pub(super) before: EventCounters,
}

impl Counted {
    /// The same by their names, if the port has had so many events sent by now.
    pub(super) fn counters(&self, events: EventCounters) -> Counters {
        let rung = events.rung - self.before.rung;
        Counters {
            frames_out: self.lines,
            bytes_out: self.bytes,
            dropped: self.dropped,
            pushes: self.puts,
            pushed: self.lines,
            notifies: events.sent() - self.before.sent(),
            ring_full: self.full,
            copied_bytes: self.bytes,
            syscalls: rung,
            ..Counters::default()
        }
    }
}
