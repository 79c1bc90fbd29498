//! blkif: Xen's block device, both halves.
//!
//! ```text
//!   domain 1: blkfront                                   domain 0: blkback
//!   operation (any length)
//!     cut into requests      front/split                 back/serve     takes requests
//!     segments by gref       front/queue  --- ring --->  back/parse     judges what the guest wrote
//!                                                        back/access    pages: copy, map, persistent
//!     answers, shadow        front/shadow <-- ring ----  back/disk      null ram file model faulty
//! ```
//!
//! | module | what |
//! |---|---|
//! | [`front`] | blkfront: handshake, operations as requests, what is in flight, reconnecting |
//! | [`back`] | blkback: handshake, checks, grants, the disks |
//! | [`dialect`] | in which units which implementation counts sectors |
//!
//! The two halves do not know each other: what both of them know is in [`rings::io::blkif`] and
//! [`dialect`]. Processes, workloads and results live in `testbeds`.

#![deny(unsafe_code)]

pub mod back;
mod depth;
pub mod dialect;
pub mod front;

pub use depth::DEPTHS;
