//! Where netback's frames go.
//!
//! Here: back to the guest they came from ([`Reflect`]), and from guest to guest ([`Bridge`]). A
//! TCP/IP stack over a queue (`Nic`), and a sink that counts and checks frames, are workloads and
//! live in `testbeds`.

mod bridge;
mod reflect;

pub use bridge::{Bridge, BridgePort};
pub use reflect::Reflect;
