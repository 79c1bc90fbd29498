//! How long a guest without buffers is waited for: netback's drain and stall timers.
//!
//! While frames for a guest wait, nothing of them is lost; past the drain time they are dropped one
//! by one as they come, so that memory stays bounded (XSA-392); past the stall time the queue counts
//! as stalled until buffers appear. Time is an argument. What waits, and where, is the wire's.

use std::time::{Duration, Instant};

use rings::weaken::{Check, skipped};

/// How long frames are held before they are dropped (`rx_drain_timeout_msecs`).
pub(crate) const DRAIN: Duration = Duration::from_secs(10);
/// How long until the queue is stalled (`rx_stall_timeout_msecs`).
pub(crate) const STALL: Duration = Duration::from_secs(60);

/// The state of one queue.
#[derive(Debug)]
pub(crate) struct Starved {
    since: Option<Instant>,
    stalled: bool,
    /// Times it came to that.
    stalls: u64,
    drain: Duration,
    stall: Duration,
}

impl Default for Starved {
    fn default() -> Self {
        Self { since: None, stalled: false, stalls: 0, drain: DRAIN, stall: STALL }
    }
}

impl Starved {
    /// Other times than netback's.
    pub(crate) fn set_timers(&mut self, drain: Duration, stall: Duration) {
        (self.drain, self.stall) = (drain, stall);
    }

    /// Something waits now; since when?
    pub(crate) fn waiting(&mut self, now: Instant) -> Duration {
        let since = now.saturating_duration_since(*self.since.get_or_insert(now));
        if since >= self.stall && !self.stalled {
            self.stalled = true;
            self.stalls += 1;
        }
        since
    }

    /// Something waits now; is it to be dropped?
    pub(crate) fn gives_up(&mut self, now: Instant) -> bool {
        self.waiting(now) >= self.drain && !skipped(Check::Drain)
    }

    /// There are buffers again, or nothing waits.
    pub(crate) fn over(&mut self) {
        (self.since, self.stalled) = (None, false);
    }

    /// Whether something waits.
    pub(crate) fn is_waiting(&self) -> bool {
        self.since.is_some()
    }

    /// Times the stall time has passed.
    pub(crate) fn stalls(&self) -> u64 {
        self.stalls
    }

    /// Whether the stall time has passed.
    pub(crate) fn is_stalled(&self) -> bool {
        self.stalled
    }
}
