//! Frames out: from the application's bytes to requests on the ring, and the pages back.

use rings::csum::{self, Blank};
use rings::frame::Csum;
use rings::io::netif::{self, Extra, GsoType, TX_SLOT, TxFlags, TxRequest, TxResponse};
use rings::ring::{Answered, FrontRing, Notify, Sring};
use rings::weaken::{Check, skipped};
use rings::{DomId, Domain, DomainError, Granted, Memory};
use tracer::traced;

use crate::error::Misbehaviour;
use crate::pool::{Buffer, Pool, small_offset};
use crate::slots::slots;
use crate::stats::Stats;

/// Slots kept free so that the next frame, of whatever length, fits: 18 for data, one for the
/// extra.
const FRAME_SLOTS: u32 = 19;
/// Slots kept free for answers to what comes in. Without them two ends that both have much to send
/// stop for good: this one takes nothing in because it could not answer, so that the other, which
/// waits for buffers, never answers what fills this ring.
const ANSWERS: u32 = 32;
/// Frames shorter than this start at different cache lines of their pages. Pages begin at
/// multiples of 4096, and so would all frames begin in the same few cache sets.
const STAGGER_BELOW: usize = 2048;

/// Frames up to this length are put together before they are written. Bytes.
const PIECES_BELOW: usize = 512;

/// The sending half of a queue.
#[derive(Debug)]
pub(crate) struct Tx {
    ring: FrontRing<Sring<TX_SLOT>, TxRequest, TxResponse>,
    /// The ring's page; goes back when the queue closes.
    pub(crate) page: Granted,
    pool: Pool,
    /// Slots in flight that carry an extra info: their responses have no id.
    extras: u32,
    /// Slots put since the last push.
    put: u32,
    /// A push in the middle of a turn found that the backend wants to be woken.
    notify_due: bool,
    /// Checksums that may be left to others.
    blank: Blank,
    always_notify: bool,
    /// Where short frames are put together.
    whole: Vec<u8>,
}

impl Tx {
    /// Takes the pages from the domain's memory and grants them to the backend.
    pub(crate) fn new<D: Domain>(
        domain: &D,
        backend: DomId,
        base: u32,
        blank: Blank,
        always_notify: bool,
    ) -> Result<Self, DomainError> {
        let page = ring_page(domain.memory(), backend)?;
        let pool = match Pool::new(domain, backend) {
            Ok(pool) => pool,
            Err(why) => {
                page.close(domain.memory());
                return Err(why);
            }
        };
        let sring = Sring::new(page.region().clone());
        sring.init(base);
        Ok(Self {
            ring: FrontRing::attach(sring, base),
            page,
            pool,
            extras: 0,
            put: 0,
            notify_due: false,
            blank,
            always_notify,
            whole: vec![0; PIECES_BELOW],
        })
    }

    /// Gives the ring its name.
    pub(crate) fn set_name(&mut self, name: &str) {
        self.ring.set_name(name, Answered::InOrder);
    }

    /// The ring as the tracer knows it.
    #[inline(always)]
    pub(crate) fn trace(&mut self) -> &mut tracer::Ring {
        self.ring.trace()
    }

    /// Whether a frame of any length can be sent now, and answers besides.
    #[inline(always)]
    pub(crate) fn has_room(&self) -> bool {
        self.ring.free_requests() >= FRAME_SLOTS + ANSWERS && self.pool.has_room()
    }

    /// Whether a frame of a page can be sent now.
    #[inline(always)]
    pub(crate) fn has_single(&self) -> bool {
        self.ring.free_requests() >= 2 && self.pool.has_single()
    }

    #[inline(always)]
    fn has_run(&self) -> bool {
        self.ring.free_requests() >= FRAME_SLOTS && self.pool.has_room()
    }

    /// Whether a frame of this length can be sent now.
    #[inline(always)]
    pub(crate) fn takes(&self, len: usize) -> bool {
        let fits = if len <= rings::PAGE_SIZE { self.has_single() } else { self.has_run() };
        fits && (1..=usize::from(netif::MAX_TX_SIZE)).contains(&len)
    }

