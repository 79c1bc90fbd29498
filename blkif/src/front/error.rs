//! The lies a backend can tell, and why there is no vbd.

use rings::DomainError;
use rings::ring::ProdOverflow;
use rings::store::StoreError;
use rings::store::xenbus::WaitError;

/// What the backend did that no backend does. The device is broken from then on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Misbehaviour {
    /// A producer index that cannot be.
    #[error("backend: {0}")]
    Ring(#[from] ProdOverflow),
    /// An answer to a request that no ring has room for.
    #[error("backend answers request {0}, which does not exist")]
    IdRange(u64),
    /// An answer to a request that is not in flight.
    #[error("backend answers request {0}, which is not in flight")]
    IdIdle(u64),
    /// An answer that names another operation than the request.
    #[error("backend answers operation {1} with operation {2} (request {0})")]
    Operation(u64, u8, u8),
}

/// Why there is no vbd.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The backend did not come as far as it should.
    #[error("vbd {handle}: {step}: {why}{said}")]
    Stuck {
        /// The vbd.
        handle: u32,
        /// What we waited for.
        step: &'static str,
        /// In which state it stuck.
        why: WaitError,
        /// What the backend's error node says, if anything, and which key is missing, if one is.
        said: String,
    },
    /// A key that must be there is not, or holds something else.
    #[error("vbd {handle}: {why}")]
    Store {
        /// The vbd.
        handle: u32,
        /// Which key, and what is wrong with it.
        why: StoreError,
    },
    /// The backend describes a disk that cannot be.
    #[error("vbd {handle}: the backend offers a disk of {what}")]
    Disk {
        /// The vbd.
        handle: u32,
        /// What is wrong with it.
        what: String,
    },
    /// The platform refused memory, grants or ports.
    #[error(transparent)]
    Domain(#[from] DomainError),
}

impl ConnectError {
    /// Whether the backend has died meanwhile: another one may come.
    pub(super) fn backend_gone(&self) -> bool {
        matches!(self, Self::Stuck { why: WaitError::Removed { .. }, .. })
    }
}
