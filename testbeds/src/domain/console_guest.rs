//! A guest with a console: it writes lines, or is a shell.

use std::time::{Duration, Instant};

use anyhow::bail;
use console::front::Console;
use rings::Domain;
use rings::evtchn::{Spin, WaitPolicy};
use rings_host::{BlockKind, HostDomain};
use serde::{Deserialize, Serialize};

use super::crew::{Crew, Terms};
use super::process::{StopFlag, Wanted, live, spin};
use crate::config::{GuestConfig, OnFull, RunConfig};
use crate::workload::SideReport;
use crate::workload::console::{Writer, WriterReport, shell};

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
    let wanted =
        Wanted { name: "console-guest", domid: None, pool_frames: 1, needs: Some("consoled") };
    live(&wanted, run, |domain| work(domain, Console::open(domain)?))
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
        // Whoever is told to end so early has nothing to say, and says that.
        if stop.is_set() {
            return Ok(());
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
    let mut crew = Crew::start_workers(
        domain,
        &Terms {
            kind: BlockKind::Front,
            cpus: &run.front_cpus[..run.front_cpus.len().min(1)],
            nice: run.nice_front,
            idle: &|| idle(config, run),
        },
    )?;
    crew.add((), Box::new(Writer::new(console, config, run)));
    let mut failure = crew.supervise(stop, |_| Ok(()));
    if failure.is_none() && stop.is_set() {
        failure = Some("interrupted".into());
    }
    let mut side = crew.finish();
    let writer = side.writer.take().unwrap_or_default();
    Ok(GuestReport { domid: domain.domid().0, side, writer, failure })
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
