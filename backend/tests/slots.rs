//! Slots as a frame, without a ring: the verdict table of netback line by line, and all the ways in
//! which a frame can be cut into slots. With rings, grants and copies: `testbeds/tests`.

use std::collections::VecDeque;

use backend::{Packet, Rogue, Slots, Verdict, parse};
use proptest::prelude::*;
use rings::PAGE_SIZE;
use rings::io::SRING_HEADER;
use rings::io::netif::{Extra, ExtraInfo, GsoType, TX_SLOT, TxFlags, TxRequest};
use zerocopy::FromBytes;

/// What stands in a slot. A reader that takes one for the other has lost its place.
#[derive(Clone, Copy, Debug)]
enum Slot {
    Data(TxRequest),
    Info(ExtraInfo),
}

struct List(VecDeque<Slot>);

impl Slots for List {
    fn request(&mut self) -> Option<TxRequest> {
        match self.0.pop_front()? {
            Slot::Data(request) => Some(request),
            Slot::Info(info) => panic!("{info:?} read as a request"),
        }
    }

    fn extra(&mut self) -> Option<ExtraInfo> {
        match self.0.pop_front()? {
            Slot::Info(info) => Some(info),
            // A liar's flag: the bytes of a request, read as an extra info.
            Slot::Data(_) => Some(ExtraInfo { kind: 0, flags: 0, body: [0; 6] }),
        }
    }
}

/// Slots as they lie on a ring: bytes, which are what they are taken for.
struct Raw(VecDeque<[u8; TX_SLOT]>);

impl Slots for Raw {
    fn request(&mut self) -> Option<TxRequest> {
        Some(TxRequest::read_from_bytes(&self.0.pop_front()?).expect("a slot's length"))
    }

    fn extra(&mut self) -> Option<ExtraInfo> {
        Some(ExtraInfo::read_from_prefix(&self.0.pop_front()?).expect("no longer than a slot").0)
    }
}

/// What becomes of these slots, and how many are left.
fn judge(slots: &[Slot]) -> (Result<Option<Verdict>, Rogue>, Packet, usize) {
    let mut list = List(slots.iter().copied().collect());
    let mut packet = Packet::default();
    let outcome = parse(&mut list, &mut packet);
    (outcome, packet, list.0.len())
}

fn data(offset: u16, size: u16, flags: TxFlags) -> Slot {
    Slot::Data(TxRequest { gref: 9, offset, flags: flags.bits(), id: 0, size })
}

fn info(kind: u8, more: bool) -> Slot {
    Slot::Info(ExtraInfo { kind, flags: u8::from(more), body: [0; 6] })
}

fn gso(size: u16, kind: GsoType, more: bool) -> Slot {
    Slot::Info(Extra::Gso { size, kind, features: 0 }.encode(more))
}

const LAST: TxFlags = TxFlags::empty();
const MORE: TxFlags = TxFlags::MORE_DATA;
const EXTRA: TxFlags = TxFlags::EXTRA_INFO;

/// A frame of so many slots of `each` bytes.
fn chain(slots: usize, each: u16) -> Vec<Slot> {
    let total = u16::try_from(slots).unwrap() * each;
    (0..slots)
        .map(|n| {
            let flags = if n + 1 < slots { MORE } else { LAST };
            data(0, if n == 0 { total } else { each }, flags)
        })
        .collect()
}

