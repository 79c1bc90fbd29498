//! An entry of a grant table, version 1, and what a grant operation can answer
//! (`grant_table.h`).
//!
//! Here: the bits of an entry, the reserved references, the status codes. Not here: who may write
//! which bit when, and in what order (`grant`); version 2, which has sub-page and transitive
//! grants; the arguments of hypercalls, since nobody here makes one.

use bitflags::bitflags;
use std::mem::size_of;
use thiserror::Error;

use super::numbered::numbered;
use crate::{DomId, Gref, PAGE_SIZE, Pfn};

/// Octets of an entry.
pub const ENTRY_SIZE: usize = size_of::<u64>();
/// Entries of one page of a grant table.
pub const ENTRIES_PER_PAGE: usize = PAGE_SIZE / ENTRY_SIZE;
/// Pages of a domain's grant table unless its configuration says otherwise (Xen's default).
pub const DEFAULT_MAX_FRAMES: usize = 64;

/// References below this one are not a domain's to hand out (`GNTTAB_NR_RESERVED_ENTRIES`).
pub const NR_RESERVED_ENTRIES: u32 = 8;
/// Grants the console's page; made before the domain runs (`GNTTAB_RESERVED_CONSOLE`).
pub const RESERVED_CONSOLE: Gref = Gref(0);
/// Grants the store's page; made before the domain runs (`GNTTAB_RESERVED_XENSTORE`).
pub const RESERVED_XENSTORE: Gref = Gref(1);

numbered! {
    /// What an entry is for: the low two bits of its flags (`GTF_type_mask`).
    pub enum GrantType: u16 {
        /// Nothing; the reference is free (`GTF_invalid`).
        Invalid = 0,
        /// `domid` may map and copy `frame` (`GTF_permit_access`).
        PermitAccess = 1,
        /// `domid` may give this domain a frame (`GTF_accept_transfer`). Never made here.
        AcceptTransfer = 2,
        /// `domid` may use another domain's grant (`GTF_transitive`, version 2 only).
        Transitive = 3,
    }
}

bitflags! {
    /// Flags of an entry (`GTF_*`). Two low bits are a number, its [`GrantType`]: read it with
    /// [`Self::kind`], never bit by bit, since type 3 has the bits of 1 and of 2.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct GrantFlags: u16 {
        /// `domid` may not write. Set by the granter.
        const READONLY = 1 << 2;
        /// `domid` has it mapped or is copying from it. Set by the hypervisor.
        const READING = 1 << 3;
        /// `domid` has it mapped writable or is copying to it. Set by the hypervisor.
        const WRITING = 1 << 4;
        /// x86 cache attribute of mappings.
        const PWT = 1 << 5;
        /// x86 cache attribute of mappings.
        const PCD = 1 << 6;
        /// x86 cache attribute of mappings.
        const PAT = 1 << 7;
        /// Only part of the page is granted (version 2 only).
        const SUB_PAGE = 1 << 8;
        // The type: known bits without names.
        const _ = GrantFlags::TYPE_MASK;
    }
}

impl GrantFlags {
    /// The bits that hold the [`GrantType`] (`GTF_type_mask`).
    pub const TYPE_MASK: u16 = 3;

    /// The flags of a fresh entry of this type.
    pub const fn of(kind: GrantType) -> Self {
        Self::from_bits_retain(kind as u16)
    }

    /// The type of the entry.
    pub const fn kind(self) -> GrantType {
        match self.bits() & Self::TYPE_MASK {
            0 => GrantType::Invalid,
            1 => GrantType::PermitAccess,
            2 => GrantType::AcceptTransfer,
            _ => GrantType::Transitive,
        }
    }

    /// Whether the other domain has it in use, so that it must not be revoked.
    pub const fn in_use(self) -> bool {
        self.intersects(Self::READING.union(Self::WRITING))
    }
}

/// An entry, as a value (`struct grant_entry_v1`).
///
/// In the table it is eight octets that two domains change under each other's feet, so it is read
/// and compared as one number and taken apart here:
///
/// ```text
///   0     1     2     3     4     5     6     7   octet
/// +-----+-----+-----+-----+-----+-----+-----+-----+
/// | flags     | domid     | frame                 |
/// +-----+-----+-----+-----+-----+-----+-----+-----+
///  LSB          value of `to_u64`              MSB
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct GrantEntry {
    /// Type and state.
    pub flags: GrantFlags,
    /// Who may use it.
    pub domid: DomId,
    /// Which frame of the granter's.
    pub frame: Pfn,
}

impl GrantEntry {
    /// The entry that permits `domid` to use `frame`.
    pub const fn permit_access(domid: DomId, frame: Pfn, readonly: bool) -> Self {
        let flags = GrantFlags::of(GrantType::PermitAccess);
        let flags = if readonly { flags.union(GrantFlags::READONLY) } else { flags };
        Self { flags, domid, frame }
    }

    /// The entry as one number: flags in the low 16 bits, then domid, frame in the high 32.
    ///
    /// Stored on a little-endian CPU it is Xen's entry, and its low half-word is `flags` alone.
    pub const fn to_u64(self) -> u64 {
        self.flags.bits() as u64 | (self.domid.0 as u64) << 16 | (self.frame.0 as u64) << 32
    }

    /// The entry in this number. Every number is one; bits without a name are kept.
    pub const fn from_u64(raw: u64) -> Self {
        let [f0, f1, d0, d1, p0, p1, p2, p3] = raw.to_le_bytes();
        Self {
            flags: GrantFlags::from_bits_retain(u16::from_le_bytes([f0, f1])),
            domid: DomId(u16::from_le_bytes([d0, d1])),
            frame: Pfn(u32::from_le_bytes([p0, p1, p2, p3])),
        }
    }
}

numbered! {
    /// What a grant operation answers (`GNTST_*`). Displayed in words.
    ///
    /// `Okay` is among them because the status field of an operation holds it; a function that
    /// returns a `Result` never fails with it.
    #[derive(Error)]
    pub enum GntStatus: i16 {
        /// It was done.
        #[error("okay")]
        Okay = 0,
        /// The entry does not permit this: type, domid or read-only; or nothing more is known.
        #[error("the entry does not permit it")]
        GeneralError = -1,
        /// There is no such domain.
        #[error("no such domain")]
        BadDomain = -2,
        /// The reference is past the end of the table, or not usable for this.
        #[error("bad grant reference")]
        BadGntref = -3,
        /// No mapping has this handle.
        #[error("bad map handle")]
        BadHandle = -4,
        /// The address to map at or unmap is wrong.
        #[error("bad virtual address")]
        BadVirtAddr = -5,
        /// The device address to unmap is wrong.
        #[error("bad device address")]
        BadDevAddr = -6,
        /// The IOMMU has no room.
        #[error("no space in the IOMMU")]
        NoDeviceSpace = -7,
        /// The caller lacks the privilege.
        #[error("permission denied")]
        PermissionDenied = -8,
        /// The frame is not one that can be granted.
        #[error("bad page")]
        BadPage = -9,
        /// A copy would cross the end of a page.
        #[error("the copy crosses a page boundary")]
        BadCopyArg = -10,
        /// The frame's address is too large for the domain.
        #[error("the page's address is too big")]
        AddressTooBig = -11,
        /// Not done, for now; ask again.
        #[error("not done yet, try again")]
        Eagain = -12,
        /// No handles are left, or the like.
        #[error("out of space")]
        NoSpace = -13,
    }
}
