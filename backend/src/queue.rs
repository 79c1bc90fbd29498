//! One queue of a vif: a tx ring, an rx ring and their ports; the unit of work of a worker.

use std::time::{Duration, Instant};

use rings::evtchn::{Channel, Eoi, EventCounters};
use rings::frame::Meta;
use rings::io::netif::MAX_TX_SIZE;
use rings::ring::Notify;
use rings::{Domain, DomainError, Foreign, ForeignCounters, Waiter};
use tracer::traced;

use crate::deliver::{deliver, slots_needed};
use crate::error::Rogue;
use crate::rx::Rx;
use crate::starve::Starved;
use crate::stats::Stats;
use crate::tx::Tx;
use crate::vif::{Accepted, VifId};

/// One queue.
#[derive(Debug)]
pub struct Queue<D: Domain> {
    pub(crate) vif: VifId,
    pub(crate) domain: D,
    pub(crate) tx: Tx,
    pub(crate) rx: Rx,
    pub(crate) foreign: D::Foreign,
    /// The rings' pages, mapped as long as the queue lives.
    pub(crate) _pages: [<D::Foreign as Foreign>::Mapping; 2],
    pub(crate) tx_port: Channel<D::Doorbell>,
    pub(crate) rx_port: Option<Channel<D::Doorbell>>,
    pub(crate) eoi: Eoi,
    pub(crate) stats: Stats,
    pub(crate) accepted: Accepted,
    pub(crate) broken: Option<Rogue>,
    pub(crate) batch: usize,
    /// Room for a segment that is cut in software.
    pub(crate) segment: Vec<u8>,
    /// Since when the guest has had no buffers for what is meant for it.
    pub(crate) starved: Starved,
}

impl<D: Domain> Queue<D> {
    /// Which vif it belongs to.
    #[must_use]
    pub fn vif(&self) -> VifId {
        self.vif
    }

    /// What the guest takes.
    #[must_use]
    pub fn accepted(&self) -> &Accepted {
        &self.accepted
    }

    /// Counters.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// What was done through the guest's grants.
    #[must_use]
    pub fn grants(&self) -> ForeignCounters {
        self.foreign.counters()
    }

    /// What happened on the ports.
    #[must_use]
    pub fn events(&self) -> EventCounters {
        let mut sum = self.tx_port.counters();
        if let Some(port) = &self.rx_port {
            sum.rung += port.counters().rung;
            sum.merged += port.counters().merged;
        }
        sum
    }

    /// How often a port was kept masked because its events brought no work.
    #[must_use]
    pub fn storm_delays(&self) -> u64 {
        self.eoi.delays()
    }

    /// The lie that broke the vif, if one did.
    #[must_use]
    pub fn broken(&self) -> Option<Rogue> {
        self.broken
    }

    /// Whether the guest has closed its end of the ports.
    #[must_use]
    pub fn closed(&self) -> bool {
        self.tx_port.closed()
    }

    /// The next frame from the guest, in private memory. Collects a batch when the
    /// last one is used up.
    #[inline]
    pub fn receive<R>(&mut self, take: impl FnOnce(&mut [u8], Meta) -> R) -> Option<R> {
        if !self.collect() {
            return None;
        }
        self.tx.next().map(|(frame, meta)| take(frame, meta))
    }

    /// Makes sure there is a frame to take, if the guest has sent any.
    #[inline]
    pub(crate) fn collect(&mut self) -> bool {
        if self.broken.is_some() {
            return false;
        }
        if !self.tx.has_frames() {
            let outcome = self.tx.collect(self.batch, &mut self.foreign, &mut self.stats);
            if self.believe(outcome) == Some(Notify::Yes) {
                self.tx_port.send();
            }
        }
        self.tx.has_frames()
    }

    /// The next frame from the guest, if one has been collected.
    #[inline]
    pub(crate) fn next_frame(&mut self) -> Option<(&mut [u8], Meta)> {
        self.tx.next()
    }

    /// Destination, source, length and meta of the next frame from the guest, which stays where it
    /// is.
    pub(crate) fn peek_frame(&mut self) -> Option<([u8; 6], [u8; 6], usize, Meta)> {
        if !self.collect() {
            return None;
        }
        let (frame, meta) = self.tx.peek()?;
        let addresses = frame.first_chunk::<12>()?;
        let (to, from) = addresses.split_at(6);
        Some((to.try_into().ok()?, from.try_into().ok()?, frame.len(), meta))
    }