/// The tx ring of a Linux netfront on a real Xen, of which rings/tests/golden_pages.rs tells more. Each
/// answer stands over a request's gref, and over an extra's segment size, which is 1 therefore.
#[test]
fn the_ring_of_a_real_netfront_is_all_good_frames() {
    let mut page = vec![0; PAGE_SIZE];
    let dump = include_str!("../../rings/tests/golden/ring-vif-tx.txt");
    for line in dump.lines().filter(|line| !line.starts_with(['#', '*'])) {
        let (offset, octets) = line.split_once("  ").expect("an offset, two blanks, octets");
        let offset = usize::from_str_radix(offset, 16).expect("a hexadecimal offset");
        for (place, octet) in octets.split_whitespace().enumerate() {
            page[offset + place] = u8::from_str_radix(octet, 16).expect("two hexadecimal digits");
        }
    }
    let (slots, _) = page[SRING_HEADER..].as_chunks::<TX_SLOT>();
    let mut ring = Raw(slots[..140].iter().copied().collect());
    let mut packets = Vec::new();
    while !ring.0.is_empty() {
        let mut packet = Packet::default();
        assert_eq!(parse(&mut ring, &mut packet), Ok(Some(Verdict::Good)));
        let sizes: Vec<u16> = packet.data().iter().map(|slot| slot.size).collect();
        packets.push((packet.total, sizes, packet.extras, packet.gso));
    }
    let single = |total| (total, vec![total], 0, 0);
    let opening = [90, 86, 42, 98, 90, 90, 70, 90, 70, 42, 74, 66];
    assert_eq!(packets[..12], opening.map(single));
    assert_eq!(packets[12], (1393, vec![66, 1327], 0, 0));
    assert_eq!(packets[13], (2962, vec![66, 2896], 1, 1));
    assert_eq!(packets[73], single(66));
    let count = |slots, extras| {
        packets.iter().filter(|packet| (packet.1.len(), packet.2) == (slots, extras)).count()
    };
    assert_eq!((count(1, 0), count(2, 0), count(2, 1), packets.len()), (13, 56, 5, 74));
}

#[test]
fn an_empty_ring_has_no_frame() {
    assert_eq!(judge(&[]).0, Ok(None));
}

#[test]
fn more_data_without_a_further_request_breaks() {
    assert_eq!(judge(&[data(0, 60, MORE)]).0, Err(Rogue::Cut));
    assert_eq!(judge(&[data(0, 60, MORE), data(0, 10, MORE)]).0, Err(Rogue::Cut));
}

#[test]
fn an_extra_info_without_a_further_request_breaks() {
    assert_eq!(judge(&[data(0, 60, EXTRA)]).0, Err(Rogue::Cut));
    let more = [data(0, 60, EXTRA), gso(9, GsoType::TcpV4, true)];
    assert_eq!(judge(&more).0, Err(Rogue::Cut));
}

#[test]
fn an_extra_info_of_type_0_or_beyond_the_last_breaks() {
    for kind in (0..=255).filter(|kind| !(1..=4).contains(kind)) {
        assert_eq!(judge(&[data(0, 60, EXTRA), info(kind, false)]).0, Err(Rogue::Extra(kind)));
    }
}

#[test]
fn a_slot_that_crosses_its_page_breaks_wherever_it_stands() {
    assert_eq!(judge(&[data(4037, 60, LAST)]).0, Err(Rogue::Bounds(4037, 60)));
    assert_eq!(judge(&[data(4036, 60, LAST)]).0, Ok(Some(Verdict::Good)));
    let later = [data(0, 100, MORE), data(4087, 10, LAST)];
    assert_eq!(judge(&later).0, Err(Rogue::Bounds(4087, 10)));
    assert_eq!(judge(&[data(u16::MAX, u16::MAX, LAST)]).0, Err(Rogue::Bounds(u16::MAX, u16::MAX)));
}

#[test]
fn twenty_slots_break_nineteen_are_dropped_eighteen_are_good() {
    assert_eq!(judge(&chain(18, 10)).0, Ok(Some(Verdict::Good)));
    let (outcome, packet, left) = judge(&chain(19, 10));
    assert!(matches!(outcome, Ok(Some(Verdict::Drop(_)))));
    assert_eq!((packet.data().len(), left), (19, 0), "each is answered");
    assert_eq!(judge(&chain(20, 10)).0, Err(Rogue::Slots(20)));
    assert_eq!(judge(&chain(300, 10)).0, Err(Rogue::Slots(20)));
}

#[test]
fn a_later_slot_longer_than_what_remains_is_dropped() {
    let (outcome, packet, left) = judge(&[data(0, 60, MORE), data(0, 61, MORE), data(0, 9, LAST)]);
    assert!(matches!(outcome, Ok(Some(Verdict::Drop(_)))));
    assert_eq!((packet.data().len(), left), (3, 0));
}

#[test]
fn a_frame_shorter_than_its_header_is_dropped() {
    for total in 0..14 {
        assert!(matches!(judge(&[data(0, total, LAST)]).0, Ok(Some(Verdict::Drop(_)))));
    }
    assert_eq!(judge(&[data(0, 14, LAST)]).0, Ok(Some(Verdict::Good)));
}

