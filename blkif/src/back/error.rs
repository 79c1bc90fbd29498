//! The lies a guest can tell that break its vbd, and why a vbd does not come up.

use rings::DomainError;
use rings::grant::GntStatus;
use rings::ring::ProdOverflow;
use rings::store::StoreError;

/// What the guest did that breaks its vbd: error node, Closing. Everything else it can do wrong fails
/// one request.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Rogue {
    /// A producer index that cannot be; Linux' blkback halts the ring ("bogus ring requests").
    #[error("frontend: {0}")]
    Ring(#[from] ProdOverflow),
}

/// Why a vbd does not come up.
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
    /// The guest's requests have a layout we do not know.
    #[error("protocol is {0}, and only x86_64-abi (or arm-abi, which is the same) is served")]
    Protocol(String),
    /// A gref leads nowhere.
    #[error("ring-ref {grefs}: {status}")]
    Grant {
        /// What the keys hold.
        grefs: String,
        /// The hypervisor's answer.
        status: GntStatus,
    },
    /// The ring's pages make no sense.
    #[error("ring-ref: {0}")]
    Ring(ProdOverflow),
    /// The disk cannot be had.
    #[error("disk: {0}")]
    Disk(String),
    /// The platform refused.
    #[error(transparent)]
    Domain(#[from] DomainError),
}
