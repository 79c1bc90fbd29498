//! What a domain gives back without being told to, and what of the dead does not reach the living.

use std::time::{Duration, Instant};

use rings::cost::CostNs;
use rings::{DomId, Domain as _, DomainError, Port};
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
    let wanted = Connect {
        dir: host.dir().to_owned(),
        domid: Some(domid),
        pool_frames: 16,
        name: "test".into(),
        cost: CostNs::default(),
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
