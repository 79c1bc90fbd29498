//! One end of an event channel: send, mask, unmask, clear.

use tracer::format::Sent;
use tracer::traced;

use super::{End, EventPage, EventWords, Word};
use crate::cost::{Charge, Cost};
use crate::sync::{Ordering, fence};
use crate::{DomId, Port};

/// What wakes a sleeping domain.
pub trait Doorbell: Send {
    /// Wakes the other end; a system call. Must not block, whatever the other end did to it.
    fn ring(&self);
}

/// What has happened on this end so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct EventCounters {
    /// Doorbells rung: system calls.
    pub rung: u64,
    /// Sends that met a pending or masked port, or a dead one.
    pub merged: u64,
}

impl EventCounters {
    /// Events sent, whether or not they needed a doorbell.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.rung + self.merged
    }
}

impl std::ops::Add for EventCounters {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { rung: self.rung + other.rung, merged: self.merged + other.merged }
    }
}

/// One end of an event channel.
#[derive(Debug)]
pub struct Channel<B, W = EventPage> {
    port: Port,
    remote: DomId,
    end: End,
    words: W,
    doorbell: B,
    cost: Cost,
    counters: EventCounters,
    trace: tracer::Port,
}

impl<B: Doorbell, W: EventWords> Channel<B, W> {
    /// The end `end` of the channel in `words`; `doorbell` wakes the other end.
    pub fn new(port: Port, remote: DomId, end: End, words: W, doorbell: B, cost: Cost) -> Self {
        let (counters, trace) = (EventCounters::default(), tracer::Port::default());
        Self { port, remote, end, words, doorbell, cost, counters, trace }
    }

    /// The same end, known to traces. Whoever makes ports knows both domains and so what to call it.
    #[must_use]
    pub fn traced(mut self, trace: tracer::Port) -> Self {
        self.trace = trace;
        self
    }

    /// Says what it is for, where traces show it (`vif1.0-q0-tx`).
    pub fn set_name(&mut self, name: &str) {
        self.trace.set_name(name);
    }

    /// Our port number.
    #[must_use]
    pub fn port(&self) -> Port {
        self.port
    }

    /// The domain at the other end.
    #[must_use]
    pub fn remote(&self) -> DomId {
        self.remote
    }

    /// Journey 7. Sends an event (`EVTCHNOP_send`). Sending to an end that nobody bound yet, or that is gone,
    /// succeeds silently, as in Xen.
    #[traced]
    #[inline]
    pub fn send(&mut self) {
        self.cost.charge(Charge::Send);
        let to = self.end.other();
        let stamp = self.trace.stamp();
        // SYNC merged sends: an event that is pending already tells its owner of our work too, since
        // the owner's swap in `clear` reads this one.
        if self.words.swap(to, Word::Pending, 1, Ordering::AcqRel) != 0 {
            self.counters.merged += 1;
            self.trace.sent(stamp, Sent::Pending);
            return;
        }
        // SYNC event is seen: with the fence in `unmask`. Either we see the port unmasked, or its
        // owner sees it pending.
        fence(Ordering::SeqCst);
        if self.words.load(to, Word::Mask, Ordering::Relaxed) != 0 {
            self.counters.merged += 1;
            self.trace.sent(stamp, Sent::Masked);
            return;
        }
        self.counters.rung += 1;
        self.trace.sent(stamp, Sent::Rung);
        self.doorbell.ring();
    }

    /// Masks our port: from now on nobody rings for it.
    #[inline]
    pub fn mask(&self) {
        self.words.store(self.end, Word::Mask, 1, Ordering::Relaxed);
    }

    /// Unmasks our port; `true` if it is pending, so that one must look and not sleep.
    #[inline]
    #[must_use = "an unmasked port that is pending brings no further doorbell"]
    pub fn unmask(&self) -> bool {
        self.words.store(self.end, Word::Mask, 0, Ordering::Relaxed);
        // SYNC event is seen: with the fence in `send`.
        fence(Ordering::SeqCst);
        self.words.load(self.end, Word::Pending, Ordering::Acquire) != 0
    }

    /// Journey 8. Clears pending, before the ring is looked at: an event that comes afterwards
    /// belongs to work that may have been missed. Says whether it was set.
    #[traced(fine, quiet)]
    #[inline]
    pub fn clear(&self) -> bool {
        // Usually clear already: look first, a swap would take the line from the sender.
        let came = self.words.load(self.end, Word::Pending, Ordering::Relaxed) != 0
            // SYNC merged sends: with the swap in `send`.
            // SYNC event of the host: with the Release stores in EventPage::bind and raise.
            && self.words.swap(self.end, Word::Pending, 0, Ordering::AcqRel) != 0;
        if came {
            self.trace.received();
        }
        came
    }

    /// Whether the other end has closed the channel or died.
    #[must_use]
    pub fn closed(&self) -> bool {
        // SYNC other end is gone: with the Release store in EventPage::set_closed.
        self.words.load(self.end, Word::Closed, Ordering::Acquire) != 0
    }

    /// What has happened on this end.
    #[must_use]
    pub fn counters(&self) -> EventCounters {
        self.counters
    }

    /// What wakes the other end.
    pub fn doorbell(&self) -> &B {
        &self.doorbell
    }
}
