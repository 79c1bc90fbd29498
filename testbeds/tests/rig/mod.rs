//! A lab in one process: a real host and its domains, so that a test can be either end of a vif.
//!
//! The attacked end is always the real driver; the other one is written out by hand: `front` has a
//! frontend that owns its pages and rings and may put anything there, `back` a backend that does so
//! with a frontend's. `pair` has both real ends. What the attacks are, and what they must come to, is said by the tests.

#![allow(dead_code, reason = "each test target uses its part of the rig")]

pub(crate) mod back;
pub(crate) mod front;
pub(crate) mod pair;

use std::time::{Duration, Instant};

use rings::cost::CostNs;
use rings::{DomId, Domain};
use rings_host::{Connect, Host, HostConfig, HostDomain};
use tempfile::TempDir;

/// Frames of each domain's pool: enough for one queue of the real frontend.
const POOL: u32 = 1024;
/// How long a test waits for anything before it fails.
pub(crate) const WATCHDOG: Duration = Duration::from_secs(120);

/// A host, the driver domain and its guests.
#[derive(Debug)]
pub(crate) struct Lab {
    pub dom0: HostDomain,
    pub(crate) guests: Vec<HostDomain>,
    _host: Host,
    _dir: TempDir,
}

impl Lab {
    /// With two guests.
    pub(crate) fn new() -> Self {
        Self::of(2)
    }

    /// With so many guests.
    pub(crate) fn of(guests: u16) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let lab = dir.path().join("lab");
        let config = HostConfig { dir: Some(lab.clone()), guests, ..HostConfig::default() };
        let host = Host::start(config).unwrap();
        let join = |domid| {
            HostDomain::connect(&Connect {
                dir: lab.clone(),
                domid: Some(DomId(domid)),
                pool_frames: POOL,
                name: format!("domain {domid}"),
                cost: CostNs::default(),
            })
            .unwrap()
        };
        Self { dom0: join(0), guests: (1..=guests).map(join).collect(), _host: host, _dir: dir }
    }
}

/// What a domain has given away or taken, to be compared before and after.
pub(crate) fn holdings(domain: &HostDomain) -> (usize, usize) {
    (domain.memory().active_grants(), domain.memory().free_frames())
}

/// Calls `step` until it says `Some`.
pub(crate) fn until<R>(what: &str, mut step: impl FnMut() -> Option<R>) -> R {
    let deadline = Instant::now() + WATCHDOG;
    loop {
        if let Some(result) = step() {
            return result;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
    }
}

/// Numbers that only look random.
#[derive(Debug)]
pub(crate) struct Random(pub u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}
