//! A lab by hand: host, netback and guests in terminals of their own. One guest follows another, also
//! one that was killed, and everybody leaves in good order.

mod common;

use std::time::Duration;

use common::{Process, Scratch, within};
use nix::sys::signal::Signal;

/// A host and a netback in `lab`, ready for guests.
fn lab(scratch: &Scratch) -> (Process, Process) {
    lab_with(scratch, &[])
}

/// The same, with options for the host.
fn lab_with(scratch: &Scratch, options: &[&str]) -> (Process, Process) {
    let host = scratch.host(options);
    let netback = scratch.start(&["netback", "--dir", &scratch.text("lab"), "-A", "0,0"]);
    (host, netback)
}

/// Ports of a domain that are bound, as `ls --ports` shows them.
fn bound(text: &str, dom: &str) -> usize {
    let fields = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let ports = text.lines().skip_while(|line| !line.contains("its port")).skip(1);
    let ports = ports.map(fields).filter(|port| port.len() == 5 && port[0] == dom);
    ports.filter(|port| port[3] != "-").count()
}

#[test]
fn guests_follow_one_another() {
    let _turn = common::turn();
    let scratch = Scratch::new();
    let (host, netback) = lab(&scratch);
    let pids = [host.pid()];
    let dir = scratch.text("lab");
    let run = ["netfront", "--dir", &dir, "--mode", "rr", "-n", "200", "-A", "0,0"];
    for guest in 0..4 {
        let ended = scratch.run(&run);
        assert!(ended.status.success(), "guest {guest}: {ended:?}");
        assert!(ended.stdout.contains("200 ops"), "guest {guest}: {ended:?}");
    }
    for killed in 0..3 {
        let long = ["netfront", "--dir", &dir, "--mode", "rr", "-t", "30", "-A", "0,0"];
        let mut guest = scratch.start(&long);
        // Somewhere in its handshake or its traffic.
        within(Duration::from_millis(20 + killed * 60), || guest.has_ended());
        guest.signal(Signal::SIGKILL);
        let ended = guest.end();
        assert!(!ended.status.success(), "{ended:?}");
        let next = scratch.run(&run);
        assert!(next.status.success(), "after kill {killed}: {next:?}");
    }
    netback.signal(Signal::SIGINT);
    let ended = netback.end();
    assert!(ended.status.success(), "netback: {ended:?}");
    host.signal(Signal::SIGINT);
    let ended = host.end();
    assert!(ended.status.success(), "host: {ended:?}");
    scratch.assert_clean(&pids, "a lab by hand");
}

/// What was negotiated, and of what is netback's nothing.
#[test]
fn a_guest_shows_what_it_got_and_not_what_it_asked_for() {
    let _turn = common::turn();
    let scratch = Scratch::new();
    let (host, netback) = lab(&scratch);
    let (pids, dir) = ([host.pid()], scratch.text("lab"));
    // The toolstack has said 1500.
    let run = ["netfront", "--dir", &dir, "-n", "64K", "--mtu", "9000", "-A", "0,0"];
    let ended = scratch.run(&run);
    assert!(ended.status.success(), "{ended:?}");
    assert!(ended.stdout.starts_with("pvlab: netfront on CPU 0, one vif\n"), "{ended:?}");
    let configured = ended.stdout.split("configuration:").nth(1).expect("shown");
    assert!(configured.contains(" mtu=1500 "), "{ended:?}");
    for others in ["grant=", "rate=", "rx-drain-timeout=", "--mtu 9000"] {
        assert!(!configured.contains(others), "{others}: {ended:?}");
    }
    netback.leave();
    host.leave();
    scratch.assert_clean(&pids, "a guest that asks for too much");
}

