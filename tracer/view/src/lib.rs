//! Reads traces: who did what on which side of a ring, on one timeline; for people, and for other
//! programs. Recording is the business of `tracer`.

#![forbid(unsafe_code)]

mod beside;
mod crossing;
mod error;
mod explain;
mod export;
mod file;
pub mod fixture;
mod merge;
mod name;
mod pattern;
mod report;
mod selection;
mod stack;
mod timeline;
mod view;

pub use beside::{Beside, Laid};
pub use error::Error;
pub use explain::{Busy, Cause, Explained, Part, Phase, Verdict, Way, explain};
pub use export::{Arrows, Exported, Format, Trouble, export, write};
pub use file::{EXPORTS, File, lossless};
pub use pattern::Pattern;
pub use report::numbers::{duration, thousands, three_digits};
pub use report::{Iteration, Iterations, Paint, Row, Top, iterations, tree};
pub use selection::{Filter, Thinned};
pub use view::View;
