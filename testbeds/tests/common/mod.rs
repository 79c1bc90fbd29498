//! What the tests of the command share: labs in scratch directories, processes under a watchdog,
//! and a look at what they left behind. What is asserted lives in the tests.
#![allow(dead_code, reason = "each test target uses its own part of this")]

pub(crate) mod perfetto;
pub(crate) mod recorded;
pub(crate) mod server;

use std::io::Read;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rings::store::{Nodes, XsClient};
use rings_host::UnixTransport;
use serde_json::Value;
use testbeds::counters::Counters;

/// How long anything may take before it counts as hung: never what a test is about.
/// A machine that others keep busy may make a run a hundred times slower.
pub(crate) const WATCHDOG: Duration = Duration::from_secs(180);

/// Labs of one test target take turns: each wants all the CPUs there are.
static TURN: Mutex<()> = Mutex::new(());

/// Waits for this test's turn.
pub(crate) fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A directory in which labs make their run directories, apart from all other labs.
pub(crate) struct Scratch(tempfile::TempDir);

impl Scratch {
    /// A new one.
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    /// A path in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The same as text.
    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).to_str().expect("UTF-8").to_owned()
    }

    /// `pvlab ARGS`, in a process group of its own, not yet started.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        self.command_at(Path::new(env!("CARGO_BIN_EXE_pvlab")), args)
    }

    /// The same of a copy of the binary.
    pub(crate) fn command_at(&self, pvlab: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(pvlab);
        command.args(args).env("XDG_RUNTIME_DIR", self.0.path()).env_remove("PVLAB_LOG");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0);
        command
    }

    /// Starts `pvlab ARGS`.
    pub(crate) fn start(&self, args: &[&str]) -> Process {
        Process::start(self.command(args))
    }

    /// Runs `pvlab ARGS` to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Ended {
        self.start(args).end()
    }

    /// Starts `pvlab host` by hand, in `lab`, which then listens.
    pub(crate) fn host(&self, options: &[&str]) -> Process {
        let host = self.start(&[&["host", "--dir", &self.text("lab")], options].concat());
        assert!(within(WATCHDOG, || self.path("lab/host.sock").exists()), "no host");
        host
    }

    /// The store of the lab in `lab`.
    pub(crate) fn store(&self) -> XsClient<UnixTransport> {
        let socket = self.path("lab/xenstored.sock");
        XsClient::new(UnixTransport::connect(&socket).expect("a store"))
    }

    /// Runs `pvlab net ARGS -J`, which must succeed without a word on stderr but notes, and returns what it
    /// printed.
    pub(crate) fn net(&self, args: &[&str]) -> Value {
        let _turn = turn();
        // Being slow is not being stalled.
        let all = [&["net"], args, &["--stall-timeout", "100s", "-J"]].concat();
        let ended = self.run(&all);
        let typed = all.join(" ");
        assert!(ended.status.success(), "pvlab {typed}: {ended:?}");
        let notes = ended.stderr.lines().all(|line| line.starts_with("note: "));
        assert!(notes, "pvlab {typed}: {}", ended.stderr);
        serde_json::from_str(&ended.stdout).unwrap_or_else(|e| panic!("pvlab {typed}: {e}"))
    }

    /// Processes of labs in here that are still there: they carry its name in their environment.
    pub(crate) fn processes(&self) -> Vec<i32> {
        let name = format!("XDG_RUNTIME_DIR={}", self.0.path().display());
        let carries = |pid: &i32| {
            std::fs::read(format!("/proc/{pid}/environ"))
                .is_ok_and(|all| all.split(|&b| b == 0).any(|one| one == name.as_bytes()))
        };
        pids().filter(carries).collect()
    }

    /// What labs in here left: processes, run directories, and segments made by `hosts`.
    pub(crate) fn remains(&self, hosts: &[i32]) -> Vec<String> {
        let mut all: Vec<String> =
            self.processes().iter().map(|pid| format!("process {pid}: {}", name(*pid))).collect();
        all.extend(entries(&self.path("pvlab")));
        // Where the tests put labs with a directory of their own, which a host makes and removes.
        all.extend(self.path("lab").exists().then(|| self.text("lab")));
        all.extend(segments(hosts));
        all
    }

    /// Waits until nothing is left, and fails with what is.
    pub(crate) fn assert_clean(&self, hosts: &[i32], what: &str) {
        let clean = within(WATCHDOG, || self.remains(hosts).is_empty());
        assert!(clean, "{what}: left behind: {:?}", self.remains(hosts));
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Only after a failed test is there anything left; it must not disturb the next.
        for pid in self.processes() {
            signal(pid, nix::sys::signal::Signal::SIGKILL);
        }
        // Their segments are found by their run directories alone, which go with this one.
        within(Duration::from_secs(5), || self.processes().is_empty());
        for dir in entries(&self.path("pvlab")).iter().chain([&self.text("lab")]) {
            rings_host::RunDir::sweep(Path::new(dir));
        }
    }
}

