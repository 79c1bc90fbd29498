//! What a trace says of a run, read record by record: the slots of every ring on both sides, causes before
//! effects, frames that are whole, words of the control plane; also of a run that was killed.

#![cfg(not(feature = "no-trace"))]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::recorded::{Crossings, Names, crossings};
use common::{Scratch, WATCHDOG, name, payload, signal, turn, within};
use nix::sys::signal::Signal;
use serde_json::Value;
use tracer::format::journal::HOST;
use tracer::format::{Ended, Event, Mapped, Slot, Thread, Trace, category};

/// A run with a trace: its results and its file.
struct Run {
    results: Value,
    file: Mapped,
    _scratch: Scratch,
}

impl Run {
    fn new(args: &[&str]) -> Self {
        let scratch = Scratch::new();
        let results = scratch.net(&[args, &to_file(&scratch.text("out.pvtrace"))].concat());
        Self::read(results, scratch)
    }

    /// The same for `pvlab COMMAND`.
    fn of(command: &str, args: &[&str]) -> Self {
        let (_turn, scratch) = (turn(), Scratch::new());
        let to = scratch.text("out.pvtrace");
        let all =
            [&[command][..], args, &to_file(&to), &["-J", "--stall-timeout", "100s"]].concat();
        let ended = scratch.run(&all);
        assert!(ended.status.success(), "{all:?}: {ended:?}");
        Self::read(serde_json::from_str(&ended.stdout).expect("JSON"), scratch)
    }

    fn read(results: Value, scratch: Scratch) -> Self {
        let file = Mapped::open(&scratch.path("out.pvtrace")).expect("it was written");
        Self { results, file, _scratch: scratch }
    }

    fn trace(&self) -> Trace<'_> {
        let trace = Trace::parse(&self.file).expect("a trace");
        assert_eq!(trace.cut_off, None);
        trace
    }
}

fn to_file(to: &str) -> [&str; 4] {
    ["--trace", to, "--trace-buffer", "64M"]
}

#[test]
fn every_slot_crosses_once_in_each_direction_and_never_before_it_was_sent() {
    for args in [
        &["--mode", "stream", "-n", "4M", "--index-base", "0xffffff00"][..],
        &["--mode", "pktgen", "-n", "20000"],
        &["--mode", "rr", "-n", "500", "--wait", "event"],
        &["--mode", "stream", "-n", "2M", "--queues", "2", "-P", "4", "--notify", "always"],
        &["--mode", "stream", "-n", "1M", "--path", "bridge"],
    ] {
        let run = Run::new(args);
        let trace = run.trace();
        assert!(trace.threads().all(|t| t.info.lost == 0 && t.overwritten() == 0));
        let all = crossings(&trace);
        let rings: BTreeSet<&str> = all.keys().map(|(name, _)| name.as_str()).collect();
        assert!(rings.contains("vif1.0-q0-tx") && rings.contains("vif1.0-q0-rx"), "{rings:?}");
        for name in rings {
            // Nothing came back on the rx ring of a guest that only sends.
            let none = Crossings::default();
            let of = |slot| all.get(&(name.to_owned(), slot)).unwrap_or(&none);
            let (requests, responses) = (of(Slot::Request), of(Slot::Response));
            assert!(
                responses.pushed.keys().eq(requests.pushed.keys().take(responses.pushed.len()))
            );
            if name.ends_with("-tx") {
                assert!(requests.pushed.keys().eq(requests.seen.keys()), "{args:?}: {name}");
                assert!(requests.pushed.keys().eq(responses.pushed.keys()), "{args:?}: {name}");
                assert!(responses.pushed.keys().eq(responses.seen.keys()), "{args:?}: {name}");
            }
            for crossing in [requests, responses] {
                for (index, seen) in &crossing.seen {
                    let pushed = crossing.pushed[index];
                    assert!(pushed <= *seen, "{args:?}: {name} {index}: {pushed} {seen}");
                }
            }
        }
        let batches = run.results["summary"]["batch_mean"].as_f64().expect("a number");
        assert!(batches > 0.0);
    }
}

/// Every slot of a ring whose requests were all answered crossed once in each direction, and was not seen
/// before it was pushed. How many there were.
fn all_crossed(all: &BTreeMap<(String, Slot), Crossings>, name: &str) -> usize {
    let of = |slot| all.get(&(name.to_owned(), slot)).unwrap_or_else(|| panic!("no {name}"));
    let (requests, responses) = (of(Slot::Request), of(Slot::Response));
    assert!(requests.pushed.keys().eq(requests.seen.keys()), "{name}");
    assert!(requests.pushed.keys().eq(responses.pushed.keys()), "{name}");
    assert!(responses.pushed.keys().eq(responses.seen.keys()), "{name}");
    for crossing in [requests, responses] {
        for (index, seen) in &crossing.seen {
            assert!(crossing.pushed[index] <= *seen, "{name} {index}");
        }
    }
    requests.pushed.len()
}

