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

#[test]
fn a_flush_without_segments_is_nowhere() {
    let large = Rules { sector_size: 4096, units: Dialect::Xen.units(4096), ..rules() };
    for rules in [rules(), large] {
        for (op, action) in
            [(Op::FlushDiskcache, Action::Flush), (Op::WriteBarrier, Action::Barrier)]
        {
            let request = Request { operation: op as u8, ..read(0, u64::MAX) };
            assert_eq!(judge(&request, &rules), Ok((action, 0, Vec::new())), "{op:?}");
        }
    }
}

/// What is to be done: what it is; where, unless nothing is moved; how many sectors; the parts of pages.
type Accepted = (Action, Option<u64>, u64, Vec<Segment>);

/// What a slot comes to, from its bytes as blkif.h lays them out; `list` are the bytes of the page of segments,
/// if there is one. Or the status to answer with.
fn model(slot: &[u8], list: &[u8], rules: &Rules) -> Result<Accepted, i16> {
    let long = |at: usize| u64::from_le_bytes(*slot[at..].first_chunk().expect("in the slot"));
    let own = u64::from(rules.sector_size / 512);
    let fits =
        |from: u64, count: u64| u128::from(from) + u128::from(count) <= u128::from(rules.sectors);
    let either = |writes| if writes { Action::Write } else { Action::Read };
    let (action, count, most, bytes) = match slot[0] {
        op @ (0 | 1) if slot[1] > 0 => (either(op == 1), slot[1].into(), 11, &slot[24..]),
        0 | 1 => return Err(RSP_ERROR),
        2 if rules.barrier => (Action::Barrier, slot[1].into(), 11, &slot[24..]),
        3 if rules.flush => (Action::Flush, slot[1].into(), 11, &slot[24..]),
        5 => {
            let (secure, from, count) = (slot[1] % 2 == 1, long(16), long(24));
            let Some(unit) = rules.discard.filter(|_| rules.secure || !secure) else {
                return Err(RSP_EOPNOTSUPP);
            };
            let whole = from % unit == 0 && count % unit == 0;
            let good = whole && fits(from, count) && !rules.read_only;
            let accepted = (Action::Discard { secure }, Some(from), count, Vec::new());
            return if good { Ok(accepted) } else { Err(RSP_ERROR) };
        }
        6 if rules.max_indirect > 0 => {
            let count = u16::from_le_bytes([slot[2], slot[3]]);
            if slot[1] > 1 || count == 0 {
                return Err(RSP_ERROR);
            }
            (either(slot[1] == 1), usize::from(count), usize::from(rules.max_indirect), list)
        }
        _ => return Err(RSP_EOPNOTSUPP),
    };
    let reads = action == Action::Read || (action == Action::Flush && count == 0);
    if count > most || (rules.read_only && !reads) {
        return Err(RSP_ERROR);
    }
    let (mut sectors, mut parts) = (0, Vec::new());
    for segment in bytes.chunks(8).take(count) {
        let (first, last) = (u64::from(segment[4]), u64::from(segment[5]));
        if last > 7 || first > last || first % own != 0 || (last + 1) % own != 0 {
            return Err(RSP_ERROR);
        }
        let gref = u32::from_le_bytes(*segment.first_chunk().expect("eight bytes"));
        let (offset, len) = (first * 512, (last - first + 1) * 512);
        let [offset, len] = [offset, len].map(|n| u16::try_from(n).expect("of a page"));
        parts.push(Segment { gref, offset, len });
        sectors += last - first + 1;
    }
    match (count, long(16)) {
        (0, _) => Ok((action, None, 0, parts)),
        (_, from) if from % own == 0 && fits(from, sectors) => {
            Ok((action, Some(from), sectors, parts))
        }
        _ => Err(RSP_ERROR),
    }
}

/// The same as the backend does it.
fn judged(request: &Request, list: &[u8], rules: &Rules) -> Result<Accepted, i16> {
    let head = head(request, rules).map_err(Refusal::status)?;
    if let Action::Discard { .. } = head.action {
        return Ok((head.action, Some(head.sector), head.sectors, Vec::new()));
    }
    let segments = match head.segments {
        Segments::Direct(count) => request.seg[..count].to_vec(),
        Segments::Indirect(count, grefs) => {
            assert_eq!(grefs, request.as_indirect().indirect_grefs, "where the list is");
            let segment = |bytes| RequestSegment::read_from_bytes(bytes).expect("eight bytes");
            list.chunks(8).take(count).map(segment).collect()
        }
    };
    let mut parts = vec![Segment::default()];
    let sectors = check(&head, &segments, rules, &mut parts).map_err(Refusal::status)?;
    Ok((head.action, (sectors > 0).then_some(head.sector), sectors, parts))
}

/// Bytes of a slot as some guest could mean them, and of a page of segments.
fn meant(mut bytes: Vec<u8>, own: u8) -> (Vec<u8>, Vec<u8>) {
    bytes[0] %= 8;
    match bytes[0] {
        5 => bytes[1] %= 2,
        6 => (bytes[1], bytes[2], bytes[3]) = (bytes[1] % 3, bytes[2] % 40, 0),
        _ => bytes[1] %= 13,
    }
    // Somewhere near the end of the disk, in whole sectors of its own more often than not.
    for at in [16, 24].into_iter().take(if bytes[0] == 5 { 2 } else { 1 }) {
        let number = u64::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]) % 1100);
        let number = if bytes[at + 2] < 200 { number / 8 * 8 } else { number };
        bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
    }
    let (slot, list) = bytes.split_at_mut(112);
    let direct = if slot[0] == 5 { &mut [][..] } else { &mut slot[24..] };
    for segment in direct.chunks_mut(8).chain(list.chunks_mut(8)) {
        let (first, many) = (segment[4] % 8, segment[5] % 8);
        // Seldom none at all, or out of the page.
        (segment[4], segment[5]) = match segment[6] {
            0 => (first, 8 + many),
            1 => (first.max(1), first.max(1) - 1),
            2.. => (first / own * own, (first + many).min(7) / own * own + (own - 1)),
        };
    }
    (slot.to_vec(), list.to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]
    /// Any bytes at all, and bytes that make sense: what passes is what the model takes, part for part, and
    /// what does not has the model's status.
    #[test]
    fn requests_are_taken_and_refused_as_the_model_has_it(
        bytes in prop::collection::vec(any::<u8>(), 112 + 48 * 8),
        meaningful in prop::bool::weighted(0.9),
        read_only in prop::bool::weighted(0.2),
        offered in any::<bool>(),
        secure in any::<bool>(),
        sector_size in prop::sample::select(vec![512_u32, 512, 2048, 4096]),
        max_indirect in prop::sample::select(vec![0_u16, 16, 32]),
    ) {
        let units = Dialect::Xen.units(sector_size);
        let discard = offered.then_some(8);
        let rules = Rules {
            read_only, flush: offered || secure, barrier: offered, discard, secure, sector_size,
            max_indirect, units, ..rules()
        };
        let own = u8::try_from(sector_size / 512).expect("few");
        let (slot, list) = match meaningful {
            true => meant(bytes, own),
            false => (bytes[..112].to_vec(), bytes[112..].to_vec()),
        };
        let request = Request::read_from_bytes(&slot).expect("as long as a slot");
        prop_assert_eq!(judged(&request, &list, &rules), model(&slot, &list, &rules));
    }
}
