//! What a trace tells people.

pub(crate) mod numbers;
mod paint;
mod top;
mod tree;

pub use paint::Paint;
pub use top::{Row, Top};
pub use tree::tree;
