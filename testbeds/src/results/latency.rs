//! Latencies: recorded without an allocation, carried between processes as counts, merged, and read as percentiles.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::units::float;

/// Nanoseconds that can be told apart from anything longer: a minute.
const LONGEST: u64 = 60_000_000_000;
/// Decimal digits kept of each value.
const DIGITS: u8 = 3;

/// Percentiles of a latency, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Half were faster.
    pub p50: f64,
    /// Nine of ten were faster.
    pub p90: f64,
    /// 99 of 100 were faster.
    pub p99: f64,
    /// 999 of 1,000 were faster.
    pub p999: f64,
    /// The slowest.
    pub max: f64,
}

impl Latency {
    /// The percentiles of a histogram of nanoseconds; nothing if it is empty.
    #[must_use]
    pub fn from_histogram(ns: &Histogram<u64>) -> Option<Self> {
        let at = |quantile| float(ns.value_at_quantile(quantile)) / 1e3;
        (!ns.is_empty()).then(|| Self {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: float(ns.max()) / 1e3,
        })
    }
}

/// Latencies under measurement. Serialised as pairs of nanoseconds and count, so that each domain's travel to the
/// host, which adds them up: percentiles themselves cannot be added.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "Vec<(u64, u64)>", into = "Vec<(u64, u64)>")]
pub struct Latencies(Histogram<u64>);

impl Latencies {
    /// None yet. All memory is taken here.
    #[must_use]
    pub fn new() -> Self {
        let bounded = Histogram::new_with_bounds(1, LONGEST, DIGITS);
        Self(bounded.expect("constants that fit each other"))
    }

    /// Counts one, of so many nanoseconds. Past a minute it counts as a minute.
    pub fn record(&mut self, ns: u64) {
        self.0.saturating_record(ns);
    }

    /// Adds what another has counted.
    pub fn merge(&mut self, other: &Self) {
        for (ns, count) in other.pairs() {
            self.0.saturating_record_n(ns, count);
        }
    }

    /// Forgets everything, as at the end of a warm-up.
    pub fn clear(&mut self) {
        self.0.reset();
    }

    /// Percentiles; nothing if none was recorded.
    #[must_use]
    pub fn latency(&self) -> Option<Latency> {
        Latency::from_histogram(&self.0)
    }

    /// fio's percentiles under fio's keys, in nanoseconds.
    #[must_use]
    pub fn fio_percentiles(&self) -> BTreeMap<String, u64> {
        const PERCENT: [f64; 17] = [
            1.0, 5.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 95.0, 99.0, 99.5, 99.9,
            99.95, 99.99,
        ];
        if self.0.is_empty() {
            return BTreeMap::new();
        }
        let at = |percent: f64| self.0.value_at_quantile(percent / 100.0);
        PERCENT.iter().map(|&percent| (format!("{percent:.6}"), at(percent))).collect()
    }

    fn pairs(&self) -> impl Iterator<Item = (u64, u64)> {
        self.0.iter_recorded().map(|seen| (seen.value_iterated_to(), seen.count_at_value()))
    }
}

impl Default for Latencies {
    fn default() -> Self {
        Self::new()
    }
}

impl From<Latencies> for Vec<(u64, u64)> {
    fn from(latencies: Latencies) -> Self {
        latencies.pairs().collect()
    }
}

impl From<Vec<(u64, u64)>> for Latencies {
    fn from(pairs: Vec<(u64, u64)>) -> Self {
        let mut latencies = Self::new();
        for (ns, count) in pairs {
            latencies.0.saturating_record_n(ns, count);
        }
        latencies
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn none_is_absent() {
        assert_eq!(Latencies::new().latency(), None);
    }

    #[test]
    fn percentiles_are_microseconds() {
        let mut latencies = Latencies::new();
        (1..=1000).for_each(|us| latencies.record(us * 1000));
        let found = latencies.latency().expect("a thousand");
        for (got, wanted) in [(found.p50, 500.0), (found.p99, 990.0), (found.p999, 999.0)] {
            assert!((got - wanted).abs() / wanted < 0.002, "{got} for {wanted}");
        }
        latencies.record(u64::MAX);
        assert!(latencies.latency().expect("more").max < 61e6, "a minute is the most");
    }

    #[test]
    fn two_halves_make_the_whole_also_through_json() {
        let (mut whole, mut left, mut right) = Default::default();
        for (i, half) in [&mut left, &mut right].into_iter().enumerate() {
            for ns in 0..5000u64 {
                let ns = ns * ns + i as u64;
                Latencies::record(half, ns);
                Latencies::record(&mut whole, ns);
            }
        }
        let json = serde_json::to_string(&right).expect("plain data");
        left.merge(&serde_json::from_str(&json).expect("own output"));
        assert_eq!(left.latency(), whole.latency());
    }
}
