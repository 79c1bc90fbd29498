//! What the flags on the rings say of a frame's checksum, from both ends' stacks: a TCP or UDP packet may
//! be blank, and then carries the sum of its pseudo header; anything else is never said to be. `etherparse`
//! builds the frames and knows what their checksums should be.

mod rig;

use backend::Nic as BackNic;
use etherparse::PacketBuilder;
use frontend::Nic as FrontNic;
use rig::back::Attack as OnFront;
use rig::front::{Attack as OnBack, Offer};
use rings::frame::{Csum, Meta};
use rings::grant::{CopyOp, GntStatus};
use rings::io::netif::{RxFlags, TxFlags};
use rings::{Foreign, Gref, PAGE_SIZE};
use smoltcp::phy::{Device, TxToken};
use smoltcp::time::Instant;

/// One frame, with the checksum it should have.
struct Sample {
    what: &'static str,
    whole: Vec<u8>,
    /// Where its transport packet begins, and where in there the checksum is. None for what has none to
    /// leave out.
    place: Option<(usize, usize)>,
    v6: bool,
}

/// How a frame came out.
#[derive(PartialEq, Eq, Debug)]
enum Told {
    /// Nothing is said, and it is as it was made.
    Nothing,
    /// Right, and said to be.
    Right,
    /// Blank, with the sum of the pseudo header.
    Blank,
}

impl Sample {
    /// The frame as a stack makes it that leaves checksums to others.
    fn unfinished(&self) -> Vec<u8> {
        let mut frame = self.whole.clone();
        if let Some((l4, at)) = self.place {
            frame[l4 + at..l4 + at + 2].copy_from_slice(&[0xde, 0xad]);
        }
        frame
    }

    /// Holds a frame and its two flags against what may be said of it.
    fn told(&self, frame: &[u8], blank: bool, validated: bool) -> Told {
        let what = self.what;
        match (blank, validated) {
            (false, false) => {
                assert_eq!(frame, self.whole, "{what}");
                Told::Nothing
            }
            (false, true) => {
                assert_eq!(frame, self.whole, "{what}");
                Told::Right
            }
            (true, validated) => {
                assert!(validated, "{what}: blank is as good as validated");
                let (l4, at) = self.place.unwrap_or_else(|| panic!("{what} said to be blank"));
                // Whoever sums on from there has the checksum.
                let sum = !sum(&frame[l4..]);
                assert_eq!(sum.to_be_bytes(), self.whole[l4 + at..l4 + at + 2], "{what}");
                Told::Blank
            }
        }
    }
}

/// Word by word (RFC 1071).
fn sum(bytes: &[u8]) -> u16 {
    bytes.chunks(2).fold(0, |sum: u16, pair| {
        let word = u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]);
        let (sum, carry) = sum.overflowing_add(word);
        sum + u16::from(carry)
    })
}

fn samples() -> Vec<Sample> {
    let ethernet = || PacketBuilder::ethernet2([2; 6], [4; 6]);
    let v4 = || ethernet().ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64);
    let v6 = || ethernet().ipv6([0xfe; 16], [0xfd; 16], 64);
    let payload = [0x5a; 71];
    let built = |write: &dyn Fn(&mut Vec<u8>)| {
        let mut frame = Vec::new();
        write(&mut frame);
        frame
    };
    let udp4 = built(&|to| v4().udp(7, 9).write(to, &payload).unwrap());
    let mut fragment = udp4.clone();
    fragment[20] |= 0x20;
    let mut arp = vec![0; 60];
    arp[12..14].copy_from_slice(&[8, 6]);
    let sample = |what, whole, place, v6| Sample { what, whole, place, v6 };
    let tcp4 = built(&|to| v4().tcp(7, 9, 5, 99).ack(3).write(to, &payload).unwrap());
    let tcp6 = built(&|to| v6().tcp(7, 9, 5, 99).ack(3).write(to, &payload).unwrap());
    let udp6 = built(&|to| v6().udp(7, 9).write(to, &payload).unwrap());
    let icmp4 = built(&|to| v4().icmpv4_echo_request(1, 2).write(to, &payload).unwrap());
    let icmp6 = built(&|to| v6().icmpv6_echo_request(1, 2).write(to, &payload).unwrap());
    vec![
        sample("TCP over IPv4", tcp4, Some((34, 16)), false),
        sample("UDP over IPv4", udp4, Some((34, 6)), false),
        sample("TCP over IPv6", tcp6, Some((54, 16)), true),
        sample("UDP over IPv6", udp6, Some((54, 6)), true),
        sample("ARP", arp, None, false),
        sample("ICMP", icmp4, None, false),
        sample("ICMPv6", icmp6, None, true),
        sample("a fragment of UDP", fragment, None, false),
    ]
}

/// What is to be said of a sample to somebody who takes these blank checksums.
fn expected(sample: &Sample, v4: bool, v6: bool) -> Told {
    match sample.place {
        None => Told::Nothing,
        Some(_) if (sample.v6 && v6) || (!sample.v6 && v4) => Told::Blank,
        Some(_) => Told::Right,
    }
}

