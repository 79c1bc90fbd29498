//! `pvlab console` as its users run it: lines arrive whole, once and in order, whatever the limit, the
//! policy and the sink; figures agree with one another; bad input is one line. No figure of time is
//! asserted.

mod common;

use common::Scratch;
use serde_json::Value;

/// Runs `pvlab console ARGS -J`, which must succeed, and returns what it printed.
fn console(scratch: &Scratch, args: &[&str]) -> Value {
    let _turn = common::turn();
    let all = [&["console"], args, &["--stall-timeout", "100s", "-J"]].concat();
    let console = scratch.start(&all);
    let host = console.pid();
    let ended = console.end();
    assert!(ended.status.success() && ended.stderr.is_empty(), "{all:?}: {ended:?}");
    scratch.assert_clean(&[host], &all.join(" "));
    serde_json::from_str(&ended.stdout).unwrap_or_else(|e| panic!("{all:?}: {e}"))
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no count"))
}

#[test]
fn lines_arrive_under_the_limit() {
    let scratch = Scratch::new();
    let found = console(&scratch, &["--messages", "1500"]);
    let (summary, figures) = (&found["summary"], &found["console"]);
    assert_eq!(found["config"]["command"], "console");
    assert_eq!(found["config"]["limit"], "30/200ms");
    assert_eq!(found["config"]["on_full"], "block");
    assert_eq!(number(&summary["ops"]), 1500);
    assert_eq!(number(&summary["bytes_verified"]), 9000);
    assert_eq!((number(&summary["lost"]), number(&summary["errors"])), (0, 0));
    // 9,000 bytes are more than 30 events and a ring let through, unless each finds much.
    let (events, limited) = (number(&figures["events"]), number(&figures["limited"]));
    assert!(events <= 30 * (limited + 1), "{figures}");
    assert!(figures["bytes_per_drain"].as_f64().is_some_and(|bytes| bytes <= 2048.0));
    let series = found["series"]["messages"].as_array().expect("a series");
    assert_eq!(series.iter().map(number).sum::<u64>(), 1500);
    assert!(found["host"]["cpus"].as_u64() > Some(0));
}

#[test]
fn lines_arrive_without_a_limit_at_any_index() {
    let scratch = Scratch::new();
    for base in ["0", "0xfffffffc"] {
        for len in ["1", "2", "64", "2048", "5000"] {
            let args = ["--limit", "off", "--messages", "2000", "--len", len, "--index-base", base];
            let found = console(&scratch, &args);
            let (summary, len) = (&found["summary"], len.parse::<u64>().expect("a number"));
            assert_eq!(number(&summary["bytes_verified"]), 2000 * len, "{args:?}");
            assert_eq!(number(&found["console"]["events"]), 0, "{args:?}");
        }
    }
}

#[test]
fn every_write_is_told_and_counted_whether_or_not_a_doorbell_rang() {
    let scratch = Scratch::new();
    for limit in ["30/200ms", "off"] {
        let found = console(&scratch, &["--messages", "1500", "--limit", limit]);
        let summary = &found["summary"];
        assert!(summary["notifies_per_op"].as_f64() >= Some(1.0), "{limit}: {summary}");
        // There is no event index with which anybody could ask for less.
        assert_eq!(summary["notifies_suppressed"], Value::Null, "{limit}");
    }
}

#[test]
fn a_slow_daemon_finds_more_at_each_event() {
    let scratch = Scratch::new();
    let each = |think: &str| {
        let found = console(&scratch, &["--messages", "8000", "--daemon-think", think]);
        found["console"]["bytes_per_drain"].as_f64().expect("some")
    };
    // Only events count: what the guest writes while one is dealt with is read with it. A quick one that loses its
    // CPU is a slow one too.
    let mut said = Vec::new();
    let more = (0..5).any(|_| {
        let (quick, slow) = (each("0"), each("3ms"));
        said.push((quick, slow));
        slow > quick
    });
    assert!(more, "bytes at a time of a quick one, and of a slow one: {said:?}");
}

