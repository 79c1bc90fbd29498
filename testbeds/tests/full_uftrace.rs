//! What uftrace finds in our traces: its `report` counts the calls that our own counts, its `dump` has the same
//! times, its `replay` and `graph` know both sides. Needs uftrace; without `PVLAB_FULL=1` it says so and does
//! nothing.

#![cfg(not(feature = "no-trace"))]

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use common::{Scratch, full};
use tracer::format::{Ended, Event, Trace};
use tracer_view::fixture::{Maker, Plan};
use tracer_view::{File, Filter, Top, View, export};

/// What uftrace says of a folder.
fn uftrace(verb: &str, folder: &Path, more: &[&str]) -> String {
    let mut command = Command::new("uftrace");
    command.args([verb, "--no-pager", "--color=no", "-d"]).arg(folder).args(more);
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {stderr}");
    assert_eq!(stderr, "", "{command:?}: no warning");
    String::from_utf8(output.stdout).expect("text")
}

/// Calls by name, and their nanoseconds.
type Calls = BTreeMap<String, (u64, u64)>;

/// What our own report says.
fn reported(view: &View<'_>) -> Calls {
    let mut all = Calls::new();
    for row in Top::new(view, &Filter::default(), true).expect("no filter").rows {
        let sum = all.entry(row.name).or_default();
        *sum = (sum.0 + row.calls, sum.1 + row.sum_ns.unsigned_abs());
    }
    all.retain(|_, (calls, _)| *calls > 0);
    all
}

/// The same with those that never ended, which `uftrace report` counts too.
fn begun(view: &View<'_>) -> BTreeMap<String, u64> {
    let mut all = BTreeMap::new();
    for row in Top::new(view, &Filter::default(), true).expect("no filter").rows {
        *all.entry(row.name).or_default() += row.calls + row.open;
    }
    all
}

/// What `uftrace report` counts.
fn counted(folder: &Path) -> BTreeMap<String, u64> {
    let report = uftrace("report", folder, &["-f", "call"]);
    let rows = report.lines().skip(2).filter_map(|row| row.trim().split_once(char::is_whitespace));
    rows.map(|(calls, name)| (name.trim().to_owned(), calls.parse().expect("a number"))).collect()
}

/// Ended calls in `uftrace dump`.
fn dumped(folder: &Path) -> Calls {
    let (mut calls, mut open) = (Calls::new(), BTreeMap::<String, Vec<u64>>::new());
    for line in uftrace("dump", folder, &[]).lines() {
        let Some((head, rest)) = line.split_once(": [") else { continue };
        let mut words = head.split_whitespace();
        let (Some(stamp), Some(task)) = (words.next(), words.next()) else { continue };
        let ns: u64 = stamp.replace('.', "").parse().expect("a time");
        let (kind, what) = rest.split_once("] ").expect("a kind");
        let name = what.rsplit_once('(').map_or(what, |(name, _)| name).to_owned();
        let stack = open.entry(task.to_owned()).or_default();
        match kind.trim() {
            "entry" => stack.push(ns),
            "exit" => {
                let sum = calls.entry(name).or_default();
                let from = stack.pop().expect("it began");
                *sum = (sum.0 + 1, sum.1 + (ns - from));
            }
            _ => {}
        }
    }
    calls
}

fn assert_agreement(view: &View<'_>, scratch: &Scratch) -> std::path::PathBuf {
    let folder = scratch.path("out.uftrace");
    export(view, &Filter::default(), &folder).expect("written");
    assert_eq!(dumped(&folder), reported(view));
    assert_eq!(counted(&folder), begun(view));
    folder
}

fn viewed(maker: &Maker, with: impl FnOnce(&View<'_>, &Scratch)) {
    let bytes = maker.finish();
    let trace = Trace::parse(&bytes).expect("a trace");
    with(&View::new(&trace), &Scratch::new());
}

#[test]
fn uftrace_finds_what_a_made_trace_holds() {
    if !full("uftrace") {
        return;
    }
    let plan = Plan { wake: Some(700), full: 100, ..Plan::default() };
    viewed(&plan.make(), |view, scratch| {
        let folder = assert_agreement(view, scratch);
        let replay = uftrace("replay", &folder, &["-f", "task"]);
        for part in ["xmit() {", "serve() {", "push-requests:vif1.0-q0-tx", "netback", "netfront"] {
            assert!(replay.contains(part), "no {part} in {replay}");
        }
        let info = uftrace("info", &folder, &[]);
        assert!(info.contains("pvlab net --made by-hand"), "{info}");
    });
    // One exit deleted: what is around it is there, it is not.
    let mut maker = plan.make();
    let exit = maker.records(0).iter().position(|r| matches!(r.event(), Event::Exit { .. }));
    maker.records(0).remove(exit.expect("an exit"));
    let mut whole = Calls::new();
    viewed(&plan.make(), |view, _| whole = reported(view));
    viewed(&maker, |view, scratch| {
        let folder = scratch.path("out.uftrace");
        export(view, &Filter::default(), &folder).expect("written");
        assert_ne!(dumped(&folder), whole);
    });
}

#[test]
fn uftrace_reads_what_a_killed_domain_left() {
    if !full("uftrace") {
        return;
    }
    let mut maker = Plan::default().make();
    let exit = maker.records(1).iter().rposition(|r| matches!(r.event(), Event::Exit { .. }));
    maker.records(1).truncate(exit.expect("an exit"));
    maker.ended(1, Ended::Died);
    viewed(&maker, |view, scratch| {
        let folder = scratch.path("out.uftrace");
        export(view, &Filter::default(), &folder).expect("written");
        assert_eq!(dumped(&folder), reported(view));
        assert_eq!(counted(&folder), begun(view));
        assert_ne!(reported(view)["serve"].0, begun(view)["serve"], "the last one never ended");
    });
}

#[test]
fn uftrace_finds_what_a_real_run_holds() {
    if !full("uftrace") {
        return;
    }
    for args in
        [&["--mode", "rr", "-n", "400"][..], &["--mode", "pktgen", "-n", "2K", "--wait", "event"]]
    {
        let scratch = Scratch::new();
        let to = scratch.text("run.pvtrace");
        scratch.net(&[args, &["--trace", &to, "--trace-buffer", "64M"]].concat());
        let file = File::open(Path::new(&to)).expect("written");
        let view = file.view().expect("a trace");
        let folder = assert_agreement(&view, &scratch);
        let graph = uftrace("graph", &folder, &[]);
        for side in ["Graph for 'netfront'", "Graph for 'netback'", "Graph for 'host'"] {
            assert!(graph.contains(side), "no {side} in {graph}");
        }
    }
}
