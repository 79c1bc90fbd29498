//! Hostile ends of a vbd against the real other one: a test for each line of the conformance list that
//! concerns block devices.
//!
//! Each ends in one of three outcomes, and the rig checks all of it: one request fails, the vbd breaks with
//! the reason in the store, or nothing happens; and everything is given back. That each attack would bite
//! without the check is shown by `blk_weakened`; the checks of a request over all values are in
//! `blkif/tests`.

mod blk_rig;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering as Std};
use std::time::{Duration, Instant};

use blk_rig::back::Attack as OnFront;
use blk_rig::front::{
    Attack as OnBack, DISK, Front, VBD, config, connected, dir, indirect, wait_for,
};
use blk_rig::{Lab, until};
use blkif::back::disk::{Faults, Spec};
use blkif::back::{Blkback, Rogue, VbdEvent};
use blkif::front::{Misbehaviour, OpKind, Outcome};
use rings::io::blkif::{
    Op, RSP_EOPNOTSUPP, RSP_ERROR, RSP_OKAY, Request, RequestDiscard, Response, SLOT,
};
use rings::ring::{Index, ProdOverflow, SringMem};
use rings::store::{Nodes, XenbusState, xenbus};
use rings::{DomId, Domain, GrantMode, PAGE_SIZE};

const MODES: [GrantMode; 3] = [GrantMode::Copy, GrantMode::Map, GrantMode::Persistent];

/// What a guest writes into its keys, before blkback comes and afterwards.
#[test]
fn a_key_of_garbage_costs_its_guest_the_vbd_and_not_the_driver_domain() {
    for key in ["ring-ref", "event-channel", "protocol", "feature-persistent", "ring-page-order"] {
        for value in [&b""[..], b"\xff\xfe", &[b'9'; 2048]] {
            for early in [false, true] {
                let lab = Lab::new();
                let config = config(&Spec::Ram(DISK), GrantMode::Copy, false);
                let mut front = Front::new(&lab.guest, 0);
                let mut publish = || {
                    front.publish();
                    front.store.write(&format!("device/vbd/{}/{key}", VBD.handle), value).unwrap();
                };
                if early {
                    publish();
                }
                let mut blkback = Blkback::new(&lab.dom0, config).unwrap();
                if early {
                    // What looks like a connection to a backend before us is left as it is.
                    until("blkback to have looked", || {
                        blkback.step(Duration::from_millis(10)).expect("it goes on");
                        let state = xenbus::read_state(blkback.store(), &dir()).unwrap();
                        matches!(state, XenbusState::InitWait | XenbusState::Closing).then_some(())
                    });
                    continue;
                }
                wait_for(&mut blkback, XenbusState::InitWait);
                publish();
                wait_for(&mut blkback, XenbusState::Closing);
            }
        }
    }
}

/// Line 1.
#[test]
fn a_request_producer_that_cannot_be_breaks_the_vbd() {
    for jump in [33, 1 << 31, u32::MAX] {
        let mut attack = OnBack::new();
        attack.front.claim(jump);
        attack.serve();
        let lie = ProdOverflow { index: Index::ReqProd, seen: 0, claimed: jump, limit: 32 };
        attack.breaks(Rogue::Ring(lie));
    }
}

/// Line 1.
#[test]
fn a_response_producer_that_cannot_be_breaks_the_device() {
    for jump in [2, 33, 1 << 31, u32::MAX] {
        let mut attack = OnFront::new();
        attack.start(OpKind::Read, 8);
        attack.back.claim(jump);
        assert_eq!(attack.over(), []);
        let lie = ProdOverflow { index: Index::RspProd, seen: 0, claimed: jump, limit: 1 };
        attack.breaks(Misbehaviour::Ring(lie));
    }
}

/// Line 3.
#[test]
fn indices_pass_the_end_of_their_range() {
    let config = config(&Spec::Ram(DISK), GrantMode::Copy, false);
    let mut attack = OnBack::with(&config, u32::MAX - 3);
    for n in 0..200 {
        attack.front.fill(0, n);
        let write = attack.front.request(Op::Write, u64::from(n) * 8, &[0]);
        assert_eq!(attack.ask(write), RSP_OKAY);
        let read = attack.front.request(Op::Read, u64::from(n) * 8, &[1]);
        assert_eq!(attack.ask(read), RSP_OKAY);
        assert_eq!(attack.front.page(1), [n; PAGE_SIZE]);
    }
    attack.survives();
}

