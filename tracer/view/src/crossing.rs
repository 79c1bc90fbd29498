//! Slots on their way: who pushed each and who saw it, and the requests they make up.
//!
//! Indices are 32 bits wide and wrap; here they are widened by what was last seen on their ring,
//! where no two indices in use are further apart than its size.

mod early;

use std::collections::{HashMap, VecDeque};

use tracer::format::{Slot, Slots};

use crate::view::{Ring, View};
pub(crate) use early::Backwards;
use early::Early;

/// In less time no ring's index gets half way round: 2^31 slots of 10 ns each. Nanoseconds.
const ROUND: i64 = 20_000_000_000;

/// Who and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Stamp {
    /// In [`View::threads`].
    pub(crate) thread: usize,
    /// Nanoseconds.
    pub(crate) at: i64,
    /// Which batch of the whole trace, counted from 0 in the order of time.
    pub(crate) batch: u64,
}

/// Slots that one half pushed, or saw, at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Batch {
    /// In [`View::rings`].
    pub(crate) ring: usize,
    pub(crate) slot: Slot,
    /// Pushed, not seen.
    pub(crate) push: bool,
    /// Widened index of the first.
    pub(crate) first: u64,
    pub(crate) count: u32,
    /// The other end asked to be woken.
    pub(crate) notify: bool,
    pub(crate) stamp: Stamp,
}

/// Slots that were in one batch when pushed and in one batch when seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Crossing {
    pub(crate) ring: usize,
    pub(crate) slot: Slot,
    pub(crate) first: u64,
    pub(crate) count: u32,
    pub(crate) sent: Stamp,
    pub(crate) seen: Stamp,
}

/// Requests that went all the way together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Requests {
    pub(crate) ring: usize,
    /// Widened index of the first request.
    pub(crate) first: u64,
    pub(crate) count: u32,
    /// Request pushed, request seen, response pushed, response seen.
    pub(crate) stamps: [Stamp; 4],
}

impl Requests {
    /// From the push of the request until the response was seen. Nanoseconds.
    pub(crate) fn ns(&self) -> i64 {
        self.stamps[3].at - self.stamps[0].at
    }
}

/// What came of a batch.
#[derive(Debug, Default)]
pub(crate) struct Came {
    pub(crate) crossings: Vec<Crossing>,
    pub(crate) requests: Vec<Requests>,
}

/// All rings of a trace, and what is on them.
#[derive(Debug)]
pub(crate) struct Traffic {
    rings: Vec<OnRing>,
    batches: u64,
    /// Slots that were seen without having been pushed, as far as is recorded.
    pub(crate) unsent: u64,
    /// Slots that were pushed after they had been seen.
    pub(crate) backwards: Backwards,
}

impl Traffic {
    pub(crate) fn new(view: &View<'_>) -> Self {
        Self::of(view.rings.iter().map(OnRing::new).collect())
    }

    fn of(rings: Vec<OnRing>) -> Self {
        Self { rings, batches: 0, unsent: 0, backwards: Backwards::default() }
    }

    /// Widens a batch's index and gives it its number.
    pub(crate) fn batch(&mut self, ring: usize, slots: Slots, push: bool, notify: bool) -> Batch {
        let first = self.rings[ring].widen(slots.first);
        let stamp = Stamp { batch: self.batches, ..Stamp::default() };
        self.batches += 1;
        Batch { ring, slot: slots.slot, push, first, count: slots.count, notify, stamp }
    }

    /// What a batch completes is added to `came`.
    pub(crate) fn take(&mut self, batch: &Batch, came: &mut Came) {
        let ring = &mut self.rings[batch.ring];
        if batch.push {
            let early = ring.pushed(batch);
            self.unsent -= early.slots.min(self.unsent);
            self.backwards.add(early);
        } else {
            self.unsent += ring.popped(batch, came);
        }
    }

    /// Recording was off for so long: what was under way has arrived unseen. Nanoseconds.
    pub(crate) fn forget(&mut self, ns: i64) {
        for ring in &mut self.rings {
            // Where indices may have gone round, they go on behind all that were.
            let goes_on = |last: u64| if ns < ROUND { last } else { (last | 0xffff_ffff) + 1 };
            let last = ring.last.map(goes_on);
            *ring = OnRing { last, ..OnRing::empty(ring.in_order, ring.size) };
        }
    }

