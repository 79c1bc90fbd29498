//! Why a guest has no console.

use rings::DomainError;
use rings::store::StoreError;

/// Why there is no console.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The toolstack's keys are not there, or hold something else.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The platform refused.
    #[error(transparent)]
    Domain(#[from] DomainError),
    /// Our memory has no such frame.
    #[error("the console's frame is not in our memory")]
    NoPage,
}
