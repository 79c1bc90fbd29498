//! A guest with a console: it writes lines, or is a shell.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use console::front::Console;
use rings::Domain;
use rings::evtchn::{Spin, WaitPolicy};
use rings_host::{BlockKind, Connect, HostDomain, Segment};
use serde::{Deserialize, Serialize};

use super::process::{StopFlag, connect, end_with_host, spin, unless_host_gone};
use super::worker::{Command, Handle, Parts, Told};
use crate::config::{GuestConfig, OnFull, RunConfig};
use crate::workload::SideReport;
use crate::workload::console::{Writer, WriterReport, shell};

/// Between two looks whether to end.
const LOOK: Duration = Duration::from_millis(20);
/// How long it may take to let go at the end.
const FAREWELL: Duration = Duration::from_secs(5);

/// What a guest that writes lines reports.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct GuestReport {
    /// Its number.
    pub domid: u16,
    /// What every job reports.
    pub side: SideReport,
    /// What a writer reports besides.
    pub writer: WriterReport,
    /// Why the run is not good, if it is not.
    pub failure: Option<String>,
}

/// Runs this process as a guest of the lab in `run.dir` that writes lines.
///
/// # Errors
/// Whatever keeps the run from taking place.
pub fn write(
    config: &GuestConfig,
    run: &RunConfig,
    stop: &StopFlag,
) -> anyhow::Result<GuestReport> {
    with_console(run, |domain, console| {
        wait_for_daemon(domain, &console, run, stop)?;
        write_lines(domain, console, config, run, stop)
    })
}

/// Runs this process as a guest of the lab in `run.dir` that is a shell on its console.
///
/// # Errors
/// Whatever keeps it from being one.
pub fn interact(run: &RunConfig, stop: &StopFlag) -> anyhow::Result<()> {
    with_console(run, |domain, console| shell(domain, console, stop))
}

fn with_console<R>(
    run: &RunConfig,
    work: impl FnOnce(&HostDomain, Console<HostDomain>) -> anyhow::Result<R>,
) -> anyhow::Result<R> {
    let dir = run.dir.clone().context("--dir is needed to find the host")?;
    let domain = connect(&Connect {
        dir,
        domid: None,
        pool_frames: 1,
        name: "console-guest".into(),
        cost: super::netback::cost(run),
    })?;
    end_with_host(&domain, "console-guest")?;
    let outcome = Console::open(&domain).map_err(Into::into).and_then(|c| work(&domain, c));
    let outcome = unless_host_gone(&domain, outcome);
    domain.goodbye(u32::from(outcome.is_err()));
    outcome
}

/// Lines that nobody reads measure nothing.
fn wait_for_daemon(
    domain: &HostDomain,
    console: &Console<HostDomain>,
    run: &RunConfig,
    stop: &StopFlag,
) -> anyhow::Result<()> {
    // Twice what makes an otherend count as stalled: then the host has said so before.
    let deadline = Instant::now() + Duration::from_secs_f64(run.stall_timeout * 2.0);
    while !console.connected() || console.closed() {
        if stop.is_set() {
            bail!("interrupted");
        }
        if Instant::now() >= deadline {
            let (domid, dir) = (domain.domid(), domain.dir().display());
            bail!(
                "nobody serves the console of domain {domid}; start a daemon with: pvlab consoled --dir {dir}"
            );
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

fn write_lines(
    domain: &HostDomain,
    console: Console<HostDomain>,
    config: &GuestConfig,
    run: &RunConfig,
    stop: &StopFlag,
) -> anyhow::Result<GuestReport> {
    let (tell, told) = channel();
    let (report, reported) = channel();
    let worker = Handle::start(parts(domain, config, run)?, tell)?;
    worker.tell(Command::Add((), Box::new(Writer::new(console, config, run, report))));
    let failure = loop {
        match told.recv_timeout(LOOK) {
            Ok(Told::Finished((), why)) => break why,
            Ok(Told::Removed(..)) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => bail!("the worker died"),
        }
        if stop.is_set() {
            break Some("interrupted".into());
        }
    };
    worker.tell(Command::Remove(()));
    let side = loop {
        match told.recv_timeout(FAREWELL).context("the worker does not let go")? {
            Told::Removed((), side) => break *side,
            Told::Finished(..) => {}
        }
    };
    worker.stop();
    let writer = reported.recv().unwrap_or_default();
    Ok(GuestReport { domid: domain.domid().0, side, writer, failure })
}

fn parts(domain: &HostDomain, config: &GuestConfig, run: &RunConfig) -> anyhow::Result<Parts> {
    let segment = Segment::open(domain.dir())?;
    let block = domain.stats_block(BlockKind::Front.number(), 0)?;
    Ok(Parts {
        waiter: domain.waiter()?,
        spin: idle(config, run),
        cost: domain.cost().clone(),
        block: segment.block(block).context("the statistics segment is too small")?,
        cpu: *run.front_cpus.first().context("-A leaves the guest without a CPU")?,
        nice: run.nice_front,
    })
}

/// Longer than anybody waits for a console.
const FOR_EVER: Duration = Duration::from_secs(3600);

/// What a guest does while it can do nothing is what `--on-full` says: whoever spins never sleeps, and
/// lets others have the CPU only if the daemon is one of them (as Linux' hvc_xen yields).
fn idle(config: &GuestConfig, run: &RunConfig) -> Spin {
    if config.on_full == OnFull::Spin && config.pace_ns == 0 {
        let shared = run.front_cpus.iter().any(|cpu| run.back_cpus.contains(cpu));
        let policy = if shared { WaitPolicy::Poll } else { WaitPolicy::Adaptive };
        return Spin::new(policy, FOR_EVER, false);
    }
    spin(run, 1)
}
