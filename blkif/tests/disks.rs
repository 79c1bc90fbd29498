//! The disks themselves: what is written is read; a flush saves what a kill would lose; a file is as
//! long as it says.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use blkif::back::disk::{Buffer, Disk, Done, Failure, Faults, Io, Kind, Source, Spec, Started};
use proptest::prelude::*;

/// Does one operation and waits for its end.
fn run(
    disk: &mut dyn Disk,
    kind: Kind,
    sector: u64,
    bytes: &[u8],
) -> (Result<(), Failure>, Vec<u8>) {
    let mut buffer = Buffer::default();
    buffer.set_len(bytes.len());
    buffer.bytes_mut().copy_from_slice(bytes);
    let sectors = (bytes.len() / 512) as u64;
    let done = match disk.start(Io { tag: 0, kind, sector, sectors, buffer }) {
        Started::Now(done) => done,
        Started::Later => wait(disk),
    };
    (done.outcome, done.buffer.bytes().to_vec())
}

fn wait(disk: &mut dyn Disk) -> Done {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        disk.submit();
        if let Some(done) = disk.poll() {
            return done;
        }
        assert!(Instant::now() < deadline, "an operation without end");
    }
}

fn write(disk: &mut dyn Disk, sector: u64, bytes: &[u8]) {
    assert_eq!(run(disk, Kind::Write, sector, bytes).0, Ok(()));
}

fn read(disk: &mut dyn Disk, sector: u64, len: usize) -> Vec<u8> {
    let (outcome, bytes) = run(disk, Kind::Read, sector, &vec![0xee; len]);
    assert_eq!(outcome, Ok(()));
    bytes
}

/// A file of so many bytes in a directory of its own.
fn file(bytes: u64) -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("disk.img");
    std::fs::File::create(&path).and_then(|f| f.set_len(bytes)).expect("a file");
    (dir, path)
}

#[test]
fn every_disk_that_keeps_gives_back_what_it_was_given() {
    let (_dir, path) = file(1 << 20);
    let cache = Faults { cache: true, seed: 3, ..Faults::default() };
    let late = Faults { delays: 0.5, delay: Duration::from_millis(1), seed: 5, ..cache };
    for spec in [
        Spec::Ram(1 << 20),
        Spec::File(path),
        Spec::Model(
            1 << 20,
            blkif::back::disk::Model { latency: Duration::ZERO, ..Default::default() },
        ),
        Spec::Faulty(Box::new(Spec::Ram(1 << 20)), cache),
        Spec::Faulty(Box::new(Spec::Ram(1 << 20)), late),
    ] {
        let source = Source::open(&spec, false, 512).expect("a disk");
        assert_eq!(source.geometry().sectors, 2048);
        let mut disk = source.queue(4).expect("a queue");
        for n in 0..40_u8 {
            write(&mut *disk, u64::from(n) * 8, &[n + 1; 4096]);
        }
        assert_eq!(run(&mut *disk, Kind::Flush, 0, &[]).0, Ok(()), "{spec:?}");
        for n in 0..40_u8 {
            assert_eq!(read(&mut *disk, u64::from(n) * 8, 4096), [n + 1; 4096], "{spec:?}");
        }
        let discard = Io {
            tag: 0,
            kind: Kind::Discard { secure: false },
            sector: 8,
            sectors: 8,
            buffer: Buffer::default(),
        };
        match disk.start(discard) {
            Started::Now(done) => assert_eq!(done.outcome, Ok(())),
            Started::Later => assert_eq!(wait(&mut *disk).outcome, Ok(())),
        }
        assert_eq!(read(&mut *disk, 8, 4096), [0; 4096], "{spec:?}");
        assert_eq!(read(&mut *disk, 16, 512), [3; 512], "{spec:?}");
    }
}

