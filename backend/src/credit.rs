//! How fast a guest may send: the credit of Xen's netback.
//!
//! The toolstack writes `rate`, "bytes,usec", beside the backend's other keys: with each window of so
//! many microseconds the guest may send so many bytes more, each queue for itself. A frame for which
//! the credit is too small waits where it is, and holds the queue; nothing is lost. What was not used is
//! saved up to one window's bytes, and always up to 128 KiB, so that the largest frame passes whatever
//! the rate. What comes to the guest is not limited. Time is an argument; who waits is `tx`'s business.
//!
//! Linux counts in jiffies and lets a window begin anew whenever it looks late; here every window that
//! has passed counts, so that the rate is the one that was asked for.

use std::time::{Duration, Instant};

/// Bytes that may always be saved up (`max_burst` of Linux' netback).
const BURST: u64 = 131_072;
/// The longest wait for a credit that never comes.
const LONGEST: Duration = Duration::from_secs(3600);

/// So many bytes in each window.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Rate {
    bytes: u64,
    window: Duration,
}

impl Rate {
    /// Reads the value of `rate`, as strictly as Linux does. A window of no time is no limit there,
    /// and none here.
    pub(crate) fn parse(text: &str) -> Result<Option<Self>, BadRate> {
        let number = |part: &str| {
            let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
            digits.then(|| part.parse::<u64>().ok()).flatten().ok_or(BadRate)
        };
        let (bytes, usec) = text.split_once(',').ok_or(BadRate)?;
        let (bytes, window) = (number(bytes)?, Duration::from_micros(number(usec)?));
        Ok((!window.is_zero()).then_some(Self { bytes, window }))
    }
}

/// `rate` is not two numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct BadRate;

/// What one queue may still send.
#[derive(Debug)]
pub(crate) struct Credit {
    rate: Rate,
    left: u64,
    /// When the window began.
    begun: Instant,
    /// When there will be enough for the frame that was refused last.
    enough_at: Instant,
    /// Whether it still waits: it is asked for again and again.
    refused: bool,
    waits: u64,
}

impl Credit {
    /// The first window begins now.
    pub(crate) fn new(rate: Rate, now: Instant) -> Self {
        Self { rate, left: rate.bytes, begun: now, enough_at: now, refused: false, waits: 0 }
    }

    /// Whether a frame of so many bytes may go, which then takes them. Asks for the time only where
    /// the credit is too small.
    #[inline]
    pub(crate) fn admits(&mut self, bytes: u64, now: impl FnOnce() -> Instant) -> bool {
        if bytes > self.left && !self.refills(bytes, now()) {
            self.waits += u64::from(!self.refused);
            self.refused = true;
            return false;
        }
        self.refused = false;
        self.left = self.left.saturating_sub(bytes);
        true
    }

    /// Adds what the windows since the last look have brought. Whether that is enough for `bytes`.
    fn refills(&mut self, bytes: u64, now: Instant) -> bool {
        let Rate { bytes: each, window } = self.rate;
        let passed = now.saturating_duration_since(self.begun).as_nanos() / window.as_nanos();
        if passed > 0 {
            let windows = u64::try_from(passed).unwrap_or(u64::MAX);
            self.begun = self.begun.checked_add(times(window, windows)).unwrap_or(now);
            let saved = self.left.saturating_add(each.saturating_mul(windows));
            self.left = saved.min(each.max(BURST));
        }
        if bytes <= self.left {
            return true;
        }
        let windows = (bytes - self.left).div_ceil(each.max(1));
        let wait = if each == 0 { LONGEST } else { times(window, windows).min(LONGEST) };
        self.enough_at = self.begun + wait;
        false
    }

    /// When there will be enough for the frame that was refused last.
    pub(crate) fn enough_at(&self) -> Instant {
        self.enough_at
    }

    /// Frames that had to wait.
    pub(crate) fn waits(&self) -> u64 {
        self.waits
    }
}

