//! Can our types read the rings of a real Xen?
//!
//! `golden/ring-vif-*.txt` are the two pages a Linux 6.1 netfront shared with its netback on Xen
//! 4.17, in hex, while nothing moved. The numbers expected here were worked out from the pages by
//! hand. What the ring code makes of such pages is its own tests' question.

use rings::PAGE_SIZE;
use rings::io::SRING_HEADER;
use rings::io::netif::{
    Extra, ExtraInfo, GsoType, MAX_TX_SIZE, NR_SLOTS_MIN, RSP_NULL, RSP_OKAY, RX_RING_SIZE,
    RX_SLOT, RxRequest, TX_RING_SIZE, TX_SLOT, TxFlags, TxRequest, TxResponse,
};
use std::collections::BTreeSet;
use zerocopy::FromBytes;

/// A page, read from `offset  sixteen octets` a line. A line `*` stands for zeros.
fn page(dump: &str) -> Vec<u8> {
    let mut page = vec![0; PAGE_SIZE];
    for line in dump.lines().filter(|line| !line.starts_with(['#', '*'])) {
        let (offset, octets) = line.split_once("  ").expect("an offset, two blanks, octets");
        let offset = usize::from_str_radix(offset, 16).expect("a hexadecimal offset");
        for (place, octet) in octets.split_whitespace().enumerate() {
            page[offset + place] = u8::from_str_radix(octet, 16).expect("two hexadecimal digits");
        }
    }
    page
}

fn tx_page() -> Vec<u8> {
    page(include_str!("golden/ring-vif-tx.txt"))
}

fn rx_page() -> Vec<u8> {
    page(include_str!("golden/ring-vif-rx.txt"))
}

/// The page's first words: `req_prod req_event rsp_prod rsp_event`.
fn indices(page: &[u8]) -> [u32; 4] {
    <[u32; 4]>::read_from_prefix(page).expect("a page is longer").0
}

/// What is at the start of slot `slot`, of `octets` octets.
fn at<T: FromBytes>(page: &[u8], octets: usize, slot: usize) -> T {
    T::read_from_prefix(&page[SRING_HEADER + slot * octets..]).expect("a slot of the page").0
}

/// The request a transmit slot held. Its answer has overwritten `gref`; the rest still stands.
fn request(page: &[u8], slot: usize) -> TxRequest {
    at(page, TX_SLOT, slot)
}

/// The answer in a transmit slot.
fn response(page: &[u8], slot: usize) -> TxResponse {
    at(page, TX_SLOT, slot)
}

/// The extra a transmit slot held. Its answer has overwritten octets 2 and 3, see below.
fn extra(page: &[u8], slot: usize) -> ExtraInfo {
    at(page, TX_SLOT, slot)
}

/// Slots with packets in them: what `req_prod` says, on a ring that has not wrapped yet.
const TX_USED: usize = 140;

/// A packet of the transmit ring.
#[derive(PartialEq, Eq, Debug)]
struct Packet {
    /// The slot of its first request.
    slot: usize,
    /// Bytes, by that request.
    total: u16,
    /// The slots of its extras.
    extras: Vec<usize>,
    /// Bytes of each slot; the first one's are what the others leave of the total.
    shares: Vec<u16>,
}

/// Walks the used slots by the rules in `netif`'s description.
fn packets(page: &[u8]) -> Vec<Packet> {
    let (mut packets, mut slot) = (Vec::new(), 0);
    while slot < TX_USED {
        let first = request(page, slot);
        let mut packet = Packet { slot, total: first.size, extras: Vec::new(), shares: Vec::new() };
        slot += 1;
        let mut another_extra = first.flags().contains(TxFlags::EXTRA_INFO);
        while another_extra {
            packet.extras.push(slot);
            another_extra = extra(page, slot).more();
            slot += 1;
        }
        let (mut last, mut later) = (first, Vec::new());
        while last.flags().contains(TxFlags::MORE_DATA) {
            last = request(page, slot);
            later.push(last.size);
            slot += 1;
        }
        let share = first.size - later.iter().sum::<u16>();
        packet.shares.push(share);
        packet.shares.append(&mut later);
        packets.push(packet);
    }
    assert_eq!(slot, TX_USED, "the last packet ends where the producer stands");
    packets
}

