//! The trace of a run: switched on before its domains begin, written when they have ended, however that was.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use rings_host::{Host, HostConfig};
use tracer::Source;
use tracer::format::journal::{HOST, Process};
use tracer::keeper::{Keeper, MOST_THREADS, Mode, Written};

use super::outputs;
use crate::config::{TraceMode, TraceTo};
use crate::units::{float, format_size};

/// How long after the end of its domains the host may take to hear of it.
const FAREWELL: Duration = Duration::from_secs(10);

/// Adds to a host's configuration what its trace needs.
pub(super) fn configure(config: HostConfig, to: Option<&TraceTo>) -> HostConfig {
    let Some(to) = to else { return config };
    let trace_mode = match to.mode {
        TraceMode::Stop => Mode::Stop,
        TraceMode::Overwrite => Mode::Overwrite,
        TraceMode::Slow(us) => Mode::Slow(us),
    };
    HostConfig { trace_mode, trace_buffer: to.buffer, ..config }
}

/// A trace that is being recorded.
#[derive(Debug)]
pub(super) struct Tracing {
    to: TraceTo,
    keeper: Arc<Keeper>,
    /// What was run: names and values.
    run: Vec<(String, String)>,
}

impl Tracing {
    /// Switches recording on, for all domains that register from now on and for this process, their
    /// host. `command` is what is run.
    pub(super) fn begin(to: &TraceTo, host: &Host, command: &str) -> anyhow::Result<Self> {
        for file in [&to.file, &to.lossless()] {
            outputs::can_write("--trace", file)?;
        }
        let keeper = Arc::clone(host.tracer());
        let process = Process {
            domid: HOST,
            name: "host".into(),
            program: std::env::current_exe().unwrap_or_default().display().to_string(),
            ..Process::default()
        };
        tracer::start(process, keeper.switch(), Arc::<Keeper>::clone(&keeper))
            .context("cannot trace this process")?;
        keeper.set(true);
        let began = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let machine = crate::results::host_info();
        let run = [
            ("command", command.to_owned()),
            ("trace-mode", to.mode.to_string()),
            ("trace-buffer", format_size(to.buffer)),
            ("began", began.as_secs().to_string()),
            ("cpu", machine.cpu),
            ("cpus", machine.cpus.to_string()),
            ("kernel", machine.kernel),
            ("pvlab", env!("CARGO_PKG_VERSION").to_owned()),
        ];
        let run = run.map(|(name, value)| (name.to_owned(), value)).into();
        Ok(Self { to: to.clone(), keeper, run })
    }

    /// Switches it off: what comes now is not part of the run.
    pub(super) fn end(&self) {
        self.keeper.end();
    }

    /// Writes the files, once the domains have ended. Says in a few lines what is in them.
    pub(super) fn write(&self) -> anyhow::Result<String> {
        self.end();
        let deadline = Instant::now() + FAREWELL;
        while self.keeper.living() > 0 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
        self.write_now()
    }

    /// Writes the files as they would be if all domains ended now.
    pub(super) fn write_now(&self) -> anyhow::Result<String> {
        self.end();
        let lossless = self.to.lossless();
        let written = self.keeper.write(&lossless, &self.run);
        let written = written.with_context(|| format!("cannot write {}", lossless.display()))?;
        let mut text = told(&lossless, &written);
        if self.to.file != lossless {
            text += &crate::trace::export_run(&lossless, &self.to.file)?;
        }
        Ok(text)
    }
}

/// What the lossless file holds, and what it does not.
fn told(file: &Path, written: &Written) -> String {
    let Written { processes, records, lost, busy, threads, entries, overwritten, .. } = *written;
    let file = file.display();
    let mut text = format!("  trace: {records} events of {processes} processes in {file}\n");
    if lost > 0 {
        let share = 100.0 * float(lost) / float(lost + records);
        text += &format!(
            "  note: buffers were full before the end, so the last {share:.0} % of the events are missing; \
             use a larger --trace-buffer, or --trace-mode overwrite for the end\n"
        );
    }
    if busy > 0 {
        text += &format!(
            "  note: {busy} events came in the middle of another, in signal handlers, and are missing\n"
        );
    }
    if threads > 0 {
        text += &format!(
            "  note: {threads} threads are missing: a process can have {MOST_THREADS} that record\n"
        );
    }
    if entries > 0 {
        text += &format!(
            "  note: {entries} names and words are missing: the journal of a process holds 4 MiB\n"
        );
    }
    if written.clock == Source::Monotonic {
        text += "  note: this machine's cycle counter is not steady; CLOCK_MONOTONIC stamped the events, at twice \
                 the cost\n";
    }
    if overwritten > 0 {
        text += &format!("  note: {overwritten} older events were overwritten\n");
    }
    if let Some(why) = &written.frozen {
        text += &format!("  frozen: {why}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_missing_is_told() {
        let file = Path::new("out.pvtrace");
        let whole = Written { processes: 3, records: 700, ..Written::default() };
        let text = told(file, &whole);
        assert_eq!(text, "  trace: 700 events of 3 processes in out.pvtrace\n");
        let much =
            Written { lost: 300, busy: 21, threads: 22, entries: 23, overwritten: 24, ..whole };
        let text = told(file, &much);
        for part in ["30 % of the events", "21 events", "22 threads", "23 names", "24 older events"]
        {
            assert!(text.contains(&format!(" {part}")), "no {part} in {text}");
        }
        assert_eq!(text.lines().filter(|line| line.starts_with("  note: ")).count(), 5, "{text}");
    }
}
