//! Quotas: what a domain that is not privileged may use, and what it uses.
//!
//! Nodes are charged to their owner, watches and transactions to the domain that set them. The
//! numbers are those of current xenstored; over one of them a request gets `ENOSPC`, over the
//! memory quota `ENOMEM`. How replies not yet read hold back further requests is in `conn`.

use std::collections::BTreeMap;

use rings::DomId;
use rings::io::xs_wire::XsdError;

use super::perms::{Perms, is_privileged};

/// What each domain other than domain 0 may use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quota {
    /// Nodes owned.
    pub nodes: usize,
    /// Watches set.
    pub watches: usize,
    /// Replies not yet read; with that many, no further request is served.
    pub outstanding: usize,
    /// Bytes of nodes, watches and open transactions together.
    pub memory: usize,
    /// Transactions open.
    pub transactions: usize,
    /// Nodes looked at or changed in one transaction.
    pub transaction_nodes: usize,
    /// Permissions on one node.
    pub permissions: usize,
    /// Bytes of a path, below `/local/domain/<domid>/`.
    pub path: usize,
    /// Bytes of a value.
    pub value: usize,
}

impl Quota {
    /// The numbers of current xenstored.
    #[must_use]
    pub const fn xen() -> Self {
        Self {
            nodes: 1000,
            watches: 128,
            outstanding: 20,
            memory: 2_621_440,
            transactions: 10,
            transaction_nodes: 1024,
            permissions: 5,
            path: 2048,
            value: 2048,
        }
    }

    /// A hundred times as much of everything that grows, for labs that are not about quotas.
    #[must_use]
    pub const fn generous() -> Self {
        let xen = Self::xen();
        Self {
            nodes: 100 * xen.nodes,
            watches: 100 * xen.watches,
            outstanding: 10 * xen.outstanding,
            memory: 100 * xen.memory,
            transactions: 100 * xen.transactions,
            transaction_nodes: 100 * xen.transaction_nodes,
            permissions: 100 * xen.permissions,
            path: xen.path,
            value: rings::io::xs_wire::XENSTORE_PAYLOAD_MAX,
        }
    }
}

/// What a domain uses.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Usage {
    /// Nodes owned.
    pub nodes: usize,
    /// Watches set.
    pub watches: usize,
    /// Transactions open.
    pub transactions: usize,
    /// Bytes of all these.
    pub memory: usize,
}

/// What one or several nodes cost their owner.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Cost {
    pub(super) nodes: usize,
    pub(super) bytes: usize,
}

/// Bytes charged for a node beside its name, value and permissions.
const NODE_BYTES: usize = 64;
/// Bytes charged for one permission.
const PERM_BYTES: usize = 8;

impl Cost {
    /// What one node costs. Its children cost for themselves.
    pub(super) fn of(name: &str, value: &[u8], perms: &Perms) -> Self {
        let perms = perms.entries().len() * PERM_BYTES;
        Self { nodes: 1, bytes: NODE_BYTES + name.len() + value.len() + perms }
    }

    pub(super) fn add(&mut self, more: Self) {
        self.nodes += more.nodes;
        self.bytes += more.bytes;
    }

    /// What this costs more than `other`; nothing where it costs less.
    pub(super) fn beyond(self, other: Self) -> Self {
        Self {
            nodes: self.nodes.saturating_sub(other.nodes),
            bytes: self.bytes.saturating_sub(other.bytes),
        }
    }
}

/// Changes to the charges of several owners, not yet in force.
#[derive(Debug, Default)]
pub(super) struct Delta(BTreeMap<DomId, (Cost, Cost)>);

impl Delta {
    pub(super) fn charge(&mut self, owner: DomId, cost: Cost) {
        self.0.entry(owner).or_default().0.add(cost);
    }

    pub(super) fn refund(&mut self, owner: DomId, cost: Cost) {
        self.0.entry(owner).or_default().1.add(cost);
    }
}

/// The accounts of all domains but domain 0.
#[derive(Debug)]
pub(super) struct Ledger {
    pub(super) quota: Quota,
    accounts: BTreeMap<DomId, Usage>,
}

