//! The tree of nodes. A clone is a snapshot and costs nothing: nodes are shared until changed.
//!
//! Every walk is a loop, dropping included: a path of 3072 bytes is 1536 levels deep, and the
//! stack must not depend on what a guest wrote (XSA-418). Permissions, quotas and watches are not
//! looked at here.

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;

use rings::DomId;

use super::path::NodePath;
use super::perms::Perms;

/// A change: its number, and who made it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Stamp {
    /// Never the same for two changes.
    pub(super) generation: u64,
    pub(super) by: DomId,
}

/// One node.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) value: Vec<u8>,
    pub(super) perms: Perms,
    /// The last change of value, permissions or list of children.
    pub(super) changed: Stamp,
    pub(super) children: BTreeMap<Arc<str>, Arc<Node>>,
}

impl Node {
    pub(super) fn new(value: Vec<u8>, perms: Perms, changed: Stamp) -> Self {
        Self { value, perms, changed, children: BTreeMap::new() }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let mut orphans: Vec<_> = mem::take(&mut self.children).into_values().collect();
        while let Some(orphan) = orphans.pop() {
            if let Some(mut node) = Arc::into_inner(orphan) {
                orphans.extend(mem::take(&mut node.children).into_values());
            }
        }
    }
}

/// All nodes, from `/` down.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    root: Arc<Node>,
}

impl Tree {
    /// A root that belongs to domain 0 alone.
    pub(super) fn new() -> Self {
        let never = Stamp { generation: 0, by: DomId::DOM0 };
        Self { root: Arc::new(Node::new(Vec::new(), Perms::of_dom0(), never)) }
    }

    pub(super) fn get(&self, path: &NodePath) -> Option<&Node> {
        path.names().try_fold(&*self.root, |node, name| node.children.get(name).map(|next| &**next))
    }

    /// The last node on the way to `path` that exists, and how many names lead to it.
    pub(super) fn nearest(&self, path: &NodePath) -> (&Node, usize) {
        let mut found = (&*self.root, 0);
        for name in path.names() {
            match found.0.children.get(name) {
                Some(next) => found = (next, found.1 + 1),
                None => break,
            }
        }
        found
    }

    /// The node, to be changed: it and those above it are first parted from any snapshot.
    pub(super) fn get_mut(&mut self, path: &NodePath) -> Option<&mut Node> {
        // Looks before it touches: a miss must not copy half a path.
        self.get(path)?;
        path.names().try_fold(Arc::make_mut(&mut self.root), |node, name| {
            node.children.get_mut(name).map(Arc::make_mut)
        })
    }

    /// Hangs `node` at `path`, whose parent exists; replaces what was there. For the parent's list
    /// this is a change, too.
    pub(super) fn insert(&mut self, path: &NodePath, node: Node, stamp: Stamp) {
        let Some(parent) = path.parent().and_then(|parent| self.get_mut(&parent)) else {
            return;
        };
        parent.changed = stamp;
        parent.children.insert(path.name().into(), Arc::new(node));
    }

    /// Takes the node and all below it out. For the parent's list this is a change.
    pub(super) fn remove(&mut self, path: &NodePath, stamp: Stamp) {
        if self.get(path).is_none() {
            return;
        }
        if let Some(parent) = path.parent().and_then(|parent| self.get_mut(&parent)) {
            parent.changed = stamp;
            parent.children.remove(path.name());
        }
    }

    /// Calls `visit` for the node at `top` and all below it, a node before its children. Where
    /// `visit` says no, the children are left out.
    pub(super) fn walk(&self, top: &NodePath, mut visit: impl FnMut(&NodePath, &Node) -> bool) {
        let mut open: Vec<(NodePath, &Node)> = Vec::new();
        open.extend(self.get(top).map(|node| (top.clone(), node)));
        while let Some((path, node)) = open.pop() {
            if visit(&path, node) {
                let children = node.children.iter().rev();
                open.extend(children.map(|(name, child)| (path.child(name), &**child)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    fn path(raw: &str) -> NodePath {
        NodePath::parse(raw.as_bytes(), DomId::DOM0, 4096).unwrap()
    }

    fn stamp(generation: u64) -> Stamp {
        Stamp { generation, by: DomId::DOM0 }
    }

    fn put(tree: &mut Tree, raw: &str, generation: u64) {
        let stamp = stamp(generation);
        tree.insert(&path(raw), Node::new(raw.into(), Perms::of_dom0(), stamp), stamp);
    }

    #[test]
    fn a_snapshot_keeps_what_was() {
        let mut tree = Tree::new();
        put(&mut tree, "/a", 1);
        put(&mut tree, "/a/b", 2);
        let snapshot = tree.clone();
        tree.get_mut(&path("/a/b")).unwrap().value = b"new".into();
        tree.remove(&path("/a/b"), stamp(3));
        assert!(tree.get(&path("/a/b")).is_none());
        assert_eq!(tree.get(&path("/a")).unwrap().changed.generation, 3);
        assert_eq!(snapshot.get(&path("/a/b")).unwrap().value, b"/a/b");
        assert_eq!(snapshot.get(&path("/a")).unwrap().changed.generation, 2);
    }

    #[test]
    fn nearest_stops_at_the_first_gap() {
        let mut tree = Tree::new();
        put(&mut tree, "/a", 1);
        let (node, names) = tree.nearest(&path("/a/b/c"));
        assert_eq!((node.value.as_slice(), names), (b"/a".as_slice(), 1));
        assert_eq!(tree.nearest(&path("/x")).1, 0);
    }

    #[test]
    fn the_deepest_path_overflows_no_stack() {
        let mut tree = Tree::new();
        let mut deep = String::new();
        for _ in 0..1536 {
            deep.push_str("/x");
            put(&mut tree, &deep, 1);
        }
        let mut seen = 0;
        tree.walk(&NodePath::root(), |_, _| {
            seen += 1;
            true
        });
        assert_eq!(seen, 1537);
        drop(tree);
    }
}
