//! The options every kind of run has.

use std::path::PathBuf;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::cpus::default_cpus;
use super::rate::Rate;

/// How much a run does before it ends.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Amount {
    /// Seconds, warm-up apart.
    Seconds(f64),
    /// Bytes for stream and udp, frames for pktgen, transactions for rr and crr.
    Count(u64),
}

/// What a domain does while it has nothing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WaitPolicy {
    /// Looks for a while, then arms the event and sleeps.
    Adaptive,
    /// Arms the event and sleeps at once.
    Event,
    /// Never sleeps.
    Poll,
}

/// When a domain tells the other end about new slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NotifyPolicy {
    /// When the other end's event index asks for it.
    Suppressed,
    /// After every push.
    Always,
}

/// How the backend reaches a page it was granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GrantMode {
    /// Checked copies.
    Copy,
    /// A mapping made and removed for each request.
    Map,
    /// Mappings made once and kept.
    Persistent,
}

/// What the simulated hypervisor charges, in nanoseconds of busy waiting.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CostNs {
    /// Each hypercall.
    pub hypercall: u64,
    /// Each event channel operation that enters the hypervisor.
    pub evtchn: u64,
    /// Each page mapped or unmapped.
    pub gntmap: u64,
    /// Each copy through a grant.
    pub gntcopy: u64,
    /// Each exit from the guest.
    pub exit: u64,
}

/// The options every kind of run has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunConfig {
    /// When the run ends.
    pub amount: Amount,
    /// Seconds between interval lines; none if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<f64>,
    /// Seconds at the start that no figure counts.
    pub warmup: f64,
    /// Seed of the payload and of injected faults.
    pub seed: u64,
    /// CPUs of the frontend, one worker each.
    pub front_cpus: Vec<usize>,
    /// CPUs of the backend, one worker each.
    pub back_cpus: Vec<usize>,
    /// Nice value of the frontend.
    pub nice_front: i32,
    /// Nice value of the backend.
    pub nice_back: i32,
    /// What a domain does while it has nothing to do.
    pub wait: WaitPolicy,
    /// Microseconds an adaptive waiter looks before it sleeps.
    pub spin_us: f64,
    /// When a domain tells the other end about new slots.
    pub notify: NotifyPolicy,
    /// Frames or requests sent with one push. Who takes them takes a few times as many in a turn.
    pub batch: u32,
    /// How the backend reaches a page it was granted.
    pub grant: GrantMode,
    /// What the simulated hypervisor charges.
    pub cost: CostNs,
    /// Whether every payload byte is checked.
    pub verify: bool,
    /// Nanoseconds of the guest's own work per operation.
    pub think_ns: u64,
    /// Where the free-running ring indices start.
    pub index_base: u32,
    /// Seconds without progress after which the other end counts as stalled.
    pub stall_timeout: f64,
    /// The run directory; a fresh temporary one if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dir: Option<PathBuf>,
    /// Guests' log lines go over their consoles.
    #[serde(default)]
    pub console: bool,
    /// No progress on stderr.
    pub quiet: bool,
}

impl Default for RunConfig {
    fn default() -> Self {
        let (front_cpus, back_cpus) = default_cpus();
        Self {
            amount: Amount::Seconds(5.0),
            interval: None,
            warmup: 0.0,
            seed: 1,
            front_cpus,
            back_cpus,
            nice_front: 0,
            nice_back: 0,
            wait: WaitPolicy::Adaptive,
            spin_us: 50.0,
            notify: NotifyPolicy::Suppressed,
            batch: 32,
            grant: GrantMode::Copy,
            cost: CostNs::default(),
            verify: true,
            think_ns: 0,
            index_base: 0,
            stall_timeout: 5.0,
            dir: None,
            console: false,
            quiet: false,
        }
    }
}

/// What a guest of a host started by hand has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceKind {
    /// A network interface.
    #[default]
    Vif,
    /// A disk.
    Vbd,
}

/// A host started by hand, for domains that are started by hand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HostConfig {
    /// The run directory, where the domains will look for it.
    pub dir: PathBuf,
    /// Frontend domains to expect.
    pub vifs: u32,
    /// What each of them has.
    pub device: DeviceKind,
    /// How fast each of them may send, if it has a network interface and that is limited.
    pub rate: Option<Rate>,
    /// Seconds without progress after which a domain counts as stalled.
    pub stall_timeout: f64,
    /// No progress on stderr.
    pub quiet: bool,
}