/// Which request's id each response carries: what was recorded of a ring that is answered by id.
fn joined_so_far(trace: &Trace<'_>, name: &str) -> Vec<(u64, u32, u32)> {
    let mut ids = Vec::new();
    for process in &trace.processes {
        let names = Names::of(process);
        for record in process.threads.iter().flat_map(Thread::records) {
            if let Event::Id { ring, slot, index, id } = record.event()
                && names.rings[&ring].name == name
            {
                assert!(!names.rings[&ring].in_order);
                ids.push((record.ticks, slot, index, id));
            }
        }
    }
    ids.sort_unstable_by_key(|&(ticks, ..)| ticks);
    let (mut in_flight, mut joined) = (BTreeMap::new(), Vec::new());
    for (ticks, slot, index, id) in ids {
        match slot {
            Slot::Request => assert_eq!(in_flight.insert(id, index), None, "{id} is in flight"),
            Slot::Response => {
                let request = in_flight.remove(&id).expect("a response to a request in flight");
                joined.push((ticks, request, index));
            }
        }
    }
    joined
}

/// The same of a trace that ends with all answered.
fn joined(trace: &Trace<'_>, name: &str) -> Vec<(u64, u32, u32)> {
    let joined = joined_so_far(trace, name);
    let asked = crossings(trace)[&(name.to_owned(), Slot::Request)].pushed.len();
    assert_eq!(joined.len(), asked, "{name}: each has one answer");
    joined
}

#[test]
fn every_block_request_crosses_and_is_answered_by_its_id() {
    for (args, ring, disorder) in [
        (&["--disk", "null", "--rw", "randread", "-n", "5000"][..], "vbd1.51712-q0", false),
        (
            &["--disk", "ram=4M", "--rw", "randrw", "-n", "2000", "--index-base", "0xfffffff0"],
            "vbd1.51712-q0",
            false,
        ),
        (
            &[
                "--disk",
                "model=read:20M,latency:1ms",
                "--rw",
                "randread",
                "--size",
                "4M",
                "-n",
                "40",
                "--wait",
                "event",
            ],
            "vbd1.51712-q0",
            false,
        ),
        (
            &["--disk", "faulty:delay=0.3/3ms:ram=4M", "--rw", "randread", "-n", "300"],
            "vbd1.51712-q0",
            true,
        ),
        (
            &[
                "--disk", "ram=4M", "--rw", "randread", "-n", "600", "--queues", "2", "--grant",
                "map",
            ],
            "vbd1.51712-q1",
            false,
        ),
    ] {
        let run = Run::of("blk", args);
        let trace = run.trace();
        assert!(trace.threads().all(|t| t.info.lost == 0 && t.overwritten() == 0));
        let crossed = all_crossed(&crossings(&trace), ring);
        assert!(crossed > 30, "{args:?}: {crossed}");
        let joined = joined(&trace, ring);
        let overtaken = joined.iter().filter(|(_, request, response)| request != response).count();
        assert!(overtaken > 0 || !disorder, "{args:?}: none was overtaken");
    }
}

#[test]
fn what_a_disk_costs_is_there_on_both_sides() {
    let disk = Scratch::new();
    let image = disk.text("disk.img");
    std::fs::write(&image, vec![7_u8; 1 << 20]).expect("written");
    let file = format!("file={image}");
    let args = ["--disk", &file, "--rw", "randread", "-n", "500", "--wait", "event"];
    for (grant, copies) in [("copy", "copy_to"), ("map", "map_data")] {
        let run = Run::of("blk", &[&args[..], &["--grant", grant]].concat());
        let trace = run.trace();
        let (mut of, mut with_disk) = (BTreeMap::new(), Vec::new());
        for process in &trace.processes {
            let names = Names::of(process);
            let sum: &mut BTreeMap<String, u64> = of.entry(names.process.name.clone()).or_default();
            for thread in &process.threads {
                for (name, count) in calls(&names, thread) {
                    *sum.entry(name).or_insert(0) += count;
                }
                with_disk.extend(thread.records().filter_map(|record| match record.event() {
                    Event::Counter { site, value } => {
                        assert_eq!(names.sites[&site].name, "requests with the disk");
                        Some(value)
                    }
                    _ => None,
                }));
            }
        }
        let most = with_disk.iter().max().expect("its depth is said");
        assert!((2..=32).contains(most), "32 at once at most: {most}");
        for (process, wanted) in [
            ("blkfront", &["connect", "begin", "flush", "push", "reap", "sleep", "send"][..]),
            ("blkback", &["bring_up", "turn", "take_batch", "io_uring_enter", copies, "sleep"]),
        ] {
            let calls = &of[process];
            for name in wanted {
                assert!(calls.contains_key(*name), "no {name} in {process}: {calls:?}");
            }
        }
    }
}

