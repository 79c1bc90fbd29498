//! A process that may not have more descriptors gets none, and the host keeps nothing for it. Alone in its
//! process, whose limit it changes.

use std::fs::File;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rings::cost::CostNs;
use rings::grant::HOLD_LINES;
use rings::{DomId, Domain as _, DomainError, GrantMode};
use rings_host::{Connect, Host, HostConfig, HostDomain};

/// Only a hang takes as long.
const WATCHDOG: Duration = Duration::from_secs(60);

#[test]
fn what_could_not_be_received_is_given_back() {
    let host = Host::start(HostConfig::default()).expect("a host");
    let connect = |domid| {
        let (dir, name) = (host.dir().to_owned(), "test".into());
        let cost = CostNs::default();
        HostDomain::connect(&Connect { dir, domid: Some(domid), pool_frames: 16, name, cost })
    };
    let dom0 = connect(DomId::DOM0).expect("a domain");
    let _guest = connect(DomId(1)).expect("a domain");
    // No number is left: the host needs none to answer with a memory that it has.
    let used = std::fs::read_dir("/proc/self/fd").expect("ours").count() as u64;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, used, hard).expect("less is allowed");
    let mut filler = Vec::new();
    let deadline = Instant::now() + WATCHDOG;
    // The host may still be closing what it needed to let the domains in: then there is one again.
    let all_failed = loop {
        filler.extend(std::iter::from_fn(|| File::open("/proc/self/status").ok()));
        let all_failed = (0..2 * HOLD_LINES).all(|_| {
            let outcome = dom0.foreign(DomId(1), GrantMode::Copy);
            matches!(outcome, Err(DomainError::NoDescriptor("this process")))
        });
        if all_failed || Instant::now() > deadline {
            break all_failed;
        }
    };
    drop(filler);
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).expect("as before");
    assert!(all_failed, "there was no descriptor to be had");
    let lines: Vec<_> = (0..HOLD_LINES).map(|_| dom0.foreign(DomId(1), GrantMode::Copy)).collect();
    assert!(lines.iter().all(Result::is_ok), "a hold line is kept for nobody");
}
