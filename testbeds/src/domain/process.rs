//! What every domain's process does: CPU, priority, signals, the host's death.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::Pid;
use rings::cost::CostNs;
use rings::evtchn::{Spin, WaitPolicy};
use rings::{DomId, Domain as _, GrantMode};
use rings_host::{
    Connect, ConnectError, HostDomain, RunDir, Segment, Swept, host_is_gone, watch_host,
};

use super::logging::exit;
use super::otherend::{self, Other};
use crate::config::{self, RunConfig};

/// A signal so soon after the first one is not a second wish.
const ONCE_MORE: Duration = Duration::from_millis(500);

/// Whether somebody wants this process to end.
#[derive(Clone, Debug, Default)]
pub struct StopFlag(Arc<Wish>);

#[derive(Debug, Default)]
struct Wish {
    asked: AtomicBool,
    /// Nobody looks whether it was asked.
    unheard: AtomicBool,
}

impl StopFlag {
    /// Asks it to end.
    pub fn set(&self) {
        // SYNC unheard: with the loads in `end_if_unheard`.
        self.0.asked.store(true, Ordering::SeqCst);
    }

    /// Whether it was asked.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.asked.load(Ordering::Relaxed)
    }

    /// Does `work`, which does not look at the flag and has nothing to report: whoever wants the process
    /// to end meanwhile does not wait for it.
    pub(super) fn unheard<T>(&self, work: impl FnOnce() -> T) -> T {
        // SYNC unheard: with the loads in `end_if_unheard`. Whoever sets the second of the two sees both.
        self.0.unheard.store(true, Ordering::SeqCst);
        self.end_if_unheard();
        let outcome = work();
        self.0.unheard.store(false, Ordering::Relaxed);
        outcome
    }

    /// Ends the process if it was asked to and does not hear it.
    fn end_if_unheard(&self) {
        // SYNC unheard: with the stores in `set` and in `unheard`.
        if self.0.asked.load(Ordering::SeqCst) && self.0.unheard.load(Ordering::SeqCst) {
            if !crate::lab::is_child() {
                eprintln!("error: interrupted");
            }
            exit(1);
        }
    }

    /// Sets the flag when SIGINT, SIGTERM or SIGHUP comes; another one later ends the process at once. A
    /// terminal's SIGINT goes to all processes of a lab; those that another one has started leave it to
    /// that one, which ends them in order. Must be called before other threads are made:
    /// they inherit the blocked signals, so that a thread of ours gets them.
    ///
    /// # Errors
    /// If signals cannot be blocked.
    pub fn on_signals(&self) -> io::Result<()> {
        let mut set = SigSet::empty();
        set.add(Signal::SIGINT);
        set.add(Signal::SIGTERM);
        set.add(Signal::SIGHUP);
        set.thread_block()?;
        let flag = self.clone();
        let child = crate::lab::is_child();
        let counts = move |signal: Signal| !(child && signal == Signal::SIGINT);
        let wait = move || while !set.wait().is_ok_and(counts) {};
        std::thread::Builder::new().name("signals".into()).spawn(move || {
            wait();
            let first = Instant::now();
            flag.set();
            flag.end_if_unheard();
            // The second one means it. One that comes at once is the first once more: timeout(1) sends
            // its signal to its child and then to the group that the child is in.
            wait();
            while first.elapsed() < ONCE_MORE {
                wait();
            }
            exit(1);
        })?;
        Ok(())
    }
}

/// Pins the calling thread to one CPU.
pub(super) fn pin(cpu: usize) -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu).with_context(|| format!("CPU {cpu}"))?;
    sched_setaffinity(Pid::from_raw(0), &set).with_context(|| format!("cannot run on CPU {cpu}"))
}

/// Sets the priority of the calling thread, which works for this side.
pub(super) fn renice(nice: i32, side: &str) -> anyhow::Result<()> {
    if nice == 0 {
        return Ok(());
    }
    rings_host::set_nice(nice).map_err(|why| {
        let remedy = "values below 0 need privileges, use 0 to 19";
        anyhow::anyhow!("--nice {nice} for the {side}: {why}; {remedy}")
    })
}

/// The idle loop that the options ask for. `guests` is how many domains share this side's CPUs.
pub(super) fn spin(run: &RunConfig, guests: usize) -> Spin {
    let policy = match run.wait {
        config::WaitPolicy::Adaptive => WaitPolicy::Adaptive,
        config::WaitPolicy::Event => WaitPolicy::Event,
        config::WaitPolicy::Poll => WaitPolicy::Poll,
    };
    let shared = run.front_cpus.iter().any(|cpu| run.back_cpus.contains(cpu))
        || guests > run.front_cpus.len().max(1);
    let budget = Duration::from_secs_f64(run.spin_us.max(0.0) / 1e6);
    Spin::new(policy, budget, shared)
}

