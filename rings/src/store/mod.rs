//! The client's half of xenstore: what a driver, a tool or a unikernel needs to talk to the store.
//!
//! | module | what |
//! |---|---|
//! | `nodes` | [`Nodes`]: what can be asked of a node, inside a transaction and outside |
//! | `client` | [`XsClient`]: a connection, its transactions and watches |
//! | `link` | the lower half of a connection: replies and events told apart |
//! | [`xenbus`] | states and handshake of split drivers, on top of the client |
//! | [`backend`] | the backend's half of that handshake, for whatever kind of device |
//! | [`frontends`] | what all backends ask of the store: who is there, and whether anything changed |
//! | `missing` | which key a frontend waits for in vain, in words |
//! | [`keys`] | the literal names of the keys of a vif's and a vbd's handshake |
//! | `perm` | [`Perm`]: a permission in its text form |
//! | [`frame`] | a byte stream cut into messages; the server uses it too |
//!
//! What does not live here: sockets (a [`Transport`] brings the bytes) and the server
//! (`rings-host`). Bytes follow xs_wire.h, behaviour docs/misc/xenstore.txt.

use std::io;
use std::time::Duration;

pub mod backend;
mod client;
mod error;
pub mod frame;
pub mod frontends;
pub mod keys;
mod link;
mod missing;
mod nodes;
mod perm;
pub mod xenbus;

pub use client::{MAX_ATTEMPTS, REPLY_TIMEOUT, Transaction, WatchEvent, XsClient};
pub use error::StoreError;
pub use missing::missing;
pub use nodes::Nodes;
pub use perm::{Access, Perm};
pub use xenbus::XenbusState;

/// A byte stream to a store: a Unix socket, the ring page of a domain, `/dev/xen/xenbus`, a test.
pub trait Transport: Send {
    /// Sends all of `bytes`.
    ///
    /// # Errors
    /// Whatever the stream reports; the client then gives the connection up.
    fn send(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Waits for bytes and puts them at the start of `buf`; returns how many, 0 if the other end
    /// has closed. Without a `timeout` it waits for ever; with a zero one it only looks.
    ///
    /// # Errors
    /// [`io::ErrorKind::TimedOut`] if `timeout` passes without a byte; whatever else the stream
    /// reports.
    fn recv(&mut self, buf: &mut [u8], timeout: Option<Duration>) -> io::Result<usize>;
}
