//! In which units each implementation counts sectors of a disk whose own have 4096 bytes, as it stands on the
//! ring and in the store: `sectors`, `sector_number` with a discard's `nr_sectors`, `first_sect` and
//! `last_sect`. The table is that of xen-devel, commit 221f2748e8.

mod blk_rig;

use std::sync::Arc;

use blk_rig::back::{Attack as OnFront, config as front_config};
use blk_rig::front::{Attack as OnBack, config as back_config, dir};
use blkif::back::disk::{Buffer, Io, Kind, Source, Spec, Started};
use blkif::dialect::Dialect;
use blkif::front::{Config, Limits, OpKind};
use rings::io::blkif::{Op, RSP_ERROR, RSP_OKAY, Request, RequestDiscard};
use rings::store::Nodes as _;
use rings::{GrantMode, PAGE_SIZE};

/// Bytes of the disk, and of its own sectors.
const DISK: u64 = 1 << 20;
const OWN: u32 = 4096;

/// How one implementation says: a disk of 1 MiB, its third page, a whole page.
struct Says {
    dialect: Dialect,
    sectors: u64,
    number: u64,
    page: (u8, u8),
}

const TABLE: [Says; 4] = [
    Says { dialect: Dialect::Xen, sectors: 2048, number: 16, page: (0, 7) },
    Says { dialect: Dialect::FreeBsd, sectors: 256, number: 2, page: (0, 7) },
    Says { dialect: Dialect::Qemu, sectors: 256, number: 2, page: (0, 0) },
    Says { dialect: Dialect::MiniOs, sectors: 256, number: 16, page: (0, 7) },
];

#[test]
fn a_guest_reads_and_writes_the_numbers_of_its_dialect() {
    for Says { dialect, sectors, number, page } in TABLE {
        let config = front_config();
        let config = Config { limits: Limits { dialect, ..config.limits }, ..config };
        let (sectors, own) = (sectors.to_string(), OWN.to_string());
        let keys = [
            ("sectors", sectors.as_str()),
            ("sector-size", &own),
            ("feature-discard", "1"),
            ("discard-granularity", &own),
        ];
        let mut attack = OnFront::with(config, &keys).unwrap_or_else(|why| panic!("{why}"));
        assert_eq!(attack.blkfront.disk().sectors, 2048, "{dialect:?}");
        // Two pages direct, then so many that they go into a page of segments.
        let requests = attack.start_at(OpKind::Read, 16, 16);
        assert_eq!(requests[0].sector_number, number, "{dialect:?}");
        for segment in &requests[0].seg[..2] {
            assert_eq!((segment.first_sect, segment.last_sect), page, "{dialect:?}");
        }
        let requests = attack.start_at(OpKind::Write, 16, 16 * 8);
        assert_eq!(requests[0].as_indirect().sector_number, number, "{dialect:?}");
        let requests = attack.start_at(OpKind::Discard { secure: false }, 16, 16);
        let discard: RequestDiscard = requests[0].as_discard();
        assert_eq!((discard.sector_number, discard.nr_sectors), (number, number), "{dialect:?}");
    }
}

/// What is at a byte of the disk, whatever the guest calls it.
fn at(source: &Source, byte: u64) -> Vec<u8> {
    let mut buffer = Buffer::default();
    buffer.set_len(PAGE_SIZE);
    let io = Io { tag: 0, kind: Kind::Read, sector: byte / 512, sectors: 8, buffer };
    match source.queue(1).expect("a queue").start(io) {
        Started::Now(done) => done.buffer.bytes().to_vec(),
        Started::Later => panic!("memory is read at once"),
    }
}

#[test]
fn a_backend_reads_and_writes_the_numbers_of_its_dialect() {
    for Says { dialect, sectors, number, page } in TABLE {
        let disk = Arc::new(Source::open(&Spec::Ram(DISK), false, OWN).expect("a disk"));
        let config = blkif::back::Config {
            dialect,
            disk: Arc::clone(&disk),
            ..back_config(&Spec::Ram(DISK), GrantMode::Copy, false)
        };
        let mut attack = OnBack::with(&config, 0);
        let node = format!("{}/sectors", dir());
        let node = attack.blkback.store().read_string(&node).expect("it is described");
        assert_eq!(node, sectors.to_string(), "{dialect:?}");
        attack.front.fill(0, 0x5a);
        let mut write = attack.front.request(Op::Write, number, &[0]);
        (write.seg[0].first_sect, write.seg[0].last_sect) = page;
        assert_eq!(attack.ask(write), RSP_OKAY, "{dialect:?}");
        assert_eq!(at(&disk, 8192), [0x5a; PAGE_SIZE], "{dialect:?}: the third page");
        assert_eq!(at(&disk, 4096), [0; PAGE_SIZE], "{dialect:?}: and nothing before it");
        assert_eq!(at(&disk, 12288), [0; PAGE_SIZE], "{dialect:?}: nor behind");
        // The end of the disk is where the dialect has it.
        let last = number * 127;
        let mut request = attack.front.request(Op::Read, last, &[1]);
        (request.seg[0].first_sect, request.seg[0].last_sect) = page;
        assert_eq!(attack.ask(request), RSP_OKAY, "{dialect:?}");
        let past = Request { sector_number: number * 128, ..request };
        let past = Request { id: request.id + 1, ..past };
        assert_eq!(attack.ask(past), RSP_ERROR, "{dialect:?}");
    }
}

/// What it comes to when both ends mean different things: the wrong place, or nothing at all.
#[test]
fn ends_of_different_dialects_misunderstand_each_other() {
    let disk = Arc::new(Source::open(&Spec::Ram(DISK), false, OWN).expect("a disk"));
    let config = |dialect| blkif::back::Config {
        dialect,
        disk: Arc::clone(&disk),
        ..back_config(&Spec::Ram(DISK), GrantMode::Copy, false)
    };
    // FreeBSD's third page is no multiple of a sector to Linux.
    let mut attack = OnBack::with(&config(Dialect::Xen), 0);
    let write = attack.front.request(Op::Write, 2, &[0]);
    assert_eq!(attack.ask(write), RSP_ERROR);
    // Linux' third page is FreeBSD's seventeenth.
    let mut attack = OnBack::with(&config(Dialect::FreeBsd), 0);
    attack.front.fill(0, 0x33);
    let write = attack.front.request(Op::Write, 16, &[0]);
    assert_eq!(attack.ask(write), RSP_OKAY);
    assert_eq!((at(&disk, 8192)[0], at(&disk, 16 * 4096)[0]), (0, 0x33));
    // A whole page of Linux' is eight of QEMU's.
    let mut attack = OnBack::with(&config(Dialect::Qemu), 0);
    let write = attack.front.request(Op::Write, 2, &[0]);
    assert_eq!(attack.ask(write), RSP_ERROR);
}
