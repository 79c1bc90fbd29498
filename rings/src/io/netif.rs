//! What netfront and netback put into the slots of a vif's two packet rings (`io/netif.h`).
//!
//! Here: requests, responses and extras as bytes, their flags and status codes, and the rules by
//! which slots make a packet. Not here: the rings those slots live in (`ring`), the control ring
//! ([`netif_ctrl`](super::netif_ctrl)), store keys, and whether the other end's values make sense: a
//! request of 60,000 bytes at offset 60,000 is a well-formed [`TxRequest`] and netback's problem.
//!
//! # Transmit: frontend to backend
//!
//! ```text
//! slot i    TxRequest  flags EXTRA_INFO? MORE_DATA?   size = bytes of the WHOLE packet
//! slot i+1  ExtraInfo  if slot i has EXTRA_INFO; again while the extra before has MORE
//! ...
//! slot k    TxRequest  if the TxRequest before has MORE_DATA    size = bytes in this slot
//! ```
//!
//! The first slot carries the total, so its own share is what the later ones leave of it. An extra
//! between two requests does not end the chain: `MORE_DATA` is looked for in the requests alone.
//! A slot's bytes stay within its page: `offset + size` (of the share) is at most 4096.
//!
//! Every slot used is answered, extras too, with [`RSP_NULL`]. Answers may come in any order.
//!
//! # Receive: backend to frontend
//!
//! ```text
//! slot i    RxResponse flags EXTRA_INFO? MORE_DATA?   status = bytes in this slot
//! slot i+1  ExtraInfo  if slot i has EXTRA_INFO; again while the extra before has MORE
//! ...
//! slot k    RxResponse if the RxResponse before has MORE_DATA   status = bytes in this slot
//! ```
//!
//! Here nothing carries the total; it is the sum. An answer stands in the very slot of the request
//! it answers, because an extra overlays the id: its slot number alone says whose buffer came back
//! unused.

use bitflags::bitflags;
use std::mem::{offset_of, size_of};
use thiserror::Error;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::netif_ctrl::{HashAlgorithm, HashType};
use super::numbered::numbered;
use crate::DomId;

/// Octets of a slot of the transmit ring: the longer of [`TxRequest`] and [`TxResponse`].
///
/// A [`TxResponse`] takes the first 4 and an [`ExtraInfo`] the first 8; the rest is unused.
pub const TX_SLOT: usize = 12;
/// Octets of a slot of the receive ring; [`RxRequest`], [`RxResponse`], [`ExtraInfo`] fill it.
pub const RX_SLOT: usize = 8;
/// Slots of the transmit ring. A vif's rings are always one page.
pub const TX_RING_SIZE: usize = super::ring_size(TX_SLOT, 0);
/// Slots of the receive ring.
pub const RX_RING_SIZE: usize = super::ring_size(RX_SLOT, 0);

/// Slots a packet may take that every backend must accept (`XEN_NETIF_NR_SLOTS_MIN`).
pub const NR_SLOTS_MIN: usize = 18;
/// Longest packet, in bytes with its Ethernet header (`XEN_NETIF_MAX_TX_SIZE`).
pub const MAX_TX_SIZE: u16 = 0xffff;

/// The packet was dropped (`NETIF_RSP_DROPPED`).
pub const RSP_DROPPED: i16 = -2;
/// The request was wrong or could not be done (`NETIF_RSP_ERROR`).
pub const RSP_ERROR: i16 = -1;
/// The packet was taken (`NETIF_RSP_OKAY`). On receive, any status from 0 up is a length instead.
pub const RSP_OKAY: i16 = 0;
/// Answer to a transmit slot that held an extra: says nothing, frees the slot (`NETIF_RSP_NULL`).
pub const RSP_NULL: i16 = 1;

bitflags! {
    /// Flags of a [`TxRequest`] (`NETTXF_*`). Not [`RxFlags`]: bits 0 and 1 trade places.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct TxFlags: u16 {
        /// The TCP or UDP checksum is not filled in; whoever sends it out does that.
        const CSUM_BLANK = 1 << 0;
        /// The data is known to be good, whatever the checksum field holds.
        const DATA_VALIDATED = 1 << 1;
        /// The packet goes on in the next request.
        const MORE_DATA = 1 << 2;
        /// The next slot is an [`ExtraInfo`].
        const EXTRA_INFO = 1 << 3;
    }
}

