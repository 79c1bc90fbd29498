//! What blkfront and blkback put into the slots of a vbd's ring (`io/blkif.h`, x86_64).
//!
//! Here: requests, segments and responses as bytes, operations and status codes, the bits of a
//! disk's `info` node. Not here: the ring, store keys, and whether a request makes sense. Nor the
//! layout of 32-bit x86 guests, which differs in every structure: a frontend that names another
//! [protocol](PROTO_X86_64) in the store cannot be served.
//!
//! # One slot, three shapes
//!
//! A slot is as long as [`Request`], 112 octets. [`RequestDiscard`] and [`RequestIndirect`] take
//! its first 32 and 64; the operation in the first octet says which it is, and `id` is at the same
//! offset in all of them, so that any request can be answered.
//!
//! # Units
//!
//! A sector is 512 bytes ([`SECTOR_SIZE`]) in every field, whatever the disk's own sector size:
//! the header says so since 2024, and the older text of Xen 4.17 left it open. A request starts
//! and ends on a boundary of the disk's own sectors all the same.

use bitflags::bitflags;
use std::mem::{offset_of, size_of};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, transmute};

use super::numbered::numbered;
use crate::{DomId, PAGE_SIZE};

/// Octets of a slot: [`Request`] is the longest thing in one.
pub const SLOT: usize = 112;
/// Slots of a ring of one page. See [`ring_size`](super::ring_size) for `ring-page-order` above 0.
pub const RING_SIZE: usize = super::ring_size(SLOT, 0);

/// Bytes of a sector, the unit of every sector number and count here.
pub const SECTOR_SIZE: usize = 512;
/// Sectors of a page: a segment's `last_sect` stays below this.
pub const SECTORS_PER_PAGE: usize = PAGE_SIZE / SECTOR_SIZE;
/// Segments of a [`Request`] (`BLKIF_MAX_SEGMENTS_PER_REQUEST`): 44 KiB at the most.
pub const MAX_SEGMENTS_PER_REQUEST: usize = 11;
/// Pages of segments of a [`RequestIndirect`] (`BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST`).
pub const MAX_INDIRECT_PAGES_PER_REQUEST: usize = 8;
/// Segments of one such page. A backend says how many it takes in all, and that may be fewer.
pub const SEGMENTS_PER_INDIRECT_PAGE: usize = PAGE_SIZE / size_of::<RequestSegment>();

/// Value of a frontend's `protocol` node for the layout of this module (`protocols.h`).
pub const PROTO_X86_64: &str = "x86_64-abi";
/// The same for a 32-bit guest. Blkback of Linux assumes it when the node is absent.
pub const PROTO_X86_32: &str = "x86_32-abi";
/// The same for Arm, where 32-bit and 64-bit guests share the layout of this module.
pub const PROTO_ARM: &str = "arm-abi";

numbered! {
    /// What a request asks for (`BLKIF_OP_*`).
    pub enum Op: u8 {
        /// Read into the segments.
        Read = 0,
        /// Write from the segments.
        Write = 1,
        /// A write that every earlier one precedes and every later one follows (`feature-barrier`).
        WriteBarrier = 2,
        /// Make what has been written durable (`feature-flush-cache`). May have no segments.
        FlushDiskcache = 3,
        /// Was a vendor's packet command. Nobody serves it.
        Reserved1 = 4,
        /// Give up a range of sectors (`feature-discard`): a [`RequestDiscard`].
        Discard = 5,
        /// Segments are in pages of their own (`feature-max-indirect-segments`): a
        /// [`RequestIndirect`].
        Indirect = 6,
    }
}

/// It was done (`BLKIF_RSP_OKAY`).
pub const RSP_OKAY: i16 = 0;
/// It failed (`BLKIF_RSP_ERROR`).
pub const RSP_ERROR: i16 = -1;
/// The backend does not do this operation; ask no more (`BLKIF_RSP_EOPNOTSUPP`).
pub const RSP_EOPNOTSUPP: i16 = -2;

/// [`RequestDiscard::flag`]: no copy of the data may survive (`BLKIF_DISCARD_SECURE`).
pub const DISCARD_SECURE: u8 = 1;

bitflags! {
    /// The backend's `info` node (`VDISK_*`).
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct VdiskInfo: u32 {
        /// A CD-ROM.
        const CDROM = 0x1;
        /// The medium can be taken out.
        const REMOVABLE = 0x2;
        /// Writes will be refused.
        const READONLY = 0x4;
    }
}