#[test]
fn a_file_begins_with_a_batch_before_the_last_of_it_is_put() {
    let (_dir, path) = file(1 << 20);
    let source = Source::open(&Spec::File(path), false, 512).expect("a disk");
    let mut disk = source.queue(32).expect("a queue");
    for tag in 0..31 {
        let mut buffer = Buffer::default();
        buffer.set_len(4096);
        let io = Io { tag, kind: Kind::Read, sector: u64::from(tag) * 8, sectors: 8, buffer };
        assert!(matches!(disk.start(io), Started::Later));
    }
    let before = disk.syscalls();
    assert!((1..31).contains(&before), "handed over in parts: {before}");
    let mut tags: Vec<u32> = (0..31).map(|_| wait(&mut *disk).tag).collect();
    tags.sort_unstable();
    assert_eq!(tags, (0..31).collect::<Vec<_>>());
}

/// A disk with a cache over a file: writes with a flush among them, then the process is gone.
fn after_a_kill(flushed: &[u8], unflushed: &[u8], seed: u64) -> BTreeMap<u64, u8> {
    let (_dir, path) = file(1 << 20);
    let faults = Faults { cache: true, seed, ..Faults::default() };
    let source =
        Source::open(&Spec::Faulty(Box::new(Spec::File(path.clone())), faults), false, 512);
    let source = source.expect("a disk");
    let mut disk = source.queue(4).expect("a queue");
    for (n, value) in (0..).zip(flushed) {
        write(&mut *disk, n, &[*value; 512]);
    }
    assert_eq!(run(&mut *disk, Kind::Flush, 0, &[]).0, Ok(()));
    for (n, value) in (1000..).zip(unflushed) {
        write(&mut *disk, n, &[*value; 512]);
    }
    // Nothing of the process's own memory gets out when it is killed, nor when this is dropped.
    drop((disk, source));
    let bytes = std::fs::read(path).expect("the file");
    bytes.chunks(512).zip(0..).filter(|(s, _)| s[0] != 0).map(|(s, n)| (n, s[0])).collect()
}

#[test]
fn what_was_answered_before_a_flush_survives_and_the_rest_may_not() {
    let (flushed, unflushed) = ([7; 200], [9; 200]);
    let mut lost = 0;
    for seed in 1..=5 {
        let left = after_a_kill(&flushed, &unflushed, seed);
        for n in 0..200 {
            assert_eq!(left.get(&n), Some(&7), "sector {n} was flushed");
        }
        lost += (1000..1200).filter(|n| !left.contains_key(n)).count();
    }
    assert!((200..800).contains(&lost), "a coin decides: {lost} of 1000 are lost");
}

/// Two queues: what the second has written and flushed is not undone by the first one's older flush.
#[test]
fn a_flush_waits_for_that_of_another_queue() {
    let faults = Faults { cache: true, seed: 1, ..Faults::default() };
    let spec = Spec::Faulty(Box::new(Spec::Ram(1 << 20)), faults);
    let source = Source::open(&spec, false, 512).expect("a disk");
    let mut queues = [source.queue(4).expect("a queue"), source.queue(4).expect("a queue")];
    let [first, second] = &mut queues;
    let sectors = || (0..200).step_by(2);
    sectors().for_each(|n| write(&mut **first, n, &[1; 512]));
    let flush =
        || Io { tag: 1, kind: Kind::Flush, sector: 0, sectors: 0, buffer: Buffer::default() };
    assert!(matches!(first.start(flush()), Started::Later));
    sectors().for_each(|n| write(&mut **second, n, &[2; 512]));
    assert!(matches!(second.start(flush()), Started::Later));
    assert!(second.poll().is_none(), "the first has not ended");
    assert!(
        second.syscalls() == 0 && {
            second.submit();
            second.syscalls() == 1
        },
        "a timer"
    );
    assert_eq!(wait(&mut **first).outcome, Ok(()));
    assert_eq!(wait(&mut **second).outcome, Ok(()));
    sectors().for_each(|n| assert_eq!(read(&mut **first, n, 512), [2; 512], "sector {n}"));
    // One that goes in the middle of its flush holds nobody.
    assert!(matches!(first.start(flush()), Started::Later));
    drop(source.queue(4).map(|mut third| third.start(flush())));
    drop(queues);
    assert_eq!(run(&mut *source.queue(4).expect("a queue"), Kind::Flush, 0, &[]).0, Ok(()));
}

