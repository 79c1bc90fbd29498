//! Watches: when they fire, with which path, and for whom they do not.

use rings::DomId;
use rings::io::xs_wire::XsdError;
use rings::store::Nodes;
use rings::store::keys::{INTRODUCE_DOMAIN, RELEASE_DOMAIN};

use crate::lab::{Lab, event_paths, events, perms, refused};

#[test]
fn a_watch_fires_at_once_and_for_all_below() {
    let lab = Lab::new();
    let (mut a, mut b) = (lab.client(0), lab.client(0));
    b.watch("/d", "t").unwrap();
    assert_eq!(events(&mut b), [("/d".into(), "t".into())], "though there is no such node");
    a.write("/d/e/f", "1").unwrap();
    a.mkdir("/d/e").unwrap();
    a.write("/dd", "1").unwrap();
    a.set_perms("/d", &perms("r0")).unwrap();
    assert_eq!(event_paths(&mut b), ["/d/e/f", "/d"]);
    b.unwatch("/d", "t").unwrap();
    a.write("/d", "2").unwrap();
    assert_eq!(event_paths(&mut b), Vec::<String>::new());
}

#[test]
fn a_relative_watch_is_told_relative_paths() {
    let lab = Lab::new();
    let mut guest = lab.guest(1);
    guest.watch("device", "rel").unwrap();
    guest.watch("/local/domain/1/device", "abs").unwrap();
    guest.write("device/vif/0/state", "1").unwrap();
    let mut got = events(&mut guest);
    got.sort();
    let expected = [
        ("/local/domain/1/device", "abs"),
        ("/local/domain/1/device/vif/0/state", "abs"),
        ("device", "rel"),
        ("device/vif/0/state", "rel"),
    ];
    assert_eq!(got, expected.map(|(path, token)| (path.to_owned(), token.to_owned())));
}

#[test]
fn removal_fires_for_the_node_and_for_watched_ones_below() {
    let lab = Lab::new();
    let (mut a, mut b) = (lab.client(0), lab.client(0));
    a.write("/d/e/f", "").unwrap();
    b.watch("/", "root").unwrap();
    b.watch("/d/e/f", "leaf").unwrap();
    b.watch("/d/e/f/none", "none").unwrap();
    events(&mut b);
    a.rm("/d").unwrap();
    let expected = [("/d", "root"), ("/d/e/f", "leaf")];
    assert_eq!(events(&mut b), expected.map(|(path, token)| (path.to_owned(), token.to_owned())));
    a.rm("/d").unwrap();
    assert_eq!(event_paths(&mut b), Vec::<String>::new(), "nothing was there");
    assert_eq!(refused(a.rm("/d/e")), XsdError::ENOENT);
}

/// XSA-115: no event may tell of a node its watcher can neither read nor see listed.
#[test]
fn no_event_for_what_may_not_be_read() {
    let lab = Lab::new();
    let (mut dom0, mut guest) = (lab.client(0), lab.guest(1));
    guest.watch("/", "t").unwrap();
    event_paths(&mut guest);
    dom0.write("/secret/a", "1").unwrap();
    dom0.rm("/secret/a").unwrap();
    assert_eq!(event_paths(&mut guest), Vec::<String>::new());
    dom0.write("/open", "").unwrap();
    dom0.set_perms("/open", &perms("n0,r1")).unwrap();
    assert_eq!(event_paths(&mut guest), ["/open"]);
    dom0.write("/open/x", "1").unwrap();
    dom0.set_perms("/open/x", &perms("n0")).unwrap();
    dom0.write("/open/x", "2").unwrap();
    assert_eq!(event_paths(&mut guest), ["/open/x"], "its parent lists it");
    dom0.set_perms("/open", &perms("n0")).unwrap();
    assert_eq!(event_paths(&mut guest), ["/open"], "the last it may know");
    dom0.write("/open/x", "3").unwrap();
    dom0.rm("/open").unwrap();
    assert_eq!(event_paths(&mut guest), Vec::<String>::new());
}

#[test]
fn what_a_transaction_made_and_hid_again_stays_hidden() {
    let lab = Lab::new();
    let (mut dom0, mut guest) = (lab.client(0), lab.guest(1));
    guest.watch("/", "t").unwrap();
    event_paths(&mut guest);
    dom0.transaction(|tx| {
        tx.mkdir("/p")?;
        tx.set_perms("/p", &perms("n0,r1"))?;
        tx.write("/p/name", "")?;
        tx.set_perms("/p/name", &perms("n0"))?;
        tx.set_perms("/p", &perms("n0"))
    })
    .unwrap();
    assert_eq!(event_paths(&mut guest), Vec::<String>::new());
}

#[test]
fn special_watches_are_for_domain_0_unless_it_says_otherwise() {
    let lab = Lab::new();
    let (mut dom0, mut guest) = (lab.client(0), lab.guest(1));
    for client in [&mut dom0, &mut guest] {
        client.watch(INTRODUCE_DOMAIN, "i").unwrap();
        client.watch(RELEASE_DOMAIN, "r").unwrap();
        assert_eq!(event_paths(client), [INTRODUCE_DOMAIN, RELEASE_DOMAIN]);
    }
    lab.store().introduce(DomId(2));
    lab.store().domain_gone(DomId(2));
    assert_eq!(event_paths(&mut dom0), [INTRODUCE_DOMAIN, RELEASE_DOMAIN]);
    assert_eq!(event_paths(&mut guest), Vec::<String>::new());

    assert_eq!(refused(guest.set_perms(RELEASE_DOMAIN, &perms("r0"))), XsdError::EACCES);
    dom0.set_perms(RELEASE_DOMAIN, &perms("n0,r1")).unwrap();
    assert_eq!(dom0.get_perms(RELEASE_DOMAIN).unwrap(), perms("n0,r1"));
    lab.store().domain_gone(DomId(2));
    assert_eq!(event_paths(&mut guest), [RELEASE_DOMAIN]);
    lab.store().domain_gone(DomId(1));
    assert_eq!(dom0.get_perms(RELEASE_DOMAIN).unwrap(), perms("n0"));
    assert_eq!(refused(dom0.read(RELEASE_DOMAIN)), XsdError::EINVAL);
}

/// XSA-324: an event too long for a message is not told, and does no harm.
#[test]
fn an_event_longer_than_a_message_is_left_out() {
    let lab = Lab::new();
    let mut guest = lab.guest(1);
    guest.watch("a", &"t".repeat(4000)).unwrap();
    assert_eq!(event_paths(&mut guest), ["a"]);
    guest.write(&format!("a/{}", "x".repeat(200)), "").unwrap();
    guest.write("a", "").unwrap();
    assert_eq!(event_paths(&mut guest), ["a"]);
}

#[test]
fn events_while_a_reply_is_awaited_are_kept_for_later() {
    let lab = Lab::new();
    let mut dom0 = lab.client(0);
    dom0.watch("/d", "t").unwrap();
    for n in 0..5 {
        dom0.write(&format!("/d/{n}"), "").unwrap();
        assert_eq!(dom0.read(&format!("/d/{n}")).unwrap(), b"");
    }
    assert_eq!(event_paths(&mut dom0), ["/d", "/d/0", "/d/1", "/d/2", "/d/3", "/d/4"]);
}
