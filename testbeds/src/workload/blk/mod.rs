//! Operations on a disk: a queue of blkfront kept full by one or more jobs, or a queue of blkback that
//! only serves.
//!
//! | module | what |
//! |---|---|
//! | `front` | the guest's end: when operations begin, and when it is over |
//! | `jobs` | which operation is next, and what becomes of each: timed, checked |
//! | `back` | the backend's end, which measures nothing but itself |
//! | `stream` | which block is next, and whether what was read is right |
//! | `saved` | what flushes have saved, where a cache dies with its backend |
//! | `block` | what stands in a block |
//! | `report` | what only a disk's run measures |

mod back;
pub mod block;
mod front;
mod jobs;
mod report;
mod saved;
mod stream;

use blkif::front::{DiskInfo, Link};
use rings_host::HostDomain;

pub use back::Served;
pub use front::Exerciser;
pub use report::{BlkReport, DEPTHS, Direction, Moments, ReadBack};

/// Something the control side has for a queue.
#[derive(Debug)]
pub enum Change {
    /// Another backend: another ring.
    Relink(Box<Link<HostDomain>>, DiskInfo),
    /// Another length of the disk, in sectors.
    Resize(u64),
}
