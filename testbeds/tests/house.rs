//! The rules of the house, as far as a program can check them: who may depend on whom, where `unsafe`
//! may stand, how long a file may be, what opens it, and that the README tells the truth about files.
//!
//! Only text is looked at here: manifests through `cargo metadata`, sources and the README as they lie.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// All the files that may contain `unsafe`. A name added here is a decision, not an accident.
const UNSAFE_FILES: [&str; 21] = [
    "rings/src/mem.rs",
    "rings/host/src/sys.rs",
    "rings/host/src/mapping.rs",
    "rings/host/src/stats.rs",
    "blkif/src/back/disk/uring.rs",
    "tracer/src/clock.rs",
    "tracer/src/alloc.rs",
    "tracer/src/format/mapped.rs",
    "tracer/src/keeper.rs",
    "tracer/src/recorder/header.rs",
    "tracer/src/recorder/memory.rs",
    "tracer/src/recorder/process.rs",
    "tracer/src/recorder/site.rs",
    "tracer/src/recorder/switch.rs",
    "tracer/src/recorder/thread.rs",
    "tracer/src/sleds/handler.rs",
    "tracer/src/sleds/map.rs",
    // Signals, a fork.
    "tracer/tests/instrumented/program.rs",
    "tracer/tests/recorder.rs",
    // Owns descriptors that a raw message brought, as sys.rs does.
    "rings/host/tests/hostile_client.rs",
    "rings/host/tests/trace.rs",
];

/// Each crate, and which of the others it may depend on (tests and benches apart).
const ARROWS: [(&str, &[&str]); 10] = [
    ("tracer-macros", &[]),
    ("tracer", &["tracer-macros"]),
    ("tracer-view", &["tracer"]),
    ("rings", &["tracer"]),
    ("rings-host", &["rings", "tracer"]),
    ("frontend", &["rings", "tracer"]),
    ("backend", &["rings", "tracer"]),
    ("console", &["rings", "tracer"]),
    ("blkif", &["rings", "tracer"]),
    (
        "testbeds",
        &[
            "tracer",
            "tracer-view",
            "rings",
            "rings-host",
            "frontend",
            "backend",
            "console",
            "blkif",
        ],
    ),
];

/// What may lie in the root folder, beside names that begin with a dot.
const ROOT: [&str; 11] = [
    "Cargo.toml",
    "Cargo.lock",
    "LICENSE",
    "README.md",
    "rings",
    "frontend",
    "backend",
    "console",
    "blkif",
    "tracer",
    "testbeds",
];
/// What builds and runs leave there; git does not see it.
const ROOT_IGNORED: [&str; 2] = ["target", "pvlab-out"];

/// Lines of a file, its tests apart.
const LONGEST: usize = 400;

/// Words that would be second names for something that has one (the README's vocabulary).
const BANNED: [(&str, &str); 6] = [
    ("dom_id", "domid"),
    ("domain_id", "domid"),
    ("grant_id", "gref"),
    ("grant_ref_id", "gref"),
    ("channel_id", "port"),
    ("unshare_page", "end_access"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("testbeds lies in the root").to_owned()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Every Rust file of the workspace with its text, named from the root.
fn sources() -> BTreeMap<String, String> {
    fn walk(dir: &Path, root: &Path, all: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(dir).expect("a folder of the workspace") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.starts_with('.') || ROOT_IGNORED.contains(&name.as_str()) {
                continue;
            }
            if path.is_dir() {
                walk(&path, root, all);
            } else if name.ends_with(".rs") {
                let text = fs::read_to_string(&path).expect("a source is text");
                let shown = path.strip_prefix(root).expect("below the root");
                all.insert(shown.display().to_string(), text);
            }
        }
    }
    let mut all = BTreeMap::new();
    walk(&root(), &root(), &mut all);
    assert!(all.len() > 100, "the sources are not where they were");
    all
}

/// Code without line comments and without what stands in string literals. Enough for looking for a
/// word; raw strings over several lines are none of ours.
fn code(line: &str) -> String {
    let mut out = String::new();
    let mut in_string = false;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' if in_string => drop(chars.next()),
            // A quotation mark as a character begins no string.
            '\'' if !in_string && chars.peek() == Some(&'"') => drop(chars.next()),
            '"' => in_string = !in_string,
            '/' if !in_string && chars.peek() == Some(&'/') => break,
            c if !in_string => out.push(c),
            _ => {}
        }
    }
    out
}

