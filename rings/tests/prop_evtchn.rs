//! Does the doorbell ring exactly when it must, and does a storm get slower, never faster?
//!
//! Sends, masks, unmasks and clears of both ends in any order, in this thread, against a model of
//! two bits for each end. Two processes at once are the business of `loom.rs`.

#![cfg(not(loom))]

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;
use rings::cost::Cost;
use rings::evtchn::{Channel, Doorbell, End, Eoi, EventPage};
use rings::mem::Region;
use rings::sync::Ordering;
use rings::{DomId, PAGE_SIZE, Port};

/// A doorbell that counts.
#[derive(Clone, Default)]
struct Counter(Arc<AtomicU64>);

impl Doorbell for Counter {
    fn ring(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Send,
    Mask,
    Unmask,
    Clear,
    Close(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Send),
        1 => Just(Step::Mask),
        1 => Just(Step::Unmask),
        2 => Just(Step::Clear),
        1 => any::<bool>().prop_map(Step::Close),
    ]
}

/// What one end should look like.
#[derive(Clone, Copy, Default)]
struct Bits {
    pending: bool,
    masked: bool,
    closed: bool,
    /// Sent by this end: with the doorbell, without.
    rung: u64,
    merged: u64,
}

proptest! {
    #[test]
    fn the_doorbell_rings_for_a_port_that_is_neither_pending_nor_masked(
        steps in vec((0..2_usize, step()), 0..200),
    ) {
        let words = EventPage::new(Region::anonymous(PAGE_SIZE));
        let bells = [Counter::default(), Counter::default()];
        let mut ends = [(End::A, 1), (End::B, 0)].map(|(end, other): (End, usize)| {
            let bell = bells[other].clone();
            Channel::new(Port(7), DomId(1), end, words.clone(), bell, Cost::default())
        });
        let mut model = [Bits::default(); 2];
        for (me, step) in steps {
            let other = 1 - me;
            match step {
                Step::Send => {
                    ends[me].send();
                    if model[other].pending || model[other].masked {
                        model[me].merged += 1;
                    } else {
                        model[me].rung += 1;
                    }
                    model[other].pending = true;
                }
                Step::Mask => {
                    ends[me].mask();
                    model[me].masked = true;
                }
                Step::Unmask => {
                    model[me].masked = false;
                    prop_assert_eq!(ends[me].unmask(), model[me].pending);
                }
                Step::Clear => {
                    let was = std::mem::replace(&mut model[me].pending, false);
                    prop_assert_eq!(ends[me].clear(), was);
                }
                Step::Close(closed) => {
                    words.set_closed([End::A, End::B][me], closed);
                    model[me].closed = closed;
                }
            }
            for (this, bits) in model.iter().enumerate() {
                let counted = ends[this].counters();
                prop_assert_eq!((counted.rung, counted.merged), (bits.rung, bits.merged));
                prop_assert_eq!(bells[1 - this].0.load(Ordering::Relaxed), bits.rung);
                prop_assert_eq!(ends[this].closed(), bits.closed);
            }
        }
    }

    /// Back-off, against its definition: the first two events without work in a row are free, then 4 ms,
    /// doubled each time, up to a second; work ends it.
    #[test]
    fn a_storm_waits_longer_each_time_up_to_a_second_and_work_ends_it(
        events in vec((prop::bool::weighted(0.1), 0..2_000_u64), 0..100),
    ) {
        let (mut eoi, mut now) = (Eoi::default(), Instant::now());
        let (mut in_a_row, mut last, mut delays) = (0_u32, Duration::ZERO, 0);
        for (work, ms) in events {
            now += Duration::from_millis(ms);
            if work {
                eoi.worked();
                (in_a_row, last) = (0, Duration::ZERO);
                prop_assert_eq!(eoi.masked_until(now), None);
                continue;
            }
            eoi.spurious(now);
            in_a_row += 1;
            let wait = eoi.masked_until(now).map_or(Duration::ZERO, |until| until - now);
            let doubled = match in_a_row {
                1 | 2 => 0,
                n @ 3..=10 => 4 << (n - 3),
                _ => 1000,
            };
            prop_assert_eq!(wait, Duration::from_millis(doubled.min(1000)));
            prop_assert!(wait >= last);
            delays += u64::from(in_a_row > 2);
            prop_assert_eq!(eoi.delays(), delays);
            prop_assert_eq!(eoi.masked_until(now + wait), None, "over when it is over");
            last = wait;
        }
    }
}
