//! What a trace is made of, octet by octet, and how it is read back.
//!
//! | module | what |
//! |---|---|
//! | [`record`] | one event: 16 octets |
//! | [`buffer`] | one thread's records, in memory that outlives it |
//! | [`journal`] | what the numbers in one process's records mean, and what it said in words |
//! | [`clock`] | how stamps become times |
//! | [`container`] | the file `NAME.pvtrace`: all of these, unaltered |
//!
//! Writing records is the business of the rest of this crate, showing them that of `tracer/view`. All
//! that reads here takes bytes from anywhere: wrong ones give an error or are passed over, never a panic.
//!
//! # What belongs together
//!
//! A ring is known on both sides by its name, which both make from what the store tells them
//! (`vif1.0-q0-tx`: front domain 1, handle 0, queue 0). A device that connects again has new rings of
//! the same names; a backend's ring belongs to the youngest frontend ring of its name that is not younger
//! than itself. A slot is known by ring, kind ([`Slot`]) and free-running index: the push
//! and the pop that both contain it are the two ends of its arrow. Indices wrap at 2^32; in the order of
//! time each batch begins where the one before it ended. Where a ring is answered
//! [in order](journal::Ring::in_order), the response to a request has its index; elsewhere the ids tell.
//!
//! The two ends of an event channel are known by the domain that allocated it and its port there
//! ([`journal::Port`]).

pub mod buffer;
mod bytes;
pub mod clock;
pub mod container;
mod cut;
pub mod journal;
mod mapped;
pub mod record;

pub use buffer::{Buffer, Full, Records, ThreadInfo};
pub use clock::{Anchor, Clock, Scale};
pub use container::{EXTENSION, Ended, Process, Thread, Trace, TraceWriter, Unreadable};
pub use cut::CutOff;
pub use journal::{Entry, Journal, Level, Note, NoteKind};
pub use mapped::Mapped;
pub use record::{Event, Record, Sent, Slot, Slots};

/// What a site tells about: the categories that have a meaning to those who read a trace. Anything else
/// is shown as it is.
pub mod category {
    /// A function.
    pub const FUNCTION: &str = "function";
    /// The thread does nothing: `look` and `spin` are sites of a [`Spin`](super::Event::Spin); in any other it
    /// sleeps, in `limit` because a limit keeps it asleep whatever there is to do.
    pub const WAIT: &str = "wait";
    /// Work on granted pages: `copy_from`, `copy_to`, `map`, `unmap`; the argument is the number of
    /// operations, the result of copies the number of bytes.
    pub const GRANT: &str = "grant";
    /// Time that the cost model charges: `cost.send`, `cost.port`, `cost.copy`, `cost.map`,
    /// `cost.block`; the argument is what it charges, in nanoseconds.
    pub const COST: &str = "cost";
    /// What the guest itself does: workload, `think`.
    pub const GUEST: &str = "guest";
    /// One iteration of a workload begins; the argument is its number.
    pub const ITERATION: &str = "iteration";
    /// Time that the tracer itself took.
    pub const TRACER: &str = "tracer";
}