#[test]
fn what_a_warm_up_did_is_in_no_figure() {
    let scratch = Scratch::new();
    let found = console(&scratch, &["--warmup", "1.3", "-t", "0.1"]);
    let (summary, figures) = (&found["summary"], &found["console"]);
    assert_eq!(summary["bytes_verified"], summary["bytes"], "of the bytes that were read, all");
    let series = found["series"]["messages"].as_array().expect("a series");
    assert_eq!(series.iter().map(number).sum::<u64>(), number(&summary["ops"]));
    // A period is longer than what counts: at most one begins in it.
    let (events, limited) = (number(&figures["events"]), number(&figures["limited"]));
    assert!(events <= 60 && limited <= 2, "{figures}");
    assert!(number(&figures["period_ms"]["count"]) <= 1, "{figures}");
    // A time that is over is over: what is read of the last ring afterwards is not in it either.
    for args in [&["-t", "3"][..], &["-t", "3", "--limit", "off"], &["--messages", "900"]] {
        let all = [args, &["--warmup", "0.2", "--len", "100"]].concat();
        let summary = console(&scratch, &all)["summary"].take();
        assert_eq!(summary["bytes_verified"], summary["bytes"], "{all:?}: {summary}");
        assert!(number(&summary["ops"]) > 0, "{all:?}: {summary}");
        assert!(summary["notifies_per_op"].as_f64() >= Some(1.0), "{all:?}: {summary}");
    }
}

#[test]
fn whoever_drops_loses_lines_and_counts_them() {
    let scratch = Scratch::new();
    let found = console(&scratch, &["--messages", "300000", "--on-full", "drop", "--len", "16"]);
    let (ops, lost) = (number(&found["summary"]["ops"]), number(&found["summary"]["lost"]));
    assert_eq!(ops + lost, 300_000);
    assert!(lost > 0 && number(&found["console"]["dropped"]) == lost);
    assert_eq!(number(&found["summary"]["bytes_verified"]), ops * 16, "what was put arrived");
}

#[test]
fn whoever_spins_burns_a_cpu_and_whoever_blocks_does_not() {
    let scratch = Scratch::new();
    // Two rings in each half of a second: nearly all of it is waiting.
    let front = |on_full: &str| {
        let args =
            ["--messages", "12", "--len", "2048", "--limit", "2/500ms", "--on-full", on_full];
        let found = console(&scratch, &args);
        assert_eq!(number(&found["summary"]["bytes_verified"]), 12 * 2048, "{on_full}");
        assert_eq!(number(&found["summary"]["lost"]), 0, "{on_full}");
        found["summary"]["cpu"]["front"].as_f64().expect("it is measured")
    };
    // Shares of the time of runs that take as long; how much a CPU has for us is the same for both.
    let (block, spin) = (front("block"), front("spin"));
    assert!(spin > 10.0 * block, "{spin} of a CPU, and {block} asleep");
}

#[test]
fn every_sink_gets_every_line() {
    let scratch = Scratch::new();
    let log = scratch.text("console.log");
    let sink = format!("file={log}");
    console(&scratch, &["--messages", "700", "--limit", "off", "--sink", &sink]);
    let written = std::fs::read_to_string(&log).expect("a log");
    assert_eq!(written.lines().count(), 700);
    let expected: String = (0..700).map(|n| format!("{n:05}\n")).collect();
    assert_eq!(written, expected);
    let found = console(&scratch, &["--messages", "700", "--sink", "pty", "--log", &log]);
    assert_eq!(number(&found["console"]["discarded_bytes"]), 0);
    let written = std::fs::read_to_string(&log).expect("a log");
    assert_eq!(written, expected.repeat(2), "a log goes on where it ended");
    let args = ["--messages", "5000", "--limit", "off", "--len", "100", "--sink", "pty"];
    let keep = [&args[..], &["--overflow", "keep", "--buffer", "4K"]].concat();
    let found = console(&scratch, &keep);
    assert_eq!(number(&found["console"]["discarded_bytes"]), 0, "the guest waits instead");
}

