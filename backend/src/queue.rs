//! One queue of a vif: a tx ring, an rx ring and their ports; the unit of work of a worker.

use std::time::Instant;

use rings::csum;
use rings::evtchn::{EventCounters, Ports};
use rings::frame::{Csum, Meta};
use rings::io::netif::MAX_TX_SIZE;
use rings::ring::Notify;
use rings::{Domain, Foreign, ForeignCounters};
use tracer::traced;

use crate::credit::Credit;
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
    pub(crate) tx: Tx,
    pub(crate) rx: Rx,
    pub(crate) foreign: D::Foreign,
    /// The rings' pages, mapped as long as the queue lives.
    pub(crate) _pages: [<D::Foreign as Foreign>::Mapping; 2],
    pub(crate) ports: Ports<D::Doorbell>,
    pub(crate) stats: Stats,
    pub(crate) accepted: Accepted,
    pub(crate) broken: Option<Rogue>,
    pub(crate) batch: usize,
    /// Room for a segment that is cut in software.
    pub(crate) segment: Vec<u8>,
    /// Since when the guest has had no buffers for what is meant for it.
    pub(crate) starved: Starved,
    /// The last sleep was for buffers too, of which the guest tells.
    pub(crate) wants_room: bool,
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
        self.ports.counters()
    }

    /// Frames of the guest that had to wait for credit.
    #[must_use]
    pub fn rate_limited(&self) -> u64 {
        self.tx.credit.as_ref().map_or(0, Credit::waits)
    }

    /// How often a port was kept masked because its events brought no work.
    #[must_use]
    pub fn storm_delays(&self) -> u64 {
        self.ports.storm_delays()
    }

    /// The lie that broke the vif, if one did.
    #[must_use]
    pub fn broken(&self) -> Option<Rogue> {
        self.broken
    }

    /// Whether the guest has closed its end of the ports.
    #[must_use]
    pub fn closed(&self) -> bool {
        self.ports.closed()
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
                self.ports.send_tx();
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

    /// Whether the largest frame can be given to the guest now. If not, something that waits may have
    /// been [given up](Self::gives_up).
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

    /// Gives a frame of `len` bytes, written in place by `fill`, to the guest. With [`Csum::Blank`] a TCP
    /// or UDP checksum was left out, and is left to the guest if it takes it. `None` if there is no room
    /// now, or no such frame. Past the drain time a frame without room is dropped, and counted.
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
            return self.hold(len, fill);
        }
        self.fed();
        self.rx.trace().room();
        let blank = self.accepted.blank;
        Some(self.rx.put_with(len, &mut self.stats, |frame| {
            let result = fill(frame);
            let csum = match meta.csum {
                Csum::Blank => csum::hand_over(frame, blank),
                known => known,
            };
            (result, Meta { csum, ..meta })
        }))
    }

    /// A frame for which there is no room: it is to come again, or to be dropped.
    #[cold]
    fn hold<R>(&mut self, len: usize, fill: impl FnOnce(&mut [u8]) -> R) -> Option<R> {
        if self.gives_up() {
            self.segment.resize(len.max(self.segment.len()), 0);
            self.stats.rx_dropped += 1;
            return Some(fill(&mut self.segment[..len]));
        }
        self.stats.ring_full += 1;
        self.rx.trace().full();
        None
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
            self.ports.send_rx();
        }
    }

    /// Looks whether the guest has sent anything.
    #[inline]
    pub fn poll(&mut self) -> bool {
        if self.broken.is_some() {
            return false;
        }
        if let Some(until) = self.tx.held_until() {
            return self.tx.has_frames() || Instant::now() >= until;
        }
        let outcome = self.tx.poll();
        self.tx.has_frames() || self.believe(outcome).unwrap_or(false)
    }

    /// Frames taken in one turn.
    #[must_use]
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Unmaps the rings and closes the ports, as dropping it does.
    #[traced]
    pub fn close(self) {}

    /// A lie breaks the vif, once and for all.
    #[inline(always)]
    pub(crate) fn believe<T>(&mut self, outcome: Result<T, Rogue>) -> Option<T> {
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
