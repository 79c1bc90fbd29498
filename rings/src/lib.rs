//! The machine room of pvlab: every byte two domains both see, and every wake-up between them.
//!
//! What lives here is what the author of a driver or unikernel would import: Xen's structures
//! ([`io`]), the ring protocol, grant tables, event channels, the store client ([`store`]) and the
//! traits a driver needs of its platform. What does not: sockets, processes and anything else that
//! knows the hypervisor is simulated (that is `rings-host`), and the drivers themselves.

mod id;
pub mod io;
pub mod store;

pub use id::{DomId, Gref, Pfn, Port};

/// Bytes in a page, a frame, and so in one grant (`XEN_PAGE_SIZE`).
pub const PAGE_SIZE: usize = 4096;
