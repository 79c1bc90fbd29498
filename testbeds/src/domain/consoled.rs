//! The console daemon: serves every console that comes, on workers, until told to stop.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use anyhow::Context as _;
use console::back::{Config, ConsoleEvent, Consoled, LogConfig, Overflow, Session, Sink};
use rings::{DomId, Domain};
use rings_host::{BlockKind, Connect, HostDomain, Segment};

use super::process::{StopFlag, connect, end_with_host, spin, unless_host_gone};
use super::worker::{Command, Handle, Parts, Told};
use crate::config::{self, ConsoledConfig, DaemonConfig, RunConfig, SinkKind};
use crate::workload::console::{ConsoleReport, Served};

/// Between two looks at signals and workers.
const STEP: Duration = Duration::from_millis(10);

/// Runs this process as domain 0 with a console daemon in it, until told to stop. Says what it found at
/// each console.
///
/// # Errors
/// If there is no lab.
pub fn run(config: &ConsoledConfig, stop: &StopFlag) -> anyhow::Result<Vec<ConsoleReport>> {
    let dir = config.run.dir.clone().context("--dir is needed to find the host")?;
    let domain = connect(&Connect {
        dir,
        domid: Some(DomId::DOM0),
        pool_frames: 1,
        name: "consoled".into(),
        cost: super::netback::cost(&config.run),
    })?;
    end_with_host(&domain, "consoled")?;
    let outcome =
        Daemon::start(&domain, &config.daemon, &config.run).and_then(|daemon| daemon.serve(stop));
    let outcome = unless_host_gone(&domain, outcome);
    domain.goodbye(u32::from(outcome.is_err()));
    outcome
}

/// The daemon, in whichever process is domain 0.
pub(super) struct Daemon {
    consoled: Consoled<HostDomain>,
    workers: Vec<Handle<DomId>>,
    told: Receiver<Told<DomId>>,
    /// Which worker has whose console.
    served: BTreeMap<DomId, usize>,
    /// Which worker gets the next.
    turn: usize,
    check: Option<usize>,
    print: bool,
    report: (Sender<ConsoleReport>, Receiver<ConsoleReport>),
    reports: Vec<ConsoleReport>,
}

impl Daemon {
    pub(super) fn start(
        domain: &HostDomain,
        config: &DaemonConfig,
        run: &RunConfig,
    ) -> anyhow::Result<Self> {
        let (tell, told) = channel();
        let consoled = Consoled::new(domain, serve_so(config))?;
        let workers = start_workers(domain, run, &tell)?;
        Ok(Self {
            consoled,
            workers,
            told,
            served: BTreeMap::new(),
            turn: 0,
            check: config.check,
            print: config.sink == SinkKind::Stderr,
            report: channel(),
            reports: Vec::new(),
        })
    }

    /// A daemon in netback's process: of a run its guests' lines go to stderr, otherwise each has a
    /// terminal.
    pub(super) fn beside_netback(domain: &HostDomain, run: &RunConfig) -> anyhow::Result<Self> {
        let sink = if crate::lab::is_child() { SinkKind::Stderr } else { SinkKind::Pty };
        Self::start(domain, &DaemonConfig::of_sink(sink), run)
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
        while let Ok(told) = self.told.try_recv() {
            self.hear(told)?;
        }
        Ok(())
    }

    fn heed(&mut self, event: ConsoleEvent<HostDomain>) {
        match event {
            ConsoleEvent::Connected(front, session) => self.connected(front, *session),
            ConsoleEvent::Disconnect(front) => {
                if let Some(&worker) = self.served.get(&front) {
                    self.workers[worker].tell(Command::Remove(front));
                }
            }
        }
    }

    fn connected(&mut self, front: DomId, session: Session<HostDomain>) {
        let job = Served::new(session, self.check, self.print, self.report.0.clone());
        let worker = self.turn % self.workers.len();
        self.turn += 1;
        self.served.insert(front, worker);
        self.workers[worker].tell(Command::Add(front, Box::new(job)));
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
            Told::Removed(front, side) => {
                self.served.remove(&front);
                // The job has told what it found just before.
                if let Ok(report) = self.report.1.try_recv() {
                    self.reports.push(ConsoleReport { counters: side.counters, ..report });
                }
                self.consoled.disconnected(front)?;
            }
        }
        Ok(())
    }

    /// Gives all consoles back, and says what was found at each that there ever was.
    pub(super) fn end(mut self) -> anyhow::Result<Vec<ConsoleReport>> {
        for (&front, &worker) in &self.served {
            self.workers[worker].tell(Command::Remove(front));
        }
        while !self.served.is_empty() {
            let told = self.told.recv().context("a worker died")?;
            self.hear(told)?;
        }
        self.workers.into_iter().for_each(Handle::stop);
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
        }),
        overflow: match config.overflow {
            config::Overflow::Discard => Overflow::Discard,
            config::Overflow::Keep => Overflow::Keep,
        },
        think: Duration::from_nanos(config.daemon_think_ns),
    }
}

fn start_workers(
    domain: &HostDomain,
    run: &RunConfig,
    tell: &Sender<Told<DomId>>,
) -> anyhow::Result<Vec<Handle<DomId>>> {
    let segment = Segment::open(domain.dir())?;
    let mut workers = Vec::new();
    for (n, &cpu) in run.back_cpus.iter().enumerate() {
        let block = domain.stats_block(BlockKind::Back.number(), u32::try_from(n)?)?;
        let parts = Parts {
            waiter: domain.waiter()?,
            spin: spin(run, 1),
            cost: domain.cost().clone(),
            block: segment.block(block).context("the statistics segment is too small")?,
            cpu,
            nice: run.nice_back,
        };
        workers.push(Handle::start(parts, tell.clone())?);
    }
    Ok(workers)
}
