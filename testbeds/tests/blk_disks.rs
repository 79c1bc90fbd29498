//! What a request does to the disk behind the ring and to the pages it names, and to nothing beside them:
//! every operation, on disks of every kind, by every way to reach pages.

mod blk_rig;

use std::path::PathBuf;
use std::time::Instant;

use blk_rig::front::{Attack, DISK, config, dir};
use blk_rig::until;
use blkif::back::disk::{Faults, Spec};
use rings::io::blkif::{
    DISCARD_SECURE, Op, RSP_EOPNOTSUPP, RSP_ERROR, RSP_OKAY, Request, RequestDiscard,
};
use rings::store::xenbus;
use rings::{GrantMode, PAGE_SIZE};

const MODES: [GrantMode; 3] = [GrantMode::Copy, GrantMode::Map, GrantMode::Persistent];

/// What a granted page holds before anything is done to it.
const BEFORE: u8 = 0x11;

fn on(spec: &Spec) -> Attack {
    by(spec, GrantMode::Copy)
}

fn by(spec: &Spec, mode: GrantMode) -> Attack {
    Attack::with(&config(spec, mode, false), 0)
}

/// A file as long as the disk.
fn image() -> (tempfile::TempDir, PathBuf) {
    let files = tempfile::tempdir().unwrap();
    let path = files.path().join("disk.img");
    std::fs::File::create(&path).and_then(|file| file.set_len(DISK)).unwrap();
    (files, path)
}

/// Waits for the one answer that is missing.
fn answer(attack: &mut Attack, request: impl Into<Request>) -> i16 {
    attack.front.put(request.into());
    until("an answer", || {
        attack.queue.work();
        attack.front.statuses().pop()
    })
}

/// Writes granted page 0, full of `value`.
fn write(attack: &mut Attack, sector: u64, value: u8) {
    attack.front.fill(0, value);
    let request = attack.front.request(Op::Write, sector, &[0]);
    assert_eq!(answer(attack, request), RSP_OKAY);
}

/// Eight sectors, by way of granted page 1.
fn read(attack: &mut Attack, sector: u64) -> Vec<u8> {
    attack.front.fill(1, BEFORE);
    let request = attack.front.request(Op::Read, sector, &[1]);
    assert_eq!(answer(attack, request), RSP_OKAY);
    attack.front.page(1)
}

fn discard(attack: &Attack, sector: u64, flag: u8) -> RequestDiscard {
    let id = attack.front.prod.into();
    let (operation, sector_number, nr_sectors) = (Op::Discard as u8, sector, 8);
    RequestDiscard { operation, flag, id, sector_number, nr_sectors, ..RequestDiscard::default() }
}

#[test]
fn what_is_discarded_is_zeros_and_what_is_beside_it_is_as_it_was() {
    let (_files, path) = image();
    for (spec, secure) in [(Spec::Ram(DISK), RSP_OKAY), (Spec::File(path), RSP_EOPNOTSUPP)] {
        let mut attack = on(&spec);
        for (page, value) in (0..4).zip(1..) {
            write(&mut attack, page * 8, value);
        }
        let plain = discard(&attack, 8, 0);
        assert_eq!(answer(&mut attack, plain), RSP_OKAY, "{spec:?}");
        let leaving_nothing = discard(&attack, 16, DISCARD_SECURE);
        assert_eq!(answer(&mut attack, leaving_nothing), secure, "{spec:?}");
        let third = if secure == RSP_OKAY { 0 } else { 3 };
        for (page, value) in (0..4).zip([1, 0, third, 4]) {
            assert_eq!(read(&mut attack, page * 8), [value; PAGE_SIZE], "{spec:?}: page {page}");
        }
        // What is no whole block to the disk is refused, and left.
        let unaligned = discard(&attack, 1, 0);
        assert_eq!(answer(&mut attack, unaligned), RSP_ERROR);
        assert_eq!(read(&mut attack, 0), [1; PAGE_SIZE]);
    }
}

/// A segment is a part of a page: neither the rest of the page nor the disk beside it is touched.
#[test]
fn sectors_in_the_middle_of_a_page_are_all_that_moves() {
    for mode in MODES {
        let mut attack = by(&Spec::Ram(DISK), mode);
        let region = attack.front.pages.region().clone();
        let sectors: Vec<u8> = (0..8).flat_map(|n| [0xa0 + n; 512]).collect();
        region.copy_in(0, &sectors);
        let part = |request: &mut Request| {
            (request.seg[0].first_sect, request.seg[0].last_sect) = (3, 5);
        };
        let mut request = attack.front.request(Op::Write, 10, &[0]);
        part(&mut request);
        assert_eq!(answer(&mut attack, request), RSP_OKAY);
        let mut expected = vec![0; PAGE_SIZE];
        expected[2 * 512..5 * 512].copy_from_slice(&sectors[3 * 512..6 * 512]);
        assert_eq!(read(&mut attack, 8), expected, "{mode:?}: sectors 10 to 12 of the disk");
        // And back, into the same part of another page.
        let mut request = attack.front.request(Op::Read, 10, &[2]);
        part(&mut request);
        assert_eq!(answer(&mut attack, request), RSP_OKAY);
        let mut expected = vec![BEFORE; PAGE_SIZE];
        expected[3 * 512..6 * 512].copy_from_slice(&sectors[3 * 512..6 * 512]);
        assert_eq!(attack.front.page(2), expected, "{mode:?}: sectors 3 to 5 of the page");
        attack.survives();
    }
}