fn times(window: Duration, count: u64) -> Duration {
    let nanos = window.as_nanos().saturating_mul(count.into());
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credit(text: &str, start: Instant) -> Credit {
        Credit::new(Rate::parse(text).expect("a rate").expect("a limit"), start)
    }

    /// Bytes that frames of `size` carry in `ms`, whoever sends them having to wait as told, and waking
    /// up `late` each time.
    fn sent(credit: &mut Credit, start: Instant, size: u64, ms: u64, late: Duration) -> u64 {
        let (mut now, end, mut sum) = (start, start + Duration::from_millis(ms), 0);
        while now < end {
            if credit.admits(size, || now) {
                sum += size;
            } else {
                assert!(credit.enough_at() > now, "or nobody would sleep");
                now = credit.enough_at() + late;
            }
        }
        sum
    }

    #[test]
    fn the_rate_is_what_was_asked_for_however_late_the_sleeper_wakes() {
        let start = Instant::now();
        for (text, size, each_ms) in [
            ("1000000,1000", 1500, 1_000_000),
            ("10000,50000", 1500, 200),
            ("1000,100", 64, 10_000),
            ("100,1000", 65_535, 100),
        ] {
            for late in [0, 60, 900] {
                let mut credit = credit(text, start);
                let sum = sent(&mut credit, start, size, 10_000, Duration::from_micros(late));
                let asked = each_ms * 10_000;
                let burst = BURST.max(1_000_000) + size;
                assert!(sum <= asked + burst && sum + asked / 50 + burst >= asked, "{text}: {sum}");
                assert!(credit.waits() > 0);
            }
        }
    }

    #[test]
    fn what_is_not_used_is_saved_for_one_burst_only() {
        let start = Instant::now();
        let mut credit = credit("1000,1000", start);
        assert!(credit.admits(1000, || start));
        assert!(!credit.admits(1, || start));
        let later = start + Duration::from_secs(100);
        assert!(credit.admits(BURST, || later));
        assert!(!credit.admits(1, || later), "100,000 bytes more were never used, and are gone");
        assert_eq!(credit.enough_at(), later + Duration::from_millis(1));
    }

    #[test]
    fn the_largest_frame_passes_however_small_the_rate() {
        let start = Instant::now();
        let mut credit = credit("1000,1000", start);
        assert!(!credit.admits(65_535, || start));
        assert_eq!(credit.enough_at(), start + Duration::from_millis(65));
        assert!(!credit.admits(65_535, || start + Duration::from_millis(64)));
        assert!(credit.admits(65_535, || start + Duration::from_millis(65)));
        assert_eq!(credit.waits(), 1, "one frame, looked at twice");
    }

    #[test]
    fn a_rate_of_nothing_waits_for_ever_and_absurd_numbers_are_no_panic() {
        let start = Instant::now();
        let mut none = credit("0,1000", start);
        assert!(!none.admits(1, || start + Duration::from_secs(1)));
        assert!(none.enough_at() > start + Duration::from_secs(3000));
        assert!(!none.admits(1, || start + Duration::from_secs(2)));
        assert_eq!(none.waits(), 1, "one frame, looked at twice");
        let mut huge = credit("18446744073709551615,18446744073709551615", start);
        assert!(huge.admits(65_535, || start));
        let mut slow = credit("1,18446744073709551615", start);
        assert!(!slow.admits(60, || start + Duration::from_secs(1_000_000)));
    }

    #[test]
    fn a_rate_is_two_numbers_and_nothing_else() {
        let limit = |bytes, usec| Some(Rate { bytes, window: Duration::from_micros(usec) });
        assert_eq!(Rate::parse("10000000,50000"), Ok(limit(10_000_000, 50_000)));
        assert_eq!(Rate::parse("5,0"), Ok(None), "no window, no limit");
        for text in
            ["", ",", "1", "1,", ",1", "1,1,1", "1, 1", "-1,1", "+1,1", "1.5,1", "1,1\n", "0x1,1"]
        {
            assert_eq!(Rate::parse(text), Err(BadRate), "{text:?}");
        }
        assert_eq!(Rate::parse("99999999999999999999,1"), Err(BadRate));
    }
}
