//! The lies a guest can tell. Why a vif does not come up at all is told by [`rings::store::backend`].

use rings::ring::ProdOverflow;

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
