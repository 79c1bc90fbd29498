//! The journey of a packet, as the README tells it: one frame through a real lab, from netfront's queue to netback's
//! reflector and back, arrives byte for byte. Here everything runs in one process, so that each stop can be looked at.

use std::path::Path;
use std::time::{Duration, Instant};

use backend::wire::Reflect;
use backend::{Netback, VifEvent};
use frontend::{Netfront, Wanted};
use rings::cost::CostNs;
use rings::frame::Meta;
use rings::worker::Task as _;
use rings::{DomId, GrantMode};
use rings_host::{Connect, Host, HostConfig, HostDomain};

/// Nothing here takes long; who waits for so long has hung.
const PATIENCE: Duration = Duration::from_secs(20);

fn domain(dir: &Path, domid: Option<DomId>, name: &str) -> HostDomain {
    let connect = Connect {
        dir: dir.to_owned(),
        domid,
        pool_frames: 0,
        name: name.into(),
        cost: CostNs::default(),
    };
    HostDomain::connect(&connect).expect("the host takes it")
}

/// netback's control half, until the first vif is up.
fn serve(back: &HostDomain) -> (Netback<HostDomain>, backend::Queue<HostDomain>) {
    let grant = GrantMode::Copy;
    let config = backend::Config {
        max_queues: 1,
        grant,
        batch: 32,
        always_notify: false,
        timers: backend::Timers::LINUX,
    };
    let mut netback = Netback::new(back, config).expect("the store answers");
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        for event in netback.step(Duration::from_millis(50)).expect("the store answers") {
            if let VifEvent::Connected(_, mut queues) = event {
                return (netback, queues.pop().expect("one queue"));
            }
        }
    }
    panic!("no vif came up");
}

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
    let scratch = tempfile::tempdir().expect("a folder");
    let dir = Some(scratch.path().join("lab"));
    let host = Host::start(HostConfig { dir, ..HostConfig::default() }).expect("a host");
    let back = domain(host.dir(), Some(DomId::DOM0), "netback");
    let front = domain(host.dir(), None, "netfront");
    let (mut netfront, mut queues, _netback, queue) = std::thread::scope(|scope| {
        let served = scope.spawn(|| serve(&back));
        let config = frontend::Config {
            handle: 0,
            wanted: Wanted { csum_tx: true, csum_rx: true, gso: true, sg: true, queues: 1 },
            always_notify: false,
            index_base,
            timeout: PATIENCE,
        };
        let (netfront, queues) = Netfront::connect(&front, &config).expect("a vif");
        let (netback, queue) = served.join().expect("netback serves");
        (netfront, queues, netback, queue)
    });
    let mut queue_front = queues.pop().expect("one queue");
    let mut reflect = Reflect::new(queue);
    // One slot, one page, a run of pages, the largest frame; often enough to go around the ring.
    for round in 0..40 {
        for len in [60, 1514, 4096, 4097, 9000, 65_535] {
            travel(&mut queue_front, &mut reflect, len);
        }
        assert_eq!(queue_front.stats().tx_frames, (round + 1) * 6);
    }
    // What is no frame is no matter of room.
    for len in [0, 65_536] {
        assert!(queue_front.xmit(len, Meta::default(), |_| ()).is_none());
        assert!(reflect.queue.xmit(len, Meta::default(), |_| ()).is_none());
    }
    assert_eq!((queue_front.stats().ring_full, reflect.queue.stats().ring_full), (0, 0));
    assert_eq!(
        netfront.otherend().expect("the store answers"),
        rings::store::XenbusState::Connected
    );
    // The backend lets go first; then no grant is in use any more.
    reflect.queue.close();
    assert_eq!(queue_front.close(), 0, "grants that are still in use");
    front.goodbye(0);
    back.goodbye(0);
}

#[test]
fn one_frame_goes_there_and_back_byte_for_byte() {
    round_trips(0);
}

#[test]
fn and_so_it_does_where_the_indices_wrap() {
    round_trips(u32::MAX - 3);
}
