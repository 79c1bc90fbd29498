//! The ring protocol of ring.h on one page: four shared indices, and slots that requests and
//! responses share.
//!
//! ```text
//!          0            4             8            12            16 .. 63    64
//!     +----------+-----------+-----------+------------+-------------+--------------------+
//!     | req_prod | req_event | rsp_prod  | rsp_event  | pvt and pad | slot 0, slot 1 ... |
//!     +----------+-----------+-----------+------------+-------------+--------------------+
//!      front      back        back        front                      both
//! ```
//!
//! Indices are free-running `u32`s: they wrap at 2^32, and all arithmetic here is modulo 2^32. The
//! slot of index i is `i & (size - 1)`. What each half believes is private to it (`req_prod_pvt`,
//! `rsp_cons`; `rsp_prod_pvt`, `req_cons`): the shared page is where the other half may lie.
//!
//! [`FrontRing`] and [`BackRing`] are mirror images: the same functions in the same order. Both
//! work over any [`SringMem`], so that the model checker and the property tests run this very code.
//! Which bytes a slot carries is the business of `io`; whom to wake is that of `evtchn`.

mod answered;
mod back;
mod front;
mod mem;
mod notify;
mod sring;

pub use answered::Answered;
pub use back::BackRing;
pub use front::FrontRing;
pub use mem::{Index, SringMem};
pub use notify::{Notify, must_notify};
pub use sring::Sring;

/// The other end published an index that cannot be: further ahead than the ring is long, further than
/// there are requests to answer, or backwards.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{index:?} went from {seen} to {claimed}, which is more than the {limit} the ring allows")]
pub struct ProdOverflow {
    /// The index that lies.
    pub index: Index,
    /// The last value believed.
    pub seen: u32,
    /// What the shared page says now.
    pub claimed: u32,
    /// How far ahead of our consumer index it may be.
    pub limit: u32,
}