/// `null` writes its zeros into the segments, whole or in part, and only into those.
#[test]
fn a_disk_of_zeros_writes_them_where_it_is_told_to() {
    for mode in MODES {
        let mut attack = by(&Spec::Null(DISK), mode);
        let mut request = attack.front.request(Op::Read, 0, &[1, 2]);
        (request.seg[0].first_sect, request.seg[0].last_sect) = (2, 5);
        assert_eq!(answer(&mut attack, request), RSP_OKAY);
        let mut expected = vec![BEFORE; PAGE_SIZE];
        expected[2 * 512..6 * 512].fill(0);
        assert_eq!(attack.front.page(1), expected, "{mode:?}");
        assert_eq!(attack.front.page(2), [0; PAGE_SIZE], "{mode:?}");
        assert_eq!(attack.front.page(3), [BEFORE; PAGE_SIZE], "{mode:?}");
        assert!(attack.front.canaries_live(), "{mode:?}");
    }
}

/// The reads of one turn are zeroed together; each has an answer of its own all the same.
#[test]
fn a_page_that_cannot_be_zeroed_fails_its_own_read_alone() {
    for mode in MODES {
        let mut attack = by(&Spec::Null(DISK), mode);
        for page in 1..4 {
            let mut request = attack.front.request(Op::Read, 0, &[page]);
            if page == 2 {
                request.seg[0].gref = attack.front.of_others.0;
            }
            attack.front.put(request);
        }
        attack.serve();
        assert_eq!(attack.front.statuses(), [RSP_OKAY, RSP_ERROR, RSP_OKAY], "{mode:?}");
        let pages = [1, 2, 3].map(|n| attack.front.page(n)[0]);
        assert_eq!(pages, [0, BEFORE, 0], "{mode:?}");
    }
}

#[test]
fn a_disk_of_nothing_touches_no_page() {
    for mode in MODES {
        let mut attack = by(&Spec::Void(DISK), mode);
        for op in [Op::Read, Op::Write] {
            let request = attack.front.request(op, 0, &[1, 2]);
            assert_eq!(answer(&mut attack, request), RSP_OKAY, "{mode:?} {op:?}");
        }
        for page in [1, 2] {
            assert_eq!(attack.front.page(page), [BEFORE; PAGE_SIZE], "{mode:?}");
        }
        let counters = attack.queue.grants();
        assert_eq!((counters.copies, counters.maps), (0, 0), "{mode:?}");
    }
}

/// Line 27: what a barrier answers for is in the file when the process with the cache is gone.
#[test]
fn what_is_before_a_barrier_and_in_it_outlives_the_backend() {
    let (_files, path) = image();
    let left = blk_rig::after_a_barrier(&path);
    assert_eq!(left, vec![true; 32], "31 writes and the barrier's own");
}

/// Linux' block layer says -1 where a flush of nothing is; a discard of nothing is none either.
#[test]
fn what_has_no_sectors_may_be_anywhere() {
    let (_files, path) = image();
    for spec in [Spec::File(path), Spec::Ram(DISK)] {
        let mut attack = on(&spec);
        for op in [Op::FlushDiskcache, Op::WriteBarrier] {
            let request = attack.front.request(op, u64::MAX, &[]);
            assert_eq!(answer(&mut attack, request), RSP_OKAY, "{op:?} of {spec:?}");
        }
        let nothing = RequestDiscard { nr_sectors: 0, ..discard(&attack, 0, 0) };
        assert_eq!(answer(&mut attack, nothing), RSP_OKAY, "{spec:?}");
        assert_eq!(read(&mut attack, 0), [0; PAGE_SIZE], "{spec:?}");
    }
}

/// A flush that the disk turns out not to do is refused, and offered no more.
#[test]
fn what_the_disk_does_not_do_is_taken_back() {
    let faults = Faults { no_flush: true, ..Faults::default() };
    let mut attack = on(&Spec::Faulty(Box::new(Spec::Ram(DISK)), faults));
    let keys = ["feature-flush-cache", "feature-barrier", "feature-discard"];
    let offered = |attack: &mut Attack| {
        let read = |key| xenbus::read_u32(attack.blkback.store(), &format!("{}/{key}", dir()));
        keys.map(read).map(Result::unwrap)
    };
    assert_eq!(offered(&mut attack), [1, 1, 1]);
    let flush = attack.front.request(Op::FlushDiskcache, 0, &[]);
    assert_eq!(answer(&mut attack, flush), RSP_EOPNOTSUPP);
    attack.queue.tick(Instant::now());
    attack.blkback.step(std::time::Duration::ZERO).unwrap();
    assert_eq!(offered(&mut attack), [0, 0, 1], "a barrier is a flush too");
    // Whoever asks all the same is told the same, and nothing of it is written.
    attack.front.fill(0, 0x77);
    for request in [
        attack.front.request(Op::FlushDiskcache, 0, &[]),
        attack.front.request(Op::WriteBarrier, 0, &[0]),
    ] {
        assert_eq!(answer(&mut attack, request), RSP_EOPNOTSUPP);
    }
    assert_eq!(read(&mut attack, 0), [0; PAGE_SIZE]);
    attack.survives();
}
