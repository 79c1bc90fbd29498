//! What can be done to nodes, with permissions and quotas checked: on the live tree or in a
//! transaction, by the same code.
//!
//! Each operation checks everything before it changes anything, so a refused one leaves no trace.
//! Parsing requests is in `request`, conflicts and commits are in `transaction`.

use std::mem;
use std::sync::Arc;

use rings::DomId;
use rings::io::xs_wire::XsdError;
use rings::store::Access;

use super::path::NodePath;
use super::perms::{Perms, is_privileged};
use super::quota::{Cost, Delta, Ledger};
use super::transaction::{Log, Transaction};
use super::tree::{Node, Stamp, Tree};
use super::watch::Changes;

/// All of the store but its connections.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) tree: Tree,
    pub(super) ledger: Ledger,
    pub(super) generation: u64,
    /// Changes made to `tree` whose watches have not fired yet.
    pub(super) changes: Changes,
    delta: Delta,
}

impl Core {
    pub(super) fn new(ledger: Ledger) -> Self {
        Self {
            tree: Tree::new(),
            ledger,
            generation: 0,
            changes: Changes::default(),
            delta: Delta::default(),
        }
    }

    /// Lets `caller` work on the live tree.
    pub(super) fn live<R>(&mut self, caller: DomId, work: impl FnOnce(&mut View<'_>) -> R) -> R {
        let done = work(&mut View {
            caller,
            tree: &mut self.tree,
            ledger: &mut self.ledger,
            generation: &mut self.generation,
            changes: &mut self.changes,
            delta: &mut self.delta,
            log: None,
        });
        self.ledger.apply(mem::take(&mut self.delta));
        done
    }

    /// Lets `caller` work inside a transaction.
    pub(super) fn within<R>(
        &mut self,
        caller: DomId,
        transaction: &mut Transaction,
        work: impl FnOnce(&mut View<'_>) -> R,
    ) -> R {
        work(&mut View {
            caller,
            tree: &mut transaction.work,
            ledger: &mut self.ledger,
            generation: &mut self.generation,
            changes: &mut transaction.changes,
            delta: &mut transaction.delta,
            log: Some(&mut transaction.log),
        })
    }
}

/// A tree as one caller may use it.
#[derive(Debug)]
pub(super) struct View<'a> {
    caller: DomId,
    tree: &'a mut Tree,
    ledger: &'a mut Ledger,
    generation: &'a mut u64,
    changes: &'a mut Changes,
    delta: &'a mut Delta,
    /// Present in a transaction.
    log: Option<&'a mut Log>,
}

impl View<'_> {
    pub(super) fn path(&self, raw: &[u8]) -> Result<NodePath, XsdError> {
        NodePath::parse(raw, self.caller, self.ledger.quota.path)
    }

    /// The node, for reading its value, children, permissions or last change.
    pub(super) fn read(&mut self, path: &NodePath) -> Result<&Node, XsdError> {
        self.touch(path)?;
        self.find(path, Access::READ)
    }

    pub(super) fn write(&mut self, path: &NodePath, value: &[u8]) -> Result<(), XsdError> {
        self.touch(path)?;
        if !is_privileged(self.caller) && value.len() > self.ledger.quota.value {
            return Err(XsdError::ENOSPC);
        }
        match self.find(path, Access::WRITE) {
            Ok(old) => {
                let perms = old.perms.clone();
                self.update(path, value.to_vec(), perms)
            }
            Err(XsdError::ENOENT) => self.create(path, value),
            Err(error) => Err(error),
        }
    }

    pub(super) fn mkdir(&mut self, path: &NodePath) -> Result<(), XsdError> {
        self.touch(path)?;
        match self.find(path, Access::WRITE).map(|_| ()) {
            Err(XsdError::ENOENT) => self.create(path, b""),
            outcome => outcome,
        }
    }

    /// Removes a node and all below it. A missing one is as good as removed if its parent exists.
    pub(super) fn rm(&mut self, path: &NodePath) -> Result<(), XsdError> {
        self.touch(path)?;
        let parent = match (self.find(path, Access::WRITE), path.parent()) {
            (Ok(_), Some(parent)) => parent,
            (Ok(_), None) => return Err(XsdError::EINVAL),
            (Err(XsdError::ENOENT), Some(parent)) if self.tree.get(&parent).is_some() => {
                return Ok(());
            }
            (Err(error), _) => return Err(error),
        };
        let mut doomed = Vec::new();
        self.tree.walk(path, |below, node| {
            let cost = Cost::of(below.name(), &node.value, &node.perms);
            doomed.push((below.clone(), node.perms.owner(), cost));
            true
        });
        self.touch_all(&parent, &doomed)?;
        for (below, owner, cost) in &doomed {
            self.delta.refund(*owner, *cost);
            self.changes.record(below, below != path, self.tree);
            self.mark_written(below);
        }
        self.mark_written(&parent);
        let stamp = self.tick();
        self.tree.remove(path, stamp);
        Ok(())
    }

