//! The options every kind of run has, as they are typed. What they mean together is `resolve`'s business.

use std::path::PathBuf;

use clap::{ArgAction, Args, ValueEnum};

use super::values::{self, Pair};
use crate::config::{CostNs, GrantMode, NotifyPolicy, WaitPolicy};

/// A mechanism that is there or not.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum Switch {
    On,
    Off,
}

impl Switch {
    pub(super) fn is_on(self) -> bool {
        self == Self::On
    }
}

#[derive(Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    pub(super) length: LengthArgs,
    #[command(flatten)]
    pub(super) mechanisms: MechanismArgs,
    #[command(flatten)]
    pub(super) place: PlaceArgs,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

#[derive(Args)]
#[command(next_help_heading = "How long")]
pub(super) struct LengthArgs {
    /// Run for this time [5]
    #[arg(short = 't', value_name = "SECS", value_parser = values::run_time)]
    #[arg(allow_hyphen_values = true)]
    pub(super) time: Option<f64>,
    /// Run for this many bytes, frames (pktgen), transactions (rr, crr), operations (blk); each vif does
    /// as many. A warm-up does not count
    #[arg(short = 'n', value_name = "SIZE", value_parser = values::amount)]
    #[arg(allow_hyphen_values = true, conflicts_with = "time")]
    pub(super) num: Option<u64>,
    /// A line of figures every SECS; 0 for none [0]
    #[arg(short = 'i', value_name = "SECS", value_parser = values::interval)]
    #[arg(allow_hyphen_values = true)]
    pub(super) interval: Option<f64>,
    /// Time at the start that no figure counts [0]
    #[arg(long, value_name = "SECS", value_parser = values::warmup, allow_hyphen_values = true)]
    pub(super) warmup: Option<f64>,
    /// Check every payload byte: on, off [on]
    #[arg(long, value_name = "SWITCH", hide_possible_values = true)]
    pub(super) verify: Option<Switch>,
    /// Seed of payload and faults [1]
    #[arg(long, value_name = "N", value_parser = values::seed, allow_hyphen_values = true)]
    pub(super) seed: Option<u64>,
}

#[derive(Args)]
#[command(next_help_heading = "Mechanisms")]
pub(super) struct MechanismArgs {
    /// Frames (pktgen) or requests (blk) sent with one push, 1-256; who takes them takes up to four times as
    /// many in a turn, as stacks do [32]
    #[arg(long, value_name = "N", value_parser = values::batch, allow_hyphen_values = true)]
    pub(super) batch: Option<u32>,
    /// Idle domains: adaptive (spin, then sleep), event, poll [adaptive]
    #[arg(long, value_name = "POLICY", hide_possible_values = true)]
    pub(super) wait: Option<WaitPolicy>,
    /// How long adaptive spins before it sleeps [50us]
    #[arg(long, value_name = "TIME", value_parser = values::spin, allow_hyphen_values = true)]
    pub(super) spin: Option<f64>,
    /// Notify: suppressed (when the event index asks), always [suppressed]
    #[arg(long, value_name = "POLICY", hide_possible_values = true)]
    pub(super) notify: Option<NotifyPolicy>,
    /// Reach granted pages by: copy, map (per request), persistent [copy]
    #[arg(long, value_name = "MODE", hide_possible_values = true)]
    pub(super) grant: Option<GrantMode>,
    /// Nanoseconds charged for hypercall, evtchn, gntmap, gntcopy, exit [all 0]
    #[arg(long, value_name = "NAME=NS,...", value_parser = values::cost)]
    #[arg(allow_hyphen_values = true)]
    pub(super) cost: Option<CostNs>,
    /// The guest's own work per operation [0]
    #[arg(long, value_name = "TIME", value_parser = values::think, allow_hyphen_values = true)]
    pub(super) think: Option<u64>,
    /// Where ring indices start; 0xfffffffc wraps at once [0]
    #[arg(long, value_name = "N", value_parser = values::index_base)]
    #[arg(allow_hyphen_values = true)]
    pub(super) index_base: Option<u32>,
}

#[derive(Args)]
#[command(next_help_heading = "Where")]
pub(super) struct PlaceArgs {
    /// CPUs of each side: N, N-M, N+M [one each: 1,0]
    #[arg(short = 'A', value_name = "FRONT,BACK", value_parser = values::affinity)]
    #[arg(allow_hyphen_values = true)]
    pub(super) affinity: Option<Pair<Vec<usize>>>,
    /// Nice value of each side [0,0]
    #[arg(long, value_name = "FRONT,BACK", value_parser = values::nice)]
    #[arg(allow_hyphen_values = true)]
    pub(super) nice: Option<Pair<i32>>,
    /// A side that makes no progress this long ends the run [5s]
    #[arg(long, value_name = "TIME", value_parser = values::stall_timeout)]
    #[arg(allow_hyphen_values = true)]
    pub(super) stall_timeout: Option<f64>,
    /// Run directory, where the store listens [a temporary one]
    #[arg(long, value_name = "DIR", value_parser = values::path)]
    pub(super) dir: Option<PathBuf>,
}

/// Comes last in every help.
#[derive(Args)]
#[command(next_help_heading = "Output")]
pub(super) struct OutputArgs {
    /// Guests' log lines go over their consoles (see PVLAB_LOG); the backend serves those too
    #[arg(long)]
    pub(super) console: bool,
    /// No progress and no notes on stderr
    #[arg(long)]
    pub(super) quiet: bool,
    /// This help
    #[arg(short = 'h', long, action = ArgAction::Help)]
    help: Option<bool>,
}
