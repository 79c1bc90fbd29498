//! Backends that go while a guest connects to them: it goes on with the next one at once, with new rings, and
//! gives back what the first had got.

mod blk_rig;

use std::thread::JoinHandle;

use blk_rig::back::{BACK, Back, FRONT, config, offer};
use blk_rig::{Lab, holdings, until};
use blkif::front::{Blkfront, Config, ConnectError, Queue};
use rings::store::{Nodes, XenbusState, XsClient, xenbus};
use rings_host::{HostDomain, UnixTransport};

/// Longer than any test: whoever waits for a step to take too long has waited in vain.
const NEVER: std::time::Duration = std::time::Duration::from_secs(3600);

type Connected = Result<(Blkfront<HostDomain>, Vec<Queue<HostDomain>>), ConnectError>;

fn connect(guest: &HostDomain) -> JoinHandle<Connected> {
    let guest = guest.clone();
    let config = Config { timeout: NEVER, ..config() };
    std::thread::spawn(move || Blkfront::connect(&guest, &config))
}

fn connected(connecting: JoinHandle<Connected>) -> Connected {
    until("the guest's handshake", || connecting.is_finished().then_some(()));
    connecting.join().expect("no panic")
}

/// The guest's port, when its rings are published; another than `not`.
fn published(store: &mut XsClient<UnixTransport>, not: &str) -> String {
    until("new rings", || {
        let state = xenbus::read_state(store, FRONT).ok()?;
        let port = store.read_string(&format!("{FRONT}/event-channel")).ok()?;
        (state == XenbusState::Initialised && port != not).then_some(port)
    })
}

/// A guest connects; when its rings are published, its backend goes as `go` says.
fn goes(go: impl FnOnce(&mut Lab, XsClient<UnixTransport>) -> XsClient<UnixTransport>) {
    let mut lab = Lab::new();
    let before = holdings(&lab.guest);
    let keys = [("sectors", "2048")];
    let mut store = offer(&lab, &keys);
    let connecting = connect(&lab.guest);
    let first = published(&mut store, "");
    let mut store = go(&mut lab, store);
    published(&mut store, &first);
    let back = Back::connect(&lab.dom0, store);
    let (blkfront, queues) = connected(connecting).expect("it connects");
    assert_eq!((blkfront.disk().sectors, queues.len()), (2048, 1));
    back.leave();
    for queue in queues {
        assert_eq!(queue.close(), 0, "no page is kept aside");
    }
    assert_eq!(holdings(&lab.guest), before, "nor are the rings of the first backend");
}

#[test]
fn a_backend_that_dies_before_it_has_connected_is_not_waited_for() {
    goes(|lab, store| {
        drop(store);
        lab.replace_dom0();
        offer(lab, &[("sectors", "2048")])
    });
}

/// As when it died and the next one came before the guest could look.
#[test]
fn a_backend_that_waits_anew_is_another_one() {
    goes(|_, mut store| {
        store.write(&format!("{BACK}/state"), "2").expect("our own node");
        store
    });
}

#[test]
fn a_backend_that_refuses_is_heard_at_once() {
    let lab = Lab::new();
    let mut store = offer(&lab, &[("sectors", "2048")]);
    let connecting = connect(&lab.guest);
    published(&mut store, "");
    xenbus::fatal(&mut store, BACK, 22, "no such ring").expect("our own nodes");
    let why = connected(connecting).expect_err("refused").to_string();
    assert!(why.contains("Closing"), "{why}");
}
