//! What is wrong with the surroundings, not with the command line: run directories, full disks,
//! absent peers. One line, the value, the reason; exit 1; nothing left behind. What is wrong with the
//! command line is in `cli_errors.rs`.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use common::{Process, Scratch, WATCHDOG, within};
use nix::sys::signal::Signal;
use rings::store::Nodes as _;

/// `pvlab net ARGS` fails with one line that holds all of `parts`, and leaves nothing.
fn assert_refused(scratch: &Scratch, args: &[&str], parts: &[&str]) {
    let net = scratch.start(&[&["net", "-n", "64K", "--quiet"], args].concat());
    let host = net.pid();
    net.end().assert_one_line(&args.join(" "), 1, parts);
    scratch.assert_clean(&[host], &args.join(" "));
}

#[test]
fn a_run_directory_that_cannot_be_one() {
    let _turn = common::turn();
    let scratch = Scratch::new();
    let file = scratch.text("file");
    fs::write(&file, "mine").expect("a file");
    assert_refused(&scratch, &["--dir", &file], &[&file, "Not a directory", "another --dir"]);
    assert_eq!(fs::read_to_string(&file).expect("a file"), "mine", "it was not ours to change");
    let open = scratch.text("open");
    fs::create_dir(&open).expect("a directory");
    fs::set_permissions(&open, fs::Permissions::from_mode(0o755)).expect("permissions");
    assert_refused(&scratch, &["--dir", &open], &[&open, "open to others", "chmod 700"]);
    fs::set_permissions(&open, fs::Permissions::from_mode(0o700)).expect("permissions");
    fs::write(scratch.path("open/stats"), "mine").expect("a file");
    assert_refused(&scratch, &["--dir", &open], &[&open, "not empty", "give a --dir"]);
    assert_eq!(fs::read_to_string(scratch.path("open/stats")).expect("a file"), "mine");
    let nowhere = scratch.text("no/such/dir");
    assert_refused(&scratch, &["--dir", &nowhere], &[&nowhere, "No such file", "another --dir"]);
    let long = scratch.text(&"d".repeat(120));
    assert_refused(&scratch, &["--dir", &long], &["too long", "another --dir"]);
    if nix::unistd::geteuid().is_root() {
        // Root may write everywhere but where nobody may.
        assert_refused(
            &scratch,
            &["--dir", "/proc/self/lab"],
            &["/proc/self/lab", "another --dir"],
        );
        return;
    }
    let locked = scratch.text("locked");
    fs::create_dir(&locked).expect("a directory");
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o500)).expect("permissions");
    let inside = format!("{locked}/lab");
    assert_refused(&scratch, &["--dir", &inside], &[&inside, "Permission denied", "another --dir"]);
}

#[test]
fn a_run_directory_in_use() {
    let _turn = common::turn();
    let scratch = Scratch::new();
    let dir = scratch.text("lab");
    let host = scratch.host(&[]);
    let pid = host.pid();
    let second = scratch.run(&["host", "--dir", &dir]);
    let parts = [dir.as_str(), "in use", &format!("process {pid};"), "another --dir"];
    second.assert_one_line("second host", 1, &parts);
    let net = scratch.run(&["net", "-n", "64K", "--quiet", "--dir", &dir]);
    net.assert_one_line("net in a host's directory", 1, &parts);
    assert!(scratch.path("lab/host.sock").exists(), "the first host lost its files");
    host.signal(Signal::SIGINT);
    assert!(host.end().status.success());
    scratch.assert_clean(&[pid], "two hosts");
    assert!(!scratch.path("lab").exists());
}

#[test]
fn a_domain_without_a_host() {
    let scratch = Scratch::new();
    let dir = scratch.text("lab");
    for command in ["netback", "netfront"] {
        let ended = scratch.run(&[command, "--dir", &dir]);
        ended.assert_one_line(command, 1, &[&dir, "no lab in", "pvlab host --dir"]);
    }
    let ended = scratch.run(&["store", "--dir", &dir, "ls"]);
    ended.assert_one_line("store", 1, &[&dir, "no lab in"]);
    let ended = scratch.run(&["ls", "--dir", &dir]);
    ended.assert_one_line("ls", 1, &[&dir, "no lab runs there"]);
    assert!(!scratch.path("lab").exists(), "looking for a lab made a directory");
}

