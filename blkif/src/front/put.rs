//! An operation's piece as a request in a slot of the ring: with its segments in it, or in a page of
//! their own.

use rings::io::blkif::{
    DISCARD_SECURE, MAX_SEGMENTS_PER_REQUEST, Op as WireOp, Request, RequestDiscard,
    RequestIndirect, RequestSegment,
};
use rings::{Domain, PAGE_SIZE};
use tracer::format::Slot;
use tracer::traced;
use zerocopy::{Immutable, IntoBytes};

use super::ops::{Op, OpKind};
use super::queue::Queue;
use super::split::{PAGE_SECTORS, Piece};

/// A request with one segment: all that most requests need to write. What the slot has behind it is
/// nobody's business.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct ShortRequest {
    operation: u8,
    nr_segments: u8,
    handle: u16,
    pad: u32,
    id: u64,
    sector_number: u64,
    seg: RequestSegment,
}

impl<D: Domain> Queue<D> {
    /// Writes one request into the ring.
    #[traced(fine, id = id)]
    #[inline]
    pub(super) fn put_request(&mut self, id: u32, op: &Op, piece: Piece) {
        let index = self.link.ring.next_request();
        self.link.ring.trace().id(Slot::Request, index, id.into());
        let (handle, wire, id) = (self.limits.handle, op.kind.wire(), u64::from(id));
        let sector_number = self.units.number_of(op.sector + u64::from(piece.sector));
        let segments = piece.segments();
        self.stats.segments += u64::from(segments);
        self.put += 1;
        let page = (op.page + piece.page) as usize;
        if let OpKind::Discard { secure } = op.kind {
            let nr_sectors = self.units.number_of(op.sectors.into());
            let (operation, flag) = (wire as u8, if secure { DISCARD_SECURE } else { 0 });
            let discard =
                RequestDiscard { operation, flag, handle, pad: 0, id, sector_number, nr_sectors };
            self.link.ring.put(discard);
        } else if segments == 1 {
            let seg = self.segment(page, piece.sectors);
            let (operation, nr_segments) = (wire as u8, 1);
            self.link.ring.put(ShortRequest {
                operation,
                nr_segments,
                handle,
                pad: 0,
                id,
                sector_number,
                seg,
            });
        } else if segments as usize > MAX_SEGMENTS_PER_REQUEST {
            self.put_indirect(id, wire, sector_number, page, piece);
        } else {
            let mut request =
                Request { operation: wire as u8, handle, id, sector_number, ..Request::default() };
            for n in 0..segments {
                request.seg[n as usize] = self.segment(page + n as usize, piece.segment(n));
                request.nr_segments += 1;
            }
            self.link.ring.put_request(request);
        }
        self.stats.in_flight(self.link.ring.size() - self.link.ring.free_requests());
    }

    /// Writes the segments into the page that belongs to this request, and the request.
    fn put_indirect(
        &mut self,
        id: u64,
        wire: WireOp,
        sector_number: u64,
        page: usize,
        piece: Piece,
    ) {
        let Some(lists) = &self.lists else { return };
        let list = usize::try_from(id).unwrap_or(0);
        let region = lists.region();
        for n in 0..piece.segments() {
            let at = list * PAGE_SIZE + n as usize * size_of::<RequestSegment>();
            region.write(at, self.segment(page + n as usize, piece.segment(n)));
        }
        let mut indirect = RequestIndirect {
            operation: WireOp::Indirect as u8,
            indirect_op: wire as u8,
            nr_segments: u16::try_from(piece.segments()).unwrap_or(u16::MAX),
            id,
            sector_number,
            handle: self.limits.handle,
            ..RequestIndirect::default()
        };
        indirect.indirect_grefs[0] = lists.gref(list).0;
        self.link.ring.put(indirect);
        self.stats.indirect += 1;
    }

    /// The first `sectors` of a page.
    #[inline(always)]
    fn segment(&self, page: usize, sectors: u32) -> RequestSegment {
        let last = u8::try_from(sectors.clamp(1, PAGE_SECTORS) - 1).unwrap_or(0);
        let (first_sect, last_sect) = self.units.segment_of(0, last);
        RequestSegment { gref: self.buffers.gref(page).0, first_sect, last_sect, pad: 0 }
    }
}
