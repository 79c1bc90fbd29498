//! What plays the hypervisor and the toolstack: the only package that knows the lab is simulated.
//!
//! Two halves meet over a Unix socket whose messages are documented in [`proto`]. The *host* half
//! ([`Host`]) creates memory, event channels and doorbells, runs the store, writes the
//! configuration of devices and notices death. The *domain* half ([`HostDomain`]) is what a driver
//! process links: it implements the traits of `rings` by asking the host. Drivers live elsewhere
//! and know neither.

mod domain;
mod foreign;
mod inspect;
mod mapping;
mod named;
pub mod proto;
mod rundir;
mod server;
mod socket;
mod stall;
mod stats;
pub mod store;
mod sys;
mod trace;
mod transport;
mod waiter;
mod welcome;

pub use domain::{Connect, ConnectError, HostDomain, host_is_gone, watch_host};
pub use foreign::HostForeign;
pub use inspect::{inspect, record};
pub use rundir::{RunDir, RunDirError, Swept, labs, leave_nothing, runs};
pub use server::{ConsoleConfig, Device, DomainInfo, Host, HostConfig, HostError, News, vif_mac};
pub use stall::{Stall, is_stopped};
pub use stats::{Block, BlockKind, Segment, SegmentError};
pub use sys::set_nice;
pub use trace::trace;
pub use transport::UnixTransport;
pub use waiter::{EpollWaiter, EventDoorbell};
