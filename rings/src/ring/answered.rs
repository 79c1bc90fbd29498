//! How the requests of a ring are answered, as far as whoever looks at a trace must know it.

use tracer::RingInfo;
use tracer::format::journal::Half;

/// How the requests of a ring are answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answered {
    /// In order, and soon: whoever asks waits for the answer (netif's tx ring).
    InOrder,
    /// In order, whenever there is something to answer with: requests are buffers that are posted
    /// (netif's rx ring).
    WhenItComes,
    /// In any order: an `id` tells which request a response belongs to (blkif).
    ById,
}

impl Answered {
    pub(super) fn info(self, name: &str, half: Half, size: u32, base: u32) -> RingInfo<'_> {
        let in_order = self != Self::ById;
        RingInfo { name, half, size, base, in_order, awaited: self != Self::WhenItComes }
    }
}
