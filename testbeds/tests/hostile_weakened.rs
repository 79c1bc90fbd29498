//! Each attack bites: every check that turns one away is left out here, one at a time, and the attack
//! comes through. What `hostile_frontend` and `hostile_backend` see is the work of these checks.
//!
//! `cargo test -p testbeds --features weaken --test hostile_weakened`. In memory-safe code a bite is
//! a lie believed, another's bytes, a page lost, or a panic; each test says which.
//!
//! Some lines have no check that could be left out:
//!
//! * 2 (an event index of garbage): nothing is decided by it but whether to send an event. Any value gives
//!   an answer, and a wrong one costs the liar its own wake-ups.
//! * 3 (the wrap): a property of indices that are only ever subtracted, and no attack.
//! * 4 (slots that change under the reader): a slot is copied out by `take`, and the copy is all that the
//!   checks and the work get to see. There is no second read to put back without writing other code.
//! * 13, of netback's own end: what it holds is counted by the grants themselves (`InUse`).
//! * 17 (padding): slots are values that are written whole, and what a type does not have is not there to
//!   leak.

mod rig;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use backend::Config;
use backend::wire::{Bridge, BridgePort, Reflect};
use rig::back::Attack as OnFront;
use rig::front::{Attack as OnBack, CANARY, CONFIG, Offer, Slot, Vifs};
use rings::bytes::ConsolePage;
use rings::evtchn::{Spin, WaitPolicy};
use rings::grant::{CopyOp, GntStatus};
use rings::io::console::{OUT_PROD, OUT_SIZE};
use rings::io::netif::{
    Extra, ExtraInfo, GsoType, RSP_ERROR, RSP_NULL, RxFlags, TxFlags, TxRequest,
};
use rings::mem::Region;
use rings::weaken::{Check, skip};
use rings::worker::{Task, Worker};
use rings::{DomId, Domain, Foreign, GrantMode, Gref, PAGE_SIZE};

const MORE: u16 = RxFlags::MORE_DATA.bits();
const EXTRA: u16 = RxFlags::EXTRA_INFO.bits();

/// Line 1: requests are taken that nobody made.
#[test]
fn without_its_check_a_request_producer_is_believed() {
    let mut attack = OnBack::new();
    let _skip = skip(Some(Check::ReqProd));
    attack.front.claim(257);
    assert_eq!(attack.frames().len(), 0);
    assert_eq!(attack.queue.stats().tx_errors, 257, "of 256 slots");
}

/// Line 1: frames are taken that nobody sent.
#[test]
fn without_its_check_a_response_producer_is_believed() {
    let mut attack = OnFront::new();
    let _skip = skip(Some(Check::RspProd));
    for _ in 0..256 {
        attack.back.deliver(&[3; 60], 0, |_| ());
    }
    attack.back.claim_rx(257);
    assert_eq!(attack.frames().len(), 257, "in 256 buffers");
}

/// Line 25: bytes are read from a console that nobody wrote.
#[test]
fn without_its_check_bytes_are_read_that_nobody_wrote() {
    let memory = Region::anonymous(PAGE_SIZE);
    let page = ConsolePage::new(memory.clone());
    page.init(0);
    let mut reader = page.back().reader;
    memory.write(OUT_PROD, 3 * 2048_u32);
    let mut read = vec![0; 4 * OUT_SIZE];
    assert!(reader.read(&mut read).is_err());
    let _skip = skip(Some(Check::ByteIndex));
    let bite = catch_unwind(AssertUnwindSafe(|| reader.read(&mut read)));
    assert!(!matches!(bite, Ok(Err(_))), "or a panic, for the page has an end");
}

/// Line 5: a page is free twice.
#[test]
fn without_its_check_an_answer_is_believed_twice() {
    let mut attack = OnFront::new();
    let _skip = skip(Some(Check::TxId));
    let ids = [attack.send(60), attack.send(60)].concat();
    attack.back.answer_all(&[ids[0], ids[0]]);
    assert_eq!(attack.queue.reap(), 2);
    assert_eq!(attack.queue.broken(), None);
}

