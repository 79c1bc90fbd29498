//! The command `trace`: what to show of a trace that was recorded, and of it how much; and whether to record.
#![allow(rustdoc::broken_intra_doc_links, reason = "[ ] is a default, as in all help texts")]

use std::path::PathBuf;

use clap::{Args, Subcommand};
use tracer_view::{Filter, Format, Pattern};

use super::refusal::Refusal;
use super::values;
use crate::units::{TimeUnit, parse_time, round_u64};

pub(super) const TRACE_EXAMPLES: &str = "\
Examples:
  pvlab net --mode rr -t 1 --trace out.json       record; writes out.json and out.pvtrace
  pvlab trace explain out.json                    where the time of a request goes
  pvlab trace tree out.json --slowest 1           what happened during the slowest request
  pvlab trace top --diff before.json after.json   what became slower
  pvlab trace open out.json                       look at it in Perfetto
  pvlab trace off --dir /tmp/lab                  of a running lab record nothing, until trace on";

/// What to do with a trace.
#[derive(Args, Debug, Clone, PartialEq)]
#[command(subcommand_required = true, disable_help_subcommand = true)]
pub struct TraceCommand {
    /// What to do.
    #[command(subcommand)]
    pub verb: TraceVerb,
}

/// The verbs.
#[derive(Subcommand, Debug, Clone, PartialEq)]
pub enum TraceVerb {
    /// The calls of both sides in the order of time, as indented text
    Tree {
        /// The trace: its .pvtrace, or an export beside it
        #[arg(value_name = "FILE", value_parser = values::path)]
        file: PathBuf,
        /// What of it.
        #[command(flatten)]
        what: FilterArgs,
    },
    /// What each function costs in all
    Top {
        /// The trace: its .pvtrace, or an export beside it
        #[arg(value_name = "FILE", value_parser = values::path, required_unless_present = "diff")]
        file: Option<PathBuf>,
        /// Compare two traces
        #[arg(long, num_args = 2, value_names = ["A", "B"], value_parser = values::path)]
        #[arg(conflicts_with = "file")]
        diff: Option<Vec<PathBuf>>,
        /// Rows to show [25]
        #[arg(short = 'n', long, value_name = "N", value_parser = values::amount)]
        rows: Option<u64>,
        /// Leave in what recording itself cost
        #[arg(long)]
        raw: bool,
        /// What of it.
        #[command(flatten)]
        what: FilterArgs,
    },
    /// Where the time of a request goes, phase by phase, and what would shorten it
    Explain {
        /// The trace: its .pvtrace, or an export beside it
        #[arg(value_name = "FILE", value_parser = values::path)]
        file: PathBuf,
    },
    /// How long each iteration took, over time: bursts, steps, the slowest
    Iterations {
        /// The trace: its .pvtrace, or an export beside it
        #[arg(value_name = "FILE", value_parser = values::path)]
        file: PathBuf,
        /// Write all of them: a picture (.svg) or a table (.csv)
        #[arg(short = 'o', long = "out", value_name = "OUT", value_parser = values::path)]
        out: Vec<PathBuf>,
    },
    /// Make a file for another program: .json, .json.gz, .pftrace, .uftrace, .folded or .csv
    Export {
        /// The trace: its .pvtrace, or an export beside it
        #[arg(value_name = "FILE", value_parser = values::path)]
        file: PathBuf,
        /// What to write; its name says of which kind
        #[arg(short = 'o', long = "out", value_name = "OUT", value_parser = export)]
        out: PathBuf,
        /// Events it may have: the shortest calls are left out, arrows never [1M where there are arrows]
        #[arg(long, value_name = "N|all", value_parser = most)]
        max_events: Option<Most>,
        /// What of it.
        #[command(flatten)]
        what: FilterArgs,
    },
    /// Go on with the recording of a running lab
    On {
        /// The lab's run directory [the only running lab]
        #[arg(long, value_name = "DIR", value_parser = values::path)]
        dir: Option<PathBuf>,
    },
    /// Record nothing of a running lab until it is switched on again
    Off {
        /// The lab's run directory [the only running lab]
        #[arg(long, value_name = "DIR", value_parser = values::path)]
        dir: Option<PathBuf>,
    },
    /// Serve a trace to Perfetto on this machine
    Open {
        /// The trace: an export, or its .pvtrace
        #[arg(value_name = "FILE", value_parser = values::path)]
        file: PathBuf,
        /// Port to listen on [9001]
        #[arg(long, value_name = "PORT")]
        port: Option<u16>,
    },
}

