//! What a trace tells people.

pub(crate) mod numbers;
