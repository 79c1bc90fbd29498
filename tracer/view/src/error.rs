//! Why a trace cannot be shown, as one line for people.

use std::io;
use std::path::PathBuf;

use tracer::format::{CutOff, Unreadable};

/// What went wrong. Each is one line: what, why, and where there is one, the remedy.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is not to be had.
    #[error("cannot read {}: {why}", file.display())]
    Read {
        /// Which.
        file: PathBuf,
        /// What the system says.
        why: io::Error,
    },
    /// The file is no trace.
    #[error("cannot read {}: {why}", file.display())]
    Unreadable {
        /// Which.
        file: PathBuf,
        /// What it is instead.
        why: Unreadable,
    },
    /// The file is a trace of which the end is missing: it can be shown as far as it goes.
    #[error("{} was {what}", file.display())]
    CutOff {
        /// Which.
        file: PathBuf,
        /// What there is of it.
        what: CutOff,
    },
    /// Not even a lossless file of that name.
    #[error(
        "cannot read {}: exports are made of the lossless file beside them, and {} is not there; \
         name a .pvtrace file", file.display(), lossless.display()
    )]
    NoLossless {
        /// What was asked for.
        file: PathBuf,
        /// What would have been read.
        lossless: PathBuf,
    },
    /// Beside the export lies another trace, which is younger than the one it would be made of.
    #[error(
        "cannot write {}: {} beside it is a younger trace than this one; export under another name",
        file.display(), lossless.display()
    )]
    Younger {
        /// What was to be written.
        file: PathBuf,
        /// What lies there.
        lossless: PathBuf,
    },
    /// The file cannot be written.
    #[error("cannot write {}: {why}", file.display())]
    Write {
        /// Which.
        file: PathBuf,
        /// What the system says.
        why: io::Error,
    },
    /// What was asked for is not in the trace.
    #[error("{0}")]
    Absent(String),
}
