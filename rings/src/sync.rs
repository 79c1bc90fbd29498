//! The fence and the orderings the protocols use: std's, or loom's under `cfg(loom)`.
//!
//! Only fences are switched here. The atomics themselves sit behind the memory traits
//! (`ring::SringMem`, `grant::GrantMem`, `evtchn::EventWords`), because loom's types cannot be laid
//! over a shared page: production memory is `mem::Region`, loom's is in the tests.

#[cfg(loom)]
pub use loom::sync::atomic::{Ordering, fence};
#[cfg(not(loom))]
pub use std::sync::atomic::{Ordering, fence};
