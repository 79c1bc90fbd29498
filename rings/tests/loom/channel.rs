//! The event channel, alone and under a ring: push, notify, send on one side; clear, take, final
//! check, unmask, sleep on the other.
//!
//! The ring by itself is in `ring.rs`. Sleeping is what a domain does: only if the final check
//! found nothing *and* the port is not pending after it was unmasked.

use std::rc::Rc;

use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread;
use rings::cost::Cost;
use rings::evtchn::{Channel, Doorbell, End, EventWords, Word};
use rings::ring::{BackRing, FrontRing, Notify};
use rings::{DomId, Port};

use super::explore;
use super::memory::{Bell, EventMem, RingMem};

type Sender = Channel<Bell, EventMem>;
type Receiver = Channel<Bell, EventMem>;

/// The steps of a channel that a model may replace by broken ones.
#[derive(Clone, Copy)]
struct Steps {
    send: fn(&mut Sender, &EventMem),
    unmask: fn(&Receiver, &EventMem) -> bool,
    /// Clears pending and looks at the work.
    look: fn(&Receiver, &AtomicU32) -> u32,
}

const REAL: Steps = Steps {
    send: |a, _| a.send(),
    unmask: |b, _| b.unmask(),
    look: |b, work| {
        b.clear();
        work.load(Ordering::Relaxed)
    },
};

/// A channel from A to B, whose doorbell is `bell`.
fn channel(words: &EventMem, bell: &Bell) -> (Sender, Receiver) {
    let end = |end, doorbell| {
        Channel::new(Port(1), DomId(0), end, words.clone(), doorbell, Cost::default())
    };
    (end(End::A, bell.clone()), end(End::B, Bell::new()))
}

/// A counts a relaxed word up, `COUNT` times, sending each time; B must see the last of it.
fn events<const COUNT: u32>(steps: Steps) {
    let (bell, words, work) = (Bell::new(), EventMem::new(), Rc::new(AtomicU32::new(0)));
    let (mut a, b) = channel(&words, &bell);
    let sender = thread::spawn({
        let (words, work) = (words.clone(), Rc::clone(&work));
        move || {
            for done in 1..=COUNT {
                work.store(done, Ordering::Relaxed);
                (steps.send)(&mut a, &words);
            }
        }
    });
    b.mask();
    while (steps.look)(&b, &work) < COUNT {
        if !(steps.unmask)(&b, &words) {
            bell.wait();
        }
        b.mask();
    }
    sender.join().expect("no panic");
}

/// A front pushes `COUNT` requests and sends when it must; a back serves them as a worker does.
fn requests<const COUNT: usize>(steps: Steps) {
    const ITEMS: [u64; 3] = [0xaaaa, 0xbbbb, 0xcccc];
    let (bell, words, ring) = (Bell::new(), EventMem::new(), RingMem::<2>::new(u32::MAX));
    let (mut a, b) = channel(&words, &bell);
    let mut front = FrontRing::<_, u64, u64>::attach(ring.clone(), u32::MAX);
    let mut back = BackRing::<_, u64, u64>::attach(ring).expect("an idle ring");
    let sender = thread::spawn({
        let words = words.clone();
        move || {
            for item in ITEMS.into_iter().take(COUNT) {
                front.put_request(item);
                if front.push_requests() == Notify::Yes {
                    (steps.send)(&mut a, &words);
                }
            }
        }
    });
    let mut wanted = ITEMS.into_iter().take(COUNT).peekable();
    b.mask();
    loop {
        b.clear();
        let mut last = 0;
        while let Some((_, item)) = back.take_request() {
            assert_eq!(Some(item), wanted.next());
            last = item;
        }
        if last == ITEMS[COUNT - 1] {
            break;
        }
        if back.final_check_for_requests().expect("a true index") {
            continue;
        }
        if !(steps.unmask)(&b, &words) {
            bell.wait();
        }
        b.mask();
    }
    sender.join().expect("no panic");
}

/// DESIGN of event channels: a fence stands between setting pending and reading mask, and between
/// clearing mask and reading pending; pending is cleared before the work is looked at. So whatever
/// was done before a send is seen, whether the send rang, met a pending port or a masked one.
#[test]
fn no_send_is_lost() {
    explore(None, || events::<1>(REAL));
}

/// The same when sends merge. Bound: 5 preemptions (without a bound: three minutes).
#[test]
fn no_send_is_lost_when_two_merge() {
    explore(Some(5), || events::<2>(REAL));
}

/// The same for a third send. Bound: 3 preemptions.
#[test]
fn no_send_is_lost_among_three() {
    explore(Some(3), || events::<3>(REAL));
}

/// ring.h and event channels together: "the connection should not be put to sleep" while there are
/// messages on the ring. A request that is pushed is taken.
#[test]
fn no_request_waits_for_a_sleeping_worker() {
    explore(None, || requests::<1>(REAL));
}

/// The same for two requests. Bound: 5 preemptions.
#[test]
fn no_second_request_waits_for_a_sleeping_worker() {
    explore(Some(5), || requests::<2>(REAL));
}

#[test]
#[should_panic(expected = "deadlock")]
fn without_the_fence_in_send_a_worker_sleeps_on_a_request() {
    let send = |a: &mut Sender, words: &EventMem| {
        if words.swap(End::B, Word::Pending, 1, Ordering::AcqRel) == 0
            && words.load(End::B, Word::Mask, Ordering::Relaxed) == 0
        {
            a.doorbell().ring();
        }
    };
    explore(None, move || requests::<2>(Steps { send, ..REAL }));
}

#[test]
#[should_panic(expected = "deadlock")]
fn without_the_fence_in_unmask_a_worker_sleeps_on_a_request() {
    let unmask = |_: &Receiver, words: &EventMem| {
        words.store(End::B, Word::Mask, 0, Ordering::Relaxed);
        words.load(End::B, Word::Pending, Ordering::Acquire) != 0
    };
    explore(None, move || requests::<2>(Steps { unmask, ..REAL }));
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_worker_that_ignores_what_unmask_says_sleeps_on_a_request() {
    let unmask = |b: &Receiver, _: &EventMem| {
        let _ = b.unmask();
        false
    };
    explore(None, move || requests::<2>(Steps { unmask, ..REAL }));
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_worker_that_clears_after_it_looked_sleeps_on_work() {
    let look = |b: &Receiver, work: &AtomicU32| {
        let seen = work.load(Ordering::Relaxed);
        b.clear();
        seen
    };
    explore(None, move || events::<2>(Steps { look, ..REAL }));
}
