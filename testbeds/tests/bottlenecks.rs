//! Bottlenecks planted in real runs, each named by `pvlab trace explain`, and not named in runs without it. Other
//! programs on the machine can hide one in a run, or make one, but not in most of several: words are compared, never
//! times.

#![cfg(not(feature = "no-trace"))]

mod common;

use common::Scratch;

/// Of so many runs most must be as they should: no more are made than it takes to know.
const RUNS: usize = 7;

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

/// Whether most runs with these arguments are as they should.
fn mostly(args: &str, what: &str, good: impl Fn(&Explained) -> bool) {
    const MOST: usize = RUNS / 2 + 1;
    let (mut found, mut bad) = (0, Vec::new());
    while found < MOST && bad.len() < MOST {
        let explained = explained(args);
        if good(&explained) {
            found += 1;
        } else {
            bad.push(explained.all);
        }
    }
    println!("{args}: {what} in {found} of {} runs", found + bad.len());
    assert!(
        found == MOST,
        "{args}: {what} in {found} of {} runs\n{}",
        found + bad.len(),
        bad.join("\n")
    );
}

/// Most runs of `planted` are named with all of `words`, and most of `control` not with the first of them.
fn assert_named(planted: &str, control: &str, words: &[&str]) {
    let named = |explained: &Explained| words.iter().all(|word| explained.verdict.contains(word));
    mostly(planted, &format!("'{}'", words[0]), named);
    let quiet = |explained: &Explained| !explained.verdict.contains(words[0]);
    mostly(control, &format!("not '{}'", words[0]), quiet);
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
    let words = ["sleeps and is to be woken", "--wait poll"];
    mostly(args[0], "a sleeping backend, on the way there,", |explained| {
        let verdict = &explained.verdict;
        words.iter().all(|word| verdict.contains(word)) && explained.all.contains("netback sleep")
    });
    mostly(args[1], "nobody who sleeps", |explained| {
        !explained.verdict.contains(words[0]) && !explained.all.contains("netback sleep")
    });
}

#[test]
fn a_full_ring_is_named() {
    // Who makes each frame in 10 us is too fast for a backend that takes ten times as long, and for no other.
    let args = "--mode pktgen -n 3000 --wait poll --think 10us";
    assert_named(
        &format!("{args} --cost gntcopy=100us"),
        args,
        &["finds the ring full", "the backend does not keep up", "cost.copy of netback"],
    );
}

#[test]
fn an_expensive_grant_map_is_named() {
    assert_named(
        "--mode rr -n 100 --grant map --cost gntmap=2ms",
        "--mode rr -n 100 --grant copy --cost gntmap=2ms",
        &["cost.map", "netback pays", "--cost", "--grant persistent"],
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
