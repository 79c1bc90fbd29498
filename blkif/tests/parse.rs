//! What a guest may write into a request, and what comes of it: against a model, and over all values.

use blkif::back::parse::{Action, Refusal, Rules, Segment, Segments, check, head};
use blkif::dialect::Dialect;
use proptest::prelude::*;
use rings::io::blkif::{
    Op, RSP_EOPNOTSUPP, RSP_ERROR, Request, RequestDiscard, RequestIndirect, RequestSegment,
};
use zerocopy::FromBytes;

const SECTORS: u64 = 1000;

fn rules() -> Rules {
    Rules {
        sectors: SECTORS,
        sector_size: 512,
        read_only: false,
        max_indirect: 256,
        flush: true,
        barrier: true,
        discard: Some(8),
        secure: false,
        units: Dialect::Xen.units(512),
    }
}

fn judge(request: &Request, rules: &Rules) -> Result<(Action, u64, Vec<Segment>), Refusal> {
    let head = head(request, rules)?;
    let Segments::Direct(count) = head.segments else { panic!("a direct request") };
    let mut parts = Vec::new();
    let sectors = check(&head, &request.seg[..count], rules, &mut parts)?;
    Ok((head.action, sectors, parts))
}

fn read(nr_segments: u8, sector_number: u64) -> Request {
    let seg = [RequestSegment { gref: 8, first_sect: 0, last_sect: 7, pad: 0 }; 11];
    Request { operation: Op::Read as u8, nr_segments, sector_number, seg, ..Request::default() }
}

#[test]
fn segments_are_counted() {
    for n in 1..=11 {
        let (_, sectors, parts) = judge(&read(n, 0), &rules()).expect("fits");
        assert_eq!((sectors, parts.len()), (u64::from(n) * 8, usize::from(n)));
    }
    for n in [0, 12, 255] {
        assert_eq!(judge(&read(n, 0), &rules()), Err(Refusal::Count), "{n}");
    }
    let flush = Request { operation: Op::FlushDiskcache as u8, nr_segments: 0, ..read(0, 0) };
    assert_eq!(judge(&flush, &rules()), Ok((Action::Flush, 0, Vec::new())), "legal without any");
    let barrier = Request { operation: Op::WriteBarrier as u8, ..flush };
    assert_eq!(judge(&barrier, &rules()), Ok((Action::Barrier, 0, Vec::new())));
}

#[test]
fn segments_stay_in_their_page() {
    for (first, last, good) in [
        (0, 0, true),
        (7, 7, true),
        (0, 8, false),
        (3, 2, false),
        (0, 255, false),
        (255, 255, false),
    ] {
        let mut request = read(1, 0);
        (request.seg[0].first_sect, request.seg[0].last_sect) = (first, last);
        let outcome = judge(&request, &rules());
        assert_eq!(outcome.is_ok(), good, "{first} to {last}: {outcome:?}");
    }
}

#[test]
fn nothing_is_past_the_end() {
    for (sector, good) in [
        (0, true),
        (992, true),
        (993, false),
        (1000, false),
        (u64::MAX, false),
        (u64::MAX - 7, false),
    ] {
        assert_eq!(judge(&read(1, sector), &rules()).is_ok(), good, "{sector}");
    }
}

#[test]
fn a_disk_for_reading_only_is_not_changed_by_any_operation() {
    let rules = Rules { read_only: true, ..rules() };
    assert!(judge(&read(1, 0), &rules).is_ok());
    for op in [Op::Write, Op::WriteBarrier] {
        let request = Request { operation: op as u8, ..read(1, 0) };
        assert_eq!(judge(&request, &rules), Err(Refusal::ReadOnly), "{op:?}");
    }
    let flush_with_data = Request { operation: Op::FlushDiskcache as u8, ..read(1, 0) };
    assert_eq!(judge(&flush_with_data, &rules), Err(Refusal::ReadOnly));
    let discard =
        RequestDiscard { operation: Op::Discard as u8, nr_sectors: 8, ..RequestDiscard::default() };
    assert_eq!(head(&discard.into(), &rules), Err(Refusal::ReadOnly));
    let write = RequestIndirect {
        operation: Op::Indirect as u8,
        indirect_op: Op::Write as u8,
        nr_segments: 1,
        ..RequestIndirect::default()
    };
    let head = head(&write.into(), &rules).expect("its segments are judged later");
    let seg = read(1, 0).seg;
    assert_eq!(check(&head, &seg[..1], &rules, &mut Vec::new()), Err(Refusal::ReadOnly));
}

