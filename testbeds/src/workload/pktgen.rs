//! Bare frames, as testpmd sends them: no stack, UDP headers ready-made, the number rewritten in each.
//!
//! ```text
//!   0          14         34       42        50
//!   | Ethernet | IPv4     | UDP    | number  | payload (with verify: seeded, compared)
//! ```

use std::time::{Duration, Instant};

use rings::DomainError;
use rings::frame::{ETH_HLEN, Headers, Meta, Transport};
use rings::worker::Task;
use rings_host::EpollWaiter;

use super::meter::{Meter, SideReport};
use super::{Job, Nic, think};
use crate::counters::Counters;
use crate::payload::Payload;

const NUMBER_AT: usize = 42;
const PAYLOAD_AT: usize = 50;
/// Empty turns between two looks at the clock: it costs more than the turn.
const IDLE_TURNS_PER_CLOCK: u32 = 64;
/// UDP's discard port.
const PORT: u16 = 9;

/// Makes frames, each with its number.
pub(super) struct Maker {
    payload: Payload,
    verify: bool,
    /// The first 64 bytes of each frame.
    head: [u8; 64],
    len: usize,
    think_ns: u64,
    number: u64,
}

/// Takes frames, looks at each header, and compares what is to be compared.
pub(super) struct Taker {
    payload: Payload,
    verify: bool,
    next: u64,
}

/// Sends frames as fast as the ring takes them.
pub(super) struct Sender<N: Nic> {
    nic: N,
    meter: Meter,
    maker: Maker,
    batch: usize,
    blocked: bool,
    /// Whether this end decides when its time is over.
    decides: bool,
    over: bool,
}

/// Takes frames.
pub(super) struct Receiver<N: Nic> {
    nic: N,
    meter: Meter,
    taker: Taker,
    batch: usize,
    /// Whether this end decides when it is over.
    decides: bool,
    over: bool,
    /// Turns without a frame.
    idle: u32,
}

impl Maker {
    /// Frames of `len` bytes from one address to another; with `think_ns` of work before each.
    pub(super) fn new(
        payload: Option<Payload>,
        addresses: ([u8; 6], [u8; 6]),
        len: usize,
        think_ns: u64,
    ) -> Self {
        let verify = payload.is_some();
        let payload = payload.unwrap_or_else(|| Payload::new(0));
        Self { payload, verify, head: head(addresses, len), len, think_ns, number: 0 }
    }

    /// Frames made so far.
    #[inline(always)]
    pub(super) fn made(&self) -> u64 {
        self.number
    }

    /// Sends the next frame; `false` if there is no room for it now.
    #[inline(always)]
    pub(super) fn send(&mut self, nic: &mut impl Nic) -> bool {
        think(self.think_ns);
        let Self { head, len, number, payload, verify, .. } = self;
        let sent = nic.xmit(*len, Meta::default(), |frame| {
            let known = (*len).min(head.len());
            frame[..known].copy_from_slice(&head[..known]);
            frame[NUMBER_AT..PAYLOAD_AT].copy_from_slice(&number.to_le_bytes());
            if *verify {
                payload.fill(number.wrapping_mul(*len as u64), &mut frame[PAYLOAD_AT..]);
            }
        });
        *number += u64::from(sent);
        sent
    }
}

impl Taker {
    /// Takes frames; with a payload it compares every byte.
    pub(super) fn new(payload: Option<Payload>) -> Self {
        let verify = payload.is_some();
        Self { payload: payload.unwrap_or_else(|| Payload::new(0)), verify, next: 0 }
    }

    /// The number that should come next.
    #[inline(always)]
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// What has not come of the first `made` frames is lost.
    pub(super) fn give_up(&mut self, made: u64, meter: &mut Meter) {
        meter.report.lost += made.saturating_sub(self.next);
        self.next = self.next.max(made);
    }

    /// Takes the next frame; `false` if there is none.
    #[inline(always)]
    pub(super) fn take(&mut self, nic: &mut impl Nic, meter: &mut Meter) -> bool {
        let Self { payload, verify, next } = self;
        nic.take_frame(|frame, _| {
            let Some(number) = number(frame) else {
                meter.error(|| "a frame that is none of ours".to_owned());
                return;
            };
            let report = &mut meter.report;
            report.ops += 1;
            report.bytes += frame.len() as u64;
            report.lost += number.saturating_sub(*next);
            *next = number.wrapping_add(1);
            if *verify {
                let offset = number.wrapping_mul(frame.len() as u64);
                match payload.check(offset, &frame[PAYLOAD_AT..]) {
                    Ok(()) => report.verified += frame.len() as u64,
                    Err(wrong) => meter.error(|| format!("frame {number}: {wrong}")),
                }
            }
            meter.copy(frame);
        })
    }
}