#[test]
fn every_byte_of_a_console_crosses_and_is_said_to_have_been_read() {
    for args in [
        &["--messages", "300", "--sink", "null", "--limit", "off"][..],
        &["--messages", "500", "--len", "60", "--sink", "null", "--index-base", "0xffffff80"],
    ] {
        let run = Run::of("console", args);
        let trace = run.trace();
        assert!(trace.threads().all(|t| t.info.lost == 0 && t.overwritten() == 0));
        let bytes = run.results["summary"]["bytes"].as_u64().expect("a number");
        let crossed = all_crossed(&crossings(&trace), "console1-out");
        assert!(crossed as u64 >= bytes, "{args:?}: {crossed} of {bytes}");
    }
}

/// Checks that frames are nested, and says how often each site was entered.
fn calls(names: &Names, thread: &Thread<'_>) -> BTreeMap<String, u64> {
    let (mut open, mut calls, mut last) = (Vec::new(), BTreeMap::new(), 0);
    for record in thread.records() {
        assert!(record.ticks >= last, "time goes forward within a thread");
        last = record.ticks;
        match record.event() {
            Event::Enter { site, .. } => {
                *calls.entry(names.sites[&site].name.clone()).or_default() += 1;
                open.push(site);
            }
            Event::Exit { site, .. } => assert_eq!(open.pop(), Some(site), "frames are nested"),
            Event::Unknown { tag, .. } => panic!("a record of no kind: {tag:#x}"),
            _ => {}
        }
    }
    assert!(open.is_empty(), "{:?}: what began has ended", thread.info.name);
    calls
}

#[test]
fn functions_of_both_sides_are_there_with_their_threads() {
    let run = Run::new(&["--mode", "rr", "-n", "300", "--wait", "event"]);
    let trace = run.trace();
    let mut by_name = BTreeMap::new();
    for process in &trace.processes {
        let names = Names::of(process);
        assert_eq!(names.process.pid, process.pid);
        let mut sum = BTreeMap::new();
        for thread in &process.threads {
            for (name, count) in calls(&names, thread) {
                *sum.entry(name).or_insert(0) += count;
            }
        }
        assert!(names.notes.iter().all(|note| !note.words.is_empty()));
        let domid = names.process.domid;
        assert_eq!(process.ended, if domid == HOST { Ended::Unknown } else { Ended::Well });
        by_name.insert(names.process.name.clone(), (names, sum));
    }
    assert_eq!(by_name.keys().collect::<Vec<_>>(), ["host", "netback", "netfront"]);
    let (front, calls) = &by_name["netfront"];
    assert_eq!(front.process.domid, 1);
    for name in ["connect", "negotiate", "publish", "reap", "app", "stack_ingress", "sleep"] {
        assert!(calls.contains_key(name), "no {name} in netfront: {calls:?}");
    }
    assert!(calls["sleep"] > 100, "each round trip sleeps: {calls:?}");
    let (back, calls) = &by_name["netback"];
    for name in ["collect", "copy_from", "copy_to", "answer", "connect_queue", "ring", "send"] {
        assert!(calls.contains_key(name), "no {name} in netback: {calls:?}");
    }
    let copy = back.sites.values().find(|site| site.name == "copy_from").expect("a site");
    assert_eq!((copy.category.as_str(), copy.result.as_str()), (category::GRANT, "bytes"));
    let words: Vec<&str> = back.notes.iter().map(|note| note.words.as_str()).collect();
    assert!(words.contains(&"vif"), "the handshake's states: {words:?}");
    // Both ends of a channel are known by the same name.
    let channels = |names: &Names| -> BTreeSet<(u32, u32, String)> {
        names.ports.values().map(|p| (p.allocator, p.allocator_port, p.name.clone())).collect()
    };
    assert_eq!(channels(front), channels(back));
    assert_eq!(front.ports.len(), 2);
}

