//! Durations as small numbers, and which of them fit.

/// A duration as a number from 1 to 255: eight steps for each doubling, from 8 ns to half an hour.
#[inline]
pub(super) fn rank(ns: i64) -> u8 {
    let ns = ns.max(0).unsigned_abs();
    if ns < 8 {
        return 1;
    }
    let log = ns.ilog2();
    let step = (ns >> (log - 3)) & 7;
    u8::try_from(2 + u64::from(log - 3) * 8 + step).unwrap_or(u8::MAX)
}

/// The shortest duration of this rank. Nanoseconds.
pub(super) fn shortest(rank: u8) -> i64 {
    match rank {
        0 | 1 => 0,
        rank => (8 + i64::from((rank - 2) % 8)) << ((rank - 2) / 8),
    }
}

/// How many there are of each rank.
pub(super) struct Ranked {
    counts: [u64; 256],
    pub(super) total: u64,
}

impl Ranked {
    /// None yet.
    pub(super) fn new() -> Self {
        Self { counts: [0; 256], total: 0 }
    }

    pub(super) fn add(&mut self, rank: u8, count: u64) {
        self.counts[usize::from(rank)] += count;
        self.total += count;
    }

    /// The least rank such that no more than `room` are left, and how many are left out.
    pub(super) fn fit(&self, room: u64) -> (u8, u64) {
        let mut left = self.total;
        for rank in 1..=u8::MAX {
            if left <= room {
                return (rank, self.total - left);
            }
            left -= self.counts[usize::from(rank)];
        }
        (u8::MAX, self.total - self.counts[255])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_rise_with_durations_and_say_them_back() {
        let mut last = 0;
        for ns in (0..5000).chain((5000..100_000_000).step_by(4999)) {
            let rank = rank(ns);
            assert!(rank >= last, "{ns}");
            assert!(shortest(rank) <= ns.max(0), "{ns}: {}", shortest(rank));
            last = rank;
        }
        assert_eq!(rank(i64::MAX), 255);
        assert_eq!(rank(-5), 1);
    }

    #[test]
    fn what_fits_is_left_in_and_the_longest_go_last() {
        let mut ranked = Ranked::new();
        for (rank, count) in [(1, 100), (50, 10), (255, 1)] {
            ranked.add(rank, count);
        }
        assert_eq!(ranked.fit(111), (1, 0));
        assert_eq!(ranked.fit(110).1, 100);
        assert_eq!(ranked.fit(5).1, 110);
        assert_eq!(ranked.fit(0).1, 110, "what is open stays");
    }
}
