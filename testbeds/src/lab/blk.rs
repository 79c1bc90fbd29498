//! One run over a disk: host, blkback, blkfront, what came of it; and each of the two by hand.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::bail;
use rings_host::{Device, Host, HostConfig};

use super::children::{self, Domain, is_child, told, wake_when_orphaned};
use super::domains::{Domains, LOOK};
use super::net::Show;
use super::outputs;
use super::sample::{Pids, Sampler, What};
use super::trace::{self, Tracing};
use crate::cli::JsonTo;
use crate::config::{Amount, BlkConfig, BlkbackConfig, TraceTo, word};
use crate::domain::{self, BlkOutcome, FrontReport, StopFlag};
use crate::report::{self, Progress};
use crate::results::{Cpu, FioJob, Grants, Results, Summary, host_info, per};
use crate::units::float;
use crate::workload::blk::BlkReport;

type Report = FrontReport<BlkOutcome>;

/// Does one run and shows what came of it.
///
/// # Errors
/// If the run could not take place, or was not good.
pub fn blk(
    config: &BlkConfig,
    json: Option<&JsonTo>,
    trace: Option<&TraceTo>,
    stop: &StopFlag,
) -> anyhow::Result<()> {
    let text = json != Some(&JsonTo::Stdout);
    let quiet = config.run.quiet || !text;
    let what = report::blk_what(config);
    outputs::can_write_results(json)?;
    let show = Show { quiet, text, headline: text, points: None };
    let (results, failure) = run(config, &what, show, trace, stop)?;
    let repeat = results.config.command_line() + &trace.map(TraceTo::arguments).unwrap_or_default();
    let what = report::blk_done(config, &results);
    outputs::show(json, &results.to_json()?, &report::run_text(&what, &results, &repeat))?;
    match failure {
        Some(why) => bail!(why),
        None => Ok(()),
    }
}

/// Is the driver domain with disks until told to stop.
///
/// # Errors
/// If there is no lab, or no disk.
pub fn blkback(config: &BlkbackConfig, stop: &StopFlag) -> anyhow::Result<()> {
    wake_when_orphaned();
    let outcome = domain::blkback::run(config, stop);
    // Started for one run, it ends with the run: that is not worth a line.
    if is_child() && stop.is_set() { Ok(()) } else { told(outcome) }
}

/// Is a guest with a disk for one run, and shows what came of it.
///
/// # Errors
/// If the run could not take place, or was not good.
pub fn blkfront(config: &BlkConfig, stop: &StopFlag) -> anyhow::Result<()> {
    wake_when_orphaned();
    if is_child() {
        return told(domain::blkfront::run(config, stop).and_then(|report| {
            children::report(&serde_json::to_string(&report)?);
            Ok(())
        }));
    }
    let machine = host_info();
    let report = domain::blkfront::run(config, stop)?;
    let repeat = crate::config::shell_line("blkfront", &config.to_args());
    // What is not known here before is what the backend serves.
    let served = config.clone().on_disk_called(report.outcome.name.as_deref());
    let results = results(&served, &report, None, None, machine);
    super::print(&report::run_text(&report::blk_done(&served, &results), &results, &repeat))?;
    match failure(&report) {
        Some(why) => bail!(why),
        None => Ok(()),
    }
}

fn run(
    config: &BlkConfig,
    what: &str,
    show: Show,
    trace: Option<&TraceTo>,
    stop: &StopFlag,
) -> anyhow::Result<(Results, Option<String>)> {
    let machine = host_info();
    let host_config = HostConfig {
        dir: config.run.dir.clone(),
        guests: 1,
        device: Device::Vbd {
            params: config.disk.disk.to_string(),
            read_only: config.disk.read_only,
            discard: true,
        },
        stall_timeout: Duration::from_secs_f64(config.run.stall_timeout),
        ..HostConfig::default()
    };
    let host = Host::start(trace::configure(host_config, trace))?;
    let begin = |to| Tracing::begin(to, &host, &config.command_line());
    let tracing = trace.map(begin).transpose()?;
    if show.headline {
        super::print(&(report::blk_headline(config) + "\n"))?;
    }
    if let Some(path) = config.nbd.as_ref().filter(|_| !show.quiet) {
        let uri = format!("nbd+unix:///?socket={}", path.display());
        super::print(&format!("pvlab: NBD clients find the disk at '{uri}'; Ctrl-C ends it\n"))?;
    }
    let mut lab = Lab::start(config, host)?;
    let outcome = lab.watch(config, what, show.quiet, stop);
    if let Some(tracing) = tracing {
        tracing.end();
        lab.domains.end();
        let told = tracing.write()?;
        if show.text {
            super::print(&told)?;
        }
    }
    let mut report = outcome?;
    let cpu = lab.sampler.cpu();
    // The last backend has told of its own life only.
    let back = report.back.get_or_insert_default();
    back.counters = back.counters.plus(lab.sampler.gone());
    let rss = Some(lab.sampler.peak_bytes());
    let mut results = results(config, &report, cpu, rss, machine);
    results.config = results.config.traced(trace);
    results.intervals = std::mem::take(lab.sampler.intervals());
    Ok((results, failure(&report)))
}