#[test]
fn segments_of_no_size_or_of_another_protocol_break() {
    use GsoType::{None, TcpV4, TcpV6};
    for (size, kind) in [(0, TcpV4), (1448, None), (1448, TcpV6), (0, TcpV6)] {
        let slots = [data(0, 60, EXTRA), gso(size, kind, false)];
        assert_eq!(judge(&slots).0, Err(Rogue::Gso(size, kind as u8)));
    }
}

#[test]
fn of_two_extra_infos_of_one_type_the_last_counts() {
    let both = [gso(1, GsoType::TcpV4, true), gso(2, GsoType::TcpV4, false)];
    let (outcome, packet, _) = judge(&[data(0, 60, EXTRA), both[0], both[1]]);
    assert_eq!(outcome, Ok(Some(Verdict::Good)));
    assert_eq!((packet.gso, packet.extras), (2, 2));
}

/// Bytes of a slot: some that could be a request, some that could be an extra info, some of nothing.
fn any_slot() -> impl Strategy<Value = [u8; TX_SLOT]> {
    let request = (0_u16..5000, any::<u16>(), 0_u16..16).prop_map(|(offset, size, flags)| {
        let bytes: [u8; TX_SLOT] =
            zerocopy::transmute!(TxRequest { gref: 9, offset, flags, id: 0, size });
        bytes
    });
    let extra = (0_u8..6, 0_u8..2, 0_u16..3, 0_u8..3).prop_map(|(kind, flags, size, gso)| {
        let [low, high] = size.to_ne_bytes();
        [kind, flags, low, high, gso, 0, 0, 0, 0, 0, 0, 0]
    });
    prop_oneof![3 => request, 2 => extra, 1 => any::<[u8; TX_SLOT]>()]
}

/// A frame of up to 18 slots, each of any size a page has, none at all included.
fn partition() -> impl Strategy<Value = Vec<(u16, u16)>> {
    let page = u16::try_from(PAGE_SIZE).unwrap();
    let slot = prop_oneof![Just(0), 1..=page, 1_u16..64]
        .prop_flat_map(move |size| (0..=page - size).prop_map(move |offset| (offset, size)));
    proptest::collection::vec(slot, 1..=18).prop_filter("a frame's length", |slots| {
        let total: u32 = slots.iter().map(|&(_, size)| u32::from(size)).sum();
        (14..=65_535).contains(&total)
    })
}

proptest! {
    /// XSA-423, 432, 448: however a frame is cut, it is the same frame.
    #[test]
    fn every_partition_of_a_frame_is_read_back(cuts in partition(), segmented in any::<bool>()) {
        let total = cuts.iter().map(|&(_, size)| size).sum();
        let mut slots = Vec::new();
        for (n, &(offset, size)) in cuts.iter().enumerate() {
            let mut flags = if n + 1 < cuts.len() { MORE } else { LAST };
            flags.set(EXTRA, n == 0 && segmented);
            slots.push(data(offset, if n == 0 { total } else { size }, flags));
            if n == 0 && segmented {
                slots.push(gso(1000, GsoType::TcpV4, false));
            }
        }
        // Another frame behind it, which must stay where it is.
        slots.push(data(0, 60, LAST));
        let (outcome, packet, left) = judge(&slots);
        prop_assert_eq!(outcome, Ok(Some(Verdict::Good)));
        let read: Vec<_> = packet.data().iter().map(|slot| (slot.offset, slot.size)).collect();
        prop_assert_eq!(read, cuts);
        prop_assert_eq!((packet.total, packet.extras, left), (total, usize::from(segmented), 1));
    }

    /// Any bytes at all, each slot taken for whatever its turn is: never a panic, and what is good is
    /// inside its pages and adds up.
    #[test]
    fn whatever_a_guest_writes_is_judged(slots in proptest::collection::vec(any_slot(), 0..40)) {
        let mut packet = Packet::default();
        if let Ok(Some(Verdict::Good)) = parse(&mut Raw(slots.into()), &mut packet) {
            prop_assert!(packet.extras <= 5);
            let sum: usize = packet.data().iter().map(|slot| usize::from(slot.size)).sum();
            prop_assert_eq!(sum, usize::from(packet.total));
            for slot in packet.data() {
                prop_assert!(usize::from(slot.offset) + usize::from(slot.size) <= PAGE_SIZE);
            }
        }
    }
}