    /// Sends the next frame from the guest back to it, changed by `edit`.
    #[inline]
    pub(crate) fn reflect(&mut self, edit: impl FnOnce(&mut [u8])) -> Forward {
        if !self.collect() {
            return Forward::Nothing;
        }
        let Some((frame, meta)) = self.tx.peek() else { return Forward::Nothing };
        let len = frame.len();
        if !self.has_room(len, meta) {
            return Forward::Held;
        }
        let Self { tx, rx, foreign, stats, accepted, segment, .. } = self;
        if let Some((frame, meta)) = tx.next() {
            edit(frame);
            deliver(frame, meta, accepted, rx, foreign, stats, segment);
        }
        Forward::Done
    }

    /// Whether a frame of `len` bytes can be given to the guest now. Flushes if the private memory
    /// for it is used up.
    #[inline]
    pub fn has_room(&mut self, len: usize, meta: Meta) -> bool {
        if self.broken.is_some() {
            return false;
        }
        if !self.rx.has_arena() {
            self.flush();
        }
        // What it can never take is not waited for: sending it only counts it.
        let Some(slots) = slots_needed(len, meta, &self.accepted) else { return true };
        let outcome = self.rx.has_slots(slots);
        self.believe(outcome).unwrap_or(false)
    }

    /// Whether the largest frame can be given to the guest now.
    #[inline]
    pub(crate) fn has_full_room(&mut self) -> bool {
        if self.broken.is_some() {
            return false;
        }
        if !self.rx.has_arena() {
            self.flush();
        }
        let slots = self.largest().div_ceil(rings::PAGE_SIZE) + usize::from(self.accepted.gso);
        let outcome = self.rx.has_slots(slots);
        self.believe(outcome).unwrap_or(false)
    }

    /// The largest frame this guest takes. Bytes.
    fn largest(&self) -> usize {
        if self.accepted.sg { usize::from(MAX_TX_SIZE) } else { rings::PAGE_SIZE }
    }

    /// Gives a frame to the guest, as it can take it: with its checksum completed, or cut
    /// into segments, where the guest cannot take it as it is. There must be room. Visible with the
    /// next [`flush`](Self::flush).
    #[traced(fine, bytes = frame.len())]
    #[inline]
    pub fn send(&mut self, frame: &mut [u8], meta: Meta) {
        let Self { rx, foreign, stats, accepted, segment, .. } = self;
        deliver(frame, meta, accepted, rx, foreign, stats, segment);
    }

    /// Gives a frame of `len` bytes, written in place by `fill`, to the guest. `None` if there is no
    /// room now, or no such frame.
    #[traced(fine, bytes = len)]
    #[inline]
    pub fn xmit<R>(
        &mut self,
        len: usize,
        meta: Meta,
        fill: impl FnOnce(&mut [u8]) -> R,
    ) -> Option<R> {
        if self.broken.is_some() || !(1..=self.largest()).contains(&len) {
            return None;
        }
        if !self.has_room(len, meta) {
            self.stats.ring_full += 1;
            self.rx.trace().full();
            return None;
        }
        self.rx.trace().room();
        Some(self.rx.put_with(len, meta, &mut self.stats, fill))
    }

    /// Drops a frame that the guest has had no room for.
    pub fn drop_frame(&mut self) {
        self.stats.rx_dropped += 1;
    }

    /// Copies and publishes what was given to the guest, and wakes it if it asked for it.
    #[inline]
    pub fn flush(&mut self) {
        if self.broken.is_some() || self.rx.unflushed() == 0 {
            return;
        }
        if self.rx.flush(&mut self.foreign, &mut self.stats) == Notify::Yes {
            self.rx_port.as_mut().unwrap_or(&mut self.tx_port).send();
        }
    }

    /// Looks whether the guest has sent anything.
    #[inline]
    pub fn poll(&mut self) -> bool {
        if self.broken.is_some() {
            return false;
        }
        let outcome = self.tx.poll();
        self.tx.has_frames() || self.believe(outcome).unwrap_or(false)
    }

