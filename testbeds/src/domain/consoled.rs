//! The console daemon: serves every console that comes, on workers, until told to stop.

use std::time::Duration;

use console::back::{Config, ConsoleEvent, Consoled, LogConfig, Overflow, Session, Sink};
use rings::DomId;
use rings_host::HostDomain;

use super::crew::Crew;
use super::process::{StopFlag, Wanted, live};
use super::worker::Told;
use crate::config::{self, ConsoledConfig, DaemonConfig, RunConfig, SinkKind};
use crate::workload::console::{ConsoleReport, Served, Window};

/// Between two looks at signals and workers.
const STEP: Duration = Duration::from_millis(10);

/// Runs this process as domain 0 with a console daemon in it, until told to stop. Says what it found at
/// each console.
///
/// # Errors
/// If there is no lab.
pub fn run(config: &ConsoledConfig, stop: &StopFlag) -> anyhow::Result<Vec<ConsoleReport>> {
    let wanted = Wanted { name: "consoled", domid: Some(DomId::DOM0), pool_frames: 1, needs: None };
    let window = Window::new(config.run.warmup, config.measure);
    live(&wanted, &config.run, |domain| {
        Daemon::start(domain, &config.daemon, &config.run, window)?.serve(stop)
    })
}

/// The daemon, in whichever process is domain 0.
pub(super) struct Daemon {
    consoled: Consoled<HostDomain>,
    crew: Crew<DomId>,
    check: Option<usize>,
    print: bool,
    window: Window,
    reports: Vec<ConsoleReport>,
}

impl Daemon {
    pub(super) fn start(
        domain: &HostDomain,
        config: &DaemonConfig,
        run: &RunConfig,
        window: Window,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            consoled: Consoled::new(domain, serve_so(config))?,
            crew: Crew::of_backend(domain, run)?,
            check: config.check,
            print: config.sink == SinkKind::Stderr,
            window,
            reports: Vec::new(),
        })
    }

    /// A daemon in a backend's process: of a run its guests' lines go to stderr, otherwise each has a
    /// terminal.
    pub(super) fn beside_backend(domain: &HostDomain, run: &RunConfig) -> anyhow::Result<Self> {
        let sink = if crate::lab::is_child() { SinkKind::Stderr } else { SinkKind::Pty };
        Self::start(domain, &DaemonConfig::of_sink(sink), run, Window::new(0.0, None))
    }

    fn serve(mut self, stop: &StopFlag) -> anyhow::Result<Vec<ConsoleReport>> {
        while !stop.is_set() {
            self.step(STEP)?;
        }
        self.end()
    }

    /// Waits a little for something to change, and deals with it.
    pub(super) fn step(&mut self, timeout: Duration) -> anyhow::Result<()> {
        for event in self.consoled.step(timeout)? {
            self.heed(event);
        }
        while let Some(told) = self.crew.hear(Duration::ZERO)? {
            self.hear(told)?;
        }
        Ok(())
    }

    fn heed(&mut self, event: ConsoleEvent<HostDomain>) {
        match event {
            ConsoleEvent::Connected(front, session) => self.connected(front, *session),
            ConsoleEvent::Disconnect(front) => {
                self.crew.remove(front);
            }
        }
    }

    fn connected(&mut self, front: DomId, session: Session<HostDomain>) {
        let job = Served::new(session, self.check, self.print, self.window);
        self.crew.add(front, Box::new(job));
    }

    fn hear(&mut self, told: Told<DomId>) -> anyhow::Result<()> {
        match told {
            Told::Finished(front, why) => {
                if let Some(why) = why {
                    tracing::warn!(%front, why, "console lost");
                }
                if let Some(event) = self.consoled.left(front) {
                    self.heed(event);
                }
            }
            Told::Stalled(..) => {}
            Told::Removed(front, side) => {
                let side = side.settled();
                if let Some(report) = side.console {
                    self.reports.push(ConsoleReport { counters: side.counters, ..report });
                }
                self.consoled.disconnected(front)?;
            }
        }
        Ok(())
    }

    /// Gives all consoles back, and says what was found at each that there ever was.
    pub(super) fn end(mut self) -> anyhow::Result<Vec<ConsoleReport>> {
        self.crew.remove_all();
        while !self.crew.is_idle() {
            if let Some(told) = self.crew.hear(STEP)? {
                self.hear(told)?;
            }
        }
        self.crew.stop();
        Ok(self.reports)
    }
}

/// The daemon's options in its own words.
fn serve_so(config: &DaemonConfig) -> Config {
    let file = match &config.sink {
        SinkKind::File(path) => Some(path),
        SinkKind::Pty | SinkKind::Stderr | SinkKind::Null => config.log.as_ref(),
    };
    Config {
        limit: config.limit.limit(),
        sink: if config.sink == SinkKind::Pty { Sink::Terminal } else { Sink::Null },
        log: file.map(|path| LogConfig {
            path: path.clone(),
            timestamps: config.timestamps,
            replace_escape: config.replace_escape,
            limit: config.log_limit,
        }),
        overflow: match config.overflow {
            config::Overflow::Discard => Overflow::Discard,
            config::Overflow::Keep => Overflow::Keep,
        },
        think: Duration::from_nanos(config.daemon_think_ns),
    }
}