/// Line 4: bytes of slots and of a page of segments change all the while.
#[test]
fn bytes_that_change_while_they_are_read_cost_nothing_but_answers() {
    let mut attack = OnBack::new();
    let stop = Arc::new(AtomicBool::new(false));
    let (region, list) = (attack.front.ring.clone(), attack.front.pages.region().clone());
    let flag = Arc::clone(&stop);
    let flips = Arc::new(AtomicUsize::new(0));
    let flipped = Arc::clone(&flips);
    let flipper = std::thread::spawn(move || {
        let mut n = 1_u32;
        while !flag.load(Std::Relaxed) {
            n = n.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            region.write(n >> 27, n.to_le_bytes());
            list.write((n as usize >> 8) % 512 * 8, u64::from(n));
            flipped.fetch_add(1, Std::Relaxed);
        }
    });
    until("the flipper", || (flips.load(Std::Relaxed) > 0).then_some(()));
    let mut answered = 0;
    for round in 0..2000_u32 {
        let request = match round % 2 {
            0 => attack.front.request(Op::Write, 8, &[1, 2, 3]),
            _ => indirect(attack.front.grefs[0].0, Op::Write, 200),
        };
        attack.front.put(request);
        attack.serve();
        answered += attack.front.answers().len();
    }
    stop.store(true, Std::Relaxed);
    flipper.join().unwrap();
    assert_eq!(answered, 2000, "each slot has its answer");
    attack.survives();
}

/// Line 5.
#[test]
fn answers_to_what_was_never_asked_break_the_device() {
    for (id, lie) in [
        (32, Misbehaviour::IdRange(32)),
        (u64::MAX, Misbehaviour::IdRange(u64::MAX)),
        (9, Misbehaviour::IdIdle(9)),
    ] {
        let mut attack = OnFront::new();
        attack.start(OpKind::Read, 8);
        attack.back.answer(Response::new(id, 0, 0));
        assert_eq!(attack.over(), []);
        attack.breaks(lie);
    }
}

/// Line 5.
#[test]
fn an_answer_given_twice_breaks_the_device() {
    let mut attack = OnFront::new();
    let first = attack.start(OpKind::Read, 8);
    attack.start(OpKind::Read, 8);
    attack.back.answer_all(&[first[0], first[0]]);
    assert_eq!(attack.over(), [Outcome::Okay]);
    attack.breaks(Misbehaviour::IdIdle(first[0].id));
}

/// Line 5.
#[test]
fn an_answer_to_another_operation_breaks_the_device() {
    let mut attack = OnFront::new();
    let requests = attack.start(OpKind::Read, 8);
    attack.back.answer(Response::new(requests[0].id, Op::Write as u8, 0));
    assert_eq!(attack.over(), []);
    attack.breaks(Misbehaviour::Operation(requests[0].id, 0, 1));
}

/// Line 6.
#[test]
fn a_status_is_done_not_supported_or_an_error() {
    let mut attack = OnFront::new();
    for status in i16::MIN..=i16::MAX {
        let requests = attack.start(OpKind::Read, 8);
        attack.back.answer(Response::new(requests[0].id, 0, status));
        let expected = match status {
            0 => Outcome::Okay,
            -2 => Outcome::Unsupported,
            _ => Outcome::Error,
        };
        assert_eq!(attack.over(), [expected], "{status}");
    }
    attack.survives();
}

/// Line 12: each of these fails its request, whatever way pages are reached, and no other.
#[test]
fn grants_that_do_not_allow_it_fail_their_request_alone() {
    for mode in MODES {
        let mut attack = OnBack::by(mode);
        let good = attack.front.request(Op::Read, 0, &[1]);
        let (others, readonly) = (attack.front.of_others.0, attack.front.readonly.0);
        // Gref 0 is the console's, which domain 0 may have.
        for gref in [others, readonly, 7, 30_000, 40_000, u32::MAX] {
            let mut bad = attack.front.request(Op::Read, 0, &[1, 2, 3]);
            bad.seg[1].gref = gref;
            attack.front.put(bad);
            attack.front.put(good);
            attack.serve();
            let mut statuses = attack.front.statuses();
            statuses.sort_unstable();
            assert_eq!(statuses, [RSP_ERROR, RSP_OKAY], "{mode:?}: gref {gref}");
        }
        let mut write = attack.front.request(Op::Write, 0, &[1]);
        write.seg[0].gref = readonly;
        assert_eq!(attack.ask(write), RSP_OKAY, "{mode:?}: a page to be written from is only read");
        let list = indirect(others, Op::Read, 20);
        assert_eq!(attack.ask(list), RSP_ERROR, "{mode:?}: nor can segments be had that way");
        attack.survives();
    }
}