/// A run of sectors within one page of the frontend's (`struct blkif_request_segment`).
///
/// ```text
///   0     1     2     3     4     5     6     7   octet
/// +-----+-----+-----+-----+-----+-----+-----+-----+
/// | gref                  |first|last | pad       |
/// +-----+-----+-----+-----+-----+-----+-----+-----+
/// ```
#[repr(C)]
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct RequestSegment {
    /// Grant of the page.
    pub gref: u32,
    /// First sector of the page, 0 to 7.
    pub first_sect: u8,
    /// Last sector of the page, itself included, 0 to 7.
    pub last_sect: u8,
    /// Zero.
    pub pad: u16,
}

/// A request with its segments in it (`struct blkif_request`).
///
/// ```text
///   0     1     2     3     4     5     6     7   octet
/// +-----+-----+-----+-----+-----+-----+-----+-----+
/// | op  |nr_sg| handle    | pad                   |
/// +-----+-----+-----+-----+-----+-----+-----+-----+
/// | id                                            |
/// +-----+-----+-----+-----+-----+-----+-----+-----+
/// | sector_number                                 |
/// +-----+-----+-----+-----+-----+-----+-----+-----+
/// | seg[0] ... seg[10], a row each                |
/// +-----+-----+-----+-----+-----+-----+-----+-----+
/// ```
#[repr(C)]
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Request {
    /// An [`Op`], raw.
    pub operation: u8,
    /// How many of `seg` count, up to [`MAX_SEGMENTS_PER_REQUEST`].
    pub nr_segments: u8,
    /// The vbd's number, as in the name of its directory in the store.
    pub handle: u16,
    /// Zero.
    pub pad: u32,
    /// The frontend's number for this request, echoed in [`Response::id`].
    pub id: u64,
    /// First sector on the disk.
    pub sector_number: u64,
    /// Where the bytes are; the disk's sectors run through them in order.
    pub seg: [RequestSegment; MAX_SEGMENTS_PER_REQUEST],
}

/// A request to forget sectors (`struct blkif_request_discard`), with [`Op::Discard`].
///
/// ```text
///   0     1     2     3     4     5     6     7   octet
/// +-----+-----+-----+-----+-----+-----+-----+-----+
/// |  5  |flag | handle    | pad                   |
/// +-----+-----+-----+-----+-----+-----+-----+-----+
/// | id                                            |
/// +-----+-----+-----+-----+-----+-----+-----+-----+
/// | sector_number                                 |
/// +-----+-----+-----+-----+-----+-----+-----+-----+
/// | nr_sectors                                    |
/// +-----+-----+-----+-----+-----+-----+-----+-----+
/// | unused, 80 octets                             |
/// +-----+-----+-----+-----+-----+-----+-----+-----+
/// ```
#[repr(C)]
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct RequestDiscard {
    /// [`Op::Discard`].
    pub operation: u8,
    /// [`DISCARD_SECURE`] or zero.
    pub flag: u8,
    /// As in [`Request`].
    pub handle: u16,
    /// Zero.
    pub pad: u32,
    /// As in [`Request`].
    pub id: u64,
    /// First sector on the disk.
    pub sector_number: u64,
    /// How many sectors.
    pub nr_sectors: u64,
}

/// A request with its segments elsewhere (`struct blkif_request_indirect`), with [`Op::Indirect`].
///
/// ```text
///   0     1     2     3     4     5     6     7   octet
/// +-----+-----+-----+-----+-----+-----+-----+-----+
/// |  6  | iop | nr_seg    | pad                   |
/// +-----+-----+-----+-----+-----+-----+-----+-----+
/// | id                                            |
/// +-----+-----+-----+-----+-----+-----+-----+-----+
/// | sector_number                                 |
/// +-----+-----+-----+-----+-----+-----+-----+-----+
/// | handle    | pad       | grefs[0]              |
/// +-----+-----+-----+-----+-----+-----+-----+-----+
/// | grefs[1] ... grefs[6], two a row              |
/// +-----+-----+-----+-----+-----+-----+-----+-----+
/// | grefs[7]              | pad                   |
/// +-----+-----+-----+-----+-----+-----+-----+-----+
/// | unused, 48 octets                             |
/// +-----+-----+-----+-----+-----+-----+-----+-----+
/// ```
#[repr(C)]
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct RequestIndirect {
    /// [`Op::Indirect`].
    pub operation: u8,
    /// What to do: [`Op::Read`] or [`Op::Write`], raw. Blkback of Linux echoes this one.
    pub indirect_op: u8,
    /// Segments in all pages together.
    pub nr_segments: u16,
    /// Zero.
    pub pad1: u32,
    /// As in [`Request`].
    pub id: u64,
    /// First sector on the disk.
    pub sector_number: u64,
    /// As in [`Request`].
    pub handle: u16,
    /// Zero.
    pub pad2: u16,
    /// Grants of the pages of segments, as many as `nr_segments` need.
    pub indirect_grefs: [u32; MAX_INDIRECT_PAGES_PER_REQUEST],
    /// Zero.
    pub pad3: u32,
}

