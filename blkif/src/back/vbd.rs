//! What the control side and the workers say to each other about a vbd: its name, how we serve it, and
//! when its queues come and go. How that comes about is in `connect`.

use std::sync::Arc;

use rings::GrantMode;
use rings::store::backend::{DeviceId, Event};

use super::disk::Source;
use super::queue::Queue;
use crate::dialect::Dialect;

/// Which vbd: its number is its `virtual-device`, 51712 for xvda.
pub type VbdId = DeviceId;

/// What we offer, and how we work.
#[derive(Clone, Debug)]
pub struct Config {
    /// Rings a vbd may have.
    pub max_queues: u32,
    /// Pages of a ring, as a power of two (`max-ring-page-order`).
    pub max_ring_order: u32,
    /// Segments of an indirect request; 0 offers none.
    pub max_indirect: u16,
    /// How granted pages are reached.
    pub grant: GrantMode,
    /// Requests in flight for each page of a ring.
    pub per_page: u32,
    /// Requests taken in one turn.
    pub batch: usize,
    /// Notify after every push, whatever the event index says.
    pub always_notify: bool,
    /// In which units we count.
    pub dialect: Dialect,
    /// The disk, of every vbd.
    pub disk: Arc<Source>,
    /// What the disk is called, for vbds of which the toolstack does not say it
    /// (`physical-device-path`); nothing, if it has no name.
    pub name: String,
}

/// Something for the workers.
pub type VbdEvent<D> = Event<Queue<D>>;
