//! What if a guest dies while it writes, or the daemon while it reads? What was in the ring is read,
//! nobody hangs, one line says what happened, nothing is left behind.

mod common;

use std::fs::OpenOptions;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::Duration;

use common::{Process, Scratch, WATCHDOG, within};
use console::front::{Console, OnFull, Written};
use nix::fcntl::OFlag;
use nix::sys::signal::Signal;
use rings::Domain as _;
use rings::cost::CostNs;
use rings::store::Nodes as _;
use rings_host::{Connect, HostDomain};

/// A host by hand that nobody is too slow for.
fn host(scratch: &Scratch) -> Process {
    scratch.host(&["--stall-timeout", "100s"])
}

/// A daemon by hand that writes to this file.
fn consoled(scratch: &Scratch, log: &str, more: &[&str]) -> Process {
    let (dir, sink) = (scratch.text("lab"), format!("file={log}"));
    scratch.start(&[&["consoled", "--dir", &dir, "--sink", &sink], more].concat())
}

/// This process as a guest.
fn guest(scratch: &Scratch) -> HostDomain {
    HostDomain::connect(&Connect {
        dir: scratch.path("lab"),
        domid: None,
        pool_frames: 1,
        name: "test".into(),
        cost: CostNs::default(),
    })
    .expect("a guest")
}

fn text(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// What a guest has written, and how much of it the daemons that came and went have logged.
struct Log<'a> {
    path: &'a str,
    written: String,
    /// Where the ring began when the daemon of now came.
    from: usize,
    /// Where the log ended then.
    end: usize,
}

impl Log<'_> {
    fn put(&mut self, console: &mut Console<HostDomain>, line: &str) {
        assert_eq!(console.put(line.as_bytes()), Ok(line.len()));
        self.written += line;
    }

    /// Everything written comes into the log.
    fn assert_complete(&self) {
        let expected = self.end + self.written.len() - self.from;
        let complete = within(WATCHDOG, || text(self.path).len() >= expected);
        let found = text(self.path);
        assert!(complete && found.len() == expected, "{} of {expected} bytes", found.len());
        assert_eq!(found[self.end..], self.written[self.from..]);
    }

    /// The daemon is dead: all that has left the ring is in the log. What is still in the ring may be
    /// there too; the next daemon repeats it.
    fn daemon_died(&mut self, console: &mut Console<HostDomain>) {
        let found = text(self.path);
        let logged = &found[self.end..];
        assert!(self.written[self.from..].starts_with(logged), "it logged {logged}");
        let read = self.written.len() - console.unread().expect("true indices");
        let kept = self.from + logged.len();
        assert!(kept >= read, "{} bytes have left the ring and are nowhere", read - kept);
        (self.from, self.end) = (read, found.len());
    }
}

#[test]
fn a_daemon_that_is_killed_and_restarted_loses_no_byte_of_the_ring() {
    let _turn = common::turn();
    let scratch = Scratch::new();
    let (host, path) = (host(&scratch), scratch.text("log"));
    let pid = host.pid();
    let domain = guest(&scratch);
    let mut console = Console::open(&domain).expect("a console");
    let mut log = Log { path: &path, written: String::new(), from: 0, end: 0 };
    // Written before anybody read: it waits.
    log.put(&mut console, "first\n");
    for round in 0..10 {
        let daemon = consoled(&scratch, &path, &["--limit", "3/1s"]);
        log.assert_complete();
        assert!(within(WATCHDOG, || console.connected() && !console.closed()), "nobody reads");
        // Past its limit lines stay in the ring; there it finds them who comes next.
        for line in 0..20 {
            log.put(&mut console, &format!("round {round} line {line}\n"));
        }
        // Sooner or later in what it does with the first of them.
        std::thread::sleep(Duration::from_micros(50 * round));
        daemon.signal(Signal::SIGKILL);
        assert!(!daemon.end().status.success());
        assert!(within(WATCHDOG, || console.closed()), "the guest is told");
        log.daemon_died(&mut console);
    }
    let daemon = consoled(&scratch, &path, &[]);
    log.assert_complete();
    assert!(within(WATCHDOG, || console.connected() && !console.closed()), "nobody reads");
    daemon.leave();
    assert!(!console.connected(), "it says that it does not read any more");
    domain.goodbye(0);
    host.leave();
    scratch.assert_clean(&[pid], "a daemon killed and restarted");
}