    pub(super) fn set_perms(&mut self, path: &NodePath, perms: Perms) -> Result<(), XsdError> {
        self.touch(path)?;
        if !is_privileged(self.caller) && perms.entries().len() > self.ledger.quota.permissions {
            return Err(XsdError::ENOSPC);
        }
        let old = self.find(path, Access::WRITE)?;
        if !old.perms.owned_by(self.caller) {
            return Err(XsdError::EACCES);
        }
        if !is_privileged(self.caller) && perms.owner() != old.perms.owner() {
            return Err(XsdError::EPERM);
        }
        let value = old.value.clone();
        self.update(path, value, perms)
    }

    /// The node if the caller may do `access`. Of a missing one it only learns that it is missing
    /// if it might have done that where the path ends.
    fn find(&self, path: &NodePath, access: Access) -> Result<&Node, XsdError> {
        let (nearest, names) = self.tree.nearest(path);
        if !nearest.perms.allow(self.caller, access) {
            return Err(XsdError::EACCES);
        }
        if names < path.names().count() { Err(XsdError::ENOENT) } else { Ok(nearest) }
    }

    /// Makes the node at `path` and those missing above it. The caller may write where the path
    /// ends. They all inherit from there, except that a domain that is not privileged owns what it
    /// makes.
    fn create(&mut self, path: &NodePath, value: &[u8]) -> Result<(), XsdError> {
        let (nearest, names) = self.tree.nearest(path);
        let perms = match is_privileged(self.caller) {
            true => nearest.perms.clone(),
            false => nearest.perms.with_owner(self.caller),
        };
        let top = path.ancestor(names + 1);
        let made: Vec<_> = (names..=path.names().count()).map(|n| path.ancestor(n)).collect();
        made.iter().try_for_each(|path| self.touch(path))?;

        let missing: Vec<_> = path.names().skip(names).collect();
        let stamp = self.tick();
        let (chain, cost) = chain(&missing, value, &perms, stamp);
        self.ledger.allows(self.caller, perms.owner(), self.delta, cost)?;

        self.delta.charge(perms.owner(), cost);
        self.changes.record(path, false, self.tree);
        made.iter().for_each(|path| self.mark_written(path));
        self.tree.insert(&top, chain, stamp);
        Ok(())
    }

    /// Gives a node that exists this value and these permissions, and whose account it is on.
    fn update(&mut self, path: &NodePath, value: Vec<u8>, perms: Perms) -> Result<(), XsdError> {
        let old = self.tree.get(path).ok_or(XsdError::ENOENT)?;
        let (old_owner, old_cost) =
            (old.perms.owner(), Cost::of(path.name(), &old.value, &old.perms));
        let (owner, cost) = (perms.owner(), Cost::of(path.name(), &value, &perms));
        let more = if owner == old_owner { cost.beyond(old_cost) } else { cost };
        self.ledger.allows(self.caller, owner, self.delta, more)?;

        self.delta.refund(old_owner, old_cost);
        self.delta.charge(owner, cost);
        self.changes.record(path, false, self.tree);
        self.mark_written(path);
        let stamp = self.tick();
        if let Some(node) = self.tree.get_mut(path) {
            (node.value, node.perms, node.changed) = (value, perms, stamp);
        }
        Ok(())
    }

    fn tick(&mut self) -> Stamp {
        *self.generation += 1;
        Stamp { generation: *self.generation, by: self.caller }
    }

    /// A transaction that looked at a node conflicts with whoever changes it meanwhile. Of a missing
    /// one, it learnt from where the path ends whether it may know so.
    fn touch(&mut self, path: &NodePath) -> Result<(), XsdError> {
        let Some(log) = &mut self.log else { return Ok(()) };
        let (_, names) = self.tree.nearest(path);
        log.touch(&path.ancestor(names), self.caller, self.ledger)?;
        log.touch(path, self.caller, self.ledger)
    }

    fn touch_all(
        &mut self,
        parent: &NodePath,
        nodes: &[(NodePath, DomId, Cost)],
    ) -> Result<(), XsdError> {
        self.touch(parent)?;
        nodes.iter().try_for_each(|(path, ..)| self.touch(path))
    }

    fn mark_written(&mut self, path: &NodePath) {
        if let Some(log) = &mut self.log {
            log.mark_written(path);
        }
    }
}

/// A node of the last of `names` with `value`, inside empty ones of the names before it, and what
/// they cost together.
fn chain(names: &[&str], value: &[u8], perms: &Perms, stamp: Stamp) -> (Node, Cost) {
    let mut node = Node::new(value.to_vec(), perms.clone(), stamp);
    let mut cost = Cost::default();
    for (index, name) in names.iter().enumerate().rev() {
        cost.add(Cost::of(name, &node.value, perms));
        if index > 0 {
            let mut above = Node::new(Vec::new(), perms.clone(), stamp);
            above.children.insert((*name).into(), Arc::new(node));
            node = above;
        }
    }
    (node, cost)
}
