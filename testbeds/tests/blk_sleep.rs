//! When the guest's end of a disk sleeps, and whether it notices that nobody woke it.

mod blk_rig;

use blk_rig::back::Attack;
use blkif::front::{OpKind, Outcome};

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
