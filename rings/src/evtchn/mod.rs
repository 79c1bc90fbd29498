//! Event channels: one pending bit and one mask bit for each end, and a doorbell.
//!
//! ```text
//!   send:   pending <- 1;  already 1? done.   FENCE   mask set? done.   ring the doorbell
//!   sleep:  mask <- 0;                        FENCE   pending? then there is work, do not sleep
//!   wake:   pending <- 0, then look at the ring
//! ```
//!
//! Sends merge: there is one bit, not a counter. A receiver that polls keeps its port masked, so
//! nobody rings for it; a send to a pending or masked port is no system call. What a doorbell is
//! (an eventfd in an epoll) and how ports come to be belongs to the host; how long to spin before sleeping to
//! [`Spin`]; what to do with events that bring no work to [`Eoi`]. The
//! [`Ports`] of a queue with two rings are handled as one.

mod channel;
mod eoi;
mod ports;
mod wait;
mod words;

pub use channel::{Channel, Doorbell, EventCounters};
pub use eoi::Eoi;
pub use ports::Ports;
pub use wait::{Next, Spin, WaitPolicy};
pub use words::{End, EventPage, EventWords, Word};
