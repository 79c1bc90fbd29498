//! What of a trace is shown: filters, and thinning to a size. Decided in a pass of its own, because the
//! beginning of a slice must know what only its end tells; kept as one octet for each record.

mod find;
mod pass;
mod rank;
mod selected;

use crate::crossing::{Crossing, Requests};
use crate::error::Error;
use crate::pattern::Pattern;
use crate::timeline::play;
use crate::view::View;
use find::{find_request, slowest};
use pass::{Counted, Pass};
use rank::{rank, shortest};
pub(crate) use selected::Selected;

/// What to show; by default everything.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filter {
    /// Functions and spans with one of these names, and what they call. All if empty.
    pub only: Vec<Pattern>,
    /// Not those with one of these names, nor what they call.
    pub without: Vec<Pattern>,
    /// Frames this deep at most: 1 shows the outermost alone.
    pub depth: Option<usize>,
    /// Slices that last at least so long. Nanoseconds.
    pub longer_ns: i64,
    /// What happens between these times after the start of the trace. Nanoseconds.
    pub window: Option<(i64, i64)>,
    /// One request: its ring, and its index counted from the first of the ring that was recorded.
    pub request: Option<(String, u64)>,
    /// What happens during the requests that took longest; how many of them.
    pub slowest: Option<usize>,
    /// Events an export may have; arrows are never left out.
    pub most: Option<u64>,
}

/// What was left out to keep to the size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Thinned {
    /// Slices left out.
    pub slices: u64,
    /// How long the longest of them lasts, about. Nanoseconds.
    pub shorter_ns: i64,
    /// Lanes of requests left out.
    pub lanes: u64,
    /// Values of counters left out.
    pub values: u64,
    /// What is never left out was more than what was asked for.
    pub over: Option<u64>,
}

/// The decision, for each record that begins a slice and for each moment.
#[derive(Debug, Default)]
pub(crate) struct Selection {
    /// For each thread and each of its records: 0 for what no filter lets through, else how long it
    /// lasts, see [`rank`]. Empty: all are shown.
    ranks: Vec<Vec<u8>>,
    least: u8,
    /// Lanes must be this long.
    least_lane: u8,
    /// One of so many values of a counter is shown.
    pub(crate) values_every: u64,
    /// Moments shown; in order and apart. Empty: all.
    windows: Vec<(i64, i64)>,
    /// The requests shown: ring and widened index. Empty: all.
    requests: Vec<(usize, u64)>,
    pub(crate) thinned: Thinned,
}

impl Selection {
    /// Looks through the trace, as often as the filter needs it.
    pub(crate) fn new(view: &View<'_>, filter: &Filter) -> Result<Self, Error> {
        Self::make(view, filter, false)
    }

    /// The same for who shows calls alone: nothing else counts among the events.
    pub(crate) fn of_calls(view: &View<'_>, filter: &Filter) -> Result<Self, Error> {
        Self::make(view, filter, true)
    }

    fn make(view: &View<'_>, filter: &Filter, calls_alone: bool) -> Result<Self, Error> {
        let mut made = Self { values_every: 1, ..Self::default() };
        made.windows(view, filter)?;
        let filters = !filter.only.is_empty()
            || !filter.without.is_empty()
            || filter.depth.is_some()
            || filter.longer_ns > 0
            || !made.windows.is_empty();
        if !filters && filter.most.is_none() {
            return Ok(made);
        }
        let mut pass = Pass::new(view, filter, &made);
        play(view, &mut pass);
        let Pass { ranks, mut counted, .. } = pass;
        if calls_alone {
            counted = Counted { slices: counted.slices, ..Counted::none() };
        }
        (made.ranks, made.least, made.least_lane) = (ranks, 1, 1);
        match filter.most {
            Some(most) if counted.all() > most => made.thin(most, &mut counted),
            _ if !filters => made.ranks.clear(),
            _ => {}
        }
        Ok(made)
    }

    fn windows(&mut self, view: &View<'_>, filter: &Filter) -> Result<(), Error> {
        self.windows.extend(filter.window);
        if let Some((ring, index)) = &filter.request {
            let found = find_request(view, ring, *index)?;
            self.windows = vec![(found.stamps[0].at, found.stamps[3].at)];
            self.requests = vec![(found.ring, found.first)];
        } else if let Some(count) = filter.slowest {
            let slowest = slowest(view, count);
            if slowest.is_empty() {
                return Err(Error::Absent("no request of this trace is complete".into()));
            }
            self.windows = slowest.iter().map(|r| (r.stamps[0].at, r.stamps[3].at)).collect();
            self.windows.sort_unstable();
            self.windows.dedup_by(|next, one| {
                let joins = next.0 <= one.1;
                one.1 = if joins { one.1.max(next.1) } else { one.1 };
                joins
            });
            self.requests = slowest.iter().map(|r| (r.ring, r.first)).collect();
        }
        Ok(())
    }

    /// Leaves out the shortest, so that no more than about `most` events remain.
    fn thin(&mut self, most: u64, counted: &mut Counted) {
        let fixed = counted.fixed;
        self.thinned.over = (fixed > most).then_some(fixed);
        // A picture of arrows alone would show nothing.
        let room = most.saturating_sub(fixed).max(most / 8);
        let lanes = room / 4;
        (self.least_lane, self.thinned.lanes) = counted.lanes.fit(lanes / 2);
        let values = room / 8;
        self.values_every = counted.values.div_ceil(values.max(1)).max(1);
        self.thinned.values = counted.values - counted.values.div_ceil(self.values_every);
        let used =
            (counted.lanes.total - self.thinned.lanes) * 2 + (counted.values - self.thinned.values);
        (self.least, self.thinned.slices) = counted.slices.fit(room.saturating_sub(used));
        self.thinned.shorter_ns = shortest(self.least);
    }

    /// Whether this moment is shown.
    #[inline]
    pub(crate) fn shows_at(&self, ns: i64) -> bool {
        self.overlaps(ns, ns)
    }

    #[inline]
    fn overlaps(&self, from: i64, to: i64) -> bool {
        if self.windows.is_empty() {
            return true;
        }
        let next = self.windows.partition_point(|window| window.1 < from);
        self.windows.get(next).is_some_and(|window| window.0 <= to)
    }

    #[inline]
    fn shows(&self, thread: usize, record: usize) -> bool {
        match self.ranks.get(thread) {
            None => true,
            Some(ranks) => ranks.get(record).is_some_and(|&rank| rank >= self.least),
        }
    }

    /// Whether a request's lane is shown.
    fn shows_lane(&self, requests: &Requests) -> bool {
        self.overlaps(requests.stamps[0].at, requests.stamps[3].at)
            && rank(requests.ns()) >= self.least_lane
            && self.shows_slots(requests.ring, requests.first, requests.count)
    }

    fn shows_slots(&self, ring: usize, first: u64, count: u32) -> bool {
        self.requests.is_empty() || self.chosen(ring, first, count).next().is_some()
    }

    /// Those of these slots that were asked for by their index.
    fn chosen(&self, ring: usize, first: u64, count: u32) -> impl Iterator<Item = u64> {
        let all = first..first + u64::from(count);
        let mine = self.requests.iter().filter(move |(of, _)| *of == ring);
        mine.map(|&(_, index)| index).filter(move |index| all.contains(index))
    }

    /// Only with both its ends: an arrow hangs on them.
    fn shows_crossing(&self, crossing: &Crossing) -> bool {
        self.shows_at(crossing.sent.at)
            && self.shows_at(crossing.seen.at)
            && self.shows_slots(crossing.ring, crossing.first, crossing.count)
    }
}
