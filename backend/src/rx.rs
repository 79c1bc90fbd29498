//! Frames to the guest: buffers are found for them, they are copied into its pages, and
//! the requests are answered.

use rings::frame::{Csum, Meta};
use rings::grant::{CopyOp, GntStatus};
use rings::io::netif::{
    Extra, GsoType, MAX_TX_SIZE, RSP_ERROR, RX_SLOT, RxFlags, RxRequest, RxResponse,
};
use rings::mem::Region;
use rings::ring::{Answered, BackRing, Notify, ProdOverflow, Sring};
use rings::{Foreign, Gref, PAGE_SIZE};
use tracer::traced;

use crate::error::Rogue;
use crate::stats::Stats;

/// Bytes after which what was put is copied at once, not at the end of the turn.
const TURN_BYTES: usize = 1 << 15;
/// Private memory for the frames of one flush.
const ARENA_BYTES: usize = 2 << 16;
/// Frames from this length on are copied straight from where they lie, not through the arena.
const DIRECT: usize = 2048;
/// Frames begin at cache lines.
const ALIGN: usize = 64;

/// Giving frames to the guest.
#[derive(Debug)]
pub(crate) struct Rx {
    ring: BackRing<Sring<RX_SLOT>, RxRequest, RxResponse>,
    always_notify: bool,
    arena: Vec<u8>,
    used: usize,
    ops: Vec<CopyOp>,
    slots: Vec<Answer>,
    frames: u32,
    /// A flush in the middle of a turn found that the guest wants to be woken.
    notify_due: bool,
    /// Buffers that were not there when last asked for.
    wanted: u32,
}

/// How a request will be answered.
#[derive(Clone, Copy, Debug)]
enum Answer {
    /// With data: its operation in `ops`, and the flags.
    Data { id: u16, op: u32, flags: RxFlags },
    /// With a GSO extra.
    Gso(u16),
}

impl Rx {
    /// Attaches to the ring in `page`.
    pub(crate) fn new(page: Region, always_notify: bool) -> Result<Self, ProdOverflow> {
        Ok(Self {
            ring: BackRing::attach(Sring::new(page))?,
            always_notify,
            arena: vec![0; ARENA_BYTES],
            used: 0,
            ops: Vec::with_capacity(512),
            slots: Vec::with_capacity(512),
            frames: 0,
            notify_due: false,
            wanted: 1,
        })
    }

    /// Gives the ring its name.
    pub(crate) fn set_name(&mut self, name: &str) {
        self.ring.set_name(name, Answered::WhenItComes);
    }

    /// The ring as the tracer knows it.
    #[inline(always)]
    pub(crate) fn trace(&mut self) -> &mut tracer::Ring {
        self.ring.trace()
    }

    /// Whether the guest has posted so many buffers. If not, [`final_check`](Self::final_check) asks
    /// for them.
    #[inline(always)]
    pub(crate) fn has_slots(&mut self, slots: usize) -> Result<bool, Rogue> {
        let slots = index(slots);
        if self.ring.unconsumed_requests() >= slots || self.ring.poll_requests()? >= slots {
            return Ok(true);
        }
        self.wanted = slots;
        Ok(false)
    }

    /// Whether the arena has room for the largest frame.
    #[inline(always)]
    pub(crate) fn has_arena(&self) -> bool {
        self.used + usize::from(MAX_TX_SIZE) < ARENA_BYTES
    }

    /// Frames put and not flushed.
    #[inline(always)]
    pub(crate) fn unflushed(&self) -> u32 {
        self.frames + u32::from(self.notify_due)
    }

    /// Puts a frame of `len` bytes, written in place by `fill`, which also says what travels with it.
    /// There must be room, in the ring and in the arena. It becomes visible with the next
    /// [`flush`](Self::flush).
    #[inline(always)]
    pub(crate) fn put_with<R>(
        &mut self,
        len: usize,
        stats: &mut Stats,
        fill: impl FnOnce(&mut [u8]) -> (R, Meta),
    ) -> R {
        let at = self.used;
        let (result, meta) = fill(&mut self.arena[at..at + len]);
        self.plan(at, len, meta, stats);
        self.used = (at + len).next_multiple_of(ALIGN);
        result
    }

    /// Puts a frame that lies elsewhere. Large ones are copied into the guest's pages at once.
    #[inline]
    pub(crate) fn put(
        &mut self,
        frame: &[u8],
        meta: Meta,
        foreign: &mut impl Foreign,
        stats: &mut Stats,
    ) {
        if frame.len() < DIRECT && self.has_arena() {
            return self.put_with(frame.len(), stats, |to| (to.copy_from_slice(frame), meta));
        }
        let first = self.ops.len();
        self.plan(0, frame.len(), meta, stats);
        foreign.copy_to(&mut self.ops[first..], frame);
    }