    /// A slot's `id` field. Both halves may tell; the second time changes nothing.
    pub(crate) fn id(&mut self, ring: usize, slot: Slot, index: u32, id: u32) {
        let ring = &mut self.rings[ring];
        let index = ring.widen(index);
        match slot {
            Slot::Request => drop(ring.last_of_id.insert(id, index)),
            Slot::Response => {
                if let Some(&request) = ring.last_of_id.get(&id).filter(|_| index >= ring.answered)
                {
                    ring.answers.entry(index).or_insert(request);
                }
            }
        }
    }
}

/// Slots side by side with the same past: the stamps they have so far.
#[derive(Debug, Clone, Copy)]
struct Run {
    first: u64,
    count: u32,
    stamps: [Stamp; 4],
}

impl Run {
    fn end(&self) -> u64 {
        self.first + u64::from(self.count)
    }
}

/// One ring's slots under way.
#[derive(Debug)]
struct OnRing {
    in_order: bool,
    size: u64,
    /// The index last seen, whoever's it was.
    last: Option<u64>,
    /// Requests, then responses: pushed and not yet seen.
    pushed: [VecDeque<Run>; 2],
    /// The same: seen and not yet pushed.
    early: [Early; 2],
    /// Requests that the backend has: seen and not yet answered.
    taken: VecDeque<Run>,
    /// Of a ring not answered in order: the request that last had an id, and the request that a
    /// response answers.
    last_of_id: HashMap<u32, u64>,
    answers: HashMap<u64, u64>,
    /// Responses before this one have been seen.
    answered: u64,
}

impl OnRing {
    fn new(ring: &Ring) -> Self {
        Self::empty(ring.in_order, u64::from(ring.size).clamp(1, 1 << 16))
    }

    fn empty(in_order: bool, size: u64) -> Self {
        Self {
            in_order,
            size,
            last: None,
            pushed: [VecDeque::new(), VecDeque::new()],
            early: [Early::default(), Early::default()],
            taken: VecDeque::new(),
            last_of_id: HashMap::new(),
            answers: HashMap::new(),
            answered: 0,
        }
    }

    fn widen(&mut self, index: u32) -> u64 {
        let wide = match self.last {
            // From 2^32 on, so that there is room below the first one.
            None => (1 << 32) | u64::from(index),
            Some(last) => {
                #[expect(clippy::cast_possible_truncation, reason = "the low half is meant")]
                let ahead = index.wrapping_sub(last as u32);
                last.saturating_add_signed(i64::from(ahead.cast_signed()))
            }
        };
        self.last = Some(wide);
        wide
    }

    /// Gives what of it had been seen before.
    fn pushed(&mut self, batch: &Batch) -> Backwards {
        let run = Run { first: batch.first, count: batch.count, stamps: [batch.stamp; 4] };
        let which = usize::from(batch.slot == Slot::Response);
        let queue = &mut self.pushed[which];
        // What was never seen, because the other end's records are missing, is not kept for ever.
        let oldest = run.end().saturating_sub(self.size);
        while queue.front().is_some_and(|run| run.end() <= oldest) {
            queue.pop_front();
        }
        queue.push_back(run);
        self.early[which].pushed(run.first, run.end(), batch.stamp.at)
    }

    /// Gives how many of the slots nobody pushed so far.
    fn popped(&mut self, batch: &Batch, came: &mut Came) -> u64 {
        let Batch { ring, slot, first, count, stamp: seen, .. } = *batch;
        let end = first + u64::from(count);
        let (mut next, mut unsent) = (first, 0);
        let which = usize::from(slot == Slot::Response);
        while let Some(run) = take(&mut self.pushed[which], first, end) {
            unsent += self.early[which].seen(next, run.first, seen.at);
            // What was pushed twice, as damaged records can say, is seen twice.
            next = next.max(run.end());
            let sent = run.stamps[0];
            let Run { first, count, .. } = run;
            came.crossings.push(Crossing { ring, slot, first, count, sent, seen });
            match slot {
                Slot::Request => self.keep(Run { stamps: [sent, seen, seen, seen], ..run }),
                Slot::Response => self.answered(ring, &run, seen, came),
            }
        }
        unsent + self.early[which].seen(next, end, seen.at)
    }

    fn keep(&mut self, run: Run) {
        let oldest = run.end().saturating_sub(2 * self.size);
        while self.taken.front().is_some_and(|run| run.end() <= oldest) {
            self.taken.pop_front();
        }
        self.taken.push_back(run);
    }