/// Line 12, line 13: a page that is kept mapped does not come back until it is unmapped.
#[test]
fn a_page_that_is_mapped_is_refused_to_its_owner() {
    let mut attack = OnBack::by(GrantMode::Persistent);
    let read = attack.front.request(Op::Read, 0, &[1]);
    assert_eq!(attack.ask(read), RSP_OKAY);
    let memory = attack.lab.guest.clone();
    assert!(memory.memory().end_access(attack.front.grefs[1]).is_err());
    attack.survives();
}

/// Line 14.
#[test]
fn numbers_of_segments_that_cannot_be_fail_their_request() {
    let mut attack = OnBack::new();
    for count in [0, 12, 255] {
        let mut request = attack.front.request(Op::Read, 0, &[1]);
        request.nr_segments = count;
        assert_eq!(attack.ask(request), RSP_ERROR, "{count}");
    }
    for count in [0, 257, 65_535] {
        let request = indirect(attack.front.grefs[0].0, Op::Read, count);
        assert_eq!(attack.ask(request), RSP_ERROR, "{count} indirect");
    }
    for (first, last) in [(0, 8), (3, 2), (0, 255), (255, 255)] {
        let mut request = attack.front.request(Op::Read, 0, &[1]);
        (request.seg[0].first_sect, request.seg[0].last_sect) = (first, last);
        assert_eq!(attack.ask(request), RSP_ERROR, "{first} to {last}");
    }
    attack.survives();
}

/// Line 15.
#[test]
fn what_is_past_the_end_or_on_a_disk_for_reading_fails() {
    let mut attack = OnBack::new();
    let end = DISK / 512;
    for sector in [end - 7, end, end + 1, u64::MAX, u64::MAX - 7] {
        for op in [Op::Read, Op::Write, Op::WriteBarrier] {
            let request = attack.front.request(op, sector, &[1]);
            assert_eq!(attack.ask(request), RSP_ERROR, "{op:?} at {sector}");
        }
    }
    attack.survives();
    let config = config(&Spec::Ram(DISK), GrantMode::Copy, true);
    let mut attack = OnBack::with(&config, 0);
    let write = attack.front.request(Op::Write, 0, &[1]);
    let list = attack.front.indirect(Op::Write, 1);
    let barrier = Request { operation: Op::WriteBarrier as u8, ..write };
    for request in [write, barrier, discard_request(0), list] {
        assert_eq!(attack.ask(request), RSP_ERROR);
    }
    let read = attack.front.request(Op::Read, 0, &[2]);
    assert_eq!(attack.ask(read), RSP_OKAY);
    assert_eq!(attack.front.page(2), [0; PAGE_SIZE], "nothing was written");
}

/// Line 15 (XSA-142): the disk could be written; the toolstack says that this guest may not.
#[test]
fn what_the_toolstack_does_not_allow_a_guest_is_kept_from_it() {
    for (write, discard) in [(true, true), (false, true), (true, false), (false, false)] {
        let config = config(&Spec::Ram(DISK), GrantMode::Copy, false);
        let mut attack = OnBack::within(Lab::allowing(write, discard), &config, 0);
        let told = |key| xenbus::read_u32(attack.blkback.store(), &format!("{}/{key}", dir()));
        let told = ["info", "feature-discard"].map(told).map(Result::unwrap);
        assert_eq!(told, [if write { 0 } else { 4 }, u32::from(discard)]);
        attack.front.fill(2, 0x22);
        let plain = attack.front.request(Op::Write, 0, &[2]);
        let barrier = Request { operation: Op::WriteBarrier as u8, ..plain };
        let list = attack.front.indirect(Op::Write, 2);
        let changed = if write { RSP_OKAY } else { RSP_ERROR };
        for request in [plain, barrier, list] {
            assert_eq!(attack.ask(request), changed, "write {write}, discard {discard}");
        }
        let read = attack.front.request(Op::Read, 0, &[3]);
        assert_eq!(attack.ask(read), RSP_OKAY);
        assert_eq!(attack.front.page(3), [if write { 0x22 } else { 0 }; PAGE_SIZE]);
        let forgotten = match (write, discard) {
            (_, false) => RSP_EOPNOTSUPP,
            (false, true) => RSP_ERROR,
            (true, true) => RSP_OKAY,
        };
        assert_eq!(attack.ask(discard_request(0)), forgotten, "write {write}, discard {discard}");
    }
}

