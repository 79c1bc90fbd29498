//! Guests with different abilities on one bridge: each gets every frame as it can take it, and none
//! notices what the others cannot. `etherparse` builds the frames and takes what arrives apart.

mod rig;

use std::sync::{Arc, Mutex};

use backend::wire::{Bridge, BridgePort};
use etherparse::{NetHeaders, PacketBuilder, PacketHeaders, TransportHeader};
use rig::front::{Given, Offer, Vifs};
use rings::io::netif::{RxFlags, TxFlags};
use rings::worker::Task;

/// Payload of a frame: with all its headers less than a page.
const PAYLOAD: usize = 3001;
const GSO: u16 = 1448;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Tcp4,
    Udp4,
    Tcp6,
    Udp6,
}

const KINDS: [Kind; 4] = [Kind::Tcp4, Kind::Udp4, Kind::Tcp6, Kind::Udp6];

impl Kind {
    fn is_v6(self) -> bool {
        matches!(self, Self::Tcp6 | Self::Udp6)
    }

    /// Where the transport packet begins, and where in there the checksum is.
    fn place(self) -> (usize, usize) {
        let l4 = if self.is_v6() { 54 } else { 34 };
        (l4, if matches!(self, Self::Tcp4 | Self::Tcp6) { 16 } else { 6 })
    }
}

/// What a frame's sender says of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Said {
    kind: Kind,
    blank: bool,
    gso: u16,
}

fn payload() -> Vec<u8> {
    (0..PAYLOAD).map(|n| (n * 7).to_le_bytes()[0] ^ (n >> 8).to_le_bytes()[0]).collect()
}

/// A frame for everybody, with its checksum.
fn build(kind: Kind) -> Vec<u8> {
    let ethernet = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [0xff; 6]);
    let mut frame = Vec::new();
    let (v4, v6) = (([10, 0, 0, 1], [10, 0, 0, 2]), ([0xfe; 16], [0xfd; 16]));
    match kind {
        Kind::Tcp4 => {
            ethernet.ipv4(v4.0, v4.1, 64).tcp(7, 9, 5, 99).ack(3).write(&mut frame, &payload())
        }
        Kind::Udp4 => ethernet.ipv4(v4.0, v4.1, 64).udp(7, 9).write(&mut frame, &payload()),
        Kind::Tcp6 => {
            ethernet.ipv6(v6.0, v6.1, 64).tcp(7, 9, 5, 99).ack(3).write(&mut frame, &payload())
        }
        Kind::Udp6 => ethernet.ipv6(v6.0, v6.1, 64).udp(7, 9).write(&mut frame, &payload()),
    }
    .unwrap();
    frame
}

/// Word by word (RFC 1071).
fn sum(bytes: &[u8]) -> u16 {
    bytes.chunks(2).fold(0, |sum: u16, pair| {
        let word = u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]);
        let (sum, carry) = sum.overflowing_add(word);
        sum + u16::from(carry)
    })
}

/// The sum of the pseudo header, from what it and the packet make together.
fn seeded(kind: Kind, whole: &[u8]) -> Vec<u8> {
    let (l4, at) = kind.place();
    let mut frame = whole.to_vec();
    let field = l4 + at..l4 + at + 2;
    frame[field.clone()].fill(0);
    let checksum = u16::from_be_bytes([whole[field.start], whole[field.start + 1]]);
    let (seed, carry) = (!checksum).overflowing_add(!sum(&frame[l4..]));
    frame[field].copy_from_slice(&(seed + u16::from(carry)).to_be_bytes());
    frame
}

