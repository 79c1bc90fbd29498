//! Where a run's trace goes and what is kept of it. Not part of what is run, and so of no configuration; the
//! command that repeats the run has it all the same.

use std::fmt;
use std::path::{Path, PathBuf};

use tracer::format::EXTENSION;

use super::args::quoted;
use crate::units::format_size;

/// What is kept of a trace that is larger than its buffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TraceMode {
    /// The beginning.
    #[default]
    Stop,
    /// The end.
    Overwrite,
    /// What led to the first request that took longer than so many microseconds.
    Slow(u32),
}

/// As it is typed.
impl fmt::Display for TraceMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stop => f.write_str("stop"),
            Self::Overwrite => f.write_str("overwrite"),
            Self::Slow(us) => write!(f, "slow={us}us"),
        }
    }
}

/// A trace that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceTo {
    /// The file to write; what its name ends with says of which kind it is.
    pub file: PathBuf,
    /// What is kept.
    pub mode: TraceMode,
    /// Bytes of each thread's buffer.
    pub buffer: u64,
}

impl TraceTo {
    /// Bytes of a thread's buffer, unless something else is asked for.
    pub const BUFFER: u64 = 8 << 20;
    /// What the names of files may end with.
    pub const KINDS: [&str; 4] = [".json", ".json.gz", ".pftrace", ".pvtrace"];

    /// The lossless file, beside the one that is asked for: `out.pvtrace` for `out.json.gz`.
    #[must_use]
    pub fn lossless(&self) -> PathBuf {
        let name = self.file.file_name().unwrap_or_default().to_string_lossy();
        let stem = Self::KINDS.iter().find_map(|kind| name.strip_suffix(kind)).unwrap_or(&name);
        self.file.with_file_name(format!("{stem}.{EXTENSION}"))
    }

    /// What makes this trace, to be put behind a command: ` --trace out.json`.
    #[must_use]
    pub fn arguments(&self) -> String {
        let mut words = format!(" --trace {}", quoted(&self.file.display().to_string()));
        if self.mode != TraceMode::default() {
            words += &format!(" --trace-mode {}", self.mode);
        }
        if self.buffer != Self::BUFFER {
            words += &format!(" --trace-buffer {}", format_size(self.buffer));
        }
        words
    }

    /// Whether a file of this name is of a kind that can be written.
    #[must_use]
    pub fn is_known(file: &Path) -> bool {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        Self::KINDS.iter().any(|kind| name.strip_suffix(kind).is_some_and(|stem| !stem.is_empty()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lossless_file_lies_beside_the_other() {
        for (file, lossless) in [
            ("out.json", "out.pvtrace"),
            ("a.b/out.json.gz", "a.b/out.pvtrace"),
            ("/x/y.v2.pftrace", "/x/y.v2.pvtrace"),
            ("out.pvtrace", "out.pvtrace"),
        ] {
            let to = TraceTo { file: file.into(), mode: TraceMode::Stop, buffer: 1 };
            assert_eq!(to.lossless(), Path::new(lossless));
            assert_eq!(to.arguments(), format!(" --trace {file} --trace-buffer 1"));
            assert!(TraceTo::is_known(&to.file));
        }
        for file in ["out", "out.txt", ".json", "out.gz", "..", ""] {
            assert!(!TraceTo::is_known(Path::new(file)), "{file}");
        }
    }
}
