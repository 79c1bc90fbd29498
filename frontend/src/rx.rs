//! Frames in: posting buffers, and assembling what the backend put into them.
//!
//! Slot i of the ring always carries page i: a response must stand in the slot of its request
//! anyway, so nothing has to be remembered.

use rings::frame::{Csum, Meta};
use rings::io::netif::{
    EXTRA_TYPE_MAX, Extra, ExtraInfo, GsoType, NR_SLOTS_MIN, RX_RING_SIZE, RX_SLOT, RxFlags,
    RxRequest, RxResponse,
};
use rings::ring::{Answered, FrontRing, Notify, Sring};
use rings::weaken::{Check, skipped};
use rings::{CACHE_LINE, DomId, Domain, DomainError, Granted, Memory, PAGE_SIZE};
use tracer::traced;

use crate::error::Misbehaviour;
use crate::stats::Stats;
use crate::tx::ring_page;

/// Largest frame a backend can deliver: 18 full pages, though netif.h says 65,535 bytes.
const FRAME_BYTES: usize = NR_SLOTS_MIN * PAGE_SIZE;

/// The receiving half of a queue.
#[derive(Debug)]
pub(crate) struct Rx {
    ring: FrontRing<Sring<RX_SLOT>, RxRequest, RxResponse>,
    /// The ring's page; goes back when the queue closes.
    pub(crate) page: Granted,
    buffers: Granted,
    /// The frame being assembled: private memory, so that what is checked stays what it was.
    frame: Vec<u8>,
    /// Buffers posted since the last push.
    posted: u32,
    always_notify: bool,
}

impl Rx {
    /// Takes the buffers from the domain's memory and grants them to the backend.
    pub(crate) fn new<D: Domain>(
        domain: &D,
        backend: DomId,
        base: u32,
        always_notify: bool,
        name: &str,
    ) -> Result<Self, DomainError> {
        let memory = domain.memory();
        let what = "pages to receive into, or their grants".into();
        let page = ring_page(memory, backend)?;
        let Some(buffers) = memory.grant_all(backend, RX_RING_SIZE, false) else {
            page.close(memory);
            return Err(DomainError::Refused { what, errno: "ENOSPC" });
        };
        let sring = Sring::new(page.region().clone());
        sring.init(base);
        let mut ring = FrontRing::attach(sring, base);
        ring.set_name(&format!("{name}-rx"), Answered::WhenItComes);
        let frame = vec![0; FRAME_BYTES];
        let mut rx = Self { ring, page, buffers, frame, posted: 0, always_notify };
        rx.refill();
        // Before the backend is there nobody can be woken.
        let _ = rx.ring.push_requests();
        rx.posted = 0;
        Ok(rx)
    }

    /// Journey 16. Posts every free buffer; visible with the next [`push`](Self::push).
    #[traced(fine)]
    #[inline]
    fn refill(&mut self) {
        for _ in 0..self.ring.free_requests() {
            let id = slot_of(self.ring.next_request());
            let gref = self.buffers.grefs()[usize::from(id)].0;
            self.ring.put_request(RxRequest { id, pad: 0, gref });
            self.posted += 1;
        }
    }

    /// Publishes the buffers that became free since the last time.
    #[traced]
    #[inline]
    pub(crate) fn push(&mut self, stats: &mut Stats) -> Notify {
        self.refill();
        if self.posted == 0 {
            return Notify::No;
        }
        let notify = self.ring.push_requests();
        stats.pushes += 1;
        stats.pushed += u64::from(self.posted);
        self.posted = 0;
        notify.counted(self.always_notify, &mut stats.notifies, &mut stats.suppressed)
    }

    /// Buffers that are free and not posted yet.
    #[inline(always)]
    pub(crate) fn unposted(&self) -> u32 {
        self.ring.free_requests()
    }

    /// Whether there are responses.
    #[inline(always)]
    pub(crate) fn poll(&mut self) -> Result<bool, Misbehaviour> {
        if self.ring.unconsumed_responses() > 0 {
            return Ok(true);
        }
        if self.ring.poll_responses()? == 0 {
            return Ok(false);
        }
        // Which page it fills is known before the response is read (behind the slots that are free is the
        // oldest that is not), and a small frame is in its first two cache lines: they come over
        // together with the response's.
        let oldest = self.ring.next_request().wrapping_add(self.ring.free_requests());
        let page = usize::from(slot_of(oldest)) * PAGE_SIZE;
        self.buffers.region().prefetch_read(page);
        self.buffers.region().prefetch_read(page + CACHE_LINE);
        Ok(true)
    }

    /// Journey 18. The next whole frame, copied out of its pages: its length and what came with it.
    /// The bytes are in [`frame`](Self::frame). Frames with an error are counted and skipped.
    #[traced(fine, quiet)]
    #[inline]
    pub(crate) fn next(
        &mut self,
        stats: &mut Stats,
    ) -> Result<Option<(usize, Meta)>, Misbehaviour> {
        while self.poll()? {
            if let Some(frame) = self.assemble(stats)? {
                return Ok(Some(frame));
            }
            stats.rx_errors += 1;
        }
        Ok(None)
    }

