//! What of a trace is shown: filters, and thinning to a size. Decided in a pass of its own, because the
//! beginning of a slice must know what only its end tells; kept as one octet for each record.

use crate::crossing::{Batch, Crossing, Requests};
use crate::error::Error;
use crate::name::NameId;
use crate::pattern::Pattern;
use crate::stack::{Slice, Stack};
use crate::timeline::{At, Listener, Wake, play};
use crate::view::View;

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
        self.thinned.values = counted.values - counted.values / self.values_every;
        let used = (counted.lanes.total - self.thinned.lanes) * 2
            + (counted.values - self.thinned.values);
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
        let end = first + u64::from(count);
        self.requests.is_empty()
            || self.requests.iter().any(|&(of, index)| of == ring && (first..end).contains(&index))
    }

    fn shows_crossing(&self, crossing: &Crossing) -> bool {
        self.overlaps(crossing.sent.at, crossing.seen.at)
            && self.shows_slots(crossing.ring, crossing.first, crossing.count)
    }
}

/// A duration as a number from 1 to 255: eight steps for each doubling, from 8 ns to half an hour.
#[inline]
fn rank(ns: i64) -> u8 {
    let ns = ns.max(0).unsigned_abs();
    if ns < 8 {
        return 1;
    }
    let log = ns.ilog2();
    let step = (ns >> (log - 3)) & 7;
    u8::try_from(2 + u64::from(log - 3) * 8 + step).unwrap_or(u8::MAX)
}

/// The shortest duration of this rank. Nanoseconds.
fn shortest(rank: u8) -> i64 {
    match rank {
        0 | 1 => 0,
        rank => (8 + i64::from((rank - 2) % 8)) << ((rank - 2) / 8),
    }
}

/// How many there are of each rank.
struct Ranked {
    counts: [u64; 256],
    total: u64,
}

impl Ranked {
    fn add(&mut self, rank: u8, count: u64) {
        self.counts[usize::from(rank)] += count;
        self.total += count;
    }

    /// The least rank such that no more than `room` are left, and how many are left out.
    fn fit(&self, room: u64) -> (u8, u64) {
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

/// Events of an export, by what may be left out.
struct Counted {
    slices: Ranked,
    lanes: Ranked,
    values: u64,
    /// Arrows and what they hang on, and the few others.
    fixed: u64,
}

impl Counted {
    fn all(&self) -> u64 {
        self.slices.total + 2 * self.lanes.total + self.values + self.fixed
    }
}

/// The pass that decides.
struct Pass<'p> {
    filter: &'p Filter,
    so_far: &'p Selection,
    only: Vec<bool>,
    without: Vec<bool>,
    ranks: Vec<Vec<u8>>,
    counted: Counted,
}

impl<'p> Pass<'p> {
    fn new(view: &View<'_>, filter: &'p Filter, so_far: &'p Selection) -> Self {
        let matches = |patterns: &[Pattern]| -> Vec<bool> {
            let any = |text: &str| patterns.iter().any(|pattern| pattern.matches(text));
            view.names.iter().map(|name| any(&name.text)).collect()
        };
        let none = || Ranked { counts: [0; 256], total: 0 };
        Self {
            filter,
            so_far,
            only: matches(&filter.only),
            without: matches(&filter.without),
            ranks: view.threads.iter().map(|thread| vec![0; thread.records().len()]).collect(),
            counted: Counted { slices: none(), lanes: none(), values: 0, fixed: 0 },
        }
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
        if let Some(mine) = self.ranks[at.thread].get_mut(slice.frame.record) {
            *mine = rank;
        }
    }

    fn mark(&mut self, at: At, _: NameId, _: u32, _: bool) {
        self.counted.fixed += u64::from(self.so_far.shows_at(at.ns));
    }

    fn wake(&mut self, wake: &Wake) {
        self.counted.fixed += 4 * u64::from(self.so_far.shows_at(wake.rung.ns));
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

/// Tells another listener of what is selected, and of nothing else.
pub(crate) struct Selected<'s, L> {
    pub(crate) selection: &'s Selection,
    pub(crate) to: L,
}

impl<L: Listener> Listener for Selected<'_, L> {
    #[inline]
    fn shows(&self, thread: usize, record: usize) -> bool {
        self.selection.shows(thread, record)
    }

    #[inline]
    fn begin(&mut self, at: At, stack: &Stack) {
        if stack.top().is_some_and(|top| top.shown) {
            self.to.begin(at, stack);
        }
    }

