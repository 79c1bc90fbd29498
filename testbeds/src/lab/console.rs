//! One console run: host, daemon, the guest that writes, its neighbours, and what came of it.

use std::time::Duration;

use anyhow::bail;
use rings_host::{Host, HostConfig, News};

use super::children::Domain;
use super::console_summary::{failure, summarise};
use super::domains::{Domains, LOOK, report as report_of};
use super::outputs;
use super::reader::Readers;
use super::sample::{Pids, Sampler, What};
use super::trace::{self, Tracing};
use crate::cli::JsonTo;
use crate::config::{
    Amount, ConsoleConfig, ConsoledConfig, DaemonConfig, GuestConfig, Pictures, RunConfig,
    SinkKind, TraceTo,
};
use crate::domain::{GuestReport, StopFlag};
use crate::report::{self, Progress};
use crate::results::{ConsoleRecord, ConsoleResults, ConsoleStart, host_info};
use crate::units::float;
use crate::workload::console::ConsoleReport;

/// Between two lines of a neighbour. No whole number of them is a period.
const NEIGHBOURS_PACE: Duration = Duration::from_millis(47);

/// Does one run and shows what came of it.
///
/// # Errors
/// If the run could not take place, or was not good.
pub fn console(
    config: &ConsoleConfig,
    pictures: &Pictures,
    json: Option<&JsonTo>,
    trace: Option<&TraceTo>,
    stop: &StopFlag,
) -> anyhow::Result<()> {
    outputs::can_write_results(json)?;
    for (option, path) in [("--csv", &pictures.csv), ("--svg", &pictures.svg)] {
        path.iter().try_for_each(|path| outputs::can_write(option, path))?;
    }
    let text = json != Some(&JsonTo::Stdout);
    let quiet = config.run.quiet || !text;
    if text {
        super::print(&(report::console_headline(config) + "\n"))?;
    }
    let (results, failure) = run(config, (quiet, text), trace, stop)?;
    let repeat = config.command_line()
        + &pictures.arguments()
        + &trace.map(TraceTo::arguments).unwrap_or_default();
    outputs::show(json, &results.to_json()?, &report::console_text(&results, &repeat))?;
    draw(&results, pictures)?;
    match failure {
        Some(why) => bail!(why),
        None => Ok(()),
    }
}

fn draw(results: &ConsoleResults, pictures: &Pictures) -> anyhow::Result<()> {
    if let Some(path) = &pictures.csv {
        outputs::write("--csv", path, &report::csv(&results.series))?;
    }
    if let Some(path) = &pictures.svg {
        let title = report::console_title(results);
        outputs::write("--svg", path, &report::svg(&results.series, &title)?)?;
    }
    Ok(())
}

/// Does one run. Returns its results, and why it was not good if it was not.
fn run(
    config: &ConsoleConfig,
    (quiet, text): (bool, bool),
    trace: Option<&TraceTo>,
    stop: &StopFlag,
) -> anyhow::Result<(ConsoleResults, Option<String>)> {
    let machine = host_info();
    let start = ConsoleStart::now();
    let host = Host::start(trace::configure(host_config(config)?, trace))?;
    let begin = |to| Tracing::begin(to, &host, &config.command_line());
    let tracing = trace.map(begin).transpose()?;
    let mut lab = Lab::start(config, host)?;
    let outcome = lab
        .watch(config, quiet, stop)
        .and_then(|guests| lab.end_daemon().map(|consoles| (guests, consoles)));
    if let Some(tracing) = tracing {
        tracing.end();
        lab.domains.end();
        let told = tracing.write()?;
        if text {
            super::print(&told)?;
        }
    }
    let (guests, consoles) = outcome?;
    let (summary, figures) =
        summarise(config, &guests, &consoles, lab.sampler.cpu(), lab.sampler.peak_bytes());
    let interrupted = stop.is_set().then(|| "interrupted".to_owned());
    let why = interrupted.or_else(|| failure(config, &guests, &consoles));
    let series = guests.into_iter().find(|guest| guest.domid == 1).map(|guest| guest.writer.series);
    let results = ConsoleResults {
        start,
        intervals: std::mem::take(lab.sampler.intervals()),
        config: ConsoleRecord::from(config.clone()).traced(trace),
        summary,
        console: figures,
        series: series.unwrap_or_default(),
        host: machine,
    };
    Ok((results, why))
}

/// The host of a console lab.
pub(super) fn host_config(config: &ConsoleConfig) -> anyhow::Result<HostConfig> {
    Ok(HostConfig {
        dir: config.run.dir.clone(),
        guests: u16::try_from(config.neighbours + 1)?,
        stall_timeout: Duration::from_secs_f64(config.run.stall_timeout),
        console: rings_host::ConsoleConfig {
            index_base: config.run.index_base,
            limit: config.buffer,
        },
        ..HostConfig::default()
    })
}