fn has_word(text: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word)
        .any(|(at, _)| !text[..at].ends_with(part) && !text[at + word.len()..].starts_with(part))
}

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo prints JSON")
}

#[test]
fn the_arrows_between_the_crates_are_those_of_the_design() {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().expect("packages");
    let name_of = |p: &Value| p["name"].as_str().unwrap_or_default().to_owned();
    let ours: BTreeSet<String> = packages.iter().map(name_of).collect();
    let known: BTreeSet<String> = ARROWS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(ours, known, "the crates of the workspace");
    for package in packages {
        let name = name_of(package);
        let (_, allowed) = ARROWS.iter().find(|(n, _)| *n == name).expect("compared above");
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let to = dependency["name"].as_str().unwrap_or_default();
            if dependency["kind"].as_str() != Some("dev") && ours.contains(to) {
                assert!(allowed.contains(&to), "{name} must not depend on {to}");
            }
        }
    }
}

#[test]
fn unsafe_stands_in_the_listed_files_only() {
    let mut found = BTreeSet::new();
    for (path, text) in sources() {
        if text.lines().any(|line| has_word(&code(line), "unsafe")) {
            found.insert(path);
        }
    }
    let listed: BTreeSet<String> = UNSAFE_FILES.iter().map(|&f| f.to_owned()).collect();
    let stray: Vec<_> = found.difference(&listed).collect();
    assert!(stray.is_empty(), "unsafe outside its files: {stray:?}");
    let idle: Vec<_> = listed.difference(&found).collect();
    assert!(idle.is_empty(), "listed, but without unsafe: {idle:?}");
}

#[test]
fn crates_without_unsafe_forbid_it() {
    for crate_root in [
        "frontend/src/lib.rs",
        "backend/src/lib.rs",
        "console/src/lib.rs",
        "tracer/view/src/lib.rs",
        "testbeds/src/lib.rs",
        "testbeds/src/main.rs",
    ] {
        assert!(read(crate_root).contains("\n#![forbid(unsafe_code)]\n"), "{crate_root}");
    }
    // One of its files has some: the list above names it.
    assert!(read("blkif/src/lib.rs").contains("\n#![deny(unsafe_code)]\n"));
}

#[test]
fn every_file_says_first_what_lives_in_it() {
    for (path, text) in sources() {
        let first = text.lines().next().unwrap_or_default();
        assert!(first.starts_with("//! ") && first.len() > 12, "{path} begins with {first:?}");
    }
}

#[test]
fn no_file_is_longer_than_one_can_read() {
    for (path, text) in sources() {
        if path.split('/').any(|part| part == "tests" || part == "benches" || part == "tests.rs") {
            continue;
        }
        let lines = text.lines().take_while(|line| line.trim() != "#[cfg(test)]").count();
        assert!(lines <= LONGEST, "{path} has {lines} lines without its tests");
    }
}

/// Whether this line of code orders accesses to memory.
fn orders(line: &str) -> bool {
    let code = code(line);
    let ordered = ["Acquire", "Release", "AcqRel", "SeqCst"];
    ordered.iter().any(|name| code.contains(&format!("Ordering::{name}")))
}

/// Lines between a `SYNC` and the access that it speaks of, at most: one may speak of a fence and of
/// the look behind it.
const SYNC_REACH: usize = 6;

