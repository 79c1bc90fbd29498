//! What a frontend asks of netback beside its packets: the control ring of a vif (`io/netif.h`).
//!
//! Here: requests, responses, what each request's data mean, the hashes and the static grants they
//! set up. Not here: packets and extras ([`netif`](super::netif)), the ring itself (`ring`), and
//! the computing of a hash.
//!
//! The ring is optional: a backend offers it with `feature-ctrl-ring`. Responses may come in any
//! order; `id` and `type` together say what they answer. Cells left out are zero:
//!
//! | request | `data[0]` | `data[1]` | `data[2]` | `data` of a response |
//! |---|---|---|---|---|
//! | [`GetHashFlags`](CtrlType::GetHashFlags) | | | | mask of [`HashType`]s the backend knows |
//! | [`SetHashFlags`](CtrlType::SetHashFlags) | mask of [`HashType`]s | | | |
//! | [`SetHashKey`](CtrlType::SetHashKey) | gref of the key | its bytes | | longest key, if too long |
//! | [`GetHashMappingSize`](CtrlType::GetHashMappingSize) | | | | most entries |
//! | [`SetHashMappingSize`](CtrlType::SetHashMappingSize) | entries, 0 for none | | | |
//! | [`SetHashMapping`](CtrlType::SetHashMapping) | gref of u32 queues | how many | first entry | |
//! | [`SetHashAlgorithm`](CtrlType::SetHashAlgorithm) | [`HashAlgorithm`] | | | |
//! | [`GetGrefMappingSize`](CtrlType::GetGrefMappingSize) | queue | | | most grefs |
//! | [`AddGrefMapping`](CtrlType::AddGrefMapping) | queue | gref of [`NetifGref`]s | how many | |
//! | [`DelGrefMapping`](CtrlType::DelGrefMapping) | queue | gref of [`NetifGref`]s | how many | |
//!
//! Without a mapping a packet's queue is its hash modulo the number of queues; with one, the entry
//! its hash modulo the entries picks.

use bitflags::bitflags;
use std::mem::{offset_of, size_of};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::numbered::numbered;

/// Octets of a slot of the control ring: the longer of [`CtrlRequest`] and [`CtrlResponse`].
pub const CTRL_SLOT: usize = 16;
/// Slots of the control ring, always one page.
pub const CTRL_RING_SIZE: usize = super::ring_size(CTRL_SLOT, 0);

/// A request (`struct xen_netif_ctrl_request`).
///
/// ```text
///   0     1     2     3     4     5     6     7   octet
/// +-----+-----+-----+-----+-----+-----+-----+-----+
/// | id        | kind      | data[0]               |
/// +-----+-----+-----+-----+-----+-----+-----+-----+
/// | data[1]               | data[2]               |
/// +-----+-----+-----+-----+-----+-----+-----+-----+
/// ```
#[repr(C)]
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct CtrlRequest {
    /// The frontend's number for this request, echoed in the response.
    pub id: u16,
    /// A [`CtrlType`], raw (`type` in C).
    pub kind: u16,
    /// By type; the table is in the module's description.
    pub data: [u32; 3],
}

/// The answer to a [`CtrlRequest`] (`struct xen_netif_ctrl_response`).
///
/// ```text
///   0     1     2     3     4     5     6     7   octet
/// +-----+-----+-----+-----+-----+-----+-----+-----+
/// | id        | kind      | status                |
/// +-----+-----+-----+-----+-----+-----+-----+-----+
/// | data                  | unused                |
/// +-----+-----+-----+-----+-----+-----+-----+-----+
/// ```
#[repr(C)]
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct CtrlResponse {
    /// [`CtrlRequest::id`].
    pub id: u16,
    /// [`CtrlRequest::kind`].
    pub kind: u16,
    /// A [`CtrlStatus`], raw.
    pub status: u32,
    /// By type and status; the table is in the module's description.
    pub data: u32,
}

