//! Ticks and nanoseconds: how the stamps of records become times.

use super::bytes::{Reader, Writer};

/// The clock's ticks and the system's time, read at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Anchor {
    /// Ticks of the clock that stamps records.
    pub ticks: u64,
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub monotonic_ns: u64,
    /// `CLOCK_REALTIME`, nanoseconds since 1970.
    pub realtime_ns: u64,
    /// How far apart the readings may be at most. Ticks.
    pub width: u64,
}

impl Anchor {
    pub(super) fn write(&self, to: &mut Writer) {
        to.u64(self.ticks).u64(self.monotonic_ns).u64(self.realtime_ns).u64(self.width);
    }

    pub(super) fn read(from: &mut Reader<'_>) -> Option<Self> {
        let (ticks, monotonic_ns) = (from.u64()?, from.u64()?);
        Some(Self { ticks, monotonic_ns, realtime_ns: from.u64()?, width: from.u64()? })
    }
}

/// The clock of a trace. All processes of a lab run on one machine and read one counter, so there is
/// one of these, and nothing to align.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Clock {
    /// When the trace began.
    pub start: Anchor,
    /// When it was collected.
    pub end: Anchor,
    /// Whether the counter runs at one rate, whatever the CPU does (`constant_tsc nonstop_tsc`). If
    /// not, times are not to be trusted, and whoever shows them says so.
    pub steady: bool,
    /// What recording one event costs on this machine. Picoseconds.
    pub event_ps: u64,
    /// What reading the clock costs, which is in `event_ps`. Picoseconds.
    pub read_ps: u64,
}

/// Ticks made into nanoseconds by one multiplication, for whoever does it ten million times.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Scale {
    start: u64,
    /// Nanoseconds in a tick, times 2^48: exact to a nanosecond in a day.
    mult: u128,
}

impl Scale {
    /// Nanoseconds from the start of the trace to `ticks`; negative before it. Never goes back where
    /// `ticks` does not.
    #[inline]
    #[must_use]
    pub fn ns(&self, ticks: u64) -> i64 {
        let ns = |ticks| i64::try_from(self.duration_ns(ticks)).unwrap_or(i64::MAX);
        match ticks.checked_sub(self.start) {
            Some(later) => ns(later),
            None => -ns(self.start - ticks),
        }
    }

    /// Nanoseconds that so many ticks last.
    #[inline]
    #[must_use]
    pub fn duration_ns(&self, ticks: u64) -> u64 {
        u64::try_from((u128::from(ticks) * self.mult) >> 48).unwrap_or(u64::MAX)
    }
}

impl Clock {
    /// Ticks in a second; 1,000,000,000 if the anchors say nothing sensible (less than 1 MHz).
    #[must_use]
    pub fn hz(&self) -> u64 {
        let ticks = u128::from(self.end.ticks.saturating_sub(self.start.ticks));
        let ns = u128::from(self.end.monotonic_ns.saturating_sub(self.start.monotonic_ns));
        match (ticks * 1_000_000_000).checked_div(ns) {
            Some(hz) if hz >= 1_000_000 => u64::try_from(hz).unwrap_or(u64::MAX),
            _ => 1_000_000_000,
        }
    }

    /// What turns stamps into times.
    #[must_use]
    pub fn scale(&self) -> Scale {
        Scale { start: self.start.ticks, mult: (1_000_000_000_u128 << 48) / u128::from(self.hz()) }
    }

    pub(super) fn write(&self, to: &mut Writer) {
        self.start.write(to);
        self.end.write(to);
        to.u64(self.steady.into()).u64(self.event_ps).u64(self.read_ps);
    }

    pub(super) fn read(from: &mut Reader<'_>) -> Option<Self> {
        let (start, end) = (Anchor::read(from)?, Anchor::read(from)?);
        let steady = from.u64()? != 0;
        Some(Self { start, end, steady, event_ps: from.u64()?, read_ps: from.u64()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock(hz: u64, seconds: u64) -> Clock {
        let start = Anchor { ticks: 1 << 50, monotonic_ns: 77, ..Anchor::default() };
        let end = Anchor {
            ticks: start.ticks + hz * seconds,
            monotonic_ns: start.monotonic_ns + seconds * 1_000_000_000,
            ..Anchor::default()
        };
        Clock { start, end, ..Clock::default() }
    }

    #[test]
    fn times_are_exact_to_the_nanosecond_in_a_day() {
        let clock = clock(2_596_124_138, 7);
        assert_eq!(clock.hz(), 2_596_124_138);
        let scale = clock.scale();
        let near = |is: i64, should: i64| assert!((is - should).abs() <= 1, "{is} {should}");
        assert_eq!(scale.ns(clock.start.ticks), 0);
        near(scale.ns(clock.end.ticks), 7_000_000_000);
        near(scale.ns(clock.start.ticks - 2_596_124_138), -1_000_000_000);
        let day = 86_400;
        let ns = scale.duration_ns(2_596_124_138 * day);
        near(i64::try_from(ns).expect("a day"), 86_400_000_000_000);
    }

    #[test]
    fn nonsense_divides_by_nothing() {
        let mut clock = clock(1, 1);
        assert_eq!(clock.hz(), 1_000_000_000, "no clock runs at 1 Hz");
        (clock.end, clock.start) = (clock.start, clock.end);
        assert_eq!(clock.hz(), 1_000_000_000);
        let scale = clock.scale();
        assert_eq!(scale.ns(0), -i64::try_from(clock.start.ticks).expect("small"));
        let _ = (scale.ns(u64::MAX), scale.duration_ns(u64::MAX));
    }
}