struct Lab {
    domains: Domains,
    back_args: Vec<String>,
    /// When the backend is killed on purpose; decided when the first operations are done.
    kill_at: Option<Instant>,
    /// Where chance is.
    random: u64,
    sampler: Sampler,
}

impl Lab {
    fn start(config: &BlkConfig, host: Host) -> anyhow::Result<Self> {
        let mut config = config.clone();
        config.run.dir = Some(host.dir().to_owned());
        config.run.quiet = true;
        let back_args = config.back().to_args();
        let back = Domain::start("blkback", &back_args)?;
        let mut args = config.to_args();
        "blkfront".clone_into(&mut args[0]);
        let front = Domain::start("blkfront", &args)?;
        let pids = Pids { front: vec![front.pid()], back: vec![back.pid()] };
        let (segment, per_op) = (host.segment().clone(), Some(config.bs as u64));
        let (warmup, interval) = (config.run.warmup, config.run.interval);
        let sampler =
            Sampler::new(segment, pids, What { per_op, counts_ops: true, warmup, interval });
        let random = config.run.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let domains = Domains::new(host, back, vec![front], config.run.stall_timeout);
        Ok(Self { domains, back_args, kill_at: None, random, sampler })
    }

    /// Waits until the frontend has ended, and takes its report.
    fn watch(
        &mut self,
        config: &BlkConfig,
        what: &str,
        quiet: bool,
        stop: &StopFlag,
    ) -> anyhow::Result<Report> {
        let progress = Progress::new(what, config.run.amount, quiet);
        let lines = config.run.interval.is_some() && !quiet;
        if lines {
            progress.print(report::interval_header(&config.clone().into()))?;
        }
        loop {
            self.news(config, stop)?;
            if let Some((blocks, all)) = self.sampler.read_back() {
                progress.afterwards("reading back what was written", blocks, all);
            } else {
                if let Some(interval) = self.sampler.look()
                    && lines
                {
                    let line = report::interval_line(&config.clone().into(), None, &interval.sum);
                    progress.print(&line)?;
                }
                self.show(config, &progress);
            }
            self.replace_backend(config)?;
            if let Some(report) = self.domains.reap()?.pop() {
                if let Some(rest) = self.sampler.rest()
                    && lines
                {
                    let line = report::interval_line(&config.clone().into(), None, &rest.sum);
                    progress.print(&line)?;
                }
                return Ok(report);
            }
            if !stop.is_set() || config.nbd.is_none() {
                self.domains.back_lives(stop)?;
            }
        }
    }

    /// What the host has to tell about the domains, waiting a little for it.
    fn news(&mut self, config: &BlkConfig, stop: &StopFlag) -> anyhow::Result<()> {
        match stop.is_set() {
            true if config.nbd.is_none() => self.domains.interrupt(self.sampler.elapsed())?,
            // A server ends when it is told to, and says what it did.
            true => self.domains.fronts.iter_mut().for_each(Domain::ask_to_end),
            false => {}
        }
        self.domains.look(LOOK).map(drop)
    }

    /// Kills the backend and starts another one, if it is time to.
    fn replace_backend(&mut self, config: &BlkConfig) -> anyhow::Result<()> {
        let Some(every) = config.kill_backend_every else { return Ok(()) };
        let Some(at) = self.kill_at else {
            // Not before anything was done: killing what is just starting shows nothing.
            self.kill_at = (self.sampler.done().1 > 0).then(|| self.moment(every));
            return Ok(());
        };
        if Instant::now() < at {
            return Ok(());
        }
        self.sampler.back_goes();
        let args = &self.back_args;
        self.domains.replace_back(|| Domain::start("blkback", args))?;
        self.sampler.another_back(self.domains.back.pid());
        // That may well be before this one has connected.
        self.kill_at = Some(self.moment(every));
        Ok(())
    }

