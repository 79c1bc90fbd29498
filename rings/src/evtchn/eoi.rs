//! Back-off against event storms, after Linux' "lateeoi" (XSA-332, XSA-391).
//!
//! A port that keeps firing without work stays masked for a while that doubles each time, up to a
//! second; the first event that brings work ends it. Time is an argument: nothing sleeps here.

use std::time::{Duration, Instant};

use crate::weaken::{Check, skipped};

/// The state of one queue's ports.
#[derive(Clone, Copy, Debug, Default)]
pub struct Eoi {
    spurious: u32,
    masked_until: Option<Instant>,
    delays: u64,
}

impl Eoi {
    /// Events without work that are forgiven: binding a port already causes one, and a queue has two.
    const THRESHOLD: u32 = 2;
    /// The first delay; a jiffy at 250 Hz.
    const JIFFY: Duration = Duration::from_millis(4);
    /// The longest delay.
    const CAP: Duration = Duration::from_secs(1);

    /// An event came and brought work.
    #[inline]
    pub fn worked(&mut self) {
        self.spurious = 0;
        self.masked_until = None;
    }

    /// An event came and brought nothing.
    pub fn spurious(&mut self, now: Instant) {
        if skipped(Check::Storm) {
            return;
        }
        self.spurious = self.spurious.saturating_add(1);
        let Some(excess) = self.spurious.checked_sub(Self::THRESHOLD + 1) else { return };
        let delay = Self::JIFFY.saturating_mul(1 << excess.min(16)).min(Self::CAP);
        self.masked_until = Some(now + delay);
        self.delays += 1;
    }

    /// An event came; this is whether it brought work.
    pub fn settle(&mut self, worked: bool, now: Instant) {
        if worked {
            self.worked();
        } else {
            self.spurious(now);
        }
    }

    /// How long whoever has this port may be left asleep: for ever, unless a storm keeps it masked.
    #[must_use]
    pub fn patience(&self, now: Instant) -> Duration {
        self.masked_until(now).map_or(Duration::MAX, |until| until - now)
    }

    /// Until when the port must stay masked, if it must.
    #[must_use]
    pub fn masked_until(&self, now: Instant) -> Option<Instant> {
        self.masked_until.filter(|&until| until > now)
    }

    /// How often a delay was imposed.
    #[must_use]
    pub fn delays(&self) -> u64 {
        self.delays
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_is_slowed_and_work_ends_it() {
        let (mut eoi, t0) = (Eoi::default(), Instant::now());
        for _ in 0..Eoi::THRESHOLD {
            eoi.spurious(t0);
            assert_eq!(eoi.masked_until(t0), None, "these are forgiven");
        }
        let mut last = Duration::ZERO;
        for _ in 0..40 {
            eoi.spurious(t0);
            let wait = eoi.masked_until(t0).expect("masked") - t0;
            assert!(wait >= last && wait <= Eoi::CAP);
            last = wait;
        }
        assert_eq!(last, Eoi::CAP);
        assert_eq!(eoi.masked_until(t0 + last), None);
        eoi.worked();
        assert_eq!(eoi.masked_until(t0), None);
    }
}