/// The answer to any request (`struct blkif_response`).
///
/// The pads are fields so that they are written: a backend that left them to the compiler handed
/// guests pieces of its stack (XSA-216).
///
/// ```text
///   0     1     2     3     4     5     6     7   octet
/// +-----+-----+-----+-----+-----+-----+-----+-----+
/// | id                                            |
/// +-----+-----+-----+-----+-----+-----+-----+-----+
/// | op  | pad | status    | pad                   |
/// +-----+-----+-----+-----+-----+-----+-----+-----+
/// | unused, 96 octets                             |
/// +-----+-----+-----+-----+-----+-----+-----+-----+
/// ```
#[repr(C)]
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Response {
    /// [`Request::id`].
    pub id: u64,
    /// [`Request::operation`].
    pub operation: u8,
    /// Zero.
    pub pad1: u8,
    /// [`RSP_OKAY`], [`RSP_ERROR`] or [`RSP_EOPNOTSUPP`].
    pub status: i16,
    /// Zero.
    pub pad2: u32,
}

impl Response {
    /// An answer whose pads are zero.
    pub const fn new(id: u64, operation: u8, status: i16) -> Self {
        Self { id, operation, pad1: 0, status, pad2: 0 }
    }
}

/// A slot with a [`RequestDiscard`] in it, as long as a [`Request`].
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
struct DiscardSlot {
    head: RequestDiscard,
    unused: [u8; SLOT - size_of::<RequestDiscard>()],
}

/// A slot with a [`RequestIndirect`] in it, as long as a [`Request`].
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
struct IndirectSlot {
    head: RequestIndirect,
    unused: [u8; SLOT - size_of::<RequestIndirect>()],
}

impl Request {
    /// The same bytes read as a discard. Look at `operation` first: this cannot fail.
    pub const fn as_discard(self) -> RequestDiscard {
        let slot: DiscardSlot = transmute!(self);
        slot.head
    }

    /// The same bytes read as an indirect request. Look at `operation` first: this cannot fail.
    pub const fn as_indirect(self) -> RequestIndirect {
        let slot: IndirectSlot = transmute!(self);
        slot.head
    }
}

impl From<RequestDiscard> for Request {
    /// The bytes of a slot that holds this; those past it are zero.
    fn from(head: RequestDiscard) -> Self {
        transmute!(DiscardSlot { head, unused: [0; _] })
    }
}

impl From<RequestIndirect> for Request {
    /// The bytes of a slot that holds this; those past it are zero.
    fn from(head: RequestIndirect) -> Self {
        transmute!(IndirectSlot { head, unused: [0; _] })
    }
}

/// What a queue of a vbd is called in traces, its ring and its port: `vbd1.51712-q0`. Both ends know what
/// it takes.
#[must_use]
pub fn queue_name(front: DomId, handle: u32, queue: u32) -> String {
    format!("vbd{front}.{handle}-q{queue}")
}

// Xen's layout, checked by the compiler.
const _: () = {
    assert!(size_of::<Request>() == SLOT && size_of::<RequestSegment>() == 8);
    assert!(offset_of!(RequestSegment, first_sect) == 4);
    assert!(offset_of!(RequestSegment, last_sect) == 5);
    assert!(offset_of!(Request, handle) == 2 && offset_of!(Request, id) == 8);
    assert!(offset_of!(Request, sector_number) == 16 && offset_of!(Request, seg) == 24);
    assert!(size_of::<RequestDiscard>() == 32 && offset_of!(RequestDiscard, id) == 8);
    assert!(offset_of!(RequestDiscard, sector_number) == 16);
    assert!(offset_of!(RequestDiscard, nr_sectors) == 24);
    assert!(size_of::<RequestIndirect>() == 64 && offset_of!(RequestIndirect, id) == 8);
    assert!(offset_of!(RequestIndirect, nr_segments) == 2);
    assert!(offset_of!(RequestIndirect, sector_number) == 16);
    assert!(offset_of!(RequestIndirect, handle) == 24);
    assert!(offset_of!(RequestIndirect, indirect_grefs) == 28);
    assert!(size_of::<Response>() == 16 && offset_of!(Response, operation) == 8);
    assert!(offset_of!(Response, status) == 10);
    assert!(RING_SIZE == 32 && SEGMENTS_PER_INDIRECT_PAGE == 512);
};