/// Starts the daemon's process, whose figures count for so many seconds, or until it ends. It serves until
/// it is told to end.
pub(super) fn start_daemon(
    daemon: &DaemonConfig,
    run: &RunConfig,
    measure: Option<f64>,
) -> anyhow::Result<Domain> {
    let config = ConsoledConfig { daemon: daemon.clone(), measure, run: run.clone() };
    Domain::start("consoled", &config.to_args())
}

/// The arguments of a guest that is a shell.
pub(super) fn shell_args(run: &RunConfig) -> Vec<String> {
    run.to_args("console-guest")
}

struct Lab {
    domains: Domains,
    readers: Readers,
    sampler: Sampler,
}

impl Lab {
    fn start(config: &ConsoleConfig, host: Host) -> anyhow::Result<Self> {
        let mut run = config.run.clone();
        run.dir = Some(host.dir().to_owned());
        (run.quiet, run.index_base) = (true, 0);
        let measure = match run.amount {
            Amount::Seconds(seconds) => Some(seconds),
            Amount::Count(_) => None,
        };
        let daemon = start_daemon(&config.daemon, &run, measure)?;
        // The first to register is domain 1, whose lines the run is about.
        let mut guests = vec![Domain::start("console-guest", &config.guest.to_args(&run))?];
        let registered = |host: &Host| loop {
            match host.news(Duration::from_secs(10)) {
                Some(News::Born(who)) if who.domid.0 == 1 => break,
                Some(_) => {}
                None => break,
            }
        };
        if config.neighbours > 0 {
            registered(&host);
        }
        let quiet = GuestConfig {
            pace_ns: u64::try_from(NEIGHBOURS_PACE.as_nanos())?,
            len: config.guest.len,
            ..GuestConfig::default()
        };
        // They write until they are told to end.
        let endless = RunConfig { amount: Amount::Count(u64::MAX >> 8), ..run };
        for _ in 0..config.neighbours {
            guests.push(Domain::start("console-guest", &quiet.to_args(&endless))?);
        }
        let pids = Pids { front: vec![guests[0].pid()], back: vec![daemon.pid()] };
        let what = What {
            per_op: Some(config.guest.len as u64),
            counts_ops: true,
            warmup: config.run.warmup,
            interval: config.run.interval,
        };
        let sampler = Sampler::new(host.segment().clone(), pids, what);
        let readers = match config.daemon.sink {
            SinkKind::Pty => Readers::start(host.dir(), config.neighbours + 1)?,
            _ => Readers::none(),
        };
        let domains = Domains::new(host, daemon, guests, config.run.stall_timeout);
        Ok(Self { domains, readers, sampler })
    }

    /// Waits until every guest has ended, and collects what they report.
    fn watch(
        &mut self,
        config: &ConsoleConfig,
        quiet: bool,
        stop: &StopFlag,
    ) -> anyhow::Result<Vec<GuestReport>> {
        // Where lines of guests go there is no place for a bar.
        let no_bar = quiet || config.daemon.sink == SinkKind::Stderr;
        let progress = Progress::new(&report::console_what(config), config.run.amount, no_bar);
        let lines = config.run.interval.is_some() && !quiet;
        if lines {
            progress.print("[ ID] Interval           Transfer     Rate")?;
        }
        let mut reports: Vec<GuestReport> = Vec::new();
        while !self.domains.fronts.is_empty() {
            if stop.is_set() {
                self.domains.interrupt(self.sampler.elapsed())?;
            }
            self.domains.look(LOOK)?;
            if let Some(interval) = self.sampler.look()
                && lines
            {
                let span = &interval.sum;
                let rate = float(span.bytes) / span.seconds.max(1e-9) / 1e3;
                progress.print(&format!(
                    "[SUM] {:>6.2}-{:<6.2} sec  {:>7} Bytes  {rate:.1} KB/s",
                    span.start, span.end, span.bytes
                ))?;
            }
            self.show(&progress);
            self.domains.back_lives(stop)?;
            for report in self.domains.reap::<GuestReport>()? {
                // The number of the first one, which has left, may be given to a neighbour that comes so late:
                // what that did is in no figure.
                let first_has_left = reports.iter().any(|report| report.domid == 1);
                if !(first_has_left && report.domid == 1) {
                    reports.push(report);
                }
            }
            // The neighbours end when the first one has.
            if reports.iter().any(|report| report.domid == 1) {
                self.domains.fronts.iter_mut().for_each(Domain::ask_to_end);
            }
        }
        drop(progress);
        Ok(reports)
    }

    fn show(&self, progress: &Progress) {
        let (bytes, lines) = self.sampler.done();
        let elapsed = self.sampler.elapsed();
        let rate = float(bytes) / elapsed.as_secs_f64().max(1e-3) / 1e3;
        progress.update(elapsed, lines, &format!("{rate:.1} KB/s"));
    }

    /// Tells the daemon to end, and takes its report: all that was written has been read.
    fn end_daemon(&mut self) -> anyhow::Result<Vec<ConsoleReport>> {
        let daemon = &mut self.domains.back;
        daemon.ask_to_end();
        daemon.end();
        self.readers.end();
        report_of(daemon, "it does not report")
    }
}
