//! The ports of a queue with two rings: one for each, or one for both (`event-channel-tx` and
//! `event-channel-rx`, or `event-channel`, xen/io/netif.h), with the guard against storms on them.
//!
//! What is sent on which ring, and when a queue may sleep, is the drivers' business.

use std::time::{Duration, Instant};

use super::{Channel, Doorbell, Eoi, EventCounters};
use crate::{DomainError, Waiter};

/// The ports of one queue.
#[derive(Debug)]
pub struct Ports<B> {
    tx: Channel<B>,
    rx: Option<Channel<B>>,
    eoi: Eoi,
}

impl<B: Doorbell> Ports<B> {
    /// The tx ring's port and the rx ring's; without the latter both share the former.
    #[must_use]
    pub fn new(tx: Channel<B>, rx: Option<Channel<B>>) -> Self {
        Self { tx, rx, eoi: Eoi::default() }
    }

    /// Says what they are for, where traces show it: `name`, or `name-tx` and `name-rx`.
    pub fn set_name(&mut self, name: &str) {
        let Some(rx) = &mut self.rx else { return self.tx.set_name(name) };
        self.tx.set_name(&format!("{name}-tx"));
        rx.set_name(&format!("{name}-rx"));
    }

    /// The tx ring's port, or that of both.
    #[must_use]
    pub fn tx(&self) -> &Channel<B> {
        &self.tx
    }

    /// The rx ring's port, where it has its own.
    #[must_use]
    pub fn rx(&self) -> Option<&Channel<B>> {
        self.rx.as_ref()
    }

    /// Tells of what is on the tx ring.
    #[inline]
    pub fn send_tx(&mut self) {
        self.tx.send();
    }

    /// Tells of what is on the rx ring.
    #[inline]
    pub fn send_rx(&mut self) {
        self.rx.as_mut().unwrap_or(&mut self.tx).send();
    }

    /// Wakes the other end on each port once.
    pub fn kick(&mut self) {
        self.tx.send();
        if let Some(rx) = &mut self.rx {
            rx.send();
        }
    }

    /// Masks the ports and clears what is pending. `true` if an event had come.
    #[inline]
    pub fn disarm(&self) -> bool {
        let mut came = false;
        for port in self.each() {
            port.mask();
            came |= port.clear();
        }
        came
    }

    /// Unmasks the ports. `true` if one of them is pending, so that one must look and not sleep.
    #[inline]
    #[must_use = "an unmasked port that is pending brings no further doorbell"]
    pub fn unmask(&self) -> bool {
        // Both, whatever the first says.
        self.each().fold(false, |pending, port| port.unmask() | pending)
    }

    /// Whether the other end has closed them.
    #[must_use]
    pub fn closed(&self) -> bool {
        self.tx.closed()
    }

    /// What has happened on them.
    #[must_use]
    pub fn counters(&self) -> EventCounters {
        self.each().fold(EventCounters::default(), |sum, port| sum + port.counters())
    }

    /// Tells the storm guard what an event brought.
    pub fn settle(&mut self, worked: bool, now: Instant) {
        self.eoi.settle(worked, now);
    }

    /// Whether a storm keeps them masked.
    #[must_use]
    pub fn is_stormy(&self, now: Instant) -> bool {
        self.eoi.masked_until(now).is_some()
    }

    /// How long whoever has them may be left asleep: for ever, unless a storm keeps them masked.
    #[must_use]
    pub fn patience(&self, now: Instant) -> Duration {
        self.eoi.patience(now)
    }

    /// How often they were kept masked because their events brought no work.
    #[must_use]
    pub fn storm_delays(&self) -> u64 {
        self.eoi.delays()
    }

    /// Sleeps on their doorbells from now on.
    ///
    /// # Errors
    /// If the operating system refuses.
    pub fn watch(&self, waiter: &mut impl Waiter<B>) -> Result<(), DomainError> {
        self.each().try_for_each(|port| waiter.add(port))
    }

    /// Stops sleeping on them.
    pub fn unwatch(&self, waiter: &mut impl Waiter<B>) {
        self.each().for_each(|port| waiter.remove(port));
    }

    #[inline]
    fn each(&self) -> impl Iterator<Item = &Channel<B>> {
        std::iter::once(&self.tx).chain(&self.rx)
    }
}
