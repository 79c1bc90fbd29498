//! Is the ring right at any index, and does a liar hurt it?
//!
//! Both halves do random steps on one ring, in this thread, and are compared with a model that
//! counts in 64 bits and knows nothing of slots, masks or wrapping; over memory made for the
//! purpose and over a real sring. Then the shared words are overwritten between the steps. Two
//! processes at once are the business of `loom.rs`.

#![cfg(not(loom))]

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;

use proptest::collection::vec;
use proptest::prelude::*;
use rings::PAGE_SIZE;
use rings::mem::Region;
use rings::ring::{BackRing, FrontRing, Index, Notify, ProdOverflow, Sring, SringMem};
use rings::sync::Ordering;
use zerocopy::{FromBytes, Immutable, IntoBytes};

type Front<M> = FrontRing<M, u64, u64>;
type Back<M> = BackRing<M, u64, u64>;

/// A ring in plain memory: four words, and slots of eight bytes.
#[derive(Clone)]
struct VecRing {
    words: Rc<[Cell<u32>]>,
    slots: Rc<[Cell<u64>]>,
}

fn vec_ring(size: usize, base: u32) -> VecRing {
    let words = [base, base.wrapping_add(1), base, base.wrapping_add(1)];
    VecRing { words: words.map(Cell::new).into(), slots: vec![Cell::new(0); size].into() }
}

/// Eight slots in a real page.
fn page_ring(base: u32) -> Sring<504> {
    let ring = Sring::new(Region::anonymous(PAGE_SIZE));
    ring.init(base);
    ring
}

impl VecRing {
    fn word(&self, index: Index) -> &Cell<u32> {
        &self.words[match index {
            Index::ReqProd => 0,
            Index::ReqEvent => 1,
            Index::RspProd => 2,
            Index::RspEvent => 3,
        }]
    }
}

impl SringMem for VecRing {
    fn size(&self) -> u32 {
        u32::try_from(self.slots.len()).expect("a few slots")
    }

    fn load(&self, index: Index, _: Ordering) -> u32 {
        self.word(index).get()
    }

    fn store(&self, index: Index, value: u32, _: Ordering) {
        self.word(index).set(value);
    }

    fn read<T: FromBytes>(&self, slot: u32) -> T {
        let bytes = self.slots[slot as usize].get().to_ne_bytes();
        T::read_from_bytes(&bytes).expect("eight bytes")
    }

    fn write<T: IntoBytes + Immutable>(&self, slot: u32, value: T) {
        let bytes = value.as_bytes().try_into().expect("eight bytes");
        self.slots[slot as usize].set(u64::from_ne_bytes(bytes));
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    PutRequest(u64),
    PushRequests,
    PollRequests,
    TakeRequest,
    FinalCheckForRequests,
    PutResponse(u64),
    PushResponses,
    PollResponses,
    TakeResponse,
    FinalCheckForResponses,
}

fn step() -> impl Strategy<Value = Step> {
    use Step::*;
    prop_oneof![
        4 => any::<u64>().prop_map(PutRequest),
        2 => Just(PushRequests),
        1 => Just(PollRequests),
        4 => Just(TakeRequest),
        1 => Just(FinalCheckForRequests),
        4 => any::<u64>().prop_map(PutResponse),
        2 => Just(PushResponses),
        1 => Just(PollResponses),
        4 => Just(TakeResponse),
        1 => Just(FinalCheckForResponses),
    ]
}

/// Where rings start: at zero, just before the wrap, anywhere.
fn base() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0), Just(0_u32.wrapping_sub(4)), any::<u32>()]
}

/// One direction, counted from the start of the ring without end.
struct Lane {
    base: u32,
    /// Put and not taken yet.
    items: VecDeque<u64>,
    put: u64,
    published: u64,
    seen: u64,
    taken: u64,
    /// "Wake me when this item is published", counted from 1.
    event: u64,
}

impl Lane {
    fn new(base: u32) -> Self {
        let items = VecDeque::new();
        Self { base, items, put: 0, published: 0, seen: 0, taken: 0, event: 1 }
    }

    /// The 32-bit index of the item number `count`.
    fn index(&self, count: u64) -> u32 {
        let wrapped = (u64::from(self.base) + count) % (1 << 32);
        u32::try_from(wrapped).expect("below 2^32")
    }

    fn put(&mut self, item: u64) -> u32 {
        self.items.push_back(item);
        self.put += 1;
        self.index(self.put - 1)
    }

    /// ring.h: the receiver asked to be woken for an item that this push published.
    fn push(&mut self) -> Notify {
        let old = std::mem::replace(&mut self.published, self.put);
        if old < self.event && self.event <= self.put { Notify::Yes } else { Notify::No }
    }

    fn poll(&mut self) -> Result<u32, ProdOverflow> {
        self.seen = self.published;
        Ok(u32::try_from(self.seen - self.taken).expect("at most the ring"))
    }

