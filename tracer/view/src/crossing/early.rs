//! Slots that were seen before they were pushed. That cannot be, and so says that two clocks differ, or
//! that the records are damaged: such an arrow is counted and never drawn.

use std::collections::VecDeque;

/// Ranges that are kept of one ring: of clocks that differ by more than so many the oldest are given up.
const MOST: usize = 1 << 16;

/// Slots that were seen at once.
#[derive(Debug)]
struct Range {
    first: u64,
    end: u64,
    /// Nanoseconds.
    seen: i64,
}

/// How many slots were seen too early, and by how much at most. Nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Backwards {
    pub(crate) slots: u64,
    pub(crate) furthest_ns: i64,
}

impl Backwards {
    pub(super) fn add(&mut self, more: Self) {
        self.slots += more.slots;
        self.furthest_ns = self.furthest_ns.max(more.furthest_ns);
    }
}

/// What was seen of one kind of a ring's slots and not pushed so far, in the order of indices.
#[derive(Debug, Default)]
pub(super) struct Early(VecDeque<Range>);

impl Early {
    /// Nobody has pushed these; gives how many they are.
    #[inline]
    pub(super) fn seen(&mut self, first: u64, end: u64, at: i64) -> u64 {
        if first >= end {
            return 0;
        }
        if self.0.len() == MOST {
            self.0.pop_front();
        }
        self.0.push_back(Range { first, end, seen: at });
        end - first
    }

    /// These are pushed now: what of them was seen before.
    #[inline]
    pub(super) fn pushed(&mut self, first: u64, end: u64, at: i64) -> Backwards {
        let mut found = Backwards::default();
        while let Some(range) = self.0.front_mut().filter(|range| range.first < end) {
            let slots = range.end.min(end).saturating_sub(range.first.max(first));
            if slots > 0 {
                found.add(Backwards { slots, furthest_ns: at - range.seen });
            }
            if range.end > end {
                range.first = end;
                break;
            }
            self.0.pop_front();
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_push_finds_what_of_it_was_seen_and_how_long_ago() {
        let mut early = Early::default();
        assert_eq!(early.pushed(0, 8, 5), Backwards::default());
        assert_eq!(
            (early.seen(10, 14, 100), early.seen(16, 20, 130), early.seen(20, 20, 1)),
            (4, 4, 0)
        );
        let found = |slots, furthest_ns| Backwards { slots, furthest_ns };
        assert_eq!(early.pushed(8, 12, 140), found(2, 40), "the first half");
        assert_eq!(
            early.pushed(12, 18, 150),
            found(4, 50),
            "the other, and half of what came then"
        );
        assert_eq!(early.pushed(19, 30, 150), found(1, 20), "one of them is never pushed");
        assert!(early.0.is_empty());
    }

    #[test]
    fn what_is_never_pushed_is_not_kept_for_ever() {
        let mut early = Early::default();
        for n in 0..2 * MOST as u64 {
            early.seen(n, n + 1, 0);
        }
        assert_eq!(early.0.len(), MOST);
        assert_eq!(early.pushed(0, u64::MAX, 7).slots, MOST as u64);
    }
}
