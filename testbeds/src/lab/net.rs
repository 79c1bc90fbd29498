//! One network run: host, netback, one netfront for each vif, and what came of it.

use std::time::Duration;

use anyhow::bail;
use rings_host::{Host, HostConfig, News};

use super::children::Domain;
use super::domains::Domains;
use super::outputs;
use super::sample::{Pids, Sampler, What};
use super::summary;
use super::trace::{self, Tracing};
use crate::cli::JsonTo;
use crate::config::{Amount, Mode, NetConfig, NetPath, NetbackConfig, RxTimers, TraceTo};
use crate::domain::{FrontReport, StopFlag};
use crate::report::{self, Progress};
use crate::results::{Config, Results, Start, host_info};

/// Does one run and shows what came of it.
///
/// # Errors
/// If the run could not take place, or was not good.
pub fn net(
    config: &NetConfig,
    json: Option<&JsonTo>,
    trace: Option<&TraceTo>,
    stop: &StopFlag,
) -> anyhow::Result<()> {
    let quiet = config.run.quiet || json == Some(&JsonTo::Stdout);
    let what = report::what(config);
    outputs::can_write_results(json)?;
    let text = json != Some(&JsonTo::Stdout);
    let show = Show { quiet, text, headline: text, points: None };
    let (results, failure) = run(config, &what, show, trace, stop)?;
    let repeat = results.config.command_line() + &trace.map(TraceTo::arguments).unwrap_or_default();
    outputs::show(json, &results.to_json()?, &report::run_text(&what, &results, &repeat))?;
    match failure {
        Some(why) => bail!(why),
        None => Ok(()),
    }
}

/// What is shown of a run while it goes on.
#[derive(Clone, Copy)]
pub(super) struct Show {
    /// No progress.
    pub(super) quiet: bool,
    /// Stdout is for people.
    pub(super) text: bool,
    /// They are told what runs, once it does.
    pub(super) headline: bool,
    /// Intervals of so many seconds for a plot, not for the eye.
    pub(super) points: Option<f64>,
}

/// Does one run. Returns its results, and why it was not good if it was not.
pub(super) fn run(
    config: &NetConfig,
    what: &str,
    show: Show,
    trace: Option<&TraceTo>,
    stop: &StopFlag,
) -> anyhow::Result<(Results, Option<String>)> {
    let machine = host_info();
    let host_config = HostConfig {
        dir: config.run.dir.clone(),
        guests: u16::try_from(config.vifs)?,
        device: rings_host::Device::Vif {
            mtu: config.mtu,
            rate: config.rate.map(|rate| rate.to_string()),
        },
        stall_timeout: Duration::from_secs_f64(config.run.stall_timeout),
        ..HostConfig::default()
    };
    let host = Host::start(trace::configure(host_config, trace))?;
    let begin = |to| Tracing::begin(to, &host, &config.command_line());
    let tracing = trace.map(begin).transpose()?;
    if show.headline {
        super::print(&(report::headline(config) + "\n"))?;
    }
    let mut lab = Lab::start(config, host, show.points.or(config.run.interval))?;
    let start = Start::now(config);
    let outcome = lab.watch(config, what, show, stop);
    if let Some(tracing) = tracing {
        tracing.end();
        lab.domains.end();
        let text = tracing.write()?;
        if show.text {
            super::print(&text)?;
        }
    }
    let reports = outcome?;
    let (summary, end) =
        summary::summarise(config, &reports, lab.sampler.cpu(), lab.sampler.peak_bytes());
    let effective = effective(config, &reports);
    let results = Results {
        start: Some(start),
        intervals: std::mem::take(lab.sampler.intervals()),
        end: Some(end),
        jobs: Vec::new(),
        config: Config::from(effective).traced(trace),
        summary,
        host: machine,
    };
    let interrupted = stop.is_set().then(|| "interrupted".to_owned());
    let failure = interrupted.or_else(|| summary::failure(config, &reports));
    Ok((results, failure))
}

/// The backend's part. Files are its own to open if it is an end of the stream.
fn netback(config: &NetConfig) -> NetbackConfig {
    let (run, copies, timers) = (config.run.clone(), config.copies, config.timers);
    let (file, out) = match config.path {
        NetPath::Backend => (config.file.clone(), config.out.clone()),
        NetPath::Loopback | NetPath::Bridge => (None, None),
    };
    NetbackConfig { run, file, out, copies, timers }
}

