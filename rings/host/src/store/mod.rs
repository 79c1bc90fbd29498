//! xenstored: the tree, its watches, transactions, permissions and quotas, as a state machine.
//!
//! [`Xenstored`] eats the bytes of connections and yields bytes for them; it has no sockets, no
//! threads and no clock. Whoever owns the sockets does, for each connection: read while
//! [`Xenstored::wants_input`] and hand over what came ([`Xenstored::input`]); write what
//! [`Xenstored::output`] holds and say how much went ([`Xenstored::wrote`]); close it once it
//! [`Xenstored::is_dead`] and nothing is left to write ([`Xenstored::disconnect`]). It also tells
//! it the time ([`Xenstored::tick`]), now and then and when it asked for it ([`Xenstored::due`]).
//!
//! | module | what |
//! |---|---|
//! | `request` | payloads taken apart, replies put together |
//! | `ops` | what can be done to nodes, permissions and quotas checked |
//! | `tree`, `path`, `perms` | nodes, their names, who may |
//! | `transaction` | snapshot, conflict, commit |
//! | `watch` | who is told of what |
//! | `quota` | what a domain may use and uses |
//! | `rate` | how often a domain may write |
//! | `conn` | bytes in and out of one connection |
//! | `lifecycle` | domains and connections come and go |
//! | `direct` | the toolstack's way in, without a connection |
//! | `record` | what was written, told to whoever asked |
//!
//! Follows docs/misc/xenstore.txt and the behaviour of C xenstored, quotas at their current
//! numbers. Left out: the soft memory quota (a log line in Xen), and the requests by which a toolstack
//! outside this process manages domains.
//! Children are listed sorted, not in the order of their making. A value alone is measured against
//! the quota for it, as in oxenstored; C xenstored adds permissions and names of children.

mod conn;
mod direct;
mod lifecycle;
mod ops;
mod path;
mod perms;
mod quota;
mod rate;
mod record;
mod request;
mod transaction;
mod tree;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::sync::mpsc::Sender;
use std::time::Instant;

use rings::DomId;
use rings::io::xs_wire::{XsdError, XsdSockmsg, XsdType};

use conn::Conn;
use ops::Core;
use quota::Ledger;
use rate::Rates;
use tracer::traced;
use watch::{Change, Specials};

pub use direct::Batch;
pub use quota::{Quota, Usage};
pub use record::Record;

/// Most bytes kept of a connection that sends while it is not served. With the reading end of its
/// socket left alone while not [`Xenstored::wants_input`], this much never comes together.
const INPUT_MAX: usize = 256 * 1024;

/// A connection to the store. Never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnId(u64);

/// The store. See the [module](self) for how to drive it.
#[derive(Debug)]
pub struct Xenstored {
    core: Core,
    conns: BTreeMap<ConnId, Conn>,
    specials: Specials,
    introduced: BTreeSet<DomId>,
    /// Changes of a transaction just committed, whose watches have not fired yet.
    committed: Vec<Change>,
    next_conn: u64,
    rates: Rates,
    /// What time it is; before it is told so for the first time, nobody writes too often.
    now: Option<Instant>,
    /// Who is told of everything that is written.
    recorder: Option<Sender<Record>>,
}

impl Default for Xenstored {
    fn default() -> Self {
        Self::new()
    }
}

impl Xenstored {
    /// A store with Xen's quotas and the nodes it has from the start: `/` and `/tool/xenstored`,
    /// domain 0's.
    #[must_use]
    pub fn new() -> Self {
        Self::with_quota(Quota::xen())
    }

    /// The same with other quotas.
    #[must_use]
    pub fn with_quota(quota: Quota) -> Self {
        let mut store = Self {
            core: Core::new(Ledger::new(quota)),
            conns: BTreeMap::new(),
            specials: Specials::new(),
            introduced: BTreeSet::new(),
            committed: Vec::new(),
            next_conn: 0,
            rates: Rates::new(),
            now: None,
            recorder: None,
        };
        // Domain 0 is refused nothing in an empty tree.
        let made = store.mkdir("/tool/xenstored");
        debug_assert_eq!(made, Ok(()));
        store
    }

    /// Whether the connection is to be read: not while it leaves its replies unread, not while its
    /// domain has written too often, and not when it is dead.
    #[must_use]
    pub fn wants_input(&self, id: ConnId) -> bool {
        self.conns.get(&id).is_some_and(|conn| self.may_serve(conn))
    }

    /// Bytes that came on a connection, cut anywhere. Serves every request that is complete, as
    /// far as its sender reads its replies; the rest waits.
    pub fn input(&mut self, id: ConnId, bytes: &[u8]) {
        let Some(conn) = self.conns.get_mut(&id).filter(|conn| !conn.dead) else { return };
        conn.inbox.push(bytes);
        self.serve_all(id);
        if self.conns.get(&id).is_some_and(|conn| conn.inbox.len() > INPUT_MAX) {
            self.kill(id);
        }
    }

