//! What a run is measured with: the clock and the allocation counter.
//!
//! The recorder of function timings and ring events will live here too; it is not built yet and
//! nothing here pretends to be it. This crate is the leaf of the workspace: it knows no ring.

pub mod alloc;
pub mod clock;