    /// Sends a frame of `len` bytes, which `fill` writes in place. It becomes visible
    /// with the next [`push`](Self::push). With `offload` a TCP or UDP checksum is left to others,
    /// where that was agreed on. `None` if there is no room, or no such frame.
    #[inline]
    pub(crate) fn xmit<R>(
        &mut self,
        len: usize,
        offload: bool,
        gso: u16,
        stats: &mut Stats,
        fill: impl FnOnce(&mut [u8]) -> R,
    ) -> Option<R> {
        if !self.takes(len) {
            return None;
        }
        let buffer = self.pool.take(len)?;
        let offset = offset_in_page(buffer.page, len);
        let (offload, blank) = (offload && self.blank.any(), self.blank);
        let (result, flags) = self.pool.fill(buffer, offset, len, |bytes| {
            let result = fill(bytes);
            let csum = if offload { csum::hand_over(bytes, blank) } else { Csum::None };
            (result, flags_of(csum))
        });
        self.put_slots(buffer, len, offset, flags, gso, stats);
        if len > rings::PAGE_SIZE {
            // A large frame is a batch of slots by itself: the backend may begin to copy it while
            // the next one is being filled.
            self.notify_due |= self.publish(stats) == Notify::Yes;
        }
        stats.tx_frames += 1;
        stats.tx_bytes += len as u64;
        Some(result)
    }

    /// The same for whoever fills a frame in many small pieces: short ones are put together in private
    /// memory and written in one go. Each piece would wait for a line of the page that the backend's
    /// CPU still has; a copy asks for all of them at once (a third more datagrams of 64 bytes).
    #[inline]
    pub(crate) fn xmit_pieces<R>(
        &mut self,
        len: usize,
        gso: u16,
        stats: &mut Stats,
        fill: impl FnOnce(&mut [u8]) -> R,
    ) -> Option<R> {
        if len > PIECES_BELOW {
            return self.xmit(len, true, gso, stats, fill);
        }
        let mut whole = std::mem::take(&mut self.whole);
        let result = fill(&mut whole[..len]);
        let sent = self.xmit(len, true, gso, stats, |page| page.copy_from_slice(&whole[..len]));
        self.whole = whole;
        sent.map(|()| result)
    }

    /// One request for each slot of the frame, the GSO extra behind the first.
    #[inline(always)]
    fn put_slots(
        &mut self,
        buffer: Buffer,
        len: usize,
        offset: usize,
        flags: TxFlags,
        gso: u16,
        stats: &mut Stats,
    ) {
        for slot in slots(len, offset) {
            let first = slot.page == 0;
            let mut flags = if first { flags } else { TxFlags::empty() };
            flags.set(TxFlags::MORE_DATA, slot.more);
            flags.set(TxFlags::EXTRA_INFO, first && gso > 0);
            #[expect(clippy::cast_possible_truncation, reason = "at most 17 pages")]
            let page = buffer.page + slot.page as u16;
            let gref = self.pool.start(page).0;
            self.ring.put_request(TxRequest {
                gref,
                offset: slot.offset,
                flags: flags.bits(),
                id: page,
                size: slot.size,
            });
            stats.tx_slots += 1;
            self.put += 1;
            if first && gso > 0 {
                let extra = Extra::Gso { size: gso, kind: GsoType::TcpV4, features: 0 };
                self.ring.put(extra.encode(false));
                self.extras += 1;
                self.put += 1;
                stats.tx_gso += 1;
                stats.tx_slots += 1;
            }
        }
    }

    /// Publishes what was put. Says whether the backend wants to be woken, for this or for what was
    /// published in the middle of the turn.
    #[inline]
    pub(crate) fn push(&mut self, stats: &mut Stats) -> Notify {
        let now = if self.put > 0 { self.publish(stats) } else { Notify::No };
        if std::mem::take(&mut self.notify_due) { Notify::Yes } else { now }
    }