bitflags! {
    /// Flags of an [`RxResponse`] (`NETRXF_*`). Not [`TxFlags`]: bits 0 and 1 trade places.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct RxFlags: u16 {
        /// The data is known to be good, whatever the checksum field holds.
        const DATA_VALIDATED = 1 << 0;
        /// The TCP or UDP checksum is not filled in.
        const CSUM_BLANK = 1 << 1;
        /// The packet goes on in the next response.
        const MORE_DATA = 1 << 2;
        /// The next slot is an [`ExtraInfo`].
        const EXTRA_INFO = 1 << 3;
        /// This slot holds no data, only a segment size (deprecated; old Windows drivers).
        const GSO_PREFIX = 1 << 4;
    }
}

/// A piece of a packet to send (`struct netif_tx_request`).
///
/// ```text
///   0     1     2     3     4     5     6     7   octet
/// +-----+-----+-----+-----+-----+-----+-----+-----+
/// | gref                  | offset    | flags     |
/// +-----+-----+-----+-----+-----+-----+-----+-----+
/// | id        | size      |
/// +-----+-----+-----+-----+
/// ```
#[repr(C)]
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct TxRequest {
    /// Grant of the page the bytes are in.
    pub gref: u32,
    /// Where in the page they start, in bytes.
    pub offset: u16,
    /// [`TxFlags`], raw: the other end may set bits that have no name. Read them with [`Self::flags`].
    pub flags: u16,
    /// The frontend's number for this request, echoed in [`TxResponse::id`].
    pub id: u16,
    /// Bytes: of the whole packet in its first slot, of this slot in every later one.
    pub size: u16,
}

impl TxRequest {
    /// The flags under their names; bits without one are kept.
    pub const fn flags(&self) -> TxFlags {
        TxFlags::from_bits_retain(self.flags)
    }
}

/// The answer to a [`TxRequest`] or to an extra (`struct netif_tx_response`).
///
/// ```text
///   0     1     2     3     4     5     6     7   octet
/// +-----+-----+-----+-----+-----+-----+-----+-----+
/// | id        | status    | unused                |
/// +-----+-----+-----+-----+-----+-----+-----+-----+
/// | unused                |
/// +-----+-----+-----+-----+
/// ```
#[repr(C)]
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct TxResponse {
    /// [`TxRequest::id`]. An extra has none, so beside [`RSP_NULL`] this means nothing.
    pub id: u16,
    /// [`RSP_OKAY`], [`RSP_ERROR`], [`RSP_DROPPED`] or [`RSP_NULL`].
    pub status: i16,
}

/// A page offered for what arrives (`struct netif_rx_request`).
///
/// ```text
///   0     1     2     3     4     5     6     7   octet
/// +-----+-----+-----+-----+-----+-----+-----+-----+
/// | id        | pad       | gref                  |
/// +-----+-----+-----+-----+-----+-----+-----+-----+
/// ```
#[repr(C)]
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct RxRequest {
    /// The frontend's number for this request, echoed in [`RxResponse::id`].
    pub id: u16,
    /// Zero.
    pub pad: u16,
    /// Grant of the page, writable by the backend.
    pub gref: u32,
}

/// A piece of a packet that arrived (`struct netif_rx_response`).
///
/// ```text
///   0     1     2     3     4     5     6     7   octet
/// +-----+-----+-----+-----+-----+-----+-----+-----+
/// | id        | offset    | flags     | status    |
/// +-----+-----+-----+-----+-----+-----+-----+-----+
/// ```
#[repr(C)]
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct RxResponse {
    /// [`RxRequest::id`] of the request in the same slot.
    pub id: u16,
    /// Where in the page the bytes start.
    pub offset: u16,
    /// [`RxFlags`], raw. Read them with [`Self::flags`].
    pub flags: u16,
    /// Bytes in this slot, or negative: [`RSP_ERROR`] or [`RSP_DROPPED`].
    pub status: i16,
}

impl RxResponse {
    /// The flags under their names; bits without one are kept.
    pub const fn flags(&self) -> RxFlags {
        RxFlags::from_bits_retain(self.flags)
    }
}

/// [`ExtraInfo::flags`]: another extra follows in the next slot (`XEN_NETIF_EXTRA_FLAG_MORE`).
pub const EXTRA_FLAG_MORE: u8 = 1;

