//! The ring alone: a push whose answer is `Notify::Yes` rings a bell, and a side whose final check
//! finds nothing waits for it.
//!
//! Rings start at 2^32 - 1, so the second item lies behind the wrap. What stands between the bell
//! and the ring in a real domain, the event channel, is in `channel.rs`.

use loom::sync::atomic::Ordering;
use loom::thread;
use rings::evtchn::Doorbell;
use rings::ring::{BackRing, FrontRing, Index, Notify, ProdOverflow, SringMem, must_notify};

use super::explore;
use super::memory::{Bell, RingMem, Unordered};

type Front<M> = FrontRing<M, u64, u64>;
type Back<M> = BackRing<M, u64, u64>;

/// Index of the first item.
const BASE: u32 = u32::MAX;

/// What goes over the ring: index and content of each item.
const ITEMS: [(u32, u64); 3] = [(BASE, 0xaaaa), (0, 0xbbbb), (1, 0xcccc)];

/// The steps of the waker and the sleeper that a model may replace by broken ones.
struct Steps<F, B> {
    push: fn(&mut F) -> Notify,
    final_check: fn(&mut B) -> Result<bool, ProdOverflow>,
}

fn wake(bell: &Bell, notify: Notify) {
    if notify == Notify::Yes {
        bell.ring();
    }
}

/// The front pushes `COUNT` requests one by one and never looks again; the back takes them all.
fn requests<M: SringMem + Clone + 'static, const COUNT: usize>(
    mem: M,
    steps: Steps<Front<M>, Back<M>>,
) {
    let bell = Bell::new();
    let mut front = Front::attach(mem.clone(), BASE);
    let mut back = Back::attach(mem).expect("an idle ring");
    let waker = thread::spawn({
        let bell = bell.clone();
        move || {
            for (index, item) in ITEMS.into_iter().take(COUNT) {
                assert_eq!(front.put_request(item), index);
                wake(&bell, (steps.push)(&mut front));
            }
        }
    });
    let mut wanted = ITEMS.into_iter().take(COUNT).peekable();
    while wanted.peek().is_some() {
        match back.take_request() {
            Some(got) => assert_eq!(Some(got), wanted.next()),
            None if (steps.final_check)(&mut back).expect("a true index") => {}
            None => bell.wait(),
        }
    }
    waker.join().expect("no panic");
}

/// The mirror image: the back answers `COUNT` requests it has taken; the front takes the answers.
fn responses<M: SringMem + Clone + 'static, const COUNT: usize>(
    mem: M,
    steps: Steps<Back<M>, Front<M>>,
) {
    let bell = Bell::new();
    let mut front = Front::attach(mem.clone(), BASE);
    for (_, item) in ITEMS.into_iter().take(COUNT) {
        front.put_request(item);
    }
    assert_eq!(front.push_requests(), Notify::Yes);
    let mut back = Back::attach(mem).expect("a true index");
    while back.take_request().is_some() {}
    let waker = thread::spawn({
        let bell = bell.clone();
        move || {
            for (index, item) in ITEMS.into_iter().take(COUNT) {
                assert_eq!(back.put_response(!item), index);
                wake(&bell, (steps.push)(&mut back));
            }
        }
    });
    let mut wanted = ITEMS.into_iter().take(COUNT).map(|(index, item)| (index, !item)).peekable();
    while wanted.peek().is_some() {
        match front.take_response() {
            Some(got) => assert_eq!(Some(got), wanted.next()),
            None if (steps.final_check)(&mut front).expect("a true index") => {}
            None => bell.wait(),
        }
    }
    waker.join().expect("no panic");
}

/// `COUNT` requests there and their answers back, both sides sleeping whenever they have nothing to
/// do, so that slots carry requests and responses in turn.
fn echo<M: SringMem + Clone + 'static, const COUNT: usize>(mem: M) {
    let (front_bell, back_bell) = (Bell::new(), Bell::new());
    let mut front = Front::attach(mem.clone(), BASE);
    let mut back = Back::attach(mem).expect("an idle ring");
    let server = thread::spawn({
        let (front_bell, back_bell) = (front_bell.clone(), back_bell.clone());
        move || {
            let mut answered = 0;
            while answered < COUNT {
                match back.take_request() {
                    Some((_, item)) => {
                        back.put_response(!item);
                        wake(&front_bell, back.push_responses());
                        answered += 1;
                    }
                    None if back.final_check_for_requests().expect("a true index") => {}
                    None => back_bell.wait(),
                }
            }
        }
    });
    let mut unasked = ITEMS.into_iter().take(COUNT);
    let mut wanted = ITEMS.into_iter().take(COUNT).peekable();
    while let Some(&(index, item)) = wanted.peek() {
        if front.free_requests() > 0
            && let Some((_, item)) = unasked.next()
        {
            front.put_request(item);
            wake(&back_bell, front.push_requests());
        } else if let Some(got) = front.take_response() {
            assert_eq!(got, (index, !item));
            wanted.next();
        } else if !front.final_check_for_responses().expect("a true index") {
            front_bell.wait();
        }
    }
    server.join().expect("no panic");
}

