//! Bare frames, as testpmd sends them: UDP headers ready-made, the number rewritten in each. Making
//! them and taking them; who sends and who receives is `pktgen`'s and `echo`'s.
//!
//! ```text
//!   0          14         34       42        50
//!   | Ethernet | IPv4     | UDP    | number  | payload (with verify: seeded)
//! ```
//!
//! With verify every byte is compared: a wrong number would want another payload.

use rings::frame::{ETH_HLEN, Headers, Meta, Transport};

use super::meter::Meter;
use super::{Nic, think, thought_of};
use crate::payload::Payload;

const NUMBER_AT: usize = 42;
const PAYLOAD_AT: usize = 50;
/// UDP's discard port.
const PORT: u16 = 9;

/// The Ethernet address that a frame is for.
const ADDRESS: usize = 6;

/// Makes frames, each with its number.
pub(super) struct Maker {
    payload: Payload,
    verify: bool,
    /// The first 64 bytes of each frame.
    head: [u8; 64],
    len: usize,
    think_ns: u64,
    /// Frames of one turn, as far as it is a matter of thinking.
    most: usize,
    number: u64,
}

/// Takes frames, looks at each header, and compares what is to be compared.
pub(super) struct Taker {
    payload: Payload,
    verify: bool,
    /// The first bytes of each frame, but for its number.
    head: [u8; 64],
    len: usize,
    next: u64,
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
        let (head, most) = (head(addresses, len), thought_of(think_ns));
        Self { payload, verify, head, len, think_ns, most, number: 0 }
    }

    /// Frames made so far.
    #[inline(always)]
    pub(super) fn made(&self) -> u64 {
        self.number
    }

    /// Frames to be made in one turn, of a batch of so many. Where a batch takes too much thinking it goes out
    /// in parts.
    #[inline(always)]
    pub(super) fn in_a_turn(&self, batch: usize) -> usize {
        batch.min(self.most)
    }

    /// Bytes of so many frames.
    #[inline(always)]
    pub(super) fn bytes_of(&self, frames: usize) -> u64 {
        (self.len * frames) as u64
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
    /// Takes frames of `len` bytes that go from one address to another; with a payload it compares every byte.
    pub(super) fn new(payload: Option<Payload>, addresses: ([u8; 6], [u8; 6]), len: usize) -> Self {
        let verify = payload.is_some();
        let payload = payload.unwrap_or_else(|| Payload::new(0));
        Self { payload, verify, head: head(addresses, len), len, next: 0 }
    }

    /// The number that should come next.
    #[inline(always)]
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// What has not come of the first `made` frames is lost.
    pub(super) fn give_up(&mut self, made: u64, meter: &mut Meter) {
        let lost = made.saturating_sub(self.next);
        meter.report.lost = meter.report.lost.saturating_add(lost);
        self.next = self.next.max(made);
    }

    /// Takes the next frame; `false` if there is none.
    #[inline(always)]
    pub(super) fn take(&mut self, nic: &mut impl Nic, meter: &mut Meter) -> bool {
        let Self { payload, verify, head, len, next } = self;
        nic.take_frame(|frame, _| {
            // One comparison tells what looking at header after header would.
            let as_sent = frame.len() == *len && frame[..NUMBER_AT] == head[..NUMBER_AT];
            // A bridge that knows no better gives everybody everything.
            if !as_sent && !frame.starts_with(&head[..ADDRESS]) {
                return;
            }
            let Some(number) = (if as_sent { number_in(frame) } else { number(frame) }) else {
                meter.error(|| "a frame that is none of ours".to_owned());
                return;
            };
            let report = &mut meter.report;
            report.ops += 1;
            report.bytes += frame.len() as u64;
            report.lost = report.lost.saturating_add(number.saturating_sub(*next));
            *next = number.wrapping_add(1);
            if *verify {
                let offset = number.wrapping_mul(frame.len() as u64);
                if !as_sent {
                    meter.error(|| format!("frame {number}: its headers are not what was sent"));
                    return;
                }
                match payload.check(offset, &frame[PAYLOAD_AT..]) {
                    Ok(()) => report.verified += frame.len() as u64,
                    Err(wrong) => meter.error(|| format!("frame {number}: {wrong}")),
                }
            }
            meter.copy(frame);
        })
    }
}

/// The number in a frame of ours, whose headers are looked at first, as a stack would.
#[cold]
fn number(frame: &[u8]) -> Option<u64> {
    let headers = Headers::find(frame)?;
    if headers.transport != Transport::Udp || headers.l4 != ETH_HLEN + 20 {
        return None;
    }
    number_in(frame)
}

/// What stands where a frame of ours has its number.
#[inline(always)]
fn number_in(frame: &[u8]) -> Option<u64> {
    frame[NUMBER_AT..].first_chunk().map(|n| u64::from_le_bytes(*n))
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
