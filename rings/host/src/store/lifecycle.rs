//! Connections, transactions and domains come and go, and leave nothing behind.

use rings::DomId;
use rings::io::xs_wire::{XBT_NULL, XsdError};
use rings::store::Access;
use rings::store::keys::{INTRODUCE_DOMAIN, RELEASE_DOMAIN};

use super::conn::Conn;
use super::ops::Core;
use super::path::NodePath;
use super::perms::{Perms, is_privileged};
use super::transaction::Transaction;
use super::watch::Target;
use super::{ConnId, Xenstored};

impl Xenstored {
    /// A new connection on which `domid` speaks. Domain 0 is privileged.
    pub fn connect(&mut self, domid: DomId) -> ConnId {
        let id = ConnId(self.next_conn);
        self.next_conn += 1;
        self.conns.insert(id, Conn::new(domid));
        id
    }

    /// How many connections `domid` has.
    #[must_use]
    pub fn connections(&self, domid: DomId) -> usize {
        self.conns.values().filter(|conn| conn.domid == domid).count()
    }

    /// The connection is closed: its watches and open transactions are forgotten.
    pub fn disconnect(&mut self, id: ConnId) {
        self.forget_all_of(id);
        self.conns.remove(&id);
    }

    /// A domain exists: fires `@introduceDomain`.
    pub fn introduce(&mut self, domid: DomId) {
        self.introduced.insert(domid);
        self.fire_special(INTRODUCE_DOMAIN);
    }

    /// A domain is gone: its connections die, the nodes it owned are removed with all below them,
    /// no permission names it any more, its account is closed; watches fire for what was removed,
    /// then `@releaseDomain`. Does nothing for domain 0, which is never gone while the store is
    /// there; its connections are closed one by one.
    pub fn domain_gone(&mut self, domid: DomId) {
        if is_privileged(domid) {
            return;
        }
        self.introduced.remove(&domid);
        let conns = self.conns.iter().filter(|(_, conn)| conn.domid == domid);
        for id in conns.map(|(&id, _)| id).collect::<Vec<_>>() {
            self.kill(id);
            if let Some(conn) = self.conns.get_mut(&id) {
                conn.outbox.clear();
            }
        }
        remove_nodes(&mut self.core, domid);
        strip_perms(&mut self.core, domid);
        self.specials.forget(domid);
        self.doom_transactions();
        self.core.ledger.forget(domid);
        self.rates.forget(domid);
        self.fire_changes();
        self.fire_special(RELEASE_DOMAIN);
    }

    pub(super) fn knows(&self, domid: DomId) -> bool {
        self.introduced.contains(&domid)
    }

    /// Serves the connection no more. What it was to be told is still sent.
    pub(super) fn kill(&mut self, id: ConnId) {
        self.forget_all_of(id);
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.dead = true;
            conn.inbox = Default::default();
        }
    }

    /// Forgets the connection's watches and transactions and gives back what they took.
    pub(super) fn forget_all_of(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let ledger = &mut self.core.ledger;
        for watch in conn.watches.drain(..) {
            ledger.give_watch(conn.domid, watch.bytes());
        }
        for transaction in std::mem::take(&mut conn.transactions).into_values() {
            ledger.give_transaction(conn.domid, transaction.bytes());
        }
    }

    pub(super) fn transaction_start(
        &mut self,
        id: ConnId,
        tx_id: u32,
    ) -> Result<Vec<u8>, XsdError> {
        if tx_id != XBT_NULL {
            return Err(XsdError::EBUSY);
        }
        let conn = self.conns.get_mut(&id).ok_or(XsdError::EINVAL)?;
        self.core.ledger.take_transaction(conn.domid)?;
        let tx_id = conn.fresh_tx_id();
        conn.transactions.insert(tx_id, Transaction::new(&self.core.tree));
        Ok(format!("{tx_id}\0").into_bytes())
    }

    pub(super) fn transaction_end(
        &mut self,
        id: ConnId,
        tx_id: u32,
        payload: &[u8],
    ) -> Result<Vec<u8>, XsdError> {
        let commit = match payload {
            b"T\0" => true,
            b"F\0" => false,
            _ => return Err(XsdError::EINVAL),
        };
        let conn = self.conns.get_mut(&id).ok_or(XsdError::EINVAL)?;
        let transaction = conn.transactions.remove(&tx_id).ok_or(XsdError::ENOENT)?;
        self.core.ledger.give_transaction(conn.domid, transaction.bytes());
        if commit {
            self.commit(id, transaction)?;
        }
        Ok(b"OK\0".to_vec())
    }

    /// Commits, and sees to it that one which failed will not do so for ever.
    fn commit(&mut self, id: ConnId, transaction: Transaction) -> Result<(), XsdError> {
        let conn = self.conns.get_mut(&id).ok_or(XsdError::EINVAL)?;
        let (domid, wrote) = (conn.domid, transaction.has_written());
        let spoilers = transaction.spoilers(domid, &self.core.tree);
        let outcome = transaction.commit(domid, &mut self.core);
        // Only what others changed counts: who lacks the room for its writes has itself to blame.
        conn.conflicts = match &outcome {
            Err(XsdError::EAGAIN) => conn.conflicts.saturating_add(1),
            _ => 0,
        };
        if let Some(now) = self.now {
            for spoiler in spoilers {
                self.rates.make_room(spoiler, conn.conflicts, now);
            }
        }
        self.committed.extend(outcome?);
        if wrote {
            self.charge(domid);
        }
        Ok(())
    }

    fn fire_special(&mut self, name: &str) {
        let perms = self.specials.get(name);
        for conn in self.conns.values_mut().filter(|conn| !conn.dead) {
            if perms.is_some_and(|perms| perms.allow(conn.domid, Access::READ)) {
                for watch in &conn.watches {
                    if watch.target == Target::Special(name.into()) {
                        conn.outbox.event(name, &watch.token);
                    }
                }
            }
        }
        self.kill_flooded();
    }

    /// No open transaction that wrote may commit: it may be about to name the domain again.
    fn doom_transactions(&mut self) {
        for conn in self.conns.values_mut() {
            for transaction in conn.transactions.values_mut() {
                transaction.doomed |= transaction.has_written();
            }
        }
    }
}

fn remove_nodes(core: &mut Core, domid: DomId) {
    let mut owned = Vec::new();
    core.tree.walk(&NodePath::root(), |path, node| {
        let remove = node.perms.owner() == domid && path.parent().is_some();
        if remove {
            owned.push(path.clone());
        }
        !remove
    });
    for path in owned {
        let removed = core.live(DomId::DOM0, |view| view.rm(&path));
        debug_assert_eq!(removed, Ok(()));
    }
}

fn strip_perms(core: &mut Core, domid: DomId) {
    let mut naming: Vec<(NodePath, Perms)> = Vec::new();
    core.tree.walk(&NodePath::root(), |path, node| {
        if node.perms.name(domid) {
            naming.push((path.clone(), node.perms.without(domid)));
        }
        true
    });
    for (path, perms) in naming {
        let stripped = core.live(DomId::DOM0, |view| view.set_perms(&path, perms));
        debug_assert_eq!(stripped, Ok(()));
    }
}
