//! Who may do what, and what remains of a domain that is gone: nothing.

use rings::DomId;
use rings::io::xs_wire::XsdError;
use rings::store::{Nodes, StoreError};

use crate::lab::{Lab, event_paths, perms, refused};

#[test]
fn new_nodes_inherit_except_that_a_guest_owns_what_it_makes() {
    let lab = Lab::new();
    let (mut dom0, mut guest) = (lab.client(0), lab.guest(1));
    dom0.mkdir("/shared").unwrap();
    dom0.set_perms("/shared", &perms("r0,b1,n2")).unwrap();
    dom0.mkdir("/shared/a/b").unwrap();
    assert_eq!(dom0.get_perms("/shared/a/b").unwrap(), perms("r0,b1,n2"));
    guest.mkdir("/shared/c/d").unwrap();
    assert_eq!(dom0.get_perms("/shared/c").unwrap(), perms("r1,b1,n2"));
    assert_eq!(dom0.get_perms("/shared/c/d").unwrap(), perms("r1,b1,n2"));
}

#[test]
fn a_guest_may_what_permissions_say() {
    let lab = Lab::new();
    let (mut dom0, mut guest) = (lab.client(0), lab.guest(1));
    dom0.write("/r", "1").unwrap();
    dom0.set_perms("/r", &perms("n0,r1")).unwrap();
    assert_eq!(guest.read("/r").unwrap(), b"1");
    assert_eq!(refused(guest.write("/r", "2")), XsdError::EACCES);
    assert_eq!(refused(guest.rm("/r")), XsdError::EACCES);
    assert_eq!(refused(guest.mkdir("/r/x")), XsdError::EACCES);
    assert_eq!(refused(guest.set_perms("/r", &perms("b1"))), XsdError::EACCES);
    dom0.set_perms("/r", &perms("n0,b1")).unwrap();
    guest.write("/r", "2").unwrap();
    assert_eq!(refused(guest.set_perms("/r", &perms("n0,b1"))), XsdError::EACCES, "not its own");
    guest.mkdir("mine").unwrap();
    guest.set_perms("mine", &perms("n1,r2")).unwrap();
    assert_eq!(refused(guest.set_perms("mine", &perms("n2"))), XsdError::EPERM);
}

/// Whether a node exists is only told where the caller may look.
#[test]
fn missing_and_forbidden_look_alike_where_nothing_may_be_read() {
    let lab = Lab::new();
    let (mut dom0, mut guest) = (lab.client(0), lab.guest(1));
    dom0.write("/secret/there", "").unwrap();
    assert_eq!(refused(guest.read("/secret/there")), XsdError::EACCES);
    assert_eq!(refused(guest.read("/secret/not-there")), XsdError::EACCES);
    assert_eq!(refused(guest.read("/")), XsdError::EACCES);
    assert_eq!(refused(guest.read("not-there/at/all")), XsdError::ENOENT);
    assert_eq!(refused(dom0.rm("/")), XsdError::EINVAL);
    assert_eq!(refused(guest.rm("/")), XsdError::EACCES);
}

#[test]
fn of_a_gone_domain_nothing_remains() {
    let lab = Lab::new();
    let (mut dom0, mut one, mut two) = (lab.client(0), lab.guest(1), lab.guest(2));
    one.write("device/vif/0/state", "4").unwrap();
    two.write("data/x", "").unwrap();
    two.set_perms("data/x", &perms("n2,r1")).unwrap();
    dom0.write("/backend/state", "4").unwrap();
    dom0.set_perms("/backend", &perms("n0,r1")).unwrap();
    dom0.watch("/local/domain/1/device/vif/0/state", "front").unwrap();
    dom0.watch("@releaseDomain", "release").unwrap();
    event_paths(&mut dom0);

    let tx = dom0.transaction_start().unwrap();
    dom0.within(tx).mkdir("/late").unwrap();
    dom0.within(tx).set_perms("/late", &perms("n0,b1")).unwrap();
    lab.store().domain_gone(DomId(1));
    assert_eq!(refused(dom0.transaction_end(tx, true)), XsdError::EAGAIN, "it names the domain");

    let expected = ["/local/domain/1/device/vif/0/state", "@releaseDomain"];
    assert_eq!(event_paths(&mut dom0), expected);
    assert_eq!(refused(dom0.read("/local/domain/1")), XsdError::ENOENT);
    assert_eq!(two.get_perms("data/x").unwrap(), perms("n2"));
    assert_eq!(dom0.get_perms("/backend").unwrap(), perms("n0"));
    assert!(matches!(one.read("data"), Err(StoreError::Closed)));
    assert!(lab.store().ready().any(|id| id == one.transport().id), "to be closed");

    let mut heir = lab.guest(1);
    assert_eq!(refused(heir.read("/backend/state")), XsdError::EACCES);
    assert_eq!(heir.directory("").map_err(|error| error.xsd_error()), Err(Some(XsdError::EINVAL)));
}

#[test]
fn a_root_left_by_a_gone_domain_falls_to_domain_0() {
    let lab = Lab::new();
    let mut dom0 = lab.client(0);
    dom0.set_perms("/", &perms("b1,r2")).unwrap();
    lab.store().domain_gone(DomId(1));
    assert_eq!(dom0.get_perms("/").unwrap(), perms("n0,r2"));
    dom0.read("/tool/xenstored").unwrap();
}

#[test]
fn long_directories_come_in_parts() {
    let lab = Lab::new();
    let mut dom0 = lab.client(0);
    for count in [0, 1, 500, 3000] {
        lab.store().mkdir("/long").unwrap();
        let mut names: Vec<_> = (0..count).map(|n| format!("node-{n}")).collect();
        names.iter().for_each(|name| lab.store().mkdir(&format!("/long/{name}")).unwrap());
        names.sort();
        assert_eq!(dom0.directory("/long").unwrap(), names);
        dom0.rm("/long").unwrap();
    }
}

#[test]
fn the_deepest_path_does_no_harm() {
    let lab = Lab::new();
    let mut dom0 = lab.client(0);
    let deep = "/x".repeat(1536);
    dom0.transaction(|tx| tx.write(&deep, "1")).unwrap();
    assert_eq!(dom0.read(&deep).unwrap(), b"1");
    dom0.transaction(|tx| tx.rm("/x")).unwrap();
    assert_eq!(refused(dom0.read(&deep)), XsdError::ENOENT);
}
