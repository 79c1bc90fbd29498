//! What `explain` knows of real runs: nearly all of a request's time is somebody's; and what is taken out of a trace
//! is nobody's from then on, or, where something else that was recorded stands around it, that one's.

#![cfg(not(feature = "no-trace"))]

mod common;

use common::recorded::Names;
use common::{Scratch, turn};
use tracer::format::buffer::Buffer;
use tracer::format::{Event, Journal, Mapped, ThreadInfo, Trace, TraceWriter, category};
use tracer_view::{Explained, Phase, View, Way, explain};

/// Per cent of the time of requests that may be nobody's: of all, or of all but the few longest, since on a busy
/// machine a thread may lose its CPU where it has just recorded something.
const UNKNOWN: f64 = 2.0;
/// Of so many runs most must be good.
const RUNS: usize = 3;

/// The trace of `pvlab ARGS`.
fn traced(args: &str) -> (Scratch, Mapped) {
    let (_turn, scratch) = (turn(), Scratch::new());
    let to = scratch.text("out.pvtrace");
    let more = ["--trace", &to, "--trace-buffer", "64M", "--stall-timeout", "100s", "-J"];
    let args: Vec<&str> = args.split_whitespace().chain(more).collect();
    let ended = scratch.run(&args);
    assert!(ended.status.success(), "{args:?}: {ended:?}");
    let file = Mapped::open(&scratch.path("out.pvtrace")).expect("it was written");
    (scratch, file)
}

fn explained(file: &[u8]) -> Explained {
    explain(&View::new(&Trace::parse(file).expect("a trace")))
}

#[test]
fn of_real_runs_nearly_all_is_attributed() {
    for args in [
        "net --mode rr -n 3000",
        "net --mode rr -n 3000 --wait event",
        "net --mode rr -n 1000 -A 0,0",
        "net --mode rr -n 1000 -A 0,0 --wait event",
        "net --mode pktgen -n 20K",
        "net --mode pktgen -n 20K -R",
        "net --mode stream -n 32M",
        "net --mode stream -n 32M -R",
        "net --mode crr -n 500",
        "net --mode rr -n 1000 --path bridge",
        "net --mode rr -n 500 --grant map",
        "net --mode rr -n 500 --cost hypercall=20us,gntcopy=5us",
        "net --mode udp -n 8M",
        "blk --disk ram=4M --rw randread -n 2000",
        "console --limit off --messages 3000",
    ] {
        let (mut said, mut good) = (Vec::new(), 0);
        while good <= RUNS / 2 && said.len() <= RUNS / 2 {
            let found = explained(&traced(args).1);
            assert!(!found.ways.is_empty(), "{args}: no requests");
            for way in &found.ways {
                let (all, typical) = (way.unattributed(), way.typical_unattributed);
                println!("{args}: {}: {all:.2} % unattributed, {typical:.2} % typically", way.kind);
            }
            let least = |way: &Way| way.unattributed().min(way.typical_unattributed);
            if found.ways.iter().all(|way| least(way) < UNKNOWN) {
                good += 1;
            } else {
                said.push(found.text(tracer_view::Paint::default()));
            }
        }
        assert!(good > RUNS / 2, "{args}:\n{}", said.join("\n"));
    }
}

/// A kind of frames: by process, category and name.
type Kind = fn(&str, &str, &str) -> bool;

fn is(names: &Names, kind: Kind, site: u32) -> bool {
    let site = names.sites.get(&site);
    site.is_some_and(|site| kind(&names.process.name, &site.category, &site.name))
}

/// The same trace without frames of this kind.
fn without(trace: &Trace<'_>, kind: Kind) -> Vec<u8> {
    let mut to = TraceWriter::new(Vec::new(), &trace.clock, &trace.run).expect("memory");
    for process in &trace.processes {
        let names = Names::of(process);
        let journal: Vec<u8> = process.journal().flat_map(|entry| entry.to_bytes()).collect();
        let journal = Journal { pid: process.pid, lost: process.lost, octets: &journal };
        to.process(&journal, process.ended).expect("memory");
        let out = |event: Event| match event {
            Event::Enter { site, .. } | Event::Exit { site, .. } | Event::Spin { site } => {
                is(&names, kind, site)
            }
            _ => false,
        };
        for thread in &process.threads {
            let left = thread.records().filter(|record| !out(record.event()));
            let octets: Vec<u8> = left.flat_map(|record| record.to_bytes()).collect();
            let written = (octets.len() / tracer::format::record::RECORD) as u64;
            let info = ThreadInfo { written, ..thread.info.clone() };
            to.thread(&Buffer { info, records: [&octets, &[]] }).expect("memory");
        }
    }
    to.finish().expect("memory")
}

/// Frames of this kind that stand in no other, and those that stand in one.
fn nesting(trace: &Trace<'_>, kind: Kind) -> (u64, u64) {
    let (mut alone, mut inside) = (0, 0);
    for process in &trace.processes {
        let names = Names::of(process);
        let mut count = |depth: u32| if depth == 0 { alone += 1 } else { inside += 1 };
        for thread in &process.threads {
            let mut depth = 0;
            for record in thread.records() {
                match record.event() {
                    Event::Spin { site } if is(&names, kind, site) => count(depth),
                    Event::Enter { site, .. } => {
                        if is(&names, kind, site) {
                            count(depth);
                        }
                        depth += 1;
                    }
                    Event::Exit { .. } => depth -= 1,
                    _ => {}
                }
            }
        }
    }
    (alone, inside)
}

