//! The disk for everybody: an NBD server whose requests go through blkfront.
//!
//! | module | what |
//! |---|---|
//! | `wire` | NBD's numbers and messages, as bytes |
//! | `export` | the disk as clients are told of it |
//! | `greet` | the handshake: what a client may ask before it is let in |
//! | `serve` | sockets and the threads that read and write them |
//! | `credit` | how much a client may have asked for and not been told |
//! | `desk` | what clients asked for and has not been begun |
//! | `job` | the worker's end: takes requests from the desk, serves the queue |
//! | `requests` | requests that have been begun become operations, and their ends become replies |
//!
//! fio, nbdcopy, nbdinfo, qemu-img and qemu-io drive the paravirtual disk this way. Each connection has
//! a thread that reads and one that writes; a write is answered when blkback has answered it. The protocol
//! is NBD's own `doc/proto.md`: fixed newstyle, simple replies, no TLS.

mod credit;
mod desk;
mod export;
mod greet;
mod job;
mod requests;
mod serve;
mod wire;

pub use desk::Desk;
pub use export::Export;
pub use job::Clerk;
pub use requests::SLOT;
pub use serve::serve;