#[test]
fn a_peer_that_never_answers() {
    let _turn = common::turn();
    let scratch = Scratch::new();
    let dir = scratch.text("lab");
    let host = scratch.host(&[]);
    let pid = host.pid();
    let front = scratch.run(&["netfront", "--dir", &dir, "-n", "64K", "--stall-timeout", "0.2"]);
    let parts = ["vif 0", "waiting for the backend's features", "Initialising"];
    front.assert_one_line("netfront alone", 1, &parts);
    front.assert_one_line(
        "netfront alone",
        1,
        &["feature-rx-copy is missing", "start pvlab netback"],
    );
    host.leave();
    scratch.assert_clean(&[pid], "netfront alone");
    let host = scratch.host(&["--device", "vbd"]);
    let pid = host.pid();
    let front = scratch.run(&["blkfront", "--dir", &dir, "-n", "1", "--stall-timeout", "0.2"]);
    let parts = ["vbd 51712", "max-ring-page-order is missing", "start pvlab blkback"];
    front.assert_one_line("blkfront alone", 1, &parts);
    host.leave();
    scratch.assert_clean(&[pid], "blkfront alone");
}

/// A host and a netback that has joined it.
fn driver_domain(scratch: &Scratch) -> [Process; 2] {
    let host = scratch.host(&[]);
    let netback = scratch.start(&["netback", "--dir", &scratch.text("lab")]);
    wait_until_listed(scratch, "back");
    [host, netback]
}

/// Waits for a worker of this side.
fn wait_until_listed(scratch: &Scratch, side: &str) {
    let there = || scratch.run(&["ls", "--dir", &scratch.text("lab")]).stdout.contains(side);
    assert!(within(WATCHDOG, there), "no {side}");
}

/// A toolstack whose script has failed: the backend is there, and waits for it.
#[test]
fn a_backend_that_waits_for_the_toolstack() {
    let _turn = common::turn();
    let scratch = Scratch::new();
    let dir = scratch.text("lab");
    let [host, netback] = driver_domain(&scratch);
    let pid = host.pid();
    // Until the script has failed.
    netback.signal(Signal::SIGSTOP);
    // Each step may take twice that.
    let front = scratch.start(&["netfront", "--dir", &dir, "-n", "64K", "--stall-timeout", "4s"]);
    let mut store = scratch.store();
    let status = "/local/domain/0/backend/vif/1/0/hotplug-status";
    assert!(
        within(WATCHDOG, || store.read_if_present(status).is_ok_and(|s| s.is_some())),
        "no vif"
    );
    store.write(status, "error").expect("domain 0 may");
    netback.signal(Signal::SIGCONT);
    let ended = front.end();
    let parts = ["waiting for the backend to connect", "stuck in InitWait", status, "is 'error'"];
    ended.assert_one_line("unplugged", 1, &parts);
    ended.assert_one_line("unplugged", 1, &["pvlab store write"]);
    netback.leave();
    host.leave();
    scratch.assert_clean(&[pid], "unplugged");
}

#[test]
fn more_domains_than_the_lab_has_room_for() {
    let _turn = common::turn();
    let scratch = Scratch::new();
    let dir = scratch.text("lab");
    let [host, netback] = driver_domain(&scratch);
    let pid = host.pid();
    let second = scratch.run(&["netback", "--dir", &dir]);
    second.assert_one_line("second netback", 1, &["domain 0", "running already"]);
    let first = scratch.start(&["netfront", "--dir", &dir, "-t", "60"]);
    wait_until_listed(&scratch, "front");
    let second = scratch.run(&["netfront", "--dir", &dir, "-n", "64K"]);
    second.assert_one_line("second netfront", 1, &["all the domains", "run already"]);
    first.signal(Signal::SIGINT);
    first.end().assert_one_line("interrupted", 1, &["domain 1", "interrupted"]);
    netback.leave();
    host.leave();
    scratch.assert_clean(&[pid], "crowded lab");
}

#[test]
fn files_that_cannot_be_had() {
    let _turn = common::turn();
    let scratch = Scratch::new();
    // Opened only when the domains run: readable when the command line was read, gone after.
    let remedy = "name a file that can be written";
    for way in ["-P1", "-R"] {
        let out = ["--out", "/proc/self/out", way];
        assert_refused(&scratch, &out, &["--out", "/proc/self/out", remedy]);
    }
    assert_refused(&scratch, &["--out", "/dev/full"], &["--out", "No space left"]);
    let gone = scratch.text("no/such/dir/x.json");
    assert_refused(&scratch, &["-J", &gone], &["-J", &gone]);
    assert_refused(&scratch, &["-J", "/dev/full"], &["-J", "/dev/full", "No space left"]);
    if !nix::unistd::geteuid().is_root() {
        let secret = scratch.text("secret");
        fs::write(&secret, "x").expect("a file");
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o000)).expect("permissions");
        assert_refused(&scratch, &["--file", &secret], &["--file", &secret, "Permission denied"]);
    }
}