    /// Responses have come: the requests they answer are complete.
    fn answered(&mut self, ring: usize, responses: &Run, seen: Stamp, came: &mut Came) {
        let mut complete = |request: Run| {
            let [pushed, taken, ..] = request.stamps;
            let stamps = [pushed, taken, responses.stamps[0], seen];
            let Run { first, count, .. } = request;
            came.requests.push(Requests { ring, first, count, stamps });
        };
        if self.in_order {
            while let Some(run) = take(&mut self.taken, responses.first, responses.end()) {
                complete(run);
            }
            return;
        }
        self.answered = self.answered.max(responses.end());
        for index in responses.first..responses.end() {
            if let Some(request) = self.answers.remove(&index)
                && let Some(run) = take_one(&mut self.taken, request)
            {
                complete(run);
            }
        }
    }
}

/// Takes the first run of slots that lie in `first..end` out of a queue in the order of indices; those
/// before `first` are dropped.
fn take(queue: &mut VecDeque<Run>, first: u64, end: u64) -> Option<Run> {
    loop {
        let run = queue.front_mut()?;
        if run.end() <= first {
            queue.pop_front();
        } else if run.first >= end {
            return None;
        } else if run.first < first {
            *run = after(run, first);
        } else if run.end() <= end {
            return queue.pop_front();
        } else {
            let part = Run { count: distance(run.first, end), ..*run };
            *run = after(run, end);
            return Some(part);
        }
    }
}

/// Takes one slot out of a queue, wherever it is.
fn take_one(queue: &mut VecDeque<Run>, index: u64) -> Option<Run> {
    let at = queue.iter().position(|run| (run.first..run.end()).contains(&index))?;
    let run = queue[at];
    let before = Run { count: distance(run.first, index), ..run };
    let behind = after(&run, index + 1);
    match (before.count, behind.count) {
        (0, 0) => drop(queue.remove(at)),
        (_, 0) => queue[at] = before,
        (0, _) => queue[at] = behind,
        _ => {
            queue[at] = before;
            queue.insert(at + 1, behind);
        }
    }
    Some(Run { first: index, count: 1, ..run })
}

/// What of a run lies at and behind `index`, which is in it or just behind it.
fn after(run: &Run, index: u64) -> Run {
    Run { first: index, count: distance(index, run.end()), ..*run }
}