/// Holds what a guest with this offer was given against what was sent; says what it was.
fn check(said: Said, offer: &Offer, given: &[Given]) {
    let what = format!("{said:?} to {offer:?}");
    let takes_blank = if said.kind.is_v6() { offer.csum6 } else { offer.csum };
    let takes_gso = offer.gso && offer.sg && offer.csum;
    let cut = said.gso > 0 && !takes_gso;
    let count = if cut { PAYLOAD.div_ceil(usize::from(said.gso)) } else { 1 };
    assert_eq!(given.len(), count, "{what}");
    let mut bytes = Vec::new();
    for frame in given {
        let blank = said.blank && takes_blank && !cut;
        assert_eq!(frame.flags.contains(RxFlags::CSUM_BLANK), blank, "{what}");
        assert_eq!(frame.gso, if cut { 0 } else { said.gso }, "{what}");
        let parsed = PacketHeaders::from_ethernet_slice(&frame.bytes).unwrap();
        let part = parsed.payload.slice();
        if blank {
            let (l4, at) = said.kind.place();
            assert_eq!(frame.bytes, seeded(said.kind, &build(said.kind)), "{what}: {l4}, {at}");
        } else {
            assert!(is_right(&parsed, part), "{what}: its checksum is wrong");
        }
        assert!(said.gso == 0 || !cut || part.len() <= usize::from(said.gso), "{what}");
        bytes.extend_from_slice(part);
    }
    assert_eq!(bytes, payload(), "{what}");
}

fn is_right(parsed: &PacketHeaders<'_>, part: &[u8]) -> bool {
    match (&parsed.net, &parsed.transport) {
        (Some(NetHeaders::Ipv4(ip, _)), Some(TransportHeader::Tcp(tcp))) => {
            tcp.calc_checksum_ipv4(ip, part) == Ok(tcp.checksum)
                && ip.calc_header_checksum() == ip.header_checksum
        }
        (Some(NetHeaders::Ipv4(ip, _)), Some(TransportHeader::Udp(udp))) => {
            udp.calc_checksum_ipv4(ip, part) == Ok(udp.checksum)
        }
        (Some(NetHeaders::Ipv6(ip, _)), Some(TransportHeader::Tcp(tcp))) => {
            tcp.calc_checksum_ipv6(ip, part) == Ok(tcp.checksum)
        }
        (Some(NetHeaders::Ipv6(ip, _)), Some(TransportHeader::Udp(udp))) => {
            udp.calc_checksum_ipv6(ip, part) == Ok(udp.checksum)
        }
        other => panic!("{other:?}"),
    }
}

/// Line 30. Those that take less come first: what was done for them must not show at those behind them.
#[test]
fn every_guest_of_a_bridge_gets_a_frame_as_it_can_take_it() {
    let mut offers = vec![Offer::default()];
    for bits in 0..16_u32 {
        let on = |bit: u32| (bits >> bit) & 1 == 1;
        let (csum, csum6, gso, sg) = (on(0), on(1), on(2), on(3));
        offers.push(Offer { csum, csum6, gso, sg, ..Offer::default() });
    }
    let (mut vifs, queues) = Vifs::connect(&offers);
    let bridge = Arc::new(Mutex::new(Bridge::new()));
    let mut ports: Vec<_> =
        queues.into_iter().map(|queue| BridgePort::join(&bridge, queue)).collect();
    for kind in KINDS {
        for (blank, gso) in [(false, 0), (true, 0), (true, GSO)] {
            if gso > 0 && kind != Kind::Tcp4 {
                continue;
            }
            let said = Said { kind, blank, gso };
            let whole = build(kind);
            let flags = TxFlags::CSUM_BLANK | TxFlags::DATA_VALIDATED;
            let (frame, flags) = match blank {
                true => (seeded(kind, &whole), flags),
                false => (whole, TxFlags::empty()),
            };
            vifs.guests[1..].iter_mut().for_each(|guest| guest.post(4));
            vifs.guests[0].send(&frame, flags, gso);
            assert!(ports[0].work(), "{said:?}");
            for (guest, offer) in vifs.guests.iter_mut().zip(&offers).skip(1) {
                check(said, offer, &guest.given());
            }
            assert_eq!(vifs.guests[0].front.answers()[0], 0);
        }
    }
    ports.into_iter().for_each(|port| port.leave().expect("on the bridge").close());
    vifs.leave();
}