impl<N: Nic> Sender<N> {
    /// Sends what `maker` makes, published `batch` frames at a time. With `decides` it is this end
    /// that ends the run.
    pub(super) fn new(nic: N, meter: Meter, maker: Maker, batch: usize, decides: bool) -> Self {
        Self { nic, meter, maker, batch, blocked: false, decides, over: false }
    }
}

impl<N: Nic> Task for Sender<N> {
    #[inline]
    fn work(&mut self) -> bool {
        let _span = tracer::quiet_span!(GUEST, "send_frames");
        self.nic.poll();
        if self.over {
            return false;
        }
        let left = self.meter.left(self.maker.made());
        let batch = usize::try_from(left).unwrap_or(usize::MAX).min(self.batch);
        let (mut sent, first) = (0, self.maker.made());
        while sent < batch && self.maker.send(&mut self.nic) {
            sent += 1;
        }
        self.blocked = sent < batch;
        if sent > 0 {
            tracer::mark!(ITERATION, "batch", first = first & 0xffff_ffff);
        }
        self.nic.flush();
        if sent == 0 && !self.blocked {
            self.over = true;
            return true;
        }
        // One look at the clock for some batches: it costs as much as a few frames.
        if self.maker.made() % 1024 < self.batch as u64 || sent == 0 {
            self.look_at_clock();
        }
        sent > 0
    }

    fn arm(&mut self, now: Instant) -> bool {
        let was_over = self.over;
        self.look_at_clock();
        self.nic.arm(self.blocked, now) || self.over != was_over
    }

    fn disarm(&mut self) -> bool {
        self.nic.disarm()
    }

    fn settle(&mut self, worked: bool, now: Instant) {
        self.nic.settle(worked, now);
    }

    fn missed(&mut self) -> bool {
        self.nic.missed()
    }

    fn patience(&self, now: Instant) -> Duration {
        self.nic.patience(now)
    }

    fn finished(&self) -> bool {
        (self.over && self.nic.drained()) || self.nic.failure().is_some()
    }
}

impl<N: Nic> Sender<N> {
    #[cold]
    fn look_at_clock(&mut self) {
        let now = Instant::now();
        self.meter.tick(now);
        if self.meter.wants_base() {
            self.meter.set_base(self.nic.counters());
        }
        self.over |= self.decides && self.meter.is_over(now, self.maker.made());
    }
}

impl<N: Nic> Job for Sender<N> {
    fn counters(&self) -> Counters {
        self.nic.counters()
    }

    fn failure(&self) -> Option<String> {
        self.nic.failure()
    }

    fn begun(&self) -> bool {
        self.meter.begun()
    }

    fn watch(&self, waiter: &mut EpollWaiter) -> Result<(), DomainError> {
        self.nic.watch(waiter)
    }

    fn unwatch(&self, waiter: &mut EpollWaiter) {
        self.nic.unwatch(waiter);
    }

    fn finish(self: Box<Self>) -> SideReport {
        let counters = self.nic.counters();
        self.nic.close();
        self.meter.finish(counters)
    }
}

impl<N: Nic> Receiver<N> {
    /// Takes `batch` frames in a turn. With `decides` it is this end that ends the run.
    pub(super) fn new(nic: N, meter: Meter, taker: Taker, batch: usize, decides: bool) -> Self {
        Self { nic, meter, taker, batch, decides, over: false, idle: 0 }
    }

    fn look_at_clock(&mut self, took: bool) {
        let now = Instant::now();
        if took {
            self.meter.tick(now);
        }
        if self.meter.wants_base() {
            self.meter.set_base(self.nic.counters());
        }
        self.over = self.decides && self.meter.is_over(now, self.taker.next());
    }

    fn job_counters(&self) -> Counters {
        self.nic.counters().plus(&self.meter.counters())
    }
}

