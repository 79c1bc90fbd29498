//! When measuring begins and ends, and what was measured.
//!
//! A meter starts with the first byte, throws away what came before the warm-up is over, and stops
//! with the last. A counted amount is counted from the end of the warm-up too. The clock is read where
//! the workload reads it anyway: once per turn.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::config::{Amount, RunConfig};
use crate::counters::Counters;
use crate::results::Latencies;
use crate::workload::blk::BlkReport;
use crate::workload::console::{ConsoleReport, WriterReport};

/// Bytes copied in one go. Bytes.
const COPY_ROOM: usize = 64 << 10;

/// What one end of a workload measured.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SideReport {
    /// Payload bytes taken.
    pub bytes: u64,
    /// Payload bytes sent, where that is this end's part.
    #[serde(default)]
    pub sent: u64,
    /// Of them, bytes compared with what was to come.
    pub verified: u64,
    /// Operations finished.
    pub ops: u64,
    /// Frames or datagrams that should have come and did not.
    pub lost: u64,
    /// Wrong bytes, failed connections.
    pub errors: u64,
    /// What the first of them was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_error: Option<String>,
    /// From the end of the warm-up to the last byte. Seconds.
    pub seconds: f64,
    /// What was counted meanwhile.
    pub counters: Counters,
    /// What each worker counted of itself meanwhile, by its number, until that is [`settled`](Self::settled).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub workers: BTreeMap<u32, Counters>,
    /// Times of operations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latencies: Option<Latencies>,
    /// What only a disk has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blk: Option<BlkReport>,
    /// What only a console has, seen by its daemon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub console: Option<ConsoleReport>,
    /// What only a console's guest has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writer: Option<WriterReport>,
}

impl SideReport {
    /// Two reports of the same kind together: of several queues, or several domains.
    #[must_use]
    pub fn plus(mut self, other: Self) -> Self {
        // The other end may have chosen what comes of them.
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.sent = self.sent.saturating_add(other.sent);
        self.verified = self.verified.saturating_add(other.verified);
        self.ops = self.ops.saturating_add(other.ops);
        self.lost = self.lost.saturating_add(other.lost);
        self.errors = self.errors.saturating_add(other.errors);
        self.first_error = self.first_error.or(other.first_error);
        self.seconds = self.seconds.max(other.seconds);
        self.counters = self.counters.plus(&other.counters);
        for (number, counters) in other.workers {
            // It is one, however many reports tell of it.
            let own = self.workers.entry(number).or_default();
            *own = own.most(&counters);
        }
        self.latencies = match (self.latencies, other.latencies) {
            (Some(mut a), Some(b)) => {
                a.merge(&b);
                Some(a)
            }
            (a, b) => a.or(b),
        };
        self.blk = match (self.blk, other.blk) {
            (Some(a), Some(b)) => Some(a.plus(b)),
            (a, b) => a.or(b),
        };
        // A console is one job.
        self.console = self.console.or(other.console);
        self.writer = self.writer.or(other.writer);
        self
    }

    /// The report of one process, which no other of its workers' is added to: what they counted of themselves is
    /// in its counters.
    #[must_use]
    pub fn settled(mut self) -> Self {
        let workers = std::mem::take(&mut self.workers).into_values();
        self.counters = workers.fold(self.counters, |sum, own| sum.plus(&own));
        self
    }
}

/// Measures one end of a workload.
#[derive(Debug)]
pub struct Meter {
    warmup: Duration,
    amount: Amount,
    /// What had been done at the end of the warm-up, in the unit of the amount, once that was noted.
    zero: Option<u64>,
    first: Option<Instant>,
    begun: Option<Instant>,
    last: Option<Instant>,
    /// Counters at the end of the warm-up.
    base: Option<Counters>,
    /// What has been measured so far.
    pub report: SideReport,
    /// Extra copies of each payload byte, and where they go.
    copies: u32,
    room: Vec<u8>,
    /// Only grows.
    copied: u64,
    /// Payload bytes, operations and copied bytes of the warm-up: in no report, but whoever looks on sees them go on.
    warmed: Counters,
}