/// `SYNC <caption>:` marks one partner of a pair of accesses; the other bears the same caption. No
/// access that orders others stands without one.
#[test]
fn every_ordered_access_names_its_partner() {
    let mut captions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut accesses = 0;
    for (path, text) in sources().into_iter().filter(|(path, _)| path.contains("src/")) {
        let lines: Vec<&str> =
            text.lines().take_while(|line| line.trim() != "#[cfg(test)]").collect();
        for (n, _) in lines.iter().enumerate().filter(|(_, line)| orders(line)) {
            accesses += 1;
            let near = &lines[n.saturating_sub(SYNC_REACH)..=n];
            let named = near.iter().any(|line| line.contains("// SYNC "));
            assert!(named, "{path}:{}: with whom? {}", n + 1, lines[n].trim());
        }
        for (n, line) in lines.iter().enumerate() {
            let Some((_, comment)) = line.split_once("//") else { continue };
            let Some((_, tail)) = comment.split_once("SYNC ") else { continue };
            let Some((caption, _)) = tail.split_once(':') else {
                panic!("{path}:{}: a SYNC without a caption on its own line", n + 1);
            };
            captions.entry(caption.into()).or_default().push(format!("{path}:{}", n + 1));
        }
    }
    assert!(captions.len() >= 6 && accesses >= 40, "{accesses}: {captions:?}");
    for (caption, places) in captions {
        assert!(places.len() > 1, "{caption:?} stands alone at {}", places[0]);
    }
}

/// Names of the functions that a file shows to others, in order.
fn functions(text: &str) -> Vec<String> {
    let name = |line: &str| {
        let tail = line.trim_start().strip_prefix("pub fn ")?;
        Some(tail.split(['(', '<']).next().unwrap_or_default().to_owned())
    };
    text.lines().filter_map(name).collect()
}

#[test]
fn the_two_halves_of_a_ring_read_side_by_side() {
    // What one half calls a request is a response to the other.
    let alike = |name: String| match name.as_str() {
        "free_requests" | "unanswered" => "room".to_owned(),
        // The index of the next request is the same question on both sides.
        "next_request" => name,
        _ => name
            .replace("requests", "slots")
            .replace("responses", "slots")
            .replace("request", "slot")
            .replace("response", "slot"),
    };
    let front = functions(&read("rings/src/ring/front.rs"));
    let back = functions(&read("rings/src/ring/back.rs"));
    assert!(front.contains(&"push_requests".into()) && back.contains(&"push_responses".into()));
    // Only a frontend waits for answers.
    let front = front.into_iter().filter(|name| name != "outstanding").map(alike);
    let back = back.into_iter().map(alike);
    assert_eq!(front.collect::<Vec<_>>(), back.collect::<Vec<_>>());
}

#[test]
fn the_two_ends_of_a_ring_of_bytes_read_side_by_side() {
    let writer = functions(&read("rings/src/bytes/writer.rs"));
    let reader = functions(&read("rings/src/bytes/reader.rs"));
    let alike: Vec<String> = writer.iter().map(|name| name.replace("write", "read")).collect();
    // Only who reads can want bytes to stay where they are for a while.
    let reader = reader.into_iter().filter(|name| name != "peek" && name != "consume");
    let reader: Vec<String> = reader.collect();
    assert!(writer.contains(&"write".into()) && alike == reader, "{writer:?}, {reader:?}");
}

#[test]
fn the_two_halves_of_a_driver_do_not_know_each_other() {
    for (path, text) in sources() {
        for (half, other) in [("front", "back"), ("back", "front")] {
            if path.contains(&format!("/src/{half}/")) {
                let known = [format!("crate::{other}"), format!("super::super::{other}")];
                let knows = known.iter().any(|name| text.lines().any(|l| code(l).contains(name)));
                assert!(!knows, "{path} imports the {other} half");
            }
        }
    }
}

/// `.ci/run` sets `PVLAB_FULL` for these targets alone: anywhere else such a test would never run.
#[test]
fn what_needs_more_than_rust_stands_in_a_target_that_says_so() {
    let mut some = false;
    for (path, text) in sources().into_iter().filter(|(path, _)| path.contains("/tests/")) {
        let name = path.rsplit('/').next().unwrap_or_default();
        let asks = |line: &str| has_word(&code(line), "full") && line.contains("full(\"");
        let needs = text.lines().any(|line| line.starts_with("fn full_") || asks(line));
        assert!(!needs || name.starts_with("full_"), "{path} has a test that never runs in CI");
        some |= needs;
    }
    assert!(some, "the tests are not where they were");
}

