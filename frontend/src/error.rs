//! The lies a backend can tell.

use rings::ring::ProdOverflow;

/// What the backend did that no backend does. The device is broken from then on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Misbehaviour {
    /// A producer index that cannot be.
    #[error("backend: {0}")]
    Ring(#[from] ProdOverflow),
    /// A tx response for an id that is no page of ours.
    #[error("backend answers tx id {0}, which does not exist")]
    TxIdRange(u16),
    /// A tx response for an id that is not in flight.
    #[error("backend answers tx id {0}, which is not in flight")]
    TxIdIdle(u16),
    /// More answers without meaning than there were slots without meaning.
    #[error("backend answers more extra infos than were sent")]
    TxNull,
    /// An rx response that is not in the slot of its request.
    #[error("backend answers rx id {0} in the slot of {1}")]
    RxId(u16, u16),
    /// Data outside the page it was to be put into.
    #[error("backend claims {1} bytes at offset {0} of a page")]
    RxBounds(u16, i16),
    /// A frame that goes on where the ring ends.
    #[error("backend leaves a frame unfinished")]
    RxCut,
    /// A frame of more slots than a frame can have.
    #[error("backend sends a frame of more than {0} slots")]
    RxSlots(usize),
    /// An extra info that does not exist.
    #[error("backend sends an extra info of type {0}")]
    RxExtra(u8),
    /// Segments of no size, or of a protocol nobody asked for.
    #[error("backend sends a frame of segments of size {0}, type {1}")]
    RxGso(u16, u8),
}
