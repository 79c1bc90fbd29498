//! Drivers in C join a lab: rings/host/examples/c, compiled here over Xen's own ring.h and netif.h,
//! against our processes and against each other, ten thousand frames each across the wrap of the
//! indices.
//!
//! Needs `PVLAB_FULL=1`, a C compiler and libxen-dev. That pvlab.h has the numbers of the Rust half
//! is told without them, by `proto` of rings-host.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const FRAMES: &str = "10000";
/// Four slots before the indices wrap.
const BASE: &str = "0xfffffffc";
/// Only a hang takes as long.
const WATCHDOG: Duration = Duration::from_secs(300);
const PVLAB: &str = env!("CARGO_BIN_EXE_pvlab");

/// Says it to whoever runs the tests. `println!` would keep it to itself unless a test fails.
fn tell(line: &str) {
    // A closed terminal is no reason to fail.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Whether to run, from `PVLAB_FULL`; says what is skipped and why if not.
fn full(what: &str) -> bool {
    let full = std::env::var_os("PVLAB_FULL").is_some_and(|value| value == "1");
    if !full {
        tell(&format!(
            "skipped: {what}. It needs cc (Debian: gcc libc6-dev) and xen/io/ring.h (Debian: libxen-dev);"
        ));
        tell("  PVLAB_FULL=1 runs it and makes a missing one a failure.");
    }
    full
}

fn host_package() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../rings/host")
}

fn compile(args: &[&str], source: &Path) {
    let include = host_package().join("include");
    let outcome = Command::new("cc").args(args).arg("-I").arg(include).arg(source).output();
    let outcome = outcome.expect("cannot run cc: apt install gcc libc6-dev");
    let complaint = String::from_utf8_lossy(&outcome.stderr);
    assert!(
        outcome.status.success(),
        "cc refused {}. If a xen/ header is missing: apt install libxen-dev\n{complaint}",
        source.display()
    );
}

/// The example `name` as a program in `dir`.
fn example(name: &str, dir: &Path) -> PathBuf {
    let source = host_package().join("examples/c").join(format!("{name}.c"));
    let program = dir.join(name);
    let out = program.display().to_string();
    compile(&["-std=c11", "-Wall", "-Wextra", "-Werror", "-O2", "-o", &out], &source);
    program
}

/// A process that does not outlive its test.
struct Process {
    child: Child,
    name: String,
}

impl Process {
    fn start(program: &Path, args: &[&str]) -> Self {
        let name = program.display().to_string();
        let child = Command::new(program).args(args).stdout(Stdio::piped()).spawn();
        Self { child: child.unwrap_or_else(|e| panic!("{name}: {e}")), name }
    }

    fn wait(&mut self, deadline: Instant) -> ExitStatus {
        loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                return status;
            }
            assert!(Instant::now() < deadline, "{} hangs", self.name);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for its end, which must be a good one; what it printed.
    fn finish(mut self, deadline: Instant) -> String {
        let status = self.wait(deadline);
        let mut printed = String::new();
        let stdout = self.child.stdout.as_mut().expect("piped");
        std::io::Read::read_to_string(stdout, &mut printed).expect("text");
        assert!(status.success(), "{}: {status}\n{printed}", self.name);
        printed
    }

