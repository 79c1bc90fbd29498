//! The clock that stamps records: the cycle counter or, where that does not run at one rate, the system's.
//! Which one the host says, for all of its domains.

use super::switch;
use crate::clock;
use crate::format::Anchor;

/// Which clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Source {
    /// The cycle counter.
    #[default]
    Cycles,
    /// `CLOCK_MONOTONIC`, in nanoseconds: twice as dear, and right everywhere.
    Monotonic,
}

impl Source {
    /// The one for this machine.
    pub(crate) fn of_this_machine() -> Self {
        if clock::is_steady() { Self::Cycles } else { Self::Monotonic }
    }

    pub(crate) fn from_number(number: u32) -> Self {
        if number == Self::Monotonic as u32 { Self::Monotonic } else { Self::Cycles }
    }

    /// Reads it.
    #[inline(always)]
    pub(crate) fn now(self) -> u64 {
        match self {
            Self::Cycles => clock::cycles(),
            Self::Monotonic => monotonic(),
        }
    }

    /// This clock and the system's, read at one moment.
    pub(crate) fn anchor(self) -> Anchor {
        let anchor = clock::anchor();
        match self {
            Self::Cycles => anchor,
            Self::Monotonic => Anchor { ticks: anchor.monotonic_ns, width: 0, ..anchor },
        }
    }
}

/// Reads the clock that stamps records.
#[inline(always)]
#[must_use]
pub fn now() -> u64 {
    switch::source().now()
}

/// Reads it once everything before has been read from memory.
#[inline(always)]
pub(super) fn now_after_loads() -> u64 {
    match switch::source() {
        Source::Cycles => clock::cycles_after_loads(),
        Source::Monotonic => monotonic(),
    }
}

/// Out of the way of those who need a few nanoseconds.
#[cold]
#[inline(never)]
fn monotonic() -> u64 {
    clock::monotonic_ns()
}

/// So many microseconds in its ticks.
pub(super) fn ticks_in_us(us: u64) -> u64 {
    match switch::source() {
        Source::Cycles => clock::ns_to_cycles(us.saturating_mul(1000)),
        Source::Monotonic => us.saturating_mul(1000),
    }
}
