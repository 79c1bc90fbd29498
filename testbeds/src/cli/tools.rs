//! The commands around a lab: `host`, `ls` and `store`; and `report`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::refusal::Refusal;
use super::trace_options::TraceArgs;
use super::values;
use crate::config::{DeviceKind, HostConfig, Rate, TraceTo};

pub(super) const HOST_EXAMPLES: &str = "\
Example, each line in a terminal of its own:
  pvlab host --dir /tmp/lab
  pvlab netback --dir /tmp/lab
  pvlab netfront --dir /tmp/lab -n 128M
  pvlab store --dir /tmp/lab ls";

/// Options of `pvlab host`.
#[derive(Args)]
pub(super) struct HostArgs {
    /// Run directory; made if it is not there
    #[arg(long, value_name = "DIR", value_parser = values::path)]
    dir: PathBuf,
    /// Frontend domains to expect, 1-64 [1]
    #[arg(long, value_name = "N", value_parser = values::vifs, allow_hyphen_values = true)]
    vifs: Option<u32>,
    /// What each of them has: vif, vbd [vif]
    #[arg(long, value_name = "KIND", hide_possible_values = true)]
    device: Option<DeviceKind>,
    /// Bytes that each vif may send in a window of USEC [no limit]
    #[arg(long, value_name = "BYTES,USEC", value_parser = values::rate)]
    #[arg(allow_hyphen_values = true)]
    rate: Option<Rate>,
    /// A domain that makes no progress this long counts as stalled [5s]
    #[arg(long, value_name = "TIME", value_parser = values::stall_timeout)]
    #[arg(allow_hyphen_values = true)]
    stall_timeout: Option<f64>,
    /// No progress on stderr
    #[arg(long)]
    quiet: bool,
    #[command(flatten)]
    trace: TraceArgs,
}

impl HostArgs {
    pub(super) fn resolve(self) -> Result<(HostConfig, Option<TraceTo>), Refusal> {
        if let (Some(rate), Some(DeviceKind::Vbd)) = (self.rate, self.device) {
            let why = "limits network interfaces; drop it or use --device vif";
            return Err(Refusal::of("--rate", rate, why));
        }
        let config = HostConfig {
            dir: self.dir,
            vifs: self.vifs.unwrap_or(1),
            device: self.device.unwrap_or_default(),
            rate: self.rate,
            stall_timeout: self.stall_timeout.unwrap_or(5.0),
            quiet: self.quiet,
        };
        Ok((config, self.trace.resolve()?))
    }
}

/// What `pvlab report` makes a page of.
#[derive(Args, Debug, Clone, PartialEq, Eq)]
pub struct ReportArgs {
    /// Results that -J has written, or the tour
    #[arg(value_name = "FILE", required = true, value_parser = values::path)]
    pub files: Vec<PathBuf>,
    /// The page [report.html]
    #[arg(short = 'o', long = "out", value_name = "OUT", value_parser = values::path)]
    #[arg(default_value = "report.html", hide_default_value = true)]
    pub out: PathBuf,
}

pub(super) const REPORT_EXAMPLES: &str = "\
Example:
  pvlab blk --rw randrw --disk ram=1G -i 0.1 -J blk.json
  pvlab console -J console.json
  pvlab report blk.json console.json -o report.html";

/// What `pvlab ls` shows.
#[derive(Args, Debug, Clone, PartialEq, Eq)]
pub struct LsArgs {
    /// This lab only [every running lab]
    #[arg(long, value_name = "DIR", value_parser = values::path)]
    pub dir: Option<PathBuf>,
    /// All ports too: whose, bound to what, pending or masked
    #[arg(long)]
    pub ports: bool,
    /// All grants too: whose, to whom, which frames, mapped or not
    #[arg(long)]
    pub grants: bool,
}

/// One operation on the store.
#[derive(Args, Debug, Clone, PartialEq, Eq)]
#[command(subcommand_required = true, disable_help_subcommand = true)]
pub struct StoreArgs {
    /// The lab's run directory [the only running lab]
    #[arg(long, value_name = "DIR", value_parser = values::path, global = true)]
    pub dir: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub verb: StoreVerb,
}

/// What to do with the store. Paths are checked by the store itself.
#[derive(Subcommand, Debug, Clone, PartialEq, Eq)]
pub enum StoreVerb {
    /// The nodes below PATH, with their values
    Ls {
        /// Where to start
        #[arg(default_value = "/", hide_default_value = true)]
        path: String,
        /// Permissions too
        #[arg(short = 'p', long)]
        perms: bool,
    },
    /// The value of a node
    Read {
        /// The node
        path: String,
    },
    /// Give a node a value; makes the node and its parents
    Write {
        /// The node
        path: String,
        /// Its new value
        value: String,
    },
    /// Remove a node and all below it
    Rm {
        /// The node
        path: String,
    },
    /// Set permissions: the owner first, then others
    Chmod {
        /// The node
        path: String,
        /// n, r, w or b (none, read, write, both) and a domid, as in n0 r1
        #[arg(required = true, value_name = "PERM", value_parser = values::perm)]
        perms: Vec<String>,
    },
    /// Print the path of every node that changes at or below PATH
    Watch {
        /// Where to look
        path: String,
        /// Stop after this many changes
        #[arg(short = 'n', long, value_name = "N", value_parser = values::amount)]
        num: Option<u64>,
    },
}