impl Meter {
    /// A meter for share `number` of `shares` that together do the amount: the first ones do one more where it
    /// does not divide.
    #[must_use]
    pub fn new(run: &RunConfig, number: u64, shares: u64) -> Self {
        let amount = match run.amount {
            Amount::Count(all) => {
                Amount::Count(all / shares.max(1) + u64::from(number < all % shares.max(1)))
            }
            seconds => seconds,
        };
        let warmup = Duration::from_secs_f64(run.warmup.max(0.0));
        Self {
            warmup,
            amount,
            zero: warmup.is_zero().then_some(0),
            first: None,
            begun: None,
            last: None,
            base: None,
            report: SideReport::default(),
            copies: 0,
            room: Vec::new(),
            copied: 0,
            warmed: Counters::default(),
        }
    }

    /// The same, for an end that sends until the other end has had enough. After a warm-up, which each end sees
    /// over at another moment, its own count would be another one too.
    #[must_use]
    pub fn following(mut self) -> Self {
        if !self.warmup.is_zero() {
            self.amount = Amount::Count(u64::MAX);
        }
        self
    }

    /// The same, with so many extra copies of each byte that is taken.
    #[must_use]
    pub fn with_copies(mut self, copies: u32) -> Self {
        self.copies = copies;
        // The largest piece that can come in one: a frame.
        self.room = if copies > 0 { vec![0; COPY_ROOM] } else { Vec::new() };
        self
    }

    /// Payload was taken: copies it as often as is asked for, one copy after the other.
    #[inline]
    pub fn copy(&mut self, bytes: &[u8]) {
        for _ in 0..self.copies {
            for piece in bytes.chunks(COPY_ROOM) {
                self.room[..piece.len()].copy_from_slice(piece);
                std::hint::black_box(&mut self.room);
            }
            self.copied += bytes.len() as u64;
        }
    }