/// The configuration as it was negotiated, not as it was asked for.
pub(super) fn effective(config: &NetConfig, reports: &[FrontReport]) -> NetConfig {
    let mut effective = config.clone();
    if let Some(outcome) = reports.first().map(|report| &report.outcome) {
        effective.csum_tx = outcome.csum_tx;
        effective.csum_rx = outcome.csum_rx;
        effective.sg = outcome.sg;
        effective.queues = outcome.queues;
        effective.mtu = outcome.mtu;
        if !outcome.gso {
            effective.gso = 0;
        }
    }
    effective.run.dir.clone_from(&config.run.dir);
    effective
}

struct Lab {
    domains: Domains,
    sampler: Sampler,
    /// Which processes are the servers of others, on a bridge.
    servers: Vec<i32>,
}

impl Lab {
    fn start(config: &NetConfig, host: Host, interval: Option<f64>) -> anyhow::Result<Self> {
        let mut config = config.clone();
        config.run.dir = Some(host.dir().to_owned());
        config.run.quiet = true;
        let back = Domain::start("netback", &netback(&config).to_args())?;
        let mut fronts = Vec::new();
        for vif in 0..config.vifs {
            let mut own = config.clone();
            // Not a guest's to say.
            (own.timers, own.rate) = (RxTimers::default(), None);
            // Guests share the CPUs given to the frontend's side, each beginning with its own.
            let cpus = own.run.front_cpus.len().max(1);
            own.run.front_cpus.rotate_left(usize::try_from(vif)? % cpus);
            let mut args = own.to_args();
            "netfront".clone_into(&mut args[0]);
            fronts.push(Domain::start("netfront", &args)?);
        }
        let pids = Pids { front: fronts.iter().map(Domain::pid).collect(), back: vec![back.pid()] };
        let transactions = matches!(config.mode, Mode::Rr | Mode::Crr);
        let per_op = transactions.then(|| (config.rr_req + config.rr_resp) as u64);
        let counts_ops = config.mode != Mode::Stream;
        let what = What { per_op, counts_ops, warmup: config.run.warmup, interval };
        let sampler = Sampler::new(host.segment().clone(), pids, what);
        let domains = Domains::new(host, back, fronts, config.run.stall_timeout);
        Ok(Self { domains, sampler, servers: Vec::new() })
    }

    /// Waits until every frontend has ended, and collects what they report.
    fn watch(
        &mut self,
        config: &NetConfig,
        what: &str,
        show: Show,
        stop: &StopFlag,
    ) -> anyhow::Result<Vec<FrontReport>> {
        let progress = Progress::new(what, config.run.amount, show.quiet);
        let lines = config.run.interval.is_some() && show.points.is_none() && !show.quiet;
        if lines {
            progress.print(report::interval_header(&config.clone().into()))?;
        }
        let mut reports = Vec::new();
        while !self.domains.fronts.is_empty() {
            self.news(config, stop)?;
            if let Some(interval) = self.sampler.look()
                && lines
            {
                let line = report::interval_line(&config.clone().into(), None, &interval.sum);
                progress.print(&line)?;
            }
            self.show(config, &progress);
            self.domains.back_lives(stop)?;
            reports.extend(self.domains.reap::<FrontReport>()?);
            self.dismiss();
        }
        if let Some(rest) = self.sampler.rest()
            && lines
        {
            progress.print(&report::interval_line(&config.clone().into(), None, &rest.sum))?;
        }
        drop(progress);
        Ok(reports)
    }

    /// What the host has to tell about the domains, waiting a little for it.
    fn news(&mut self, config: &NetConfig, stop: &StopFlag) -> anyhow::Result<()> {
        if stop.is_set() {
            self.domains.interrupt(self.sampler.elapsed())?;
        }
        if let Some(News::Born(who)) = self.domains.look(self.sampler.pause())?
            && config.path == NetPath::Bridge
            && who.domid.0 > 0
            && who.domid.0.is_multiple_of(2)
        {
            self.servers.push(who.pid);
        }
        Ok(())
    }

    /// Servers do not know when their clients are done.
    fn dismiss(&mut self) {
        let fronts = &mut self.domains.fronts;
        if fronts.iter().all(|front| self.servers.contains(&front.pid())) {
            fronts.iter_mut().for_each(Domain::ask_to_end);
        }
    }

    fn show(&self, config: &NetConfig, progress: &Progress) {
        let (bytes, ops) = self.sampler.done();
        let elapsed = self.sampler.elapsed();
        let counted = self.sampler.counted();
        let count = match (config.run.amount, config.counts_bytes()) {
            (Amount::Count(_), false) => counted.1,
            _ => counted.0,
        };
        let seconds = elapsed.as_secs_f64().max(1e-3);
        let rate = config.rate_text(bytes, ops, seconds);
        progress.update(elapsed, count, &rate);
    }
}
