//! What a workload needs of a queue, whichever end it is.

use std::time::{Duration, Instant};

use rings::frame::Meta;
use rings::{Domain, DomainError};
use rings_host::{EpollWaiter, EventDoorbell};
use smoltcp::phy::Device;

use crate::counters::Counters;

/// One queue of a vif, from either side.
pub trait Nic: Device + Send {
    /// Whether frames have come.
    fn poll(&mut self) -> bool;
    /// Gives the next frame to `take`; `false` if there is none.
    fn take_frame(&mut self, take: impl FnMut(&mut [u8], Meta)) -> bool;
    /// Sends a frame of `len` bytes, written in place; `false` if there is no room.
    fn xmit(&mut self, len: usize, meta: Meta, fill: impl FnOnce(&mut [u8])) -> bool;
    /// Publishes what was sent and received, and wakes the other end if it asked for it.
    fn flush(&mut self);
    /// Before sleeping; `true` forbids it.
    fn arm(&mut self, want_room: bool, now: Instant) -> bool;
    /// After sleeping; `true` if an event had come.
    fn disarm(&mut self) -> bool;
    /// What the event brought.
    fn settle(&mut self, worked: bool, now: Instant);
    /// Whether something waits after a sleep without an event.
    fn missed(&mut self) -> bool;
    /// How long it may be left asleep.
    fn patience(&self, now: Instant) -> Duration;
    /// Why it cannot go on, if it cannot.
    fn failure(&self) -> Option<String>;
    /// Whether the other end has had no buffers for too long.
    fn stalled(&self) -> bool;
    /// Whether everything sent has been taken by the other end.
    fn drained(&self) -> bool;
    /// Its counters.
    fn counters(&self) -> Counters;
    /// Frames sent, and times there was no room for one.
    fn sent(&self) -> (u64, u64);
    /// Bytes taken from the other end.
    fn taken(&self) -> u64;
    /// Sleeps on its doorbells from now on.
    ///
    /// # Errors
    /// If the operating system refuses.
    fn watch(&self, waiter: &mut EpollWaiter) -> Result<(), DomainError>;
    /// Stops sleeping on them.
    fn unwatch(&self, waiter: &mut EpollWaiter);
    /// Closes it.
    fn close(self);
}

impl<D: Domain<Doorbell = EventDoorbell>> Nic for frontend::Nic<D> {
    fn poll(&mut self) -> bool {
        self.queue.poll()
    }

    #[inline]
    fn take_frame(&mut self, take: impl FnMut(&mut [u8], Meta)) -> bool {
        self.queue.receive(take).is_some()
    }

    #[inline]
    fn xmit(&mut self, len: usize, meta: Meta, fill: impl FnOnce(&mut [u8])) -> bool {
        self.queue.xmit(len, meta, fill).is_some()
    }

    #[inline]
    fn flush(&mut self) {
        self.queue.flush();
    }

    fn arm(&mut self, want_room: bool, now: Instant) -> bool {
        self.queue.arm(want_room, now)
    }

    fn disarm(&mut self) -> bool {
        self.queue.disarm()
    }

    fn settle(&mut self, worked: bool, now: Instant) {
        self.queue.settle_event(worked, now);
    }

    fn missed(&mut self) -> bool {
        self.queue.missed()
    }

    fn patience(&self, now: Instant) -> Duration {
        self.queue.patience(now)
    }

    fn failure(&self) -> Option<String> {
        match self.queue.broken() {
            Some(lie) => Some(lie.to_string()),
            None => self.queue.closed().then(|| "the backend has closed its end".to_owned()),
        }
    }

    fn stalled(&self) -> bool {
        false
    }

    fn drained(&self) -> bool {
        self.queue.outstanding() == 0
    }

    fn counters(&self) -> Counters {
        let (s, events) = (self.queue.stats(), self.queue.events());
        Counters {
            frames_out: s.tx_frames,
            bytes_out: s.tx_bytes,
            gso_out: s.tx_gso,
            frames_in: s.rx_frames,
            bytes_in: s.rx_bytes,
            gso_in: s.rx_gso,
            errors: s.tx_errors + s.rx_errors,
            pushes: s.pushes,
            pushed: s.pushed,
            notifies: events.sent(),
            suppressed: s.suppressed,
            ring_full: s.ring_full,
            copied_bytes: s.copied,
            syscalls: events.rung,
            storm_delays: self.queue.storm_delays(),
            ..Counters::default()
        }
    }

