//! blkfront: the guest's half of a vbd.
//!
//! | module | what |
//! |---|---|
//! | `connect` | the guest's half of the handshake, and again after a backend has died |
//! | `wait` | waiting for a backend, and for it to connect |
//! | `link` | a ring and its port: what a connection consists of |
//! | [`Queue`] | operations on a ring: the unit of work of a worker |
//! | `again` | what was in flight, on the ring of the backend that comes after one that died |
//! | `put` | a request in a slot, and its segments in a page of their own |
//! | `sleep` | masking, arming, and what an event brought |
//! | `split` | pure: an operation of any length as requests |
//! | `ops` | operations that are not over |
//! | `shadow` | requests in flight, as we know them ourselves |
//! | [`Buffers`] | pages granted once and used again |
//! | `disk` | what the backend says of the disk |
//!
//! The backend is not believed: every answer is checked against the shadow, and the first lie makes
//! the device *broken* ([`Misbehaviour`]). A backend that dies is no lie: what was in flight is put on
//! the next one's ring, in the same order.

mod again;
mod buffers;
mod connect;
mod disk;
mod error;
mod link;
mod ops;
mod put;
mod queue;
mod shadow;
mod sleep;
mod split;
mod stats;
mod wait;

pub use buffers::Buffers;
pub use connect::{Blkfront, Config};
pub use disk::DiskInfo;
pub use error::{ConnectError, Misbehaviour};
pub use link::Link;
pub use ops::{Op, OpKind, Outcome};
pub use queue::{Limits, Queue, SplitMode};
pub use split::{Piece, pieces};
pub use stats::Stats;