#[test]
fn what_the_counters_say_is_in_the_records() {
    let run = Run::new(&["--mode", "pktgen", "-n", "5000", "-l", "64", "--cost", "gntcopy=100"]);
    let trace = run.trace();
    let (mut pushed, mut copied, mut costs, mut free) = (0, 0, 0, Vec::new());
    for process in &trace.processes {
        let names = Names::of(process);
        for record in process.threads.iter().flat_map(Thread::records) {
            match record.event() {
                Event::Push { slots, .. } => {
                    let tx = names.rings[&slots.ring].name.ends_with("-tx");
                    pushed += if tx && slots.slot == Slot::Request { slots.count } else { 0 };
                }
                Event::Counter { site, value } if names.sites[&site].name == "free buffers" => {
                    free.push(value);
                }
                Event::Exit { site, arg } if names.sites[&site].name == "copy_from" => {
                    copied += arg
                }
                Event::Exit { site, .. } if names.sites[&site].category == category::COST => {
                    costs += 1;
                }
                _ => {}
            }
        }
    }
    assert_eq!(pushed, 5000, "a slot for each frame");
    assert_eq!(copied, 5000 * 64, "every byte was copied by grant");
    assert!(costs > 0, "what is charged is shown");
    let least = free.iter().min().expect("each push says what is left");
    assert!(free.iter().max() > Some(least), "frames take buffers and give them back: {free:?}");
}

/// The control plane's words are in what others read too, at their level, with what they say.
#[test]
fn handshakes_are_in_the_export() {
    let scratch = Scratch::new();
    let to = scratch.text("run.json");
    scratch.net(&["--mode", "rr", "-n", "50", "--trace", &to]);
    let json: Value = serde_json::from_slice(&std::fs::read(&to).expect("written")).expect("JSON");
    let events = json["traceEvents"].as_array().expect("events");
    let pid = |name: &str| {
        let of = |event: &&Value| {
            event["name"] == "process_name"
                && event["args"]["name"].as_str().is_some_and(|title| title.ends_with(name))
        };
        events.iter().find(of).unwrap_or_else(|| panic!("no {name}"))["pid"].clone()
    };
    let said = |name: &str, words: &str| -> Vec<&Value> {
        let (pid, at) = (pid(name), |event: &&Value| event["ph"] == "i" && event["cat"] == "info");
        events.iter().filter(at).filter(|e| e["pid"] == pid && e["name"] == words).collect()
    };
    let states: Vec<&str> =
        said("netback", "vif").iter().filter_map(|event| event["args"]["to"].as_str()).collect();
    assert_eq!(states[..2], ["InitWait", "Connected"], "{states:?}");
    let connected = said("netfront", "connected");
    assert_eq!(connected.len(), 1, "{connected:?}");
    assert_eq!(connected[0]["args"]["target"], "frontend::connect");
    assert!(connected[0]["ts"].as_f64() > Some(0.0), "{connected:?}");
    assert_eq!(said("host", "domain registered").len(), 2);
}

#[test]
fn a_killed_domain_leaves_its_trace() {
    let _turn = turn();
    for victim in ["netfront", "netback"] {
        let scratch = Scratch::new();
        let (to, path) = (scratch.text("out.pvtrace"), scratch.path("out.pvtrace"));
        let dir = scratch.text("lab");
        let args = ["net", "--mode", "pktgen", "-t", "100", "--dir", &dir, "--trace", &to];
        let mode = ["--trace-mode", "overwrite", "--trace-buffer", "1M"];
        let run = scratch.start(&[&args[..], &mode].concat());
        assert!(within(WATCHDOG, || payload(&scratch) > 64 * 100_000), "no traffic");
        let victim_of = |pid: &i32| name(*pid) == victim;
        let pid = scratch.processes().into_iter().find(victim_of).expect("it works");
        signal(pid, Signal::SIGKILL);
        let ended = run.end();
        ended.assert_one_line(victim, 1, &["died"]);
        let file = Mapped::open(&path).expect("written all the same");
        let trace = Trace::parse(&file).expect("a trace");
        assert_eq!((trace.cut_off, trace.processes.len()), (None, 3));
        let shown = scratch.run(&["trace", "top", &to]);
        assert!(shown.status.success() && shown.stderr.is_empty(), "{victim}: {shown:?}");
        for process in &trace.processes {
            let names = Names::of(process);
            if names.process.name == victim {
                assert_eq!(process.ended, Ended::Died);
                let worker = process.threads.iter().find(|t| t.info.name.starts_with("worker"));
                assert!(worker.expect("it worked").records().len() > 1000);
            }
        }
    }
}

