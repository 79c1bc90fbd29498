//! The lies a guest can tell that break its vbd. Why a vbd does not come up at all is told by
//! [`rings::store::backend`].

use rings::ring::ProdOverflow;

/// What the guest did that breaks its vbd: error node, Closing. Everything else it can do wrong fails
/// one request.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Rogue {
    /// A producer index that cannot be; Linux' blkback halts the ring ("bogus ring requests").
    #[error("frontend: {0}")]
    Ring(#[from] ProdOverflow),
}
