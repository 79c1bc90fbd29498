//! The back half: takes requests, puts responses. Its mirror image is `front.rs`.

use std::marker::PhantomData;

use tracer::format::Slot;
use tracer::format::journal::Half;
use tracer::traced;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{Answered, Index, Notify, ProdOverflow, SringMem, must_notify};
use crate::sync::{Ordering, fence};
use crate::weaken::{Check, skipped};

/// The private half of a ring on the serving side (`BACK_RING`).
#[derive(Debug)]
pub struct BackRing<M, Req, Rsp> {
    mem: M,
    mask: u32,
    /// Responses put, published or not.
    rsp_prod_pvt: u32,
    /// Responses published: our own copy of `rsp_prod`, which the other end could overwrite.
    rsp_prod: u32,
    /// The last `req_prod` believed.
    req_prod: u32,
    /// Requests taken.
    req_cons: u32,
    kinds: PhantomData<(Req, Rsp)>,
    trace: tracer::Ring,
}

impl<M: SringMem, Req: FromBytes, Rsp: IntoBytes + Immutable> BackRing<M, Req, Rsp> {
    /// Takes over a ring where its last backend left off: at the shared `rsp_prod`, never at zero,
    /// so that requests nobody answered are served again (`BACK_RING_ATTACH`). It does not
    /// initialise anything: the page may be in use already.
    ///
    /// # Errors
    /// If the page claims more unanswered requests than the ring has slots.
    pub fn attach(mem: M) -> Result<Self, ProdOverflow> {
        let mask = mem.size() - 1;
        // SYNC responses are visible: those of a backend before us, with the Release store in its
        // push_responses.
        let base = mem.load(Index::RspProd, Ordering::Acquire);
        let mut ring = Self {
            mem,
            mask,
            rsp_prod_pvt: base,
            rsp_prod: base,
            req_prod: base,
            req_cons: base,
            kinds: PhantomData,
            trace: tracer::Ring::default(),
        };
        ring.poll_requests()?;
        Ok(ring)
    }

    /// Gives the ring the name by which traces know it, the same on both sides (`vif1.0-q0-tx`). To be
    /// called before anything is taken: a ring without a name is not traced.
    pub fn set_name(&mut self, name: &str, answered: Answered) {
        let info = answered.info(name, Half::Back, self.size(), self.req_cons);
        self.trace = tracer::Ring::new(&info);
        // What attaching has found already.
        self.trace.seen(Slot::Request, self.req_cons, self.req_prod);
    }

    /// Slots in the ring.
    #[inline(always)]
    #[must_use]
    pub fn size(&self) -> u32 {
        self.mask + 1
    }

    /// Responses that may be put now: one for each request taken and not yet answered.
    #[inline(always)]
    #[must_use]
    pub fn unanswered(&self) -> u32 {
        self.req_cons.wrapping_sub(self.rsp_prod_pvt)
    }

    /// Index the next request will have.
    #[inline(always)]
    #[must_use]
    pub fn next_request(&self) -> u32 {
        self.req_cons
    }

    /// Writes one response; the frontend can see nothing of it yet. Returns its index.
    ///
    /// # Panics
    /// If no request waits for an answer.
    #[traced(fine)]
    #[inline(always)]
    pub fn put_response(&mut self, response: Rsp) -> u32 {
        self.put(response)
    }

    /// Writes something else that occupies a response's slot (an extra info).
    ///
    /// # Panics
    /// If no request waits for an answer.
    #[inline(always)]
    pub fn put<T: IntoBytes + Immutable>(&mut self, slot: T) -> u32 {
        assert!(self.unanswered() > 0, "a response without a request");
        let index = self.rsp_prod_pvt;
        self.mem.write(index & self.mask, slot);
        self.rsp_prod_pvt = index.wrapping_add(1);
        index
    }