#[test]
fn what_a_killed_guest_wrote_is_read() {
    let _turn = common::turn();
    let scratch = Scratch::new();
    let host = host(&scratch);
    let (pid, dir) = (host.pid(), scratch.text("lab"));
    for round in 0..3 {
        let log = scratch.text(&format!("log{round}"));
        let daemon = consoled(&scratch, &log, &[]);
        let guest = scratch.start(&["console-guest", "--dir", &dir, "--messages", "1M"]);
        assert!(within(WATCHDOG, || text(&log).len() > 3000), "round {round}: nothing comes");
        guest.signal(Signal::SIGKILL);
        assert!(!guest.end().status.success());
        let mut store = scratch.store();
        let gone = || !store.directory("/local/domain").is_ok_and(|all| all.contains(&"1".into()));
        assert!(within(WATCHDOG, gone), "round {round}: it is still there");
        daemon.leave();
        // Whole bytes in their order, a ring's worth after the last event among them; the last line
        // may have been half-way.
        let written = text(&log);
        let expected: String = (0..=written.len() / 6).map(|n| format!("{n:05}\n")).collect();
        let differs = written.bytes().zip(expected.bytes()).position(|(a, b)| a != b);
        assert_eq!(differs, None, "round {round}, of {} bytes", written.len());
    }
    host.leave();
    scratch.assert_clean(&[pid], "guests killed");
}

/// A run, one of whose processes gets a signal in its middle.
fn struck(signal: Signal, victim: &str, stall: &str) {
    let _turn = common::turn();
    let scratch = Scratch::new();
    let dir = scratch.text("lab");
    let run = scratch.start(&[
        "console",
        "-t",
        "100",
        "--quiet",
        "--dir",
        &dir,
        "--stall-timeout",
        stall,
    ]);
    let host = run.pid();
    let mut pid = None;
    let found = within(WATCHDOG, || {
        pid = scratch.processes().into_iter().find(|&pid| common::name(pid) == victim);
        // Running, not only started.
        pid.is_some() && scratch.path("lab/xenstored.sock").exists() && served(&scratch)
    });
    assert!(found, "{victim} does not run");
    let pid = pid.expect("found");
    common::signal(pid, signal);
    let how = if signal == Signal::SIGKILL { "died" } else { "stalled" };
    let ended = run.end();
    let what = format!("{signal} of {victim}");
    ended.assert_one_line(&what, 1, &[victim, &format!("process {pid}"), how]);
    scratch.assert_clean(&[host], &what);
}

/// Whether the daemon serves the first guest's console: it has bound its port.
fn served(scratch: &Scratch) -> bool {
    rings_host::Segment::open(&scratch.path("lab")).is_ok_and(|segment| {
        segment.blocks().any(|b| b.kind() == rings_host::BlockKind::Back && b.beat() > 0)
            && segment.blocks().any(|b| b.kind() == rings_host::BlockKind::Front && b.beat() > 0)
    })
}

#[test]
fn a_process_of_a_run_is_killed() {
    struck(Signal::SIGKILL, "consoled", "100s");
    struck(Signal::SIGKILL, "console-guest", "100s");
}

#[test]
fn a_process_of_a_run_is_stopped() {
    struck(Signal::SIGSTOP, "consoled", "4s");
    struck(Signal::SIGSTOP, "console-guest", "4s");
}

#[test]
fn a_run_that_is_interrupted_leaves_nothing() {
    let _turn = common::turn();
    let scratch = Scratch::new();
    for signal in [Signal::SIGINT, Signal::SIGHUP] {
        let run =
            scratch.start(&["console", "-t", "100", "--quiet", "--dir", &scratch.text("lab")]);
        let host = run.pid();
        assert!(within(WATCHDOG, || served(&scratch)), "no run");
        run.signal(signal);
        run.end().assert_one_line("interrupted", 1, &["interrupted"]);
        scratch.assert_clean(&[host], "interrupted");
    }
}

#[test]
fn ctrl_c_shows_the_figures_so_far() {
    let _turn = common::turn();
    let scratch = Scratch::new();
    let dir = scratch.text("lab");
    for (limit, neighbours) in [("off", "0"), ("30/200ms", "2")] {
        let run = scratch.start(
            &[
                &["console", "-t", "100", "--quiet", "--dir", &dir, "-J"][..],
                &["--limit", limit, "--neighbours", neighbours],
            ]
            .concat(),
        );
        let host = run.pid();
        let moved = within(WATCHDOG, || common::payload(&scratch) > 20_000);
        assert!(moved, "nothing is written");
        // As a terminal does it: to the whole process group.
        let group = nix::unistd::Pid::from_raw(host);
        nix::sys::signal::killpg(group, Signal::SIGINT).expect("a process group");
        let ended = run.end();
        ended.assert_one_line("Ctrl-C", 1, &["interrupted"]);
        let found: serde_json::Value = serde_json::from_str(&ended.stdout).expect("figures");
        let number = |key: &str| found["summary"][key].as_u64();
        assert!(number("bytes") > Some(10_000) && number("ops") > Some(2_000), "{found:#}");
        assert_eq!((number("lost"), number("errors")), (Some(0), Some(0)));
        let others = &found["console"]["neighbours"]["count"];
        assert_eq!(others.as_u64().unwrap_or(0).to_string(), neighbours);
        scratch.assert_clean(&[host], "Ctrl-C");
    }
}