/// Of the first eight sectors.
fn discard_request(flag: u8) -> Request {
    let discard = RequestDiscard {
        operation: Op::Discard as u8,
        flag,
        id: 1,
        nr_sectors: 8,
        ..RequestDiscard::default()
    };
    discard.into()
}

/// Line 16.
#[test]
fn operations_that_do_not_exist_are_not_supported() {
    let mut attack = OnBack::new();
    for op in [4, 7, 100, 255] {
        let mut request = attack.front.request(Op::Read, 0, &[1]);
        request.operation = op;
        assert_eq!(attack.ask(request), RSP_EOPNOTSUPP, "{op}");
    }
    for inner in [Op::Indirect, Op::Discard, Op::FlushDiskcache, Op::WriteBarrier] {
        let request = indirect(attack.front.grefs[0].0, inner, 1);
        assert_eq!(attack.ask(request), RSP_ERROR, "{inner:?} inside");
    }
    attack.survives();
}

/// Line 17 (XSA-216).
#[test]
fn an_answer_carries_nothing_but_itself() {
    let mut attack = OnBack::new();
    let read = attack.front.request(Op::Read, 0, &[1]);
    attack.front.ring.write(attack.front.prod & 31, [0xff_u8; SLOT]);
    assert_eq!(attack.ask(read), RSP_OKAY);
    let slot: [u8; 16] = attack.front.ring.read(0);
    assert_eq!(slot[8..], [Op::Read as u8, 0, 0, 0, 0, 0, 0, 0], "operation, pad, status, pad");
    attack.survives();
}

/// Line 27: what was written before a barrier is on the disk before it, and durable with it.
#[test]
fn a_barrier_waits_for_what_is_before_it_and_holds_what_is_after() {
    let faults =
        Faults { delays: 0.5, delay: Duration::from_millis(3), seed: 9, ..Faults::default() };
    let spec = Spec::Faulty(Box::new(Spec::Ram(DISK)), faults);
    let mut attack = OnBack::with(&config(&spec, GrantMode::Copy, false), 0);
    for round in 0..10 {
        attack.front.fill(0, 10 + round);
        let before: Vec<Request> =
            (0..15).map(|n| attack.front.request(Op::Write, n * 8, &[0])).collect();
        for (n, request) in (0..).zip(before) {
            attack.front.put(Request { id: n, ..request });
        }
        let barrier = attack.front.request(Op::WriteBarrier, 8 * 100, &[0]);
        attack.front.put(Request { id: 100, ..barrier });
        let after = attack.front.request(Op::Write, 8 * 101, &[0]);
        for id in 200..215 {
            attack.front.put(Request { id, ..after });
        }
        let mut order = Vec::new();
        until("all answers", || {
            attack.queue.work();
            order.extend(attack.front.answers().iter().map(|r| r.id));
            (order.len() == 31).then_some(())
        });
        let at = order.iter().position(|&id| id == 100).unwrap();
        assert!(order[..at].iter().all(|&id| id < 100) && at == 15, "{order:?}");
        assert!(order[at + 1..].iter().all(|&id| id >= 200), "{order:?}");
    }
    attack.serve();
}