    /// Before sleeping: unmasks the ports, asks the rings to wake us, looks once more. `true` if
    /// there is work after all. With `want_room` new buffers of the guest wake us too.
    pub fn arm(&mut self, want_room: bool, now: Instant) -> bool {
        if self.broken.is_some() || self.eoi.masked_until(now).is_some() {
            return false;
        }
        // What was sent while we looked anyway told nothing new: only what comes from here on is an
        // event, and has to bring work. The rings are looked at below.
        self.disarm();
        let mut pending = self.tx_port.unmask();
        if let Some(port) = &self.rx_port {
            pending |= port.unmask();
        }
        let outcome = self.tx.final_check();
        let mut work = self.believe(outcome).unwrap_or(true);
        if want_room {
            let outcome = self.rx.final_check();
            work |= self.believe(outcome).unwrap_or(true);
        }
        pending | work
    }

    /// After sleeping, or when polling: masks the ports and clears what is pending, before the
    /// rings are looked at. `true` if an event had come.
    pub fn disarm(&mut self) -> bool {
        self.tx_port.mask();
        let mut came = self.tx_port.clear();
        if let Some(port) = &self.rx_port {
            port.mask();
            came |= port.clear();
        }
        came
    }

    /// Tells the storm guard what an event brought.
    pub fn settle_event(&mut self, worked: bool, now: Instant) {
        self.eoi.settle(worked, now);
    }

    /// How long this queue may be left asleep: for ever, unless a storm keeps its ports masked.
    #[must_use]
    pub fn patience(&self, now: Instant) -> Duration {
        self.eoi.patience(now)
    }

    /// Frames taken in one turn.
    #[must_use]
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Whether something waits for the guest's buffers.
    pub(crate) fn is_starved(&self) -> bool {
        self.starved.is_waiting()
    }

    /// How long the guest has had no buffers while something waited for it. `waiting` says whether
    /// something does now.
    pub fn starved(&mut self, waiting: bool, now: Instant) -> Duration {
        if waiting {
            return self.starved.waiting(now);
        }
        self.starved.over();
        Duration::ZERO
    }

    /// Whether the guest has had no buffers for what waits for it for so long that its carrier is
    /// off: what comes for it is dropped, until it posts some.
    #[must_use]
    pub fn stalled(&self) -> bool {
        self.starved.is_stalled()
    }

    /// How often it has come to that.
    #[must_use]
    pub fn stalls(&self) -> u64 {
        self.starved.stalls()
    }

    /// How long what waits for this guest's buffers is held before it is dropped, and how long until
    /// the queue counts as stalled; 10 s and 60 s otherwise.
    pub fn set_timers(&mut self, drain: Duration, stall: Duration) {
        self.starved.set_timers(drain, stall);
    }

    /// Whether requests of the guest wait, which after a sleep without an event is one too few.
    pub fn missed(&mut self) -> bool {
        self.poll()
    }

    /// Sleeps on this queue's doorbells from now on.
    ///
    /// # Errors
    /// If the operating system refuses.
    pub fn watch(&self, waiter: &mut impl Waiter<D::Doorbell>) -> Result<(), DomainError> {
        waiter.add(&self.tx_port)?;
        self.rx_port.as_ref().map_or(Ok(()), |port| waiter.add(port))
    }

    /// Stops sleeping on them.
    pub fn unwatch(&self, waiter: &mut impl Waiter<D::Doorbell>) {
        waiter.remove(&self.tx_port);
        if let Some(port) = &self.rx_port {
            waiter.remove(port);
        }
    }

    /// Unmaps the rings and closes the ports.
    #[traced]
    pub fn close(self) {
        self.domain.close(self.tx_port.port());
        if let Some(port) = &self.rx_port {
            self.domain.close(port.port());
        }
    }

    /// A lie breaks the vif, once and for all.
    #[inline(always)]
    fn believe<T>(&mut self, outcome: Result<T, Rogue>) -> Option<T> {
        match outcome {
            Ok(value) => Some(value),
            Err(lie) => {
                self.broken.get_or_insert(lie);
                None
            }
        }
    }
}

/// What became of a frame that was to be forwarded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Forward {
    /// It is on its way.
    Done,
    /// Whoever it is for has no buffers.
    Held,
    /// There is none.
    Nothing,
}
