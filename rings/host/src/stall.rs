//! Whether a process makes progress: one that was sent SIGSTOP, or whose workers stand still, has stalled.
//!
//! Who is looked at, and what follows, is the host's business, and that of a domain which cannot go on
//! alone.

use std::time::{Duration, Instant};

use rings::worker::LONGEST_SLEEP;

use crate::stats::Block;

/// What was last seen of one process.
#[derive(Debug, Default)]
pub struct Stall {
    /// Of each worker its last beat, and how long it has stood still, as far as that was seen: each for
    /// itself, since idle ones beat in turns.
    workers: Vec<(u64, Duration)>,
    /// How long all of it has been stopped.
    stopped: Duration,
    looked: Option<Instant>,
    told: bool,
}

/// What the time between two looks counts for at most: whoever did not look for longer was stopped itself,
/// or starved, and the other may have been so too.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

/// A worker that stands still for less may only be asleep, or short of a CPU.
const ASLEEP: Duration = LONGEST_SLEEP.saturating_mul(3);

impl Stall {
    /// Looks at the process, whose workers have these blocks; `true` the first time it has stood still
    /// for `timeout`: it was stopped, or one of its workers stood still, and that for three of the longest
    /// sleeps at least. What is dead has not stalled.
    pub fn look(
        &mut self,
        pid: i32,
        blocks: impl IntoIterator<Item = Block>,
        timeout: Duration,
        now: Instant,
    ) -> bool {
        let beats: Vec<u64> = blocks.into_iter().map(|block| block.beat()).collect();
        let then = self.looked.replace(now).unwrap_or(now);
        let passed = now.saturating_duration_since(then).min(BETWEEN_LOOKS);
        let state = state_of(pid);
        if is_dead(state) {
            *self = Self { looked: self.looked, ..Self::default() };
            return false;
        }
        self.stopped = if is_stop(state) { self.stopped + passed } else { Duration::ZERO };
        self.workers.resize(beats.len(), (0, Duration::ZERO));
        for ((last, still), beat) in self.workers.iter_mut().zip(beats) {
            // A worker that has not begun yet (beat 0) cannot stand still; one that has, wakes up every
            // LONGEST_SLEEP even when there is nothing to do.
            *still = if beat == *last && beat > 0 { *still + passed } else { Duration::ZERO };
            *last = beat;
        }
        let longest = self.workers.iter().map(|worker| worker.1).max().unwrap_or_default();
        let stalled = self.stopped >= timeout || longest >= timeout.max(ASLEEP);
        let told = std::mem::replace(&mut self.told, stalled);
        stalled && !told
    }
}

/// Whether a process is stopped by a signal or a tracer.
#[must_use]
pub fn is_stopped(pid: i32) -> bool {
    is_stop(state_of(pid))
}

fn is_stop(state: Option<char>) -> bool {
    matches!(state, Some('T' | 't'))
}

/// Gone, or waiting to be reaped.
fn is_dead(state: Option<char>) -> bool {
    matches!(state, None | Some('Z' | 'X'))
}

/// The state of a process, as proc_pid_stat(5) has it in field 3.
fn state_of(pid: i32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in field 2 may contain anything, parentheses included.
    stat.rsplit_once(") ")?.1.chars().next()
}

#[cfg(test)]
mod tests {
    use rings::DomId;

    use super::*;
    use crate::stats::Segment;

    const TIMEOUT: Duration = Duration::from_secs(5);

    /// Blocks of workers of this process, ours to write, in a segment that goes with the folder.
    fn blocks<const N: usize>() -> (tempfile::TempDir, Segment, [Block; N]) {
        let dir = tempfile::tempdir().unwrap();
        let segment = Segment::create(dir.path()).unwrap();
        let blocks = std::array::from_fn(|n| {
            let block = segment.block(n + 1).unwrap();
            block.assign(DomId(1), std::process::id(), 1, 0);
            block
        });
        (dir, segment, blocks)
    }

    fn own_pid() -> i32 {
        i32::try_from(std::process::id()).unwrap()
    }

    #[test]
    fn a_worker_that_stands_still_is_found_out_once() {
        let (_dir, _segment, [lives]) = blocks();
        let (mut stall, begin) = (Stall::default(), Instant::now());
        let mut look = |beat: u64, second| {
            lives.set_beat(beat);
            let now = begin + Duration::from_secs(second);
            stall.look(own_pid(), [lives.clone()], TIMEOUT, now)
        };
        assert!((1..100).all(|second| !look(second, second)), "its worker turns");
        let told: Vec<_> = (100..120).filter(|&second| look(99, second)).collect();
        assert_eq!(told, [104]);
        assert!(!look(100, 121) && (122..126).all(|second| !look(100, second)), "it went on");
        assert!(look(100, 126), "and stopped again");
    }

    #[test]
    fn idle_workers_that_beat_in_turns_have_not_stalled() {
        let (_dir, _segment, lives) = blocks::<2>();
        let (mut stall, begin) = (Stall::default(), Instant::now());
        for look in 1..200 {
            lives[look % 2].set_beat(look as u64);
            let now = begin + Duration::from_millis(250) * u32::try_from(look).unwrap();
            assert!(!stall.look(own_pid(), lives.clone(), TIMEOUT, now), "{look}");
        }
    }

    #[test]
    fn a_worker_that_sleeps_has_not_stalled_however_short_the_time_out() {
        let (_dir, _segment, [lives]) = blocks();
        let (mut stall, begin) = (Stall::default(), Instant::now());
        let timeout = LONGEST_SLEEP / 5;
        let mut look = |beat: u64, times: u32| {
            lives.set_beat(beat);
            stall.look(own_pid(), [lives.clone()], timeout, begin + LONGEST_SLEEP / 4 * times)
        };
        // Four looks to a beat.
        assert!((1..100).all(|times| !look(u64::from(times / 4 + 1), times)));
        assert!((100..200).any(|times| look(99, times)), "but one that never wakes up has");
    }

    #[test]
    fn the_time_in_which_nobody_looked_counts_for_little() {
        let (_dir, _segment, [lives]) = blocks();
        let (mut stall, begin) = (Stall::default(), Instant::now());
        lives.set_beat(7);
        for hour in 0..5 {
            let now = begin + Duration::from_secs(3600 * hour);
            assert!(!stall.look(own_pid(), [lives.clone()], TIMEOUT, now), "{hour}");
        }
    }

    #[test]
    fn what_is_dead_has_not_stalled() {
        let (_dir, _segment, [left]) = blocks();
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let (mut stall, begin) = (Stall::default(), Instant::now());
        left.set_beat(4711);
        // Until it is reaped it is still in the process table.
        let ended = |pid| is_dead(state_of(pid));
        while !ended(pid) {
            std::thread::yield_now();
        }
        let mut look = |second| {
            let now = begin + Duration::from_secs(second);
            stall.look(pid, [left.clone()], TIMEOUT, now)
        };
        assert!((0..20).all(|second| !look(second)));
        child.wait().unwrap();
        assert!((20..40).all(|second| !look(second)));
    }
}
