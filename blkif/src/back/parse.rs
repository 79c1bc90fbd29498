//! A request as something to do: every check of what the guest wrote, and nothing else. Pure.
//!
//! The order is that of Linux' blkback (`dispatch_rw_block_io`): operation, number of segments, each
//! segment, alignment, range, permission. Fetching the pages of an indirect request is done by
//! `serve` in between, so there are two steps: [`head`] looks at the slot, [`check`] at the segments.

use rings::io::blkif::{
    DISCARD_SECURE, MAX_INDIRECT_PAGES_PER_REQUEST, MAX_SEGMENTS_PER_REQUEST, Op, RSP_EOPNOTSUPP,
    RSP_ERROR, Request, RequestSegment, SECTOR_SIZE, SECTORS_PER_PAGE, SEGMENTS_PER_INDIRECT_PAGE,
};
use rings::weaken::{Check, skipped};

use crate::dialect::Units;

/// What holds for every request of a vbd.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Length of the disk. Sectors.
    pub sectors: u64,
    /// Bytes of the disk's own sectors.
    pub sector_size: u32,
    /// Nothing may be changed.
    pub read_only: bool,
    /// Segments of an indirect request; 0 for no indirect requests.
    pub max_indirect: u16,
    /// Flushes are offered.
    pub flush: bool,
    /// Write barriers are offered.
    pub barrier: bool,
    /// Discards are offered, of whole multiples of so many sectors.
    pub discard: Option<u64>,
    /// Discards that leave no copy are offered.
    pub secure: bool,
    /// In which units the guest counts.
    pub units: Units,
}

/// What is to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Read into the segments.
    Read,
    /// Write from the segments.
    Write,
    /// Make durable what has been written; then write the segments, if there are any.
    Flush,
    /// Write after everything before, durably, and before everything after.
    Barrier,
    /// Forget.
    Discard {
        /// No copy may survive.
        secure: bool,
    },
}

impl Action {
    /// Whether it changes the disk.
    fn writes(self) -> bool {
        self != Self::Read && self != Self::Flush
    }
}

/// Where a request's segments are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Segments {
    /// The first so many of the request itself.
    Direct(usize),
    /// So many, in the pages with these grefs; as many of them count as are needed.
    Indirect(usize, [u32; MAX_INDIRECT_PAGES_PER_REQUEST]),
}

/// A request, as far as its slot tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    /// What is to be done.
    pub action: Action,
    /// First sector on the disk.
    pub sector: u64,
    /// Sectors of a discard; other requests have as many as their segments.
    pub sectors: u64,
    /// Where its segments are.
    pub segments: Segments,
}

/// A part of a granted page.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Segment {
    /// The page.
    pub gref: u32,
    /// Where in it. Bytes.
    pub offset: u16,
    /// How many bytes: 512 to 4096.
    pub len: u16,
}

/// Why a request is answered without being done. The vbd lives on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// There is no such operation, or it was not offered.
    Unsupported,
    /// More or fewer segments than it may have.
    Count,
    /// An operation within an indirect request that has none.
    Inner,
    /// A segment that leaves its page or ends before it begins.
    Segment,
    /// Not in whole sectors of the disk.
    Alignment,
    /// Past the end of the disk.
    Range,
    /// A change to a disk that may not be changed.
    ReadOnly,
}

impl Refusal {
    /// The status to answer with.
    #[must_use]
    pub fn status(self) -> i16 {
        if self == Self::Unsupported { RSP_EOPNOTSUPP } else { RSP_ERROR }
    }
}

/// What the slot says.
///
/// # Errors
/// Why the request is refused.
#[inline(always)]
pub fn head(request: &Request, rules: &Rules) -> Result<Head, Refusal> {
    let op = Op::from_raw(request.operation).ok_or(Refusal::Unsupported)?;
    let (action, segments) = match op {
        Op::Read | Op::Write => (io_action(op), direct(request, 1)?),
        Op::FlushDiskcache if rules.flush => (Action::Flush, direct(request, 0)?),
        Op::WriteBarrier if rules.barrier => (Action::Barrier, direct(request, 0)?),
        Op::Discard if rules.discard.is_some() => return discard(request, rules),
        Op::Indirect if rules.max_indirect > 0 => return indirect(request, rules),
        _ => return Err(Refusal::Unsupported),
    };
    let sector = rules.units.sector_of(request.sector_number);
    Ok(Head { action, sector, sectors: 0, segments })
}

fn io_action(op: Op) -> Action {
    if op == Op::Read { Action::Read } else { Action::Write }
}

#[inline(always)]
fn direct(request: &Request, least: usize) -> Result<Segments, Refusal> {
    let count = usize::from(request.nr_segments);
    if (least..=MAX_SEGMENTS_PER_REQUEST).contains(&count) || skipped(Check::BlkCount) {
        Ok(Segments::Direct(count))
    } else {
        Err(Refusal::Count)
    }
}