#[test]
fn lines_that_are_checked_can_be_seen_too() {
    let _turn = common::turn();
    let scratch = Scratch::new();
    for verify in ["on", "off"] {
        let args = ["console", "--messages", "3000", "--neighbours", "1", "--sink", "stderr"];
        // So slowly that the other is there too before it is over.
        let slowly = ["--pace", "2ms", "--stall-timeout", "100s"];
        let ended = scratch.run(&[&args[..], &slowly, &["--verify", verify, "-J"]].concat());
        assert!(ended.status.success(), "{ended:?}");
        let found: Value = serde_json::from_str(&ended.stdout).expect("results alone");
        let checked = found["summary"]["bytes_verified"].as_u64();
        assert_eq!(checked, (verify == "on").then_some(18_000), "--verify {verify}");
        let mut seen = ended.stderr.lines().filter_map(|line| line.strip_prefix("domain 1: "));
        assert!((0..3000).all(|n| seen.next() == Some(&format!("{n:05}"))), "--verify {verify}");
        assert_eq!(seen.next(), None);
        let others = ended.stderr.lines().filter(|line| !line.starts_with("domain 1: "));
        assert!(others.clone().all(|line| line.starts_with("domain 2: 0")), "whole lines");
        assert!(others.count() > 0, "all guests are seen");
    }
}

#[test]
fn a_log_can_be_stamped_and_tamed() {
    let scratch = Scratch::new();
    let log = scratch.text("console.log");
    let sink = format!("file={log}");
    console(&scratch, &["--messages", "3", "--sink", &sink, "--timestamps", "--replace-escape"]);
    let written = std::fs::read_to_string(&log).expect("a log");
    let lines: Vec<&str> = written.lines().collect();
    assert_eq!(lines.len(), 3);
    assert!(
        lines.iter().all(|line| line.starts_with("[20") && line.contains("] 0000")),
        "{lines:?}"
    );
}

#[test]
fn a_guest_cannot_fill_the_disk_with_its_log() {
    let scratch = Scratch::new();
    let log = scratch.text("console.log");
    let sink = format!("file={log}");
    let args = ["--messages", "1000", "--len", "100", "--limit", "off", "--sink", &sink];
    console(&scratch, &[&args[..], &["--log-limit", "8K"]].concat());
    let len = |path: &str| std::fs::metadata(path).expect("a log").len();
    assert!(len(&log) <= 8192 && len(&format!("{log}.1")) <= 8192);
    let written = std::fs::read_to_string(&log).expect("a log");
    assert!(written.lines().last().is_some_and(|line| line.contains("999")), "the end is kept");
}

#[test]
fn neighbours_are_measured_apart() {
    let scratch = Scratch::new();
    let found = console(&scratch, &["-t", "3", "--neighbours", "3"]);
    let others = &found["console"]["neighbours"];
    assert_eq!(number(&others["count"]), 3);
    assert!(number(&others["messages"]) > 0 && others["read_us"]["max"].as_f64() > Some(0.0));
    // The run may be over before all of them are there.
    let found = console(&scratch, &["--messages", "1", "--neighbours", "20"]);
    assert_eq!(number(&found["summary"]["bytes_verified"]), 6);
}

