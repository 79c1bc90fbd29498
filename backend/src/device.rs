//! A queue as a smoltcp device: TCP/IP of the driver domain runs over it.

use std::num::{NonZeroU16, NonZeroUsize};

use rings::csum;
use rings::frame::{Csum, ETH_HLEN, Headers, Meta};
use rings::io::netif::MAX_TX_SIZE;
use rings::{Domain, Foreign};
use smoltcp::phy::{
    self, Checksum, ChecksumCapabilities, Device, DeviceCapabilities, Medium, PacketMeta,
};
use smoltcp::time::Instant;

use crate::deliver::slots_needed;
use crate::queue::Queue;
use crate::rx::Rx;
use crate::stats::Stats;
use crate::tx::Tx;
use crate::vif::Accepted;

/// A queue with what a stack wants to know of it.
#[derive(Debug)]
pub struct Nic<D: Domain> {
    /// The queue.
    pub queue: Queue<D>,
    /// Largest TCP payload handed over in one frame; `None` without GSO. Bytes.
    pub gso: Option<NonZeroUsize>,
    /// Largest IP packet. Bytes.
    pub mtu: usize,
}

/// A received frame.
#[derive(Debug)]
pub struct RxToken<'a> {
    frame: &'a [u8],
}

/// Room for a frame to send.
#[derive(Debug)]
pub struct TxToken<'a, F> {
    rx: &'a mut Rx,
    foreign: &'a mut F,
    stats: &'a mut Stats,
    accepted: &'a Accepted,
    /// Where a frame is made that nobody gets.
    scratch: &'a mut Vec<u8>,
    /// There is no room for every frame, and the guest is waited for no longer.
    given_up: bool,
    gso: u16,
}

impl<D: Domain> Nic<D> {
    /// The device over `queue`, which hands over up to `gso` bytes of TCP payload in one frame (0:
    /// one segment), as far as the guest takes them.
    #[must_use]
    pub fn new(queue: Queue<D>, gso: u32, mtu: usize) -> Self {
        /// Headers of TCP over IPv4 with all options, and Ethernet's.
        const HEADERS: usize = ETH_HLEN + 60 + 60;
        let most = usize::from(MAX_TX_SIZE) - HEADERS;
        let gso = usize::try_from(gso).unwrap_or(most).min(most);
        Self { queue, gso: NonZeroUsize::new(gso), mtu }
    }

    fn halves(&mut self, given_up: bool) -> (&mut Tx, TxToken<'_, D::Foreign>) {
        let Queue { tx, rx, foreign, stats, accepted, segment: scratch, .. } = &mut self.queue;
        (tx, TxToken { rx, foreign, stats, accepted, scratch, given_up, gso: 0 })
    }
}

impl phy::RxToken for RxToken<'_> {
    #[inline(always)]
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.frame)
    }
}

impl<F: Foreign> TxToken<'_, F> {
    /// Whether there is room for this one, though not for every frame.
    #[cold]
    fn fits(&mut self, len: usize, meta: Meta) -> bool {
        let slots = slots_needed(len, meta, self.accepted);
        // A lie in the ring is found again by whoever can act on it.
        slots.is_some_and(|slots| self.rx.has_slots(slots).unwrap_or(false))
    }
}

impl<F: Foreign> phy::TxToken for TxToken<'_, F> {
    #[inline(always)]
    fn consume<R, W: FnOnce(&mut [u8]) -> R>(mut self, len: usize, f: W) -> R {
        let (gso, blank) = (self.gso, self.accepted.blank);
        if self.given_up && !self.fits(len, Meta { csum: Csum::None, gso }) {
            self.stats.rx_dropped += 1;
            self.scratch.resize(len.max(self.scratch.len()), 0);
            return f(&mut self.scratch[..len]);
        }
        let result = self.rx.put_with(len, self.stats, |frame| {
            let result = f(frame);
            // The stack leaves the checksum out if the guest takes any so.
            let csum = if blank.any() { csum::hand_over(frame, blank) } else { Csum::None };
            (result, Meta { csum, gso })
        });
        self.rx.flush_if_large(self.foreign, self.stats);
        result
    }

    #[inline(always)]
    fn set_meta(&mut self, meta: PacketMeta) {
        self.gso = meta.segmentation_offload_size.map_or(0, NonZeroU16::get);
    }
}

impl<D: Domain> Device for Nic<D> {
    type RxToken<'a> = RxToken<'a>;
    type TxToken<'a> = TxToken<'a, D::Foreign>;

    #[inline]
    fn receive(&mut self, _: Instant) -> Option<(RxToken<'_>, Self::TxToken<'_>)> {
        let mut given_up = false;
        loop {
            // A received frame may be answered at once: without room for that it waits.
            let room = self.queue.has_full_room();
            if !self.queue.collect() {
                return None;
            }
            if room {
                self.queue.fed();
            } else if !self.queue.gives_up() {
                return None;
            }
            given_up |= !room;
            let (frame, meta) = self.queue.tx.next()?;
            let honest = match meta.csum {
                Csum::None => csum::is_right(frame),
                Csum::Validated => true,
                Csum::Blank => Headers::find(frame).is_some(),
            };
            if honest {
                break;
            }
            self.queue.stats.tx_errors += 1;
            // A guest may make such frames as fast as they are looked at: others are served in between.
            if !self.queue.tx.has_frames() {
                return None;
            }
        }
        let (tx, token) = self.halves(given_up);
        tx.current().map(|frame| (RxToken { frame }, token))
    }

    #[inline]
    fn transmit(&mut self, _: Instant) -> Option<Self::TxToken<'_>> {
        if self.queue.has_full_room() {
            self.queue.fed();
            self.queue.rx.trace().room();
            return Some(self.halves(false).1);
        }
        if self.queue.gives_up() {
            return Some(self.halves(true).1);
        }
        self.queue.stats.ring_full += 1;
        self.queue.rx.trace().full();
        None
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let accepted = &self.queue.accepted;
        let mut c = DeviceCapabilities::default();
        c.medium = Medium::Ethernet;
        c.max_transmission_unit = self.mtu + ETH_HLEN;
        // What comes from the guest was checked, or vouched for, before the stack sees it.
        let each = || if accepted.blank.any() { Checksum::None } else { Checksum::Tx };
        c.checksum = ChecksumCapabilities::default();
        c.checksum.tcp = each();
        c.checksum.udp = each();
        c.segmentation.tcpv4 = self.gso.filter(|_| accepted.gso);
        c
    }
}
