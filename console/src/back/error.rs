//! Why a console is not served.

use rings::DomainError;
use rings::grant::GntStatus;
use rings::store::StoreError;

/// Why a console is not served. The others are.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A key that must be there is not, or holds something else.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The guest has taken its page back.
    #[error("the console's page cannot be mapped: {0}")]
    Grant(GntStatus),
    /// The platform refused.
    #[error(transparent)]
    Domain(#[from] DomainError),
    /// No terminal, or no log.
    #[error(transparent)]
    Outlet(#[from] std::io::Error),
}