    #[inline]
    fn end(&mut self, at: At, slice: &Slice, stack: &Stack) {
        if slice.frame.shown {
            self.to.end(at, slice, stack);
        }
    }

    fn mark(&mut self, at: At, name: NameId, arg: u32, counter: bool) {
        if self.selection.shows_at(at.ns) {
            self.to.mark(at, name, arg, counter);
        }
    }

    fn full(&mut self, at: At, ring: usize, since: i64) {
        if self.selection.overlaps(since, at.ns) {
            self.to.full(at, ring, since);
        }
    }

    fn send(&mut self, at: At, channel: Option<usize>, sent: tracer::format::Sent, number: u64) {
        if self.selection.shows_at(at.ns) {
            self.to.send(at, channel, sent, number);
        }
    }

    fn receive(&mut self, at: At, channel: Option<usize>) {
        if self.selection.shows_at(at.ns) {
            self.to.receive(at, channel);
        }
    }

    fn wake(&mut self, wake: &Wake) {
        if self.selection.shows_at(wake.rung.ns) && self.selection.shows_at(wake.received.ns) {
            self.to.wake(wake);
        }
    }

    #[inline]
    fn batch(&mut self, at: At, batch: &Batch, stack: &Stack) {
        if self.selection.shows_at(at.ns) {
            self.to.batch(at, batch, stack);
        }
    }

    #[inline]
    fn crossing(&mut self, crossing: &Crossing) {
        if self.selection.shows_crossing(crossing) {
            self.to.crossing(crossing);
        }
    }

    #[inline]
    fn requests(&mut self, requests: &Requests) {
        if self.selection.shows_lane(requests) {
            self.to.requests(requests);
        }
    }

    fn take(&mut self, at: At, ring: usize, event: &tracer::format::Event) {
        if self.selection.shows_at(at.ns) {
            self.to.take(at, ring, event);
        }
    }

    fn resume(&mut self, at: At, lost: u32) {
        self.to.resume(at, lost);
    }
}

/// All complete requests.
#[derive(Default)]
struct Complete {
    all: Vec<Requests>,
    keep: Option<usize>,
}

impl Listener for Complete {
    fn requests(&mut self, requests: &Requests) {
        self.all.push(*requests);
        // The slowest alone are kept, sorted out now and then.
        if let Some(keep) = self.keep
            && self.all.len() >= 2 * keep + 1024
        {
            self.all.sort_by_key(|requests| std::cmp::Reverse(requests.ns()));
            self.all.truncate(keep);
        }
    }
}

/// The requests that took longest, the slowest first; those that went together count as one.
pub(crate) fn slowest(view: &View<'_>, count: usize) -> Vec<Requests> {
    let mut complete = Complete { all: Vec::new(), keep: Some(count) };
    play(view, &mut complete);
    complete.all.retain(|requests| !view.rings[requests.ring].posts_buffers());
    complete.all.sort_by_key(|requests| std::cmp::Reverse(requests.ns()));
    complete.all.truncate(count);
    complete.all
}

fn find_request(view: &View<'_>, ring: &str, index: u64) -> Result<Requests, Error> {
    let names = || view.rings.iter().map(|ring| ring.name.as_str()).collect::<Vec<_>>().join(", ");
    let Some(of) = view.rings.iter().position(|of| of.name == ring) else {
        return Err(Error::Absent(format!("no ring is called {ring}; there are {}", names())));
    };
    let mut complete = Complete::default();
    play(view, &mut complete);
    complete.all.retain(|requests| requests.ring == of);
    complete.all.sort_by_key(|requests| requests.first);
    let base = complete.all.first().map_or(0, |requests| requests.first);
    let wanted = base + index;
    let holds = |r: &&Requests| (r.first..r.first + u64::from(r.count)).contains(&wanted);
    match complete.all.iter().find(holds) {
        Some(found) => Ok(Requests { first: wanted, count: 1, ..*found }),
        None => Err(Error::Absent(format!(
            "no complete request {index} of {ring}; there are 0 to {}",
            complete.all.last().map_or(0, |r| r.first + u64::from(r.count) - base - 1)
        ))),
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
        let mut ranked = Ranked { counts: [0; 256], total: 0 };
        for (rank, count) in [(1, 100), (50, 10), (255, 1)] {
            ranked.add(rank, count);
        }
        assert_eq!(ranked.fit(111), (1, 0));
        assert_eq!(ranked.fit(110).1, 100);
        assert_eq!(ranked.fit(5).1, 110);
        assert_eq!(ranked.fit(0).1, 110, "what is open stays");
    }
}