/// How many events an export may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Most(pub Option<u64>);

/// What of a trace is shown.
#[derive(Args, Debug, Clone, Default, PartialEq)]
#[command(next_help_heading = "What to show")]
pub struct FilterArgs {
    /// Only this function and what it calls; * stands for anything
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Not this function, nor what it calls
    #[arg(long, value_name = "NAME")]
    without: Vec<String>,
    /// Calls this deep at most
    #[arg(long, value_name = "N", value_parser = values::amount)]
    depth: Option<u64>,
    /// Calls at least this long
    #[arg(long, value_name = "TIME", value_parser = nanoseconds)]
    longer: Option<i64>,
    /// Between these times after the start: 1ms,1.5ms
    #[arg(long, value_name = "FROM,TO", value_parser = window)]
    window: Option<(i64, i64)>,
    /// While one request was under way: vif1.0-q0-tx:17
    #[arg(long, value_name = "RING:N", value_parser = request)]
    request: Option<(String, u64)>,
    /// While the N slowest requests were under way
    #[arg(long, value_name = "N", value_parser = values::amount, conflicts_with = "request")]
    slowest: Option<u64>,
}

impl FilterArgs {
    /// As the reader wants it.
    #[must_use]
    pub fn filter(&self) -> Filter {
        let patterns = |names: &[String]| names.iter().map(|name| Pattern::new(name)).collect();
        let count = |n: Option<u64>| n.map(|n| usize::try_from(n).unwrap_or(usize::MAX));
        Filter {
            only: patterns(&self.only),
            without: patterns(&self.without),
            depth: count(self.depth),
            longer_ns: self.longer.unwrap_or(0),
            window: self.window,
            request: self.request.clone(),
            slowest: count(self.slowest),
            most: None,
        }
    }
}

fn nanoseconds(text: &str) -> Result<i64, String> {
    let ns = round_u64(parse_time(text, TimeUnit::Nanoseconds, None)?);
    ns.and_then(|ns| i64::try_from(ns).ok()).ok_or_else(|| "too long; use less".to_owned())
}

fn window(text: &str) -> Result<(i64, i64), String> {
    let remedy = "use FROM,TO as in 1ms,1.5ms";
    let (from, to) = text.split_once(',').ok_or(format!("one time where two belong; {remedy}"))?;
    let (from, to) = (nanoseconds(from)?, nanoseconds(to)?);
    if from <= to { Ok((from, to)) } else { Err(format!("ends before it begins; {remedy}")) }
}

fn request(text: &str) -> Result<(String, u64), String> {
    let parts =
        text.rsplit_once(':').and_then(|(ring, n)| Some((ring.to_owned(), n.parse().ok()?)));
    parts.ok_or_else(|| "not a request; use RING:N as in vif1.0-q0-tx:17".to_owned())
}

fn most(text: &str) -> Result<Most, String> {
    if text == "all" {
        return Ok(Most(None));
    }
    values::amount(text).map(|most| Most(Some(most)))
}

fn export(text: &str) -> Result<PathBuf, String> {
    let path = values::path(text)?;
    match Format::of(&path) {
        Some(_) => Ok(path),
        None => {
            let kinds = Format::ALL.map(|(end, _)| end);
            Err(format!("no such kind of file; use a name in {}", kinds.join(", ")))
        }
    }
}

impl TraceCommand {
    /// Checks what the parser cannot.
    pub(super) fn resolve(self) -> Result<Self, Refusal> {
        if let TraceVerb::Iterations { out, .. } = &self.verb {
            let known = |out: &PathBuf| out.extension().is_some_and(|e| e == "svg" || e == "csv");
            if let Some(odd) = out.iter().find(|out| !known(out)) {
                let why = "no such kind of file; use a name in .svg or .csv";
                return Err(Refusal::of("--out", odd.display(), why));
            }
        }
        Ok(self)
    }
}
