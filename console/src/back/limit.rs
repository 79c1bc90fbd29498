//! How many events of a guest are taken in a time: the limit that makes a console slow.
//!
//! xenconsoled's own is 30 events in 200 ms (`RATE_LIMIT_ALLOWANCE`, `RATE_LIMIT_PERIOD`). Each event
//! drains the whole ring, so that a guest moves at most 30 rings of 2,048 bytes in a period, and with
//! an event for each byte 30 bytes and the ring that has filled meanwhile. Time is an argument: nothing
//! sleeps here, and nothing knows of ports.

use std::time::{Duration, Instant};

/// So many events in so long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limit {
    /// Events; at least one.
    pub events: u32,
    /// The time they are for.
    pub period: Duration,
}

impl Default for Limit {
    fn default() -> Self {
        Self { events: 30, period: Duration::from_millis(200) }
    }
}

/// What one guest has used up of its limit.
#[derive(Clone, Copy, Debug)]
pub struct EventLimit {
    limit: Option<Limit>,
    taken: u32,
    /// When the period that runs is over; none before the first event.
    ends: Option<Instant>,
}

impl EventLimit {
    /// Nothing used up yet; without a limit nothing ever is.
    #[must_use]
    pub fn new(limit: Option<Limit>) -> Self {
        Self { limit, taken: 0, ends: None }
    }

    /// Whether there is a limit at all.
    #[inline(always)]
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.limit.is_some()
    }

    /// Whether the port must stay masked until the period is over.
    #[inline(always)]
    #[must_use]
    pub fn is_spent(&self) -> bool {
        self.limit.is_some_and(|limit| self.taken >= limit.events)
    }

    /// An event was taken, at `now`. The first one after a period begins the next.
    ///
    /// xenconsoled lets a period end up to 5 ms early, since its poll might; ours sleeps never do.
    pub fn event(&mut self, now: Instant) {
        let Some(limit) = self.limit else { return };
        if self.ends.is_none_or(|ends| now >= ends) {
            (self.taken, self.ends) = (0, Some(now + limit.period));
        }
        self.taken = self.taken.saturating_add(1);
    }

    /// If the port is masked and the period is over at `now`, the next one begins: `true` once.
    pub fn refill(&mut self, now: Instant) -> bool {
        let Some(limit) = self.limit else { return false };
        let over = self.is_spent() && self.ends.is_some_and(|ends| now >= ends);
        if over {
            (self.taken, self.ends) = (0, Some(now + limit.period));
        }
        over
    }

    /// How long the port must stay masked from `now` on, if it must.
    #[must_use]
    pub fn left(&self, now: Instant) -> Option<Duration> {
        let ends = self.ends.filter(|_| self.is_spent())?;
        Some(ends.saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn thirty_events_and_then_a_wait_until_the_period_is_over() {
        let (mut limit, t0) = (EventLimit::new(Some(Limit::default())), Instant::now());
        for n in 0..30 {
            assert!(!limit.is_spent(), "after {n}");
            limit.event(t0 + n * MS / 2);
        }
        assert!(limit.is_spent());
        assert_eq!(limit.left(t0 + 20 * MS), Some(180 * MS));
        assert!(!limit.refill(t0 + 199 * MS) && limit.is_spent());
        assert!(limit.refill(t0 + 203 * MS), "the sleep was a little long");
        assert!(!limit.is_spent() && limit.left(t0 + 203 * MS).is_none());
        for _ in 0..30 {
            limit.event(t0 + 204 * MS);
        }
        assert_eq!(limit.left(t0 + 204 * MS), Some(199 * MS), "from the refill on");
    }

    #[test]
    fn whoever_keeps_below_the_limit_is_never_held() {
        let (mut limit, t0) = (EventLimit::new(Some(Limit::default())), Instant::now());
        for n in 0..1000 {
            limit.event(t0 + n * 7 * MS);
            assert!(!limit.is_spent(), "29 in 200 ms");
        }
    }

    #[test]
    fn without_a_limit_nothing_is_ever_spent() {
        let (mut limit, t0) = (EventLimit::new(None), Instant::now());
        (0..100_000).for_each(|_| limit.event(t0));
        assert!(!limit.is_on() && !limit.is_spent() && limit.left(t0).is_none());
        assert!(!limit.refill(t0 + 1000 * MS));
    }

    #[test]
    fn a_time_that_runs_backwards_holds_nobody_longer_than_a_period() {
        let (mut limit, t0) = (EventLimit::new(Some(Limit::default())), Instant::now() + 500 * MS);
        (0..30).for_each(|_| limit.event(t0));
        (0..30).for_each(|_| limit.event(t0 - 400 * MS));
        assert!(limit.refill(t0 + 200 * MS));
    }

    proptest! {
        /// Over any time a guest that sends whenever it may gets its limit in each period that has
        /// begun, and never more.
        #[test]
        fn no_period_has_more_than_its_limit(
            events in 1u32..50, period in 1u64..500,
            steps in vec((0u64..300, 1u32..80), 1..200),
        ) {
            let period = Duration::from_millis(period);
            let mut limit = EventLimit::new(Some(Limit { events, period }));
            let (t0, mut now) = (Instant::now(), Duration::ZERO);
            let mut taken: Vec<Duration> = Vec::new();
            for (wait, wanted) in steps {
                now += Duration::from_millis(wait);
                limit.refill(t0 + now);
                for _ in 0..wanted {
                    if limit.is_spent() {
                        break;
                    }
                    limit.event(t0 + now);
                    taken.push(now);
                }
                prop_assert!(limit.left(t0 + now).is_none_or(|left| left <= period));
            }
            // Two limits' worth always span more than a period.
            let two = 2 * events as usize;
            for window in taken.windows(two + 1) {
                prop_assert!(window[two] - window[0] >= period);
            }
        }
    }
}