    /// Publishes what was put, and asks whether to wake the backend for it.
    #[traced(slots = self.put)]
    #[inline]
    fn publish(&mut self, stats: &mut Stats) -> Notify {
        tracer::counter!("free buffers", self.pool.free());
        let notify = self.ring.push_requests();
        stats.pushes += 1;
        stats.pushed += u64::from(std::mem::take(&mut self.put));
        notify.counted(self.always_notify, &mut stats.notifies, &mut stats.suppressed)
    }

    /// Journey 15. Takes the backend's answers, and with them the pages back.
    #[inline]
    pub(crate) fn reap(&mut self, stats: &mut Stats) -> Result<u32, Misbehaviour> {
        let waiting = self.ring.poll_responses()?;
        if waiting == 0 {
            return Ok(0);
        }
        let _span = tracer::span!("reap", slots = waiting);
        self.take_answers(waiting, stats)?;
        Ok(waiting)
    }

    // Not inlined into what has a span: that would cost each slot some instructions, even switched off.
    #[inline(never)]
    fn take_answers(&mut self, waiting: u32, stats: &mut Stats) -> Result<(), Misbehaviour> {
        for _ in 0..waiting {
            let Some((_, response)) = self.ring.take_response() else { break };
            self.finish(response, stats)?;
        }
        Ok(())
    }

    #[inline(always)]
    fn finish(&mut self, response: TxResponse, stats: &mut Stats) -> Result<(), Misbehaviour> {
        match response.status {
            netif::RSP_OKAY => self.pool.finish(response.id),
            // The answer to an extra: its id means nothing and is not looked at.
            netif::RSP_NULL if skipped(Check::TxNull) => Ok(()),
            netif::RSP_NULL => {
                self.extras = self.extras.checked_sub(1).ok_or(Misbehaviour::TxNull)?;
                Ok(())
            }
            // RSP_ERROR, RSP_DROPPED, and what netif.h does not have: the frame has failed, and its
            // page is free all the same.
            _ => {
                stats.tx_errors += 1;
                self.pool.finish(response.id)
            }
        }
    }

    /// Asks to be woken when there is room for a frame of any length; `true` if there are answers
    /// already that may make it.
    pub(crate) fn final_check(&mut self) -> Result<bool, Misbehaviour> {
        let missing = self.missing();
        Ok(self.ring.final_check_for_many(missing)?)
    }

    /// Whether there are all the answers that [`final_check`](Self::final_check) asked for.
    pub(crate) fn has_answers(&mut self) -> Result<bool, Misbehaviour> {
        Ok(self.ring.poll_responses()? >= self.missing())
    }

    /// Answers that make room for a frame of any length.
    fn missing(&self) -> u32 {
        let wanted = FRAME_SLOTS + ANSWERS;
        wanted.saturating_sub(self.ring.free_requests()).max(1)
    }

    /// Requests the backend has not answered.
    pub(crate) fn outstanding(&self) -> u32 {
        self.ring.outstanding()
    }

    /// Takes all grants back and returns the pages, as `Rx::close` does. A ring that the backend has not
    /// unmapped is kept too, and goes with the domain.
    pub(crate) fn close(self, memory: &Memory) -> usize {
        self.pool.close(memory) + self.page.close(memory)
    }
}

/// Where in its first page a frame starts. Bytes.
#[inline(always)]
fn offset_in_page(page: u16, len: usize) -> usize {
    if len < STAGGER_BELOW { small_offset(page) } else { 0 }
}

/// What is known of the checksum, as flags of the tx ring.
#[inline(always)]
fn flags_of(csum: Csum) -> TxFlags {
    match csum {
        Csum::None => TxFlags::empty(),
        Csum::Validated => TxFlags::DATA_VALIDATED,
        Csum::Blank => TxFlags::CSUM_BLANK | TxFlags::DATA_VALIDATED,
    }
}

/// A page for a ring, granted to the backend.
pub(crate) fn ring_page(memory: &Memory, backend: DomId) -> Result<Granted, DomainError> {
    let what = "a ring's page, or its grant".into();
    memory.grant_all(backend, 1, false).ok_or(DomainError::Refused { what, errno: "ENOSPC" })
}
