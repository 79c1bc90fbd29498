//! The lies a guest can tell, and why a vif does not come up.

use rings::DomainError;
use rings::grant::GntStatus;
use rings::ring::ProdOverflow;
use rings::store::StoreError;

/// What the guest did that breaks its vif: carrier off, error node, Closing. Everything else it can
/// do wrong fails one frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Rogue {
    /// A producer index that cannot be.
    #[error("frontend: {0}")]
    Ring(#[from] ProdOverflow),
    /// A frame that goes on where the ring ends.
    #[error("frontend leaves a frame unfinished")]
    Cut,
    /// An extra info that does not exist.
    #[error("frontend sends an extra info of type {0}")]
    Extra(u8),
    /// More extra infos than there are types.
    #[error("frontend sends extra infos without end")]
    Extras,
    /// A slot that leaves its page.
    #[error("frontend sends {1} bytes at offset {0} of a page")]
    Bounds(u16, u16),
    /// Far more slots than a frame can have.
    #[error("frontend sends a frame of {0} slots or more")]
    Slots(usize),
    /// Segments of no size, or of a protocol nobody segments.
    #[error("frontend asks for segmentation of size {0}, type {1}")]
    Gso(u16, u8),
}

/// Why a vif does not come up.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// A key that must be there is not, or holds something else.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A key holds a number that cannot be.
    #[error("{key} is {value}, must be {range}")]
    Range {
        /// Which key.
        key: String,
        /// What it holds.
        value: u32,
        /// What it may hold.
        range: String,
    },
    /// The guest has not written a key that must be there.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// The guest does not ask for copies into its pages, which is all there is today.
    #[error("{0} is not 1: pages are copied here, never exchanged")]
    Flips(&'static str),
    /// A gref leads nowhere.
    #[error("{key} {gref}: {status}")]
    Grant {
        /// Which key.
        key: String,
        /// What it holds.
        gref: u32,
        /// The hypervisor's answer.
        status: GntStatus,
    },
    /// The ring's page makes no sense.
    #[error("{key}: {why}")]
    Ring {
        /// Which ring.
        key: &'static str,
        /// What is wrong with it.
        why: ProdOverflow,
    },
    /// The platform refused.
    #[error(transparent)]
    Domain(#[from] DomainError),
}

impl ConnectError {
    /// Whether the guest is no domain any more: it went in the middle of the handshake.
    pub(crate) fn is_guest_gone(&self) -> bool {
        matches!(self, Self::Domain(DomainError::Refused { what, errno: "ENOENT" })
            if what.starts_with("Foreign("))
    }
}
