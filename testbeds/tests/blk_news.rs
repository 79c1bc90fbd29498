//! What guests are told of their disk, and which guests are: the control half of blkback.

mod blk_rig;

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use blk_rig::front::{Attack, VBD, config, dir, wait_for};
use blk_rig::until;
use blkif::back::VbdEvent;
use blkif::back::disk::Spec;
use rings::io::blkif::{Op, RSP_ERROR, RSP_OKAY};
use rings::store::{Nodes as _, XenbusState};
use rings::{Domain as _, GrantMode, PAGE_SIZE};

fn resize(path: &Path, bytes: u64) {
    let file = OpenOptions::new().create(true).write(true).truncate(false).open(path);
    file.and_then(|file| file.set_len(bytes)).unwrap();
}

/// A guest whose disk is a file of 1 MiB, and the file.
fn served() -> (tempfile::TempDir, PathBuf, Attack) {
    let files = tempfile::tempdir().unwrap();
    let image = files.path().join("disk.img");
    resize(&image, 1 << 20);
    let spec = Spec::File(image.clone());
    (files, image, Attack::with(&config(&spec, GrantMode::Copy, false), 0))
}

/// A queue that sleeps while the disk grows is woken by a request for what is new of it.
#[test]
fn what_a_guest_was_told_of_is_there_when_it_asks() {
    let (_files, image, mut attack) = served();
    let asked = |attack: &mut Attack, op, sector| {
        let request = attack.front.request(op, sector, &[0]);
        attack.queue.disarm();
        attack.front.put(request);
        let answer = until("an answer", || {
            attack.queue.work();
            attack.front.statuses().pop()
        });
        while attack.queue.arm(Instant::now()) {}
        answer
    };
    assert_eq!(asked(&mut attack, Op::Write, 2048), RSP_ERROR, "past the end");
    resize(&image, 2 << 20);
    attack.blkback.step(Duration::ZERO).unwrap();
    attack.front.fill(0, 0x5a);
    assert_eq!(asked(&mut attack, Op::Write, 4088), RSP_OKAY);
    attack.front.fill(0, 0);
    assert_eq!(asked(&mut attack, Op::Read, 4088), RSP_OKAY);
    assert_eq!(attack.front.page(0), [0x5a; PAGE_SIZE]);
    resize(&image, 1 << 20);
    attack.blkback.step(Duration::ZERO).unwrap();
    assert_eq!(asked(&mut attack, Op::Read, 2048), RSP_ERROR, "past the end again");
}

/// The state that a guest gets to see belongs to it, not to the one before.
#[test]
fn a_guest_made_anew_hears_nothing_that_was_meant_for_the_one_before() {
    let (_files, image, attack) = served();
    let Attack { front, queue, mut blkback, lab } = attack;
    let mut toolstack = lab.dom0.store().unwrap();
    let node = |key| format!("{}/{key}", dir());
    // One that is connected is told.
    resize(&image, 2 << 20);
    blkback.step(Duration::ZERO).unwrap();
    assert_eq!(toolstack.read_string(&node("sectors")).unwrap(), "4096");
    assert_eq!(toolstack.read_string(&node("state")).unwrap(), "4");
    // The next one's device is as the toolstack makes it: without limits, and in the first state.
    resize(&image, 1 << 20);
    let made = toolstack.transaction(|t| {
        t.rm(&node("max-ring-page-order"))?;
        t.rm(&node("sectors"))?;
        t.write(&node("state"), "1")
    });
    made.unwrap();
    let mut events = blkback.step(Duration::from_secs(10)).unwrap();
    assert_eq!(toolstack.read_string(&node("state")).unwrap(), "1");
    assert_eq!(toolstack.read_if_present(&node("sectors")).unwrap(), None);
    while !events.iter().any(|event| matches!(event, VbdEvent::Disconnect(VBD))) {
        events = blkback.step(Duration::from_secs(10)).unwrap();
    }
    queue.close();
    blkback.disconnected(VBD).unwrap();
    wait_for(&mut blkback, XenbusState::InitWait);
    front.leave();
}
