//! One queue of a vif: a tx ring, an rx ring and their ports; the unit of work of a worker.

use std::time::{Duration, Instant};

use rings::csum;
use rings::evtchn::{EventCounters, Ports};
use rings::frame::{Csum, Meta};
use rings::io::netif::{MAX_TX_SIZE, RX_RING_SIZE, TxRequest};
use rings::ring::Notify;
use rings::{DomId, Domain, DomainError, PAGE_SIZE, Waiter};
use tracer::traced;

use crate::error::Misbehaviour;
use crate::features::Features;
use crate::pool::Pool;
use crate::rx::Rx;
use crate::stats::Stats;
use crate::tx::Tx;

const _: () = assert!(size_of::<TxRequest>() == rings::io::netif::TX_SLOT);

/// Frames that one queue takes of its domain's memory: pages to send from, buffers to receive into, and two
/// rings.
pub const QUEUE_FRAMES: usize = Pool::PAGES + RX_RING_SIZE + 2;

/// One queue.
#[derive(Debug)]
pub struct Queue<D: Domain> {
    domain: D,
    pub(crate) tx: Tx,
    pub(crate) rx: Rx,
    ports: Ports<D::Doorbell>,
    /// The last sleep was for answers too, until there is room.
    wants_room: bool,
    pub(crate) stats: Stats,
    pub(crate) features: Features,
    broken: Option<Misbehaviour>,
}

impl<D: Domain> Queue<D> {
    /// Makes the rings, grants and ports of one queue, not yet known to the backend. In traces it is
    /// called `name`.
    #[traced]
    pub(crate) fn new(
        domain: &D,
        backend: DomId,
        features: Features,
        index_base: u32,
        always_notify: bool,
        name: &str,
    ) -> Result<Self, DomainError> {
        let memory = domain.memory();
        let mut tx = Tx::new(domain, backend, index_base, features.blank(), always_notify)?;
        tx.set_name(&format!("{name}-tx"));
        let rx = match Rx::new(domain, backend, index_base, always_notify, name) {
            Ok(rx) => rx,
            Err(why) => {
                tx.close(memory);
                return Err(why);
            }
        };
        let mut ports = match ports(domain, backend, features.split) {
            Ok(ports) => ports,
            Err(why) => {
                tx.close(memory);
                rx.close(memory);
                return Err(why);
            }
        };
        ports.set_name(name);
        Ok(Self {
            domain: domain.clone(),
            tx,
            rx,
            ports,
            wants_room: false,
            stats: Stats::default(),
            features,
            broken: None,
        })
    }

    /// The ports.
    pub(crate) fn ports(&self) -> &Ports<D::Doorbell> {
        &self.ports
    }

    /// What was agreed on.
    #[must_use]
    pub fn features(&self) -> &Features {
        &self.features
    }

    /// Counters.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// What happened on the ports.
    #[must_use]
    pub fn events(&self) -> EventCounters {
        self.ports.counters()
    }

    /// How often a port was kept masked because its events brought no work.
    #[must_use]
    pub fn storm_delays(&self) -> u64 {
        self.ports.storm_delays()
    }

    /// The lie that broke the device, if one did.
    #[must_use]
    pub fn broken(&self) -> Option<Misbehaviour> {
        self.broken
    }

    /// Whether the backend has closed its end of the ports.
    #[must_use]
    pub fn closed(&self) -> bool {
        self.ports.closed()
    }

    /// Requests on the tx ring that the backend has not answered.
    #[must_use]
    pub fn outstanding(&self) -> u32 {
        self.tx.outstanding()
    }

    /// Journey 1. Sends a frame of `len` bytes, written in place by `fill`; visible with the next
    /// [`flush`](Self::flush). `None` if there is no room now, or no such frame.
    #[traced(fine, bytes = len)]
    #[inline]
    pub fn xmit<R>(
        &mut self,
        len: usize,
        meta: Meta,
        fill: impl FnOnce(&mut [u8]) -> R,
    ) -> Option<R> {
        let largest = if self.features.sg { usize::from(MAX_TX_SIZE) } else { PAGE_SIZE };
        if self.broken.is_some() || !(1..=largest).contains(&len) {
            return None;
        }
        let offload = meta.csum == Csum::Blank;
        let sent = self.tx.xmit(len, offload, meta.gso, &mut self.stats, fill);
        match sent {
            Some(_) => self.tx.trace().room(),
            None => {
                self.tx.trace().full();
                self.stats.ring_full += 1;
            }
        }
        sent
    }

    /// Whether a frame of any length can be sent now, with slots to spare for answers to what comes
    /// in.
    #[inline]
    pub fn has_room(&mut self) -> bool {
        self.has(Tx::has_room)
    }

    /// Whether what comes in can be answered now, by a frame of a page.
    #[inline]
    pub fn can_answer(&mut self) -> bool {
        self.has(Tx::has_single)
    }

    /// Whether there is `room`; pages are taken back only if not.
    #[inline(always)]
    fn has(&mut self, room: fn(&Tx) -> bool) -> bool {
        if self.broken.is_some() {
            return false;
        }
        if !room(&self.tx) {
            self.reap();
        }
        self.broken.is_none() && room(&self.tx)
    }

    /// Takes back the pages of frames the backend is done with. Says how many slots.
    #[inline]
    pub fn reap(&mut self) -> u32 {
        if self.broken.is_some() {
            return 0;
        }
        let outcome = self.tx.reap(&mut self.stats);
        self.believe(outcome).unwrap_or(0)
    }

