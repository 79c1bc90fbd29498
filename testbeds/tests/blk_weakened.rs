//! Each attack on a vbd bites: every check that turns one away is left out here, one at a time, and the
//! attack comes through. What `blk_hostile` sees is the work of these checks.
//!
//! `cargo test -p testbeds --features weaken --test blk_weakened`.

mod blk_rig;

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use blk_rig::back::Attack as OnFront;
use blk_rig::front::{Attack as OnBack, DISK, config};
use blk_rig::{Lab, until};
use blkif::back::disk::{Faults, Spec};
use blkif::front::{OpKind, Outcome};
use rings::io::blkif::{Op, RSP_OKAY, Request, Response, SLOT};
use rings::ring::SringMem as _;
use rings::weaken::{Check, skip};
use rings::{GrantMode, PAGE_SIZE};

/// Line 1: requests are taken that nobody made.
#[test]
fn without_its_check_a_request_producer_is_believed() {
    let mut attack = OnBack::new();
    let _skip = skip(Some(Check::ReqProd));
    attack.front.claim(33);
    let outcome = catch_unwind(AssertUnwindSafe(|| attack.serve()));
    assert!(outcome.is_err() || attack.queue.stats().errors >= 33, "33 requests of 32 slots");
}

/// Line 5: an operation is over twice.
#[test]
fn without_its_check_an_answer_is_believed_twice() {
    let mut attack = OnFront::new();
    let _skip = skip(Some(Check::BlkId));
    let first = attack.start(OpKind::Read, 8);
    attack.start(OpKind::Read, 8);
    attack.back.answer_all(&[first[0], first[0]]);
    attack.over();
    assert_eq!(attack.queue.broken(), None, "nobody notices");
}

/// Line 5: a read is taken for done that was answered as a write.
#[test]
fn without_its_check_an_answer_may_name_another_operation() {
    let mut attack = OnFront::new();
    let _skip = skip(Some(Check::BlkOp));
    let requests = attack.start(OpKind::Read, 8);
    attack.back.answer(Response::new(requests[0].id, Op::Write as u8, 0));
    assert_eq!(attack.over(), [Outcome::Okay]);
}

/// Line 12: a page of another domain's is read and written.
#[test]
fn without_its_check_a_grant_is_anybodys() {
    let mut attack = OnBack::new();
    let _skip = skip(Some(Check::GrantEntry));
    let mut read = attack.front.request(Op::Read, 0, &[1]);
    read.seg[0].gref = attack.front.of_others.0;
    assert_eq!(attack.ask(read), RSP_OKAY);
}

/// Line 14: a panic.
#[test]
fn without_its_check_segments_outgrow_the_request() {
    let mut attack = OnBack::new();
    let _skip = skip(Some(Check::BlkCount));
    let mut request = attack.front.request(Op::Read, 0, &[1]);
    request.nr_segments = 12;
    assert!(catch_unwind(AssertUnwindSafe(|| attack.ask(request))).is_err());
}

/// Line 14: the segment ends behind its page, where only the hypervisor's own bounds stop it.
#[test]
fn without_its_check_a_segment_leaves_its_page() {
    let mut attack = OnBack::new();
    let _skip = skip(Some(Check::BlkSegment));
    let before = attack.queue.stats().rd_sect;
    let mut request = attack.front.request(Op::Read, 0, &[1]);
    request.seg[0].last_sect = 15;
    attack.ask(request);
    assert_eq!(attack.queue.stats().rd_sect - before, 16, "sixteen sectors of a page of eight");
}

/// Line 15: the end of the disk is nowhere.
#[test]
fn without_its_check_a_request_may_lie_past_the_end() {
    let mut attack = OnBack::new();
    let _skip = skip(Some(Check::BlkRange));
    let request = attack.front.request(Op::Read, DISK, &[1]);
    assert_eq!(attack.ask(request), RSP_OKAY);
}

