//! The options of the console's commands, as they are typed. What they mean together is said in
//! `console`.

use std::path::PathBuf;

use clap::Args;

use super::run_options::RunArgs;
use super::values;
use crate::config::{EventRate, OnFull, Overflow, SinkKind};

pub(super) const CONSOLE_EXAMPLES: &str = "\
Sizes take K, M, G (powers of 1024); times take ns, us, ms, s; [ ] is the default.

Examples:
  pvlab console                                 6-byte lines under xenconsoled's limit: bursts and waits
  pvlab console --limit off                     what the ring itself can do
  pvlab console --len 2048                      full rings: the most that the limit lets through
  pvlab console --think 8us --svg bursts.svg    as on a slow board, with a picture
  pvlab console --on-full drop                  a guest that loses lines instead of waiting
  pvlab console --neighbours 63                 who else waits while one guest floods
  pvlab console --attach                        a guest's shell in this terminal; Ctrl-] leaves
  pvlab console --attach --dir /tmp/lab         the console of a lab that runs already";

pub(super) const CONSOLED_EXAMPLES: &str = "\
Example, each line in a terminal of its own:
  pvlab host --dir /tmp/lab
  pvlab consoled --dir /tmp/lab --log /tmp/lab-logs --timestamps
  pvlab console-guest --dir /tmp/lab
  pvlab console --attach --dir /tmp/lab";

pub(super) const GUEST_EXAMPLES: &str = "\
Without an amount it is a shell on its console; with one (-t or --messages) it writes lines.

Examples:
  pvlab console-guest --dir /tmp/lab                       a shell; see it with pvlab console --attach
  pvlab console-guest --dir /tmp/lab --messages 10000      lines as fast as the console takes them";

/// Options of `pvlab console`.
#[derive(Args)]
pub(super) struct ConsoleArgs {
    #[command(flatten)]
    pub(super) guest: GuestArgs,
    #[command(flatten)]
    pub(super) daemon: DaemonArgs,
    #[command(flatten)]
    pub(super) lab: LabArgs,
    #[command(flatten)]
    pub(super) attach: AttachArgs,
    #[command(flatten)]
    pub(super) output: PictureArgs,
    #[command(flatten)]
    pub(super) run: RunArgs,
}

#[derive(Args)]
#[command(next_help_heading = "What is written")]
pub(super) struct GuestArgs {
    /// Run for this many lines
    #[arg(long, value_name = "N", value_parser = values::amount, allow_hyphen_values = true)]
    #[arg(conflicts_with_all = ["time", "num"])]
    pub(super) messages: Option<u64>,
    /// Bytes of a line, its end included, 1-64K [6]
    #[arg(long, value_name = "SIZE", value_parser = values::line, allow_hyphen_values = true)]
    pub(super) len: Option<usize>,
    /// A full ring: block (sleep), spin, drop (lose the line) [block]
    #[arg(long, value_name = "POLICY", hide_possible_values = true)]
    pub(super) on_full: Option<OnFull>,
    /// One line every TIME [as fast as they go]
    #[arg(long, value_name = "TIME", value_parser = values::pace, allow_hyphen_values = true)]
    pub(super) pace: Option<u64>,
}

#[derive(Args)]
#[command(next_help_heading = "Daemon")]
pub(super) struct DaemonArgs {
    /// Events taken from each guest: EVENTS/TIME, or off [30/200ms]
    #[arg(long, value_name = "LIMIT", allow_hyphen_values = true)]
    pub(super) limit: Option<EventRate>,
    /// Where output goes: pty, file=PATH, stderr, null [run: null; daemon: pty]
    #[arg(long, value_name = "SINK", allow_hyphen_values = true)]
    pub(super) sink: Option<SinkKind>,
    /// Keep output here too: a file, or a directory with a file for each guest
    #[arg(long, value_name = "PATH", value_parser = values::path)]
    pub(super) log: Option<PathBuf>,
    /// The time at the start of each line of a file
    #[arg(long)]
    pub(super) timestamps: bool,
    /// Dots for escapes in a file
    #[arg(long)]
    pub(super) replace_escape: bool,
    /// Bytes of a file; then it becomes PATH.1 and the next one begins [1G]
    #[arg(long, value_name = "SIZE", value_parser = values::log_limit, allow_hyphen_values = true)]
    pub(super) log_limit: Option<u64>,
    /// Output a pty does not take: discard (the middle), keep (the guest waits) [discard]
    #[arg(long, value_name = "POLICY", hide_possible_values = true)]
    pub(super) overflow: Option<Overflow>,
    /// The daemon's own work per event [0]
    #[arg(long, value_name = "TIME", value_parser = values::think, allow_hyphen_values = true)]
    pub(super) daemon_think: Option<u64>,
}

#[derive(Args)]
#[command(next_help_heading = "Lab")]
pub(super) struct LabArgs {
    /// Bytes the daemon keeps of what a pty does not take [1M]
    #[arg(long, value_name = "SIZE", value_parser = values::buffer, allow_hyphen_values = true)]
    pub(super) buffer: Option<u64>,
    /// Further guests, each with a line now and then, measured apart, 0-63 [0]
    #[arg(long, value_name = "N", value_parser = values::neighbours, allow_hyphen_values = true)]
    pub(super) neighbours: Option<u32>,
}

#[derive(Args)]
#[command(next_help_heading = "Terminal")]
pub(super) struct AttachArgs {
    /// Be a guest's terminal: of the lab in --dir, or of a new one with a shell
    #[arg(long)]
    pub(super) attach: bool,
    /// Whose console to attach to [1]
    #[arg(long, value_name = "DOMID", value_parser = values::guest, allow_hyphen_values = true)]
    pub(super) domain: Option<u16>,
}

#[derive(Args)]
#[command(next_help_heading = "Pictures")]
pub(super) struct PictureArgs {
    /// Lines over time as CSV: seconds, lines so far
    #[arg(long, value_name = "FILE", value_parser = values::path)]
    pub(super) csv: Option<PathBuf>,
    /// The same as a picture
    #[arg(long, value_name = "FILE", value_parser = values::path)]
    pub(super) svg: Option<PathBuf>,
}

/// Options of `pvlab consoled`.
#[derive(Args)]
pub(super) struct ConsoledArgs {
    #[command(flatten)]
    pub(super) daemon: DaemonArgs,
    /// Check that all guests write numbered lines of so many bytes, as console-guest does
    #[arg(long, value_name = "LEN", value_parser = values::line, allow_hyphen_values = true)]
    pub(super) check: Option<usize>,
    /// Figures count for so long: what a run says to the daemon that it starts
    #[arg(long, value_name = "SECS", value_parser = values::run_time, hide = true)]
    pub(super) measure: Option<f64>,
    #[command(flatten)]
    pub(super) run: RunArgs,
}

/// Options of `pvlab console-guest`.
#[derive(Args)]
pub(super) struct ConsoleGuestArgs {
    #[command(flatten)]
    pub(super) guest: GuestArgs,
    #[command(flatten)]
    pub(super) run: RunArgs,
}