#[test]
fn pipes_and_links_are_left_as_they_are() {
    let scratch = Scratch::new();
    let pipe = scratch.path("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    let at = pipe.clone();
    // Whoever reads a pipe reads to the end of the run, be it once looked at before or not.
    let reader = std::thread::spawn(move || std::fs::read_to_string(at).expect("a pipe"));
    let sink = format!("file={}", pipe.display());
    console(&scratch, &["--messages", "700", "--sink", &sink, "--log-limit", "4K"]);
    let seen = reader.join().expect("a reader");
    assert_eq!(seen, (0..700).map(|n| format!("{n:05}\n")).collect::<String>());
    assert!(pipe.exists() && !scratch.path("pipe.1").exists());
    // A link to a file that is not there yet.
    for (link, to) in [("log", "its file"), ("csv", "its numbers")] {
        std::os::unix::fs::symlink(to, scratch.path(link)).expect("a link");
    }
    let (sink, csv) = (format!("file={}", scratch.text("log")), scratch.text("csv"));
    console(&scratch, &["--messages", "3", "--sink", &sink, "--csv", &csv]);
    for (link, to) in [("log", "its file"), ("csv", "its numbers")] {
        assert!(scratch.path(link).is_symlink() && scratch.path(to).is_file(), "{link}");
    }
}

#[test]
fn a_log_that_cannot_be_written_is_no_reason_to_stop() {
    let _turn = common::turn();
    let scratch = Scratch::new();
    let args = ["console", "--messages", "700", "--limit", "off", "--sink", "file=/dev/full"];
    let ended = scratch.run(&[&args[..], &["--stall-timeout", "100s", "-J"]].concat());
    assert!(ended.status.success(), "{ended:?}");
    let found: Value = serde_json::from_str(&ended.stdout).expect("results");
    let figures = (&found["summary"]["lost"], &found["console"]["discarded_bytes"]);
    assert_eq!((number(figures.0), number(figures.1)), (700, 4200));
    assert_eq!(number(&found["summary"]["bytes_verified"]), 4200, "they came all the same");
    let told: Vec<&str> = ended.stderr.lines().collect();
    assert!(told.len() == 1 && told[0].contains("log cannot be written"), "once: {told:?}");
}

#[test]
fn sixty_three_neighbours_are_served_while_one_guest_floods() {
    let _turn = common::turn();
    let scratch = Scratch::new();
    let logs = scratch.text("logs");
    std::fs::create_dir(&logs).expect("a directory");
    let sink = format!("file={logs}");
    let args = ["console", "-t", "1000", "--neighbours", "63", "--sink", &sink, "--quiet", "-J"];
    let run = scratch.start(&[&args[..], &["--stall-timeout", "100s"]].concat());
    let host = run.pid();
    let lines = |domid: u32| {
        let log = std::fs::read(format!("{logs}/guest-{domid}.log")).unwrap_or_default();
        log.iter().filter(|&&byte| byte == b'\n').count()
    };
    let served = common::within(common::WATCHDOG, || (2..=64).all(|domid| lines(domid) > 1));
    let silent: Vec<u32> = (2..=64).filter(|&domid| lines(domid) < 2).collect();
    assert!(served, "nothing of domains {silent:?}");
    assert!(lines(1) > lines(2), "the flood is no flood");
    run.signal(nix::sys::signal::Signal::SIGINT);
    let ended = run.end();
    ended.assert_one_line("Ctrl-C", 1, &["interrupted"]);
    let found: Value = serde_json::from_str(&ended.stdout).expect("figures");
    let others = &found["console"]["neighbours"];
    assert_eq!(number(&others["count"]), 63);
    assert!(number(&others["messages"]) >= 2 * 63, "{others}");
    assert_eq!((number(&found["summary"]["lost"]), number(&found["summary"]["errors"])), (0, 0));
    scratch.assert_clean(&[host], "64 consoles");
}

#[test]
fn bursts_are_numbers_and_a_picture() {
    let scratch = Scratch::new();
    let (csv, svg) = (scratch.text("lines.csv"), scratch.text("lines.svg"));
    console(&scratch, &["--messages", "1200", "--csv", &csv, "--svg", &svg]);
    let numbers = std::fs::read_to_string(&csv).expect("numbers");
    assert!(numbers.starts_with("seconds,messages\n0.000000,0\n"), "{numbers}");
    assert!(numbers.ends_with(",1200\n"), "{numbers}");
    let picture = std::fs::read_to_string(&svg).expect("a picture");
    assert!(picture.starts_with("<svg") && picture.contains("6-byte lines, limit"), "{picture}");
}

#[test]
fn what_is_printed_can_be_typed_again() {
    let _turn = common::turn();
    let scratch = Scratch::new();
    let args = "--messages 50 --len 8 --on-full spin --limit 5/20ms --warmup 0.01 --think 1us";
    let typed: Vec<&str> = ["console"].into_iter().chain(args.split(' ')).collect();
    let ended = scratch.run(&typed);
    assert!(ended.status.success(), "{ended:?}");
    let repeat = ended.stdout.lines().find_map(|line| line.trim().strip_prefix("repeat:  pvlab "));
    let again: Vec<&str> = repeat.expect("a command").split(' ').collect();
    for word in ["console", "--messages", "50", "5/20ms", "spin"] {
        assert!(again.contains(&word), "{again:?}");
    }
    let ended = scratch.run(&again);
    assert!(ended.status.success(), "{again:?}: {ended:?}");
    if cfg!(feature = "no-trace") {
        return;
    }
    // The files too.
    let files = ["--svg", "lines.svg", "--trace", "out.pvtrace"].map(|word| match word {
        option if option.starts_with("--") => option.to_owned(),
        file => scratch.text(file),
    });
    let typed: Vec<&str> = ["console", "--messages", "50"]
        .into_iter()
        .chain(files.iter().map(String::as_str))
        .collect();
    let ended = scratch.run(&typed);
    assert!(ended.stdout.contains(&format!("repeat:  pvlab {}\n", typed.join(" "))), "{ended:?}");
}

#[test]
fn a_guests_log_lines_go_over_its_console() {
    let _turn = common::turn();
    let scratch = Scratch::new();
    let mut command = scratch.command(&["net", "-n", "64K", "--quiet", "--console"]);
    command.env("PVLAB_LOG", "info");
    let net = common::Process::start(command);
    let host = net.pid();
    let ended = net.end();
    assert!(ended.status.success(), "{ended:?}");
    let over_console: Vec<&str> =
        ended.stderr.lines().filter(|line| line.starts_with("domain 1: ")).collect();
    assert!(over_console.iter().any(|line| line.contains("connected")), "{ended:?}");
    scratch.assert_clean(&[host], "net --console");
    let mut command = scratch.command(&["blk", "-n", "100", "--quiet", "--console"]);
    command.env("PVLAB_LOG", "info");
    let ended = common::Process::start(command).end();
    assert!(ended.status.success(), "{ended:?}");
    assert!(ended.stderr.lines().any(|line| line.starts_with("domain 1: ")), "{ended:?}");
}

#[test]
fn bad_input_is_one_line() {
    let scratch = Scratch::new();
    let nowhere = scratch.text("no/such/log");
    let sink = format!("file={nowhere}");
    let file = scratch.text("file");
    let same = format!("file={file}");
    for (args, code, parts) in [
        (&["--limit", "30"][..], 2, &["--limit 30", "EVENTS/TIME", "off"][..]),
        (&["--limit", "0/200ms"], 2, &["--limit 0/200ms", "1 to 1000000"]),
        (&["--limit", "30/200"], 2, &["--limit 30/200", "unit"]),
        (&["--limit", "many/200ms"], 2, &["'many'", "EVENTS/TIME"]),
        (&["--sink", "printer"], 2, &["--sink printer", "pty, file=PATH"]),
        (&["--sink", &sink], 1, &["--sink", &nowhere, "No such file"]),
        (&["--log", &nowhere], 1, &["--log", &nowhere, "No such file"]),
        (&["--sink", &same, "--log", &file], 2, &["--log", "a file already", "--sink pty"]),
        (&["--timestamps"], 2, &["--timestamps", "--log"]),
        (&["--len", "0"], 2, &["--len 0", "use 1 to 64K"]),
        (&["--len", "4K", "--on-full", "drop"], 2, &["--len 4096", "2048", "--on-full"]),
        (&["--on-full", "wait"], 2, &["--on-full wait", "block"]),
        (&["--messages", "0"], 2, &["--messages 0"]),
        (&["--messages", "5", "-t", "1"], 2, &["--messages", "-t"]),
        (&["--batch", "8"], 2, &["--batch", "--len"]),
        (&["--grant", "map"], 2, &["--grant"]),
        (&["--notify", "always"], 2, &["--notify", "--limit"]),
        (&["--overflow", "keep"], 2, &["--overflow keep", "--sink pty"]),
        (&["--neighbours", "64"], 2, &["--neighbours 64", "0 to 63"]),
        (&["--neighbours", "2", "--log", &file], 2, &["--log", "directory"]),
        (&["--domain", "1"], 2, &["--attach"]),
        (&["--attach", "--messages", "5"], 2, &["--messages", "--attach"]),
        (&["--attach", "--sink", "null"], 2, &["--sink null", "--sink pty"]),
        (&["--attach", "--domain", "3"], 1, &["--domain 3", "--dir"]),
        (&["--attach", "--dir", &file], 1, &["no lab in", &file]),
        (&["--svg", &nowhere], 1, &["--svg", "no such directory"]),
    ] {
        let all = [&["console"], args].concat();
        scratch.run(&all).assert_one_line(&all.join(" "), code, parts);
    }
    for (args, parts) in [
        (&["consoled"][..], &["--dir", "pvlab host"][..]),
        (&["console-guest"], &["--dir", "pvlab host"]),
        (&["consoled", "--dir", "x", "-t", "5"], &["-t", "until it is ended"]),
        (&["console-guest", "--dir", "x", "--len", "9"], &["--len", "amount"]),
    ] {
        scratch.run(args).assert_one_line(&args.join(" "), 2, parts);
    }
    for command in ["consoled", "console-guest"] {
        let ended = scratch.run(&[command, "--dir", &file]);
        ended.assert_one_line(command, 1, &["no lab in", &file]);
    }
}