    /// A moment from now on until twice `every`, in seconds: all are as likely.
    fn moment(&mut self, every: f64) -> Instant {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let share = float(self.random >> 11) / float(1_u64 << 53);
        Instant::now() + Duration::from_secs_f64(2.0 * every * share)
    }

    fn show(&self, config: &BlkConfig, progress: &Progress) {
        let (_, ops) = self.sampler.done();
        let elapsed = self.sampler.elapsed();
        let seconds = elapsed.as_secs_f64().max(1e-3);
        let counted = self.sampler.counted().1;
        let count = if matches!(config.run.amount, Amount::Count(_)) { counted } else { 0 };
        progress.update(elapsed, count, &config.rate_text(ops, seconds));
    }
}

/// What went wrong in words, if anything did.
fn failure(report: &Report) -> Option<String> {
    if let Some(why) = &report.failure {
        return Some(format!("domain {}: {why}", report.domid));
    }
    let first = report.front.first_error.as_deref().unwrap_or("no words for it");
    let errors = report.front.errors;
    let of_disk = report.back.as_ref().and_then(|back| back.first_error.as_ref());
    let why = of_disk.map_or(String::new(), |why| format!("; {why}"));
    (errors > 0)
        .then(|| format!("domain {}: {errors} errors, the first: {first}{why}", report.domid))
}

/// The configuration as it was negotiated, not as it was asked for.
fn effective(config: &BlkConfig, outcome: &BlkOutcome) -> BlkConfig {
    let mut effective = config.clone();
    effective.queues = outcome.queues;
    effective.ring_order = outcome.ring_order;
    effective.segments = outcome.segments;
    effective.disk.sector_size = outcome.sector_size;
    effective
}

fn results(
    config: &BlkConfig,
    report: &Report,
    cpu: Option<Cpu>,
    rss_bytes: Option<u64>,
    host: crate::results::Host,
) -> Results {
    let (front, back) = (&report.front, report.back.clone().unwrap_or_default().settled());
    let both = front.counters.plus(&back.counters);
    let (ops, seconds) = (front.ops, front.seconds);
    let rate = |count: u64| (seconds > 0.0).then(|| float(count) / seconds);
    let (ours, theirs) =
        (front.blk.clone().unwrap_or_default(), BlkReport::of_backend(&back.counters));
    // Both ends count what they do for whatever it is done: for operations that fail, for reading back.
    let (every_op, every_byte) = ours.moved().unwrap_or((ops, front.bytes));
    let summary = Summary {
        throughput_bps: rate(front.bytes * 8),
        iops: rate(ops),
        latency_us: front.latencies.as_ref().and_then(|l| l.latency()),
        bytes: Some(front.bytes),
        bytes_verified: Some(front.verified),
        errors: Some(front.errors),
        ops: Some(ops),
        notifies_per_op: per(both.notifies, every_op),
        notifies_suppressed: Some(both.suppressed),
        wakeups: Some(both.wakeups),
        batch_mean: per(both.pushed, both.pushes),
        ring_full: Some(both.ring_full),
        cycles_per_op: per(both.busy_cycles, every_op),
        spin_cycles_per_op: per(both.spin_cycles, every_op),
        allocs_per_op: per(both.allocs, every_op),
        syscalls_per_op: per(both.syscalls, every_op),
        copies_per_byte: per(both.copied_bytes, every_byte),
        grants: Some(Grants {
            copies: back.counters.copies,
            maps: back.counters.maps,
            unmaps: back.counters.unmaps,
        }),
        cpu,
        rss_bytes,
        seconds,
        ..Summary::default()
    };
    let effective = effective(config, &report.outcome);
    let failed = front.errors > 0 || report.failure.is_some();
    let options = options(&effective, report.outcome.bytes);
    let mut job = FioJob::new(options, &ours, &theirs, seconds, failed);
    job.unchecked = effective.unchecked(front.verified + front.errors > 0);
    Results {
        start: None,
        intervals: Vec::new(),
        end: None,
        jobs: vec![job],
        config: effective.into(),
        summary,
        host,
    }
}

/// The job's options under fio's names.
fn options(config: &BlkConfig, bytes: u64) -> BTreeMap<String, String> {
    let all = [
        ("rw", word(&config.rw)),
        ("bs", config.bs.to_string()),
        ("iodepth", config.iodepth.to_string()),
        ("numjobs", config.numjobs.to_string()),
        ("size", config.disk.size.unwrap_or(bytes).to_string()),
        ("filename", config.disk.disk.to_string()),
        ("ioengine", "pvlab".to_owned()),
    ];
    all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