#[test]
fn a_file_that_cannot_be_a_disk_says_so_in_one_line() {
    let (dir, odd) = file(1000);
    let said = |spec: &Spec, read_only| {
        let error = Source::open(spec, read_only, 512).expect_err("no disk").to_string();
        assert_eq!(error.lines().count(), 1, "{error}");
        error
    };
    assert!(said(&Spec::File(odd), false).contains("truncate -s 1024"));
    assert!(said(&Spec::File(dir.path().into()), false).contains("neither a file"));
    assert!(said(&Spec::File(dir.path().join("none")), false).contains("No such file"));
    let (_dir, empty) = file(0);
    assert!(said(&Spec::File(empty), false).contains("empty"));
    let (_dir, taken) = file(4096);
    let first = Source::open(&Spec::File(taken.clone()), true, 512).expect("a disk");
    let second = Source::open(&Spec::File(taken), true, 512);
    assert!(second.is_ok(), "two may read");
    drop((first, second));
}

#[test]
fn a_file_that_shrinks_is_seen_and_fails_what_is_past_its_end() {
    let (_dir, path) = file(1 << 20);
    let source = Source::open(&Spec::File(path.clone()), false, 512).expect("a disk");
    let mut disk = source.queue(4).expect("a queue");
    assert_eq!(source.resized(), None);
    std::fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .and_then(|f| f.set_len(512 << 10))
        .expect("cut");
    assert_eq!(run(&mut *disk, Kind::Read, 1500, &[0; 4096]).0, Err(Failure::Io));
    assert_eq!(source.resized(), Some(1024));
    assert_eq!(read(&mut *disk, 0, 4096), [0; 4096]);
}

#[test]
fn faults_are_as_many_as_asked_for() {
    let faults = Faults { errors: 0.25, seed: 11, ..Faults::default() };
    let spec = Spec::Faulty(Box::new(Spec::Ram(1 << 20)), faults);
    let source = Source::open(&spec, false, 512).expect("a disk");
    let mut disk = source.queue(4).expect("a queue");
    let fails = |disk: &mut dyn Disk| run(disk, Kind::Read, 0, &[0; 512]).0.is_err();
    let failed = (0..1000).filter(|_| fails(&mut *disk)).count();
    assert!((180..320).contains(&failed), "{failed} of 1000");
    let spec = Spec::Faulty(Box::new(Spec::Ram(1 << 20)), Faults { no_flush: true, ..faults });
    let source = Source::open(&spec, false, 512).expect("a disk");
    let outcome = run(&mut *source.queue(1).expect("a queue"), Kind::Flush, 0, &[]).0;
    assert_eq!(outcome, Err(Failure::Unsupported));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    /// The cache shows through nowhere: any writes, flushes and reads are as on plain memory.
    #[test]
    fn a_cache_is_not_to_be_seen(
        seed in 1_u64..1000,
        steps in prop::collection::vec((0_u8..4, 0_u64..60, 1_usize..5, any::<u8>()), 1..60),
    ) {
        let faults = Faults { cache: true, seed, ..Faults::default() };
        let spec = Spec::Faulty(Box::new(Spec::Ram(32 << 10)), faults);
        let source = Source::open(&spec, false, 512).expect("a disk");
        let mut disk = source.queue(2).expect("a queue");
        let mut model = vec![0_u8; 64 * 512];
        for (what, sector, count, value) in steps {
            let (from, len) = (usize::try_from(sector).unwrap() * 512, count * 512);
            match what {
                0 | 1 => {
                    write(&mut *disk, sector, &vec![value; len]);
                    model[from..from + len].fill(value);
                }
                2 => {
                    let _ = run(&mut *disk, Kind::Flush, 0, &[]);
                }
                _ => prop_assert_eq!(&read(&mut *disk, sector, len), &model[from..from + len]),
            }
        }
    }
}
