//! Frames from the guest: taken from the ring, judged, copied out of its pages, and
//! answered; then they are ours, in private memory, until somebody takes them.

use std::time::Instant;

use rings::frame::{Csum, Meta};
use rings::grant::{CopyOp, GntStatus};
use rings::io::netif::{
    ExtraInfo, RSP_ERROR, RSP_NULL, RSP_OKAY, TX_SLOT, TxFlags, TxRequest, TxResponse,
};
use rings::mem::Region;
use rings::ring::{Answered, BackRing, Notify, ProdOverflow, Sring};
use rings::weaken::{Check, skipped};
use rings::{Foreign, Gref};
use tracer::traced;

use crate::credit::Credit;
use crate::error::Rogue;
use crate::lossy::Lossy;
use crate::parse::{Packet, Slots, Verdict, parse};
use crate::stats::Stats;

type Ring = BackRing<Sring<TX_SLOT>, TxRequest, TxResponse>;

/// Largest frame: netif.h's 65,535 bytes.
const FRAME_BYTES: usize = 1 << 16;
/// Bytes after which a turn takes no further frame: what has been copied is used while it is in the
/// nearest caches, and its pages go back while the guest fills the next ones.
const TURN_BYTES: usize = 1 << 16;
/// Private memory for one turn's frames.
const ARENA_BYTES: usize = TURN_BYTES + FRAME_BYTES;
/// Frames begin at cache lines.
const ALIGN: usize = 64;

/// Taking frames from the guest.
#[derive(Debug)]
pub(crate) struct Tx {
    ring: Ring,
    always_notify: bool,
    arena: Vec<u8>,
    used: usize,
    frames: Vec<Frame>,
    /// Frames that have been taken by somebody.
    taken: usize,
    ops: Vec<CopyOp>,
    slots: Vec<Answer>,
    packet: Packet,
    /// How fast the guest may send, if that is limited.
    pub(crate) credit: Option<Credit>,
    /// `packet` was taken off the ring and judged, and waits for credit.
    judged: Option<Verdict>,
    /// Loses frames, if that is asked for.
    pub(crate) lossy: Option<Lossy>,
}

/// A frame in the arena.
#[derive(Clone, Copy, Debug)]
struct Frame {
    at: u32,
    len: u32,
    meta: Meta,
    /// Where its operations end in `ops`.
    ops_end: u32,
    good: bool,
}

/// How a slot will be answered.
#[derive(Clone, Copy, Debug)]
struct Answer {
    id: u16,
    /// The frame whose fate it shares; `EXTRA` for the slot of an extra info, `DROPPED` for one
    /// whose frame never was.
    frame: u32,
}

const EXTRA: u32 = u32::MAX;
const DROPPED: u32 = u32::MAX - 1;

/// The ring as the parser sees it.
impl Slots for Ring {
    #[inline(always)]
    fn request(&mut self) -> Option<TxRequest> {
        self.take_request().map(|(_, request)| request)
    }

    #[inline(always)]
    fn extra(&mut self) -> Option<ExtraInfo> {
        self.take::<ExtraInfo>().map(|(_, info)| info)
    }
}

impl Tx {
    /// Attaches to the ring in `page`.
    pub(crate) fn new(page: Region, always_notify: bool) -> Result<Self, ProdOverflow> {
        Ok(Self {
            ring: BackRing::attach(Sring::new(page))?,
            always_notify,
            arena: vec![0; ARENA_BYTES],
            used: 0,
            frames: Vec::with_capacity(256),
            taken: 0,
            ops: Vec::with_capacity(512),
            slots: Vec::with_capacity(512),
            packet: Packet::default(),
            credit: None,
            judged: None,
            lossy: None,
        })
    }

    /// Gives the ring its name.
    pub(crate) fn set_name(&mut self, name: &str) {
        self.ring.set_name(name, Answered::InOrder);
    }

    /// Whether frames wait that nobody has taken.
    #[inline(always)]
    pub(crate) fn has_frames(&self) -> bool {
        self.taken < self.frames.len()
    }

    /// Journey 14. The next frame, if one has been collected, for the wire: from here it goes where
    /// the vif is joined to ([`wire`](crate::wire), or a stack).
    #[traced(fine)]
    #[inline(always)]
    pub(crate) fn next(&mut self) -> Option<(&mut [u8], Meta)> {
        while let Some(frame) = self.frames.get(self.taken).copied() {
            self.taken += 1;
            if frame.good {
                let at = frame.at as usize;
                return Some((&mut self.arena[at..at + frame.len as usize], frame.meta));
            }
        }
        None
    }