    /// Takes the requests for a frame and plans its copies and answers.
    #[traced(fine, bytes = len)]
    #[inline(always)]
    fn plan(&mut self, at: usize, len: usize, meta: Meta, stats: &mut Stats) {
        let mut done = 0;
        while done < len {
            let Some((_, request)) = self.ring.take_request() else { break };
            let here = (len - done).min(PAGE_SIZE);
            let first = done == 0;
            let mut flags = if first { flags_of(meta) } else { RxFlags::empty() };
            flags.set(RxFlags::MORE_DATA, done + here < len);
            let op = index(self.ops.len());
            self.slots.push(Answer::Data { id: request.id, op, flags });
            self.ops.push(CopyOp {
                gref: Gref(request.gref),
                offset: 0,
                len: narrow(here),
                local: index(at + done),
                // Not done yet: a flush does it, unless it was done on the spot.
                status: GntStatus::Eagain,
            });
            if first && meta.gso > 0 {
                // The extra's slot answers a request too; its buffer stays unused.
                if self.ring.take_request().is_some() {
                    self.slots.push(Answer::Gso(meta.gso));
                }
            }
            done += here;
        }
        self.frames += 1;
        stats.rx_frames += 1;
        stats.rx_bytes += len as u64;
        stats.rx_gso += u64::from(meta.gso > 0);
    }

    /// Flushes in the middle of a turn, if so much was put that waiting for its end would only keep
    /// the guest waiting.
    #[inline(always)]
    pub(crate) fn flush_if_large(&mut self, foreign: &mut impl Foreign, stats: &mut Stats) {
        if self.used >= TURN_BYTES {
            self.notify_due |= self.publish(foreign, stats) == Notify::Yes;
        }
    }

    /// Publishes what was put. Says whether the guest wants to be woken, for this or for what was
    /// published in the middle of the turn.
    #[inline]
    pub(crate) fn flush(&mut self, foreign: &mut impl Foreign, stats: &mut Stats) -> Notify {
        let now = self.publish(foreign, stats);
        if std::mem::take(&mut self.notify_due) { Notify::Yes } else { now }
    }

    /// Journey 17. Copies what has not been copied into the guest's pages, answers all requests taken,
    /// and publishes the answers once.
    #[inline]
    fn publish(&mut self, foreign: &mut impl Foreign, stats: &mut Stats) -> Notify {
        if self.slots.is_empty() {
            return Notify::No;
        }
        let _span = tracer::span!("publish", slots = self.slots.len());
        // Runs of operations that wait, between those that were done on the spot.
        for run in self.ops.chunk_by_mut(|a, b| waits(a) == waits(b)) {
            if waits(&run[0]) {
                foreign.copy_to(run, &self.arena);
            }
        }
        self.put_answers(stats);
        let notify = self.ring.push_responses();
        stats.pushes += 1;
        stats.pushed += self.slots.len() as u64;
        self.ops.clear();
        self.slots.clear();
        (self.used, self.frames) = (0, 0);
        notify.counted(self.always_notify, &mut stats.notifies, &mut stats.suppressed)
    }

    // Not inlined: see `Tx::plan`.
    #[inline(never)]
    fn put_answers(&mut self, stats: &mut Stats) {
        for slot in &self.slots {
            match *slot {
                Answer::Data { id, op, flags } => {
                    let op = &self.ops[op as usize];
                    let done = op.status == GntStatus::Okay;
                    stats.rx_errors += u64::from(!done);
                    let status = if done { status(op.len) } else { RSP_ERROR };
                    let flags = flags.bits();
                    self.ring.put_response(RxResponse { id, offset: 0, flags, status });
                }
                Answer::Gso(size) => {
                    let extra = Extra::Gso { size, kind: GsoType::TcpV4, features: 0 };
                    self.ring.put(extra.encode(false));
                }
            }
        }
    }

    /// Asks to be woken when the guest has as many buffers as were missed last; `true` if it has.
    pub(crate) fn final_check(&mut self) -> Result<bool, Rogue> {
        Ok(self.ring.final_check_for_many(self.wanted)?)
    }

    /// Whether there are all the buffers that [`final_check`](Self::final_check) asked for.
    pub(crate) fn has_wanted(&mut self) -> Result<bool, Rogue> {
        Ok(self.ring.poll_requests()? >= self.wanted)
    }
}

#[inline(always)]
fn waits(op: &CopyOp) -> bool {
    op.status == GntStatus::Eagain
}

/// What is known of the checksum, as flags of the rx ring: bits 0 and 1 mean the opposite of what
/// they mean on the tx ring.
#[inline(always)]
fn flags_of(meta: Meta) -> RxFlags {
    let mut flags = match meta.csum {
        Csum::None => RxFlags::empty(),
        Csum::Validated => RxFlags::DATA_VALIDATED,
        Csum::Blank => RxFlags::DATA_VALIDATED | RxFlags::CSUM_BLANK,
    };
    flags.set(RxFlags::EXTRA_INFO, meta.gso > 0);
    flags
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "an arena is 128 KiB, a turn 256 slots")]
fn index(n: usize) -> u32 {
    n as u32
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "at most a page")]
fn narrow(bytes: usize) -> u16 {
    bytes as u16
}

#[inline(always)]
#[expect(clippy::cast_possible_wrap, reason = "at most a page")]
fn status(len: u16) -> i16 {
    len as i16
}