/// Line 28: a page that is kept shows what is in it now.
#[test]
fn pages_that_are_kept_are_mapped_once_and_never_stale() {
    let lab = Lab::new();
    let mut blkback =
        Blkback::new(&lab.dom0, config(&Spec::Ram(DISK), GrantMode::Persistent, false)).unwrap();
    let mut front = Front::new(&lab.guest, 0);
    wait_for(&mut blkback, XenbusState::InitWait);
    front.publish();
    let mut queue = connected(&mut blkback);
    for (n, value) in (0..32_usize).zip(1..) {
        front.fill(n, value);
        let write = front.request(Op::Write, n as u64 * 8, &[n]);
        front.put(write);
        while queue.work() {}
        assert_eq!(front.statuses(), [RSP_OKAY]);
    }
    assert_eq!(queue.kept(), 32);
    let counters = queue.grants();
    assert_eq!((counters.maps, counters.unmaps), (32, 0), "mapped once");
    // Each is used again, and shows what is in it now.
    for (n, value) in (0..32_usize).zip(1..) {
        front.fill(n, 0x80);
        let read = front.request(Op::Read, n as u64 * 8, &[n]);
        front.put(read);
        while queue.work() {}
        assert_eq!(front.statuses(), [RSP_OKAY]);
        assert_eq!(front.page(n), vec![value; PAGE_SIZE]);
    }
    assert_eq!(queue.grants().maps, 32);
    queue.close();
    front.leave();
}

/// Line 28: whatever a guest grants, 1056 pages stay mapped; the one that was used longest ago goes first, and
/// its gref may be another page's then.
#[test]
fn pages_that_are_kept_are_never_too_many_and_go_when_nobody_uses_them() {
    let begin = Instant::now();
    let mut attack = OnBack::by(GrantMode::Persistent);
    let (frames, grefs) = attack.read_into_many(1100);
    assert_eq!(attack.queue.kept(), 1056);
    let counters = attack.queue.grants();
    assert_eq!((counters.maps, counters.unmaps), (1100, 1100 - 1056));
    let guest = attack.front.domain.clone();
    let memory = guest.memory();
    assert!(memory.end_access(grefs[1099]).is_err(), "the last is mapped");
    memory.end_access(grefs[0]).expect("the first is not");
    let another = memory.alloc(1).unwrap();
    another.region().copy_in(0, &[0x99; PAGE_SIZE]);
    let again = memory.grant_access(DomId::DOM0, &another, 0, false).unwrap();
    assert_eq!(again, grefs[0], "another page under the same gref");
    let mut write = attack.front.request(Op::Write, 0, &[1]);
    write.seg[0].gref = again.0;
    assert_eq!(attack.ask(write), RSP_OKAY);
    let read = attack.front.request(Op::Read, 0, &[1]);
    assert_eq!(attack.ask(read), RSP_OKAY);
    assert_eq!(attack.front.page(1), [0x99; PAGE_SIZE], "what is in the page now");
    // All were used after we began: none of them for a minute.
    attack.queue.tick(begin + Duration::from_secs(59));
    assert_eq!(attack.queue.kept(), 1056);
    attack.queue.tick(Instant::now() + Duration::from_secs(61));
    assert_eq!(attack.queue.kept(), 0);
    let counters = attack.queue.grants();
    assert_eq!(counters.maps, counters.unmaps);
    for gref in grefs {
        memory.end_access(gref).expect("nobody has it mapped");
    }
    memory.free(frames);
    memory.free(another);
    attack.survives();
}

/// What a backend does not offer is not used: one ring of one page, and eleven segments for each request.
#[test]
fn a_guest_takes_no_more_than_its_backend_offers() {
    let wanted = blk_rig::back::config();
    let wanted = blkif::front::Config { queues: 4, ring_order: 2, pages: 256, ..wanted };
    // 1 MiB: more than one such request takes.
    for (segments, requests) in [("", 24), ("0", 24), ("16", 16), ("256", 8)] {
        let keys = [("sectors", "2048"), ("feature-max-indirect-segments", segments)];
        let mut attack = OnFront::with(wanted.clone(), &keys).unwrap();
        assert_eq!(attack.blkfront.agreed(), (1, 0), "neither was offered");
        let put = attack.start(OpKind::Read, 2048);
        assert_eq!(put.len(), requests, "{segments:?}");
        let inner = |request: &Request| Request { operation: Op::Read as u8, ..*request };
        attack.back.answer_all(&put.iter().map(inner).collect::<Vec<_>>());
        assert_eq!(attack.over(), [Outcome::Okay]);
        attack.survives();
    }
}