impl Ledger {
    pub(super) fn new(quota: Quota) -> Self {
        Self { quota, accounts: BTreeMap::new() }
    }

    pub(super) fn usage(&self, domid: DomId) -> Usage {
        self.accounts.get(&domid).copied().unwrap_or_default()
    }

    /// Whether `caller` may put `cost` more on `owner`'s account, `delta` included.
    pub(super) fn allows(
        &self,
        caller: DomId,
        owner: DomId,
        delta: &Delta,
        cost: Cost,
    ) -> Result<(), XsdError> {
        if is_privileged(caller) || is_privileged(owner) {
            return Ok(());
        }
        let now = self.usage(owner);
        let (plus, minus) = delta.0.get(&owner).copied().unwrap_or_default();
        let nodes = (now.nodes + plus.nodes + cost.nodes).saturating_sub(minus.nodes);
        let bytes = (now.memory + plus.bytes + cost.bytes).saturating_sub(minus.bytes);
        if cost.nodes > 0 && nodes > self.quota.nodes {
            return Err(XsdError::ENOSPC);
        }
        if cost.bytes > 0 && bytes > self.quota.memory { Err(XsdError::ENOMEM) } else { Ok(()) }
    }

    /// Whether all of `delta` may come into force at once. What shrinks is always allowed.
    pub(super) fn allows_all(&self, caller: DomId, delta: &Delta) -> Result<(), XsdError> {
        delta.0.iter().try_for_each(|(&owner, (plus, minus))| {
            self.allows(caller, owner, &Delta::default(), plus.beyond(*minus))
        })
    }

    pub(super) fn apply(&mut self, delta: Delta) {
        for (owner, (plus, minus)) in delta.0 {
            self.change(owner, |usage| {
                usage.nodes = (usage.nodes + plus.nodes).saturating_sub(minus.nodes);
                usage.memory = (usage.memory + plus.bytes).saturating_sub(minus.bytes);
            });
        }
    }

    pub(super) fn take_watch(&mut self, domid: DomId, bytes: usize) -> Result<(), XsdError> {
        if !is_privileged(domid) && self.usage(domid).watches >= self.quota.watches {
            return Err(XsdError::ENOSPC);
        }
        self.take_memory(domid, bytes)?;
        self.change(domid, |usage| usage.watches += 1);
        Ok(())
    }

    pub(super) fn give_watch(&mut self, domid: DomId, bytes: usize) {
        self.change(domid, |usage| usage.watches = usage.watches.saturating_sub(1));
        self.give_memory(domid, bytes);
    }

    pub(super) fn take_transaction(&mut self, domid: DomId) -> Result<(), XsdError> {
        if !is_privileged(domid) && self.usage(domid).transactions >= self.quota.transactions {
            return Err(XsdError::ENOSPC);
        }
        self.change(domid, |usage| usage.transactions += 1);
        Ok(())
    }

    /// A transaction that had taken `bytes` is over.
    pub(super) fn give_transaction(&mut self, domid: DomId, bytes: usize) {
        self.change(domid, |usage| usage.transactions = usage.transactions.saturating_sub(1));
        self.give_memory(domid, bytes);
    }

    pub(super) fn take_memory(&mut self, domid: DomId, bytes: usize) -> Result<(), XsdError> {
        if !is_privileged(domid) && self.usage(domid).memory + bytes > self.quota.memory {
            return Err(XsdError::ENOMEM);
        }
        self.change(domid, |usage| usage.memory += bytes);
        Ok(())
    }

    pub(super) fn give_memory(&mut self, domid: DomId, bytes: usize) {
        self.change(domid, |usage| usage.memory = usage.memory.saturating_sub(bytes));
    }

    /// Closes an account: a later domain of that number begins at zero (XSA-483).
    pub(super) fn forget(&mut self, domid: DomId) {
        self.accounts.remove(&domid);
    }

    /// Domain 0 has no account; an account at zero is not kept.
    fn change(&mut self, domid: DomId, change: impl FnOnce(&mut Usage)) {
        if is_privileged(domid) {
            return;
        }
        let usage = self.accounts.entry(domid).or_default();
        change(usage);
        if *usage == Usage::default() {
            self.accounts.remove(&domid);
        }
    }
}
