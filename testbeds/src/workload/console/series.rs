//! Lines over time, and how long a guest was held: what the bursts and plateaus of a limited console
//! are drawn from. All memory is taken at the start.

use serde::{Deserialize, Serialize};

use crate::units::float;

/// Points kept: more cannot be seen.
const POINTS: usize = 4096;
/// Length of a point at first. Microseconds.
const FIRST_US: u64 = 1000;
/// A write that takes longer than this is a stall. Microseconds.
pub(super) const STALL_US: u64 = 20_000;

/// Lines written in each of equal spans of time. When there are too many spans, two become one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// Length of each span, seconds.
    pub seconds_per_point: f64,
    /// Lines written in each.
    pub messages: Vec<u64>,
    #[serde(skip)]
    span_us: u64,
}

impl Series {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        let messages = Vec::with_capacity(POINTS);
        Self { seconds_per_point: seconds(FIRST_US), messages, span_us: FIRST_US }
    }

    /// A line was written so many microseconds after the start.
    #[inline]
    pub fn add(&mut self, us: u64) {
        let point = loop {
            match usize::try_from(us / self.span_us) {
                Ok(point) if point < POINTS => break point,
                _ => self.fold(),
            }
        };
        if point >= self.messages.len() {
            self.messages.resize(point + 1, 0);
        }
        self.messages[point] += 1;
    }

    /// Two spans become one.
    #[cold]
    fn fold(&mut self) {
        for at in 0..self.messages.len() {
            let count = std::mem::take(&mut self.messages[at]);
            self.messages[at / 2] += count;
        }
        self.messages.truncate(self.messages.len().div_ceil(2));
        self.span_us *= 2;
        self.seconds_per_point = seconds(self.span_us);
    }

    /// Moments, and how many lines had been written by then; from nothing at the start on.
    pub fn so_far(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        let ends = self.messages.iter().scan((0, 0_u64), |(point, sum), count| {
            *point += 1;
            *sum += count;
            Some((float(*point) * self.seconds_per_point, *sum))
        });
        std::iter::once((0.0, 0)).chain(ends)
    }
}

impl Default for Series {
    fn default() -> Self {
        Self::new()
    }
}

fn seconds(us: u64) -> f64 {
    float(us) / 1e6
}

/// How a time is spread: mean, shortest, longest. Milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// How many there were.
    pub count: u64,
    /// Their mean.
    pub mean: f64,
    /// The shortest.
    pub min: f64,
    /// The longest.
    pub max: f64,
}

impl Spread {
    /// One more.
    pub fn add(&mut self, ms: f64) {
        self.min = if self.count == 0 { ms } else { self.min.min(ms) };
        self.max = self.max.max(ms);
        self.mean += (ms - self.mean) / float(self.count + 1);
        self.count += 1;
    }
}

/// When a guest was held, and for how long.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Stalls {
    /// Writes of more than 20 ms: how long they took.
    pub held_ms: Spread,
    /// From the start of one to the start of the next.
    pub period_ms: Spread,
    /// Lines written from one to the next.
    pub messages: Spread,
    #[serde(skip)]
    last: Option<(u64, u64)>,
}

impl Stalls {
    /// A write of `took_us` ended `end_us` after the start; it was the `number`-th.
    #[cold]
    pub fn add(&mut self, end_us: u64, took_us: u64, number: u64) {
        let start = end_us - took_us.min(end_us);
        self.held_ms.add(float(took_us) / 1e3);
        if let Some((then, count)) = self.last.replace((start, number)) {
            self.period_ms.add(float(start.saturating_sub(then)) / 1e3);
            self.messages.add(float(number - count));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    #[test]
    fn bursts_and_plateaus_are_points() {
        let mut series = Series::new();
        for us in [0, 10, 999, 1000, 201_500] {
            series.add(us);
        }
        assert_eq!(series.messages[..3], [3, 1, 0]);
        assert_eq!((series.messages.len(), series.messages[201]), (202, 1));
        let points: Vec<_> = series.so_far().collect();
        assert_eq!((points[0], points[1], points[202]), ((0.0, 0), (0.001, 3), (0.202, 5)));
    }

    proptest! {
        #[test]
        fn however_long_it_takes_no_line_is_lost(mut times in vec(0u64..100_000_000, 0..500)) {
            times.sort_unstable();
            let mut series = Series::new();
            times.iter().for_each(|&us| series.add(us));
            prop_assert!(series.messages.len() <= POINTS && series.messages.capacity() == POINTS);
            prop_assert_eq!(series.messages.iter().sum::<u64>(), times.len() as u64);
            for (seconds, count) in series.so_far() {
                let by_then = times.iter().filter(|&&us| float(us) < seconds * 1e6 - 1e-3).count();
                prop_assert_eq!(count, by_then as u64);
            }
        }
    }

    #[test]
    fn stalls_have_lengths_and_distances() {
        let mut stalls = Stalls::default();
        stalls.add(200_000, 180_000, 400);
        stalls.add(400_000, 170_000, 900);
        assert_eq!(stalls.held_ms, Spread { count: 2, mean: 175.0, min: 170.0, max: 180.0 });
        assert_eq!(stalls.period_ms, Spread { count: 1, mean: 210.0, min: 210.0, max: 210.0 });
        assert_eq!(stalls.messages, Spread { count: 1, mean: 500.0, min: 500.0, max: 500.0 });
    }
}