/// The two ends read two files that differ in one byte: whoever receives says so, and the run has failed.
#[test]
fn a_wrong_byte_fails_the_run() {
    let _turn = common::turn();
    let scratch = Scratch::new();
    let dir = scratch.text("lab");
    let (theirs, ours) = (scratch.text("theirs"), scratch.text("ours"));
    let mut bytes = vec![0x5a; 100_000];
    std::fs::write(&theirs, &bytes).expect("a file");
    bytes[40_000] ^= 1;
    std::fs::write(&ours, &bytes).expect("a file");
    let host = scratch.host(&[]);
    let netback = scratch.start(&["netback", "--dir", &dir, "-A", "0,0", "--file", &theirs]);
    let pids = [host.pid()];
    for (file, way, good) in
        [(&ours, "stream", false), (&ours, "maerts", false), (&theirs, "stream", true)]
    {
        let run = ["netfront", "--dir", &dir, "-A", "0,0", "--file", file, "--mode", way];
        let ended = scratch.run(&run);
        if good {
            assert!(ended.status.success(), "{ended:?}");
        } else {
            ended.assert_one_line(way, 1, &["domain 1", "byte ", "differs from the file"]);
        }
    }
    netback.signal(Signal::SIGINT);
    assert!(netback.end().status.success());
    host.signal(Signal::SIGINT);
    assert!(host.end().status.success());
    scratch.assert_clean(&pids, "a wrong byte");
}

#[test]
fn one_can_look_who_holds_what() {
    let _turn = common::turn();
    let scratch = Scratch::new();
    let (host, netback) = lab(&scratch);
    let pids = [host.pid()];
    let dir = scratch.text("lab");
    let args = ["--dir", &dir, "--mode", "rr", "-t", "100", "-A", "0,0"];
    let guest = scratch.start(&[&["netfront"], &args[..]].concat());
    let look = || scratch.run(&["ls", "--dir", &dir, "--ports", "--grants"]).stdout;
    // The console's port is the toolstack's and waits; tx and rx are bound, and seen from both ends.
    let connected = || bound(&look(), "0") == 2 && bound(&look(), "1") == 2;
    assert!(within(common::WATCHDOG, connected), "{}", look());
    // Found without its name being given.
    let all = scratch.run(&["ls"]);
    assert!(all.status.success() && all.stdout.contains(&dir), "{all:?}");
    let store = scratch.run(&["store", "read", "/local/domain/0/backend/vif"]);
    assert!(store.status.success(), "{store:?}");
    let none = scratch.run(&["store", "read", "/nope"]);
    none.assert_one_line("store read", 1, &["/nope", "no such node"]);
    let text = look();
    let grants: Vec<&str> = text.lines().skip_while(|line| !line.contains("grefs")).collect();
    // The console's page, and the rings, which netback has mapped.
    assert!(grants.len() > 4, "{text}");
    assert!(grants.iter().filter(|line| line.ends_with("rw      mapped")).count() >= 1, "{text}");
    assert!(grants.iter().any(|line| line.contains("ro      -")), "pages to send from: {text}");
    // The host first: netback has done its part, the guest was in the middle of its run.
    host.signal(Signal::SIGINT);
    assert!(host.end().status.success());
    let netback = netback.end();
    assert!(netback.status.success() && netback.stderr.contains("has ended"), "{netback:?}");
    assert_eq!(guest.end().status.code(), Some(1));
    scratch.assert_clean(&pids, "a lab that was looked at");
}

/// Handshakes, state changes and warnings stand on the timeline beside what they are about.
#[test]
#[cfg(not(feature = "no-trace"))]
fn what_a_backend_warns_of_is_in_the_trace() {
    let _turn = common::turn();
    let scratch = Scratch::new();
    let (dir, to) = (scratch.text("lab"), scratch.text("warned.json"));
    let (host, netback) = lab_with(&scratch, &["--trace", &to]);
    let pids = [host.pid()];
    let workers = || scratch.run(&["ls", "--dir", &dir]).stdout;
    assert!(within(common::WATCHDOG, || workers().contains("back")), "no netback");
    // Until its device has a rate that is none.
    netback.signal(Signal::SIGSTOP);
    let waits = ["--stall-timeout", "100s", "-A", "0,0"];
    let guest = ["netfront", "--dir", &dir, "--mode", "rr", "-n", "20"];
    let guest = scratch.start(&[&guest[..], &waits].concat());
    // Its device is made when it registers, and so is its console's port.
    let ports = || scratch.run(&["ls", "--dir", &dir, "--ports"]).stdout;
    let registered = || ports().lines().any(|line| line.trim_start().starts_with("1 "));
    assert!(within(common::WATCHDOG, registered), "no guest");
    let rate = "/local/domain/0/backend/vif/1/0/rate";
    let written = scratch.run(&["store", "--dir", &dir, "write", rate, "often"]);
    assert!(written.status.success(), "{written:?}");
    netback.signal(Signal::SIGCONT);
    let ended = guest.end();
    assert!(ended.status.success(), "{ended:?}");
    for process in [netback, host] {
        process.signal(Signal::SIGINT);
        let ended = process.end();
        assert!(ended.status.success(), "{ended:?}");
    }
    let json: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&to).expect("written")).expect("JSON");
    let events = json["traceEvents"].as_array().expect("events");
    let of = |kind: &str, words: &str| {
        let found = events.iter().find(|event| event["cat"] == kind && event["name"] == words);
        found.unwrap_or_else(|| panic!("no {kind}: {words}")).clone()
    };
    let warning = of("warn", "rate is not BYTES,USEC: traffic unlimited");
    assert_eq!(warning["args"]["rate"], "often", "{warning}");
    let process = |event: &&serde_json::Value| {
        event["name"] == "process_name" && event["pid"] == warning["pid"]
    };
    let process = events.iter().find(process).expect("its process");
    assert_eq!(process["args"]["name"], "domain 0 netback");
    of("info", "connected");
    scratch.assert_clean(&pids, "warned");
}