    /// The next frame, copied out and checked; its bytes are given to `take`.
    #[inline]
    pub fn receive<R>(&mut self, take: impl FnOnce(&mut [u8], Meta) -> R) -> Option<R> {
        let (len, meta) = self.next_frame()?;
        Some(take(self.rx.frame(len), meta))
    }

    /// The length and meta of the next frame, whose bytes stand in `rx.frame` then.
    #[inline]
    pub(crate) fn next_frame(&mut self) -> Option<(usize, Meta)> {
        loop {
            if self.broken.is_some() {
                return None;
            }
            let outcome = self.rx.next(&mut self.stats);
            let (len, meta) = self.believe(outcome)??;
            if meta.csum != Csum::None || self.is_sound(len) {
                return Some((len, meta));
            }
            self.stats.rx_errors += 1;
        }
    }

    /// Whether a frame that nobody vouches for has the right checksum. Where we did not offer to
    /// take such frames on trust, the stack above checks all of them itself.
    fn is_sound(&mut self, len: usize) -> bool {
        if !self.features.csum_rx {
            return true;
        }
        csum::is_right(self.rx.frame(len))
    }

    /// Publishes what was put on both rings, and wakes the backend if it asked for it.
    #[inline]
    pub fn flush(&mut self) {
        if self.broken.is_some() {
            return;
        }
        if self.tx.push(&mut self.stats) == Notify::Yes {
            self.ports.send_tx();
        }
        if self.rx.unposted() > 0 && self.rx.push(&mut self.stats) == Notify::Yes {
            self.ports.send_rx();
        }
    }

    /// Wakes the backend on both ports once, as a frontend does when it has connected.
    #[traced]
    pub fn kick(&mut self) {
        self.ports.kick();
    }

    /// Looks at both rings, and takes pages back. `true` if there is anything to do.
    #[inline]
    pub fn poll(&mut self) -> bool {
        if self.broken.is_some() {
            return false;
        }
        let reaped = self.reap() > 0;
        let outcome = self.rx.poll();
        self.believe(outcome).unwrap_or(false) || reaped
    }

    /// Before sleeping: unmasks the ports, asks both rings to wake us, looks once more. `true` if
    /// there is work after all. Without `want_room` answers to what we sent do not wake us.
    pub fn arm(&mut self, want_room: bool, now: Instant) -> bool {
        self.wants_room = false;
        if self.broken.is_some() || self.ports.is_stormy(now) {
            return false;
        }
        // What was sent while we looked anyway told nothing new: only what comes from here on is an
        // event, and has to bring work. The rings are looked at below.
        self.disarm();
        let pending = self.ports.unmask();
        let outcome = self.rx.final_check();
        let mut work = self.believe(outcome).unwrap_or(true);
        if want_room {
            let outcome = self.tx.final_check();
            work |= self.believe(outcome).unwrap_or(true);
            self.wants_room = true;
        }
        // A pending port without work is an event without work; the caller looks again anyway.
        pending | work
    }

    /// After sleeping, or when polling: masks the ports and clears what is pending, before the
    /// rings are looked at. `true` if an event had come.
    pub fn disarm(&mut self) -> bool {
        self.ports.disarm()
    }

    /// Tells the storm guard what an event brought.
    pub fn settle_event(&mut self, worked: bool, now: Instant) {
        self.ports.settle(worked, now);
    }

    /// How long this queue may be left asleep: for ever, unless a storm keeps its ports masked.
    #[must_use]
    pub fn patience(&self, now: Instant) -> Duration {
        self.ports.patience(now)
    }

    /// Whether frames wait, or the answers that were asked for, which after a sleep without an event is
    /// one too few.
    pub fn missed(&mut self) -> bool {
        if self.broken.is_some() {
            return false;
        }
        let frames = self.rx.poll();
        let room = if self.wants_room { self.tx.has_answers() } else { Ok(false) };
        self.believe(frames).unwrap_or(false) | self.believe(room).unwrap_or(false)
    }

    /// Sleeps on this queue's doorbells from now on.
    ///
    /// # Errors
    /// If the operating system refuses.
    pub fn watch(&self, waiter: &mut impl Waiter<D::Doorbell>) -> Result<(), DomainError> {
        self.ports.watch(waiter)
    }

    /// Stops sleeping on them.
    pub fn unwatch(&self, waiter: &mut impl Waiter<D::Doorbell>) {
        self.ports.unwatch(waiter);
    }

    /// Closes the ports, takes the grants back and returns the pages. Says how many grants the
    /// backend still uses: their pages come back when it does not.
    #[traced]
    pub fn close(self) -> usize {
        let memory = self.domain.memory();
        drop(self.ports);
        self.tx.close(memory) + self.rx.close(memory)
    }

    /// A lie breaks the device, once and for all.
    #[inline(always)]
    fn believe<T>(&mut self, outcome: Result<T, Misbehaviour>) -> Option<T> {
        match outcome {
            Ok(value) => Some(value),
            Err(lie) => {
                self.broken.get_or_insert(lie);
                None
            }
        }
    }
}

/// A port for the tx ring and, if `split`, another for the rx ring.
fn ports<D: Domain>(
    domain: &D,
    backend: DomId,
    split: bool,
) -> Result<Ports<D::Doorbell>, DomainError> {
    let tx = domain.alloc_unbound(backend)?;
    let rx = split.then(|| domain.alloc_unbound(backend)).transpose()?;
    Ok(Ports::new(tx, rx))
}