/// Whoever sends it finds no more of it, and so does whoever compares.
#[test]
fn a_file_that_shrinks_in_the_middle_of_a_run_ends_it() {
    let _turn = common::turn();
    for way in [&[][..], &["-R"], &["-R", "--verify", "off"], &["--path", "loopback"]] {
        let scratch = Scratch::new();
        let (file, dir) = (scratch.text("data"), scratch.text("lab"));
        fs::write(&file, vec![7; 1 << 20]).expect("a file");
        let endless = ["net", "--file", &file, "-t", "600", "--quiet", "--dir", &dir];
        let net = scratch.start(&[&endless[..], &["--stall-timeout", "100s"], way].concat());
        let host = net.pid();
        assert!(within(WATCHDOG, || common::payload(&scratch) > 0), "{way:?}: nothing is sent");
        fs::File::options().write(true).open(&file).and_then(|f| f.set_len(10)).expect("shrunk");
        net.end().assert_one_line(&way.join(" "), 1, &["domain 1", "--file", "has shrunk"]);
        scratch.assert_clean(&[host], &way.join(" "));
    }
}

/// One line of whoever was refused, or of the one that has started it.
#[test]
fn a_priority_that_not_everybody_may_have() {
    const NOBODY: u32 = 65_534;
    let _turn = common::turn();
    let scratch = Scratch::new();
    for (nice, value) in
        [("0,-5", "--nice -5 for the backend"), ("-5,0", "--nice -5 for the frontend")]
    {
        let mut command =
            scratch.command(&["net", "-n", "64K", "--quiet", "-A", "0+0,0+0", "--nice", nice]);
        if nix::unistd::geteuid().is_root() {
            std::os::unix::fs::chown(scratch.path(""), Some(NOBODY), None).expect("ours");
            command.uid(NOBODY);
            let may_start = scratch.command(&["--version"]).uid(NOBODY).output().is_ok();
            if !may_start {
                println!("skipped: nobody but root reaches {}", env!("CARGO_BIN_EXE_pvlab"));
                return;
            }
        }
        let net = Process::start(command);
        let host = net.pid();
        net.end().assert_one_line(nice, 1, &[value, "Permission denied", "use 0 to 19"]);
        scratch.assert_clean(&[host], nice);
    }
}

#[test]
fn a_closed_terminal_is_no_reason_to_panic() {
    let _turn = common::turn();
    let scratch = Scratch::new();
    let mut command = scratch.command(&["net", "-n", "64K", "--quiet"]);
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    command.stdout(writer);
    let net = Process::start(command);
    let host = net.pid();
    let ended = net.end();
    assert!(!ended.stderr.contains("panicked"), "{ended:?}");
    scratch.assert_clean(&[host], "closed stdout");
}

#[test]
fn too_few_open_files_are_named() {
    let _turn = common::turn();
    let scratch = Scratch::new();
    for (limit, part) in [("8", "Too many open files"), ("24", "raise the limit: ulimit -n")] {
        let mut command = Command::new("sh");
        let script = format!("ulimit -n {limit} && exec \"$0\" net -n 64K --quiet");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_pvlab")]);
        command.env("XDG_RUNTIME_DIR", scratch.path(""));
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        let ended = Process::start(command).end();
        ended.assert_one_line(limit, 1, &[part]);
        scratch.assert_clean(&[], limit);
    }
}

/// Next to every frame is lost, so that it is as if nobody were there.
#[test]
fn an_end_that_answers_nothing_is_not_waited_for_without_end() {
    let _turn = common::turn();
    let scratch = Scratch::new();
    for mode in ["stream", "rr", "crr", "udp"] {
        let args = ["net", "--mode", mode, "--drop", "0.999999", "-t", "1", "--quiet"];
        let ended = scratch.run(&args);
        ended.assert_one_line(mode, 1, &["no connection within 10 s", "--stall-timeout"]);
    }
}