/// ring.h: "True indicates that the receiver requires an asynchronous notification", and "True
/// indicates that there are pending messages on the ring (i.e., the connection should not be put to
/// sleep)". Nobody sleeps on a request, and requests arrive whole and in order.
#[test]
fn no_back_sleeps_on_a_request() {
    explore(None, || {
        let steps =
            Steps { push: Front::push_requests, final_check: Back::final_check_for_requests };
        requests::<_, 2>(RingMem::<2>::new(BASE), steps);
    });
}

/// The same sentences, read from the other side.
#[test]
fn no_front_sleeps_on_a_response() {
    explore(None, || {
        let steps =
            Steps { push: Back::push_responses, final_check: Front::final_check_for_responses };
        responses::<_, 2>(RingMem::<2>::new(BASE), steps);
    });
}

/// ring.h: requests and responses share the slots. A request is read before its response is
/// written there, and a response before the next request. Bound: 3 preemptions.
#[test]
fn a_slot_carries_a_request_then_its_response_then_the_next_request() {
    explore(Some(3), || echo::<_, 2>(RingMem::<1>::new(BASE)));
}

/// Both directions of a ring of two at once, the third request in the slot of the first. Bound: 2
/// preemptions.
#[test]
fn a_ring_of_two_carries_three_round_trips() {
    explore(Some(2), || echo::<_, 3>(RingMem::<2>::new(BASE)));
}

/// Publishes as `push` does, but reads the event index without a fence in between.
fn push_unfenced<M: SringMem>(mem: &M, prod: Index, event: Index, new: u32) -> Notify {
    mem.store(prod, new, Ordering::Release);
    let asked = mem.load(event, Ordering::Relaxed);
    if must_notify(new.wrapping_sub(1), new, asked) { Notify::Yes } else { Notify::No }
}

#[test]
#[should_panic(expected = "deadlock")]
fn without_the_fence_in_push_a_back_sleeps_on_a_request() {
    explore(None, || {
        let push = |front: &mut Front<RingMem<2>>| {
            push_unfenced(front.mem(), Index::ReqProd, Index::ReqEvent, front.next_request())
        };
        let steps = Steps { push, final_check: Back::final_check_for_requests };
        requests::<_, 2>(RingMem::new(BASE), steps);
    });
}

#[test]
#[should_panic(expected = "deadlock")]
fn without_the_fence_in_its_final_check_a_back_sleeps_on_a_request() {
    explore(None, || {
        let final_check = |back: &mut Back<RingMem<2>>| {
            let event = back.next_request().wrapping_add(1);
            back.mem().store(Index::ReqEvent, event, Ordering::Relaxed);
            Ok(back.poll_requests()? > 0)
        };
        requests::<_, 2>(RingMem::new(BASE), Steps { push: Front::push_requests, final_check });
    });
}

#[test]
#[should_panic(expected = "deadlock")]
fn without_the_second_look_a_back_sleeps_on_a_request() {
    explore(None, || {
        let final_check = |back: &mut Back<RingMem<2>>| {
            let found = back.poll_requests()? > 0;
            let event = back.next_request().wrapping_add(1);
            back.mem().store(Index::ReqEvent, event, Ordering::SeqCst);
            Ok(found)
        };
        requests::<_, 2>(RingMem::new(BASE), Steps { push: Front::push_requests, final_check });
    });
}

#[test]
#[should_panic(expected = "deadlock")]
fn without_the_fence_in_push_a_front_sleeps_on_a_response() {
    explore(None, || {
        let push = |back: &mut Back<RingMem<2>>| {
            // All requests were taken, so the last response has the index before the next request.
            let new = back.next_request().wrapping_sub(back.unanswered());
            push_unfenced(back.mem(), Index::RspProd, Index::RspEvent, new)
        };
        let steps = Steps { push, final_check: Front::final_check_for_responses };
        responses::<_, 2>(RingMem::new(BASE), steps);
    });
}

#[test]
#[should_panic(expected = "Causality violation")]
fn without_release_and_acquire_items_are_torn() {
    explore(None, || {
        let steps =
            Steps { push: Front::push_requests, final_check: Back::final_check_for_requests };
        requests::<_, 2>(Unordered(RingMem::<2>::new(BASE)), steps);
    });
}
