//! netback's reflector and bridge as jobs: they measure nothing, they only count.

use std::time::{Duration, Instant};

use backend::Queue;
use backend::wire::{BridgePort, Reflect};
use rings::DomainError;
use rings::worker::Task;
use rings_host::{EpollWaiter, HostDomain};

use crate::counters::Counters;
use crate::workload::{FAREWELL_TURNS, Job, SideReport, back_counters};

/// A queue that netback joins to something by itself.
pub(super) enum Wired {
    /// To itself.
    Reflect(Box<Reflect<HostDomain>>),
    /// To other guests.
    Bridge(BridgePort<HostDomain>),
}

impl Wired {
    pub(super) fn reflect(reflect: Reflect<HostDomain>) -> Self {
        Self::Reflect(Box::new(reflect))
    }

    pub(super) fn bridge(port: BridgePort<HostDomain>) -> Self {
        Self::Bridge(port)
    }

    fn task(&mut self) -> &mut dyn Task {
        match self {
            Self::Reflect(reflect) => reflect.as_mut(),
            Self::Bridge(port) => port,
        }
    }

    fn look<R>(&self, look: impl FnOnce(&Queue<HostDomain>) -> R) -> Option<R> {
        match self {
            Self::Reflect(reflect) => Some(look(&reflect.queue)),
            Self::Bridge(port) => port.with(look),
        }
    }
}

impl Task for Wired {
    fn work(&mut self) -> bool {
        self.task().work()
    }

    fn arm(&mut self, now: Instant) -> bool {
        self.task().arm(now)
    }

    fn disarm(&mut self) -> bool {
        self.task().disarm()
    }

    fn settle(&mut self, worked: bool, now: Instant) {
        self.task().settle(worked, now);
    }

    fn patience(&self, now: Instant) -> Duration {
        match self {
            Self::Reflect(reflect) => reflect.patience(now),
            Self::Bridge(port) => port.patience(now),
        }
    }

    fn missed(&mut self) -> bool {
        self.task().missed()
    }

    fn finished(&self) -> bool {
        self.failure().is_some()
    }
}

impl Job for Wired {
    fn counters(&self) -> Counters {
        self.look(back_counters).unwrap_or_default()
    }

    fn failure(&self) -> Option<String> {
        self.look(|queue| queue.broken().map(|lie| lie.to_string())).flatten()
    }

    fn begun(&self) -> bool {
        true
    }

    fn stalled(&self) -> bool {
        self.look(Queue::stalled).unwrap_or_default()
    }

    fn watch(&self, waiter: &mut EpollWaiter) -> Result<(), DomainError> {
        self.look(|queue| queue.watch(waiter)).unwrap_or(Ok(()))
    }

    fn unwatch(&self, waiter: &mut EpollWaiter) {
        self.look(|queue| queue.unwatch(waiter));
    }

    fn finish(mut self: Box<Self>) -> SideReport {
        // What is on the ring when the guest takes its leave still goes on.
        for _ in 0..FAREWELL_TURNS {
            if !self.work() {
                break;
            }
        }
        let counters = self.counters();
        match *self {
            Self::Reflect(reflect) => reflect.queue.close(),
            Self::Bridge(port) => drop(port.leave().map(Queue::close)),
        }
        SideReport { counters, ..SideReport::default() }
    }
}