/// Line 15 (XSA-142): a disk for reading only is written.
#[test]
fn without_its_check_a_disk_for_reading_is_written() {
    let config = config(&Spec::Ram(DISK), GrantMode::Copy, true);
    let mut attack = OnBack::with(&config, 0);
    let _skip = skip(Some(Check::BlkReadOnly));
    let write = attack.front.request(Op::Write, 0, &[1]);
    assert_eq!(attack.ask(write), RSP_OKAY);
    let read = attack.front.request(Op::Read, 0, &[2]);
    assert_eq!(attack.ask(read), RSP_OKAY);
    assert_eq!(attack.front.page(2), attack.front.page(1));
}

/// Line 16: what cannot be inside an indirect request writes the disk.
#[test]
fn without_its_check_an_indirect_discard_writes() {
    let mut attack = OnBack::new();
    let _skip = skip(Some(Check::BlkInner));
    attack.front.fill(2, 0x22);
    let request = attack.front.indirect(Op::Discard, 2);
    assert_eq!(attack.ask(request), RSP_OKAY);
    let read = attack.front.request(Op::Read, 0, &[3]);
    assert_eq!(attack.ask(read), RSP_OKAY);
    assert_eq!(attack.front.page(3), [0x22; PAGE_SIZE]);
}

/// Line 26: a guest whose requests have another layout connects, and is misread.
#[test]
fn without_its_check_a_guest_of_another_layout_is_taken_for_one_of_ours() {
    let _skip = skip(Some(Check::BlkProtocol));
    let config = config(&Spec::Ram(DISK), GrantMode::Copy, false);
    let mut attack =
        OnBack::telling(Lab::new(), &config, 0, |front| front.key("protocol", "x86_32-abi"));
    // Request 5 there: its id at byte 4, its sector at 12, its segments from 20 on.
    let mut slot = [0; SLOT];
    (slot[0], slot[1], slot[4], slot[25]) = (Op::Read as u8, 1, 5, 7);
    slot[20..24].copy_from_slice(&attack.front.grefs[1].0.to_le_bytes());
    attack.front.ring.write(0, slot);
    attack.front.claim(1);
    attack.serve();
    let answers = attack.front.answers();
    assert_eq!(answers.len(), 1);
    assert_ne!(answers[0].id, 5, "the answer to another request");
}

/// Line 27: a barrier is answered, and what it stands for goes with the backend.
#[test]
fn without_its_check_a_barrier_saves_nothing() {
    let files = tempfile::tempdir().unwrap();
    let path = files.path().join("disk.img");
    File::create(&path).and_then(|file| file.set_len(DISK)).unwrap();
    let _skip = skip(Some(Check::BlkBarrier));
    let left = blk_rig::after_a_barrier(&path);
    assert!(left.contains(&false), "31 writes and the barrier's own: {left:?}");
}

/// Line 28: a guest decides how many of its pages are mapped.
#[test]
fn without_its_check_any_number_of_pages_is_kept() {
    let _skip = skip(Some(Check::Kept));
    let mut attack = OnBack::by(GrantMode::Persistent);
    attack.read_into_many(1100);
    assert_eq!(attack.queue.kept(), 1100);
}

/// Line 27: a barrier overtakes what was before it.
#[test]
fn without_its_check_a_barrier_does_not_wait() {
    let faults =
        Faults { delays: 0.5, delay: Duration::from_millis(30), seed: 9, ..Faults::default() };
    let spec = Spec::Faulty(Box::new(Spec::Ram(DISK)), faults);
    let mut attack = OnBack::with(&config(&spec, GrantMode::Copy, false), 0);
    let _skip = skip(Some(Check::BlkDrain));
    // Its own three steps are delayed as often as the writes: one try in eight at least shows it.
    let overtaken = (0..100).any(|_| {
        for id in 0..15 {
            let write = attack.front.request(Op::Write, id * 8, &[0]);
            attack.front.put(Request { id, ..write });
        }
        let barrier = attack.front.request(Op::WriteBarrier, 800, &[0]);
        attack.front.put(Request { id: 100, ..barrier });
        let mut order = Vec::new();
        until("all answers", || {
            attack.queue.work();
            order.extend(attack.front.answers().iter().map(|r| r.id));
            (order.len() == 16).then_some(())
        });
        order.last() != Some(&100)
    });
    assert!(overtaken);
}