    /// Asks it to end in good order.
    fn terminate(mut self, deadline: Instant) {
        let pid = i32::try_from(self.child.id()).expect("a process id");
        kill(Pid::from_raw(pid), Signal::SIGTERM).expect("it runs");
        let status = self.wait(deadline);
        assert!(status.success(), "{}: {status}", self.name);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Over already, unless a test fails.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A lab of its own: a host started by hand, in a directory that goes with it.
struct Lab {
    host: Process,
    dir: tempfile::TempDir,
    deadline: Instant,
}

impl Lab {
    fn new() -> Self {
        let deadline = Instant::now() + WATCHDOG;
        let dir = tempfile::tempdir().expect("a temporary directory");
        let lab = dir.path().join("lab").display().to_string();
        let mut host = Process::start(Path::new(PVLAB), &["host", "--dir", &lab, "--quiet"]);
        while std::os::unix::net::UnixStream::connect(format!("{lab}/xenstored.sock")).is_err() {
            assert!(host.child.try_wait().expect("our child").is_none(), "the host has ended");
            assert!(Instant::now() < deadline, "no host");
            std::thread::sleep(Duration::from_millis(5));
        }
        Self { host, dir, deadline }
    }

    fn path(&self) -> String {
        self.dir.path().join("lab").display().to_string()
    }

    fn pvlab(&self, verb: &str, args: &[&str]) -> Process {
        let path = self.path();
        Process::start(Path::new(PVLAB), &[&[verb, "--dir", &path], args].concat())
    }

    fn example(&self, name: &str, args: &[&str]) -> Process {
        let program = example(name, self.dir.path());
        Process::start(&program, &[args, &[&self.path()]].concat())
    }

    /// Ends the host, which must leave nothing.
    fn end(self) {
        let path = self.path();
        self.host.terminate(self.deadline);
        let left: Vec<_> = std::fs::read_dir(&path)
            .map(|dir| dir.filter_map(Result::ok).map(|e| e.file_name()).collect())
            .unwrap_or_default();
        let sockets = left.iter().filter(|name| name.to_string_lossy().ends_with(".sock"));
        assert_eq!(sockets.count(), 0, "left in the run directory: {left:?}");
    }
}

fn assert_says(printed: &str, what: &[&str]) {
    for part in what {
        assert!(printed.contains(part), "no `{part}` in: {printed}");
    }
}

#[test]
fn a_netfront_in_c_gets_every_byte_back_from_our_netback() {
    if !full("a netfront in C against our netback") {
        return;
    }
    for channels in [&[][..], &["-1"]] {
        let lab = Lab::new();
        let netback = lab.pvlab("netback", &[]);
        let args = [&["-n", FRAMES, "-b", BASE], channels].concat();
        let printed = lab.example("netfront", &args).finish(lab.deadline);
        assert_says(&printed, &["10000 frames", "came back", "tx ring 0xfffffffc to 0x"]);
        tell(printed.trim());
        netback.terminate(lab.deadline);
        lab.end();
    }
}

#[test]
fn our_netfront_is_served_by_a_netback_in_c() {
    if !full("our netfront against a netback in C") {
        return;
    }
    let lab = Lab::new();
    let netback = lab.example("netback", &["-n", FRAMES]);
    let args = ["--mode", "pktgen", "-n", FRAMES, "--index-base", BASE, "-l", "1514"];
    lab.pvlab("netfront", &args).finish(lab.deadline);
    let printed = netback.finish(lab.deadline);
    // 10,000 slots from 2^32 - 4 on.
    assert_says(&printed, &["10000 frames of domain 1 in order", "tx ring at 0x270c"]);
    tell(printed.trim());
    lab.end();
}

#[test]
fn our_netfront_gets_back_what_a_netback_in_c_reflects() {
    if !full("our netfront against a netback in C that sends everything back") {
        return;
    }
    // Frames of one slot, and of three on either ring.
    for (len, bytes) in [("1514", "15,140,000"), ("9000", "90,000,000")] {
        let lab = Lab::new();
        let netback = lab.example("netback", &["-r", "-n", FRAMES]);
        let args = ["--mode", "pktgen", "--wire", "reflect", "-n", FRAMES, "-l", len];
        // Each byte of each is compared, and all must come.
        let printed = lab.pvlab("netfront", &[&args[..], &["--index-base", BASE]].concat());
        let checked = format!("10,000 ops, {bytes} bytes, {bytes} bytes checked, 0 lost, 0 errors");
        assert_says(&printed.finish(lab.deadline), &[&checked]);
        assert_says(&netback.finish(lab.deadline), &["10000 frames", "10000 sent back"]);
        lab.end();
    }
}

#[test]
fn a_netfront_and_a_netback_in_c_understand_each_other() {
    if !full("a netfront in C against a netback in C") {
        return;
    }
    let lab = Lab::new();
    let netback = lab.example("netback", &["-r", "-n", FRAMES]);
    let args = ["-n", FRAMES, "-b", BASE, "-s", "7"];
    let printed = lab.example("netfront", &args).finish(lab.deadline);
    assert_says(&printed, &["10000 frames", "came back"]);
    assert_says(&netback.finish(lab.deadline), &["10000 frames", "10000 sent back"]);
    tell(printed.trim());
    lab.end();
}

#[test]
fn the_header_is_c_and_cplusplus() {
    if !full("pvlab.h alone, as C11 and as C++17") {
        return;
    }
    let header = host_package().join("include/pvlab.h");
    for language in [["-x", "c", "-std=c11"], ["-x", "c++", "-std=c++17"]] {
        let strict = ["-Wall", "-Wextra", "-Werror", "-fsyntax-only"];
        compile(&[&language[..], &strict].concat(), &header);
    }
}