#[test]
fn one_thing_has_one_name() {
    for (path, text) in sources() {
        if path == "testbeds/tests/house.rs" {
            continue;
        }
        for (wrong, right) in BANNED {
            assert!(!has_word(&text, wrong), "{path}: it is called {right}, not {wrong}");
        }
    }
}

#[test]
fn nothing_else_lies_in_the_root() {
    for entry in fs::read_dir(root()).expect("the root") {
        let name = entry.expect("an entry").file_name().to_string_lossy().into_owned();
        let known = ROOT.contains(&name.as_str()) || ROOT_IGNORED.contains(&name.as_str());
        assert!(known || name.starts_with('.'), "{name} has no place in the root folder");
    }
    for name in ROOT {
        assert!(root().join(name).exists(), "{name} is missing");
    }
}

/// Targets of the Markdown links in `text`.
fn links(text: &str) -> Vec<String> {
    text.split("](")
        .skip(1)
        .filter_map(|tail| tail.split_once(')'))
        .map(|(to, _)| to.to_owned())
        .collect()
}

/// A heading as GitHub names it in links.
fn anchor(heading: &str) -> String {
    let kept = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = kept.chars().filter(|&c| c.is_alphanumeric() || c == ' ' || c == '-' || c == '_');
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn every_link_of_the_readme_leads_somewhere() {
    let readme = read("README.md");
    let anchors: BTreeSet<String> =
        readme.lines().filter(|line| line.starts_with('#')).map(anchor).collect();
    let links = links(&readme);
    assert!(links.len() > 20, "{links:?}");
    for link in links {
        if let Some(name) = link.strip_prefix('#') {
            assert!(anchors.contains(name), "no heading for #{name}");
        } else {
            assert!(!link.contains("://") && !link.starts_with('/'), "{link} is not relative");
            assert!(root().join(&link).exists(), "{link} does not exist");
        }
    }
}

/// The numbers of the `Journey N.` docs in one text.
fn stops(text: &str) -> Vec<u32> {
    let number = |tail: &str| {
        let (number, rest) = tail.split_at(tail.find(|c: char| !c.is_ascii_digit())?);
        rest.starts_with('.').then(|| number.parse().ok()).flatten()
    };
    text.split("Journey ").skip(1).filter_map(number).collect()
}

#[test]
fn the_journey_has_eighteen_stops_in_the_code_and_in_the_readme() {
    let mut places: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for (path, text) in sources().into_iter().filter(|(p, _)| p.contains("/src/")) {
        for stop in stops(&text) {
            places.entry(stop).or_default().push(path.clone());
        }
    }
    let expected: Vec<u32> = (1..=18).collect();
    assert_eq!(
        places.keys().copied().collect::<Vec<_>>(),
        expected,
        "docs that begin `Journey N.`"
    );
    // The README's list: `N. [function](file) ...`.
    let readme = read("README.md");
    let journey = readme.split("\n## ").find(|part| part.starts_with("The journey of a packet"));
    let mut listed = Vec::new();
    for line in journey.expect("the README tells the journey").lines() {
        let Some((number, tail)) = line.split_once(". ") else { continue };
        let Ok(number) = number.parse::<u32>() else { continue };
        listed.push(number);
        let link = links(tail).into_iter().next().unwrap_or_default();
        assert_eq!(places[&number], [link], "stop {number}: in the code, and in the README");
        let function = tail.split('`').nth(1).unwrap_or_default();
        let name = function.rsplit("::").next().unwrap_or_default();
        let text = read(&places[&number][0]);
        let doc = text.find(&format!("Journey {number}.")).expect("found above");
        let declared = text[doc..].find("fn ").map(|at| &text[doc + at + 3..]);
        assert!(
            declared.is_some_and(|d| d.starts_with(name) && !name.is_empty()),
            "stop {number} documents another function than {function}"
        );
    }
    assert_eq!(listed, expected, "the README's list");
}