    /// Bytes to be sent on a connection.
    #[must_use]
    pub fn output(&self, id: ConnId) -> &[u8] {
        self.conns.get(&id).map_or(&[], |conn| conn.outbox.bytes())
    }

    /// The first `len` bytes of [`Xenstored::output`] are sent. Serves requests that waited for
    /// that.
    pub fn wrote(&mut self, id: ConnId, len: usize) {
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.outbox.sent(len);
            self.serve_all(id);
        }
    }

    /// Whether the connection is to be closed once its output is sent, because its client broke
    /// the protocol, did not read, or its domain is gone.
    #[must_use]
    pub fn is_dead(&self, id: ConnId) -> bool {
        self.conns.get(&id).is_none_or(|conn| conn.dead)
    }

    /// Connections with output to send, or to be closed.
    pub fn ready(&self) -> impl Iterator<Item = ConnId> + '_ {
        let ready = |conn: &Conn| conn.dead || !conn.outbox.bytes().is_empty();
        self.conns.iter().filter(move |(_, conn)| ready(conn)).map(|(&id, _)| id)
    }

    /// It is `now`. Serves what had to wait because its domain had written too often and has waited
    /// long enough; returns the connections that may be read again because of that. A store that is
    /// never told the time holds nobody.
    pub fn tick(&mut self, now: Instant) -> Vec<ConnId> {
        self.now = Some(now);
        let free = self.rates.tick(now);
        let conns = self.conns.iter().filter(|(_, conn)| free.contains(&conn.domid));
        let ids: Vec<_> = conns.map(|(&id, _)| id).collect();
        ids.iter().for_each(|&id| self.serve_all(id));
        ids
    }

    /// When [`Xenstored::tick`] will have something to do.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.rates.due()
    }

    /// What a domain uses of its quotas; all zero for domain 0, which has none.
    #[must_use]
    pub fn usage(&self, domid: DomId) -> Usage {
        self.core.ledger.usage(domid)
    }

    fn may_serve(&self, conn: &Conn) -> bool {
        let ledger = &self.core.ledger;
        let held = self.rates.holds(conn.domid);
        !held && conn.may_serve(&ledger.quota, ledger.usage(conn.domid).memory)
    }

    fn charge(&mut self, domid: DomId) {
        if let Some(now) = self.now {
            self.rates.charge(domid, now);
        }
    }

    fn serve_all(&mut self, id: ConnId) {
        while self.wants_input(id) {
            let Some(conn) = self.conns.get_mut(&id) else { return };
            match conn.inbox.take() {
                Ok(Some((header, payload))) => self.serve(id, header, &payload),
                Ok(None) => return,
                Err(_) => {
                    let r#type = XsdType::ERROR.number();
                    let text = format!("{}\0", XsdError::E2BIG);
                    let header = XsdSockmsg { r#type, ..Default::default() };
                    conn.outbox.reply(header, text.as_bytes());
                    self.kill(id);
                }
            }
        }
    }

    /// Fires the watches for all that changed in the live tree since the last time.
    fn fire_changes(&mut self) {
        let mut changes = mem::take(&mut self.core.changes).into_vec();
        changes.append(&mut self.committed);
        self.fire(&changes);
    }

    /// Fires the watches that `changes` reach.
    #[traced]
    fn fire(&mut self, changes: &[Change]) {
        for change in changes {
            for conn in self.conns.values_mut().filter(|conn| !conn.dead) {
                for watch in &conn.watches {
                    if change.reaches(watch, conn.domid, &self.core.tree) {
                        let path = watch.event_path(conn.domid, &change.path);
                        conn.outbox.event(&path, &watch.token);
                    }
                }
            }
        }
        self.kill_flooded();
    }

    /// Fires the connection's newest watch, which was set just now.
    fn fire_first(&mut self, id: ConnId) {
        if let Some(conn) = self.conns.get_mut(&id)
            && let Some(watch) = conn.watches.last()
        {
            conn.outbox.event(&watch.first_path(conn.domid), &watch.token);
        }
        self.kill_flooded();
    }

    /// Connections that were told more than they may leave unread are given up: what they hold
    /// would grow for ever.
    fn kill_flooded(&mut self) {
        let quota = self.core.ledger.quota;
        let flooded = self.conns.iter().filter(|(_, conn)| conn.is_flooded(&quota));
        for id in flooded.map(|(&id, _)| id).collect::<Vec<_>>() {
            self.kill(id);
            if let Some(conn) = self.conns.get_mut(&id) {
                conn.outbox.clear();
            }
        }
    }
}
