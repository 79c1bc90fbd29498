//! What runs leave in files: that it can be written is seen before the run, and should that change meanwhile,
//! what came of the run has been shown all the same.

mod common;

use common::{Scratch, within};

/// A directory in which nobody makes files, root included.
const NOBODYS: &str = "/proc";

#[test]
fn what_cannot_be_written_is_said_before_the_run() {
    let scratch = Scratch::new();
    let _turn = common::turn();
    let json = format!("{NOBODYS}/x.json");
    let svg = format!("{NOBODYS}/x.svg");
    for args in [
        ["net", "-t", "100", "-J", &json],
        ["blk", "-t", "100", "-J", &json],
        ["console", "-t", "100", "-J", &json],
        ["console", "-t", "100", "--svg", &svg],
        ["console", "-t", "100", "--csv", &svg],
        ["net", "-t", "100", "--trace", &json],
        ["blk", "-t", "100", "--trace", &json],
    ] {
        let ended = scratch.run(&args);
        ended.assert_one_line(&args.join(" "), 1, &["cannot write", args[3], args[4]]);
        assert!(!ended.stdout.contains("repeat:"), "{ended:?}");
    }
    scratch.assert_clean(&[], "files that cannot be");
}

#[test]
fn what_cannot_be_written_any_more_is_shown_all_the_same() {
    let scratch = Scratch::new();
    let _turn = common::turn();
    for run in [
        &["net", "-t", "4", "-J"][..],
        &["blk", "-t", "4", "-J"],
        &["console", "-t", "4", "-J"],
        &["console", "-t", "4", "--svg"],
    ] {
        let dir = scratch.path("gone");
        std::fs::create_dir(&dir).expect("a directory");
        let file = dir.join("x").display().to_string();
        let switches = ["--stall-timeout", "100s", file.as_str()];
        // The path belongs to the last option of the run.
        let (last, first) = run.split_last().expect("an option");
        let running = scratch.start(&[first, &switches[..2], &[*last, switches[2]]].concat());
        // It is looked at when the run begins; what is told then comes later.
        let begun = || scratch.path("pvlab").read_dir().is_ok_and(|mut labs| labs.next().is_some());
        assert!(within(common::WATCHDOG, begun), "{run:?} does not begin");
        std::fs::remove_dir_all(&dir).expect("ours");
        let ended = running.end();
        ended.assert_one_line(&run.join(" "), 1, &["cannot write", last, &file]);
        assert!(ended.stdout.contains("repeat:"), "{run:?}: {ended:?}");
    }
}