/// The number in a frame of ours: its headers are looked at first, as a stack would.
#[inline(always)]
fn number(frame: &[u8]) -> Option<u64> {
    let headers = Headers::find(frame)?;
    if headers.transport != Transport::Udp || headers.l4 != ETH_HLEN + 20 {
        return None;
    }
    frame[NUMBER_AT..].first_chunk().map(|n| u64::from_le_bytes(*n))
}

impl<N: Nic> Task for Receiver<N> {
    #[inline]
    fn work(&mut self) -> bool {
        if self.over {
            return false;
        }
        let _span = tracer::quiet_span!(GUEST, "take_frames");
        // The clock starts before the first frame is counted.
        if !self.meter.started() && self.nic.poll() {
            self.look_at_clock(true);
        }
        let mut taken = 0;
        while taken < self.batch && self.taker.take(&mut self.nic, &mut self.meter) {
            taken += 1;
        }
        self.nic.flush();
        if taken == 0 {
            self.idle = self.idle.wrapping_add(1);
        }
        let busy =
            taken > 0 && (self.meter.report.ops % 512 < taken as u64 || taken < self.batch / 2);
        if busy || (taken == 0 && self.idle.is_multiple_of(IDLE_TURNS_PER_CLOCK)) {
            self.look_at_clock(taken > 0);
        }
        taken > 0
    }

    fn arm(&mut self, now: Instant) -> bool {
        self.over |= self.decides && self.meter.is_over(now, self.taker.next());
        self.nic.arm(false, now)
    }

    fn disarm(&mut self) -> bool {
        self.nic.disarm()
    }

    fn settle(&mut self, worked: bool, now: Instant) {
        self.nic.settle(worked, now);
    }

    fn missed(&mut self) -> bool {
        self.nic.missed()
    }

    fn patience(&self, now: Instant) -> Duration {
        self.nic.patience(now)
    }

    fn finished(&self) -> bool {
        self.over || self.nic.failure().is_some()
    }
}

impl<N: Nic> Job for Receiver<N> {
    fn counters(&self) -> Counters {
        self.job_counters()
    }

    fn failure(&self) -> Option<String> {
        self.nic.failure()
    }

    fn begun(&self) -> bool {
        self.meter.begun()
    }

    fn watch(&self, waiter: &mut EpollWaiter) -> Result<(), DomainError> {
        self.nic.watch(waiter)
    }

    fn unwatch(&self, waiter: &mut EpollWaiter) {
        self.nic.unwatch(waiter);
    }

    fn finish(mut self: Box<Self>) -> SideReport {
        // What has been taken off the ring has arrived.
        for _ in 0..self.batch {
            if !self.taker.take(&mut self.nic, &mut self.meter) {
                break;
            }
        }
        let counters = self.job_counters();
        self.nic.close();
        self.meter.finish(counters)
    }
}

/// Ethernet, IPv4 and UDP headers of every frame of `len` bytes. UDP goes without a checksum, as it
/// may over IPv4; IPv4's own is right.
fn head((from, to): ([u8; 6], [u8; 6]), len: usize) -> [u8; 64] {
    use smoltcp::wire::{
        EthernetAddress, EthernetFrame, EthernetProtocol, IpProtocol, Ipv4Address, Ipv4Packet,
        UdpPacket,
    };
    let mut bytes = [0; 64];
    let mut ethernet = EthernetFrame::new_unchecked(&mut bytes[..]);
    ethernet.set_src_addr(EthernetAddress(from));
    ethernet.set_dst_addr(EthernetAddress(to));
    ethernet.set_ethertype(EthernetProtocol::Ipv4);
    let ip_len = u16::try_from(len - ETH_HLEN).unwrap_or(u16::MAX);
    let mut ip = Ipv4Packet::new_unchecked(&mut bytes[ETH_HLEN..]);
    ip.set_version(4);
    ip.set_header_len(20);
    ip.set_total_len(ip_len);
    ip.set_hop_limit(64);
    ip.set_next_header(IpProtocol::Udp);
    ip.set_src_addr(Ipv4Address::new(10, 0, 0, 1));
    ip.set_dst_addr(Ipv4Address::new(10, 0, 0, 2));
    ip.fill_checksum();
    let mut udp = UdpPacket::new_unchecked(&mut bytes[ETH_HLEN + 20..]);
    udp.set_src_port(PORT);
    udp.set_dst_port(PORT);
    udp.set_len(ip_len - 20);
    bytes
}
