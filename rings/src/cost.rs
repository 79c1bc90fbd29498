//! The cost model: what a hypervisor would charge, charged by waiting.
//!
//! A process pays no hypercall when it sends an event through shared memory. With `--cost` it does:
//! each place where a domain would enter the hypervisor burns the time it is told. Default zero.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tracer::clock::{cycles, ns_to_cycles};

/// What each operation costs, in nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CostNs {
    /// Entering the hypervisor; part of every operation below.
    pub hypercall: u64,
    /// Sending an event; making a port or closing it.
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
    /// `EVTCHNOP_alloc_unbound`, `..._bind_interdomain` or `..._close`.
    Port,
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
            Charge::Send | Charge::Port => self.ns.evtchn,
            Charge::Copy(ops) => self.ns.gntcopy.saturating_mul(u64::from(ops)),
            Charge::Map(ops) => self.ns.gntmap.saturating_mul(u64::from(ops)),
            Charge::Block => self.ns.exit,
        };
        let ns = self.ns.hypercall.saturating_add(own);
        let _span = match what {
            Charge::Send => tracer::span!(COST, "cost.send", ns = ns),
            Charge::Port => tracer::span!(COST, "cost.port", ns = ns),
            Charge::Copy(_) => tracer::span!(COST, "cost.copy", ns = ns),
            Charge::Map(_) => tracer::span!(COST, "cost.map", ns = ns),
            Charge::Block => tracer::span!(COST, "cost.block", ns = ns),
        };
        burn(ns);
        self.charged_ns.fetch_add(ns, Ordering::Relaxed);
    }
}

/// Time burnt in one go, without a sign of life. Nanoseconds.
const SILENT_NS: u64 = 100_000;

thread_local! {
    /// How this thread shows that it lives.
    static SIGN: RefCell<Option<Box<dyn Fn()>>> = const { RefCell::new(None) };
}

/// While this thread burns time it calls `sign` now and then: whoever watches it would take it for stalled
/// otherwise.
pub fn on_burn(sign: impl Fn() + 'static) {
    SIGN.set(Some(Box::new(sign)));
}

/// Waits so many nanoseconds, busy all the while.
#[inline]
pub fn burn(ns: u64) {
    let (start, length) = (cycles(), ns_to_cycles(ns));
    if ns > SILENT_NS {
        burn_with_signs(start, length);
    }
    while cycles().wrapping_sub(start) < length {
        std::hint::spin_loop();
    }
}

/// All but the last bit of a long wait.
#[cold]
fn burn_with_signs(start: u64, length: u64) {
    let step = ns_to_cycles(SILENT_NS);
    let mut next = step;
    while next < length {
        while cycles().wrapping_sub(start) < next {
            std::hint::spin_loop();
        }
        next = cycles().wrapping_sub(start).saturating_add(step);
        SIGN.with_borrow(|sign| sign.iter().for_each(|sign| sign()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_burns_time_for_long_shows_that_it_lives() {
        let signs = std::rc::Rc::new(std::cell::Cell::new(0));
        let seen = std::rc::Rc::clone(&signs);
        on_burn(move || seen.set(seen.get() + 1));
        burn(SILENT_NS / 2);
        assert_eq!(signs.get(), 0, "soon over");
        let start = cycles();
        burn(50 * SILENT_NS);
        assert!(cycles().wrapping_sub(start) >= ns_to_cycles(50 * SILENT_NS));
        assert!((1..50).contains(&signs.get()), "{}", signs.get());
    }

    #[test]
    fn every_kind_pays_the_hypercall_and_its_own_price() {
        let ns = CostNs { hypercall: 1, evtchn: 10, gntmap: 100, gntcopy: 1000, exit: 10_000 };
        for (what, price) in [
            (Charge::Send, 11),
            (Charge::Port, 11),
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