    /// Journey 13. Publishes what was put, and says whether the frontend asked to be woken for it.
    /// The one place where responses become visible.
    #[traced(fine)]
    #[inline(always)]
    pub fn push_responses(&mut self) -> Notify {
        let (old, new) = (self.rsp_prod, self.rsp_prod_pvt);
        let stamp = self.trace.stamp();
        // SYNC responses are visible: with the Acquire load of rsp_prod in
        // FrontRing::poll_responses.
        self.mem.store(Index::RspProd, new, Ordering::Release);
        self.rsp_prod = new;
        // SYNC no sleeping front misses a response: with the fence in
        // FrontRing::final_check_for_responses.
        fence(Ordering::SeqCst);
        let notify = must_notify(old, new, self.mem.load(Index::RspEvent, Ordering::Relaxed));
        self.trace.pushed(stamp, Slot::Response, old, new, notify);
        Notify::when(notify)
    }

    /// Looks how many requests wait to be taken.
    ///
    /// # Errors
    /// If `req_prod` claims more than the ring has slots, or moved backwards.
    #[inline(always)]
    pub fn poll_requests(&mut self) -> Result<u32, ProdOverflow> {
        // SYNC requests are visible: with the Release store of req_prod in
        // FrontRing::push_requests.
        let claimed = self.mem.load(Index::ReqProd, Ordering::Acquire);
        let (ahead, limit) = (claimed.wrapping_sub(self.req_cons), self.size() - self.unanswered());
        let seen = self.req_prod;
        let lies = ahead > limit || ahead < seen.wrapping_sub(self.req_cons);
        if lies && !skipped(Check::ReqProd) {
            return Err(ProdOverflow { index: Index::ReqProd, seen, claimed, limit });
        }
        self.req_prod = claimed;
        self.trace.seen(Slot::Request, seen, claimed);
        Ok(ahead)
    }

    /// Requests that the last look found and that were not taken yet.
    #[inline(always)]
    #[must_use]
    pub fn unconsumed_requests(&self) -> u32 {
        self.req_prod.wrapping_sub(self.req_cons)
    }

    /// Journey 9. Copies the next request out; from here on only the copy is looked at. Returns
    /// its index and the request.
    #[traced(fine, quiet)]
    #[inline(always)]
    pub fn take_request(&mut self) -> Option<(u32, Req)> {
        self.take()
    }

    /// Takes what stands in a request's slot as something else (an extra info).
    #[inline(always)]
    pub fn take<T: FromBytes>(&mut self) -> Option<(u32, T)> {
        if self.unconsumed_requests() == 0 {
            return None;
        }
        let index = self.req_cons;
        let slot = self.mem.read(index & self.mask);
        self.req_cons = index.wrapping_add(1);
        self.trace.taken(Slot::Request, index);
        Some((index, slot))
    }

    /// Asks to be woken when the next request comes, and looks once more: `true` if there is
    /// something to take, so that one must not sleep (`RING_FINAL_CHECK_FOR_REQUESTS`).
    ///
    /// # Errors
    /// As [`poll_requests`](Self::poll_requests).
    pub fn final_check_for_requests(&mut self) -> Result<bool, ProdOverflow> {
        self.final_check_for_many(1)
    }

    /// The same, for whoever can do nothing with fewer than `wanted` (at least 1): asks to be woken
    /// when there are so many.
    ///
    /// # Errors
    /// As [`poll_requests`](Self::poll_requests).
    pub fn final_check_for_many(&mut self, wanted: u32) -> Result<bool, ProdOverflow> {
        if self.poll_requests()? >= wanted {
            return Ok(true);
        }
        self.mem.store(Index::ReqEvent, self.req_cons.wrapping_add(wanted), Ordering::Relaxed);
        // SYNC no sleeping back misses a request: with the fence in FrontRing::push_requests.
        fence(Ordering::SeqCst);
        Ok(self.poll_requests()? >= wanted)
    }

    /// The ring as the tracer knows it, for what only its user can tell.
    #[inline(always)]
    pub fn trace(&mut self) -> &mut tracer::Ring {
        &mut self.trace
    }

    /// The memory under the ring.
    pub fn mem(&self) -> &M {
        &self.mem
    }
}
