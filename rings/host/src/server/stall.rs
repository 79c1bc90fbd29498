//! Who has stopped: a domain that was sent SIGSTOP, or whose workers stand still.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rings::DomId;

use crate::stats::Segment;

/// What was last seen of each domain.
#[derive(Debug, Default)]
pub(super) struct Stall {
    seen: HashMap<DomId, Seen>,
}

#[derive(Debug)]
struct Seen {
    beats: Vec<u64>,
    since: Instant,
    told: bool,
}

impl Stall {
    /// Looks at one domain; `true` the first time it has stood still for `timeout`.
    pub(super) fn look(
        &mut self,
        domid: DomId,
        pid: i32,
        segment: &Segment,
        timeout: Duration,
        now: Instant,
    ) -> bool {
        let beats: Vec<u64> =
            segment.blocks().filter(|b| b.owner() == Some(domid)).map(|b| b.beat()).collect();
        let seen = self.seen.entry(domid).or_insert_with(|| Seen {
            beats: Vec::new(),
            since: now,
            told: false,
        });
        // A worker that has not begun yet (beat 0) cannot stand still; one that has, wakes up at
        // least twice a second even when there is nothing to do.
        let stuck = beats.len() == seen.beats.len()
            && beats.iter().zip(&seen.beats).any(|(now, then)| now == then && *now > 0);
        seen.beats = beats;
        if !stuck && !is_stopped(pid) {
            seen.since = now;
            seen.told = false;
            return false;
        }
        let stalled = now.duration_since(seen.since) >= timeout && !seen.told;
        seen.told |= stalled;
        stalled
    }

    /// Forgets a domain that is gone.
    pub(super) fn forget(&mut self, domid: DomId) {
        self.seen.remove(&domid);
    }
}

/// Whether a process is stopped by a signal or a tracer (proc_pid_stat(5), field 3).
#[must_use]
pub fn is_stopped(pid: i32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    // The name in field 2 may contain anything, parentheses included.
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    matches!(state, Some('T' | 't'))
}
