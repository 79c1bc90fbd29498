//! When a writer writes its next line, and when its time is over.

use std::time::{Duration, Instant};

use tracer::clock::{cycles, cycles_per_us};

use crate::config::{Amount, RunConfig};

/// When things happen, in cycles.
#[derive(Debug)]
pub(super) struct Clock {
    pub(super) amount: Amount,
    pub(super) warmup_us: u64,
    /// The start of measuring; of everything while it warms up. None before somebody reads.
    pub(super) start: Option<u64>,
    /// The end of the last line.
    pub(super) last: u64,
    pace: Duration,
    due: Option<Instant>,
}

impl Clock {
    /// For a run, with so many nanoseconds from one line to the next, or 0.
    pub(super) fn new(run: &RunConfig, pace_ns: u64) -> Self {
        Self {
            amount: run.amount,
            warmup_us: micros(run.warmup),
            start: None,
            last: 0,
            pace: Duration::from_nanos(pace_ns),
            due: None,
        }
    }

    /// From the start to the end of the last line.
    pub(super) fn elapsed_us(&self) -> u64 {
        self.start.map_or(0, |start| self.last.saturating_sub(start) / cycles_per_us())
    }

    /// How long it is until the warm-up, if it goes on, or the run is over, if time is what ends it.
    pub(super) fn left(&self, warm: bool) -> Duration {
        let all = match (warm, self.amount) {
            (true, _) => Duration::from_micros(self.warmup_us),
            (false, Amount::Seconds(seconds)) => Duration::from_secs_f64(seconds),
            (false, Amount::Count(_)) => return Duration::MAX,
        };
        let now = cycles();
        let gone = now.saturating_sub(self.start.unwrap_or(now)) / cycles_per_us();
        all.saturating_sub(Duration::from_micros(gone))
    }

    /// Whether a run is over of which so many lines are done.
    pub(super) fn is_over(&self, lines: u64) -> bool {
        match self.amount {
            Amount::Count(count) => lines >= count,
            Amount::Seconds(seconds) => {
                Duration::from_micros(self.elapsed_us()).as_secs_f64() >= seconds
            }
        }
    }

    /// Whether it is time for the next line. Lines that are late are not made up for.
    pub(super) fn is_due(&mut self) -> bool {
        let now = Instant::now();
        let due = *self.due.get_or_insert(now);
        if now < due {
            return false;
        }
        self.due = Some((due + self.pace).max(now));
        true
    }

    /// How long it is until then.
    pub(super) fn due_in(&self, now: Instant) -> Duration {
        self.due.map_or(Duration::MAX, |due| due.saturating_duration_since(now))
    }
}

/// Seconds as whole microseconds.
pub(super) fn micros(seconds: f64) -> u64 {
    u64::try_from(Duration::from_secs_f64(seconds).as_micros()).unwrap_or(u64::MAX)
}
