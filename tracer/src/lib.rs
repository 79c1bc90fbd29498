//! What a run is measured with: the clock, the allocation counter, and the recorder of function timings and
//! ring events.
//!
//! This crate is the leaf of the workspace: it knows no ring and no domain. What a trace is made of is
//! described in [`format`]; it is shown by `tracer/view`.

pub mod alloc;
pub mod clock;
pub mod format;
