//! xenconsoled's half: many consoles, drained in turn, each with a limit on its events.
//!
//! | module | what |
//! |---|---|
//! | [`Consoled`] | the control side: finds consoles in the store, opens their terminals |
//! | [`Session`] | one console: what a worker serves |
//! | [`Stats`] | what it has done |
//! | [`EventLimit`] | pure: how many events a guest may send in a period |
//! | [`Gather`] | pure: how long a ring is left alone, so that small writes gather in it |
//! | [`Buffer`] | what the terminal has not taken yet, and what is thrown away |
//! | `outlet` | where output goes: log file, buffer, terminal |
//! | `log` | a console's log file: timestamps, escapes |
//! | `terminal` | a console's pty |
//! | `error` | why a console is not served |
//!
//! A guest's indices are not believed: one that cannot be is ignored, as xenconsoled ignores it, and
//! counted. What the guest wrote is bytes and nothing else.

mod buffer;
mod consoled;
mod error;
mod gather;
mod limit;
mod log;
mod outlet;
mod session;
mod stats;
mod terminal;

pub use buffer::{Buffer, Overflow};
pub use consoled::{Config, ConsoleEvent, Consoled};
pub use error::ServeError;
pub use gather::Gather;
pub use limit::{EventLimit, Limit};
pub use log::{LogConfig, LogText};
pub use outlet::{Outlet, Sink};
pub use session::Session;
pub use stats::{Periods, Stats};
pub use terminal::Terminal;
