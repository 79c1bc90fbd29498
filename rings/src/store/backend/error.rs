//! Why a device does not come up. What its guest can do wrong later is its kind's business.

use crate::DomainError;
use crate::grant::GntStatus;
use crate::ring::ProdOverflow;
use crate::store::StoreError;

/// Why a device does not come up.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// A key that must be there is not, or holds something else.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A key holds a number that cannot be.
    #[error("{key} is {value}, must be {range}")]
    Range {
        /// Which key.
        key: &'static str,
        /// What it holds.
        value: u32,
        /// What it may hold.
        range: String,
    },
    /// Grefs lead nowhere.
    #[error("{key} {grefs}: {status}")]
    Grant {
        /// Of which ring.
        key: &'static str,
        /// What its keys hold.
        grefs: String,
        /// The hypervisor's answer.
        status: GntStatus,
    },
    /// A ring's pages make no sense.
    #[error("{key}: {why}")]
    Ring {
        /// Which ring.
        key: &'static str,
        /// What is wrong with it.
        why: ProdOverflow,
    },
    /// Anything that only this kind can fail at, in words.
    #[error("{0}")]
    Own(String),
    /// The platform refused.
    #[error(transparent)]
    Domain(#[from] DomainError),
}

impl ConnectError {
    /// Whether the guest is no domain any more: it went in the middle of the handshake.
    pub(super) fn is_guest_gone(&self) -> bool {
        matches!(self, Self::Domain(DomainError::Refused { what, errno: "ENOENT" })
            if what.starts_with("Foreign("))
    }
}