/// What the workers of the lab in `lab` have counted so far, each with its process.
pub(crate) fn counted(scratch: &Scratch) -> Vec<(u64, Counters)> {
    let segment = rings_host::Segment::open(&scratch.path("lab"));
    let read = |block: rings_host::Block| (block.pid(), Counters::read(&block));
    segment.map_or(Vec::new(), |segment| segment.blocks().map(read).collect())
}

/// Bytes that they have moved.
pub(crate) fn payload(scratch: &Scratch) -> u64 {
    counted(scratch).iter().map(|(_, counters)| counters.payload).sum()
}

/// Statistics segments that these hosts made.
pub(crate) fn segments(hosts: &[i32]) -> Vec<String> {
    let ours = |path: &String| hosts.iter().any(|pid| path.contains(&format!("/pvlab-{pid}-")));
    entries(Path::new("/dev/shm")).into_iter().filter(ours).collect()
}

fn entries(dir: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    entries.flatten().map(|entry| entry.path().display().to_string()).collect()
}

/// How a process ended, and what it said.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Its exit status.
    pub status: ExitStatus,
    /// All it printed.
    pub stdout: String,
    /// All it complained about.
    pub stderr: String,
}

impl Ended {
    /// One line on stderr that begins with `error: ` and holds all of `parts`, exit `code`.
    pub(crate) fn assert_one_line(&self, what: &str, code: i32, parts: &[&str]) {
        assert_eq!(self.status.code(), Some(code), "{what}: {self:?}");
        assert_eq!(self.stderr.lines().count(), 1, "{what}: {self:?}");
        assert!(self.stderr.starts_with("error: "), "{what}: {self:?}");
        for part in parts {
            assert!(self.stderr.contains(part), "{what}: no '{part}' in {self:?}");
        }
    }
}

/// A process that runs, read all the while.
pub(crate) struct Process {
    child: Child,
    stdout: Option<JoinHandle<String>>,
    stderr: Option<JoinHandle<String>>,
}

impl Process {
    /// Starts it.
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.spawn().expect("the binary starts");
        let stdout = child.stdout.take().map(read_all);
        let stderr = child.stderr.take().map(read_all);
        Self { child, stdout, stderr }
    }

    /// Its number.
    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a pid")
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: nix::sys::signal::Signal) {
        self::signal(self.pid(), signal);
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_some()
    }

    /// Tells it to end, which it must do in good order.
    pub(crate) fn leave(self) -> Ended {
        self.signal(nix::sys::signal::Signal::SIGTERM);
        let ended = self.end();
        assert!(ended.status.success(), "{ended:?}");
        ended
    }

    /// Waits for its end; fails if that does not come.
    pub(crate) fn end(self) -> Ended {
        self.end_within(WATCHDOG)
    }

    /// The same with another watchdog.
    pub(crate) fn end_within(mut self, watchdog: Duration) -> Ended {
        let ended = within(watchdog, || self.has_ended());
        if !ended {
            let _ = self.child.kill();
        }
        let status = self.child.wait().expect("a child");
        let text = |reader: Option<JoinHandle<String>>| {
            reader.map(|reader| reader.join().expect("a reader")).unwrap_or_default()
        };
        let (stdout, stderr) = (text(self.stdout.take()), text(self.stderr.take()));
        let ended_so = Ended { status, stdout, stderr };
        assert!(ended, "hung, and was killed: {ended_so:?}");
        ended_so
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // After a failed assertion alone.
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn read_all(mut from: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut text = Vec::new();
        let _ = from.read_to_end(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    })
}

/// Looks until `done`, at most for `watchdog`. Whether it was.
pub(crate) fn within(watchdog: Duration, mut done: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + watchdog;
    loop {
        if done() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Sends a signal to a process, if it is still there.
pub(crate) fn signal(pid: i32, signal: nix::sys::signal::Signal) {
    let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal);
}

/// All processes.
fn pids() -> impl Iterator<Item = i32> {
    let all = std::fs::read_dir("/proc").expect("/proc");
    all.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The command a process was started as: its second word.
pub(crate) fn name(pid: i32) -> String {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let word = line.split(|&b| b == 0).nth(1).unwrap_or_default();
    String::from_utf8_lossy(word).into_owned()
}

/// Whether this run does all of a long test, not a part.
pub(crate) fn soak() -> bool {
    std::env::var_os("PVLAB_SOAK").is_some_and(|v| v == "1")
}

/// Whether this run has what the full tests need; prints what is skipped, and why, if it has not.
pub(crate) fn full(what: &str) -> bool {
    let full = std::env::var_os("PVLAB_FULL").is_some_and(|v| v == "1");
    if !full {
        println!("skipped: {what}; set PVLAB_FULL=1 to run it");
    }
    full
}

/// Nodes at and below `path`, as `xenstore-ls -f -p` prints them.
pub(crate) fn dump(store: &mut XsClient<UnixTransport>, path: &str, out: &mut Vec<String>) {
    let value = store.read_string(path).expect("a value");
    let perms: Vec<String> =
        store.get_perms(path).expect("permissions").iter().map(ToString::to_string).collect();
    out.push(format!("{path} = \"{value}\"   ({})", perms.join(",")));
    for name in store.directory(path).expect("children") {
        dump(store, &format!("{path}/{name}"), out);
    }
}
