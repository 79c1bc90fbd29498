//! When a daemon's figures begin and end: as long after the first byte of a guest as that guest's own
//! do after its first line, which is the same moment. Time is an argument, in cycles.

use tracer::clock::ns_to_cycles;

use super::clock::micros;

/// Where in a run it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// It warms up, or nothing has come yet.
    Before,
    /// What happens now counts.
    Open,
    /// It is over.
    Over,
}

/// The time that counts.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    /// From the first byte to its begin, and to its end.
    begin: u64,
    end: u64,
    first: Option<u64>,
    stage: Stage,
}

impl Window {
    /// From so many seconds after the first byte on; with a length, no longer than that.
    #[must_use]
    pub fn new(warmup: f64, seconds: Option<f64>) -> Self {
        let cycles = |seconds: f64| ns_to_cycles(micros(seconds).saturating_mul(1000));
        let begin = cycles(warmup);
        let end = seconds.map_or(u64::MAX, |seconds| begin.saturating_add(cycles(seconds)));
        // Without a warm-up what the first byte took counts, too.
        let stage = if begin == 0 { Stage::Open } else { Stage::Before };
        Self { begin, end, first: None, stage }
    }

    /// Something has come, which was looked for from `now` on.
    #[inline]
    pub(super) fn came(&mut self, now: u64) {
        self.first.get_or_insert(now);
    }

    /// The stage that begins, if one does.
    #[inline]
    pub(super) fn turns(&mut self, now: u64) -> Option<Stage> {
        let after = now.saturating_sub(self.first?);
        let stage = match after {
            after if after >= self.end => Stage::Over,
            after if after >= self.begin => Stage::Open,
            _ => Stage::Before,
        };
        (stage > self.stage).then(|| {
            self.stage = stage;
            stage
        })
    }

    /// Whether nothing counts yet.
    pub(super) fn warms_up(&self) -> bool {
        self.stage == Stage::Before
    }

    /// Whether anything that counts has happened.
    pub(super) fn has_begun(&self) -> bool {
        self.first.is_some() && self.stage > Stage::Before
    }

    /// Whether nothing counts any more.
    pub(super) fn is_over(&self) -> bool {
        self.stage == Stage::Over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> u64 {
        ns_to_cycles(micros(seconds) * 1000)
    }

    #[test]
    fn it_begins_and_ends_so_long_after_the_first_byte() {
        let mut window = Window::new(1.0, Some(5.0));
        assert_eq!(window.turns(at(100.0)), None, "nothing has come");
        window.came(at(100.0));
        window.came(at(100.5));
        assert!(window.turns(at(100.9)).is_none() && !window.has_begun());
        assert_eq!(window.turns(at(101.0)), Some(Stage::Open));
        assert!(window.turns(at(105.9)).is_none() && window.has_begun() && !window.is_over());
        assert_eq!(window.turns(at(106.0)), Some(Stage::Over), "the warm-up is no part of it");
        assert!(window.turns(at(200.0)).is_none() && window.is_over());
    }

    #[test]
    fn whoever_slept_all_the_while_finds_it_over() {
        let mut window = Window::new(0.1, Some(0.1));
        window.came(at(1.0));
        assert_eq!(window.turns(at(2.0)), Some(Stage::Over));
    }

    #[test]
    fn without_a_warm_up_everything_counts_and_without_a_length_for_ever() {
        let mut window = Window::new(0.0, None);
        assert!(!window.has_begun());
        window.came(at(1.0));
        assert!(window.has_begun());
        assert_eq!(window.turns(at(1e6)), None);
    }
}
