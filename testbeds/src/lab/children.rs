//! The domains' processes: started, watched, and never left behind.
//!
//! A domain's process reports on stdout: its last line is the report, or what went wrong. So the one
//! that started it can say in one line what happened to the lab.

use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::de::DeserializeOwned;

/// Tells a domain's process that the one that started it reads its report.
const CHILD: &str = "PVLAB_CHILD";
/// How the last line begins if something went wrong.
const COMPLAINT: &str = "error: ";
/// How long a child may take to end when it is asked to.
const GRACE: Duration = Duration::from_secs(3);

/// Whether this process is a domain of a run that another process shows.
pub(crate) fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

/// The first thing a domain's process does: should the one that started it be killed while this one
/// is stopped, it wakes up to see that and end.
pub(super) fn wake_when_orphaned() {
    if is_child() {
        // Without it a process that is stopped just then stays so, no worse than any other.
        let _ = set_pdeathsig(Signal::SIGCONT);
    }
}

/// Says what went wrong: to the one that started this process, if somebody did.
pub(super) fn told(outcome: anyhow::Result<()>) -> anyhow::Result<()> {
    match outcome {
        Err(error) if is_child() => {
            report(&format!("{COMPLAINT}{error:#}"));
            std::process::exit(1);
        }
        other => other,
    }
}

/// The last line on stdout. If the reader is gone nobody misses it.
pub(super) fn report(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// What a domain's process said last.
pub(super) enum LastWords<R> {
    /// How the run went.
    Report(Box<R>),
    /// Why there was none.
    Complaint(String),
    /// Nothing that makes sense.
    Nothing,
}

/// One domain's process.
pub(super) struct Domain {
    name: &'static str,
    child: Child,
    stdout: Option<JoinHandle<String>>,
    stopped_since: Option<Instant>,
    asked: bool,
}

impl Domain {
    /// Starts `pvlab ARGS`.
    pub(super) fn start(name: &'static str, args: &[String]) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("cannot find this program")?;
        let mut child = Command::new(program)
            .args(args)
            .env(CHILD, "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let stdout = child.stdout.take().map(|mut out| {
            std::thread::spawn(move || {
                let mut text = String::new();
                // What is not UTF-8 is no report.
                let _ = out.read_to_string(&mut text);
                text
            })
        });
        Ok(Self { name, child, stdout, stopped_since: None, asked: false })
    }

    /// Its process id.
    pub(super) fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap_or(i32::MAX)
    }

    /// What it is called.
    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    /// Whether it has ended, and how.
    pub(super) fn ended(&mut self) -> Option<String> {
        match self.child.try_wait() {
            Ok(None) => None,
            Ok(Some(status)) => Some(status.to_string()),
            Err(error) => Some(error.to_string()),
        }
    }

    /// What it said last, once it has ended.
    pub(super) fn last_words<R: DeserializeOwned>(&mut self) -> LastWords<R> {
        let text = self.stdout.take().and_then(|reader| reader.join().ok()).unwrap_or_default();
        let last = text.lines().last().unwrap_or_default();
        if let Some(why) = last.strip_prefix(COMPLAINT) {
            return LastWords::Complaint(why.to_owned());
        }
        serde_json::from_str(last).map_or(LastWords::Nothing, LastWords::Report)
    }

    /// Asks it to end, once.
    pub(super) fn ask_to_end(&mut self) {
        if !std::mem::replace(&mut self.asked, true) {
            let _ = kill(Pid::from_raw(self.pid()), Signal::SIGTERM);
        }
    }

    /// Whether it has been stopped by a signal for so long. The host sees that too, but only of
    /// processes that have come as far as to register.
    pub(super) fn stopped_for(&mut self, timeout: Duration) -> bool {
        if !rings_host::is_stopped(self.pid()) {
            self.stopped_since = None;
            return false;
        }
        self.stopped_since.get_or_insert_with(Instant::now).elapsed() >= timeout
    }

    /// Asks it to end, even if it is stopped: a stopped process hears nothing else.
    pub(super) fn wake_to_end(&mut self) {
        if self.ended().is_none() {
            self.ask_to_end();
            let _ = kill(Pid::from_raw(self.pid()), Signal::SIGCONT);
        }
    }

    /// Ends it without asking.
    pub(super) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Ends it: asks, waits, and then does not ask any more.
    pub(super) fn end(&mut self) {
        self.wake_to_end();
        let deadline = Instant::now() + GRACE;
        while self.ended().is_none() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
        if self.ended().is_none() {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

impl Drop for Domain {
    fn drop(&mut self) {
        self.end();
    }
}