/// Line 5: the frame is read from a buffer that it is not in.
#[test]
fn without_its_check_a_frame_stands_in_another_buffer() {
    let mut attack = OnFront::new();
    let _skip = skip(Some(Check::RxId));
    attack.back.deliver(&[3; 60], 0, |response| response.id = 77);
    assert_eq!(attack.frames(), [60]);
}

/// Line 6: a page is lost, and nothing shows it.
#[test]
fn without_its_check_an_answer_without_meaning_keeps_the_page() {
    let mut attack = OnFront::new();
    let _skip = skip(Some(Check::TxNull));
    let ids = attack.send(60);
    attack.back.answer(ids[0], RSP_NULL);
    assert_eq!(attack.queue.reap(), 1);
    assert_eq!(attack.queue.broken(), None);
}

/// Line 7: a panic.
#[test]
fn without_their_check_slots_outgrow_the_frame() {
    let mut attack = OnBack::new();
    let _skip = skip(Some(Check::SlotCount));
    let slots = [attack.front.data(0, 0, true); 30];
    attack.front.put_data(&slots);
    assert!(catch_unwind(AssertUnwindSafe(|| attack.frames())).is_err());
}

/// Line 7: a panic.
#[test]
fn without_their_check_received_slots_outgrow_the_frame() {
    let mut attack = OnFront::new();
    let _skip = skip(Some(Check::RxSlots));
    for _ in 0..19 {
        attack.back.deliver(&[3; 4096], MORE, |_| ());
    }
    assert!(catch_unwind(AssertUnwindSafe(|| attack.frames())).is_err());
}

/// Line 7: half a frame gets out.
#[test]
fn without_its_check_a_cut_chain_is_a_frame() {
    let mut attack = OnBack::new();
    let skipping = skip(Some(Check::SlotCut));
    let cut = attack.front.data(1, 60, true);
    attack.front.put_data(&[cut]);
    assert_eq!(attack.frames().len(), 1);
    drop(skipping);

    let mut attack = OnFront::new();
    let _skip = skip(Some(Check::RxCut));
    attack.back.deliver(&[3; 60], MORE, |_| ());
    assert_eq!(attack.frames(), [60]);
}

/// Line 8: nobody notices.
#[test]
fn without_their_check_extra_infos_may_be_of_any_type() {
    let unknown = ExtraInfo { kind: 255, flags: 0, body: [0; 6] };
    let mut attack = OnBack::new();
    let skipping = skip(Some(Check::ExtraType));
    attack.front.put(&[with_extra(&attack), Slot::Extra(unknown)]);
    assert_eq!(attack.frames().len(), 1);
    drop(skipping);

    let mut attack = OnFront::new();
    let _skip = skip(Some(Check::RxExtra));
    attack.back.deliver(&[3; 60], EXTRA, |_| ());
    attack.back.put_rx(unknown);
    assert_eq!(attack.frames(), [60]);
}

/// Line 8: nobody notices.
#[test]
fn without_their_check_segments_may_have_no_size() {
    let extra = Extra::Gso { size: 0, kind: GsoType::TcpV4, features: 0 }.encode(false);
    let mut attack = OnBack::new();
    let skipping = skip(Some(Check::GsoSize));
    attack.front.put(&[with_extra(&attack), Slot::Extra(extra)]);
    assert_eq!(attack.frames().len(), 1);
    drop(skipping);

    let mut attack = OnFront::new();
    let _skip = skip(Some(Check::RxGso));
    attack.back.deliver(&[3; 60], EXTRA, |_| ());
    attack.back.put_rx(extra);
    assert_eq!(attack.frames(), [60]);
}

/// Line 8: a frame that takes up most of a ring.
#[test]
fn without_their_check_extra_infos_have_no_end() {
    let extra = Extra::Gso { size: 1448, kind: GsoType::TcpV4, features: 0 };
    let extras = (0..200).map(|n| extra.encode(n < 199));
    let mut attack = OnBack::new();
    let skipping = skip(Some(Check::ExtraCount));
    let mut slots = vec![with_extra(&attack)];
    slots.extend(extras.clone().map(Slot::Extra));
    attack.front.put(&slots);
    assert_eq!(attack.frames().len(), 1);
    drop(skipping);

    let mut attack = OnFront::new();
    let _skip = skip(Some(Check::RxExtraCount));
    attack.back.deliver(&[3; 60], EXTRA, |_| ());
    extras.for_each(|extra| attack.back.put_rx(extra));
    assert_eq!(attack.frames(), [60]);
}

