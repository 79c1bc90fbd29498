//! The recorder: what every process of a lab does to be traced.
//!
//! | module | what |
//! |---|---|
//! | `switch` | whether to record: one word, which the host writes |
//! | `site` | the places in the source that record |
//! | `thread` | a thread's buffer, and the function that writes into it |
//! | `base` | where that buffer is, for the thread itself |
//! | `header` | what its beginning says of a buffer |
//! | `process` | a process's journal, its numbers, and who keeps its memory |
//! | `span` | functions and other things that last |
//! | `ring` | rings and event channels |
//! | `waiting` | requests in flight, of which a slow one is looked for |
//! | `stamp` | the clock |
//!
//! All memory is made here, written here, and handed to the host at once ([`Host::keep`]): what a
//! process has recorded does not end with it. Under loom, and with the feature `no-trace`, nothing of
//! this does anything.

mod base;
mod calibrate;
mod header;
mod macros;
pub(crate) mod memory;
mod process;
mod ring;
mod site;
mod span;
mod stamp;
pub(crate) mod switch;
mod thread;
mod waiting;

pub(crate) use calibrate::{Costs, costs};
pub use macros::clamp;
pub(crate) use process::JOURNAL_BYTES;
pub use process::{Host, Memory, Slow, note, start};
pub use ring::{Port, Ring, RingInfo, Stamp};
pub use site::Site;
pub use span::{NoSpan, QuietSpan, Span, counter, mark, spinning};
pub use stamp::{Source, now};
pub use switch::on;
pub use thread::attach;

/// Whether there is a recorder in this program at all.
pub const ENABLED: bool = !cfg!(any(loom, feature = "no-trace"));
/// Whether what happens to each single frame is recorded too.
pub const FINE: bool = ENABLED && cfg!(feature = "trace-fine");
