//! What the control side and the workers say to each other about a vif: its name, what both ends
//! want of it, and when its queues come and go. How that comes about is in `connect`.

use rings::GrantMode;
use rings::csum::Blank;
use rings::store::backend::{DeviceId, Event};

use crate::queue::Queue;
use crate::starve::Timers;

/// Which vif.
pub type VifId = DeviceId;

/// What we offer, and how we work.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Pairs of rings a vif may have.
    pub max_queues: u32,
    /// How granted pages are reached.
    pub grant: GrantMode,
    /// Frames taken in one turn.
    pub batch: usize,
    /// Notify after every push, whatever the event index says.
    pub always_notify: bool,
    /// How long a guest without buffers is waited for.
    pub timers: Timers,
}

/// What the guest takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Accepted {
    /// Frames of more than one slot (`feature-sg`).
    pub sg: bool,
    /// TCPv4 frames that stand for many segments (`feature-gso-tcpv4`).
    pub gso: bool,
    /// Blank checksums: of IPv4 (no `feature-no-csum-offload`), of IPv6 (`feature-ipv6-csum-offload`).
    pub blank: Blank,
    /// It notifies when it posts buffers (`feature-rx-notify`).
    pub rx_notify: bool,
}

/// Something for the workers.
pub type VifEvent<D> = Event<Queue<D>>;