/// Idle, all of it: every request answered, and both sides armed for the very next.
#[test]
fn tx_ring_is_idle_at_140() {
    let page = tx_page();
    assert_eq!(indices(&page), [140, 141, 140, 141]);
    // It has not wrapped yet: slot and index are the same.
    const { assert!(TX_USED <= TX_RING_SIZE) };
    // Behind the producer nothing was ever written, so slots really are 12 octets apart.
    assert!(page[SRING_HEADER + TX_USED * TX_SLOT..].iter().all(|&octet| octet == 0));
}

/// Answers stand where the requests were and name them; extras alone are answered with NULL.
#[test]
fn tx_answers_are_okay_and_null_for_extras() {
    let page = tx_page();
    let (nulls, rest): (Vec<_>, Vec<_>) =
        (0..TX_USED).partition(|&slot| response(&page, slot).status == RSP_NULL);
    assert_eq!(nulls, [15, 20, 25, 30, 35]);
    for slot in rest {
        let id = request(&page, slot).id;
        assert_eq!(response(&page, slot), TxResponse { id, status: RSP_OKAY }, "slot {slot}");
    }
    // An id is used again as soon as it is free; netfront never needed a fifth.
    let ids: BTreeSet<_> = (0..TX_USED).map(|slot| request(&page, slot).id).collect();
    assert_eq!(ids, BTreeSet::from([0, 1, 2, 3]));
}

/// Netback writes only the status into an extra's slot: type and flags before it, and the GSO type
/// behind it, are still netfront's. The segment size was where the status is now.
#[test]
fn tx_extras_are_gso_for_tcp_v4() {
    let page = tx_page();
    for slot in [15, 20, 25, 30, 35] {
        let extra = extra(&page, slot);
        assert_eq!(extra, ExtraInfo { kind: 1, flags: 0, body: [1, 0, 1, 0, 0, 0] });
        assert!(!extra.more());
        let status = RSP_NULL.unsigned_abs();
        let read = Extra::Gso { size: status, kind: GsoType::TcpV4, features: 0 };
        assert_eq!(extra.decode(), Ok(read), "slot {slot}");
        // The last four octets of a transmit slot are not part of an extra.
        let whole: [u8; TX_SLOT] = at(&page, TX_SLOT, slot);
        assert_eq!(whole[8..], [0; 4]);
    }
}

/// Packets in one slot, in two, and with an extra between, byte for byte.
#[test]
fn tx_packets_are_as_worked_out_by_hand() {
    let packets = packets(&tx_page());
    let single = |slot, total| Packet { slot, total, extras: vec![], shares: vec![total] };
    // Ten small packets without offloads, then the first TCP segments, without data.
    let opening = [90, 86, 42, 98, 90, 90, 70, 90, 70, 42, 74, 66];
    for (slot, total) in opening.into_iter().enumerate() {
        assert_eq!(packets[slot], single(slot, total));
    }
    // TCP with data: headers (Ethernet 14, IPv4 20, TCP 32) in a slot of their own, then payload.
    let chain = |slot, extras, total| Packet { slot, total, extras, shares: vec![66, total - 66] };
    assert_eq!(packets[12], chain(12, vec![], 1393));
    assert_eq!(packets[13], chain(14, vec![15], 2962));
    assert_eq!(packets[14], chain(17, vec![], 1266));
    assert_eq!(packets[15], chain(19, vec![20], 2962));
    // The very last is an acknowledgement.
    assert_eq!(packets.last(), Some(&single(139, 66)));

    // 140 slots: 13 packets of one slot, 5 of two with an extra, 56 of two.
    let slots = |packet: &Packet| packet.shares.len() + packet.extras.len();
    let count = |n| packets.iter().filter(|packet| slots(packet) == n).count();
    assert_eq!((count(1), count(2), count(3), packets.len()), (13, 56, 5, 74));
    assert!(packets.iter().all(|packet| slots(packet) <= NR_SLOTS_MIN));
}

