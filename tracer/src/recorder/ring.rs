//! Rings and ports: what crosses from one domain to the other, recorded with the numbers both sides
//! know, so that nothing has to be added to what they exchange.
//!
//! The clock is read *before* an index is published, and by the other side *after* it was read from
//! memory, behind a fence: so nothing is seen before it was sent.

use super::process::{self, Slow};
use super::thread::{record, record_after_loads, record_at};
use super::waiting::Waiting;
use super::{stamp, switch};
use crate::format::journal::{self, Half};
use crate::format::record::{MOST_SLOTS, flags, kind, ring_tag, tag};
use crate::format::{Entry, Sent, Slot};

/// What a ring is, for its [`Ring::new`].
#[derive(Clone, Copy, Debug)]
pub struct RingInfo<'a> {
    /// The same on both sides, as Linux would call it: `vif1.0-q0-tx`.
    pub name: &'a str,
    /// Which half.
    pub half: Half,
    /// Slots.
    pub size: u32,
    /// Index of its first request.
    pub base: u32,
    /// Whether the response of a request has the request's index.
    pub in_order: bool,
    /// Whether somebody waits for the responses, so that a late one is worth a look; not so for
    /// buffers that are posted to wait.
    pub awaited: bool,
}

/// One half of a ring, as the recorder knows it. Without a name it records nothing.
#[derive(Debug, Default)]
pub struct Ring {
    /// 0: none.
    id: u32,
    /// A sender has found no room, and none since.
    full: bool,
    /// Requests that wait for their answers, if slow ones are looked for.
    waiting: Option<Box<Waiting>>,
}

/// The moment before an index is published; `None` if nothing is to be recorded.
#[derive(Clone, Copy, Debug)]
pub struct Stamp(Option<u64>);

impl Ring {
    /// Makes a ring known to this process's journal.
    #[must_use]
    pub fn new(info: &RingInfo<'_>) -> Self {
        if !process::is_started() {
            return Self::default();
        }
        let id = process::next_ring();
        process::define(&Entry::Ring(journal::Ring {
            id,
            half: info.half,
            in_order: info.in_order,
            size: info.size,
            base: info.base,
            ticks: stamp::now(),
            name: info.name.into(),
        }));
        let timed = info.awaited && info.half == Half::Front && switch::settings().slow_us > 0;
        Self { id, full: false, waiting: timed.then(|| Box::new(Waiting::new(info))) }
    }

    #[inline(always)]
    fn on(&self) -> bool {
        switch::on() && self.id != 0
    }

