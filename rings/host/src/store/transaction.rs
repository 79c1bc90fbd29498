//! Transactions: a snapshot to read, a copy to work on, and the commit.
//!
//! Optimistic, as in xenstored: every node a transaction looked at or changed must be the same at
//! the commit as when it began, otherwise `EAGAIN` and nothing happened. Since nodes carry the
//! number of their last change, "the same" is one comparison per node.

use std::collections::BTreeSet;

use rings::DomId;
use rings::io::xs_wire::XsdError;
use rings::store::Access;

use super::ops::Core;
use super::path::NodePath;
use super::perms::is_privileged;
use super::quota::{Delta, Ledger};
use super::tree::{Node, Stamp, Tree};
use super::watch::{Change, Changes};

/// An open transaction.
#[derive(Debug)]
pub(super) struct Transaction {
    /// The tree when it began.
    base: Tree,
    /// The same with what was done since.
    pub(super) work: Tree,
    pub(super) delta: Delta,
    pub(super) changes: Changes,
    pub(super) log: Log,
    /// It cannot commit any more, whatever its nodes say.
    pub(super) doomed: bool,
}

/// Which nodes a transaction has to do with.
#[derive(Debug, Default)]
pub(super) struct Log {
    touched: BTreeSet<NodePath>,
    written: BTreeSet<NodePath>,
    /// Bytes charged to the domain whose transaction this is.
    bytes: usize,
}

/// Bytes charged for a node touched, beside its path.
const TOUCH_BYTES: usize = 64;

impl Log {
    pub(super) fn touch(
        &mut self,
        path: &NodePath,
        caller: DomId,
        ledger: &mut Ledger,
    ) -> Result<(), XsdError> {
        if self.touched.contains(path) {
            return Ok(());
        }
        if !is_privileged(caller) && self.touched.len() >= ledger.quota.transaction_nodes {
            return Err(XsdError::ENOSPC);
        }
        let bytes = TOUCH_BYTES + path.as_str().len();
        ledger.take_memory(caller, bytes)?;
        self.bytes += bytes;
        self.touched.insert(path.clone());
        Ok(())
    }

    /// The node was touched before.
    pub(super) fn mark_written(&mut self, path: &NodePath) {
        self.written.insert(path.clone());
    }
}

impl Transaction {
    pub(super) fn new(tree: &Tree) -> Self {
        Self {
            base: tree.clone(),
            work: tree.clone(),
            delta: Delta::default(),
            changes: Changes::default(),
            log: Log::default(),
            doomed: false,
        }
    }

    /// Bytes to be given back when it is over.
    pub(super) fn bytes(&self) -> usize {
        self.log.bytes
    }

    pub(super) fn has_written(&self) -> bool {
        !self.log.written.is_empty()
    }

    /// What it looked at or changed, and somebody else has changed in `live` meanwhile.
    fn changed(&self, live: &Tree) -> impl Iterator<Item = &NodePath> {
        let stamp = |tree: &Tree, path| tree.get(path).map(|node| node.changed);
        self.log.touched.iter().filter(move |path| stamp(live, path) != stamp(&self.base, path))
    }

    /// Which domains' changes in `live` keep this transaction of `caller` from being committed, as
    /// far as it can be known: the last one to change a node, and of a node that is gone the one
    /// that its parent. What `caller` may not even read accuses nobody: it has no business there.
    pub(super) fn spoilers(&self, caller: DomId, live: &Tree) -> BTreeSet<DomId> {
        let nearest = self.changed(live).map(|path| live.nearest(path).0);
        let seen = nearest.filter(|node| node.perms.allow(caller, Access::READ));
        seen.map(|node| node.changed.by).filter(|&by| by != caller).collect()
    }

    /// Makes what was done visible, and returns the changes whose watches are to fire.
    pub(super) fn commit(self, caller: DomId, core: &mut Core) -> Result<Vec<Change>, XsdError> {
        if self.doomed || self.changed(&core.tree).next().is_some() {
            return Err(XsdError::EAGAIN);
        }
        core.ledger.allows_all(caller, &self.delta)?;
        // A path stands before those below it, so a node's parent is there before the node.
        for path in &self.log.written {
            core.generation += 1;
            let stamp = Stamp { generation: core.generation, by: caller };
            merge(&mut core.tree, path, self.work.get(path), stamp);
        }
        core.ledger.apply(self.delta);
        Ok(self.changes.seen_from(&self.base))
    }
}

/// Brings one node of `live` to what it is in a transaction; its children are their own affair.
fn merge(live: &mut Tree, path: &NodePath, done: Option<&Node>, stamp: Stamp) {
    let Some(done) = done else { return live.remove(path, stamp) };
    match live.get_mut(path) {
        Some(node) => {
            node.value.clone_from(&done.value);
            node.perms = done.perms.clone();
            node.changed = stamp;
        }
        None => {
            let node = Node::new(done.value.clone(), done.perms.clone(), stamp);
            live.insert(path, node, stamp);
        }
    }
}
