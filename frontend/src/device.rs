//! A queue as a smoltcp device: TCP/IP of the guest runs over it.

use std::num::{NonZeroU16, NonZeroUsize};

use rings::Domain;
use rings::frame::ETH_HLEN;
use rings::io::netif::MAX_TX_SIZE;
use smoltcp::phy::{
    self, Checksum, ChecksumCapabilities, Device, DeviceCapabilities, Medium, PacketMeta,
};
use smoltcp::time::Instant;

use crate::queue::Queue;
use crate::rx::Rx;
use crate::stats::Stats;
use crate::tx::Tx;

/// A queue with what a stack wants to know of it.
#[derive(Debug)]
pub struct Nic<D: Domain> {
    /// The queue.
    pub queue: Queue<D>,
    /// Largest TCP payload handed over in one frame; `None` without GSO. Bytes.
    pub gso: Option<NonZeroUsize>,
}

/// A received frame.
#[derive(Debug)]
pub struct RxToken<'a> {
    frame: &'a [u8],
}

/// Room for a frame to send.
#[derive(Debug)]
pub struct TxToken<'a> {
    tx: &'a mut Tx,
    stats: &'a mut Stats,
    gso: u16,
}

impl<D: Domain> Nic<D> {
    fn halves(&mut self) -> (&mut Rx, TxToken<'_>) {
        let Queue { tx, rx, stats, .. } = &mut self.queue;
        (rx, TxToken { tx, stats, gso: 0 })
    }
}

impl phy::RxToken for RxToken<'_> {
    #[inline(always)]
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.frame)
    }
}

impl phy::TxToken for TxToken<'_> {
    #[inline(always)]
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        match self.tx.takes(len) {
            // smoltcp has no way to hear "no" here. There is room for the largest frame where it
            // asked to send; an answer larger than a page (an echo of one) is not sent.
            false => f(&mut vec![0; len]),
            true => self.tx.xmit_pieces(len, self.gso, self.stats, f).expect("room was there"),
        }
    }

    #[inline(always)]
    fn set_meta(&mut self, meta: PacketMeta) {
        self.gso = meta.segmentation_offload_size.map_or(0, NonZeroU16::get);
    }
}

impl<D: Domain> Device for Nic<D> {
    type RxToken<'a> = RxToken<'a>;
    type TxToken<'a> = TxToken<'a>;

    #[inline]
    fn receive(&mut self, _: Instant) -> Option<(RxToken<'_>, TxToken<'_>)> {
        // A received frame may be answered at once: without room for that it stays on the ring.
        if !self.queue.can_answer() {
            return None;
        }
        let (len, _) = self.queue.next_frame()?;
        let (rx, tx) = self.halves();
        Some((RxToken { frame: rx.frame(len) }, tx))
    }

    #[inline]
    fn transmit(&mut self, _: Instant) -> Option<TxToken<'_>> {
        if !self.queue.has_room() {
            self.queue.stats.ring_full += 1;
            self.queue.tx.trace().full();
            return None;
        }
        self.queue.tx.trace().room();
        Some(self.halves().1)
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let features = &self.queue.features;
        let mut c = DeviceCapabilities::default();
        c.medium = Medium::Ethernet;
        c.max_transmission_unit = features.mtu + ETH_HLEN;
        let each = || match (features.csum_tx, features.csum_rx) {
            (true, true) => Checksum::None,
            (true, false) => Checksum::Rx,
            (false, true) => Checksum::Tx,
            (false, false) => Checksum::Both,
        };
        c.checksum = ChecksumCapabilities::default();
        c.checksum.tcp = each();
        c.checksum.udp = each();
        c.segmentation.tcpv4 = self.gso.filter(|_| features.gso_tx);
        c
    }
}

/// The largest TCP payload of one frame such that the frame is a frame.
#[must_use]
pub(crate) fn largest_gso(wanted: u32) -> Option<NonZeroUsize> {
    /// Headers of TCP over IPv4 with all options, and Ethernet's.
    const HEADERS: usize = ETH_HLEN + 60 + 60;
    let most = usize::from(MAX_TX_SIZE) - HEADERS;
    NonZeroUsize::new(usize::try_from(wanted).unwrap_or(most).min(most))
}

impl<D: Domain> Nic<D> {
    /// The device over `queue`, which hands over up to `gso` bytes of TCP payload in one frame (0:
    /// one segment), as far as that was agreed on.
    #[must_use]
    pub fn new(queue: Queue<D>, gso: u32) -> Self {
        Self { queue, gso: largest_gso(gso) }
    }
}
