//! What a console has done: counts, and the lengths of its limit's periods.

use std::time::Duration;

/// What one console has done so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stats {
    /// Bytes from the guest.
    pub bytes: u64,
    /// Bytes to the guest.
    pub typed: u64,
    /// Events taken; only with a limit are they told apart.
    pub events: u64,
    /// Times the ring was drained of something.
    pub drains: u64,
    /// Times the port was left masked.
    pub limited: u64,
    /// Looks at indices that cannot be.
    pub illegal: u64,
    /// Periods that ended with a masked port: how many, and how long from each to the next.
    pub periods: Periods,
}

/// Lengths of the periods between two times at which a masked port was unmasked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Periods {
    /// How many.
    pub count: u64,
    /// All together.
    pub sum: Duration,
    /// The shortest.
    pub min: Duration,
    /// The longest.
    pub max: Duration,
}

impl Periods {
    /// One more.
    pub(super) fn add(&mut self, one: Duration) {
        self.min = if self.count == 0 { one } else { self.min.min(one) };
        self.max = self.max.max(one);
        self.sum += one;
        self.count += 1;
    }
}
