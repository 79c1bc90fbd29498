//! A limit on what a guest sends: told by the toolstack, kept by netback, and told of afterwards. How credit
//! is counted is tested where it is.

mod common;
mod rig;

use std::time::{Duration, Instant};

use common::Scratch;
use rig::front::Attack;
use rig::until;
use rings::io::netif::{RSP_OKAY, TxRequest};

/// Puts frames one by one until one waits for credit. How many have passed.
fn until_one_waits(attack: &mut Attack, frame: TxRequest) -> u32 {
    let mut passed = 0;
    until("a frame that waits for credit", || {
        attack.front.put_data(&[frame]);
        let here = attack.frames().len();
        assert_eq!(attack.front.answers().len(), here, "an answer for each, and for no other");
        passed += u32::from(here == 1);
        (here == 0).then_some(passed)
    })
}

#[test]
fn a_frame_without_credit_waits_and_nothing_is_lost() {
    // Five frames of 60 bytes in each window.
    let mut attack = Attack::limited("300,200000");
    let frame = attack.front.data(0, 60, false);
    let passed = until_one_waits(&mut attack, frame);
    assert!(passed >= 5 && attack.queue.rate_limited() == 1, "{passed} frames");
    assert!(attack.queue.patience(Instant::now()) <= Duration::from_millis(200), "and no longer");
    attack.front.put_data(&[frame; 7]);
    let mut rest = 0;
    until("the rest to be let through", || {
        rest += attack.frames().len();
        (rest == 8).then_some(())
    });
    assert_eq!(attack.front.answers(), [RSP_OKAY; 8]);
    assert_eq!(attack.queue.stats().tx_frames, u64::from(passed) + 8);
    attack.survives();
}

#[test]
fn who_waits_for_credit_sleeps_whatever_the_guest_does() {
    let mut attack = Attack::limited("60,3600000000");
    let frame = attack.front.data(0, 60, false);
    attack.front.put_data(&[frame; 2]);
    assert_eq!(attack.frames().len(), 1);
    let now = Instant::now();
    attack.queue.disarm();
    let rung = attack.front.tx_port.counters().rung;
    for _ in 0..20 {
        attack.front.put_data(&[frame]);
        assert!(!attack.queue.poll() && !attack.queue.missed());
        assert!(!attack.queue.arm(false, now), "nothing to do");
        attack.front.tx_port.send();
    }
    assert_eq!(attack.front.tx_port.counters().rung, rung, "no event wakes it");
    assert!(attack.queue.patience(now) > Duration::from_secs(3000));
    assert_eq!(attack.queue.storm_delays(), 0);
    assert_eq!(attack.queue.broken(), None);
    assert_eq!(attack.front.answers().len(), 1);
    attack.leaves();
}

/// What was judged goes, not what stands in the slot when there is credit.
#[test]
fn a_frame_that_waits_is_not_read_again() {
    let mut attack = Attack::limited("60,50000");
    let frame = attack.front.data(0, 60, false);
    let passed = until_one_waits(&mut attack, frame);
    let lie = TxRequest { offset: 4090, size: 4096, gref: u32::MAX, ..frame };
    attack.front.tx_write(passed, lie);
    until("the frame that waits", || attack.queue.receive(|bytes, _| assert_eq!(bytes.len(), 60)));
    assert_eq!(attack.queue.broken(), None);
    attack.leaves();
}

#[test]
fn a_rate_that_is_none_limits_nothing() {
    for text in ["", "fast", "60", "60,", "60,x", "1,1,1", "0,0", "60,0"] {
        let mut attack = Attack::limited(text);
        let frame = attack.front.data(0, 60, false);
        attack.front.put_data(&[frame; 200]);
        assert_eq!(attack.frames().len(), 200, "{text:?}");
        attack.front.answers();
        attack.survives();
    }
}

#[test]
fn a_run_goes_no_faster_than_its_rate_and_says_so() {
    let scratch = Scratch::new();
    for (typed, most) in [
        // A burst of the window's bytes comes on top.
        ("--mode pktgen -l 1500 -n 4000 --rate 1000000,100000", 80e6),
        ("-n 4M --rate 1M,50000", 8e6 * 20.0 * 1.048_576),
        ("-n 2M --rate 500000,20000 --wait event -A 0,0", 200e6),
        ("-n 2M --rate 500000,20000 --wait poll -A 0,0 --grant map", 200e6),
    ] {
        let results = scratch.net(&typed.split_whitespace().collect::<Vec<_>>());
        let (summary, config) = (&results["summary"], &results["config"]);
        assert_eq!((&summary["errors"], &summary["lost"]), (&0.into(), &0.into()), "{typed}");
        let rate = summary["throughput_bps"].as_f64().unwrap();
        assert!(rate < 2.0 * most, "{typed}: {rate}");
        assert!(config["rate"].is_string(), "{typed}: {config:#}");
    }
}
