//! The command `pvlab`.
fn main() {}