/// The flags of the first slots, and what goes with them.
#[test]
fn tx_flags_say_blank_checksum_and_large_packet() {
    let page = tx_page();
    let blank = TxFlags::CSUM_BLANK | TxFlags::DATA_VALIDATED;
    for packet in packets(&page) {
        let first = request(&page, packet.slot);
        let mut expected = TxFlags::empty();
        // Everything from slot 10 on is TCP, whose checksum netfront leaves to others.
        expected.set(blank, packet.slot >= 10);
        expected.set(TxFlags::MORE_DATA, packet.shares.len() > 1);
        // More than an Ethernet frame of 1500 + 14 bytes: somebody will have to cut it.
        expected.set(TxFlags::EXTRA_INFO, packet.total > 1514);
        assert_eq!(first.flags(), expected, "slot {}", packet.slot);
        assert!(packet.total < MAX_TX_SIZE);
        // The later slot repeats none of them.
        if packet.shares.len() > 1 {
            let later = request(&page, packet.slot + packet.extras.len() + 1);
            assert_eq!(later.flags(), TxFlags::empty());
        }
    }
}

/// A slot's bytes end with the page at the latest. Only the share shows that, not the total.
#[test]
fn tx_shares_stay_within_their_pages() {
    let page = tx_page();
    for packet in packets(&page) {
        let first = request(&page, packet.slot);
        let end = usize::from(first.offset) + usize::from(packet.shares[0]);
        assert!(end <= PAGE_SIZE, "slot {}", packet.slot);
    }
    // Slot 19: the total would run past the page, the share does not.
    let first = request(&page, 19);
    assert_eq!((first.offset, first.size), (2302, 2962));
    // Slots 21 and 23 share out one page of payload between two packets, to its last byte.
    let (one, two) = (request(&page, 21), request(&page, 23));
    assert_eq!((one.offset, one.size, two.offset, two.size), (0, 2896, 2896, 1200));
    assert_eq!(usize::from(two.offset + two.size), PAGE_SIZE);
}

/// Full of requests: 78 slots were answered, and each was consumed and offered again. So no answer
/// and no extra of netback's can be seen here.
#[test]
fn rx_ring_is_full_of_requests() {
    let page = rx_page();
    let [req_prod, req_event, rsp_prod, rsp_event] = indices(&page);
    assert_eq!((req_prod, rsp_prod, rsp_event), (334, 78, 79));
    assert_eq!(usize::try_from(req_prod - rsp_prod), Ok(RX_RING_SIZE));
    // Netback asks to be told of requests only when it is out of them. It never was.
    assert_eq!(req_event, 1);

    let requests: Vec<RxRequest> = (0..RX_RING_SIZE).map(|slot| at(&page, RX_SLOT, slot)).collect();
    for (slot, request) in requests.iter().enumerate() {
        assert_eq!((usize::from(request.id), request.pad), (slot, 0), "an id is its slot here");
    }
    let grefs: Vec<u32> = requests.iter().map(|request| request.gref).collect();
    assert_eq!(grefs[..10], [267, 266, 265, 264, 268, 269, 270, 272, 271, 273]);
    // No page is offered twice: one run of grants, ahead of those of the rings (520 and 521).
    let distinct: BTreeSet<u32> = grefs.into_iter().collect();
    assert_eq!(distinct, (264..520).collect());
    // 504 slots would fit; the rest of the page is not part of the ring.
    assert!(page[SRING_HEADER + RX_RING_SIZE * RX_SLOT..].iter().all(|&octet| octet == 0));
}