    fn take(&mut self) -> Option<(u32, u64)> {
        if self.taken == self.seen {
            return None;
        }
        self.taken += 1;
        Some((self.index(self.taken - 1), self.items.pop_front().expect("what was put")))
    }

    fn final_check(&mut self) -> Result<bool, ProdOverflow> {
        self.seen = self.published;
        if self.seen == self.taken {
            self.event = self.taken + 1;
        }
        Ok(self.seen > self.taken)
    }
}

/// Does the steps on a ring and on the model, and compares every answer.
fn agree<M: SringMem + Clone>(mem: M, base: u32, steps: &[Step]) -> Result<(), TestCaseError> {
    let (mut front, mut back) = (Front::attach(mem.clone(), base), Back::attach(mem).unwrap());
    let (mut requests, mut responses) = (Lane::new(base), Lane::new(base));
    let size = u64::from(front.size());
    for &step in steps {
        let free = size - (requests.put - responses.taken);
        let unanswered = requests.taken - responses.put;
        prop_assert_eq!(u64::from(front.free_requests()), free);
        prop_assert_eq!(u64::from(front.outstanding()), requests.published - responses.taken);
        prop_assert_eq!(u64::from(back.unanswered()), unanswered);
        prop_assert_eq!(front.next_request(), requests.index(requests.put));
        prop_assert_eq!(back.next_request(), requests.index(requests.taken));
        match step {
            Step::PutRequest(item) if free > 0 => {
                prop_assert_eq!(front.put_request(item), requests.put(item));
            }
            Step::PutResponse(item) if unanswered > 0 => {
                prop_assert_eq!(back.put_response(item), responses.put(item));
            }
            Step::PutRequest(_) | Step::PutResponse(_) => {}
            Step::PushRequests => prop_assert_eq!(front.push_requests(), requests.push()),
            Step::PollRequests => prop_assert_eq!(back.poll_requests(), requests.poll()),
            Step::TakeRequest => prop_assert_eq!(back.take_request(), requests.take()),
            Step::FinalCheckForRequests => {
                prop_assert_eq!(back.final_check_for_requests(), requests.final_check());
            }
            Step::PushResponses => prop_assert_eq!(back.push_responses(), responses.push()),
            Step::PollResponses => prop_assert_eq!(front.poll_responses(), responses.poll()),
            Step::TakeResponse => prop_assert_eq!(front.take_response(), responses.take()),
            Step::FinalCheckForResponses => {
                prop_assert_eq!(front.final_check_for_responses(), responses.final_check());
            }
        }
    }
    Ok(())
}

/// What the other end may make of the shared words at any time.
#[derive(Clone, Copy, Debug)]
enum Lie {
    To(u32),
    By(u32),
}

fn lie() -> impl Strategy<Value = (Index, Lie)> {
    let near = (0..12_u32).prop_map(|by| Lie::By(by.wrapping_sub(4)));
    let which = [Index::ReqProd, Index::ReqEvent, Index::RspProd, Index::RspEvent];
    (
        proptest::sample::select(which.to_vec()),
        prop_oneof![3 => near, 1 => any::<u32>().prop_map(Lie::To)],
    )
}

/// Whether a half that has taken `taken` and believed `seen` may believe `claimed`.
fn believable(claimed: u32, seen: u32, taken: u32, limit: u32) -> bool {
    let ahead = u64::from(claimed.wrapping_sub(taken));
    u64::from(seen.wrapping_sub(taken)) <= ahead && ahead <= u64::from(limit)
}

/// Does the steps on a ring whose words lie, and looks after every step what each half believes.
fn survive<M: SringMem + Clone>(
    mem: M,
    base: u32,
    steps: &[(Step, Option<(Index, Lie)>)],
) -> Result<(), TestCaseError> {
    let (mut front, mut back) =
        (Front::attach(mem.clone(), base), Back::attach(mem.clone()).unwrap());
    let size = front.size();
    let (mut requests_taken, mut responses_taken) = (base, base);
    for &(step, lie) in steps {
        if let Some((index, lie)) = lie {
            let value = match lie {
                Lie::To(value) => value,
                Lie::By(by) => mem.load(index, Ordering::Relaxed).wrapping_add(by),
            };
            mem.store(index, value, Ordering::Relaxed);
        }
        let (req_prod, rsp_prod) = (
            mem.load(Index::ReqProd, Ordering::Relaxed),
            mem.load(Index::RspProd, Ordering::Relaxed),
        );
        let requests_seen = requests_taken.wrapping_add(back.unconsumed_requests());
        let responses_seen = responses_taken.wrapping_add(front.unconsumed_responses());
        let (asked, room) = (front.outstanding(), size - back.unanswered());
        let true_req = believable(req_prod, requests_seen, requests_taken, room);
        let true_rsp = believable(rsp_prod, responses_seen, responses_taken, asked);
        match step {
            Step::PutRequest(item) if front.free_requests() > 0 => {
                front.put_request(item);
            }
            Step::PutResponse(item) if back.unanswered() > 0 => {
                back.put_response(item);
            }
            Step::PutRequest(_) | Step::PutResponse(_) => {}
            // The other end may ask to be woken for nothing; that is all its event index can do.
            Step::PushRequests => {
                let _ = front.push_requests();
            }
            Step::PushResponses => {
                let _ = back.push_responses();
            }
            Step::PollRequests => prop_assert_eq!(back.poll_requests().is_ok(), true_req),
            Step::PollResponses => prop_assert_eq!(front.poll_responses().is_ok(), true_rsp),
            Step::FinalCheckForRequests => {
                prop_assert_eq!(back.final_check_for_requests().is_ok(), true_req);
            }
            Step::FinalCheckForResponses => {
                prop_assert_eq!(front.final_check_for_responses().is_ok(), true_rsp);
            }
            Step::TakeRequest => {
                if let Some((index, _)) = back.take_request() {
                    prop_assert_eq!(index, requests_taken);
                    requests_taken = requests_taken.wrapping_add(1);
                }
            }
            Step::TakeResponse => {
                if let Some((index, _)) = front.take_response() {
                    prop_assert_eq!(index, responses_taken);
                    responses_taken = responses_taken.wrapping_add(1);
                }
            }
        }
        prop_assert!(back.unconsumed_requests() + back.unanswered() <= size);
        prop_assert!(front.unconsumed_responses() <= front.outstanding());
        prop_assert!(front.outstanding() <= size && front.free_requests() <= size);
    }
    Ok(())
}

