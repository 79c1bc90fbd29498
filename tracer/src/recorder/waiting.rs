//! The requests of a ring that wait for their answers, and when they were pushed: how a slow one is
//! found. Which of them a response answers its index tells, or, where they may overtake one another,
//! an id.

use super::process::Slow;
use super::ring::RingInfo;
use super::{stamp, switch};

/// Requests in flight.
#[derive(Debug)]
pub(super) struct Waiting {
    /// By slot; where ids tell, by id modulo the ring's size.
    requests: Vec<Request>,
    /// Ids of the requests that stand in the slots, where ids tell.
    ids: Option<Vec<u64>>,
    /// What is slow. Ticks.
    limit: u64,
    /// When the first answer of all came, 0 before. What was pushed until then waited for the other end
    /// to connect, not for its work.
    answering_since: u64,
    /// The switch's number when all this was noted: what was pushed or answered while recording was off
    /// nobody knows.
    seen: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Request {
    index: u32,
    /// When it was pushed; 0 if none is known.
    pushed: u64,
}

impl Waiting {
    pub(super) fn new(info: &RingInfo<'_>) -> Self {
        let limit = stamp::ticks_in_us(switch::settings().slow_us.into());
        let size = info.size.next_power_of_two() as usize;
        let ids = (!info.in_order).then(|| vec![0; size]);
        Self { requests: vec![Request::default(); size], ids, limit, answering_since: 0, seen: 0 }
    }

    /// What is noted, if that is still so.
    fn current(&mut self) -> &mut Self {
        let seen = switch::word();
        if std::mem::replace(&mut self.seen, seen) != seen {
            self.requests.fill(Request::default());
        }
        self
    }

    fn place(&self, number: u64) -> usize {
        #[expect(clippy::cast_possible_truncation, reason = "modulo the size")]
        let place = number as usize & (self.requests.len() - 1);
        place
    }

    /// The request that is about to be put at `index` has this id.
    pub(super) fn named(&mut self, index: u32, id: u64) {
        let place = self.place(index.into());
        if let Some(ids) = &mut self.ids {
            ids[place] = id;
        }
    }

    /// The requests `old..new` were pushed.
    pub(super) fn pushed(&mut self, old: u32, new: u32, ticks: u64) {
        let me = self.current();
        for index in latest(old, new, me.requests.len()) {
            let number = me.ids.as_ref().map(|ids| ids[me.place(index.into())]);
            let place = me.place(number.unwrap_or(index.into()));
            me.requests[place] = Request { index, pushed: ticks };
        }
    }

    /// The slowest of the requests that were answered by the responses `old..new`, if it is slow. Where
    /// ids tell, nothing is known yet.
    pub(super) fn answered(&mut self, old: u32, new: u32, now: u64) -> Option<Slow> {
        let me = self.current();
        if me.ids.is_some() {
            return None;
        }
        let all = latest(old, new, me.requests.len());
        let slow = all.filter_map(|index| me.over(me.place(index.into()), now));
        let slowest = slow.max_by_key(|slow| slow.took);
        me.answering(now);
        slowest
    }

    /// The request of this id was answered; it, if it is slow.
    pub(super) fn answered_by_id(&mut self, id: u64, now: u64) -> Option<Slow> {
        let me = self.current();
        let slow = me.over(me.place(id), now);
        me.answering(now);
        slow
    }

    fn answering(&mut self, now: u64) {
        if self.answering_since == 0 {
            self.answering_since = now;
        }
    }

    fn over(&mut self, place: usize, now: u64) -> Option<Slow> {
        let Request { index, pushed } = std::mem::take(&mut self.requests[place]);
        let took = now.saturating_sub(pushed);
        let timed = self.answering_since > 0 && pushed >= self.answering_since;
        (timed && took > self.limit).then_some(Slow { ring: 0, index, ticks: now, took })
    }
}

/// The indices `old..new`, the last `most` of them.
fn latest(old: u32, new: u32, most: usize) -> impl Iterator<Item = u32> {
    let count = new.wrapping_sub(old).min(u32::try_from(most).unwrap_or(u32::MAX));
    (0..count).map(move |n| new.wrapping_sub(count - n))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::journal::Half;

    const BASE: u32 = u32::MAX - 1;

    fn waiting(in_order: bool) -> Waiting {
        let half = Half::Front;
        let info = RingInfo { name: "r", half, size: 8, base: BASE, in_order, awaited: true };
        Waiting { limit: 100, answering_since: 1, ..Waiting::new(&info) }
    }

    #[test]
    fn what_waited_for_the_other_end_to_connect_is_not_slow() {
        let mut waiting = Waiting { answering_since: 0, ..waiting(true) };
        waiting.pushed(0, 2, 1000);
        assert_eq!(waiting.answered(0, 1, 5000), None, "the first answer of all");
        waiting.pushed(2, 3, 5010);
        assert_eq!(waiting.answered(1, 2, 5150), None, "pushed before it");
        let slow = waiting.answered(2, 3, 5150).expect("it took 140");
        assert_eq!((slow.index, slow.took), (2, 140));
    }

    #[test]
    fn the_slowest_request_is_found_across_the_end_of_the_numbers() {
        let (mut waiting, at) = (waiting(true), |n| BASE.wrapping_add(n));
        waiting.pushed(at(0), at(3), 1000);
        waiting.pushed(at(3), at(5), 1050);
        assert_eq!(waiting.answered(at(0), at(1), 1100), None, "not slower");
        let slow = waiting.answered(at(1), at(5), 1120).expect("two took 120");
        assert_eq!((slow.took, slow.ticks), (120, 1120));
        assert!([at(1), at(2)].contains(&slow.index));
        assert_eq!(waiting.answered(at(0), at(8), 9999), None, "each once");
    }

    #[test]
    fn a_request_that_others_overtake_is_known_by_its_id_also_when_its_slot_is_used_again() {
        let mut waiting = waiting(false);
        for n in 0..8 {
            waiting.named(n, 100 + u64::from(n));
        }
        waiting.pushed(0, 8, 1000);
        assert_eq!(waiting.answered(0, 7, 5000), None, "indices tell nothing");
        for id in 101..108 {
            assert_eq!(waiting.answered_by_id(id, 1050), None);
        }
        // The first response was that of request 1: request 8 may be put in the place of request 0.
        waiting.named(8, 101);
        waiting.pushed(8, 9, 1060);
        let slow = waiting.answered_by_id(100, 1200).expect("it took 200");
        assert_eq!((slow.index, slow.took), (0, 200));
        let slow = waiting.answered_by_id(101, 1200).expect("it took 140");
        assert_eq!((slow.index, slow.took), (8, 140));
    }

    #[test]
    fn a_long_pause_costs_nothing_and_what_was_pushed_before_it_is_not_slow() {
        let mut waiting = waiting(true);
        waiting.pushed(0, 4, 1000);
        // Numbers of the time before: as if the switch had been off since.
        waiting.seen = switch::word() + 1;
        assert_eq!(waiting.answered(0, 4, 1 << 40), None);
        // Three thousand million requests later.
        waiting.pushed(4, 3_000_000_004, 2000);
        let slow = waiting.answered(3_000_000_003, 3_000_000_004, 2200).expect("it took 200");
        assert_eq!(slow.index, 3_000_000_003);
    }
}
