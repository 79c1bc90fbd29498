//! How long a ring is left alone after it was drained, so that writes gather in it.
//!
//! To look at a ring is to take the line with its indices away from the CPU that writes it, which must take it
//! back before its next write. A daemon that looks again at once finds one small write each time, and both
//! ends are as slow as a line goes to and fro; one that leaves it alone for a moment finds many. It does so
//! only while each look finds something but little: whoever writes now and then does not wait. Time is an
//! argument, in cycles: nothing sleeps here.

use std::time::Duration;

use rings::io::console::OUT_SIZE;
use tracer::clock::ns_to_cycles;

/// The moments for which one ring is left alone. Measured in turns with 6-byte writes, on two CPUs that
/// others used too: two microseconds at most brought 2.5 times the bytes, four 4 times, and eight no more.
#[derive(Clone, Copy, Debug)]
pub struct Gather {
    least: u64,
    most: u64,
    /// How long the next one is.
    rest: u64,
    /// When this one is over.
    until: u64,
}

impl Gather {
    /// The first one. As long as a line needs to go to and fro some times.
    pub const LEAST: Duration = Duration::from_nanos(500);
    /// The longest one. Shorter than anything that waits for a console would notice.
    pub const MOST: Duration = Duration::from_micros(4);

    /// Of a ring that nobody has written to.
    #[must_use]
    pub fn new() -> Self {
        let cycles =
            |time: Duration| ns_to_cycles(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        Self { least: cycles(Self::LEAST), most: cycles(Self::MOST), rest: 0, until: 0 }
    }

    /// Whether the ring is to be left alone.
    #[inline]
    #[must_use]
    pub fn rests(&self, now: u64) -> bool {
        now < self.until
    }

    /// So many bytes were found, and taken.
    #[inline]
    pub fn found(&mut self, bytes: usize, now: u64) {
        self.rest = match bytes {
            few if few < OUT_SIZE / 4 => (self.rest * 2).clamp(self.least, self.most),
            // Whoever waits for room is not left alone.
            many if many > OUT_SIZE / 2 => self.rest / 2,
            _ => self.rest,
        };
        self.until = now.saturating_add(self.rest);
    }

    /// Nothing was found, or whoever looks has slept: the next look is at once.
    #[inline]
    pub fn forget(&mut self) {
        (self.rest, self.until) = (0, 0);
    }
}

impl Default for Gather {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    /// So many bytes a microsecond come: how many does each look find?
    fn finds(bytes_per_us: u64, looks: usize) -> Vec<usize> {
        let us = ns_to_cycles(1000);
        let (mut gather, mut now, mut last) = (Gather::new(), 0, 0);
        let mut found = Vec::new();
        while found.len() < looks {
            now += us / 10;
            if gather.rests(now) {
                continue;
            }
            let bytes = usize::try_from((now - last) * bytes_per_us / us).expect("few");
            gather.found(bytes.min(OUT_SIZE), now);
            found.push(bytes);
            last = now;
        }
        found
    }

    #[test]
    fn small_writes_gather_and_a_flood_does_not_wait() {
        let few = finds(10, 20);
        assert!(few[0] <= 1 && few[19] >= 40, "{few:?}");
        assert!(few.iter().all(|bytes| *bytes <= 41), "no longer than four microseconds");
        let flood = finds(20_000, 20);
        assert!(flood.iter().all(|bytes| *bytes <= 20_000 / 5), "{flood:?}");
    }

    #[test]
    fn whoever_writes_now_and_then_does_not_wait() {
        let mut gather = Gather::new();
        for at in (0..100).map(|n| n * ns_to_cycles(1_000_000)) {
            assert!(!gather.rests(at));
            gather.found(6, at);
            gather.forget();
        }
    }

    proptest! {
        #[test]
        fn no_rest_is_longer_than_the_longest(finds in vec((0usize..=OUT_SIZE, 0u64..100_000), 0..50)) {
            let (mut gather, mut now) = (Gather::new(), 0);
            for (bytes, later) in finds {
                now += later;
                gather.found(bytes, now);
                prop_assert!(!gather.rests(now + gather.most));
            }
        }
    }
}