    /// To be called before slots are published.
    #[inline(always)]
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        Stamp(self.on().then(|| {
            std::hint::cold_path();
            stamp::now()
        }))
    }

    /// The slots `old..new` were published at `stamp`; `notify` says whether the other end asked to
    /// be woken for them.
    #[inline(always)]
    pub fn pushed(&mut self, stamp: Stamp, slot: Slot, old: u32, new: u32, notify: bool) {
        if let Stamp(Some(ticks)) = stamp {
            std::hint::cold_path();
            self.record_push(ticks, slot, old, new, notify);
        }
    }

    #[inline(never)]
    fn record_push(&mut self, ticks: u64, slot: Slot, old: u32, new: u32, notify: bool) {
        let kind = if slot == Slot::Request { kind::REQ_PUSH } else { kind::RSP_PUSH };
        self.batches(kind, old, new, |tag, first| {
            record_at(ticks, tag | flags(notify.into()), first);
        });
        if let (Slot::Request, Some(waiting)) = (slot, &mut self.waiting) {
            waiting.pushed(old, new, ticks);
        }
    }

    /// The slots `old..new` of the other end were found to be there.
    #[inline(always)]
    pub fn seen(&mut self, slot: Slot, old: u32, new: u32) {
        if old != new && self.on() {
            std::hint::cold_path();
            self.record_seen(slot, old, new);
        }
    }

    #[inline(never)]
    fn record_seen(&mut self, slot: Slot, old: u32, new: u32) {
        let kind = if slot == Slot::Request { kind::REQ_POP } else { kind::RSP_POP };
        self.batches(kind, old, new, |tag, first| {
            record_after_loads(tag, first);
        });
        if let (Slot::Response, Some(waiting)) = (slot, &mut self.waiting)
            && let Some(slow) = waiting.answered(old, new, stamp::now())
        {
            process::slow(Slow { ring: self.id, ..slow });
        }
    }

    /// One record, unless the batch is larger than a record can say.
    #[inline(always)]
    fn batches(&self, kind: u32, mut old: u32, new: u32, record: impl Fn(u32, u32)) {
        // No ring has more slots: without its checks it may be told of any number.
        let new = if new.wrapping_sub(old) > 1 << 16 { old } else { new };
        while old != new {
            let count = new.wrapping_sub(old).min(MOST_SLOTS);
            record(ring_tag(kind, self.id, count), old);
            old = old.wrapping_add(count);
        }
    }

    /// One slot was taken out: recorded with the feature `trace-fine` alone.
    #[inline(always)]
    pub fn taken(&self, slot: Slot, index: u32) {
        if super::FINE && self.on() {
            std::hint::cold_path();
            let response = u32::from(slot == Slot::Response);
            record(ring_tag(kind::TAKE, self.id, 0) | flags(response), index);
        }
    }

    /// What the `id` field of a slot says that is about to be put, on a ring that is not answered in order.
    #[inline(always)]
    pub fn id(&mut self, slot: Slot, index: u32, id: u64) {
        if self.on() {
            std::hint::cold_path();
            if let (Slot::Request, Some(waiting)) = (slot, &mut self.waiting) {
                waiting.named(index, id);
            }
            let kind = if slot == Slot::Request { kind::REQ_ID } else { kind::RSP_ID };
            #[expect(
                clippy::cast_possible_truncation,
                reason = "the low bits tell requests apart"
            )]
            record(ring_tag(kind, self.id, id as u32), index);
        }
    }

    /// The request of this id was answered, on a ring that is not answered in order: what slow ones are
    /// found by there. The ids of requests in flight differ modulo the ring's size.
    #[inline(always)]
    pub fn answered(&mut self, id: u64) {
        if self.on()
            && let Some(waiting) = &mut self.waiting
        {
            std::hint::cold_path();
            if let Some(slow) = waiting.answered_by_id(id, stamp::now()) {
                process::slow(Slow { ring: self.id, ..slow });
            }
        }
    }

    /// Somebody wants to put a slot and finds no room. Recorded once, until there is some.
    #[inline(always)]
    pub fn full(&mut self) {
        if !self.full && self.on() {
            std::hint::cold_path();
            self.full = true;
            record(ring_tag(kind::FULL, self.id, 0), 0);
        }
    }

    /// Somebody found room.
    #[inline(always)]
    pub fn room(&mut self) {
        if self.full {
            std::hint::cold_path();
            self.full = false;
            record(ring_tag(kind::ROOM, self.id, 0), 0);
        }
    }
}

/// One end of an event channel, as the recorder knows it. Without an identity it records nothing.
#[derive(Debug, Default)]
pub struct Port {
    info: Option<Box<journal::Port>>,
    /// 0: none.
    id: u32,
}

impl Port {
    /// Makes an end known to this process's journal; number and time of `info` are filled in.
    #[must_use]
    pub fn new(info: journal::Port) -> Self {
        if !process::is_started() {
            return Self::default();
        }
        let id = process::next_port();
        let info = journal::Port { id, ticks: stamp::now(), ..info };
        process::define(&Entry::Port(info.clone()));
        Self { info: Some(Box::new(info)), id }
    }

    /// Says what it is for: `vif1.0-q0-tx`.
    pub fn set_name(&mut self, name: &str) {
        if let Some(info) = &mut self.info {
            info.name = name.into();
            process::define(&Entry::Port(journal::Port::clone(info)));
        }
    }

    /// When an event is about to be sent: before the other end can see it.
    #[inline(always)]
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        Stamp((switch::on() && self.id != 0).then(|| {
            std::hint::cold_path();
            stamp::now()
        }))
    }

    /// An event was sent at `stamp`.
    #[inline(always)]
    pub fn sent(&self, stamp: Stamp, sent: Sent) {
        if let Stamp(Some(ticks)) = stamp {
            std::hint::cold_path();
            record_at(ticks, tag(kind::SEND, self.id) | flags(sent as u32), 0);
        }
    }

    /// An event had come, and has been cleared.
    #[inline(always)]
    pub fn received(&self) {
        if switch::on() && self.id != 0 {
            std::hint::cold_path();
            record_after_loads(tag(kind::RECEIVE, self.id), 0);
        }
    }
}
