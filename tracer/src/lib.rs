//! What a run is measured with: the clock, the allocation counter, and the recorder of function timings and
//! ring events.
//!
//! | module | what |
//! |---|---|
//! | [`clock`] | cycles |
//! | [`alloc`] | counting allocations |
//! | `recorder` | what every process does to be traced: its items and macros stand here, at the top |
//! | [`keeper`] | what the host does: the switch, the memory of all, the file |
//! | [`format`](mod@format) | what a trace is made of |
//!
//! This crate is the leaf of the workspace: of rings and domains it knows no more than their names. Traces are
//! shown by `tracer/view`.
//!
//! ```
//! #[tracer::traced(bytes = bytes.len())]
//! fn checksum(bytes: &[u8]) -> u32 {
//!     bytes.iter().map(|&b| u32::from(b)).sum()
//! }
//! # assert_eq!(checksum(&[1, 2]), 3);
//! ```

pub mod alloc;
pub mod clock;
pub mod format;
pub mod keeper;
mod recorder;
#[cfg(feature = "sleds")]
pub mod sleds;

#[cfg(all(feature = "sleds", not(target_arch = "x86_64")))]
compile_error!("the feature sleds is there for x86-64 alone");

pub use recorder::*;
pub use tracer_macros::traced;
