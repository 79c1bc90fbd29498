//! xenstored: the tree, its watches, transactions, permissions and quotas.

use rings::DomId;

/// A connection to the store. Never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnId(u64);

/// The store: a state machine that eats bytes of connections and yields bytes for them.
#[derive(Debug, Default)]
pub struct Xenstored {}

impl Xenstored {
    /// An empty store with Xen's quotas.
    #[must_use]
    pub fn new() -> Self {
        Self {}
    }

    /// A new connection on which `domid` speaks.
    pub fn connect(&mut self, domid: DomId) -> ConnId {
        let _ = domid;
        ConnId(0)
    }

    /// The connection is closed.
    pub fn disconnect(&mut self, conn: ConnId) {
        let _ = conn;
    }

    /// Whether the connection is to be read: not while its domain owes reading replies.
    #[must_use]
    pub fn wants_input(&self, conn: ConnId) -> bool {
        let _ = conn;
        false
    }

    /// Bytes that came, cut anywhere.
    pub fn input(&mut self, conn: ConnId, bytes: &[u8]) {
        let _ = (conn, bytes);
    }

    /// Bytes to be sent.
    #[must_use]
    pub fn output(&self, conn: ConnId) -> &[u8] {
        let _ = conn;
        &[]
    }

    /// The first `len` bytes of the output are sent.
    pub fn wrote(&mut self, conn: ConnId, len: usize) {
        let _ = (conn, len);
    }

    /// Whether the connection is to be closed once its output is sent.
    #[must_use]
    pub fn is_dead(&self, conn: ConnId) -> bool {
        let _ = conn;
        true
    }

    /// Connections with output to send, or to be closed.
    pub fn ready(&self) -> impl Iterator<Item = ConnId> + '_ {
        std::iter::empty()
    }

    /// A domain exists: fires @introduceDomain.
    pub fn introduce(&mut self, domid: DomId) {
        let _ = domid;
    }

    /// A domain is gone: forgets all that was its, fires @releaseDomain.
    pub fn domain_gone(&mut self, domid: DomId) {
        let _ = domid;
    }
}