/// [`ExtraInfo::kind`], never used (`XEN_NETIF_EXTRA_TYPE_NONE`).
pub const EXTRA_TYPE_NONE: u8 = 0;
/// [`ExtraInfo::kind`] of [`Extra::Gso`] (`XEN_NETIF_EXTRA_TYPE_GSO`).
pub const EXTRA_TYPE_GSO: u8 = 1;
/// [`ExtraInfo::kind`] of [`Extra::McastAdd`] (`XEN_NETIF_EXTRA_TYPE_MCAST_ADD`).
pub const EXTRA_TYPE_MCAST_ADD: u8 = 2;
/// [`ExtraInfo::kind`] of [`Extra::McastDel`] (`XEN_NETIF_EXTRA_TYPE_MCAST_DEL`).
pub const EXTRA_TYPE_MCAST_DEL: u8 = 3;
/// [`ExtraInfo::kind`] of [`Extra::Hash`] (`XEN_NETIF_EXTRA_TYPE_HASH`).
pub const EXTRA_TYPE_HASH: u8 = 4;
/// First [`ExtraInfo::kind`] without a meaning (`XEN_NETIF_EXTRA_TYPE_MAX`). Linux alone gives this
/// number one (XDP headroom), so it is an unknown kind here.
pub const EXTRA_TYPE_MAX: u8 = 5;

/// What a packet's flags have no room for, in a slot of its own (`struct netif_extra_info`).
///
/// Eight octets, so that it fits a slot of either ring. The bytes as they are on the page;
/// [`ExtraInfo::decode`] says what they mean.
///
/// ```text
///   0     1     2     3     4     5     6     7   octet
/// +-----+-----+-----+-----+-----+-----+-----+-----+
/// |kind |flags| body, by kind                     |
/// +-----+-----+-----+-----+-----+-----+-----+-----+
/// | unused, tx only       |
/// +-----+-----+-----+-----+
/// ```
#[repr(C)]
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct ExtraInfo {
    /// One of the `EXTRA_TYPE_` numbers (`type` in C).
    pub kind: u8,
    /// [`EXTRA_FLAG_MORE`] or zero.
    pub flags: u8,
    /// What it says; the rulers are at the variants of [`Extra`].
    pub body: [u8; 6],
}

impl ExtraInfo {
    /// Whether the next slot holds another extra.
    pub const fn more(&self) -> bool {
        self.flags & EXTRA_FLAG_MORE != 0
    }

    /// What these bytes say. Padding and unnamed flag bits are ignored, as Linux ignores them.
    ///
    /// # Errors
    ///
    /// A number that has no meaning where it stands. Whether a meaningful value is acceptable
    /// (netback refuses a segment size of zero) is the receiver's to decide.
    pub fn decode(&self) -> Result<Extra, BadExtra> {
        let [b0, b1, b2, b3, b4, b5] = self.body;
        match self.kind {
            EXTRA_TYPE_GSO => Ok(Extra::Gso {
                size: u16::from_ne_bytes([b0, b1]),
                kind: GsoType::from_raw(b2).ok_or(BadExtra::Gso(b2))?,
                features: u16::from_ne_bytes([b4, b5]),
            }),
            EXTRA_TYPE_MCAST_ADD => Ok(Extra::McastAdd(self.body)),
            EXTRA_TYPE_MCAST_DEL => Ok(Extra::McastDel(self.body)),
            EXTRA_TYPE_HASH => Ok(Extra::Hash {
                kind: HashType::from_raw(b0).ok_or(BadExtra::HashType(b0))?,
                algorithm: HashAlgorithm::from_raw(u32::from(b1))
                    .ok_or(BadExtra::HashAlgorithm(b1))?,
                value: u32::from_le_bytes([b2, b3, b4, b5]),
            }),
            kind => Err(BadExtra::Kind(kind)),
        }
    }
}

numbered! {
    /// The protocol of a packet larger than the wire's frames (`XEN_NETIF_GSO_TYPE_*`).
    pub enum GsoType: u8 {
        /// Not segmented. Nobody sends it; netback breaks the device over it.
        None = 0,
        /// TCP over IPv4.
        TcpV4 = 1,
        /// TCP over IPv6.
        TcpV6 = 2,
    }
}