fn distance(from: u64, to: u64) -> u32 {
    u32::try_from(to - from).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(in_order: bool) -> OnRing {
        let name = "vif1.0-q0-tx".to_owned();
        OnRing::new(&Ring { name, in_order, size: 256, front: None, back: None })
    }

    fn batch(slot: Slot, push: bool, first: u64, count: u32, at: i64) -> Batch {
        let stamp = Stamp { thread: usize::from(!push), at, batch: 0 };
        Batch { ring: 0, slot, push, first, count, notify: false, stamp }
    }

    #[test]
    fn batches_that_are_cut_differently_meet_slot_by_slot() {
        let mut ring = ring(true);
        let mut came = Came::default();
        ring.pushed(&batch(Slot::Request, true, 10, 4, 1));
        ring.pushed(&batch(Slot::Request, true, 14, 4, 2));
        assert_eq!(ring.popped(&batch(Slot::Request, false, 10, 6, 3), &mut came), 0);
        assert_eq!(ring.popped(&batch(Slot::Request, false, 16, 2, 4), &mut came), 0);
        let cut: Vec<_> = came.crossings.iter().map(|c| (c.first, c.count, c.seen.at)).collect();
        assert_eq!(cut, [(10, 4, 3), (14, 2, 3), (16, 2, 4)]);
        ring.pushed(&batch(Slot::Response, true, 10, 8, 5));
        assert_eq!(ring.popped(&batch(Slot::Response, false, 10, 8, 6), &mut came), 0);
        let whole: Vec<_> = came.requests.iter().map(|r| (r.first, r.count, r.ns())).collect();
        assert_eq!(whole, [(10, 4, 5), (14, 2, 4), (16, 2, 4)]);
    }

    #[test]
    fn what_nobody_pushed_is_counted_and_what_nobody_saw_is_forgotten() {
        let mut ring = ring(true);
        let mut came = Came::default();
        assert_eq!(ring.popped(&batch(Slot::Request, false, 0, 3, 1), &mut came), 3);
        for n in 0..10_000 {
            ring.pushed(&batch(Slot::Request, true, 3 + n, 1, 2));
        }
        assert!(ring.pushed[0].len() <= 257, "{}", ring.pushed[0].len());
        assert_eq!(ring.popped(&batch(Slot::Request, false, 9_999, 4, 3), &mut came), 0);
        assert_eq!(came.crossings.len(), 4);
    }

    #[test]
    fn what_is_seen_too_early_is_told_when_it_is_pushed() {
        let mut traffic = Traffic::of(vec![ring(true)]);
        let mut came = Came::default();
        let mut step = |push, first, count, at| {
            traffic.take(&batch(Slot::Request, push, first, count, at), &mut came);
            (traffic.unsent, traffic.backwards.slots, traffic.backwards.furthest_ns)
        };
        assert_eq!(step(true, 0, 2, 1), (0, 0, 0));
        assert_eq!(step(false, 0, 6, 10), (4, 0, 0), "two of six were pushed");
        assert_eq!(step(true, 2, 3, 25), (1, 3, 15));
        assert_eq!(step(true, 5, 3, 30), (0, 4, 20));
        assert_eq!(step(false, 6, 2, 31), (0, 4, 20), "as it should be again");
        let crossed: Vec<_> = came.crossings.iter().map(|c| (c.first, c.count)).collect();
        assert_eq!(crossed, [(0, 2), (6, 2)], "no arrow into the past");
    }

    #[test]
    fn indices_are_widened_across_the_wrap_and_for_who_comes_late() {
        let mut ring = ring(true);
        let base = ring.widen(0xffff_fffe);
        assert_eq!(ring.widen(2) - base, 4);
        assert_eq!(ring.widen(0xffff_ffff) - base, 1);
    }

    #[test]
    fn a_ring_that_is_answered_out_of_order_is_joined_by_ids() {
        let ring = Ring {
            name: "vbd1.51712-q0".into(),
            in_order: false,
            size: 32,
            front: None,
            back: None,
        };
        let mut traffic = Traffic::of(vec![OnRing::new(&ring)]);
        let mut came = Came::default();
        let mut step = |traffic: &mut Traffic, slot, push, first, count, at| {
            let slots = Slots { ring: 0, slot, first, count };
            let mut batch = traffic.batch(0, slots, push, false);
            batch.stamp.at = at;
            traffic.take(&batch, &mut came);
        };
        for (index, id) in [(0, 7), (1, 9), (2, 8)] {
            traffic.id(0, Slot::Request, index, id);
        }
        step(&mut traffic, Slot::Request, true, 0, 3, 1);
        step(&mut traffic, Slot::Request, false, 0, 3, 2);
        for (index, id) in [(0, 8), (1, 7), (2, 9)] {
            traffic.id(0, Slot::Response, index, id);
        }
        step(&mut traffic, Slot::Response, true, 0, 3, 3);
        step(&mut traffic, Slot::Response, false, 0, 3, 4);
        let first: Vec<_> = came.requests.iter().map(|r| (r.first & 0xff, r.ns())).collect();
        assert_eq!(first, [(2, 3), (0, 3), (1, 3)]);
        // What is answered while nothing is recorded, and its id used again: nobody knows of which request that is.
        came.requests.clear();
        let mut step = |traffic: &mut Traffic, slot, push, first, count, at| {
            let slots = Slots { ring: 0, slot, first, count };
            let mut batch = traffic.batch(0, slots, push, false);
            batch.stamp.at = at;
            traffic.take(&batch, &mut came);
        };
        traffic.id(0, Slot::Request, 3, 7);
        step(&mut traffic, Slot::Request, true, 3, 1, 5);
        step(&mut traffic, Slot::Request, false, 3, 1, 6);
        traffic.forget(1000);
        traffic.id(0, Slot::Response, 9, 7);
        step(&mut traffic, Slot::Response, true, 9, 1, 2000);
        step(&mut traffic, Slot::Response, false, 9, 1, 2001);
        assert_eq!(came.requests, []);
    }

    #[test]
    fn after_a_long_pause_indices_go_on_behind_all_that_were() {
        let mut traffic = Traffic::of(vec![ring(true)]);
        let before = traffic.rings[0].widen(10);
        traffic.forget(1000);
        assert_eq!(traffic.rings[0].widen(8), before - 2, "responses of what came before");
        traffic.forget(ROUND);
        assert!(traffic.rings[0].widen(3) > before);
        assert!(traffic.rings[0].widen(0x8000_0002) > before + (1 << 31));
    }
}
