//! The command itself with all its functions instrumented, dependencies included: built as the README says, it runs,
//! and its trace tells where each of both sides was. Needs minutes; without `PVLAB_FULL=1` it says so and does
//! nothing.

#![cfg(not(feature = "no-trace"))]

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Process, Scratch, full};
use tracer_view::{File, Filter, Row, Top, explain};

/// Round trips that a run makes.
const TRIPS: u64 = 300;

/// Builds `pvlab` with sleds in its functions.
fn instrumented() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the root");
    let sleds =
        "run -q -p tracer --features sleds --bin sleds -- -p testbeds --bin pvlab --profile quick";
    let output = Command::new(env!("CARGO"))
        .args(sleds.split(' '))
        .current_dir(root)
        .output()
        .expect("cargo runs");
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    let (program, sleds) =
        out.lines().last().and_then(|l| l.split_once(": ")).expect("what it made");
    let count: u64 = sleds.split(' ').next().and_then(|n| n.parse().ok()).expect(sleds);
    assert!(count > 10_000, "{out}");
    program.into()
}

/// Calls of the functions of one side whose names have this part.
fn calls(rows: &[Row], side: &str, part: &str) -> u64 {
    let of = rows.iter().filter(|row| row.process.ends_with(side) && row.name.contains(part));
    of.map(|row| row.calls).sum()
}

#[test]
fn every_function_of_both_sides_is_in_the_trace() {
    if !full("builds pvlab with instrumented functions") {
        return;
    }
    let scratch = Scratch::new();
    let to = scratch.text("out.pvtrace");
    let trips = TRIPS.to_string();
    let run = ["net", "--mode", "rr", "-n", &trips, "--trace-buffer", "64M", "--trace"];
    let run = [&run[..], &[to.as_str()]].concat();
    let ended = Process::start(scratch.command_at(&instrumented(), &run)).end();
    assert!(ended.status.success() && !ended.stdout.contains("note:"), "{ended:?}");

    let file = File::open(to.as_ref()).expect("written");
    let view = file.view().expect("a trace");
    let rows = Top::new(&view, &Filter::default(), true).expect("no filter").rows;
    for (side, driver) in [("netfront", "<frontend::"), ("netback", "<backend::")] {
        for (part, least) in [
            // smoltcp, and what it makes of our types.
            ("smoltcp::iface::interface::InterfaceInner>::process_tcp", TRIPS),
            ("smoltcp::iface::interface::Interface>::socket_egress::<", TRIPS),
            // The library's generic code, and drivers.
            ("alloc::", 1),
            ("std::", 1),
            ("rings::worker::Worker<", TRIPS),
            (driver, TRIPS),
        ] {
            let calls = calls(&rows, side, part);
            assert!(calls >= least, "{side}: {calls} of {part}");
        }
        assert_eq!(calls(&rows, side, "<tracer::"), 0, "the tracer's own");
    }
    let explained = explain(&view);
    let text = explained.text(tracer_view::Paint::default());
    assert!(!text.contains("could not be understood"), "{text}");
    let way = explained.ways.iter().find(|way| way.kind == "vif tx").expect(&text);
    assert!(way.requests >= TRIPS && way.unattributed() <= 5.0, "{text}");
}