/// Line 9: the liar stays connected; only the grant copy, the second line, says no.
#[test]
fn without_its_check_a_slot_that_leaves_its_page_breaks_nothing() {
    let mut attack = OnBack::new();
    let _skip = skip(Some(Check::SlotBounds));
    let frame = TxRequest { offset: 4090, ..attack.front.data(0, 60, false) };
    attack.front.put_data(&[frame]);
    assert_eq!(attack.frames().len(), 0);
    assert_eq!(attack.front.answers(), [RSP_ERROR]);
    assert_eq!(attack.queue.broken(), None);
}

/// Line 9: the guest's neighbouring page, which it had not granted, is written.
#[test]
fn without_its_check_a_copy_leaves_its_page() {
    let attack = OnBack::new();
    let _skip = skip(Some(Check::CopyBounds));
    let mut foreign = attack.lab.dom0.foreign(DomId(1), GrantMode::Copy).unwrap();
    let gref = attack.front.grefs[0];
    let mut op = [CopyOp { gref, offset: 4000, len: 200, ..CopyOp::default() }];
    foreign.copy_to(&mut op, &[7; PAGE_SIZE]);
    assert_eq!(op[0].status, GntStatus::Okay);
    assert!(!attack.front.canaries_live());
}

/// Line 9: more bytes than were announced.
#[test]
fn without_their_check_slots_are_longer_than_the_frame() {
    let mut attack = OnBack::new();
    let _skip = skip(Some(Check::SlotTotal));
    let slots = [attack.front.data(0, 100, true), attack.front.data(1, 101, false)];
    attack.front.put_data(&slots);
    assert_eq!(attack.frames()[0].len(), 201, "of 100");
}

/// Line 9: bytes of a page that is not this buffer's.
#[test]
fn without_its_check_a_frame_is_longer_than_its_page() {
    let mut attack = OnFront::new();
    let _skip = skip(Some(Check::RxBounds));
    attack.back.deliver(&[3; 60], 0, |response| response.status = 4200);
    assert_eq!(attack.frames(), [4200]);
}

/// Line 10: a frame without a header gets out.
#[test]
fn without_its_check_a_frame_is_shorter_than_its_header() {
    let mut attack = OnBack::new();
    let _skip = skip(Some(Check::Runt));
    let runt = attack.front.data(0, 1, false);
    attack.front.put_data(&[runt]);
    assert_eq!(attack.frames()[0].len(), 1);
}

/// Line 12: bytes that were granted to somebody else arrive.
#[test]
fn without_its_check_a_grant_for_another_domain_is_good() {
    let mut attack = OnBack::new();
    let guest = attack.lab.guests[0].clone();
    let memory = guest.memory();
    let page = memory.alloc(1).unwrap();
    page.region().copy_in(0, &[CANARY; PAGE_SIZE]);
    let gref = memory.grant_access(DomId(2), &page, 0, false).unwrap();
    let _skip = skip(Some(Check::GrantEntry));
    let frame = TxRequest { gref: gref.0, ..attack.front.data(0, 60, false) };
    attack.front.put_data(&[frame]);
    assert_eq!(attack.frames(), [[CANARY; 60]]);
}

/// Line 11: a frame fails for a grant that it has no use for.
#[test]
fn without_its_check_a_slot_of_no_bytes_needs_a_grant() {
    let mut attack = OnBack::new();
    let _skip = skip(Some(Check::EmptySlot));
    let first = attack.front.data(0, 60, true);
    let empty = TxRequest { gref: u32::MAX, ..attack.front.data(1, 0, false) };
    attack.front.put_data(&[first, empty]);
    assert_eq!(attack.frames().len(), 0);
    assert_eq!(attack.front.answers(), [RSP_ERROR; 2]);
}