fn tx(explained: &Explained) -> &Way {
    explained.ways.iter().find(|way| way.kind == "vif tx").expect("requests on tx")
}

fn sum(way: &Way, phases: &[Phase]) -> i64 {
    let mine = way.parts.iter().filter(|part| phases.contains(&part.phase));
    mine.map(|part| part.sum_ns).sum()
}

fn sleeps(_: &str, category: &str, name: &str) -> bool {
    (category, name) == (category::WAIT, "sleep")
}

fn spins(_: &str, category: &str, name: &str) -> bool {
    category == category::WAIT && matches!(name, "look" | "spin")
}

fn grants(_: &str, category: &str, _: &str) -> bool {
    category == category::GRANT
}

fn costs(_: &str, category: &str, _: &str) -> bool {
    category == category::COST
}

fn sends(_: &str, _: &str, name: &str) -> bool {
    name == "send"
}

fn serves(process: &str, category: &str, _: &str) -> bool {
    process == "netback" && category != category::WAIT
}

fn all(_: &str, _: &str, _: &str) -> bool {
    true
}

/// What is taken out was nobody else's: it has become unattributed, to the nanosecond that it was.
fn assert_rises(before: &Way, after: &Way, what: &str, phases: &[Phase]) {
    assert_eq!((before.requests, before.mean_ns), (after.requests, after.mean_ns), "{what}");
    let was = sum(before, phases) - sum(after, phases);
    let unknown = [Phase::Unattributed];
    let rise = sum(after, &unknown) - sum(before, &unknown);
    println!("{what}: {was} ns, unattributed {rise} more");
    assert!(was > 0, "{what}: it was nothing: {before:?}");
    assert_eq!(was, rise, "{what}: {before:?} {after:?}");
}

/// What is taken out stands in something else, which is recorded to have lasted as long: that has its time, and
/// no more is unattributed than the few that stand `alone` can have been.
fn assert_moves(before: &Way, after: &Way, what: &str, from: Phase, alone: u64) {
    assert_eq!((before.requests, before.mean_ns), (after.requests, after.mean_ns), "{what}");
    let was = sum(before, &[from]);
    println!("{what}: {was} ns are now their enclosers'");
    assert!(was > 0, "{what}: it was nothing: {before:?}");
    assert_eq!(sum(after, &[from]), 0, "{what}");
    let unknown = [Phase::Unattributed];
    let rise = sum(after, &unknown) - sum(before, &unknown);
    let most = if alone > 0 { was / 100 } else { 0 };
    assert!((0..=most).contains(&rise), "{what}: {alone} alone, unattributed {rise} more");
}

#[test]
fn what_is_taken_out_of_a_real_trace_becomes_unattributed() {
    use Phase::{BackendWait, BackendWork, Grant, ResponseWait, RingWait, StartUp, WakeUp};
    let waits = [RingWait, ResponseWait, BackendWait, WakeUp, StartUp];
    // Waits stand in nothing: whoever waits does nothing else.
    for (args, what, kind) in [
        ("net --mode rr -n 200 --wait event", "sleep", sleeps as Kind),
        ("net --mode rr -n 200 --wait poll", "spin", spins),
    ] {
        let (_scratch, file) = traced(args);
        let trace = Trace::parse(&file).expect("a trace");
        let (alone, inside) = nesting(&trace, kind);
        assert!(alone > 100 && inside == 0, "{what}: {alone} alone, {inside} in others");
        let (before, after) = (explained(&file), explained(&without(&trace, kind)));
        assert_rises(tx(&before), tx(&after), what, &waits);
    }
    // So does what a backend's worker does, each function that no other calls, with all that it calls.
    let (_scratch, file) = traced("net --mode pktgen -n 20K --cost gntcopy=1us,evtchn=5us");
    let trace = Trace::parse(&file).expect("a trace");
    let before = explained(&file);
    let after = explained(&without(&trace, serves));
    // Without what it did first its start seems to have taken longer.
    let work = [BackendWork, Grant, Phase::Cost, RingWait, ResponseWait, StartUp];
    assert_rises(tx(&before), tx(&after), "all of netback's", &work);
    // What stands in another leaves it the time.
    for (what, kind, phase) in [("grants", grants as Kind, Grant), ("costs", costs, Phase::Cost)] {
        let (alone, inside) = nesting(&trace, kind);
        assert!(
            inside > 100 && inside > alone,
            "{what} stand in what does them: {alone}, {inside}"
        );
        let after = explained(&without(&trace, kind));
        assert_moves(tx(&before), tx(&after), what, phase, alone);
    }
    let after = explained(&without(&trace, sends));
    let unknown = [Phase::Unattributed];
    assert_eq!(sum(tx(&before), &unknown), sum(tx(&after), &unknown), "sends");
    // And where nothing but the ring is recorded, nothing is made up: only that one was not there yet is known.
    let after = explained(&without(&trace, all));
    let known = after.ways[0].parts.iter().map(|part| part.phase);
    let known: Vec<_> = known.filter(|phase| ![StartUp, unknown[0]].contains(phase)).collect();
    assert!(known.is_empty(), "{after:?}");
    assert_eq!(tx(&after).requests, tx(&before).requests);
}
