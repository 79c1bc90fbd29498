//! Bottlenecks planted in real runs, each named by `pvlab trace explain`, and not named in a run without it. Other
//! programs on the machine can hide one in a run, but not in all of several: words are compared, never times.

#![cfg(not(feature = "no-trace"))]

mod common;

use common::Scratch;

/// Runs before a word is missed.
const RUNS: usize = 12;

/// What `explain` says of a run.
struct Explained {
    /// The sentence.
    verdict: String,
    all: String,
}

fn explained(args: &str) -> Explained {
    let scratch = Scratch::new();
    let to = scratch.text("out.pvtrace");
    let args: Vec<&str> = args.split_whitespace().collect();
    let all = [&args[..], &["--trace", &to, "--trace-buffer", "64M"]].concat();
    if args[0] == "console" {
        let _turn = common::turn();
        let ended = scratch.run(&all);
        assert!(ended.status.success(), "{ended:?}");
    } else {
        scratch.net(&all);
    }
    let ended = scratch.run(&["trace", "explain", &to]);
    assert!(ended.status.success() && ended.stderr.is_empty(), "{ended:?}");
    let verdict = ended.stdout.lines().find_map(|line| line.strip_prefix("verdict: "));
    Explained { verdict: verdict.expect("a verdict").to_owned(), all: ended.stdout.clone() }
}

/// `planted` is named with all of `words`, and `control` is not named with the first of them.
fn assert_named(planted: &str, control: &str, words: &[&str]) {
    let mut said = Vec::new();
    let mut seen = |args: &str, wanted: &dyn Fn(&str) -> bool| {
        (0..RUNS).any(|_| {
            let Explained { verdict, all } = explained(args);
            let found = wanted(&verdict);
            said.push(format!("{args}\n{all}"));
            found
        })
    };
    let named = seen(planted, &|verdict| words.iter().all(|word| verdict.contains(word)));
    let quiet = seen(control, &|verdict| !verdict.contains(words[0]));
    assert!(named, "{words:?} not in\n{}", said.join("\n"));
    assert!(quiet, "{:?} where there is none:\n{}", words[0], said.join("\n"));
}

#[test]
fn a_slow_function_is_named() {
    assert_named(
        "--mode rr -n 100 --think 2ms",
        "--mode rr -n 300",
        &["is in think", "netfront", "a faster one"],
    );
}

#[test]
fn a_notification_for_each_packet_is_named() {
    assert_named(
        "--mode pktgen -n 1000 --batch 1 --notify always --cost evtchn=300us",
        "--mode pktgen -n 1000 --batch 1 --cost evtchn=300us",
        &["sending notifications", "--notify suppressed"],
    );
}

#[test]
fn a_sleeping_backend_is_named() {
    let args = ["--mode rr -n 300 --wait event", "--mode rr -n 300 --wait poll"];
    assert_named(args[0], args[1], &["sleeps and is to be woken", "--wait poll"]);
    let slept = (0..RUNS).any(|_| explained(args[0]).all.contains("netback sleep"));
    assert!(slept, "on the way there it is the backend that sleeps");
    assert!(!explained(args[1]).all.contains("netback sleep"), "who polls does not sleep");
}

#[test]
fn a_full_ring_is_named() {
    assert_named(
        "--mode pktgen -n 3000 --wait poll --cost gntcopy=50us",
        "--mode rr -n 300 --wait poll --cost gntcopy=50us",
        &["finds the ring full", "the backend does not keep up", "cost.copy of netback"],
    );
}

#[test]
fn an_expensive_grant_map_is_named() {
    assert_named(
        "--mode rr -n 100 --grant map --cost gntmap=2ms",
        "--mode rr -n 100 --grant copy --cost gntmap=2ms",
        &["cost.map", "netback pays", "--cost"],
    );
}

#[test]
fn a_software_checksum_is_named() {
    let args = "-n 32M --window 4M --mtu 65000 --verify off --wait poll --gso off --csum";
    assert_named(&format!("{args} off"), &format!("{args} on"), &["checksum", "--csum on"]);
}

#[test]
fn two_domains_on_one_cpu_are_named() {
    assert_named(
        "--mode rr -n 200 --wait poll -A 0,0",
        "--mode rr -n 200 --wait poll",
        &["has no CPU", "not -A 0,0"],
    );
}

#[test]
fn a_consoles_event_limit_is_named() {
    assert_named(
        "console -t 0.7 --quiet",
        "console --limit off --messages 3000 --quiet",
        &["port masked", "event limit (--limit)", "--limit off", "--len"],
    );
    // What there is no such option for is not advised.
    let never = ["--batch", "--notify"];
    let said = explained("console --limit off --messages 3000 --quiet").verdict;
    assert!(never.iter().all(|option| !said.contains(option)), "{said}");
}
