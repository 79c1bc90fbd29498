//! Transactions: snapshots, conflicts, commits, and what must not happen inside one.

use rings::DomId;
use rings::io::xs_wire::{XsdError, XsdType};
use rings::store::{Nodes, StoreError};

use crate::lab::{Lab, event_paths, refused};

#[test]
fn reads_see_a_snapshot_and_writes_show_at_the_commit() {
    let lab = Lab::new();
    let (mut a, mut b) = (lab.client(0), lab.client(0));
    a.write("/x", "old").unwrap();
    let tx = a.transaction_start().unwrap();
    b.write("/x", "new").unwrap();
    b.write("/y", "new").unwrap();
    assert_eq!(a.within(tx).read("/x").unwrap(), b"old");
    assert_eq!(refused(a.within(tx).read("/y")), XsdError::ENOENT);
    a.within(tx).write("/z", "1").unwrap();
    assert_eq!(a.within(tx).read("/z").unwrap(), b"1");
    assert_eq!(refused(b.read("/z")), XsdError::ENOENT);
    assert_eq!(refused(a.transaction_end(tx, true)), XsdError::EAGAIN, "it read /x");
    assert_eq!(refused(b.read("/z")), XsdError::ENOENT);
}

#[test]
fn who_touches_other_nodes_does_not_conflict() {
    let lab = Lab::new();
    let (mut a, mut b) = (lab.client(0), lab.client(0));
    a.write("/d/one", "").unwrap();
    a.write("/d/two", "").unwrap();
    let (ta, tb) = (a.transaction_start().unwrap(), b.transaction_start().unwrap());
    a.within(ta).write("/d/one", "a").unwrap();
    b.within(tb).write("/d/two", "b").unwrap();
    a.transaction_end(ta, true).unwrap();
    b.transaction_end(tb, true).unwrap();
    assert_eq!(a.read("/d/one").unwrap(), b"a");
    assert_eq!(a.read("/d/two").unwrap(), b"b");
}

#[test]
fn conflicts_by_missing_nodes_lists_and_removal() {
    // What the transaction looks at or removes, what is made outside it, whether that conflicts.
    for (look, remove, make, conflict) in [
        ("/d/new", "", "/d/new", true),
        ("/d/e", "", "/d/e/new", true),
        ("", "/d", "/d/e/f/new", true),
        ("/d/e", "", "/d/e/f/new", false),
        ("/d", "", "/d/e/f", false),
        ("/d/e/f", "/d/e/none", "/d/other", false),
    ] {
        let lab = Lab::new();
        let (mut a, mut b) = (lab.client(0), lab.client(0));
        b.write("/d/e/f", "").unwrap();
        let tx = a.transaction_start().unwrap();
        if !look.is_empty() {
            _ = a.within(tx).directory(look);
        }
        if !remove.is_empty() {
            a.within(tx).rm(remove).unwrap();
        }
        b.write(make, "").unwrap();
        let ended = a.transaction_end(tx, true).map_err(|error| error.xsd_error());
        let expected = if conflict { Err(Some(XsdError::EAGAIN)) } else { Ok(()) };
        assert_eq!(ended, expected, "{look} {remove} {make}");
    }
}

#[test]
fn removing_and_making_again_in_one_transaction() {
    let lab = Lab::new();
    let mut dom0 = lab.client(0);
    dom0.write("/d/e/old", "1").unwrap();
    dom0.transaction(|tx| {
        tx.rm("/d")?;
        tx.write("/d/e/new", "2")
    })
    .unwrap();
    assert_eq!(dom0.directory("/d/e").unwrap(), ["new"]);
    dom0.transaction(|tx| {
        tx.write("/d/e/x/y", "")?;
        tx.rm("/d/e")
    })
    .unwrap();
    assert_eq!(dom0.directory("/d").unwrap(), Vec::<String>::new());
}