/// What runs while recording is off leaves nothing in the trace, and what was there before and comes after is whole.
#[test]
#[cfg(not(feature = "no-trace"))]
fn recording_can_be_switched_off_and_on_again() {
    let _turn = common::turn();
    let scratch = Scratch::new();
    let (dir, to) = (scratch.text("lab"), scratch.text("lab.pvtrace"));
    let (host, netback) = lab_with(&scratch, &["--trace", &to, "--trace-buffer", "4M"]);
    let pids = [host.pid()];
    let switch = |to: &str, now: &str| {
        let said = scratch.run(&["trace", to, "--dir", &dir]);
        assert!(said.status.success(), "{to}: {said:?}");
        assert_eq!(said.stdout, format!("{dir}: recording is {now}\n"));
    };
    let exchange = |times: &str| {
        let run = ["netfront", "--dir", &dir, "--mode", "rr", "-n", times, "-A", "0,0"];
        let ended = scratch.run(&run);
        assert!(ended.status.success(), "{ended:?}");
    };
    exchange("50");
    switch("off", "off");
    exchange("1000");
    switch("on", "on");
    switch("on", "on");
    exchange("50");
    for process in [netback, host] {
        process.signal(Signal::SIGINT);
        let ended = process.end();
        assert!(ended.status.success(), "{ended:?}");
    }
    let explained = scratch.run(&["trace", "explain", &to]);
    assert!(explained.status.success(), "{explained:?}");
    let text = explained.stdout;
    let words = text.strip_prefix("vif tx: ").and_then(|rest| rest.split_once(" requests"));
    let requests: u32 = words.and_then(|(count, _)| count.parse().ok()).expect(&text);
    // Connecting and taking leave are a few more.
    assert!((100..200).contains(&requests), "{text}");
    for odd in ["could not be understood", "whose push is not in the trace"] {
        assert!(!text.contains(odd), "{text}");
    }
    scratch.assert_clean(&pids, "switched off and on");
}

#[test]
fn a_lab_without_a_trace_has_nothing_to_switch() {
    let _turn = common::turn();
    let scratch = Scratch::new();
    let dir = scratch.text("lab");
    let host = scratch.host(&[]);
    let pid = host.pid();
    let said = scratch.run(&["trace", "on", "--dir", &dir]);
    said.assert_one_line("no trace", 1, &[&dir, "writes no trace", "--trace FILE"]);
    host.leave();
    let said = scratch.run(&["trace", "off", "--dir", &dir]);
    said.assert_one_line("no lab", 1, &[&dir, "no lab"]);
    scratch.assert_clean(&[pid], "nothing to switch");
}

