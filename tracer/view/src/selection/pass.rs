//! The pass that decides what is shown, and counts it.

use tracer::format::{Event, Sent};

use super::rank::{Ranked, rank};
use super::{Filter, Selection};
use crate::crossing::{Batch, Crossing, Requests};
use crate::name::NameId;
use crate::pattern::Pattern;
use crate::stack::{Slice, Stack};
use crate::timeline::{At, Listener, Wake};
use crate::view::View;

/// Events of an export, by what may be left out.
pub(super) struct Counted {
    pub(super) slices: Ranked,
    pub(super) lanes: Ranked,
    pub(super) values: u64,
    /// Arrows and what they hang on, moments, and words.
    pub(super) fixed: u64,
}

impl Counted {
    pub(super) fn none() -> Self {
        Self { slices: Ranked::new(), lanes: Ranked::new(), values: 0, fixed: 0 }
    }

    pub(super) fn all(&self) -> u64 {
        self.slices.total + 2 * self.lanes.total + self.values + self.fixed
    }
}

/// The pass that decides.
pub(super) struct Pass<'p> {
    filter: &'p Filter,
    so_far: &'p Selection,
    only: Vec<bool>,
    without: Vec<bool>,
    pub(super) ranks: Vec<Vec<u8>>,
    pub(super) counted: Counted,
}

impl<'p> Pass<'p> {
    pub(super) fn new(view: &View<'_>, filter: &'p Filter, so_far: &'p Selection) -> Self {
        let matches = |patterns: &[Pattern]| -> Vec<bool> {
            let any = |text: &str| patterns.iter().any(|pattern| pattern.matches(text));
            view.names.iter().map(|name| any(&name.text)).collect()
        };
        let words = view.notes.iter().filter(|said| so_far.shows_at(said.at)).count();
        Self {
            filter,
            so_far,
            only: matches(&filter.only),
            without: matches(&filter.without),
            ranks: view.threads.iter().map(|thread| vec![0; thread.records().len()]).collect(),
            counted: Counted { fixed: words as u64, ..Counted::none() },
        }
    }

    /// Something that is never left out, if it is in a window.
    fn moment(&mut self, at: At) {
        self.counted.fixed += u64::from(self.so_far.shows_at(at.ns));
    }

    /// Whether a slice passes all filters but that of thinning.
    fn passes(&self, slice: &Slice, stack: &Stack) -> bool {
        let filter = self.filter;
        let around = || stack.frames().iter().map(|frame| frame.name).chain([slice.frame.name]);
        let any = |of: &[bool]| around().any(|name: NameId| of[name.index()]);
        filter.depth.is_none_or(|depth| slice.depth < depth)
            && slice.ns() >= filter.longer_ns
            && self.so_far.overlaps(slice.frame.start, slice.end)
            && (filter.only.is_empty() || any(&self.only))
            && (filter.without.is_empty() || !any(&self.without))
    }
}

impl Listener for Pass<'_> {
    fn end(&mut self, at: At, slice: &Slice, stack: &Stack) {
        if !self.passes(slice, stack) {
            return;
        }
        // What never ended is worth seeing, however little of it there is.
        let rank = if slice.is_open() { u8::MAX } else { rank(slice.ns()) };
        self.counted.slices.add(rank, 1);
        let (ranks, record) = (&mut self.ranks[at.thread], slice.frame.record);
        if record >= ranks.len() {
            // It had begun before the first record: such are numbered behind the last.
            ranks.resize(record + 1, 0);
        }
        ranks[record] = rank;
    }

    fn mark(&mut self, at: At, _: NameId, _: u32, _: bool) {
        self.moment(at);
    }

    fn full(&mut self, at: At, _: usize, since: i64) {
        self.counted.fixed += 2 * u64::from(self.so_far.overlaps(since, at.ns));
    }

    fn send(&mut self, at: At, _: Option<usize>, _: Sent, _: u64) {
        self.moment(at);
    }

    fn receive(&mut self, at: At, _: Option<usize>) {
        self.moment(at);
    }

    fn take(&mut self, at: At, _: usize, _: &Event) {
        self.moment(at);
    }

    /// An arrow, of which both ends count.
    fn wake(&mut self, wake: &Wake) {
        self.moment(wake.rung);
        self.moment(wake.received);
    }

    fn batch(&mut self, at: At, _: &Batch, _: &Stack) {
        let shown = u64::from(self.so_far.shows_at(at.ns));
        self.counted.fixed += shown;
        self.counted.values += shown;
    }

    fn crossing(&mut self, crossing: &Crossing) {
        if self.so_far.shows_crossing(crossing) {
            self.counted.fixed += 2 * u64::from(crossing.count);
        }
    }

    fn requests(&mut self, requests: &Requests) {
        if self.so_far.shows_lane(requests) {
            self.counted.lanes.add(rank(requests.ns()), requests.count.into());
        }
    }
}