#[test]
fn the_client_redoes_the_whole_on_a_conflict() {
    let lab = Lab::new();
    let mut dom0 = lab.client(0);
    dom0.write("/count", "5").unwrap();
    let mut attempts = 0;
    dom0.transaction(|tx| {
        attempts += 1;
        let count: u32 = tx.read_string("/count")?.parse().unwrap();
        if attempts < 3 {
            lab.store().write("/count", (count + 1).to_string()).unwrap();
        }
        tx.write("/count", (count * 10).to_string())
    })
    .unwrap();
    assert_eq!((attempts, dom0.read_string("/count").unwrap()), (3, "70".to_owned()));
    let endless = dom0.transaction(|tx| {
        tx.read("/count")?;
        lab.store().write("/count", "").unwrap();
        tx.write("/count", "")
    });
    assert!(matches!(endless, Err(StoreError::Conflict(100))));
}

#[test]
fn what_fails_leaves_nothing() {
    let lab = Lab::new();
    let mut guest = lab.guest(1);
    let failed = guest.transaction(|tx| {
        tx.write("a", "1")?;
        tx.read("missing")
    });
    assert_eq!(refused(failed), XsdError::ENOENT);
    assert_eq!(refused(guest.read("a")), XsdError::ENOENT);
    let used = lab.store().usage(DomId(1));
    assert_eq!((used.nodes, used.transactions), (1, 0));
}

#[test]
fn events_come_at_the_commit_and_only_then() {
    let lab = Lab::new();
    let (mut a, mut b) = (lab.client(0), lab.client(0));
    b.watch("/d", "t").unwrap();
    event_paths(&mut b);
    let tx = a.transaction_start().unwrap();
    a.within(tx).write("/d/x", "1").unwrap();
    a.within(tx).write("/d/y", "1").unwrap();
    a.within(tx).write("/d/x", "2").unwrap();
    assert_eq!(event_paths(&mut b), Vec::<String>::new());
    a.transaction_end(tx, true).unwrap();
    assert_eq!(event_paths(&mut b), ["/d/x", "/d/y"]);
    let tx = a.transaction_start().unwrap();
    a.within(tx).write("/d/x", "1").unwrap();
    a.transaction_end(tx, false).unwrap();
    assert_eq!(event_paths(&mut b), Vec::<String>::new());
}

/// XSA-484.
#[test]
fn reset_watches_inside_a_transaction_is_refused_and_does_nothing() {
    let lab = Lab::new();
    let mut guest = lab.guest(1);
    guest.watch("a", "t").unwrap();
    let tx = guest.transaction_start().unwrap();
    let reset = guest.within(tx).request(XsdType::RESET_WATCHES, "", &[b"\0"]);
    assert_eq!(refused(reset), XsdError::EBUSY);
    guest.within(tx).write("a", "1").unwrap();
    guest.transaction_end(tx, true).unwrap();
    guest.unwatch("a", "t").unwrap();
    let tx = guest.transaction_start().unwrap();
    guest.reset_watches().unwrap();
    assert_eq!(refused(guest.transaction_end(tx, true)), XsdError::ENOENT);
}

#[test]
fn transactions_belong_to_their_connection_and_end_with_it() {
    let lab = Lab::new();
    let (mut a, mut b) = (lab.guest(1), lab.client(1));
    let tx = a.transaction_start().unwrap();
    assert_eq!(refused(b.within(tx).read("")), XsdError::ENOENT);
    lab.store().disconnect(a.transport().id);
    assert_eq!(lab.store().usage(DomId(1)).transactions, 0);
    assert!(matches!(a.transaction_end(tx, true), Err(StoreError::Closed)));
    assert!(matches!(a.read("x"), Err(StoreError::Broken)));
}

#[test]
fn the_toolstack_does_all_or_nothing() {
    let lab = Lab::new();
    let mut watcher = lab.client(0);
    watcher.watch("/t", "t").unwrap();
    event_paths(&mut watcher);
    let failed = lab.store().transaction(|batch| {
        batch.write("/t/a", "1")?;
        batch.read("/missing")
    });
    assert_eq!(failed, Err(XsdError::ENOENT));
    assert_eq!(lab.store().read("/t/a"), Err(XsdError::ENOENT));
    let mut store = lab.store();
    store.transaction(|batch| batch.write("/t/a", "1")).unwrap();
    assert_eq!(store.list("/t").unwrap(), ["a"]);
    drop(store);
    assert_eq!(event_paths(&mut watcher), ["/t/a"]);
}
