//! What the faulty disk's flush is good for: without it the loss shows.
//!
//! `cargo test -p blkif --features weaken --test weakened`.

use blkif::back::disk::{Buffer, Disk, Done, Faults, Io, Kind, Source, Spec, Started};
use rings::weaken::{Check, skip};

fn run(disk: &mut dyn Disk, kind: Kind, sector: u64, len: usize) -> Done {
    let mut buffer = Buffer::default();
    buffer.set_len(len);
    buffer.bytes_mut().fill(7);
    let io = Io { tag: 0, kind, sector, sectors: (len / 512) as u64, buffer };
    match disk.start(io) {
        Started::Now(done) => done,
        Started::Later => loop {
            disk.submit();
            if let Some(done) = disk.poll() {
                break done;
            }
        },
    }
}

/// Sectors of 200 that are in the file when the process with the cache is gone.
fn left() -> usize {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("disk.img");
    std::fs::File::create(&path).and_then(|f| f.set_len(1 << 20)).expect("a file");
    let faults = Faults { cache: true, seed: 1, ..Faults::default() };
    let spec = Spec::Faulty(Box::new(Spec::File(path.clone())), faults);
    let source = Source::open(&spec, false, 512).expect("a disk");
    let mut disk = source.queue(4).expect("a queue");
    for sector in 0..200 {
        assert_eq!(run(&mut *disk, Kind::Write, sector, 512).outcome, Ok(()));
    }
    assert_eq!(run(&mut *disk, Kind::Flush, 0, 0).outcome, Ok(()), "the promise is given");
    drop((disk, source));
    let bytes = std::fs::read(path).expect("the file");
    bytes.chunks(512).filter(|sector| sector[0] == 7).count()
}

#[test]
fn a_flush_that_does_nothing_loses_what_it_promised() {
    let skipping = skip(None);
    assert_eq!(left(), 200);
    drop(skipping);
    let _skip = skip(Some(Check::BlkFlush));
    let left = left();
    assert!(left < 150, "{left} of 200 are there");
}
