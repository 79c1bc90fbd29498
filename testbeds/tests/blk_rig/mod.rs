//! A lab in one process with a disk, so that a test can be either end of a vbd.
//!
//! The attacked end is always the real driver; the other one is written out by hand and may put anything
//! into its pages, its ring and its keys. What the attacks are, and what they must come to, is said by the
//! tests.

#![allow(dead_code, reason = "each test target uses its part of the rig")]

pub(crate) mod back;
pub(crate) mod front;

use std::path::Path;
use std::time::{Duration, Instant};

use blkif::back::disk::{Faults, Spec};
use rings::cost::CostNs;
use rings::io::blkif::{Op, RSP_OKAY, Request};
use rings::{DomId, Domain, GrantMode, PAGE_SIZE};
use rings_host::{Connect, ConnectError, Device, Host, HostConfig, HostDomain};
use tempfile::TempDir;

/// Frames of each domain's pool.
const POOL: u32 = 1024;
/// How long a test waits for anything before it fails.
pub(crate) const WATCHDOG: Duration = Duration::from_secs(120);
/// The number of the vbd: xvda.
pub(crate) const XVDA: u32 = 51712;

/// A host, the driver domain and a guest with a disk.
#[derive(Debug)]
pub(crate) struct Lab {
    pub(crate) dom0: HostDomain,
    pub(crate) guest: HostDomain,
    pub(crate) host: Host,
    /// Where it is; goes with it.
    pub(crate) dir: TempDir,
}

impl Lab {
    pub(crate) fn new() -> Self {
        Self::allowing(true, true)
    }

    /// The toolstack lets the guest write the disk, and discard what is on it, or does not.
    pub(crate) fn allowing(write: bool, discard: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let device = Device::Vbd { params: "ram".into(), read_only: !write, discard };
        let config =
            HostConfig { dir: Some(dir.path().join("lab")), device, ..HostConfig::default() };
        let host = Host::start(config).unwrap();
        let dom0 = join(&dir, 0);
        let guest = join(&dir, 1);
        Self { dom0, guest, host, dir }
    }

    /// The driver domain goes, and another one comes in its place.
    pub(crate) fn replace_dom0(&mut self) {
        self.dom0.goodbye(0);
        // Nothing of it may be left; the guest only keeps the place.
        self.dom0 = self.guest.clone();
        self.dom0 = until("the place of the driver domain", || try_join(&self.dir, 0).ok());
    }
}

fn join(dir: &TempDir, domid: u16) -> HostDomain {
    try_join(dir, domid).unwrap()
}

fn try_join(dir: &TempDir, domid: u16) -> Result<HostDomain, ConnectError> {
    HostDomain::connect(&Connect {
        dir: dir.path().join("lab"),
        domid: Some(DomId(domid)),
        pool_frames: POOL,
        name: format!("domain {domid}"),
        cost: CostNs::default(),
    })
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

/// 31 writes and a barrier to a disk with a cache over the file at `path`, whose backend goes when the barrier
/// has its answer. Which of the 32 pages are in the file then.
pub(crate) fn after_a_barrier(path: &Path) -> Vec<bool> {
    let faults = Faults { cache: true, seed: 1, ..Faults::default() };
    let spec = Spec::Faulty(Box::new(Spec::File(path.to_owned())), faults);
    let mut attack = front::Attack::with(&front::config(&spec, GrantMode::Copy, false), 0);
    attack.front.fill(0, 0x5a);
    for n in 0..32 {
        let op = if n == 31 { Op::WriteBarrier } else { Op::Write };
        let request = attack.front.request(op, n * 8, &[0]);
        attack.front.put(Request { id: n, ..request });
    }
    let mut answers = Vec::new();
    until("the barrier", || {
        attack.queue.work();
        answers.extend(attack.front.answers());
        (answers.len() == 32).then_some(())
    });
    assert!(answers.iter().all(|answer| answer.status == RSP_OKAY), "{answers:?}");
    // What is only in its memory goes with it.
    drop(attack);
    let pages = std::fs::read(path).unwrap();
    pages.chunks(PAGE_SIZE).take(32).map(|page| page == [0x5a; PAGE_SIZE]).collect()
}
