//! What a domain gives back without being told to, and what of the dead does not reach the living.

use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use rings::cost::CostNs;
use rings::grant::HOLD_LINES;
use rings::{DomId, Domain as _, DomainError, Foreign as _, GrantMode, Port};
use rings_host::proto::Held;
use rings_host::{Connect, ConnectError, Host, HostConfig, HostDomain, inspect};

const GUEST: DomId = DomId(1);

/// A host with domain 0 and a guest, all in this process.
struct Lab {
    host: Host,
    dom0: HostDomain,
    _scratch: tempfile::TempDir,
}

impl Lab {
    fn new() -> Self {
        let scratch = tempfile::tempdir().expect("a directory");
        let dir = Some(scratch.path().join("lab"));
        let host = Host::start(HostConfig { dir, ..HostConfig::default() }).expect("a host");
        let dom0 = connect(&host, DomId::DOM0);
        Self { host, dom0, _scratch: scratch }
    }

    fn guest(&self) -> HostDomain {
        connect(&self.host, GUEST)
    }

    /// Ports that a domain has.
    fn ports(&self, domid: DomId) -> usize {
        let text = inspect(self.host.dir(), Held::Ports).expect("the host answers");
        text.lines().filter(|line| line.split('\t').next() == Some(&domid.to_string())).count()
    }
}

/// Becomes a domain, as soon as a former one of that number is gone.
fn connect(host: &Host, domid: DomId) -> HostDomain {
    connect_at(host, domid, CostNs::default())
}

/// The same where the hypervisor charges.
fn connect_at(host: &Host, domid: DomId, cost: CostNs) -> HostDomain {
    let wanted = Connect {
        dir: host.dir().to_owned(),
        domid: Some(domid),
        pool_frames: 16,
        name: "test".into(),
        cost,
    };
    let begin = Instant::now();
    loop {
        match HostDomain::connect(&wanted) {
            Err(ConnectError::Refused { .. }) if begin.elapsed() < Duration::from_secs(60) => {
                std::thread::sleep(Duration::from_millis(1));
            }
            other => return other.expect("a domain"),
        }
    }
}

#[test]
fn a_port_is_closed_with_its_channel() {
    let lab = Lab::new();
    let guest = lab.guest();
    let (before, toolstack) = (lab.ports(DomId::DOM0), lab.ports(GUEST));
    for _ in 0..3 {
        let front = guest.alloc_unbound(DomId::DOM0).expect("a port");
        let back = lab.dom0.bind_interdomain(GUEST, front.port()).expect("a port");
        assert_eq!((lab.ports(DomId::DOM0), lab.ports(GUEST)), (before + 1, toolstack + 1));
        drop(back);
        assert!(front.closed(), "the other end is told");
    }
    assert_eq!((lab.ports(DomId::DOM0), lab.ports(GUEST)), (before, toolstack));
}

#[test]
fn a_port_costs_a_hypercall_to_make_and_one_to_close() {
    let lab = Lab::new();
    let guest = connect_at(&lab.host, GUEST, CostNs { hypercall: 7, ..CostNs::default() });
    assert_eq!(guest.cost().charged_ns(), 0);
    let port = guest.alloc_unbound(DomId::DOM0).expect("a port");
    assert_eq!(guest.cost().charged_ns(), 7);
    drop(port);
    assert_eq!(guest.cost().charged_ns(), 14);
}

#[test]
fn a_port_of_the_toolstack_outlives_its_handles() {
    let lab = Lab::new();
    let guest = lab.guest();
    let console = || guest.open_port(Port(1));
    let before = lab.ports(GUEST);
    drop((console().expect("made"), console().expect("and once more")));
    assert_eq!(lab.ports(GUEST), before);
    assert!(matches!(guest.open_port(Port(99)), Err(DomainError::Refused { .. })));
    assert!(console().is_ok());
}

#[test]
fn a_successor_is_not_served_from_the_dead_ones_memory() {
    let lab = Lab::new();
    let grant = |guest: &HostDomain, bytes: &[u8; 3]| {
        let page = guest.memory().grant_all(DomId::DOM0, 1, false).expect("a page");
        page.region().copy_in(0, bytes);
        page.grefs()[0]
    };
    let first = lab.guest();
    let gref = grant(&first, b"old");
    let mut old = lab.dom0.foreign(GUEST, GrantMode::Map).expect("its backend");
    let mapping = old.map(gref).expect("granted");
    drop(first);

    let second = lab.guest();
    assert_eq!(grant(&second, b"new"), gref);
    let mut new = lab.dom0.foreign(GUEST, GrantMode::Map).expect("its backend");
    let page = new.map(gref).expect("granted");
    let mut bytes = [0; 3];
    new.region(&page).copy_out(0, &mut bytes);
    assert_eq!(&bytes, b"new");
    old.region(&mapping).copy_out(0, &mut bytes);
    assert_eq!(&bytes, b"old", "what was mapped stays what it was");
}

#[test]
fn a_hold_line_of_the_dead_is_not_taken_from_its_successor() {
    let lab = Lab::new();
    let first = lab.guest();
    let foreign = || lab.dom0.foreign(GUEST, GrantMode::Copy);
    let old = foreign().expect("its backend");
    drop(first);

    let _second = lab.guest();
    let mut all: Vec<_> = (0..HOLD_LINES).map(|_| foreign().expect("a line")).collect();
    drop(old);
    assert!(matches!(foreign(), Err(DomainError::Refused { errno: "ENOSPC", .. })));
    all.pop();
    assert!(foreign().is_ok(), "its own can be given back");
}

#[test]
fn a_page_is_pinned_as_long_as_any_view_of_it_lives() {
    let lab = Lab::new();
    let guest = lab.guest();
    let pages = guest.memory().grant_all(DomId::DOM0, 2, false).expect("pages");
    let end = |n: usize| guest.memory().end_access(pages.grefs()[n]);
    let mut foreign = lab.dom0.foreign(GUEST, GrantMode::Map).expect("its backend");
    let (page, ring) = (foreign.map(pages.grefs()[0]), foreign.map_ring(pages.grefs()));
    let (page, ring) = (page.expect("granted"), ring.expect("granted"));
    let (of_page, of_ring) = (foreign.region(&page).clone(), foreign.region(&ring).clone());
    drop((page, ring));
    of_page.copy_in(0, b"still mapped");
    assert!(end(0).is_err() && end(1).is_err(), "and so still pinned");
    drop(of_ring);
    assert!(end(0).is_err(), "it was mapped twice");
    assert_eq!(end(1), Ok(()));
    drop(of_page);
    assert_eq!(end(0), Ok(()));
}

#[test]
fn a_page_that_is_mapped_for_reading_is_not_written() {
    let lab = Lab::new();
    let guest = lab.guest();
    let page = guest.memory().grant_all(DomId::DOM0, 1, true).expect("a page");
    page.region().copy_in(0, b"mine");
    let mut foreign = lab.dom0.foreign(GUEST, GrantMode::Map).expect("its backend");
    let mut maps = Vec::new();
    foreign.map_data(page.grefs(), false, &mut maps);
    let region = foreign.region(maps[0].as_ref().expect("granted"));
    // A fault would end the process.
    let write = AssertUnwindSafe(|| region.zero(0, 8));
    assert!(std::panic::catch_unwind(write).is_err());
    let mut bytes = [0; 4];
    region.copy_out(0, &mut bytes);
    assert_eq!(&bytes, b"mine");
}