    /// Loses some of the frames just collected, once their slots are answered: answers know frames by
    /// their place.
    #[cold]
    fn lose(&mut self, stats: &mut Stats) {
        let Some(lossy) = &mut self.lossy else { return };
        let before = self.frames.len();
        self.frames.retain(|frame| !(frame.good && lossy.loses()));
        stats.tx_lost += (before - self.frames.len()) as u64;
    }

    /// The frame that was taken last.
    #[inline(always)]
    pub(crate) fn current(&self) -> Option<&[u8]> {
        let frame = self.frames.get(self.taken.checked_sub(1)?)?;
        let at = frame.at as usize;
        Some(&self.arena[at..at + frame.len as usize])
    }

    /// The next frame, which stays to be taken.
    #[inline(always)]
    pub(crate) fn peek(&mut self) -> Option<(&[u8], Meta)> {
        while let Some(frame) = self.frames.get(self.taken).copied() {
            if frame.good {
                let at = frame.at as usize;
                return Some((&self.arena[at..at + frame.len as usize], frame.meta));
            }
            self.taken += 1;
        }
        None
    }

    /// Takes up to `budget` frames off the ring, copies them, and answers their slots: one look at
    /// the ring, one batch of copies, one push. Only when all former frames have been taken.
    #[inline]
    pub(crate) fn collect(
        &mut self,
        budget: usize,
        foreign: &mut impl Foreign,
        stats: &mut Stats,
    ) -> Result<Notify, Rogue> {
        debug_assert!(!self.has_frames());
        self.frames.clear();
        self.ops.clear();
        self.slots.clear();
        (self.taken, self.used) = (0, 0);
        let nothing = self.ring.unconsumed_requests() == 0 && self.ring.poll_requests()? == 0;
        match self.held_until() {
            None if nothing => return Ok(Notify::No),
            // Nothing behind the frame that waits for credit may pass it.
            Some(until) if Instant::now() < until => return Ok(Notify::No),
            _ => {}
        }
        foreign.anticipate();
        let _span = tracer::span!("collect", slots = self.ring.unconsumed_requests());
        self.plan(budget, stats)?;
        self.copy(foreign, stats);
        let notify = self.answer(stats);
        if self.lossy.is_some() {
            self.lose(stats);
        }
        Ok(notify)
    }

    /// Takes frames off the ring and plans their copies.
    // As the other loops over frames or slots not inlined into what has a span: that would cost each of
    // them some instructions, even switched off.
    #[inline(never)]
    fn plan(&mut self, budget: usize, stats: &mut Stats) -> Result<(), Rogue> {
        let limited = self.credit.is_some();
        while self.frames.len() < budget && self.used < TURN_BYTES {
            let parsed = match limited {
                false => parse(&mut self.ring, &mut self.packet),
                true => self.parse_limited(),
            };
            match parsed {
                Ok(Some(Verdict::Good)) => self.admit(stats),
                Ok(Some(Verdict::Drop(_))) => self.refuse(stats),
                Ok(None) => break,
                Err(lie) => {
                    // Planned and never copied: what lies in their place is older frames' bytes.
                    self.frames.clear();
                    return Err(lie);
                }
            }
        }
        Ok(())
    }

    /// The next frame if there is credit for it. One without stays judged, as the private copy it is,
    /// until there is: its slots are not answered, and to the guest it is still on the ring.
    #[cold]
    fn parse_limited(&mut self) -> Result<Option<Verdict>, Rogue> {
        let judged = match self.judged.take() {
            Some(judged) => Some(judged),
            None => parse(&mut self.ring, &mut self.packet)?,
        };
        let (Some(verdict), Some(credit)) = (judged, &mut self.credit) else { return Ok(judged) };
        if credit.admits(self.packet.total.into(), Instant::now) {
            return Ok(Some(verdict));
        }
        self.judged = judged;
        Ok(None)
    }

    /// When the frame that waits for credit may go, if one does.
    #[inline(always)]
    pub(crate) fn held_until(&self) -> Option<Instant> {
        self.judged.and(self.credit.as_ref()).map(Credit::enough_at)
    }