#[test]
fn netbacks_stack_says_of_each_frame_what_is_so() {
    for (csum, csum6) in [(true, true), (true, false), (false, true), (false, false)] {
        let attack = OnBack::offering(&Offer { csum, csum6, ..Offer::default() });
        let OnBack { lab, netback, mut front, queue, neighbour, other } = attack;
        // A stack sends when there is room for the largest frame, so there are more than these take.
        let grefs = front.grefs.clone();
        front.post(&grefs);
        let mut nic = BackNic::new(queue, 0, 1500);
        for (n, sample) in samples().iter().enumerate() {
            // A stack that is to fill in all checksums does.
            let made = if csum || csum6 { sample.unfinished() } else { sample.whole.clone() };
            let token = nic.transmit(Instant::ZERO).expect("room");
            token.consume(made.len(), |frame| frame.copy_from_slice(&made));
            nic.queue.flush();
            let answer = *front.received(0).last().unwrap();
            let mut frame = vec![0; made.len()];
            front.pages.region().copy_out(2 * n * PAGE_SIZE, &mut frame);
            let flags = RxFlags::from_bits_retain(answer.flags);
            let (blank, validated) =
                (flags.contains(RxFlags::CSUM_BLANK), flags.contains(RxFlags::DATA_VALIDATED));
            let told = sample.told(&frame, blank, validated);
            let wanted = if csum || csum6 { expected(sample, csum, csum6) } else { Told::Nothing };
            assert_eq!(told, wanted, "{} for {csum}, {csum6}", sample.what);
        }
        let attack = OnBack { lab, netback, front, queue: nic.queue, neighbour, other };
        attack.survives();
    }
}

/// Each of them through the two ways by which frames get to a guest beside a stack's: made in place, and
/// passed on from another guest.
#[test]
fn netback_fills_in_what_its_guest_does_not_take() {
    for (csum, csum6) in [(true, true), (true, false), (false, true), (false, false)] {
        let mut attack = OnBack::offering(&Offer { csum, csum6, ..Offer::default() });
        let meta = Meta { csum: Csum::Blank, gso: 0 };
        for (n, sample) in samples().iter().filter(|sample| sample.place.is_some()).enumerate() {
            for passed_on in [false, true] {
                let page = 2 * n + usize::from(passed_on);
                let gref = attack.front.grefs[page];
                attack.front.post(&[gref]);
                let mut made = sample.unfinished();
                if passed_on {
                    let (l4, at) = sample.place.unwrap();
                    // As another guest has left it.
                    made[l4 + at..l4 + at + 2].fill(0);
                    let seed = sum(&sample.whole[l4 + at..l4 + at + 2]);
                    let rest = !sum(&made[l4..]);
                    let (low, carry) = (!seed).overflowing_add(rest);
                    let seed = low + u16::from(carry);
                    made[l4 + at..l4 + at + 2].copy_from_slice(&seed.to_be_bytes());
                    let before = made.clone();
                    assert!(attack.queue.has_room(made.len(), meta));
                    attack.queue.send(&mut made, meta);
                    assert_eq!(made, before, "others may get it too");
                } else {
                    let sent = attack.queue.xmit(made.len(), meta, |to| to.copy_from_slice(&made));
                    assert!(sent.is_some());
                }
                attack.queue.flush();
                let flags = attack.front.received(0).last().unwrap().flags;
                let flags = RxFlags::from_bits_retain(flags);
                let mut frame = vec![0; made.len()];
                attack.front.pages.region().copy_out(2 * page * PAGE_SIZE, &mut frame);
                let (blank, validated) =
                    (flags.contains(RxFlags::CSUM_BLANK), flags.contains(RxFlags::DATA_VALIDATED));
                let told = sample.told(&frame, blank, validated);
                assert_eq!(told, expected(sample, csum, csum6), "{}, {passed_on}", sample.what);
            }
        }
        attack.survives();
    }
}

#[test]
fn netfronts_stack_says_of_each_frame_what_is_so() {
    for csum6 in [None, Some("0"), Some("1")] {
        let keys: Vec<_> = csum6.map(|on| ("feature-ipv6-csum-offload", on)).into_iter().collect();
        let OnFront { lab, netfront, queue, mut back, before } = OnFront::offering(&keys);
        let mut nic = FrontNic::new(queue, 0);
        let mut ids = Vec::new();
        for (n, sample) in (0..).zip(samples()) {
            let made = sample.unfinished();
            let token = nic.transmit(Instant::ZERO).expect("room");
            token.consume(made.len(), |frame| frame.copy_from_slice(&made));
            nic.queue.flush();
            let request = back.request(n);
            ids.push(request.id);
            let mut frame = vec![0; made.len()];
            let (gref, len) = (Gref(request.gref), request.size);
            let mut op = [CopyOp { gref, offset: request.offset, len, ..CopyOp::default() }];
            back.foreign.copy_from(&mut op, &mut frame);
            assert_eq!(op[0].status, GntStatus::Okay);
            let flags = request.flags();
            let (blank, validated) =
                (flags.contains(TxFlags::CSUM_BLANK), flags.contains(TxFlags::DATA_VALIDATED));
            let told = sample.told(&frame, blank, validated);
            let wanted = expected(&sample, true, csum6 == Some("1"));
            assert_eq!(told, wanted, "{} for {csum6:?}", sample.what);
        }
        back.answer_all(&ids);
        OnFront { lab, netfront, queue: nic.queue, back, before }.survives();
    }
}
