//! netfront: the guest's half of a vif.
//!
//! | module | what | journey |
//! |---|---|---|
//! | `connect` | the guest's half of the handshake | |
//! | `features` | what is asked for, what was offered | |
//! | [`Queue`] | one tx and one rx ring with their ports | 1 |
//! | `tx` | frames out: pages, slots, requests, push, reaping | 2 - 7, 15 |
//! | `slots` | pure: a frame as slots | 3 |
//! | `pool` | pages granted once and used again | 2, 4 |
//! | `rx` | frames in: posting buffers, assembling | 16, 18 |
//! | `device` | a queue as a smoltcp device | |
//!
//! The backend is not believed: every response is checked against what we know ourselves, data is
//! copied out before it is looked at, and the first lie makes the device *broken* ([`Misbehaviour`]):
//! nothing more is sent or taken, the process lives. What runs on top of the device lives in
//! `testbeds`; what the other end does, in `backend`, which this crate does not know.

#![forbid(unsafe_code)]

mod connect;
mod device;
mod error;
mod features;
mod pool;
mod queue;
mod rx;
mod slots;
mod stats;
mod tx;

pub use connect::{Config, ConnectError, Netfront};
pub use device::Nic;
pub use error::Misbehaviour;
pub use features::{Features, Wanted};
pub use queue::{QUEUE_FRAMES, Queue};
pub use slots::{Slot, slots};
pub use stats::Stats;
