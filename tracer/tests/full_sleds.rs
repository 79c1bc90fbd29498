//! A program whose functions the compiler instruments, built by `bin/sleds` as its users do: the trace has every call,
//! those of its dependencies too, and so has `mcount`'s; uftrace counts the same. And what is said where a toolchain
//! cannot.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use tracer::format::{Entry, Event, Mapped, Record, Trace};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the root").to_owned()
}

/// What of it is needed.
const SMOLTCP: &str = "\"medium-ip\", \"proto-ipv4\", \"socket-udp\"";
/// A function of it that is called.
const CHECKSUM: &str = "smoltcp::wire::ip::checksum::data";

/// A package of its own, outside of the workspace, as a user's would be.
fn package(folder: &Path) {
    let tracer = env!("CARGO_MANIFEST_DIR");
    let manifest = format!(
        "[package]\nname = \"instrumented\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\
         [features]\nsleds = [\"tracer/sleds\"]\n[dependencies]\nlibc = \"*\"\ntracer = {{ path = {tracer:?} }}\n\
         smoltcp = {{ version = \"*\", default-features = false, features = [{SMOLTCP}] }}\n\
         [profile.release]\ndebug = \"line-tables-only\"\n[workspace]\n"
    );
    std::fs::create_dir(folder.join("src")).expect("a folder");
    std::fs::write(folder.join("Cargo.toml"), manifest).expect("written");
    let program = include_str!("instrumented/program.rs");
    std::fs::write(folder.join("src/main.rs"), program).expect("written");
    std::fs::copy(root().join("Cargo.lock"), folder.join("Cargo.lock")).expect("copied");
}

/// Builds the package with `bin/sleds`. Returns the program.
fn build(package: &Path, more: &[&str]) -> PathBuf {
    let output = Command::new(env!("CARGO"))
        .args(["run", "-q", "-p", "tracer", "--features", "sleds", "--bin", "sleds"])
        .arg("--manifest-path")
        .arg(root().join("Cargo.toml"))
        .arg("--")
        .args(more)
        .arg("--release")
        .current_dir(package)
        .output()
        .expect("cargo runs");
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    assert!(!err.contains("CSV file"), "LLVM's noise is kept away: {err}");
    let line = out.lines().last().expect("it says what it made");
    line.split_once(": ").expect("a path, and what is in it").0.into()
}

/// What the program says it has called.
fn run(program: &Path, trace: &Path) -> BTreeMap<String, u64> {
    let output = Command::new(program).arg(trace).output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    let pairs = out.lines().filter_map(|line| line.split_once(' '));
    pairs.map(|(name, count)| (name.to_owned(), count.parse().expect("a number"))).collect()
}

/// The events of a thread, and the functions.
fn events(path: &Path, name: &str) -> (Vec<Event>, Vec<(u32, u64, String)>) {
    let file = Mapped::open(path).expect("written");
    let trace = Trace::parse(&file).expect("a trace");
    let functions = trace.processes[0].journal().filter_map(|entry| match entry {
        Entry::Function(f) => Some((f.id, f.address, f.name)),
        _ => None,
    });
    let thread = trace.threads().find(|t| t.info.name == name).expect("it worked");
    assert_eq!((thread.info.lost, thread.overwritten()), (0, 0));
    (thread.records().map(Record::event).collect(), functions.collect())
}

/// The last part of a path: `leaf` of `instrumented::leaf`, `generic` of `instrumented::generic::<u64>`.
fn short(name: &str) -> &str {
    let name = name.strip_prefix("instrumented::").unwrap_or(name);
    name.split("::<").next().unwrap_or(name)
}