    fn watch(&self, waiter: &mut EpollWaiter) -> Result<(), DomainError> {
        self.queue.watch(waiter)
    }

    fn unwatch(&self, waiter: &mut EpollWaiter) {
        self.queue.unwatch(waiter);
    }

    #[inline]
    fn sent(&self) -> (u64, u64) {
        (self.queue.stats().tx_frames, self.queue.stats().ring_full)
    }

    #[inline]
    fn taken(&self) -> u64 {
        self.queue.stats().rx_bytes
    }

    fn close(self) {
        let kept = self.queue.close();
        if kept > 0 {
            tracing::debug!(kept, "grants still in use by the backend");
        }
    }
}

impl<D: Domain<Doorbell = EventDoorbell>> Nic for backend::Nic<D> {
    fn poll(&mut self) -> bool {
        self.queue.poll()
    }

    #[inline]
    fn take_frame(&mut self, take: impl FnMut(&mut [u8], Meta)) -> bool {
        self.queue.receive(take).is_some()
    }

    #[inline]
    fn xmit(&mut self, len: usize, meta: Meta, fill: impl FnOnce(&mut [u8])) -> bool {
        self.queue.xmit(len, meta, fill).is_some()
    }

    #[inline]
    fn flush(&mut self) {
        self.queue.flush();
    }

    fn arm(&mut self, want_room: bool, now: Instant) -> bool {
        self.queue.arm(want_room, now)
    }

    fn disarm(&mut self) -> bool {
        self.queue.disarm()
    }

    fn settle(&mut self, worked: bool, now: Instant) {
        self.queue.settle_event(worked, now);
    }

    fn missed(&mut self) -> bool {
        self.queue.missed()
    }

    fn patience(&self, now: Instant) -> Duration {
        self.queue.patience(now)
    }

    fn failure(&self) -> Option<String> {
        self.queue.broken().map(|lie| lie.to_string())
    }

    fn stalled(&self) -> bool {
        self.queue.stalled()
    }

    fn drained(&self) -> bool {
        true
    }

    fn counters(&self) -> Counters {
        back_counters(&self.queue)
    }

    fn watch(&self, waiter: &mut EpollWaiter) -> Result<(), DomainError> {
        self.queue.watch(waiter)
    }

    fn unwatch(&self, waiter: &mut EpollWaiter) {
        self.queue.unwatch(waiter);
    }

    #[inline]
    fn sent(&self) -> (u64, u64) {
        (self.queue.stats().rx_frames, self.queue.stats().ring_full)
    }

    #[inline]
    fn taken(&self) -> u64 {
        self.queue.stats().tx_bytes
    }

    fn close(self) {
        self.queue.close();
    }
}

/// Counters of a queue of netback.
pub(crate) fn back_counters<D: Domain>(queue: &backend::Queue<D>) -> Counters {
    let (s, events, grants) = (queue.stats(), queue.events(), queue.grants());
    Counters {
        frames_out: s.rx_frames,
        bytes_out: s.rx_bytes,
        gso_out: s.rx_gso,
        frames_in: s.tx_frames,
        bytes_in: s.tx_bytes,
        gso_in: s.tx_gso,
        errors: s.tx_errors + s.rx_errors,
        dropped: s.rx_dropped,
        stalls: queue.stalls(),
        rate_limited: queue.rate_limited(),
        lost: s.tx_lost,
        pushes: s.pushes,
        pushed: s.pushed,
        notifies: events.sent(),
        suppressed: s.suppressed,
        ring_full: s.ring_full,
        copies: grants.copies,
        copied_bytes: grants.bytes,
        maps: grants.maps,
        unmaps: grants.unmaps,
        syscalls: events.rung + grants.maps + grants.unmaps,
        storm_delays: queue.storm_delays(),
        completed: s.completed,
        segmented: s.segmented,
        ..Counters::default()
    }
}
