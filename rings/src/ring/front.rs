//! The front half: puts requests, takes responses. Its mirror image is `back.rs`.

use std::marker::PhantomData;

use tracer::format::Slot;
use tracer::format::journal::Half;
use tracer::traced;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{Answered, Index, Notify, ProdOverflow, SringMem, must_notify};
use crate::sync::{Ordering, fence};
use crate::weaken::{Check, skipped};

/// The private half of a ring on the requesting side (`FRONT_RING`).
#[derive(Debug)]
pub struct FrontRing<M, Req, Rsp> {
    mem: M,
    mask: u32,
    /// Requests put, published or not.
    req_prod_pvt: u32,
    /// Requests published: our own copy of `req_prod`, which the other end could overwrite.
    req_prod: u32,
    /// The last `rsp_prod` believed.
    rsp_prod: u32,
    /// Responses taken.
    rsp_cons: u32,
    kinds: PhantomData<(Req, Rsp)>,
    trace: tracer::Ring,
}

impl<M: SringMem, Req: IntoBytes + Immutable, Rsp: FromBytes> FrontRing<M, Req, Rsp> {
    /// Takes over a ring at index `base` (`FRONT_RING_ATTACH`); 0 on a ring just initialised.
    pub fn attach(mem: M, base: u32) -> Self {
        let mask = mem.size() - 1;
        Self {
            mem,
            mask,
            req_prod_pvt: base,
            req_prod: base,
            rsp_prod: base,
            rsp_cons: base,
            kinds: PhantomData,
            trace: tracer::Ring::default(),
        }
    }

    /// Gives the ring the name by which traces know it, the same on both sides (`vif1.0-q0-tx`). To be
    /// called before anything is pushed: a ring without a name is not traced.
    pub fn set_name(&mut self, name: &str, answered: Answered) {
        let info = answered.info(name, Half::Front, self.size(), self.rsp_cons);
        self.trace = tracer::Ring::new(&info);
    }

    /// Slots in the ring.
    #[inline(always)]
    #[must_use]
    pub fn size(&self) -> u32 {
        self.mask + 1
    }

    /// Slots into which a request may be put now.
    #[inline(always)]
    #[must_use]
    pub fn free_requests(&self) -> u32 {
        self.size() - self.req_prod_pvt.wrapping_sub(self.rsp_cons)
    }

    /// Requests published and not yet answered, as far as we have looked.
    #[inline(always)]
    #[must_use]
    pub fn outstanding(&self) -> u32 {
        self.req_prod.wrapping_sub(self.rsp_cons)
    }

    /// Index the next request will have.
    #[inline(always)]
    #[must_use]
    pub fn next_request(&self) -> u32 {
        self.req_prod_pvt
    }

    /// Journey 5. Writes one request; the backend can see nothing of it yet. Returns its index.
    ///
    /// # Panics
    /// If no slot is free; ask [`free_requests`](Self::free_requests) first.
    #[traced(fine)]
    #[inline(always)]
    pub fn put_request(&mut self, request: Req) -> u32 {
        self.put(request)
    }

    /// Writes something else that occupies a request's slot (an extra info).
    ///
    /// # Panics
    /// If no slot is free.
    #[inline(always)]
    pub fn put<T: IntoBytes + Immutable>(&mut self, slot: T) -> u32 {
        assert!(self.free_requests() > 0, "no free request slot");
        let index = self.req_prod_pvt;
        self.mem.write(index & self.mask, slot);
        self.req_prod_pvt = index.wrapping_add(1);
        index
    }

    /// Journey 6. Publishes what was put, and says whether the backend asked to be woken for it.
    /// The one place where requests become visible.
    #[traced(fine)]
    #[inline(always)]
    pub fn push_requests(&mut self) -> Notify {
        let (old, new) = (self.req_prod, self.req_prod_pvt);
        let stamp = self.trace.stamp();
        // SYNC requests are visible: with the Acquire load of req_prod in BackRing::poll_requests.
        self.mem.store(Index::ReqProd, new, Ordering::Release);
        self.req_prod = new;
        // SYNC no sleeping back misses a request: with the fence in
        // BackRing::final_check_for_requests.
        fence(Ordering::SeqCst);
        let notify = must_notify(old, new, self.mem.load(Index::ReqEvent, Ordering::Relaxed));
        self.trace.pushed(stamp, Slot::Request, old, new, notify);
        Notify::when(notify)
    }

    /// Looks how many responses wait to be taken.
    ///
    /// # Errors
    /// If `rsp_prod` claims more than was asked for, or moved backwards.
    #[inline(always)]
    pub fn poll_responses(&mut self) -> Result<u32, ProdOverflow> {
        // SYNC responses are visible: with the Release store of rsp_prod in
        // BackRing::push_responses.
        let claimed = self.mem.load(Index::RspProd, Ordering::Acquire);
        let (ahead, limit) = (claimed.wrapping_sub(self.rsp_cons), self.outstanding());
        let seen = self.rsp_prod;
        let lies = ahead > limit || ahead < seen.wrapping_sub(self.rsp_cons);
        if lies && !skipped(Check::RspProd) {
            return Err(ProdOverflow { index: Index::RspProd, seen, claimed, limit });
        }
        self.rsp_prod = claimed;
        self.trace.seen(Slot::Response, seen, claimed);
        Ok(ahead)
    }

    /// Responses that the last look found and that were not taken yet.
    #[inline(always)]
    #[must_use]
    pub fn unconsumed_responses(&self) -> u32 {
        self.rsp_prod.wrapping_sub(self.rsp_cons)
    }

    /// Copies the next response out and gives its slot back. Returns its index and the response.
    #[traced(fine, quiet)]
    #[inline(always)]
    pub fn take_response(&mut self) -> Option<(u32, Rsp)> {
        self.take()
    }

    /// Takes what stands in a response's slot as something else (an extra info).
    #[inline(always)]
    pub fn take<T: FromBytes>(&mut self) -> Option<(u32, T)> {
        if self.unconsumed_responses() == 0 {
            return None;
        }
        let index = self.rsp_cons;
        let slot = self.mem.read(index & self.mask);
        self.rsp_cons = index.wrapping_add(1);
        self.trace.taken(Slot::Response, index);
        Some((index, slot))
    }

    /// Asks to be woken when the next response comes, and looks once more: `true` if there is
    /// something to take, so that one must not sleep (`RING_FINAL_CHECK_FOR_RESPONSES`).
    ///
    /// # Errors
    /// As [`poll_responses`](Self::poll_responses).
    pub fn final_check_for_responses(&mut self) -> Result<bool, ProdOverflow> {
        self.final_check_for_many(1)
    }

    /// The same, for whoever can do nothing with fewer than `wanted` (at least 1): asks to be woken
    /// when there are so many.
    ///
    /// # Errors
    /// As [`poll_responses`](Self::poll_responses).
    pub fn final_check_for_many(&mut self, wanted: u32) -> Result<bool, ProdOverflow> {
        if self.poll_responses()? >= wanted {
            return Ok(true);
        }
        self.mem.store(Index::RspEvent, self.rsp_cons.wrapping_add(wanted), Ordering::Relaxed);
        // SYNC no sleeping front misses a response: with the fence in BackRing::push_responses.
        fence(Ordering::SeqCst);
        Ok(self.poll_responses()? >= wanted)
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
