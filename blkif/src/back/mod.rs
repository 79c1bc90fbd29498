//! blkback: the driver domain's half of a vbd.
//!
//! | module | what |
//! |---|---|
//! | `connect` | a vbd's part in the handshake of all backends: limits, queues, geometry |
//! | `keys` | what a guest's keys ask for; those that describe the disk |
//! | `news` | what a connected guest is told of its disk |
//! | `vbd` | what the control side and the workers say to each other |
//! | [`Queue`] | one ring with its port: the unit of work of a worker |
//! | `serve` | requests from the ring to the disk, and answers back |
//! | `parse` | pure: a request as something to do; every check of what the guest wrote is here |
//! | `pending` | what is being done, and which steps it has |
//! | `access` | the guest's pages: copied, mapped for each request, or kept mapped |
//! | [`disk`] | what is behind it: null, void, ram, file, model, faulty |
//!
//! The guest is not believed. A request is copied out once and then checked; a lie either fails that
//! one request or breaks the vbd ([`Rogue`]), as Linux' blkback decides it.

mod access;
mod connect;
pub mod disk;
mod error;
mod keys;
mod news;
pub mod parse;
mod pending;
mod queue;
mod serve;
mod stats;
mod vbd;

pub use connect::{Blkback, Vbds};
pub use error::Rogue;
pub use queue::Queue;
pub use stats::Stats;
pub use vbd::{Config, VbdEvent, VbdId};