#[test]
fn a_slow_request_is_named() {
    let scratch = Scratch::new();
    let (to, path) = (scratch.text("out.pvtrace"), scratch.path("out.pvtrace"));
    // Each request is slow, so the first ends the recording: of all those to come next to nothing is there.
    let mode = ["--trace-mode", "slow=50us", "--cost", "gntcopy=60us"];
    scratch.net(&[&["--mode", "pktgen", "-n", "5000", "--trace", &to][..], &mode].concat());
    let file = Mapped::open(&path).expect("written");
    let trace = Trace::parse(&file).expect("a trace");
    let said = |name: &str| {
        let pair = trace.run.iter().find(|(n, _)| n == name);
        pair.unwrap_or_else(|| panic!("no {name} in {:?}", trace.run)).1.clone()
    };
    assert!(said("frozen").starts_with("request "), "{}", said("frozen"));
    assert_eq!(said("trace-mode"), "slow=50us");
    assert!(said("command").starts_with("pvlab net --mode pktgen"));
    let frozen: u64 = said("frozen-ticks").parse().expect("a number");
    assert!(trace.threads().flat_map(Thread::records).any(|record| record.ticks <= frozen));
    let pushed = crossings(&trace)[&("vif1.0-q0-tx".to_owned(), Slot::Request)].pushed.len();
    assert!((1..2500).contains(&pushed), "{pushed} of 5000");
}

#[test]
fn a_slow_block_request_is_found_among_those_that_overtake_it() {
    // Whoever loses its CPU for so long has a slow request too that nobody overtakes.
    assert!((0..5).any(|_| a_slow_block_request_was_overtaken()), "nobody overtook one");
}

/// Of a run that ends with the first slow request: whether later ones were answered before it.
fn a_slow_block_request_was_overtaken() -> bool {
    // Most are answered at once, and one in fifty 100 ms after those that came later.
    let disk = ["--disk", "faulty:delay=0.02/100ms:ram=4M", "--rw", "randread", "-n", "20000"];
    let run =
        Run::of("blk", &[&disk[..], &["--trace-mode", "slow=80ms", "--wait", "event"]].concat());
    let trace = run.trace();
    let said = |name: &str| {
        let pair = trace.run.iter().find(|(n, _)| n == name);
        pair.unwrap_or_else(|| panic!("no {name} in {:?}", trace.run)).1.clone()
    };
    let frozen = said("frozen");
    let index: u32 = frozen.split(' ').nth(1).and_then(|n| n.parse().ok()).expect("its index");
    let took: u64 = frozen.split(' ').nth_back(1).and_then(|n| n.parse().ok()).expect("its time");
    assert!(took >= 80_000, "{frozen}");
    // The request of that index was pushed so long before.
    let crossings = crossings(&trace);
    let pushed = crossings[&("vbd1.51712-q0".to_owned(), Slot::Request)].pushed[&index.into()];
    let ticks: u64 = said("frozen-ticks").parse().expect("a number");
    let us = trace.clock.scale().duration_ns(ticks - pushed) / 1000;
    assert!(us.abs_diff(took) <= 1, "{frozen}, and {us}");
    let joined = joined_so_far(&trace, "vbd1.51712-q0");
    let (_, _, response) = joined.iter().find(|j| j.1 == index).expect("it was answered");
    *response > index
}

#[test]
fn a_trace_that_cannot_be_is_refused_in_one_line() {
    let scratch = Scratch::new();
    for (args, code, parts) in [
        (&["--trace", "out.txt"][..], 2, &["--trace out.txt", ".pvtrace"][..]),
        (&["--trace", "no/such/out.json"], 1, &["no/such/out.json", "no such directory"]),
        (&["--trace-mode", "stop"], 2, &["--trace-mode", "--trace FILE"]),
        (&["--trace-buffer", "1M"], 2, &["--trace-buffer", "--trace FILE"]),
        (&["--trace", "o.json", "--trace-mode", "late"], 2, &["late", "slow=100us"]),
        (&["--trace", "o.json", "--trace-mode", "slow=0"], 2, &["slow=0", "slow=1us"]),
        (&["--trace", "o.json", "--trace-buffer", "12"], 2, &["--trace-buffer 12", "4K"]),
    ] {
        let ended = scratch.run(&[&["net"], args].concat());
        ended.assert_one_line(&args.join(" "), code, parts);
    }
}