fn indirect(request: &Request, rules: &Rules) -> Result<Head, Refusal> {
    let request = request.as_indirect();
    let action = match Op::from_raw(request.indirect_op) {
        Some(op @ (Op::Read | Op::Write)) => io_action(op),
        _ if skipped(Check::BlkInner) => Action::Write,
        // What else can be inside is what Linux' blkback calls "invalid indirect operation".
        _ => return Err(Refusal::Inner),
    };
    let most = usize::from(rules.max_indirect)
        .min(MAX_INDIRECT_PAGES_PER_REQUEST * SEGMENTS_PER_INDIRECT_PAGE);
    let count = usize::from(request.nr_segments);
    if !(1..=most).contains(&count) && !skipped(Check::BlkCount) {
        return Err(Refusal::Count);
    }
    let segments = Segments::Indirect(count, request.indirect_grefs);
    let sector = rules.units.sector_of(request.sector_number);
    Ok(Head { action, sector, sectors: 0, segments })
}

fn discard(request: &Request, rules: &Rules) -> Result<Head, Refusal> {
    let request = request.as_discard();
    let secure = request.flag & DISCARD_SECURE != 0;
    if secure && !rules.secure {
        return Err(Refusal::Unsupported);
    }
    let (sector, sectors) =
        (rules.units.sector_of(request.sector_number), rules.units.sector_of(request.nr_sectors));
    let whole = |n: u64| rules.discard.is_some_and(|unit| n.is_multiple_of(unit.max(1)));
    if !whole(sector) || !whole(sectors) {
        return Err(Refusal::Alignment);
    }
    let action = Action::Discard { secure };
    check_range(action, sector, sectors, rules)?;
    Ok(Head { action, sector, sectors, segments: Segments::Direct(0) })
}

/// The operation that the answer names: of an indirect request the one inside, as Linux answers.
#[must_use]
#[inline(always)]
pub fn echo(request: &Request) -> u8 {
    match Op::from_raw(request.operation) {
        Some(Op::Indirect) => request.as_indirect().indirect_op,
        _ => request.operation,
    }
}

/// Pages of segments that an indirect request of so many has.
#[must_use]
pub fn indirect_pages(count: usize) -> usize {
    count.div_ceil(SEGMENTS_PER_INDIRECT_PAGE)
}

/// What the segments say: parts of pages are put into `parts`, as a copy that nobody changes any more.
/// Returns how many sectors they have together.
///
/// # Errors
/// Why the request is refused.
#[inline(always)]
pub fn check(
    head: &Head,
    segments: &[RequestSegment],
    rules: &Rules,
    parts: &mut Vec<Segment>,
) -> Result<u64, Refusal> {
    parts.clear();
    let own = u64::from(rules.sector_size) / SECTOR_SIZE as u64;
    let mut sectors = 0;
    for segment in segments {
        let (first, last) = rules.units.sectors_of_segment(segment.first_sect, segment.last_sect);
        let outside = usize::from(last) >= SECTORS_PER_PAGE || last < first;
        if outside && !skipped(Check::BlkSegment) {
            return Err(Refusal::Segment);
        }
        let count = u64::from(last.wrapping_sub(first)) + 1;
        if own > 1 && !(count.is_multiple_of(own) && u64::from(first).is_multiple_of(own)) {
            return Err(Refusal::Alignment);
        }
        sectors += count;
        parts.push(Segment { gref: segment.gref, offset: bytes(first.into()), len: bytes(count) });
    }
    if segments.is_empty() {
        // Nothing is moved, so where says nothing: the block layer of Linux has -1 there in a flush.
        return check_range(head.action, 0, 0, rules).map(|()| 0);
    }
    if own > 1 && !head.sector.is_multiple_of(own) {
        return Err(Refusal::Alignment);
    }
    check_range(with_data(head.action), head.sector, sectors, rules)?;
    Ok(sectors)
}

/// A flush that has segments writes them.
fn with_data(action: Action) -> Action {
    if action == Action::Flush { Action::Write } else { action }
}

#[inline(always)]
fn check_range(action: Action, sector: u64, sectors: u64, rules: &Rules) -> Result<(), Refusal> {
    if action.writes() && rules.read_only && !skipped(Check::BlkReadOnly) {
        return Err(Refusal::ReadOnly);
    }
    match sector.checked_add(sectors) {
        Some(end) if end <= rules.sectors => Ok(()),
        _ if skipped(Check::BlkRange) => Ok(()),
        _ => Err(Refusal::Range),
    }
}

/// Sectors of a page as bytes.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "of one page; what is more was refused")]
fn bytes(sectors: u64) -> u16 {
    (sectors * SECTOR_SIZE as u64) as u16
}