/// What an [`ExtraInfo`] says.
///
/// ```text
///            0     1     2     3     4     5     6     7   octet
///          +-----+-----+-----+-----+-----+-----+-----+-----+
/// Gso      |  1  |flags| size      | kind| pad | features  |
///          +-----+-----+-----+-----+-----+-----+-----+-----+
/// McastAdd |  2  |flags| address                           |
/// McastDel |  3  |flags|                                   |
///          +-----+-----+-----+-----+-----+-----+-----+-----+
/// Hash     |  4  |flags| kind| alg |LSB     value       MSB|
///          +-----+-----+-----+-----+-----+-----+-----+-----+
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Extra {
    /// The packet is to be cut into segments on its way out.
    Gso {
        /// Payload bytes of each segment; for TCP the MSS.
        size: u16,
        /// Protocol to cut by.
        kind: GsoType,
        /// Features the cutting needs. None exist: zero.
        features: u16,
    },
    /// Let frames to this multicast address through to the frontend. Carries no packet.
    McastAdd([u8; 6]),
    /// No longer let frames to this multicast address through.
    McastDel([u8; 6]),
    /// The packet's flow hash, as its sender computed it.
    Hash {
        /// Which headers it covers. A bit *number* here, a mask on the control ring.
        kind: HashType,
        /// How it was computed.
        algorithm: HashAlgorithm,
        /// The hash. On the page least significant octet first, on every CPU.
        value: u32,
    },
}

impl Extra {
    /// The bytes for a slot; `more` if another extra follows in the next one. Padding is zero.
    pub const fn encode(self, more: bool) -> ExtraInfo {
        let flags = if more { EXTRA_FLAG_MORE } else { 0 };
        let (number, body) = match self {
            Self::Gso { size, kind, features } => {
                let ([s0, s1], [f0, f1]) = (size.to_ne_bytes(), features.to_ne_bytes());
                (EXTRA_TYPE_GSO, [s0, s1, kind as u8, 0, f0, f1])
            }
            Self::McastAdd(address) => (EXTRA_TYPE_MCAST_ADD, address),
            Self::McastDel(address) => (EXTRA_TYPE_MCAST_DEL, address),
            Self::Hash { kind, algorithm, value } => {
                let [v0, v1, v2, v3] = value.to_le_bytes();
                (EXTRA_TYPE_HASH, [kind as u8, algorithm as u8, v0, v1, v2, v3])
            }
        };
        ExtraInfo { kind: number, flags, body }
    }
}

/// Why an [`ExtraInfo`] says nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Error)]
pub enum BadExtra {
    /// No extra has this number.
    #[error("unknown extra type {0}")]
    Kind(u8),
    /// No segmentation has this number.
    #[error("unknown GSO type {0}")]
    Gso(u8),
    /// No hash covers what this number says.
    #[error("unknown hash type {0}")]
    HashType(u8),
    /// No hash algorithm has this number.
    #[error("unknown hash algorithm {0}")]
    HashAlgorithm(u8),
}

// Xen's layout, checked by the compiler: a change of a field cannot get past this.
const _: () = {
    assert!(size_of::<TxRequest>() == TX_SLOT && size_of::<TxResponse>() == 4);
    assert!(size_of::<RxRequest>() == RX_SLOT && size_of::<RxResponse>() == RX_SLOT);
    assert!(size_of::<ExtraInfo>() == RX_SLOT && offset_of!(ExtraInfo, body) == 2);
    assert!(offset_of!(TxRequest, offset) == 4 && offset_of!(TxRequest, flags) == 6);
    assert!(offset_of!(TxRequest, id) == 8 && offset_of!(TxRequest, size) == 10);
    assert!(offset_of!(TxResponse, status) == 2 && offset_of!(RxRequest, gref) == 4);
    assert!(offset_of!(RxResponse, offset) == 2 && offset_of!(RxResponse, flags) == 4);
    assert!(offset_of!(RxResponse, status) == 6);
    assert!(TX_RING_SIZE == 256 && RX_RING_SIZE == 256);
};
/// What Linux calls a queue of a vif, less the `-tx` or `-rx` of its rings and ports: `vif1.0-q0`. Both
/// ends know what it takes.
#[must_use]
pub fn queue_name(front: DomId, handle: u32, queue: u32) -> String {
    format!("vif{front}.{handle}-q{queue}")
}
