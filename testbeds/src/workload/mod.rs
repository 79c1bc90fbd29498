//! Workloads, written once for both ends of a vif.
//!
//! | module | what |
//! |---|---|
//! | `nic` | what a workload needs of netfront's queue and netback's, under one name |
//! | `meter` | when measuring begins and ends, and what was measured |
//! | `allowance` | what an application may do in one turn of its stack |
//! | `stack` | a TCP/IP stack over a nic, and an application on it |
//! | `stream`, `rr`, `crr`, `udp` | the applications, each as client and as server |
//! | `exchange` | what requests and responses are made of, and compared with |
//! | `source` | where a stream's bytes come from, what they are compared with, where they go |
//! | `announce` | how a server on a bridge makes itself known |
//! | `both` | both ends on one stack, over a reflector |
//! | `frames` | bare frames: made, taken, looked at |
//! | `pktgen` | bare frames in one direction: a sender and a receiver |
//! | `echo` | bare frames that come back |
//! | [`blk`] | operations on a disk |
//! | [`console`] | lines to a console, and their check; a shell |
//! | [`nbd`] | a disk for everybody who speaks NBD |
//!
//! Which of them runs where is said by a `NetConfig` and a [`Role`]; the processes around them live
//! in `domain`.

mod allowance;
mod announce;
mod apps;
pub mod blk;
mod both;
pub mod console;
mod crr;
mod echo;
mod exchange;
mod frames;
mod meter;
pub mod nbd;
mod nic;
mod pktgen;
mod rr;
mod source;
mod stack;
mod stream;
mod udp;

pub use apps::{Place, build};
pub use meter::{Meter, SideReport};
pub use nic::Nic;
pub(crate) use nic::back_counters;
pub(crate) use source::made;
pub(crate) use stack::FAREWELL_TURNS;

use std::any::Any;

use rings::DomainError;
use rings::worker::Task;
use rings_host::EpollWaiter;

/// Which end of the workload this is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// The one that connects, and decides when it is over.
    Client,
    /// The one that is connected to.
    Server,
}

/// The guest's own work: burns so many nanoseconds.
#[inline(always)]
pub(crate) fn think(ns: u64) {
    if ns == 0 {
        return;
    }
    let _span = tracer::span!(GUEST, "think", ns = ns);
    rings::cost::burn(ns);
}

/// Thinking in one turn, from which on the next operation is the next turn's. Nanoseconds.
const THINK_NS: u64 = 10_000_000;

/// Operations that belong in one turn, as far as it is a matter of thinking: one at least.
fn thought_of(think_ns: u64) -> usize {
    let most = THINK_NS.checked_div(think_ns).unwrap_or(u64::MAX);
    usize::try_from(most).unwrap_or(usize::MAX).max(1)
}

/// A workload on a queue, served by a worker.
pub trait Job: Task + Send {
    /// The counters of its queue and of the workload.
    fn counters(&self) -> crate::counters::Counters;
    /// Why it cannot go on, if it cannot.
    fn failure(&self) -> Option<String>;
    /// Whether measuring has begun.
    fn begun(&self) -> bool;
    /// Whether measuring has ended, although the job has not.
    fn over(&self) -> bool {
        false
    }
    /// Whether its other end has taken nothing for so long that what is for it is dropped.
    fn stalled(&self) -> bool {
        false
    }
    /// Sleeps on its doorbells from now on.
    ///
    /// # Errors
    /// If the operating system refuses.
    fn watch(&self, waiter: &mut EpollWaiter) -> Result<(), DomainError>;
    /// Stops sleeping on them.
    fn unwatch(&self, waiter: &mut EpollWaiter);
    /// The control side has something for it: what, the two of them know.
    fn change(&mut self, _what: Box<dyn Any + Send>) {}
    /// Ends it: closes the queue, and says what was measured.
    fn finish(self: Box<Self>) -> SideReport;
}
