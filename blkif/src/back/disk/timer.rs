//! Answers that come later: kept until they are due, and a timerfd that says when.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use super::Done;

/// Answers and the times at which they are due.
#[derive(Debug)]
pub(super) struct Due {
    waiting: VecDeque<(Instant, Done)>,
    timer: TimerFd,
    /// For when the timer is set.
    set: Option<Instant>,
    syscalls: u64,
}

impl Due {
    pub(super) fn new() -> nix::Result<Self> {
        let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
        Ok(Self { waiting: VecDeque::new(), timer, set: None, syscalls: 0 })
    }

    /// Keeps an answer until `due`.
    pub(super) fn push(&mut self, due: Instant, done: Done) {
        let at = self.waiting.partition_point(|(other, _)| *other <= due);
        self.waiting.insert(at, (due, done));
    }

    /// Sets the timer for the first of them, or for `sooner` if that is before it.
    pub(super) fn submit(&mut self, now: Instant, sooner: Option<Instant>) {
        let due = self.waiting.front().map(|(due, _)| *due);
        let Some(first) = due.into_iter().chain(sooner).min() else { return };
        if self.set == Some(first) {
            return;
        }
        self.set = Some(first);
        // A time that is over already must still make the descriptor readable: zero would not.
        let left = first.saturating_duration_since(now).max(Duration::from_nanos(1));
        let expires = Expiration::OneShot(TimeSpec::from_duration(left));
        self.syscalls += 1;
        // Cannot fail: the descriptor is ours and the time is one.
        let _ = self.timer.set(expires, TimerSetTimeFlags::empty());
    }

    /// The next answer that is due.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Done> {
        let (due, _) = self.waiting.front()?;
        if *due > now {
            return None;
        }
        self.waiting.pop_front().map(|(_, done)| done)
    }

    /// Whether anything waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.timer.as_fd()
    }

    pub(super) fn syscalls(&self) -> u64 {
        self.syscalls
    }
}