#[test]
fn an_indirect_request_reads_or_writes_and_nothing_else() {
    for inner in 0..=255_u8 {
        let request = RequestIndirect {
            operation: Op::Indirect as u8,
            indirect_op: inner,
            nr_segments: 1,
            ..RequestIndirect::default()
        };
        assert_eq!(head(&request.into(), &rules()).is_ok(), inner < 2, "{inner}");
    }
    for (count, good) in [(0, false), (1, true), (256, true), (257, false), (65_535, false)] {
        let request = RequestIndirect {
            operation: Op::Indirect as u8,
            nr_segments: count,
            ..RequestIndirect::default()
        };
        assert_eq!(head(&request.into(), &rules()).is_ok(), good, "{count}");
    }
}

#[test]
fn what_is_not_offered_is_not_supported() {
    for op in [4, 7, 255] {
        let request = Request { operation: op, ..read(1, 0) };
        let refusal = head(&request, &rules()).expect_err("no such operation");
        assert_eq!(refusal.status(), RSP_EOPNOTSUPP, "{op}");
    }
    let without = Rules { flush: false, barrier: false, discard: None, max_indirect: 0, ..rules() };
    for op in [Op::FlushDiskcache, Op::WriteBarrier, Op::Discard, Op::Indirect] {
        let request = Request { operation: op as u8, ..read(1, 0) };
        assert_eq!(head(&request, &without), Err(Refusal::Unsupported), "{op:?}");
    }
    let secure = RequestDiscard {
        operation: Op::Discard as u8,
        flag: 1,
        nr_sectors: 8,
        ..RequestDiscard::default()
    };
    assert_eq!(head(&secure.into(), &rules()), Err(Refusal::Unsupported));
    assert_eq!(Refusal::Range.status(), RSP_ERROR);
}

#[test]
fn discards_are_whole_and_on_the_disk() {
    for (sector, sectors, good) in [
        (0, 8, true),
        (8, 992, true),
        (4, 8, false),
        (0, 4, false),
        (0, 1008, false),
        (8, u64::MAX - 7, false),
    ] {
        let discard = RequestDiscard {
            operation: Op::Discard as u8,
            sector_number: sector,
            nr_sectors: sectors,
            ..RequestDiscard::default()
        };
        assert_eq!(head(&discard.into(), &rules()).is_ok(), good, "{sector} + {sectors}");
    }
}

#[test]
fn large_sectors_are_taken_whole() {
    let rules = Rules { sector_size: 4096, units: Dialect::Xen.units(4096), ..rules() };
    assert!(judge(&read(1, 8), &rules).is_ok());
    assert_eq!(judge(&read(1, 4), &rules), Err(Refusal::Alignment));
    let mut half = read(1, 8);
    half.seg[0].last_sect = 3;
    assert_eq!(judge(&half, &rules), Err(Refusal::Alignment));
}

proptest! {
    /// Any bytes at all: no panic, and what passes keeps to the rules.
    #[test]
    fn whatever_is_written_what_passes_is_on_the_disk_and_in_its_pages(
        bytes in prop::collection::vec(any::<u8>(), 112),
        small in any::<bool>(),
    ) {
        let mut request = Request::read_from_bytes(&bytes).expect("as long as a slot");
        if small {
            // Otherwise next to nothing would pass.
            request.operation %= 7;
            request.nr_segments %= 12;
            request.sector_number %= 1100;
            request.seg.iter_mut().for_each(|s| {
                s.first_sect %= 9;
                s.last_sect %= 9;
            });
        }
        let rules = rules();
        let Ok(head) = head(&request, &rules) else { return Ok(()) };
        let segments = match head.segments {
            Segments::Direct(count) => request.seg[..count].to_vec(),
            Segments::Indirect(count, _) => vec![request.seg[0]; count],
        };
        let mut parts = Vec::new();
        let Ok(sectors) = check(&head, &segments, &rules, &mut parts) else { return Ok(()) };
        prop_assert_eq!(parts.iter().map(|p| u64::from(p.len)).sum::<u64>(), sectors * 512);
        prop_assert!(parts.iter().all(|p| p.len > 0 && p.offset + p.len <= 4096));
        prop_assert!(sectors == 0 || head.sector + sectors <= SECTORS);
        prop_assert_eq!(parts.len(), segments.len());
    }
}
