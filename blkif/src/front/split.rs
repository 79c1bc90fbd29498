//! An operation of any length as requests: pure arithmetic.
//!
//! Each request has at most so many segments, each segment at most a page. Operations start at the
//! start of a page, so every piece but the last has whole pages.

use rings::io::blkif::{MAX_SEGMENTS_PER_REQUEST, SECTORS_PER_PAGE, SEGMENTS_PER_INDIRECT_PAGE};

/// Sectors of a page.
pub(super) const PAGE_SECTORS: u32 = 8;
/// Segments that a request itself has room for.
pub(super) const DIRECT: u32 = 11;
/// Segments that one page of segments has room for.
pub(super) const LIST: u32 = 512;

const _: () = assert!(
    PAGE_SECTORS as usize == SECTORS_PER_PAGE
        && DIRECT as usize == MAX_SEGMENTS_PER_REQUEST
        && LIST as usize == SEGMENTS_PER_INDIRECT_PAGE
);

/// A part of an operation that is one request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Piece {
    /// First page of the operation's buffer.
    pub page: u32,
    /// First sector, from the operation's.
    pub sector: u32,
    /// How many.
    pub sectors: u32,
}

impl Piece {
    /// Segments it has.
    #[must_use]
    pub fn segments(&self) -> u32 {
        self.sectors.div_ceil(PAGE_SECTORS)
    }

    /// Sectors of its `n`-th segment.
    #[inline(always)]
    #[must_use]
    pub fn segment(&self, n: u32) -> u32 {
        (self.sectors - n * PAGE_SECTORS).min(PAGE_SECTORS)
    }
}

/// The piece that begins after `done` sectors of an operation of `sectors`, with at most `segments`
/// segments; nothing after the last.
#[inline(always)]
#[must_use]
pub(super) fn piece(done: u32, sectors: u32, segments: u32) -> Option<Piece> {
    let page = done / PAGE_SECTORS;
    let most = segments.saturating_mul(PAGE_SECTORS);
    (done < sectors).then(|| Piece { page, sector: done, sectors: (sectors - done).min(most) })
}

/// All pieces of an operation of `sectors`, with at most `segments` segments each.
pub fn pieces(sectors: u32, segments: u32) -> impl Iterator<Item = Piece> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let piece = piece(done, sectors, segments)?;
        done += piece.sectors;
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_mebibyte_is_as_many_requests_as_on_a_real_guest() {
        for (segments, requests) in [(11, 24), (32, 8), (256, 1)] {
            assert_eq!(pieces(2048, segments).count(), requests, "{segments} segments");
        }
    }

    proptest! {
        #[test]
        fn pieces_cover_the_operation_once(sectors in 0_u32..5000, segments in 1_u32..=256) {
            let mut next = 0;
            for piece in pieces(sectors, segments) {
                prop_assert_eq!(piece.sector, next);
                prop_assert_eq!(piece.page * 8, piece.sector, "at the start of a page");
                prop_assert!((1..=segments).contains(&piece.segments()));
                let sum: u32 = (0..piece.segments()).map(|n| piece.segment(n)).sum();
                prop_assert_eq!(sum, piece.sectors);
                for n in 0..piece.segments() {
                    prop_assert!((1..=8).contains(&piece.segment(n)));
                }
                next += piece.sectors;
            }
            prop_assert_eq!(next, sectors);
        }
    }
}
