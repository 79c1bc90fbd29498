//! What a trace tells people.

mod iterations;
pub(crate) mod numbers;
mod paint;
mod top;
mod tree;

pub use iterations::{Iteration, Iterations, iterations};
pub(crate) use paint::Ink;
pub use paint::Paint;
pub(crate) use top::side;
pub use top::{Row, Top};
pub use tree::tree;
