//! A process that ends at once leaves nothing. Alone in its process, whose labs it all removes.

use std::path::Path;

use rings_host::{Host, HostConfig, leave_nothing};

#[test]
fn a_host_that_is_never_dropped_leaves_nothing() {
    let host = Host::start(HostConfig::default()).expect("a host");
    let dir = host.dir().to_owned();
    let segment = std::fs::read_to_string(dir.join("stats")).expect("named");
    let segment = Path::new("/dev/shm").join(segment.trim_start_matches('/'));
    assert!(dir.exists() && segment.exists());
    // As a process does that was told twice to end.
    std::mem::forget(host);
    leave_nothing();
    assert!(!dir.exists(), "{}", dir.display());
    assert!(!segment.exists(), "{}", segment.display());
    leave_nothing();
}