proptest! {
    #[test]
    fn both_halves_agree_with_the_model(
        base in base(),
        order in 0..6_u32,
        steps in vec(step(), 0..400),
    ) {
        agree(vec_ring(1 << order, base), base, &steps)?;
        agree(page_ring(base), base, &steps)?;
    }

    #[test]
    fn a_ring_whose_words_lie_is_refused_or_bounded(
        base in base(),
        steps in vec((step(), proptest::option::weighted(0.3, lie())), 0..300),
    ) {
        survive(vec_ring(4, base), base, &steps)?;
        survive(page_ring(base), base, &steps)?;
    }

    #[test]
    fn impossible_producers_are_called_so(base in base(), waiting in 0..=8_u32) {
        let mem = page_ring(base);
        let (mut front, mut back) =
            (Front::attach(mem.clone(), base), Back::attach(mem.clone()).unwrap());
        (0..waiting).for_each(|i| { front.put_request(u64::from(i)); });
        let _ = front.push_requests();
        prop_assert_eq!(back.poll_requests(), Ok(waiting));
        let mut liars = vec![9, 1 << 31, u32::MAX];
        // Backwards, which is only a lie where something was published.
        liars.extend((waiting > 0).then(|| waiting - 1));
        for jump in liars {
            let claimed = base.wrapping_add(jump);
            mem.store(Index::ReqProd, claimed, Ordering::Relaxed);
            let seen = base.wrapping_add(waiting);
            let lie = ProdOverflow { index: Index::ReqProd, seen, claimed, limit: 8 };
            prop_assert_eq!(back.poll_requests(), Err(lie));
            prop_assert_eq!(back.final_check_for_requests(), Err(lie));
            prop_assert_eq!(back.unconsumed_requests(), waiting, "as if it had not looked");
            prop_assert_eq!(Back::attach(mem.clone()).is_err(), jump > 8);

            // More answers than there were requests.
            let claimed = base.wrapping_add(jump.max(waiting + 1));
            mem.store(Index::RspProd, claimed, Ordering::Relaxed);
            let lie = ProdOverflow { index: Index::RspProd, seen: base, claimed, limit: waiting };
            prop_assert_eq!(front.poll_responses(), Err(lie));
            prop_assert_eq!(front.final_check_for_responses(), Err(lie));
            prop_assert_eq!(front.take_response(), None);
            mem.store(Index::RspProd, base, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_new_back_serves_what_the_former_did_not_answer(base in base(), answered in 0..=8_u32) {
        let mem = page_ring(base);
        let mut front = Front::attach(mem.clone(), base);
        (0..8).for_each(|i| { front.put_request(i); });
        let _ = front.push_requests();
        let mut former = Back::attach(mem.clone()).unwrap();
        while former.take_request().is_some() {}
        (0..answered).for_each(|_| { former.put_response(0); });
        let _ = former.push_responses();
        let mut back = Back::attach(mem).unwrap();
        prop_assert_eq!(back.unconsumed_requests(), 8 - answered);
        let first = (answered < 8).then(|| (base.wrapping_add(answered), u64::from(answered)));
        prop_assert_eq!(back.take_request(), first);
    }
}

#[test]
#[should_panic(expected = "no free request slot")]
fn a_request_too_many_is_the_callers_fault() {
    let mut front = Front::attach(vec_ring(2, 0), 0);
    (0..3).for_each(|i| {
        front.put_request(i);
    });
}

#[test]
#[should_panic(expected = "a response without a request")]
fn a_response_too_many_is_the_callers_fault() {
    Back::attach(vec_ring(2, 0)).unwrap().put_response(0);
}
