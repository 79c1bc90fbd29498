//! Watches: what a connection wants to be told of, and what changed.
//!
//! A [`Change`] is recorded when a node changes and turned into events when the change becomes
//! visible: at once, or when its transaction commits. A watcher is told only of nodes it may read,
//! before or after the change, or whose parent it may read, since that lists it (XSA-115; rule of
//! `watch_permitted`). Sending is in `conn`.

use std::collections::BTreeSet;

use rings::DomId;
use rings::io::xs_wire::{XENSTORE_REL_PATH_MAX, XsdError};
use rings::store::Access;
use rings::store::keys::{INTRODUCE_DOMAIN, RELEASE_DOMAIN};

use super::path::{NodePath, home, valid_chars};
use super::perms::{Perms, is_privileged};
use super::tree::Tree;

/// What is watched.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Target {
    /// A node and all below it, existing or not.
    Node(NodePath),
    /// A path that begins with `@`. Those Xen does not know never fire after the first time.
    Special(Box<str>),
}

/// A watch of one connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Watch {
    pub(super) target: Target,
    /// Events carry paths relative to the caller's home, because the watch was set with one.
    relative: bool,
    pub(super) token: Box<[u8]>,
}

impl Watch {
    /// The watch `caller` asks for.
    pub(super) fn parse(
        raw: &[u8],
        token: &[u8],
        caller: DomId,
        longest: usize,
    ) -> Result<Self, XsdError> {
        let relative = !raw.starts_with(b"/") && !raw.starts_with(b"@");
        let target = if raw.starts_with(b"@") {
            if raw.len() > XENSTORE_REL_PATH_MAX {
                return Err(XsdError::EINVAL);
            }
            Target::Special(valid_chars(raw)?.into())
        } else {
            Target::Node(NodePath::parse(raw, caller, longest)?)
        };
        Ok(Self { target, relative, token: token.into() })
    }

    /// Whether this is the same watch to its client, who may have spelled the path otherwise.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.target == other.target && self.token == other.token
    }

    /// Bytes charged for it.
    pub(super) fn bytes(&self) -> usize {
        let path = match &self.target {
            Target::Node(path) => path.as_str().len(),
            Target::Special(name) => name.len(),
        };
        size_of::<Self>() + path + self.token.len()
    }

    /// The path in the event that fires at once when `domid` sets the watch.
    pub(super) fn first_path(&self, domid: DomId) -> String {
        match &self.target {
            Target::Node(path) => self.event_path(domid, path),
            Target::Special(name) => name.to_string(),
        }
    }

    /// How an event tells the watcher `domid` of `path`.
    pub(super) fn event_path(&self, domid: DomId, path: &NodePath) -> String {
        let home = home(domid);
        let below = path.as_str().strip_prefix(home.as_str());
        match below.and_then(|rest| rest.strip_prefix('/')) {
            Some(below) if self.relative => below.to_owned(),
            _ => path.to_string(),
        }
    }

    fn covers(&self, change: &Change) -> bool {
        match &self.target {
            Target::Node(path) if change.exact => change.path == *path,
            Target::Node(path) => change.path.is_within(path),
            Target::Special(_) => false,
        }
    }
}

/// A node changed.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) path: NodePath,
    /// Only watches of this very node fire: it went with a node above, whose change tells the rest.
    exact: bool,
    /// Permissions by which it could be read before.
    readers: Vec<Perms>,
}

impl Change {
    /// Whether `watch` of `domid` shall fire now that the change shows in `tree`.
    pub(super) fn reaches(&self, watch: &Watch, domid: DomId, tree: &Tree) -> bool {
        watch.covers(self)
            && (is_privileged(domid)
                || self.readers.iter().any(|perms| perms.allow(domid, Access::READ))
                || readers(tree, &self.path).any(|perms| perms.allow(domid, Access::READ)))
    }
}

/// Permissions that let a watcher know of `path`: its own and its parent's, as far as they exist.
fn readers<'a>(tree: &'a Tree, path: &NodePath) -> impl Iterator<Item = &'a Perms> {
    let parent = path.parent().and_then(|parent| tree.get(&parent));
    tree.get(path).into_iter().chain(parent).map(|node| &node.perms)
}

/// Changes in the order in which they were made, each once.
#[derive(Debug, Default)]
pub(super) struct Changes {
    order: Vec<Change>,
    seen: BTreeSet<(NodePath, bool)>,
}

impl Changes {
    /// Records a change that is about to be made to `before`.
    pub(super) fn record(&mut self, path: &NodePath, exact: bool, before: &Tree) {
        if self.seen.insert((path.clone(), exact)) {
            let readers = readers(before, path).cloned().collect();
            self.order.push(Change { path: path.clone(), exact, readers });
        }
    }

    /// The same changes as seen from `before`: those of a transaction, from what was before all of
    /// it, so that what it made and hid again stays hidden.
    pub(super) fn seen_from(mut self, before: &Tree) -> Vec<Change> {
        for change in &mut self.order {
            change.readers = readers(before, &change.path).cloned().collect();
        }
        self.order
    }

    pub(super) fn into_vec(self) -> Vec<Change> {
        self.order
    }
}

/// Who may see the two special events. Domain 0 alone, unless it says otherwise.
#[derive(Debug)]
pub(super) struct Specials {
    introduce: Perms,
    release: Perms,
}

impl Specials {
    pub(super) fn new() -> Self {
        Self { introduce: Perms::of_dom0(), release: Perms::of_dom0() }
    }

    pub(super) fn get(&self, name: &str) -> Option<&Perms> {
        match name {
            INTRODUCE_DOMAIN => Some(&self.introduce),
            RELEASE_DOMAIN => Some(&self.release),
            _ => None,
        }
    }

    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut Perms> {
        match name {
            INTRODUCE_DOMAIN => Some(&mut self.introduce),
            RELEASE_DOMAIN => Some(&mut self.release),
            _ => None,
        }
    }

    /// Forgets a domain that is gone.
    pub(super) fn forget(&mut self, domid: DomId) {
        self.introduce = self.introduce.without(domid);
        self.release = self.release.without(domid);
    }
}
