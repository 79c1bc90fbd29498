//! Each quota at its number, the error one step beyond it, and back to zero afterwards.

use rings::DomId;
use rings::io::xs_wire::{XsdError, XsdSockmsg, XsdType};
use rings::store::{Nodes, Perm, frame};
use rings_host::store::{Quota, Usage};

use crate::lab::{Lab, refused};

#[test]
fn a_guest_sets_128_watches() {
    let lab = Lab::new();
    let (mut dom0, mut guest) = (lab.client(0), lab.guest(1));
    for n in 0..128 {
        guest.watch("data", &n.to_string()).unwrap();
    }
    assert_eq!(refused(guest.watch("data", "128")), XsdError::ENOSPC);
    assert_eq!(refused(guest.watch("data", "5")), XsdError::EEXIST);
    assert_eq!(refused(guest.unwatch("data", "128")), XsdError::ENOENT);
    guest.unwatch("/local/domain/1/data", "5").unwrap();
    guest.watch("data", "128").unwrap();
    (0..200).for_each(|n| dom0.watch("/x", &n.to_string()).unwrap());
    guest.reset_watches().unwrap();
    assert_eq!(lab.store().usage(DomId(1)).watches, 0);
}

#[test]
fn a_guest_owns_1000_nodes() {
    let lab = Lab::new();
    let mut guest = lab.guest(1);
    // Its home is the first.
    for n in 1..1000 {
        guest.write(&format!("n{n}"), "").unwrap();
    }
    assert_eq!(lab.store().usage(DomId(1)).nodes, 1000);
    assert_eq!(refused(guest.mkdir("one-more")), XsdError::ENOSPC);
    guest.write("n1", "what is there may change").unwrap();
    guest.rm("n2").unwrap();
    assert_eq!(refused(guest.mkdir("two/more")), XsdError::ENOSPC);
    assert_eq!(refused(guest.read("two")), XsdError::ENOENT, "no half of it");
    guest.mkdir("one-more").unwrap();
    // Domain 0 is exempt, on its own account and on others'.
    (0..1100).for_each(|n| lab.store().mkdir(&format!("/local/domain/1/d{n}")).unwrap());
}

#[test]
fn nodes_made_in_a_transaction_count_in_it_and_at_its_end() {
    let lab = Lab::new();
    let mut guest = lab.guest(1);
    for n in 0..998 {
        guest.mkdir(&format!("n{n}")).unwrap();
    }
    let (one, two) = (guest.transaction_start().unwrap(), guest.transaction_start().unwrap());
    guest.within(one).mkdir("n1/one").unwrap();
    assert_eq!(refused(guest.within(one).mkdir("n1/more")), XsdError::ENOSPC);
    guest.within(two).mkdir("n2/two").unwrap();
    guest.transaction_end(one, true).unwrap();
    assert_eq!(refused(guest.transaction_end(two, true)), XsdError::ENOSPC);
    assert_eq!(lab.store().usage(DomId(1)).nodes, 1000);
}

#[test]
fn a_guest_opens_10_transactions() {
    let lab = Lab::new();
    let mut guest = lab.guest(1);
    let open: Vec<_> = (0..10).map(|_| guest.transaction_start().unwrap()).collect();
    assert_eq!(refused(guest.transaction_start()), XsdError::ENOSPC);
    let nested = guest.within(open[0]).request(XsdType::TRANSACTION_START, "", &[b"\0"]);
    assert_eq!(refused(nested), XsdError::EBUSY);
    guest.transaction_end(open[3], false).unwrap();
    guest.transaction_start().unwrap();
    assert_eq!(refused(guest.transaction_end(open[3], true)), XsdError::ENOENT);
    guest.reset_watches().unwrap();
    assert_eq!(lab.store().usage(DomId(1)).transactions, 0);
}

#[test]
fn a_transaction_of_a_guest_touches_1024_nodes() {
    let lab = Lab::new();
    let mut guest = lab.guest(1);
    let tx = guest.transaction_start().unwrap();
    // With its home, where all these paths end.
    for n in 1..1024 {
        assert_eq!(refused(guest.within(tx).read(&format!("n{n}"))), XsdError::ENOENT);
    }
    assert_eq!(refused(guest.within(tx).read("n1024")), XsdError::ENOSPC);
    assert_eq!(refused(guest.within(tx).read("n7")), XsdError::ENOENT);
    assert!(lab.store().usage(DomId(1)).memory > 1024 * 64);
    guest.transaction_end(tx, true).unwrap();
    assert!(lab.store().usage(DomId(1)).memory < 1024);
}

#[test]
fn values_paths_and_permissions_have_their_limits() {
    let lab = Lab::new();
    let (mut dom0, mut guest) = (lab.client(0), lab.guest(1));
    guest.write("a", [0; 2048]).unwrap();
    assert_eq!(refused(guest.write("a", [0; 2049])), XsdError::ENOSPC);
    dom0.write("/a", [0; 4000]).unwrap();
    guest.mkdir(&"x".repeat(2048)).unwrap();
    assert_eq!(refused(guest.mkdir(&"x".repeat(2049))), XsdError::EINVAL);
    let perms: Vec<_> = (1..7).map(|domid| Perm::read(DomId(domid))).collect();
    guest.set_perms("a", &perms[..5]).unwrap();
    assert_eq!(refused(guest.set_perms("a", &perms)), XsdError::ENOSPC);
    dom0.set_perms("/a", &perms).unwrap();
}