    /// The bytes of the frame that `next` found.
    #[inline(always)]
    pub(crate) fn frame(&mut self, len: usize) -> &mut [u8] {
        &mut self.frame[..len]
    }

    /// One frame; `None` if the backend says it failed.
    #[inline(always)]
    fn assemble(&mut self, stats: &mut Stats) -> Result<Option<(usize, Meta)>, Misbehaviour> {
        let (mut index, mut response) = self.take::<RxResponse>()?;
        let flags = response.flags();
        let gso = if flags.contains(RxFlags::EXTRA_INFO) { self.extras()? } else { 0 };
        let (mut len, mut good) = (0, true);
        let most = if skipped(Check::RxSlots) { usize::MAX } else { NR_SLOTS_MIN };
        for _ in 0..most {
            good &= self.append(index, response, &mut len)?;
            let cut = skipped(Check::RxCut) && self.ring.unconsumed_responses() == 0;
            if !response.flags().contains(RxFlags::MORE_DATA) || cut {
                if !good || len == 0 {
                    return Ok(None);
                }
                stats.rx_frames += 1;
                stats.rx_bytes += len as u64;
                stats.rx_gso += u64::from(gso > 0);
                stats.copied += len as u64;
                return Ok(Some((len, Meta { csum: csum_of(flags), gso })));
            }
            (index, response) = self.take()?;
        }
        Err(Misbehaviour::RxSlots(NR_SLOTS_MIN))
    }

    /// Copies one slot's bytes behind those that are there; `false` if the slot carries an error.
    #[inline(always)]
    fn append(
        &mut self,
        index: u32,
        response: RxResponse,
        len: &mut usize,
    ) -> Result<bool, Misbehaviour> {
        let slot = slot_of(index);
        if response.id != slot && !skipped(Check::RxId) {
            return Err(Misbehaviour::RxId(response.id, slot));
        }
        let Ok(here) = usize::try_from(response.status) else { return Ok(false) };
        let crosses = usize::from(response.offset) + here > PAGE_SIZE;
        if crosses && !skipped(Check::RxBounds) {
            return Err(Misbehaviour::RxBounds(response.offset, response.status));
        }
        let at = usize::from(slot) * PAGE_SIZE + usize::from(response.offset);
        self.buffers.region().copy_out(at, &mut self.frame[*len..*len + here]);
        *len += here;
        Ok(true)
    }

    /// The extra infos behind a first slot: one of each type at most, so at most as many as types.
    /// Their buffers are unused and go back with the rest. Returns the GSO size, 0 without one.
    fn extras(&mut self) -> Result<u16, Misbehaviour> {
        let mut gso = 0;
        let most = if skipped(Check::RxExtraCount) { u8::MAX } else { EXTRA_TYPE_MAX };
        for _ in 0..most {
            let (_, info) = self.take::<ExtraInfo>()?;
            match info.decode() {
                Ok(Extra::Gso { size, kind: GsoType::TcpV4, .. }) if size > 0 => gso = size,
                Ok(Extra::Gso { .. }) if skipped(Check::RxGso) => {}
                Ok(Extra::Gso { size, kind, .. }) => {
                    return Err(Misbehaviour::RxGso(size, kind as u8));
                }
                Ok(_) => {}
                Err(_) if skipped(Check::RxExtra) => {}
                Err(_) => return Err(Misbehaviour::RxExtra(info.kind)),
            }
            if !info.more() {
                return Ok(gso);
            }
        }
        Err(Misbehaviour::RxExtra(EXTRA_TYPE_MAX))
    }

    /// The next response of a frame that has begun.
    #[inline(always)]
    fn take<T: zerocopy::FromBytes>(&mut self) -> Result<(u32, T), Misbehaviour> {
        self.ring.take::<T>().ok_or(Misbehaviour::RxCut)
    }

    /// Asks to be woken by the next response; `true` if there is one already.
    pub(crate) fn final_check(&mut self) -> Result<bool, Misbehaviour> {
        Ok(self.ring.final_check_for_responses()?)
    }

    /// Takes all grants back and returns the pages, as `Tx::close` does. A ring that the backend has not
    /// unmapped is kept too, and goes with the domain.
    pub(crate) fn close(self, memory: &Memory) -> usize {
        self.buffers.close(memory) + self.page.close(memory)
    }
}

/// The slot, and so the buffer and the id, of an index.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "masked to the ring's 256 slots")]
fn slot_of(index: u32) -> u16 {
    (index & (RX_RING_SIZE as u32 - 1)) as u16
}

/// What the flags of a first response say of the checksum. Bits 0 and 1 mean the opposite of what
/// they mean on the tx ring.
#[inline(always)]
fn csum_of(flags: RxFlags) -> Csum {
    if flags.contains(RxFlags::CSUM_BLANK) {
        Csum::Blank
    } else if flags.contains(RxFlags::DATA_VALIDATED) {
        Csum::Validated
    } else {
        Csum::None
    }
}
