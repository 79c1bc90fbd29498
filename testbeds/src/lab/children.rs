//! The domains' processes: started, watched, and never left behind.

use std::io::Read as _;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::domain::FrontReport;

/// Tells a domain's process that the one that started it reads its report.
pub(super) const CHILD: &str = "PVLAB_CHILD";
/// How long a child may take to end when it is asked to.
const GRACE: Duration = Duration::from_secs(3);

/// One domain's process.
pub(super) struct Domain {
    name: &'static str,
    child: Child,
    stdout: Option<JoinHandle<String>>,
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
        Ok(Self { name, child, stdout })
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

    /// The report it printed, once it has ended.
    pub(super) fn report(&mut self) -> Option<FrontReport> {
        let text = self.stdout.take()?.join().ok()?;
        serde_json::from_str(text.lines().last()?).ok()
    }

    /// Ends it: asks, waits, and then does not ask any more.
    fn end(&mut self) {
        let pid = Pid::from_raw(self.pid());
        if self.ended().is_none() {
            let _ = kill(pid, Signal::SIGTERM);
            // A stopped process hears nothing else.
            let _ = kill(pid, Signal::SIGCONT);
        }
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
