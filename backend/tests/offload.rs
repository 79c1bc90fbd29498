//! Completing checksums and cutting segments, with `etherparse` for an oracle: it builds the frames,
//! takes the results apart and sums them up by its own code.

use backend::segments;
use etherparse::{NetHeaders, PacketBuilder, PacketHeaders, TransportHeader};
use proptest::prelude::*;
use rings::csum;
use rings::frame::Headers;

/// Which packet to build.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Tcp4,
    Udp4,
    Tcp6,
    Udp6,
}

fn build(kind: Kind, seed: u8, payload: &[u8]) -> Vec<u8> {
    let ethernet = PacketBuilder::ethernet2([2, 0, 0, 0, 0, seed], [2, 0, 0, 0, 1, seed]);
    let (four, six) = ([10, 0, seed, 1], [seed; 16]);
    let mut frame = Vec::new();
    let (from, to) = (1000 + u16::from(seed), 80);
    match kind {
        Kind::Tcp4 => ethernet
            .ipv4(four, [10, 0, 0, 2], 64)
            .tcp(from, to, u32::MAX - 5000, 99)
            .fin()
            .psh()
            .ack(7)
            .write(&mut frame, payload),
        Kind::Udp4 => {
            ethernet.ipv4(four, [10, 0, 0, 2], 64).udp(from, to).write(&mut frame, payload)
        }
        Kind::Tcp6 => {
            ethernet.ipv6(six, [3; 16], 64).tcp(from, to, 5, 99).write(&mut frame, payload)
        }
        Kind::Udp6 => ethernet.ipv6(six, [3; 16], 64).udp(from, to).write(&mut frame, payload),
    }
    .unwrap();
    frame
}

/// Where the checksum of such a frame stands.
fn checksum_at(kind: Kind) -> usize {
    match kind {
        Kind::Tcp4 => 14 + 20 + 16,
        Kind::Udp4 => 14 + 20 + 6,
        Kind::Tcp6 => 14 + 40 + 16,
        Kind::Udp6 => 14 + 40 + 6,
    }
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![Just(Kind::Tcp4), Just(Kind::Udp4), Just(Kind::Tcp6), Just(Kind::Udp6)]
}

proptest! {
    #[test]
    fn a_completed_checksum_is_the_one_the_oracle_wrote(
        kind in kind(),
        seed in any::<u8>(),
        blank in any::<[u8; 2]>(),
        padding in 0_usize..20,
        payload in proptest::collection::vec(any::<u8>(), 0..3000),
    ) {
        let mut frame = build(kind, seed, &payload);
        // Ethernet's padding is no part of the packet.
        frame.extend(std::iter::repeat_n(0xaa, padding));
        let whole = frame.clone();
        let at = checksum_at(kind);
        frame[at..at + 2].copy_from_slice(&blank);
        csum::complete(&mut frame, &Headers::find(&whole).unwrap());
        prop_assert_eq!(&frame, &whole);
        prop_assert!(csum::is_right(&frame));
    }

    #[test]
    fn segments_are_packets_of_their_own_and_together_the_frame(
        seed in any::<u8>(),
        size in 1_usize..9000,
        payload in proptest::collection::vec(any::<u8>(), 0..20_000),
    ) {
        let frame = build(Kind::Tcp4, seed, &payload);
        let (mut buf, mut sent) = (Vec::new(), Vec::new());
        prop_assert!(segments(&frame, size, &mut buf, |part| sent.push(part.to_vec())));
        let count = payload.len().div_ceil(size).max(1);
        prop_assert_eq!(sent.len(), count);
        let (mut whole, mut sequence) = (Vec::new(), u32::MAX - 5000);
        for (n, segment) in sent.iter().enumerate() {
            let parsed = PacketHeaders::from_ethernet_slice(segment).unwrap();
            let Some(NetHeaders::Ipv4(ip, _)) = parsed.net else { panic!("no IPv4") };
            let Some(TransportHeader::Tcp(tcp)) = parsed.transport else { panic!("no TCP") };
            let part = parsed.payload.slice();
            prop_assert_eq!(usize::from(ip.total_len) + 14, segment.len());
            prop_assert_eq!(ip.header_checksum, ip.calc_header_checksum());
            prop_assert_eq!(Ok(tcp.checksum), tcp.calc_checksum_ipv4(&ip, part));
            prop_assert_eq!(usize::from(ip.identification), n % 65_536);
            prop_assert_eq!(tcp.sequence_number, sequence);
            let last = n + 1 == count;
            prop_assert_eq!((tcp.fin, tcp.psh, tcp.ack), (last, last, true));
            prop_assert!(part.len() <= size);
            sequence = sequence.wrapping_add(u32::try_from(part.len()).unwrap());
            whole.extend_from_slice(part);
        }
        prop_assert_eq!(whole, payload);
    }

    #[test]
    fn whatever_a_guest_sends_is_completed_and_cut_without_harm(
        kind in kind(),
        size in 0_usize..5000,
        cut in 0_usize..200,
        spoil in proptest::collection::vec((0_usize..100, any::<u8>()), 0..6),
    ) {
        let mut frame = build(kind, 1, &[5; 100]);
        frame.truncate(frame.len().saturating_sub(cut));
        for (at, byte) in spoil {
            if let Some(place) = frame.get_mut(at) {
                *place = byte;
            }
        }
        let mut buf = Vec::new();
        let mut most = 0;
        let done = segments(&frame, size, &mut buf, |part| most = most.max(part.len()));
        prop_assert!(most <= frame.len() && (done || most == 0));
        if let Some(headers) = Headers::find(&frame) {
            csum::complete(&mut frame, &headers);
            prop_assert!(csum::is_right(&frame));
        }
    }
}