/// One page of the frontend's that the backend keeps mapped (`struct xen_netif_gref`).
///
/// Netback of Linux answers every request about them with [`CtrlStatus::NotSupported`].
///
/// ```text
///   0     1     2     3     4     5     6     7   octet
/// +-----+-----+-----+-----+-----+-----+-----+-----+
/// | gref                  | flags     | status    |
/// +-----+-----+-----+-----+-----+-----+-----+-----+
/// ```
#[repr(C)]
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct NetifGref {
    /// The grant (`ref` in C).
    pub gref: u32,
    /// [`GREF_READONLY`] or zero.
    pub flags: u16,
    /// A [`CtrlStatus`], written by the backend.
    pub status: u16,
}

/// [`NetifGref::flags`]: the backend may only read the page (`XEN_NETIF_CTRLF_GREF_readonly`).
pub const GREF_READONLY: u16 = 1;

numbered! {
    /// What a [`CtrlRequest`] asks for (`XEN_NETIF_CTRL_TYPE_*`).
    pub enum CtrlType: u16 {
        /// Never used.
        Invalid = 0,
        /// Which hash types does the backend know?
        GetHashFlags = 1,
        /// Which hash types it shall use. Refused while the algorithm is `None`.
        SetHashFlags = 2,
        /// The key of the hash.
        SetHashKey = 3,
        /// How many entries may the table from hash to queue have?
        GetHashMappingSize = 4,
        /// How many it shall have.
        SetHashMappingSize = 5,
        /// Some of its entries.
        SetHashMapping = 6,
        /// The algorithm of the hash.
        SetHashAlgorithm = 7,
        /// How many pages does the backend keep mapped?
        GetGrefMappingSize = 8,
        /// Pages to keep mapped.
        AddGrefMapping = 9,
        /// Pages to unmap.
        DelGrefMapping = 10,
    }
}

numbered! {
    /// How a [`CtrlRequest`] ended (`XEN_NETIF_CTRL_STATUS_*`).
    pub enum CtrlStatus: u32 {
        /// It was done.
        Success = 0,
        /// The backend does not know this type of request.
        NotSupported = 1,
        /// A value in `data` is wrong.
        InvalidParameter = 2,
        /// More than the backend can hold; the response's `data` may say how much it can.
        BufferOverflow = 3,
    }
}

numbered! {
    /// Which headers a flow hash covers, as a bit number (`_XEN_NETIF_CTRL_HASH_TYPE_*`).
    ///
    /// On the page of an extra it is this number, on the control ring a [`HashFlags`] mask.
    pub enum HashType: u8 {
        /// IPv4 source and destination.
        Ipv4 = 0,
        /// The same and both TCP ports.
        Ipv4Tcp = 1,
        /// IPv6 source and destination.
        Ipv6 = 2,
        /// The same and both TCP ports.
        Ipv6Tcp = 3,
    }
}

numbered! {
    /// How a flow hash is computed (`XEN_NETIF_CTRL_HASH_ALGORITHM_*`).
    pub enum HashAlgorithm: u32 {
        /// Not at all.
        None = 0,
        /// Toeplitz, with a key the frontend supplies.
        Toeplitz = 1,
    }
}

bitflags! {
    /// A set of [`HashType`]s (`XEN_NETIF_CTRL_HASH_TYPE_*`).
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct HashFlags: u32 {
        /// [`HashType::Ipv4`].
        const IPV4 = 1 << HashType::Ipv4 as u32;
        /// [`HashType::Ipv4Tcp`].
        const IPV4_TCP = 1 << HashType::Ipv4Tcp as u32;
        /// [`HashType::Ipv6`].
        const IPV6 = 1 << HashType::Ipv6 as u32;
        /// [`HashType::Ipv6Tcp`].
        const IPV6_TCP = 1 << HashType::Ipv6Tcp as u32;
    }
}

// Xen's layout, checked by the compiler.
const _: () = {
    assert!(size_of::<CtrlRequest>() == CTRL_SLOT && size_of::<CtrlResponse>() == 12);
    assert!(offset_of!(CtrlRequest, kind) == 2 && offset_of!(CtrlRequest, data) == 4);
    assert!(offset_of!(CtrlResponse, kind) == 2 && offset_of!(CtrlResponse, status) == 4);
    assert!(offset_of!(CtrlResponse, data) == 8);
    assert!(size_of::<NetifGref>() == 8 && offset_of!(NetifGref, flags) == 4);
    assert!(offset_of!(NetifGref, status) == 6 && CTRL_RING_SIZE == 128);
};