/// Line 12: a page that may only be read is written, and one that nobody granted is read.
#[test]
fn without_its_check_a_grant_is_good_for_anything() {
    let attack = OnBack::new();
    let guest = attack.lab.guests[0].clone();
    let memory = guest.memory();
    let page = memory.alloc(1).unwrap();
    page.region().copy_in(0, &[CANARY; PAGE_SIZE]);
    let readonly = memory.grant_access(DomId::DOM0, &page, 0, true).unwrap();
    let mut foreign = attack.lab.dom0.foreign(DomId(1), GrantMode::Copy).unwrap();
    let _skip = skip(Some(Check::GrantEntry));
    let mut op = [CopyOp { gref: readonly, len: 60, ..CopyOp::default() }];
    foreign.copy_to(&mut op, &[7; 60]);
    let mut bytes = [0; 60];
    page.region().copy_out(0, &mut bytes);
    assert_eq!((op[0].status, bytes), (GntStatus::Okay, [7; 60]));
    let mut op = [CopyOp { gref: Gref(8000), len: 60, ..CopyOp::default() }];
    foreign.copy_from(&mut op, &mut bytes);
    assert_eq!(op[0].status, GntStatus::Okay, "an entry of type 0");
}

/// Line 12: a count of eight bits goes on towards its end.
#[test]
fn without_its_check_a_grant_is_pinned_once_more() {
    let attack = OnBack::new();
    let mut foreign = attack.lab.dom0.foreign(DomId(1), GrantMode::Copy).unwrap();
    let _skip = skip(Some(Check::Pins));
    let gref = attack.front.grefs[0];
    let maps: Vec<_> = (0..129).map(|_| foreign.map(gref)).collect();
    assert!(maps.iter().all(Result::is_ok));
}

/// Line 13: the page is used again while somebody else writes to it.
#[test]
fn without_its_check_a_mapped_page_is_taken_back() {
    let attack = OnBack::new();
    let _skip = skip(Some(Check::InUse));
    assert_eq!(attack.lab.guests[0].memory().end_access(attack.front.ring_grefs[0]), Ok(()));
}

/// Line 18: each event costs a look.
#[test]
fn without_its_check_a_storm_is_not_slowed() {
    let mut attack = OnBack::new();
    let _skip = skip(Some(Check::Storm));
    let now = Instant::now();
    for _ in 0..10_000 {
        assert_eq!(attack.queue.patience(now), Duration::MAX);
        assert!(!attack.queue.arm(false, now));
        attack.front.tx_port.send();
        assert!(attack.queue.disarm());
        attack.queue.settle_event(false, now);
    }
    assert_eq!(attack.queue.storm_delays(), 0);
}

/// Line 18, the other way round.
#[test]
fn without_its_check_a_storm_is_not_slowed_at_the_frontend_either() {
    let mut attack = OnFront::new();
    let _skip = skip(Some(Check::Storm));
    let now = Instant::now();
    for _ in 0..10_000 {
        assert_eq!(attack.queue.patience(now), Duration::MAX);
        assert!(!attack.queue.arm(false, now));
        attack.back.tx_port.send();
        assert!(attack.queue.disarm());
        attack.queue.settle_event(false, now);
    }
    assert_eq!(attack.queue.storm_delays(), 0);
}

/// Every grant there is stays mapped.
#[test]
fn without_its_check_pages_stay_mapped_without_end() {
    let _skip = skip(Some(Check::Kept));
    let persistent = Config { grant: GrantMode::Persistent, ..CONFIG };
    let mut attack = OnBack::with(&Offer::default(), persistent);
    let grefs = attack.grants_of_one_page(4000);
    attack.use_each(&grefs);
    let grants = attack.queue.grants();
    assert_eq!((grants.maps, grants.unmaps), (4000, 0));
}

