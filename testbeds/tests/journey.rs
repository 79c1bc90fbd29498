//! The journey of a packet, as the README tells it: one frame through a real lab, from netfront's queue to netback's
//! reflector and back, arrives byte for byte. Here everything runs in one process, so that each stop can be looked at.

mod rig;

use std::time::Instant;

use backend::wire::Reflect;
use rig::pair::{Ends, Pair};
use rings::frame::Meta;
use rings::worker::Task as _;
use rings_host::HostDomain;

/// A frame of a protocol that nobody computes checksums for.
fn frame(len: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..len).map(|n| (n % 251).to_le_bytes()[0]).collect();
    bytes[..6].copy_from_slice(&[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff]);
    bytes[6..12].copy_from_slice(&[0, 0x16, 0x3e, 0, 0, 1]);
    bytes[12..14].copy_from_slice(&[0x88, 0xb5]);
    bytes
}

/// Asleep on both ends: whoever puts something on a ring now must send an event for it.
fn lull(front: &mut frontend::Queue<HostDomain>, back: &mut Reflect<HostDomain>) {
    front.disarm();
    back.disarm();
    assert!(!front.arm(true, Instant::now()), "nothing is on its way to the frontend");
    assert!(!back.arm(Instant::now()), "nothing is on its way to the backend");
}

/// One frame's journey, stop by stop.
fn travel(front: &mut frontend::Queue<HostDomain>, back: &mut Reflect<HostDomain>, len: usize) {
    let sent = frame(len);
    lull(front, back);
    // 1 - 7
    front.xmit(len, Meta::default(), |page| page.copy_from_slice(&sent)).expect("there is room");
    front.flush();
    assert!(front.outstanding() > 0);
    // 8 - 14, and 17
    assert!(back.disarm(), "the event came");
    assert!(back.work(), "the frame came");
    // 15, 18
    assert!(front.disarm(), "the event came back");
    assert!(front.poll(), "the frame came back");
    assert_eq!(front.outstanding(), 0, "every page is ours again");
    let came = front.receive(|bytes, _| bytes.to_vec()).expect("a frame");
    let mut expected = sent;
    expected[..12].rotate_left(6);
    assert!(came == expected, "a frame of {len} bytes came back changed");
    assert!(front.receive(|_, _| ()).is_none(), "one frame only");
    // 16
    front.flush();
    assert_eq!((front.broken(), back.queue.broken()), (None, None));
}

fn round_trips(index_base: u32) {
    let ends = Ends::new();
    let Pair { mut netfront, mut front, netback: _netback, back: mut reflect } =
        ends.connect(index_base);
    // One slot, one page, a run of pages, the largest frame; often enough to go around the ring.
    for round in 0..40 {
        for len in [60, 1514, 4096, 4097, 9000, 65_535] {
            travel(&mut front, &mut reflect, len);
        }
        assert_eq!(front.stats().tx_frames, (round + 1) * 6);
    }
    // What is no frame is no matter of room.
    for len in [0, 65_536] {
        assert!(front.xmit(len, Meta::default(), |_| ()).is_none());
        assert!(reflect.queue.xmit(len, Meta::default(), |_| ()).is_none());
    }
    assert_eq!((front.stats().ring_full, reflect.queue.stats().ring_full), (0, 0));
    assert_eq!(
        netfront.otherend().expect("the store answers"),
        rings::store::XenbusState::Connected
    );
    // The backend lets go first; then no grant is in use any more.
    reflect.queue.close();
    assert_eq!(front.close(), 0, "grants that are still in use");
    ends.goodbye();
}

#[test]
fn one_frame_goes_there_and_back_byte_for_byte() {
    round_trips(0);
}

#[test]
fn and_so_it_does_where_the_indices_wrap() {
    round_trips(u32::MAX - 3);
}