#[test]
fn every_call_is_in_the_trace() {
    if std::env::var_os("PVLAB_FULL").is_none_or(|full| full != "1") {
        println!("skipped: builds programs twice; set PVLAB_FULL=1 to run it");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("out.pvtrace");
    package(folder.path());

    let program = build(folder.path(), &[]);
    let said = run(&program, &path);
    let (events, functions) = events(&path, "first");
    let name = |id| functions.iter().find(|f| f.0 == id).map_or("?", |f| short(&f.2));
    let mut counted: BTreeMap<String, u64> = BTreeMap::new();
    let mut open = Vec::new();
    for event in &events {
        match *event {
            Event::FunctionEnter(id) => {
                *counted.entry(name(id).into()).or_default() += 1;
                open.push(id);
            }
            Event::FunctionExit(id) | Event::FunctionTail(id) => {
                // What unwound has no exit of its own.
                let at = open.iter().rposition(|&o| o == id).expect("it began");
                open.truncate(at);
            }
            _ => {}
        }
    }
    for (name, count) in &said {
        assert_eq!(counted.get(name), Some(count), "{name}: {counted:?}");
    }
    assert!(
        counted.keys().any(|name| name.contains("btree::map")),
        "std's generic code: {counted:?}"
    );
    assert_eq!(counted.get(CHECKSUM), Some(&7), "a dependency's function: {counted:?}");
    assert!(!counted.keys().any(|name| name.contains("tracer::")), "not the tracer's own");

    signals_spoil_nothing(&path);
    uftrace(&program, &said, folder.path());

    let said = run(&build(folder.path(), &["--mcount"]), &path);
    let (events, mut functions) = self::events(&path, "first");
    functions.sort_by_key(|f| f.1);
    let mut counted: BTreeMap<String, u64> = BTreeMap::new();
    for event in events {
        if let Event::Called { address, .. } = event {
            let behind = functions.partition_point(|f| f.1 <= address.into());
            let name = short(&functions[behind - 1].2);
            *counted.entry(name.into()).or_default() += 1;
        }
    }
    for (name, count) in &said {
        assert_eq!(counted.get(name), Some(count), "mcount, {name}: {counted:?}");
    }
    assert_eq!(counted.get(CHECKSUM), Some(&7), "mcount: {counted:?}");
}

/// A thread that signals interrupted while its calls were being written: those of a handler are there as a whole, or
/// not at all.
fn signals_spoil_nothing(path: &Path) {
    let (events, functions) = events(path, "interrupted");
    let name = |id| functions.iter().find(|f| f.0 == id).map_or("?", |f| short(&f.2));
    let (mut open, mut counted) = (Vec::new(), BTreeMap::<_, u32>::new());
    for event in events {
        match event {
            Event::FunctionEnter(id) => {
                let inside = open.last().map_or("nothing", |&id| name(id));
                *counted.entry((inside, name(id))).or_default() += 1;
                open.push(id);
            }
            Event::FunctionExit(id) | Event::FunctionTail(id) => {
                assert_eq!(open.pop(), Some(id), "{counted:?}");
            }
            _ => {}
        }
    }
    let calls = |caller, callee| counted.get(&(caller, callee)).copied().unwrap_or(0);
    let handled: u32 =
        counted.iter().filter(|((_, name), _)| *name == "handler").map(|(_, n)| n).sum();
    assert!(handled > 0, "of a hundred some: {counted:?}");
    assert_eq!(calls("handler", "in_handler"), handled, "{counted:?}");
    assert_eq!(calls("in_handler", "leaf"), handled, "{counted:?}");
    assert_eq!(calls("interrupted", "leaf"), 5000, "{counted:?}");
}

/// A toolchain whose LLVM does not know the list of functions, and one whose LLVM does nothing with it.
#[test]
fn a_toolchain_that_cannot_is_named_with_what_can_be_done_without_it() {
    if std::env::var_os("PVLAB_FULL").is_none_or(|full| full != "1") {
        println!("skipped: builds programs; set PVLAB_FULL=1 to run it");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        std::fs::write(folder.path().join(name), text).expect("written");
    };
    let manifest = "[package]\nname = \"plain\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\
                    [features]\nsleds = []\n[workspace]\n";
    write("Cargo.toml", manifest);
    std::fs::create_dir(folder.path().join("src")).expect("a folder");
    write("src/main.rs", "fn main() { println!(\"plain\"); }\n");
    let ignorant = "case \"$*\" in *forceattrs*) \
                    echo \"rustc: Unknown command line argument '-forceattrs-csv-path=x'.\" >&2; exit 1;; esac\n";
    let idle = "for word do shift; case \"$word\" in *forceattrs*) ;; *) set -- \"$@\" \"$word\";; esac; done\n";
    for (name, does, why) in [
        ("ignorant", ignorant, "its LLVM has no -forceattrs-csv-path"),
        ("idle", idle, "and put no sleds into them"),
    ] {
        let real = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
        write(name, &format!("#!/bin/sh\n{does}exec {real} \"$@\"\n"));
        let rustc = folder.path().join(name);
        std::fs::set_permissions(&rustc, std::fs::Permissions::from_mode(0o755)).expect("set");
        let output = Command::new(sleds())
            .arg("--offline")
            .current_dir(folder.path())
            .env("RUSTC", &rustc)
            .output()
            .expect("it runs");
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{name}: {err}");
        let said: Vec<&str> = err.lines().filter(|line| line.starts_with("error: ")).collect();
        let last = said.last().expect("it says why");
        for part in ["rustc 1.", why, "traces of #[traced] functions need none of this"] {
            assert!(last.contains(part), "{name}: no {part} in {err}");
        }
    }
}

/// `bin/sleds` itself, so that what is in the environment is for it alone.
fn sleds() -> PathBuf {
    let output = Command::new(env!("CARGO"))
        .args(["build", "-q", "-p", "tracer", "--features", "sleds", "--bin", "sleds"])
        .args(["--message-format", "json"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    let found = out.split("\"executable\":\"").nth(1).and_then(|tail| tail.split('"').next());
    found.expect("a program").into()
}

/// Has uftrace count the calls too, of a run that does not record itself: sleds can be patched by one alone. Exits
/// are estimated (`-e`), since it cannot follow what unwinds.
fn uftrace(program: &Path, said: &BTreeMap<String, u64>, folder: &Path) {
    let version = Command::new("uftrace").arg("--version").output();
    version.expect("uftrace counts the same calls: apt install uftrace");
    let data = folder.join("uftrace");
    let mut record = Command::new("uftrace");
    record.args(["record", "-e", "-P", ".", "-d"]).arg(&data).arg(program);
    let output = record.output().expect("uftrace runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut report = Command::new("uftrace");
    report.args(["report", "-f", "call", "--demangle=full", "-d"]);
    let report = report.arg(&data).output().expect("uftrace runs");
    let report = String::from_utf8_lossy(&report.stdout).into_owned();
    // It may not know how these names are spelt.
    let counted = |wanted: &str| {
        let (plain, mangled) = (format!("::{wanted}"), format!("{}{wanted}", wanted.len()));
        report.lines().find_map(|line| {
            let (count, name) = line.trim().split_once(char::is_whitespace)?;
            let found =
                name.contains("instrumented") && (name.contains(&plain) || name.contains(&mangled));
            found.then_some(count.to_owned())
        })
    };
    for (name, count) in said {
        assert_eq!(counted(name), Some(count.to_string()), "{name}: {report}");
    }
}