/// A guest that wants its pages back has them back, whatever the backend would like.
#[test]
fn pages_of_a_guest_that_does_not_agree_are_not_kept() {
    for agrees in [false, true] {
        let config = config(&Spec::Ram(DISK), GrantMode::Persistent, false);
        let mut attack = OnBack::telling(Lab::new(), &config, 0, |front| {
            front.key("feature-persistent", u32::from(agrees));
        });
        let read = attack.front.request(Op::Read, 0, &[1, 2, 3]);
        assert_eq!(attack.ask(read), RSP_OKAY);
        let counters = attack.queue.grants();
        assert_eq!(attack.queue.kept(), if agrees { 3 } else { 0 });
        assert_eq!((counters.maps, counters.unmaps), (3, if agrees { 0 } else { 3 }));
        attack.survives();
    }
}

/// Line 22, line 26.
#[test]
fn keys_that_cannot_be_refuse_the_vbd_with_a_reason() {
    for (key, value, why) in [
        ("multi-queue-num-queues", "0", "must be 1 to 4"),
        ("multi-queue-num-queues", "5", "must be 1 to 4"),
        ("multi-queue-num-queues", "x", "multi-queue-num-queues"),
        ("multi-queue-num-queues", "2", "ring-ref"),
        ("ring-page-order", "31", "must be 0 to 4"),
        ("ring-page-order", "1", "ring-ref0"),
        ("ring-ref", "4294967295", "ring-ref"),
        ("event-channel", "0", "BindInterdomain"),
        ("protocol", "x86_32-abi", "x86_64-abi"),
        ("protocol", "", "protocol"),
    ] {
        let lab = Lab::new();
        let mut blkback =
            Blkback::new(&lab.dom0, config(&Spec::Ram(DISK), GrantMode::Copy, false)).unwrap();
        let mut front = Front::new(&lab.guest, 0);
        wait_for(&mut blkback, XenbusState::InitWait);
        front.key("ring-ref", front.ring_gref);
        front.key("event-channel", front.port.port());
        front.key("protocol", "x86_64-abi");
        front.key(key, value);
        front.switch(XenbusState::Initialised);
        wait_for(&mut blkback, XenbusState::Closing);
        let path = "error/backend/vbd/1/51712/error";
        let error = blkback.store().read_string(path).unwrap();
        assert!(error.contains(why), "{key}={value}: {error}");
        front.leave();
    }
}

/// Line 26: without the key the layout is the native one.
#[test]
fn a_guest_that_names_no_protocol_has_ours() {
    let lab = Lab::new();
    let mut blkback =
        Blkback::new(&lab.dom0, config(&Spec::Ram(DISK), GrantMode::Copy, false)).unwrap();
    let mut front = Front::new(&lab.guest, 0);
    wait_for(&mut blkback, XenbusState::InitWait);
    front.key("ring-ref", front.ring_gref);
    front.key("event-channel", front.port.port());
    front.store.rm("device/vbd/51712/protocol").unwrap();
    // As mini-os, Mirage and Unikraft do: 4 and never 3.
    front.switch(XenbusState::Connected);
    let queue = connected(&mut blkback);
    OnBack { front, queue, blkback, lab }.survives();
}

/// Line 21, line 23.
#[test]
fn a_guest_that_comes_and_goes_costs_nothing() {
    let lab = Lab::new();
    let mut blkback =
        Blkback::new(&lab.dom0, config(&Spec::Ram(DISK), GrantMode::Persistent, false)).unwrap();
    wait_for(&mut blkback, XenbusState::InitWait);
    for round in 0..30 {
        let mut front = Front::new(&lab.guest, round);
        front.publish();
        let mut queue = connected(&mut blkback);
        let read = front.request(Op::Read, 0, &[1]);
        front.put(read);
        while queue.work() {}
        assert_eq!(front.statuses(), [RSP_OKAY]);
        front.switch(XenbusState::Closed);
        until("to be asked for the queue", || {
            let events = blkback.step(Duration::from_millis(10)).unwrap();
            events.into_iter().find(|event| matches!(event, VbdEvent::Disconnect(VBD)))
        });
        queue.close();
        blkback.disconnected(VBD).unwrap();
        front.switch(XenbusState::Initialising);
        wait_for(&mut blkback, XenbusState::InitWait);
        // Asserts that every grant and frame has come back.
        front.leave();
    }
}

