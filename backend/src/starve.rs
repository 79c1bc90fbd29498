//! How long a guest without buffers is waited for: netback's drain and stall timers.
//!
//! While frames for a guest wait, nothing of them is lost; past the drain time they are dropped one
//! by one as they come, so that memory stays bounded (XSA-392); past the stall time the queue counts
//! as stalled, which is to say that its carrier is off, until buffers appear. A guest that does not
//! tell when it posts buffers (no `feature-rx-notify`) is looked at now and then instead, is waited for
//! shortly, and never stalls. Time is an argument. What waits, and where, is the wire's.

use std::time::{Duration, Instant};

use rings::weaken::{Check, skipped};

/// netback's two times.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timers {
    /// How long frames are held before they are dropped (Linux: `rx_drain_timeout_msecs`).
    pub drain: Duration,
    /// How long until the queue is stalled (Linux: `rx_stall_timeout_msecs`).
    pub stall: Duration,
}

impl Timers {
    /// Those of Linux' netback.
    pub const LINUX: Self = Self { drain: Duration::from_secs(10), stall: Duration::from_secs(60) };

    /// What becomes of them for a guest that does not tell of its buffers, as Linux has it.
    fn without_notify(self) -> Self {
        Self { drain: self.drain.min(Duration::from_millis(30)), stall: Duration::MAX }
    }
}

impl Default for Timers {
    fn default() -> Self {
        Self::LINUX
    }
}

/// Between two looks for buffers that nobody tells of.
const LOOK: Duration = Duration::from_millis(5);

/// The state of one queue.
#[derive(Debug)]
pub(crate) struct Starved {
    since: Option<Instant>,
    stalled: bool,
    stalls: u64,
    timers: Timers,
    /// The guest tells when it posts buffers.
    notifies: bool,
}

impl Starved {
    /// A queue whose guest, which `notifies` of buffers or does not, has some.
    pub(crate) fn new(timers: Timers, notifies: bool) -> Self {
        let timers = if notifies { timers } else { timers.without_notify() };
        Self { since: None, stalled: false, stalls: 0, timers, notifies }
    }

    /// Something waits now; since when?
    pub(crate) fn waiting(&mut self, now: Instant) -> Duration {
        let since = now.saturating_duration_since(*self.since.get_or_insert(now));
        if since >= self.timers.stall && !self.stalled && !skipped(Check::Stall) {
            self.stalled = true;
            self.stalls += 1;
        }
        since
    }

    /// Something waits now; is it to be dropped?
    pub(crate) fn gives_up(&mut self, now: Instant) -> bool {
        let waited = self.waiting(now);
        (waited >= self.timers.drain || self.stalled) && !skipped(Check::Drain)
    }

    /// There are buffers again, or nothing waits.
    pub(crate) fn over(&mut self) {
        (self.since, self.stalled) = (None, false);
    }

    /// Whether something waits, or has been given up.
    #[inline(always)]
    pub(crate) fn is_waiting(&self) -> bool {
        self.since.is_some()
    }

    /// Whether the stall time has passed.
    pub(crate) fn is_stalled(&self) -> bool {
        self.stalled
    }

    /// How often it has.
    pub(crate) fn stalls(&self) -> u64 {
        self.stalls
    }

    /// How long whoever waits may sleep: until the next of the two times.
    pub(crate) fn patience(&self, now: Instant) -> Duration {
        let Some(since) = self.since else { return Duration::MAX };
        let waited = now.saturating_duration_since(since);
        let left = |time: Duration| time.checked_sub(waited).filter(|left| !left.is_zero());
        let next = [self.timers.drain, self.timers.stall].into_iter().filter_map(left).min();
        match next {
            Some(next) if self.notifies => next,
            Some(next) => next.min(LOOK),
            None => Duration::MAX,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: Instant, ms: u64) -> Instant {
        start + Duration::from_millis(ms)
    }

    #[test]
    fn a_guest_is_waited_for_then_given_up_then_stalled_and_buffers_end_it() {
        let start = Instant::now();
        let mut starved = Starved::new(Timers::LINUX, true);
        assert!(!starved.gives_up(start));
        assert_eq!(starved.patience(start), Duration::from_secs(10));
        assert!(!starved.gives_up(at(start, 9_999)));
        assert!(starved.gives_up(at(start, 10_000)));
        assert_eq!(starved.patience(at(start, 10_000)), Duration::from_secs(50));
        assert!(!starved.is_stalled());
        for _ in 0..3 {
            assert!(starved.gives_up(at(start, 60_000)));
        }
        assert!(starved.is_stalled());
        assert_eq!(starved.patience(at(start, 60_000)), Duration::MAX);
        starved.over();
        assert!(!starved.is_stalled() && !starved.is_waiting());
        assert!(!starved.gives_up(at(start, 90_000)), "it begins anew");
        assert_eq!(starved.stalls(), 1);
    }

    #[test]
    fn a_queue_without_carrier_drops_even_before_the_drain_time() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut starved = Starved::new(Timers { stall: second, ..Timers::LINUX }, true);
        assert!(!starved.gives_up(start));
        assert!(starved.gives_up(start + second));
    }

    #[test]
    fn a_guest_that_never_tells_is_looked_at_and_never_stalls() {
        let start = Instant::now();
        let mut starved = Starved::new(Timers::LINUX, false);
        assert!(!starved.gives_up(start));
        assert_eq!(starved.patience(start), LOOK);
        assert!(starved.gives_up(at(start, 30)));
        assert!(starved.gives_up(at(start, 3_600_000)));
        assert!(!starved.is_stalled());
    }
}
