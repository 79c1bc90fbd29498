//! What the limits for writers are good for: without them a guest that writes without pause gets
//! away with it.
//!
//! `cargo test -p rings-host --features weaken --test weakened`.

mod flood;

use std::time::Duration;

use flood::Scene;
use rings::weaken::{Check, skip};

#[test]
fn without_its_check_a_flood_is_not_slowed() {
    let _skip = skip(Some(Check::WriteRate));
    let served = Scene::new().write_for(Duration::from_secs(1), "data\0x");
    assert_eq!(served, 100_000, "as fast as it can");
}

#[test]
fn without_their_check_transactions_fail_for_ever() {
    let _skip = skip(Some(Check::Conflict));
    let mut scene = Scene::new();
    assert!((0..200).all(|_| !scene.transaction(Duration::from_millis(20))));
}
