//! Who has stopped: a domain that was sent SIGSTOP, or whose workers stand still.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rings::DomId;

use super::DomainInfo;
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
    /// Looks at one domain, whose workers have these blocks; `true` the first time it has stood still
    /// for `timeout`. What a dead one of the same number has left in the segment is none of them.
    pub(super) fn look(
        &mut self,
        info: &DomainInfo,
        (segment, blocks): (&Segment, &[usize]),
        timeout: Duration,
        now: Instant,
    ) -> bool {
        let blocks = blocks.iter().filter_map(|&number| segment.block(number));
        let beats: Vec<u64> = blocks.map(|block| block.beat()).collect();
        let seen = self.seen.entry(info.domid).or_insert_with(|| Seen {
            beats: Vec::new(),
            since: now,
            told: false,
        });
        // A worker that has not begun yet (beat 0) cannot stand still; one that has, wakes up at
        // least twice a second even when there is nothing to do.
        let stuck = beats.len() == seen.beats.len()
            && beats.iter().zip(&seen.beats).any(|(now, then)| now == then && *now > 0);
        seen.beats = beats;
        if !stuck && !is_stopped(info.pid) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_successor_is_not_called_stalled_for_what_a_dead_one_has_left() {
        let dir = tempfile::tempdir().unwrap();
        let segment = Segment::create(dir.path()).unwrap();
        let pid = i32::try_from(std::process::id()).unwrap();
        let info = DomainInfo { domid: DomId(1), name: "netfront".into(), pid };
        for number in [1, 2] {
            segment.block(number).unwrap().assign(info.domid, std::process::id(), 1, 0);
        }
        let (dead, lives) = (segment.block(1).unwrap(), segment.block(2).unwrap());
        dead.set_beat(4711);
        let (mut stall, begin) = (Stall::default(), Instant::now());
        let timeout = Duration::from_secs(5);
        let mut look = |beat: u64| {
            lives.set_beat(beat);
            let now = begin + Duration::from_secs(beat);
            stall.look(&info, (&segment, &[2]), timeout, now)
        };
        assert!((1..100).all(|beat| !look(beat)), "its worker turns");
        // And a worker that does not is found out, once.
        lives.set_beat(99);
        let told = (100..120).filter(|&second| {
            let now = begin + Duration::from_secs(second);
            stall.look(&info, (&segment, &[2]), timeout, now)
        });
        assert_eq!(told.count(), 1);
    }
}
