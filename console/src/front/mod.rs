//! The guest's half: writes what it has to say, reads what was typed.
//!
//! | module | what |
//! |---|---|
//! | [`Console`] | the ring and its port: put, get, wait |
//! | `write` | what to do when the ring is full: [`OnFull`] |
//! | [`Emergency`] | a last word, when nothing else works any more |
//! | `error` | why there is no console |
//!
//! xenconsoled's indices are not believed either: one that cannot be is an error, as Linux' hvc_xen
//! has it, and the console is not written to until it can be again.

mod console;
mod emergency;
mod error;
mod write;

pub use console::Console;
pub use emergency::Emergency;
pub use error::OpenError;
pub use write::{OnFull, Written};