/// What this process is in its lab.
pub(super) struct Wanted {
    /// What it is called.
    pub(super) name: &'static str,
    /// Its number; the next one that is free, if there is none.
    pub(super) domid: Option<DomId>,
    /// Frames of its page pool.
    pub(super) pool_frames: u32,
    /// What runs as domain 0, if this one gets nowhere without it.
    pub(super) needs: Option<&'static str>,
}

/// Is a domain of the lab in `run.dir` for as long as `work` takes, or the host lives.
///
/// # Errors
/// If there is no lab, or it refuses, or the work fails.
pub(super) fn live<T>(
    wanted: &Wanted,
    run: &RunConfig,
    work: impl FnOnce(&HostDomain) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let dir = run.dir.clone().context("--dir is needed to find the host")?;
    let needs = wanted.needs.map(|name| vec![Other::Host, Other::Domain(DomId::DOM0, name)]);
    // From before it registers: a host that is stopped does not even answer that.
    let _watch = needs.map(|others| otherend::watch(&dir, run, others)).transpose()?;
    let config::CostNs { hypercall, evtchn, gntmap, gntcopy, exit } = run.cost;
    let domain = connect(&Connect {
        dir,
        domid: wanted.domid,
        pool_frames: wanted.pool_frames,
        name: wanted.name.into(),
        cost: CostNs { hypercall, evtchn, gntmap, gntcopy, exit },
    })?;
    end_with_host(&domain, wanted.name)?;
    let outcome = unless_host_gone(&domain, work(&domain));
    domain.goodbye(u32::from(outcome.is_err()));
    outcome
}

fn connect(wanted: &Connect) -> Result<HostDomain, ConnectError> {
    let outcome = HostDomain::connect(wanted);
    if let Ok(domain) = &outcome
        && let Err(error) = rings_host::trace(domain, &wanted.name)
    {
        tracing::debug!(%error, "this process is not traced");
    }
    if outcome.is_err() && crate::lab::is_child() {
        // The host died before it knew us: what it left is ours to remove.
        sweep(&wanted.dir);
    }
    outcome
}

/// Sweeps what a host left that is just dying: its connections may be closed before its lock is.
fn sweep(dir: &Path) -> Swept {
    for _ in 0..200 {
        match RunDir::sweep(dir) {
            Swept::Held => std::thread::sleep(Duration::from_millis(5)),
            other => return other,
        }
    }
    Swept::Held
}

/// The outcome of a domain's work. Without its host everything fails somehow; what there is to say
/// about that is said by [`end_with_host`], which then ends the process.
fn unless_host_gone<T>(domain: &HostDomain, outcome: anyhow::Result<T>) -> anyhow::Result<T> {
    if outcome.is_err() && host_is_gone(domain) {
        std::thread::sleep(Duration::from_secs(10));
    }
    outcome
}

/// When the host ends, its lab is over: what it left is swept away, and this process ends with one
/// line that says so. Of processes that share a terminal only the one that swept says it. Whoever serves
/// guests has done its part if the host ended in good order; whoever was in the middle of a run has not.
fn end_with_host(domain: &HostDomain, name: &'static str) -> io::Result<()> {
    let dir: PathBuf = domain.dir().to_owned();
    let quiet = crate::lab::is_child();
    let serves = matches!(name, "netback" | "blkback" | "consoled");
    // Kept from now on: its name goes with the host.
    let segment = Segment::open(&dir).ok();
    let name = format!("domain {} ({name}, process {})", domain.domid(), std::process::id());
    watch_host(domain, move || {
        let ended = segment.is_some_and(|segment| segment.ended());
        let swept = sweep(&dir) == Swept::Lab;
        if ended && serves && !quiet {
            eprintln!("the host of {} has ended, and {name} with it", dir.display());
            exit(0);
        }
        if swept || !quiet {
            eprintln!("error: the host of {} is gone, so {name} ends", dir.display());
        }
        exit(1);
    })
}

/// How the backend reaches granted pages, as the options ask.
pub(super) fn grant_mode(run: &RunConfig) -> GrantMode {
    match run.grant {
        config::GrantMode::Copy => GrantMode::Copy,
        config::GrantMode::Map => GrantMode::Map,
        config::GrantMode::Persistent => GrantMode::Persistent,
    }
}
