//! Guests that are short of grants: a device that cannot be connected costs nothing, however far it came.

mod blk_rig;
mod rig;

use std::time::{Duration, Instant};

use blkif::front::Blkfront;
use frontend::{Netfront, Wanted};
use rings::mem::Frames;
use rings::store::{Nodes as _, XenbusState, XsClient, xenbus};
use rings::{DomId, Domain as _, Gref};
use rings_host::{HostDomain, UnixTransport};

/// All grants of a domain but a few.
struct Hoard<'a> {
    domain: &'a HostDomain,
    page: Frames,
    grefs: Vec<Gref>,
}

impl<'a> Hoard<'a> {
    /// Leaves so many.
    fn leaving(domain: &'a HostDomain, left: usize) -> Self {
        let memory = domain.memory();
        let page = memory.alloc(1).unwrap();
        let grant = || memory.grant_access(DomId::DOM0, &page, 0, true);
        let mut grefs: Vec<Gref> = std::iter::from_fn(grant).collect();
        for gref in grefs.drain(..left) {
            memory.end_access(gref).unwrap();
        }
        Self { domain, page, grefs }
    }

    fn end(self) {
        for gref in self.grefs {
            self.domain.memory().end_access(gref).unwrap();
        }
        self.domain.memory().free(self.page);
    }
}

const BACK: &str = "/local/domain/0/backend/vbd/1/51712";
const FRONT: &str = "/local/domain/1/device/vbd/51712";

/// A backend's directory with a disk in it, in the state before there is a guest.
fn disk(lab: &blk_rig::Lab) -> XsClient<UnixTransport> {
    let mut store = lab.dom0.store().unwrap();
    for (key, value) in [
        ("multi-queue-max-queues", "4"),
        ("feature-max-indirect-segments", "256"),
        ("sectors", "2048"),
        ("sector-size", "512"),
    ] {
        store.write(&format!("{BACK}/{key}"), value).unwrap();
    }
    xenbus::switch_state(&mut store, BACK, XenbusState::InitWait).unwrap();
    store
}

#[test]
fn a_disk_whose_rings_cannot_be_granted_costs_nothing() {
    let lab = blk_rig::Lab::new();
    let _store = disk(&lab);
    let config = blkif::front::Config { queues: 4, ..blk_rig::back::config() };
    for left in 0..4 {
        let hoard = Hoard::leaving(&lab.guest, left);
        let before = blk_rig::holdings(&lab.guest);
        let why = Blkfront::connect(&lab.guest, &config).expect_err("too few grants").to_string();
        assert!(why.contains("ENOSPC"), "{why}");
        assert_eq!(blk_rig::holdings(&lab.guest), before, "{left} grants");
        hoard.end();
    }
}

/// The backend is connected by then, and has to hear of it before anything is taken back.
#[test]
fn a_disk_whose_buffers_cannot_be_granted_costs_nothing() {
    // One for the ring; then 128 for buffers; then 32 for segments.
    for left in [1, 128, 129, 160] {
        let lab = blk_rig::Lab::new();
        let mut store = disk(&lab);
        let hoard = Hoard::leaving(&lab.guest, left);
        let before = blk_rig::holdings(&lab.guest);
        let backend = std::thread::spawn(move || {
            let mut follow = |of, with| {
                let deadline = Instant::now() + blk_rig::WATCHDOG;
                xenbus::wait_for_state(&mut store, FRONT, &[of], deadline).unwrap();
                xenbus::switch_state(&mut store, BACK, with).unwrap();
            };
            follow(XenbusState::Initialised, XenbusState::Connected);
            follow(XenbusState::Closed, XenbusState::Closed);
        });
        let connected = Blkfront::connect(&lab.guest, &blk_rig::back::config());
        let why = connected.expect_err("too few grants").to_string();
        assert!(why.contains("ENOSPC"), "{why}");
        backend.join().unwrap();
        assert_eq!(blk_rig::holdings(&lab.guest), before, "{left} grants");
        hoard.end();
    }
}

#[test]
fn a_vif_whose_pages_cannot_be_granted_costs_nothing() {
    let lab = rig::Lab::new();
    let guest = &lab.guests[0];
    let mut store = lab.dom0.store().unwrap();
    let back = "/local/domain/0/backend/vif/1/0";
    store.write(&format!("{back}/feature-rx-copy"), "1").unwrap();
    xenbus::switch_state(&mut store, back, XenbusState::InitWait).unwrap();
    let wanted = Wanted { csum_tx: true, csum_rx: true, gso: true, sg: true, queues: 1 };
    let timeout = Duration::from_secs(60);
    let config =
        frontend::Config { handle: 0, wanted, always_notify: false, index_base: 0, timeout };
    // One for the tx ring, 528 to send from, one for the rx ring, 256 to receive into.
    for left in [0, 1, 528, 529, 530, 785] {
        let hoard = Hoard::leaving(guest, left);
        let before = rig::holdings(guest);
        let why = Netfront::connect(guest, &config).expect_err("too few grants").to_string();
        assert!(why.contains("ENOSPC"), "{why}");
        assert_eq!(rig::holdings(guest), before, "{left} grants");
        hoard.end();
    }
}