#[test]
fn a_backend_keeps_no_ports_of_guests_that_are_gone() {
    let _turn = common::turn();
    let scratch = Scratch::new();
    let (host, netback) = lab(&scratch);
    let pids = [host.pid()];
    let dir = scratch.text("lab");
    let ports = || {
        let text = scratch.run(&["ls", "--dir", &dir, "--ports"]).stdout;
        let lines = text.lines().skip_while(|line| !line.contains("its port")).skip(1);
        let lines = lines.map(|line| line.split_whitespace().collect::<Vec<_>>());
        lines.filter(|words| words.len() == 5 && words[0] == "0").count()
    };
    let args = ["netfront", "--dir", &dir, "--mode", "rr", "-n", "20", "-A", "0,0"];
    // Of eight queues seven have nothing to do: nobody is there to close them.
    let idle = [&args[..], &["--queues", "8", "-P", "1"]].concat();
    for guest in 0..3 {
        let ended = scratch.run(&idle);
        assert!(ended.status.success(), "guest {guest}: {ended:?}");
    }
    assert!(within(common::WATCHDOG, || ports() == 0), "{} ports are left", ports());
    for process in [netback, host] {
        process.signal(Signal::SIGINT);
        let ended = process.end();
        assert!(ended.status.success(), "{ended:?}");
    }
    scratch.assert_clean(&pids, "eight queues");
}

#[test]
fn a_signal_that_comes_twice_at_once_is_one() {
    let _turn = common::turn();
    let scratch = Scratch::new();
    let (host, netback) = lab(&scratch);
    let pids = [host.pid()];
    // Who has served a guest hears signals.
    let dir = scratch.text("lab");
    let guest = scratch.run(&["netfront", "--dir", &dir, "--mode", "rr", "-n", "20", "-A", "0,0"]);
    assert!(guest.status.success(), "{guest:?}");
    // As timeout(1) does it; two of a kind might be merged before anybody looks.
    for process in [&netback, &host] {
        process.signal(Signal::SIGTERM);
        process.signal(Signal::SIGINT);
    }
    for process in [netback, host] {
        let ended = process.end();
        assert!(ended.status.success(), "{ended:?}");
    }
    scratch.assert_clean(&pids, "two signals");
}

/// Whoever joins a host that traces is in its trace, and whoever leaves it too.
#[test]
#[cfg(not(feature = "no-trace"))]
fn a_host_writes_the_trace_of_all_that_joined_it() {
    let _turn = common::turn();
    let scratch = Scratch::new();
    let (dir, to) = (scratch.text("lab"), scratch.text("hand.json"));
    let (host, netback) = lab_with(&scratch, &["--trace", &to, "--trace-buffer", "4M"]);
    let pids = [host.pid()];
    for _ in 0..2 {
        let run = ["netfront", "--dir", &dir, "--mode", "rr", "-n", "200", "-A", "0,0"];
        let ended = scratch.run(&run);
        assert!(ended.status.success(), "{ended:?}");
    }
    // One is still there: what it has done so far is in the trace.
    let long = ["netfront", "--dir", &dir, "--mode", "rr", "-t", "100", "-A", "0,0"];
    let guest = scratch.start(&long);
    let connected = || bound(&scratch.run(&["ls", "--dir", &dir, "--ports"]).stdout, "1") == 2;
    assert!(within(common::WATCHDOG, connected), "no third guest");
    host.signal(Signal::SIGINT);
    let ended = host.end();
    assert!(ended.status.success() && ended.stderr.is_empty(), "{ended:?}");
    assert!(ended.stdout.contains("hand.pvtrace") && ended.stdout.contains("arrows"), "{ended:?}");
    assert!(netback.end().status.success());
    assert_eq!(guest.end().status.code(), Some(1));
    let explained = scratch.run(&["trace", "explain", &to]).stdout;
    assert!(explained.contains("vif tx: ") && explained.contains("verdict:"), "{explained}");
    let json: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&to).expect("written")).expect("JSON");
    let events = json["traceEvents"].as_array().expect("events");
    let named = events.iter().filter(|event| event["name"] == "process_name");
    let mut names: Vec<&str> = named.filter_map(|e| e["args"]["name"].as_str()).collect();
    names.sort_unstable();
    let guests = names.iter().filter(|name| name.ends_with("netfront")).count();
    assert_eq!(guests, 3, "{names:?}");
    assert!(names.contains(&"domain 0 netback"), "{names:?}");
    assert!(json["otherData"]["command"].as_str().expect("text").starts_with("pvlab host --dir "));
    scratch.assert_clean(&pids, "a lab that was traced");
    let bad = scratch.run(&["host", "--dir", &dir, "--trace", "out.txt"]);
    bad.assert_one_line("host", 2, &["--trace out.txt", ".pvtrace"]);
}