#[test]
fn a_writer_whose_lines_nobody_takes_ends_when_its_time_is_over() {
    let _turn = common::turn();
    let scratch = Scratch::new();
    let (host, dir) = (host(&scratch), scratch.text("lab"));
    let pid = host.pid();
    // A terminal that nobody looks at, and a guest that is made to wait for it.
    let daemon =
        scratch.start(&["consoled", "--dir", &dir, "--overflow", "keep", "--limit", "off"]);
    for len in ["6", "5000"] {
        let args = ["console-guest", "--dir", &dir, "-t", "10", "--len", len];
        let ended = scratch.run(&[&args[..], &["--stall-timeout", "3"]].concat());
        let words = ["bytes wait in the ring", "nobody has read any for 3s", "read the console"];
        ended.assert_one_line(len, 1, &words);
    }
    for process in [daemon, host] {
        process.leave();
    }
    scratch.assert_clean(&[pid], "nobody looks");
}

#[test]
fn what_nobody_looks_at_loses_its_middle_and_nothing_else() {
    // Of 100 bytes: five times what the daemon keeps.
    const LINES: usize = 50_000;
    let _turn = common::turn();
    let scratch = Scratch::new();
    let (host, dir) = (host(&scratch), scratch.text("lab"));
    let pid = host.pid();
    let daemon = scratch.start(&["consoled", "--dir", &dir, "--limit", "off"]);
    let domain = guest(&scratch);
    let (mut console, mut waiter) =
        (Console::open(&domain).expect("a console"), domain.waiter().expect("a waiter"));
    console.watch(&mut waiter).expect("a doorbell");
    assert!(within(WATCHDOG, || console.connected() && !console.closed()), "nobody reads");
    for n in 0..LINES {
        let line = format!("{n:05}{:>95}", "\n");
        let written = console.write(&mut waiter, line.as_bytes(), OnFull::Block, || true);
        assert_eq!(written, Ok(Written { put: 100, dropped: 0 }), "line {n}");
    }
    assert!(console.flush(&mut waiter, WATCHDOG), "a writer is not held");
    let tty = scratch.store().read_string("/local/domain/1/console/tty").expect("a terminal");
    let flags = (OFlag::O_NOCTTY | OFlag::O_NONBLOCK).bits();
    let mut terminal =
        OpenOptions::new().read(true).custom_flags(flags).open(tty).expect("a terminal");
    let (mut seen, mut room) = (Vec::new(), [0; 4096]);
    let found = within(WATCHDOG, || {
        while let Ok(len) = terminal.read(&mut room) {
            seen.extend_from_slice(&room[..len]);
        }
        seen.ends_with(b"\n") && seen[seen.len() - 100..].starts_with(b"49999 ")
    });
    assert!(found, "the last line is not to be seen");
    // The terminal has some more of it than the buffer.
    assert!((1 << 20..(1 << 20) * 5 / 4 + (64 << 10)).contains(&seen.len()), "{}", seen.len());
    // Where it is cut the line that ends begins with another number than it should.
    let numbers: Vec<usize> = seen
        .split(|&byte| byte == b'\n')
        .filter(|line| line.len() == 99)
        .filter_map(|line| std::str::from_utf8(&line[..5]).ok()?.parse().ok())
        .collect();
    assert_eq!((numbers[0], numbers.last()), (0, Some(&(LINES - 1))));
    let cuts: Vec<_> = numbers.windows(2).filter(|two| two[1] != two[0] + 1).collect();
    assert!(cuts.len() == 1 && cuts[0][0] < cuts[0][1], "one cut, and nothing twice: {cuts:?}");
    // A quarter of what is kept is the beginning's, more than any terminal has taken.
    assert!(cuts[0][0] > (256 << 10) / 100 - 1, "the beginning survives: {cuts:?}");
    let ended = daemon.leave();
    let told: Vec<&str> = ended.stderr.lines().collect();
    assert!(told.len() == 1 && told[0].contains("loses its middle"), "once: {told:?}");
    domain.goodbye(0);
    host.leave();
    scratch.assert_clean(&[pid], "nobody looks");
}

#[test]
fn a_writer_without_a_daemon_says_so() {
    let _turn = common::turn();
    let scratch = Scratch::new();
    let host = host(&scratch);
    let pid = host.pid();
    let dir = scratch.text("lab");
    let args = ["console-guest", "--dir", &dir, "--messages", "5", "--stall-timeout", "0.2"];
    let ended = scratch.run(&args);
    ended.assert_one_line("alone", 1, &["domain 1", "pvlab consoled --dir", &dir]);
    // A shell without a daemon is no use, but it does not hang either.
    let shell = scratch.start(&["console-guest", "--dir", &dir]);
    let there = within(WATCHDOG, || scratch.store().read("/local/domain/1/console/port").is_ok());
    assert!(there, "no shell");
    shell.leave();
    host.leave();
    scratch.assert_clean(&[pid], "no daemon");
}
