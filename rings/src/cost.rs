//! The cost model: what a hypervisor would charge, charged by waiting.
//!
//! A process pays no hypercall when it sends an event through shared memory. With `--cost` it does:
//! each place where a domain would enter the hypervisor burns the time it is told. Default zero.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tracer::clock::{cycles, ns_to_cycles};

/// What each operation costs, in nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CostNs {
    /// Entering the hypervisor; part of every operation below.
    pub hypercall: u64,
    /// Sending an event.
    pub evtchn: u64,
    /// Mapping or unmapping one grant.
    pub gntmap: u64,
    /// Copying through one grant.
    pub gntcopy: u64,
    /// Leaving the guest to sleep and coming back.
    pub exit: u64,
}

/// A place where a hypervisor would charge.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Charge {
    /// `EVTCHNOP_send`.
    Send,
    /// `GNTTABOP_copy` with so many operations.
    Copy(u32),
    /// `GNTTABOP_map_grant_ref` or `..._unmap_grant_ref` with so many operations.
    Map(u32),
    /// `SCHEDOP_block`, and the way back.
    Block,
}

/// The model in force in this domain; clones share the sum.
#[derive(Clone, Debug, Default)]
pub struct Cost(Option<Arc<Model>>);

#[derive(Debug)]
struct Model {
    ns: CostNs,
    charged_ns: AtomicU64,
}

impl Cost {
    /// The model with these prices; free when all are zero.
    #[must_use]
    pub fn new(ns: CostNs) -> Self {
        if ns == CostNs::default() {
            return Self(None);
        }
        Self(Some(Arc::new(Model { ns, charged_ns: AtomicU64::new(0) })))
    }

    /// Waits as long as the operation costs.
    #[inline(always)]
    pub fn charge(&self, what: Charge) {
        if let Some(model) = &self.0 {
            model.charge(what);
        }
    }

    /// Nanoseconds charged so far.
    #[must_use]
    pub fn charged_ns(&self) -> u64 {
        self.0.as_ref().map_or(0, |m| m.charged_ns.load(Ordering::Relaxed))
    }
}

impl Model {
    #[cold]
    fn charge(&self, what: Charge) {
        let own = match what {
            Charge::Send => self.ns.evtchn,
            Charge::Copy(ops) => self.ns.gntcopy.saturating_mul(u64::from(ops)),
            Charge::Map(ops) => self.ns.gntmap.saturating_mul(u64::from(ops)),
            Charge::Block => self.ns.exit,
        };
        let ns = self.ns.hypercall.saturating_add(own);
        let _span = match what {
            Charge::Send => tracer::span!(COST, "cost.send", ns = ns),
            Charge::Copy(_) => tracer::span!(COST, "cost.copy", ns = ns),
            Charge::Map(_) => tracer::span!(COST, "cost.map", ns = ns),
            Charge::Block => tracer::span!(COST, "cost.block", ns = ns),
        };
        let (start, length) = (cycles(), ns_to_cycles(ns));
        while cycles().wrapping_sub(start) < length {
            std::hint::spin_loop();
        }
        self.charged_ns.fetch_add(ns, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_pays_the_hypercall_and_its_own_price() {
        let ns = CostNs { hypercall: 1, evtchn: 10, gntmap: 100, gntcopy: 1000, exit: 10_000 };
        for (what, price) in [
            (Charge::Send, 11),
            (Charge::Copy(3), 3001),
            (Charge::Map(2), 201),
            (Charge::Block, 10_001),
        ] {
            let cost = Cost::new(ns);
            cost.charge(what);
            assert_eq!(cost.charged_ns(), price, "{what:?}");
        }
        let free = Cost::new(CostNs::default());
        free.charge(Charge::Send);
        assert_eq!(free.charged_ns(), 0);
    }
}
