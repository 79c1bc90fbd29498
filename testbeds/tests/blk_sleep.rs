//! When the guest's end of a disk sleeps, for how long, and whether it notices that nobody woke it.

mod blk_rig;

use std::time::{Duration, Instant};

use blk_rig::back::Attack;
use blkif::front::{OpKind, Outcome};
use rings::worker::Task as _;
use testbeds::config::{BlkConfig, RunConfig};
use testbeds::workload::Job as _;
use testbeds::workload::blk::Exerciser;

/// Answers without an event are a wake-up that was lost; with one they are not.
#[test]
fn answers_that_no_event_told_of_are_missed() {
    let mut attack = Attack::new();
    attack.queue.disarm();
    assert!(!attack.queue.missed());
    let requests = attack.start(OpKind::Read, 8);
    attack.back.answer_all(&requests);
    assert!(attack.queue.missed(), "nobody told of the answer");
    attack.back.wake();
    assert!(!attack.queue.missed(), "now somebody has");
    assert_eq!(attack.over(), [Outcome::Okay]);
    assert!(!attack.queue.missed());
    attack.survives();
}

/// The jobs of a guest with so many operations in flight, so many of them each second.
fn jobs(attack: Attack, iodepth: u32, rate: f64) -> (Box<Exerciser>, impl FnOnce(Box<Exerciser>)) {
    let Attack { queue, back, lab, .. } = attack;
    let run = RunConfig { verify: false, ..RunConfig::default() };
    let config = BlkConfig { run, iodepth, rate_iops: Some(rate), ..BlkConfig::default() };
    let jobs = Box::new(Exerciser::new(queue, &config, 0, 1));
    let end = move |jobs: Box<Exerciser>| {
        back.leave();
        jobs.finish();
        drop(lab);
    };
    (jobs, end)
}

/// A rate wakes for the next operation, unless that one has to wait for an answer.
#[test]
fn a_rate_wakes_nobody_who_waits_for_an_answer() {
    let (mut guest, end) = jobs(Attack::new(), 2, 0.001);
    assert!(guest.work(), "the first is begun");
    let patience = guest.patience(Instant::now());
    assert!(!patience.is_zero() && patience <= Duration::from_secs(1000), "{patience:?}");
    end(guest);
    let (mut guest, end) = jobs(Attack::new(), 1, 1000.0);
    assert!(guest.work(), "the only one there may be is begun");
    let late = Instant::now() + Duration::from_secs(10);
    assert_eq!(guest.patience(late), Duration::MAX, "nothing can be begun before the answer");
    end(guest);
}
