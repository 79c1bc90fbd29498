//! netback: the driver domain's half of a vif.
//!
//! | module | what | journey |
//! |---|---|---|
//! | `connect` | a vif's part in the handshake of all backends: keys, rings and ports, carrier | |
//! | [`Queue`] | one tx and one rx ring with their ports | 8 |
//! | `sleep` | when a queue may sleep, and what wakes it | |
//! | `tx` | frames from the guest: take, parse, copy, answer, hand on | 9 - 14 |
//! | `parse` | pure: slots as a frame; every check of what the guest wrote is here | 10 |
//! | `rx` | frames to the guest: find buffers, copy, answer | 17 |
//! | `deliver` | a frame as its guest can take it | |
//! | `credit` | how fast a guest may send | |
//! | `starve` | how long a guest without buffers is waited for | |
//! | `offload` | segments for whoever cannot take them as one | |
//! | `device` | a queue as a smoltcp device | |
//! | `lossy` | frames lost on purpose | |
//! | [`wire`] | where frames go: back, or to other guests | 14 |
//!
//! The guest is not believed. What it writes is copied once and then checked; a lie either fails one
//! frame or breaks the vif ([`Rogue`]), as Linux' netback decides it, and never more than that. What
//! runs on top lives in `testbeds`; what the other end does, in `frontend`, which this crate does not
//! know.

#![forbid(unsafe_code)]

mod connect;
mod credit;
mod deliver;
mod device;
mod error;
mod lossy;
mod offload;
mod parse;
mod queue;
mod rx;
mod sleep;
mod starve;
mod stats;
mod tx;
mod vif;
pub mod wire;

pub use connect::{Netback, Vifs};
pub use device::Nic;
pub use error::Rogue;
pub use offload::segments;
pub use parse::{Packet, Slots, Verdict, parse};
pub use queue::Queue;
pub use starve::Timers;
pub use stats::Stats;
pub use vif::{Accepted, Config, VifEvent, VifId};
