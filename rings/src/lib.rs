//! The machine room of pvlab: every byte two domains both see, and every wake-up between them.
//!
//! What lives here is what the author of a driver or unikernel would import: Xen's structures
//! ([`io`]), the ring protocol ([`ring`]), rings of bytes ([`bytes`]), grant tables ([`grant`]), event channels ([`evtchn`]), the
//! store client ([`store`]), frames and their checksums ([`frame`], [`csum`]), the cost model ([`cost`]), what is kept of many things ([`lru`]) and the traits a driver needs of its platform
//! ([`Domain`] and its parts). What does not: sockets, processes and anything else that knows the
//! hypervisor is simulated (that is `rings-host`), and the drivers themselves.

pub mod bytes;
pub mod cost;
pub mod csum;
mod domain;
pub mod evtchn;
pub mod frame;
pub mod grant;
mod id;
pub mod io;
pub mod lru;
pub mod mem;
mod memory;
pub mod ring;
pub mod store;
pub mod sync;
pub mod weaken;
pub mod worker;

pub use domain::{Domain, DomainError, Foreign, ForeignCounters, GrantMode, Waiter};
pub use id::{DomId, Gref, Pfn, Port};
pub use memory::{Granted, Memory};

// Offsets into a domain's memory, and the ring's 32-bit indices, are counted in `usize` everywhere.
const _: () = assert!(usize::BITS == 64, "pvlab is for 64-bit machines");

/// Bytes in a page, a frame, and so in one grant (`XEN_PAGE_SIZE`).
pub const PAGE_SIZE: usize = 4096;

/// Bytes of a cache line: what goes from one CPU to another at a time.
pub const CACHE_LINE: usize = 64;