    /// Journey 11. Gives the frame just parsed its place in private memory, and plans its copies.
    #[traced(fine)]
    #[inline(always)]
    fn admit(&mut self, stats: &mut Stats) {
        let frame = index(self.frames.len());
        let begin = self.used;
        let mut at = begin;
        for (n, slot) in self.packet.data().iter().enumerate() {
            self.slots.push(Answer { id: slot.id, frame });
            if n == 0 {
                for _ in 0..self.packet.extras {
                    self.slots.push(Answer { id: 0, frame: EXTRA });
                }
            }
            if slot.size > 0 || skipped(Check::EmptySlot) {
                self.ops.push(CopyOp {
                    gref: Gref(slot.gref),
                    offset: slot.offset,
                    len: slot.size,
                    local: index(at),
                    status: GntStatus::Okay,
                });
                at += usize::from(slot.size);
            }
        }
        let flags = self.packet.flags();
        let meta = Meta { csum: csum_of(flags, self.packet.gso), gso: self.packet.gso };
        let (len, ops_end) = (index(at - begin), index(self.ops.len()));
        self.frames.push(Frame { at: index(begin), len, meta, ops_end, good: true });
        self.used = at.next_multiple_of(ALIGN);
        stats.tx_slots += (self.packet.data().len() + self.packet.extras) as u64;
    }

    /// Notes that all slots of the packet just parsed are to be answered with an error.
    #[traced(fine)]
    fn refuse(&mut self, stats: &mut Stats) {
        for (n, slot) in self.packet.data().iter().enumerate() {
            self.slots.push(Answer { id: slot.id, frame: DROPPED });
            if n == 0 {
                for _ in 0..self.packet.extras {
                    self.slots.push(Answer { id: 0, frame: EXTRA });
                }
            }
        }
        stats.tx_errors += 1;
    }

    /// Copies everything that was planned; a copy that fails fails its frame alone.
    #[inline(never)]
    fn copy(&mut self, foreign: &mut impl Foreign, stats: &mut Stats) {
        foreign.copy_from(&mut self.ops, &mut self.arena);
        let mut begin = 0;
        for frame in &mut self.frames {
            let end = frame.ops_end as usize;
            frame.good = self.ops[begin..end].iter().all(|op| op.status == GntStatus::Okay);
            begin = end;
            if frame.good {
                stats.tx_frames += 1;
                stats.tx_bytes += u64::from(frame.len);
                stats.tx_gso += u64::from(frame.meta.gso > 0);
            } else {
                stats.tx_errors += 1;
            }
        }
    }

    /// Answers every slot that was taken, in order, and publishes the answers once.
    #[traced]
    #[inline(always)]
    fn answer(&mut self, stats: &mut Stats) -> Notify {
        self.put_answers();
        if self.slots.is_empty() {
            return Notify::No;
        }
        let notify = self.ring.push_responses();
        stats.pushes += 1;
        stats.pushed += self.slots.len() as u64;
        notify.counted(self.always_notify, &mut stats.notifies, &mut stats.suppressed)
    }

    #[inline(never)]
    fn put_answers(&mut self) {
        for slot in &self.slots {
            let (id, status) = match slot.frame {
                EXTRA => (0, RSP_NULL),
                DROPPED => (slot.id, RSP_ERROR),
                frame if self.frames[frame as usize].good => (slot.id, RSP_OKAY),
                _ => (slot.id, RSP_ERROR),
            };
            self.ring.put_response(TxResponse { id, status });
        }
    }

    /// Whether there are requests.
    #[inline(always)]
    pub(crate) fn poll(&mut self) -> Result<bool, Rogue> {
        Ok(self.ring.unconsumed_requests() > 0 || self.ring.poll_requests()? > 0)
    }

    /// Asks to be woken by the next request; `true` if there is one already.
    pub(crate) fn final_check(&mut self) -> Result<bool, Rogue> {
        Ok(self.ring.final_check_for_requests()?)
    }
}

/// What the flags of a first slot say of the checksum. GSO without `csum_blank` is taken as blank:
/// each segment gets its own anyway.
#[inline(always)]
fn csum_of(flags: TxFlags, gso: u16) -> Csum {
    if flags.contains(TxFlags::CSUM_BLANK) || gso > 0 {
        Csum::Blank
    } else if flags.contains(TxFlags::DATA_VALIDATED) {
        Csum::Validated
    } else {
        Csum::None
    }
}

/// Positions in the arena and in lists of one turn.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "an arena is 128 KiB, a turn 256 slots")]
fn index(n: usize) -> u32 {
    n as u32
}
