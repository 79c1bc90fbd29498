//! Rows of `io/blkif.h`. Names on the left are Xen's.

use rings::io::blkif::{
    self, Op, Request, RequestDiscard, RequestIndirect, RequestSegment, Response, VdiskInfo,
};

use super::{Table, layout};

pub(super) fn put(t: &mut Table) {
    layout!(t, "blkif_request_segment" = RequestSegment { gref, first_sect, last_sect });
    layout!(
        t,
        "blkif_request" = Request { operation, nr_segments, handle, id, sector_number, seg }
    );
    layout!(
        t,
        "blkif_request_discard" =
            RequestDiscard { operation, flag, handle, id, sector_number, nr_sectors }
    );
    layout!(
        t,
        "blkif_request_indirect" = RequestIndirect {
            operation,
            indirect_op,
            nr_segments,
            id,
            sector_number,
            handle,
            indirect_grefs,
        }
    );
    layout!(t, "blkif_response" = Response { id, operation, status });

    let ops =
        ["READ", "WRITE", "WRITE_BARRIER", "FLUSH_DISKCACHE", "RESERVED_1", "DISCARD", "INDIRECT"];
    t.put_all("BLKIF_OP_", &ops, Op::ALL.iter().map(|&op| op as u8));
    t.put("BLKIF_RSP_OKAY", blkif::RSP_OKAY);
    t.put("BLKIF_RSP_ERROR", blkif::RSP_ERROR);
    t.put("BLKIF_RSP_EOPNOTSUPP", blkif::RSP_EOPNOTSUPP);
    t.put("BLKIF_DISCARD_SECURE", blkif::DISCARD_SECURE);
    t.put("BLKIF_MAX_SEGMENTS_PER_REQUEST", blkif::MAX_SEGMENTS_PER_REQUEST);
    t.put("BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST", blkif::MAX_INDIRECT_PAGES_PER_REQUEST);
    t.put_flags::<VdiskInfo>("VDISK_", str::to_owned);
    t.put("XEN_IO_PROTO_ABI_X86_64", blkif::PROTO_X86_64);
    t.put("XEN_IO_PROTO_ABI_X86_32", blkif::PROTO_X86_32);
    t.put("XEN_IO_PROTO_ABI_ARM", blkif::PROTO_ARM);
    t.put_ring("blkif", blkif::SLOT);
}