    /// What the workload itself has counted, payload and operations from the very beginning.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let payload = self.report.bytes + self.warmed.payload;
        let (ops, copied_bytes) = (self.report.ops + self.warmed.ops, self.copied);
        Counters { payload, ops, copied_bytes, ..Counters::default() }
    }

    /// Whether anything has happened yet.
    #[inline]
    #[must_use]
    pub fn started(&self) -> bool {
        self.first.is_some()
    }

    /// Something happened at `now`. The first time starts the clock.
    #[inline]
    pub fn tick(&mut self, now: Instant) {
        let first = *self.first.get_or_insert(now);
        if self.begun.is_none() && now >= first + self.warmup {
            self.begin(now);
        }
        self.last = Some(now);
    }

    /// Measuring begins. What came before does not count, unless there was no warm-up: then what
    /// came with the first tick is the first of what counts.
    fn begin(&mut self, now: Instant) {
        self.begun = Some(now);
        if self.warmup.is_zero() {
            self.base = Some(Counters::default());
            return;
        }
        self.base = None;
        self.warmed = self.counters();
        let errors = (self.report.errors, self.report.first_error.take());
        let mut latencies = self.report.latencies.take();
        if let Some(latencies) = &mut latencies {
            latencies.clear();
        }
        self.report = SideReport { latencies, ..SideReport::default() };
        (self.report.errors, self.report.first_error) = errors;
    }

    /// Whether measuring has begun: the warm-up is over.
    #[must_use]
    pub fn begun(&self) -> bool {
        self.begun.is_some()
    }

    /// Whether the warm-up is over and the counters at its end have not been noted yet.
    #[inline]
    #[must_use]
    pub fn wants_base(&self) -> bool {
        self.begun.is_some() && self.base.is_none()
    }

    /// Notes the counters at the end of the warm-up: `others`, which are not the meter's own.
    pub fn set_base(&mut self, others: Counters) {
        self.base = Some(others.plus(&self.warmed));
    }

    /// Whether whoever decides about the end should end it now: `done` is what has been done, in
    /// the unit of the amount.
    #[inline]
    #[must_use]
    pub fn is_over(&mut self, now: Instant, done: u64) -> bool {
        match self.amount {
            Amount::Count(_) if self.warms_up() => false,
            Amount::Count(all) => done.saturating_sub(*self.zero.get_or_insert(done)) >= all,
            Amount::Seconds(seconds) => {
                self.begun.is_some_and(|at| now >= at + Duration::from_secs_f64(seconds))
            }
        }
    }

    /// How much is left to do of a counted amount.
    #[inline]
    #[must_use]
    pub fn left(&self, done: u64) -> u64 {
        match self.amount {
            Amount::Count(_) if self.warms_up() => u64::MAX,
            Amount::Count(all) => {
                all.saturating_sub(done.saturating_sub(self.zero.unwrap_or(done)))
            }
            Amount::Seconds(_) => u64::MAX,
        }
    }

    /// Whether nothing counts yet.
    #[inline]
    fn warms_up(&self) -> bool {
        self.begun.is_none() && !self.warmup.is_zero()
    }

    /// Something went wrong; the first is kept in words.
    pub fn error(&mut self, what: impl FnOnce() -> String) {
        self.report.errors += 1;
        self.report.first_error.get_or_insert_with(what);
    }

    /// The end: what was measured, with the counters as they are now.
    #[must_use]
    pub fn finish(mut self, counters: Counters) -> SideReport {
        if let (Some(begun), Some(last)) = (self.begun, self.last) {
            self.report.seconds = last.duration_since(begun).as_secs_f64();
        }
        self.report.counters = counters.since(&self.base.unwrap_or_default());
        self.report
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(amount: u64, warmup: f64) -> RunConfig {
        RunConfig { amount: Amount::Count(amount), warmup, ..RunConfig::default() }
    }

    #[test]
    fn shares_add_up_to_the_amount() {
        for amount in [1, 2, 7, 8, 100, 101, u64::MAX] {
            for shares in 1..=8 {
                let lefts = (0..shares).map(|n| Meter::new(&run(amount, 0.0), n, shares).left(0));
                let lefts: Vec<_> = lefts.collect();
                assert_eq!(lefts.iter().map(|left| u128::from(*left)).sum::<u128>(), amount.into());
                assert!(lefts[0] - lefts[lefts.len() - 1] <= 1, "{lefts:?}");
            }
        }
    }

    #[test]
    fn a_count_begins_with_the_first_byte_or_after_the_warm_up() {
        let start = Instant::now();
        let later = start + Duration::from_secs(2);
        let mut plain = Meter::new(&run(10, 0.0), 0, 1);
        plain.tick(start);
        assert!(!plain.is_over(start, 9) && plain.left(9) == 1);
        assert!(plain.is_over(start, 10) && plain.left(12) == 0);

        let mut warm = Meter::new(&run(10, 1.0), 0, 1);
        warm.tick(start);
        assert!(!warm.is_over(start, 1000) && warm.left(1000) == u64::MAX);
        warm.tick(later);
        assert!(!warm.is_over(later, 2000), "what came before does not count");
        assert_eq!(warm.left(2004), 6);
        assert!(!warm.is_over(later, 2009) && warm.is_over(later, 2010));

        let mut following = Meter::new(&run(10, 1.0), 0, 1).following();
        following.tick(start);
        following.tick(later);
        assert!(!following.is_over(later, 0) && following.left(1 << 40) > 1 << 40);
        assert_eq!(Meter::new(&run(10, 0.0), 0, 1).following().left(4), 6);
    }

    #[test]
    fn a_warm_up_is_seen_by_who_looks_on_and_is_in_no_report() {
        let start = Instant::now();
        let of_device = |frames_in| Counters { frames_in, ..Counters::default() };
        let mut meter = Meter::new(&run(1000, 1.0), 0, 1).with_copies(2);
        let take = |meter: &mut Meter, ops: u64| {
            for _ in 0..ops {
                meter.copy(b"four");
                (meter.report.bytes, meter.report.ops) =
                    (meter.report.bytes + 4, meter.report.ops + 1);
            }
        };
        meter.tick(start);
        take(&mut meter, 10);
        let before = meter.counters();
        meter.tick(start + Duration::from_secs(2));
        assert_eq!(meter.counters(), before, "it goes on");
        assert!(meter.wants_base());
        meter.set_base(of_device(10));
        take(&mut meter, 3);
        let all = of_device(13).plus(&meter.counters());
        assert_eq!((all.payload, all.ops, all.copied_bytes), (52, 13, 104));
        let report = meter.finish(all);
        let counted = Counters { payload: 12, ops: 3, copied_bytes: 24, ..of_device(3) };
        assert_eq!((report.counters, report.bytes, report.ops), (counted, 12, 3));
    }
}
