//! Permissions: who may do what to a node.
//!
//! The text form lives in [`rings::store::Perm`]; where nodes get their permissions from, in
//! `ops`. Rule: `perm_for_conn` of xenstored.

use std::sync::Arc;

use rings::DomId;
use rings::store::{Access, Perm};

/// A node's permissions: never empty, the first names the owner. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Perms(Arc<[Perm]>);

/// Domain 0 is the toolstack and exempt from permissions and quotas.
pub(super) fn is_privileged(domid: DomId) -> bool {
    domid == DomId::DOM0
}

impl Perms {
    /// Permissions of domain 0 alone: `n0`.
    pub(super) fn of_dom0() -> Self {
        Self(Arc::new([Perm::none(DomId::DOM0)]))
    }

    /// `None` if there is no owner.
    pub(super) fn new(perms: Vec<Perm>) -> Option<Self> {
        if perms.is_empty() { None } else { Some(Self(perms.into())) }
    }

    pub(super) fn entries(&self) -> &[Perm] {
        &self.0
    }

    pub(super) fn owner(&self) -> DomId {
        self.0.first().map_or(DomId::DOM0, |first| first.domid)
    }

    /// Whether `caller` is privileged or the owner, who may do everything.
    pub(super) fn owned_by(&self, caller: DomId) -> bool {
        is_privileged(caller) || self.owner() == caller
    }

    /// Whether `caller` may do `access`: as owner, by its own entry, or as everybody else.
    pub(super) fn allow(&self, caller: DomId, access: Access) -> bool {
        let others = self.0.iter().skip(1);
        let own = others.clone().find(|perm| perm.domid == caller).or(self.0.first());
        self.owned_by(caller) || own.is_some_and(|perm| perm.access.contains(access))
    }

    /// The same with another owner.
    pub(super) fn with_owner(&self, owner: DomId) -> Self {
        let mut perms = self.0.to_vec();
        if let Some(first) = perms.first_mut() {
            first.domid = owner;
        }
        Self(perms.into())
    }

    pub(super) fn name(&self, domid: DomId) -> bool {
        self.0.iter().any(|perm| perm.domid == domid)
    }

    /// The same without `domid`, which is gone: a later domain of that number must not inherit
    /// (XSA-322). What it owned falls to domain 0.
    pub(super) fn without(&self, domid: DomId) -> Self {
        let first = self.0.iter().take(1).map(|&perm| match perm.domid == domid {
            true => Perm::none(DomId::DOM0),
            false => perm,
        });
        let others = self.0.iter().skip(1).filter(|perm| perm.domid != domid).copied();
        Self(first.chain(others).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn perms(text: &str) -> Perms {
        Perms::new(text.split(',').map(|perm| perm.parse().unwrap()).collect()).unwrap()
    }

    #[test]
    fn owner_and_dom0_may_all_others_what_their_entry_or_the_first_says() {
        let node = perms("r1,w2,n3");
        for (domid, read, write) in [
            (0, true, true),
            (1, true, true),
            (2, false, true),
            (3, false, false),
            (4, true, false),
        ] {
            assert_eq!(node.allow(DomId(domid), Access::READ), read, "read by {domid}");
            assert_eq!(node.allow(DomId(domid), Access::WRITE), write, "write by {domid}");
        }
    }

    #[test]
    fn a_gone_domain_is_named_no_more() {
        assert_eq!(perms("n0,r1,b2").without(DomId(1)), perms("n0,b2"));
        assert_eq!(perms("b1,r2,r1").without(DomId(1)), perms("n0,r2"));
    }
}
