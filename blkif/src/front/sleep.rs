//! Before and after a queue's sleep: masking and arming, what an event brought, what none told of. When to
//! sleep is the worker's business.

use std::time::{Duration, Instant};

use rings::{Domain, DomainError, Waiter};

use super::queue::Queue;

impl<D: Domain> Queue<D> {
    /// Before sleeping: unmasks the port, asks the ring to wake us, looks once more. `true` if there is
    /// work after all.
    pub fn arm(&mut self, now: Instant) -> bool {
        if self.broken.is_none() && !self.failed.is_empty() {
            return true;
        }
        if self.broken.is_some() || self.eoi.masked_until(now).is_some() {
            return false;
        }
        // What was sent while we looked anyway told nothing new: only what comes from here on is an
        // event, and has to bring work. The ring is looked at below.
        self.disarm();
        let pending = self.link.port.unmask();
        match self.link.ring.final_check_for_responses() {
            Ok(work) => pending | work,
            Err(lie) => {
                self.lie(lie.into());
                true
            }
        }
    }

    /// After sleeping, or when polling: masks the port and clears what is pending, before the ring is
    /// looked at. `true` if an event had come.
    pub fn disarm(&mut self) -> bool {
        self.link.port.mask();
        self.link.port.clear()
    }

    /// Tells the storm guard what an event brought.
    pub fn settle_event(&mut self, worked: bool, now: Instant) {
        self.eoi.settle(worked, now);
    }

    /// How long this queue may be left asleep: for ever, unless a storm keeps its port masked.
    #[must_use]
    pub fn patience(&self, now: Instant) -> Duration {
        self.eoi.patience(now)
    }

    /// Whether answers wait of which no event has told.
    pub fn missed(&mut self) -> bool {
        if self.broken.is_some() || self.link.port.clear() {
            return false;
        }
        match self.link.ring.poll_responses() {
            Ok(waiting) => waiting > 0,
            Err(lie) => {
                self.lie(lie.into());
                false
            }
        }
    }

    /// Sleeps on this queue's doorbell from now on.
    ///
    /// # Errors
    /// If the operating system refuses.
    pub fn watch(&self, waiter: &mut impl Waiter<D::Doorbell>) -> Result<(), DomainError> {
        waiter.add(&self.link.port)
    }

    /// Stops sleeping on it.
    pub fn unwatch(&self, waiter: &mut impl Waiter<D::Doorbell>) {
        waiter.remove(&self.link.port);
    }
}