#[test]
fn memory_is_bounded_and_can_be_freed() {
    let lab = Lab::with_quota(Quota { nodes: 1_000_000, ..Quota::xen() });
    let mut guest = lab.guest(1);
    let refusal = (0..2000).find_map(|n| guest.write(&format!("n{n}"), [0; 2000]).err());
    assert_eq!(refusal.unwrap().xsd_error(), Some(XsdError::ENOMEM));
    assert!(lab.store().usage(DomId(1)).memory <= Quota::xen().memory);
    guest.write("n0", "").unwrap();
    guest.write("again", [0; 1500]).unwrap();
    (0..1000).for_each(|n| guest.rm(&format!("n{n}")).unwrap());
}

/// Without reading replies a guest gets 20; the other requests wait and are not lost.
#[test]
fn twenty_replies_may_be_outstanding() {
    let lab = Lab::new();
    let guest = lab.guest(1);
    let id = guest.transport().id;
    let mut store = lab.store();
    let mut message = Vec::new();
    let header = XsdSockmsg { r#type: XsdType::READ.number(), ..Default::default() };
    frame::append(&mut message, header, &[b"nothing\0"]).unwrap();
    for _ in 0..50 {
        store.input(id, &message);
    }
    let reply = 16 + "ENOENT\0".len();
    assert_eq!(store.output(id).len(), 20 * reply);
    assert!(!store.wants_input(id));
    store.wrote(id, reply - 1);
    assert_eq!(store.output(id).len(), 20 * reply - (reply - 1));
    store.wrote(id, 1 + reply);
    assert_eq!(store.output(id).len(), 20 * reply);
    store.wrote(id, 20 * reply);
    store.wrote(id, 20 * reply);
    assert_eq!(store.output(id).len(), 8 * reply, "of 50, after 2, 20 and 20");
    store.wrote(id, 8 * reply);
    assert!(store.wants_input(id) && store.output(id).is_empty());
}

#[test]
fn who_sends_on_without_reading_is_dropped() {
    let lab = Lab::new();
    for domid in [0, 1] {
        let id = lab.guest(domid).transport().id;
        let mut store = lab.store();
        let mut message = Vec::new();
        let header = XsdSockmsg { r#type: XsdType::READ.number(), ..Default::default() };
        frame::append(&mut message, header, &[b"nothing\0"]).unwrap();
        let mut sent = 0;
        while !store.is_dead(id) && sent < 1_000_000 {
            store.input(id, &message);
            sent += 1;
        }
        assert!(sent < 1_000_000);
    }
}

#[test]
fn who_leaves_events_unread_is_dropped() {
    let lab = Lab::with_quota(Quota { memory: 10_000, ..Quota::xen() });
    let mut guest = lab.guest(1);
    guest.watch("/local/domain/1", "t").unwrap();
    let id = guest.transport().id;
    let mut store = lab.store();
    for n in 0..1000 {
        store.mkdir(&format!("/local/domain/1/n{n}")).unwrap();
        assert!(store.output(id).len() < 11_000);
    }
    assert!(store.is_dead(id) && store.output(id).is_empty());
    assert_eq!(store.usage(DomId(1)).watches, 0);
}

#[test]
fn a_new_domain_of_an_old_number_begins_at_zero() {
    let lab = Lab::new();
    for _ in 0..3 {
        let mut guest = lab.guest(1);
        for n in 0..128 {
            guest.watch("data", &n.to_string()).unwrap();
        }
        for n in 1..1000 {
            guest.mkdir(&format!("n{n}")).unwrap();
        }
        let open: Vec<_> = (0..10).map(|_| guest.transaction_start().unwrap()).collect();
        guest.within(open[0]).read("n5").unwrap();
        guest.within(open[1]).rm("n5").unwrap();
        let used = lab.store().usage(DomId(1));
        assert_eq!((used.nodes, used.watches, used.transactions), (1000, 128, 10));
        lab.store().domain_gone(DomId(1));
        assert_eq!(lab.store().usage(DomId(1)), Usage::default());
    }
}

/// XSA-352: with the owner goes the charge.
#[test]
fn the_charge_follows_the_owner() {
    let lab = Lab::new();
    let (mut dom0, _one, _two) = (lab.client(0), lab.guest(1), lab.guest(2));
    let nodes = |domid| lab.store().usage(DomId(domid)).nodes;
    dom0.mkdir("/x").unwrap();
    dom0.set_perms("/x", &[Perm::none(DomId(1))]).unwrap();
    assert_eq!((nodes(0), nodes(1), nodes(2)), (0, 2, 1));
    dom0.set_perms("/x", &[Perm::none(DomId(2))]).unwrap();
    assert_eq!((nodes(0), nodes(1), nodes(2)), (0, 1, 2));
    dom0.rm("/x").unwrap();
    assert_eq!((nodes(0), nodes(1), nodes(2)), (0, 1, 1));
}
