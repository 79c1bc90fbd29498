//! Xen's own store clients on our store: what they read is what `pvlab store` reads, what they write
//! is there. Needs xenstore-utils; without `PVLAB_FULL=1` it says so and does nothing.

mod common;

use std::process::{Command, Stdio};

use common::{Ended, Process, Scratch, WATCHDOG, full, within};
use nix::sys::signal::Signal;

/// A lab with a vif that has connected and waits.
struct Lab {
    scratch: Scratch,
    dir: String,
    processes: Vec<Process>,
}

impl Lab {
    fn start() -> Self {
        let scratch = Scratch::new();
        let dir = scratch.text("lab");
        let mut processes = vec![scratch.start(&["host", "--dir", &dir])];
        assert!(within(WATCHDOG, || scratch.path("lab/xenstored.sock").exists()), "no host");
        processes.push(scratch.start(&["netback", "--dir", &dir]));
        processes.push(scratch.start(&["netfront", "--dir", &dir, "--mode", "rr", "-t", "600"]));
        let lab = Self { scratch, dir, processes };
        let state = "/local/domain/0/backend/vif/1/0/state";
        assert!(within(WATCHDOG, || lab.ours(&["read", state]).stdout == "4\n"), "no vif");
        lab
    }

    /// One of Xen's programs, which must succeed.
    fn xens(&self, program: &str, args: &[&str]) -> String {
        let ended = self.try_xens(program, args);
        assert!(ended.status.success(), "{program} {args:?}: {ended:?}");
        ended.stdout
    }

    fn try_xens(&self, program: &str, args: &[&str]) -> Ended {
        self.spawn(program, args).end()
    }

    fn spawn(&self, program: &str, args: &[&str]) -> Process {
        let mut command = Command::new(program);
        command.args(args).env("XENSTORED_PATH", format!("{}/xenstored.sock", self.dir));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Process::start(command)
    }

    /// `pvlab store ARGS`.
    fn ours(&self, args: &[&str]) -> Ended {
        self.scratch.run(&[&["store", "--dir", &self.dir], args].concat())
    }

    fn end(self) {
        let host = self.processes[0].pid();
        for process in self.processes.into_iter().rev() {
            process.signal(Signal::SIGTERM);
            process.end();
        }
        self.scratch.assert_clean(&[host], "xenstore-utils");
    }
}

fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

#[test]
fn full_xens_own_clients() {
    if !full("xenstore-ls and its family, Debian package xenstore-utils, on our store") {
        return;
    }
    for one in ["ls", "read", "write", "list", "exists", "chmod", "rm", "watch"] {
        let program = format!("xenstore-{one}");
        assert!(is_there(&program), "{program} is missing: install xenstore-utils");
    }
    let _turn = common::turn();
    let lab = Lab::start();
    reading(&lab);
    writing(&lab);
    watching(&lab);
    lab.end();
}

fn reading(lab: &Lab) {
    let vif = "/local/domain/0/backend/vif/1/0";
    let names = lab.xens("xenstore-list", &[vif]);
    assert!(names.lines().count() > 10, "{names}");
    for name in names.lines() {
        let path = format!("{vif}/{name}");
        let theirs = lab.xens("xenstore-read", &[&path]);
        assert_eq!(theirs, lab.ours(&["read", &path]).stdout, "{path}");
    }
    // The whole tree, with permissions, line by line but for the padding.
    let squeezed = |text: &str| -> Vec<String> {
        let words = |line: &str| {
            let words: Vec<&str> = line.split_whitespace().filter(|word| *word != ".").collect();
            words.join(" ")
        };
        text.lines().map(words).collect()
    };
    for path in [vif, "/local/domain/1/device", "/libxl", "/tool"] {
        let theirs = lab.xens("xenstore-ls", &["-p", path]);
        let ours = lab.ours(&["ls", "-p", path]).stdout;
        assert_eq!(squeezed(&theirs), squeezed(&ours), "{path}");
    }
    let all = lab.xens("xenstore-ls", &["-f"]);
    assert!(all.contains("/local/domain/1/device/vif/0/state = \"4\""), "{all}");
    assert!(lab.try_xens("xenstore-exists", &["/local/domain/1"]).status.success());
    assert!(!lab.try_xens("xenstore-exists", &["/local/domain/77"]).status.success());
    assert!(!lab.try_xens("xenstore-read", &["/local/domain/77/name"]).status.success());
}

fn writing(lab: &Lab) {
    lab.xens("xenstore-write", &["/test/a", "one", "/test/b", "two words"]);
    assert_eq!(lab.ours(&["read", "/test/b"]).stdout, "two words\n");
    assert!(lab.ours(&["write", "/test/c", "three"]).status.success());
    assert_eq!(lab.xens("xenstore-read", &["/test/c"]), "three\n");
    lab.xens("xenstore-chmod", &["/test/a", "n0", "r1"]);
    let perms = lab.ours(&["ls", "-p", "/test"]).stdout;
    assert!(
        perms.lines().any(|l| l.starts_with("a = \"one\"") && l.contains("(n0,r1)")),
        "{perms}"
    );
    lab.xens("xenstore-rm", &["/test/a"]);
    assert!(!lab.ours(&["read", "/test/a"]).status.success());
    assert!(lab.ours(&["rm", "/test"]).status.success());
    assert!(!lab.try_xens("xenstore-exists", &["/test"]).status.success());
}

fn watching(lab: &Lab) {
    // The first event tells that the watch is set, the second is the write.
    let theirs = lab.spawn("xenstore-watch", &["-n", "2", "/seen"]);
    let ours = lab.scratch.start(&["store", "--dir", &lab.dir, "watch", "-n", "2", "/seen"]);
    // Nothing tells from outside when both watches are set: writes until both have been told.
    let (mut theirs, mut ours) = (theirs, ours);
    let told = within(WATCHDOG, || {
        lab.xens("xenstore-write", &["/seen/it", "x"]);
        theirs.has_ended() && ours.has_ended()
    });
    assert!(told, "a watch was not told");
    for ended in [theirs.end(), ours.end()] {
        assert_eq!(ended.stdout, "/seen\n/seen/it\n", "{ended:?}");
    }
}
