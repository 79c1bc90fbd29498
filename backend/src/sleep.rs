//! When a queue may sleep, for how long, and what wakes it: events of its guest, and what it has to wait
//! for (buffers, credit, the end of a storm). How a frame moves is in `queue`.

use std::time::{Duration, Instant};

use rings::{Domain, DomainError, Waiter};

use crate::queue::Queue;

impl<D: Domain> Queue<D> {
    /// Before sleeping: unmasks the ports, asks the rings to wake us, looks once more. `true` if
    /// there is work after all. With `want_room` new buffers of the guest wake us too.
    pub fn arm(&mut self, want_room: bool, now: Instant) -> bool {
        self.wants_room = false;
        if self.broken.is_some() || self.ports.is_stormy(now) {
            return false;
        }
        if let Some(until) = self.tx.held_until()
            && !want_room
            && !self.starved.is_waiting()
        {
            // Nothing it could tell of matters before there is credit: its ports stay masked.
            return now >= until;
        }
        // What was sent while we looked anyway told nothing new: only what comes from here on is an
        // event, and has to bring work. The rings are looked at below.
        self.disarm();
        let pending = self.ports.unmask();
        let mut work = false;
        // Frames that were taken and could not go on wait for buffers, or for credit: more of them are
        // no work.
        if let Some(until) = self.tx.held_until() {
            work = now >= until;
        } else if !self.tx.has_frames() {
            let outcome = self.tx.final_check();
            work |= self.believe(outcome).unwrap_or(true);
        }
        if want_room || self.starved.is_waiting() {
            let outcome = self.rx.final_check();
            let room = self.believe(outcome).unwrap_or(true);
            work |= room;
            self.wants_room = self.accepted.rx_notify;
            self.note_room(room, now);
        }
        pending | work
    }

    /// Whether there are buffers now for what waits for them, or was given up.
    fn note_room(&mut self, room: bool, now: Instant) {
        if room {
            self.starved.over();
        } else if self.starved.is_waiting() {
            self.starved.waiting(now);
        }
    }

    /// After sleeping, or when polling: masks the ports and clears what is pending, before the
    /// rings are looked at. `true` if an event had come.
    pub fn disarm(&mut self) -> bool {
        self.ports.disarm()
    }

    /// Tells the storm guard what an event brought.
    pub fn settle_event(&mut self, worked: bool, now: Instant) {
        self.ports.settle(worked, now);
    }

    /// How long this queue may be left asleep: for ever, unless a storm keeps its ports masked, something
    /// waits for the guest's buffers, or a frame of the guest's for credit.
    #[must_use]
    pub fn patience(&self, now: Instant) -> Duration {
        let credit = self.tx.held_until().map(|until| until.saturating_duration_since(now));
        let patience = self.ports.patience(now).min(self.starved.patience(now));
        credit.map_or(patience, |credit| patience.min(credit))
    }

    /// Whether something waits for the guest's buffers.
    pub(crate) fn is_starved(&self) -> bool {
        self.starved.is_waiting()
    }

    /// How long the guest has had no buffers while something waited for it. `waiting` says whether
    /// something does now.
    pub fn starved(&mut self, waiting: bool, now: Instant) -> Duration {
        if waiting {
            return self.starved.waiting(now);
        }
        self.starved.over();
        Duration::ZERO
    }

    /// Whether the guest has had no buffers for what waits for it for so long that its carrier is
    /// off: what comes for it is dropped, until it posts some.
    #[must_use]
    pub fn stalled(&self) -> bool {
        self.starved.is_stalled()
    }

    /// How often that was so.
    #[must_use]
    pub fn stalls(&self) -> u64 {
        self.starved.stalls()
    }

    /// Whether requests of the guest wait, or the buffers that were asked for, which after a sleep without
    /// an event is one too few.
    pub fn missed(&mut self) -> bool {
        if self.broken.is_some() {
            return false;
        }
        // What was taken and waits for buffers, or for credit, was told.
        let untold = !self.tx.has_frames() && self.tx.held_until().is_none() && self.poll();
        let room = if self.wants_room { self.rx.has_wanted() } else { Ok(false) };
        untold | self.believe(room).unwrap_or(false)
    }

    /// Sleeps on this queue's doorbells from now on.
    ///
    /// # Errors
    /// If the operating system refuses.
    pub fn watch(&self, waiter: &mut impl Waiter<D::Doorbell>) -> Result<(), DomainError> {
        self.ports.watch(waiter)
    }

    /// Stops sleeping on them.
    pub fn unwatch(&self, waiter: &mut impl Waiter<D::Doorbell>) {
        self.ports.unwatch(waiter);
    }

    /// Something waits for the guest's buffers; is it to be dropped? Reads the clock.
    #[cold]
    pub(crate) fn gives_up(&mut self) -> bool {
        self.broken.is_none() && self.starved.gives_up(Instant::now())
    }

    /// There were buffers for something.
    #[inline(always)]
    pub(crate) fn fed(&mut self) {
        if self.starved.is_waiting() {
            self.starved.over();
        }
    }
}