/// Line 20: frames are held for ever.
#[test]
fn without_its_check_a_guest_without_buffers_is_waited_for() {
    let OnBack { mut front, queue, lab: _lab, netback: _netback, .. } = OnBack::new();
    let _skip = skip(Some(Check::Drain));
    let mut wire = Reflect::new(queue);
    let frame = front.data(0, 60, false);
    front.put_data(&[frame]);
    let start = Instant::now();
    for seconds in 0..100 {
        wire.work_at(|| start + Duration::from_secs(seconds));
    }
    assert_eq!(wire.queue.stats().rx_dropped, 0);
}

/// Line 20: its carrier never goes off.
#[test]
fn without_its_check_a_guest_without_buffers_never_stalls() {
    let OnBack { mut front, queue, lab: _lab, netback: _netback, .. } = OnBack::new();
    let _skip = skip(Some(Check::Stall));
    let mut wire = Reflect::new(queue);
    let frame = front.data(0, 60, false);
    let start = Instant::now();
    for seconds in 0..100 {
        front.put_data(&[frame]);
        wire.work_at(|| start + Duration::from_secs(seconds));
        front.answers();
    }
    assert!(!wire.queue.stalled());
}

/// A bridge: all wait for one.
#[test]
fn without_its_check_one_guest_without_buffers_holds_all() {
    let _skip = skip(Some(Check::Hold));
    let (mut vifs, queues) = Vifs::connect(&[Offer::default(); 3]);
    vifs.guests[2].post(4);
    let bridge = Arc::new(Mutex::new(Bridge::new()));
    let mut ports: Vec<_> =
        queues.into_iter().map(|queue| BridgePort::join(&bridge, queue)).collect();
    vifs.guests[0].send(&[0xff; 60], TxFlags::empty(), 0);
    let start = Instant::now();
    for seconds in 0..100 {
        ports[0].work_at(|| start + Duration::from_secs(seconds));
    }
    assert!(vifs.guests[2].given().is_empty());
}

/// A bridge: one guest fills its memory.
#[test]
fn without_its_check_a_guest_has_addresses_without_end() {
    let _skip = skip(Some(Check::Addresses));
    let (mut vifs, queues) = Vifs::connect(&[Offer::default(); 2]);
    let bridge = Arc::new(Mutex::new(Bridge::new()));
    let mut ports: Vec<_> =
        queues.into_iter().map(|queue| BridgePort::join(&bridge, queue)).collect();
    // From 65 addresses of its own to the first of them.
    let mut frame = [2; 60];
    frame[5] = 0;
    for n in 0..=64 {
        frame[11] = n;
        vifs.guests[0].send(&frame, TxFlags::empty(), 0);
        assert!(ports[0].work());
    }
    vifs.guests[1].post(1);
    frame[5] = 64;
    vifs.guests[0].send(&frame, TxFlags::empty(), 0);
    assert!(ports[0].work());
    assert!(vifs.guests[1].given().is_empty(), "the 65th is known to be its own");
}

/// Line 19: whoever was not told of its work sleeps for ever.
#[test]
fn without_its_check_a_sleep_has_no_end() {
    let OnBack { lab, netback: _netback, mut front, queue, .. } = OnBack::new();
    let _skip = skip(Some(Check::LongestSleep));
    let mut waiter = lab.dom0.waiter().unwrap();
    queue.watch(&mut waiter).unwrap();
    let spin = Spin::new(WaitPolicy::Event, Duration::ZERO, false);
    let cost = lab.dom0.cost().clone();
    let serving = std::thread::spawn(move || {
        let mut worker = Worker::new(waiter, spin, cost);
        let mut tasks = [Reflect::new(queue)];
        while tasks[0].queue.stats().tx_frames == 0 {
            worker.turn(&mut tasks);
        }
    });
    // Time for it to fall asleep, and for twice the longest sleep.
    std::thread::sleep(Duration::from_secs(2));
    let frame = front.data(0, 60, false);
    front.put_data(&[frame]);
    std::thread::sleep(Duration::from_millis(1200));
    assert_eq!(front.answers(), []);
    front.tx_port.send();
    serving.join().unwrap();
}

/// A first slot behind which an extra info follows.
fn with_extra(attack: &OnBack) -> Slot {
    let flags = TxFlags::EXTRA_INFO.bits();
    Slot::Data(TxRequest { flags, ..attack.front.data(0, 100, false) })
}
