//! The handshake's helpers over a real store.

use std::time::{Duration, Instant};

use rings::DomId;
use rings::store::xenbus::{self, WaitError};
use rings::store::{Nodes, Perm, StoreError, XenbusState};

use crate::lab::{Lab, event_paths};

const FRONT: &str = "/local/domain/1/device/vif/0";

fn lab_with_front() -> Lab {
    let lab = Lab::new();
    let mut store = lab.store();
    store.mkdir(FRONT).unwrap();
    store.set_perms(FRONT, &[Perm::none(DomId(1)), Perm::read(DomId(0))]).unwrap();
    store.write(&format!("{FRONT}/state"), "1").unwrap();
    store.mkdir("/local/domain/1/error").unwrap();
    store.set_perms("/local/domain/1/error", &[Perm::none(DomId(1))]).unwrap();
    drop(store);
    lab
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(1)
}

#[test]
fn states_are_switched_and_awaited() {
    let lab = lab_with_front();
    let (mut dom0, mut guest) = (lab.client(0), lab.client(1));
    dom0.watch(FRONT, "mine").unwrap();
    xenbus::switch_state(&mut guest, "device/vif/0", XenbusState::Connected).unwrap();
    let wanted = [XenbusState::Connected, XenbusState::Closed];
    let state = xenbus::wait_for_state(&mut dom0, FRONT, &wanted, soon()).unwrap();
    assert_eq!(state, XenbusState::Connected);
    let state = format!("{FRONT}/state");
    assert_eq!(event_paths(&mut dom0), [FRONT, state.as_str()], "the caller's own are kept");
    xenbus::switch_state(&mut guest, "device/vif/0", XenbusState::Connected).unwrap();
    assert_eq!(event_paths(&mut dom0), Vec::<String>::new(), "no write, no event");
}

#[test]
fn a_wait_says_where_it_stuck() {
    let lab = lab_with_front();
    let mut dom0 = lab.client(0);
    let wait = xenbus::wait_for_state(&mut dom0, FRONT, &[XenbusState::Closed], soon());
    assert_eq!(
        wait.unwrap_err().to_string(),
        format!("{FRONT}/state is stuck in Initialising, expected Closed")
    );
    assert_eq!(event_paths(&mut dom0), Vec::<String>::new());
    dom0.rm(&format!("{FRONT}/state")).unwrap();
    let wait = xenbus::wait_for_state(&mut dom0, FRONT, &[XenbusState::Closed], soon());
    assert!(matches!(wait, Err(WaitError::Stuck { found: XenbusState::Unknown, .. })));
}

#[test]
fn a_removed_device_does_not_come_back() {
    let lab = lab_with_front();
    let mut guest = lab.client(1);
    lab.store().rm(FRONT).unwrap();
    // Its parent is domain 0's, so the guest may neither look nor write there.
    let switched = xenbus::switch_state(&mut guest, "device/vif/0", XenbusState::Closing);
    assert!(switched.is_err());
    let mut dom0 = lab.client(0);
    xenbus::switch_state(&mut dom0, FRONT, XenbusState::Closing).unwrap();
    assert_eq!(xenbus::read_state(&mut dom0, FRONT).unwrap(), XenbusState::Unknown);
}

#[test]
fn a_fatal_error_is_told_and_closes() {
    let lab = lab_with_front();
    let (mut dom0, mut guest) = (lab.client(0), lab.client(1));
    xenbus::fatal(&mut guest, "device/vif/0", 22, "ring with 3 slots").unwrap();
    assert_eq!(
        dom0.read_string("/local/domain/1/error/device/vif/0/error").unwrap(),
        "22 ring with 3 slots"
    );
    assert_eq!(xenbus::read_state(&mut dom0, FRONT).unwrap(), XenbusState::Closing);
    xenbus::fatal(&mut guest, FRONT, 5, &"ä".repeat(2000)).unwrap();
    assert_eq!(dom0.read("/local/domain/1/error/device/vif/0/error").unwrap().len(), 2048);
}

#[test]
fn numbers_are_strict_and_errors_name_key_and_value() {
    let lab = Lab::new();
    let mut dom0 = lab.client(0);
    for (text, number) in [("0", 0), ("007", 7), ("4294967295", u32::MAX)] {
        dom0.write("/n", text).unwrap();
        assert_eq!(xenbus::read_u32(&mut dom0, "/n").unwrap(), number);
    }
    for text in ["", "x", "-1", "+1", " 1", "1 ", "4294967296", "1\0", "0x10"] {
        dom0.write("/n", text).unwrap();
        let error = xenbus::read_u32(&mut dom0, "/n").unwrap_err();
        assert!(matches!(&error, StoreError::Value { path, .. } if path == "/n"), "{text:?}");
    }
    assert_eq!(
        xenbus::read_u32(&mut dom0, "/n").unwrap_err().to_string(),
        "xenstore: /n is \"0x10\", expected a decimal number below 2^32"
    );
    assert!(!xenbus::read_flag(&mut dom0, "/missing").unwrap());
    dom0.write("/n", "1").unwrap();
    assert!(xenbus::read_flag(&mut dom0, "/n").unwrap());
}
