//! The options of a trace, for every command that runs something.

use std::path::{Path, PathBuf};

use clap::Args;

use super::refusal::Refusal;
use super::values;
use crate::config::{TraceMode, TraceTo};

#[derive(Args)]
#[command(next_help_heading = "Trace")]
pub(super) struct TraceArgs {
    /// Write a timeline of both sides: .json, .json.gz, .pftrace or .pvtrace
    #[arg(long, value_name = "FILE", value_parser = values::path)]
    trace: Option<PathBuf>,
    /// Full buffers: stop, overwrite, slow=TIME (freeze after a request that takes longer) [stop]
    #[arg(long, value_name = "MODE", value_parser = values::trace_mode)]
    trace_mode: Option<TraceMode>,
    /// Bytes of each thread's buffer, 16 for an event [8M]
    #[arg(long, value_name = "SIZE", value_parser = values::trace_buffer)]
    #[arg(allow_hyphen_values = true)]
    trace_buffer: Option<u64>,
}

impl TraceArgs {
    /// The trace that is asked for, if one is.
    pub(super) fn resolve(self) -> Result<Option<TraceTo>, Refusal> {
        let Some(file) = self.trace else {
            let idle = [("--trace-mode", self.trace_mode.is_some())];
            let idle = idle.into_iter().chain([("--trace-buffer", self.trace_buffer.is_some())]);
            return match idle.into_iter().find(|(_, given)| *given) {
                Some((option, _)) => {
                    let why = "there is no trace; add --trace FILE";
                    Err(Refusal::of_option(option, why))
                }
                None => Ok(None),
            };
        };
        check(&file)?;
        let mode = self.trace_mode.unwrap_or_default();
        let buffer = self.trace_buffer.unwrap_or(TraceTo::BUFFER);
        Ok(Some(TraceTo { file, mode, buffer }))
    }
}

/// A file of a known kind, where a file can be.
fn check(file: &Path) -> Result<(), Refusal> {
    if !TraceTo::is_known(file) {
        let why = format!("no such kind of trace; use a name in {}", TraceTo::KINDS.join(", "));
        return Err(Refusal::of("--trace", file.display(), &why));
    }
    if !tracer::ENABLED {
        let why = "this program was built without its tracer; build it without no-trace";
        return Err(Refusal::of_option("--trace", why));
    }
    let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty());
    let why = match dir {
        _ if file.is_dir() => "a directory",
        Some(dir) if !dir.is_dir() => "no such directory",
        _ => return Ok(()),
    };
    let remedy = "name a file in a directory that exists";
    Err(Refusal::Unusable(format!("--trace {}: {why}; {remedy}", file.display())))
}