/// Line 22, at the other end.
#[test]
fn a_disk_that_cannot_be_is_refused_by_its_guest() {
    for (key, value, why) in [
        ("sectors", "0", "no sectors"),
        ("sectors", "-1", "sectors"),
        ("sectors", "99999999999999999999", "sectors"),
        ("sector-size", "0", "sectors of 0 bytes"),
        ("sector-size", "513", "sectors of 513 bytes"),
        ("sector-size", "8192", "sectors of 8192 bytes"),
    ] {
        let outcome = OnFront::describing(&[("sectors", "2048"), (key, value)]);
        let said = outcome.map(|_| ()).expect_err("no such disk");
        assert!(said.contains(why), "{key}={value}: {said}");
    }
    let attack = OnFront::describing(&[("sectors", "18014398509481984")]);
    attack.expect("a disk of 8 ZiB is none of our business").survives();
}

/// EOPNOTSUPP takes the feature away: barriers in the place of flushes, and then neither.
#[test]
fn what_turns_out_not_to_be_supported_is_given_up() {
    let mut attack = OnFront::new();
    // Two that are in flight together are one feature all the same.
    let flushes = [attack.start(OpKind::Flush, 0), attack.start(OpKind::Flush, 0)];
    for flush in flushes.concat() {
        assert_eq!(flush.operation, Op::FlushDiskcache as u8);
        attack.back.answer(Response::new(flush.id, flush.operation, RSP_EOPNOTSUPP));
    }
    assert_eq!(attack.over(), [Outcome::Unsupported; 2]);
    assert_eq!(attack.queue.stats().downgrades, 1);
    let barrier = attack.start(OpKind::Flush, 0);
    assert_eq!(barrier[0].operation, Op::WriteBarrier as u8);
    attack.back.answer(Response::new(barrier[0].id, barrier[0].operation, RSP_EOPNOTSUPP));
    assert_eq!(attack.over(), [Outcome::Unsupported]);
    assert_eq!(attack.queue.stats().downgrades, 2);
    let op = blkif::front::Op { kind: OpKind::Flush, sector: 0, sectors: 0, page: 0, tag: 7 };
    assert_eq!(attack.queue.start(op), Err(Outcome::Unsupported));
    attack.survives();
}

/// A secure discard is another feature than a discard: offered apart, and taken away apart.
#[test]
fn a_secure_discard_is_asked_for_where_it_is_offered_and_not_again_where_it_failed() {
    let discard = |secure| OpKind::Discard { secure };
    let op = |kind| blkif::front::Op { kind, sector: 0, sectors: 8, page: 0, tag: 7 };
    for offered in ["0", "1"] {
        let keys = [("sectors", "2048"), ("feature-discard", "1"), ("discard-secure", offered)];
        let mut attack = OnFront::describing(&keys).unwrap();
        if offered == "1" {
            let asked = attack.start(discard(true), 8);
            assert_eq!(asked[0].as_discard().flag, 1);
            attack.back.answer(Response::new(asked[0].id, asked[0].operation, RSP_EOPNOTSUPP));
            assert_eq!(attack.over(), [Outcome::Unsupported]);
        }
        assert_eq!(attack.queue.start(op(discard(true))), Err(Outcome::Unsupported), "{offered}");
        let asked = attack.start(discard(false), 8);
        assert_eq!((asked.len(), asked[0].as_discard().flag), (1, 0), "{offered}");
        attack.back.answer_all(&asked);
        assert_eq!(attack.over(), [Outcome::Okay]);
        attack.survives();
    }
}

/// The state of a backend is looked at as text from somebody else.
#[test]
fn a_backend_in_no_state_is_unknown() {
    let mut attack = OnFront::new();
    let path = "/local/domain/0/backend/vbd/1/51712/state";
    for text in ["", "9", "-1", "four"] {
        attack.back.store.write(path, text).unwrap();
        assert_eq!(attack.blkfront.otherend().unwrap(), XenbusState::Unknown, "{text:?}");
    }
    attack.back.store.write(path, "4").unwrap();
    let state = xenbus::read_state(&mut attack.back.store, "/local/domain/0/backend/vbd/1/51712");
    assert_eq!(state.unwrap(), XenbusState::Connected);
    attack.survives();
}
