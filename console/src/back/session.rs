//! One console: its page, its port, its limit and its outlet; what a worker serves.
//!
//! ```text
//!   an event comes        the port is masked until it has been dealt with
//!   take it: count        drain the whole ring, show it, and send one back, always
//!   below the limit       unmask: the next event wakes us
//!   at the limit          leave it masked until the period is over: the ring fills, the guest waits
//! ```
//! Without a limit events only wake: the ring is read for as long as there is something in it, and left alone
//! for moments in which small writes gather.

use std::time::{Duration, Instant};

use rings::bytes::{ConsolePage, Half, IllegalIndex};
use rings::evtchn::{Channel, Eoi, EventCounters};
use rings::io::console::OUT_SIZE;
use rings::{DomId, Domain, DomainError, Foreign, Waiter};
use tracer::clock::cycles;
use tracer::traced;

use super::gather::Gather;
use super::limit::EventLimit;
use super::outlet::Outlet;
use super::stats::{Periods, Stats};
use super::terminal::CHUNK;

/// Turns between two looks at what is typed while there is no end of output.
const TURNS_PER_LOOK: u32 = 16;

/// One console.
#[derive(Debug)]
pub struct Session<D: Domain> {
    pub(super) front: DomId,
    pub(super) _mapping: <D::Foreign as Foreign>::Mapping,
    pub(super) _foreign: D::Foreign,
    pub(super) page: ConsolePage,
    pub(super) half: Half,
    pub(super) channel: Channel<D::Doorbell>,
    pub(super) limit: EventLimit,
    pub(super) outlet: Outlet,
    pub(super) state: State,
    pub(super) stats: Stats,
}

/// What is going on.
#[derive(Debug)]
pub(super) struct State {
    /// An event has come that was not taken yet.
    event: bool,
    /// The terminal has not been looked at since we slept.
    look: bool,
    turns: u32,
    /// The guest was gone when that was last looked at.
    closed: bool,
    gather: Gather,
    eoi: Eoi,
    /// Room for what is to be typed, when we last looked: less or more means the guest was there.
    typing_room: usize,
    /// When the port was last unmasked after a period was over.
    unmasked: Option<Instant>,
    /// The daemon's own work for each event.
    think: Duration,
    /// An index was illegal, and it has been said.
    told: bool,
    room: Box<[u8; OUT_SIZE]>,
}

impl State {
    pub(super) fn new(think: Duration) -> Self {
        Self {
            // Binding has left the port pending: whatever was there before us is taken at once.
            event: false,
            look: true,
            turns: 0,
            closed: false,
            gather: Gather::new(),
            eoi: Eoi::default(),
            typing_room: 0,
            unmasked: None,
            think,
            told: false,
            room: Box::new([0; OUT_SIZE]),
        }
    }
}

impl<D: Domain> Session<D> {
    /// Whose console it is.
    #[must_use]
    pub fn front(&self) -> DomId {
        self.front
    }

    /// What has been done.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Lengths of periods are noted from now on: those before are forgotten.
    pub fn forget_periods(&mut self) {
        (self.stats.periods, self.state.unmasked) = (Periods::default(), None);
    }

    /// Where its output goes.
    #[must_use]
    pub fn outlet(&self) -> &Outlet {
        &self.outlet
    }

    /// What happened on the port.
    #[must_use]
    pub fn events(&self) -> EventCounters {
        self.channel.counters()
    }

    /// How often the port was kept masked because its events brought nothing.
    #[must_use]
    pub fn storm_delays(&self) -> u64 {
        self.state.eoi.delays()
    }

    /// Whether the guest is gone: what it wrote is to be read, and that is all. As far as was looked: now and
    /// then, and after each sleep, since the word is beside the one that the guest writes with each event.
    #[inline]
    #[must_use]
    pub fn closed(&self) -> bool {
        self.state.closed
    }

    /// Takes what there is to take; `tap` sees the guest's bytes as they come. `false` if there was
    /// nothing to do.
    #[inline]
    pub fn work(&mut self, tap: &mut impl FnMut(&[u8])) -> bool {
        if !self.limit.is_on() && self.state.gather.rests(cycles()) {
            return false;
        }
        let drained = self.serve_ring(tap);
        self.state.turns = self.state.turns.wrapping_add(1);
        let now_and_then = self.state.turns.is_multiple_of(TURNS_PER_LOOK);
        if now_and_then {
            self.state.closed = self.channel.closed();
        }
        let look = !drained || now_and_then;
        let served = look && self.serve_terminal();
        drained || served
    }

    fn serve_ring(&mut self, tap: &mut impl FnMut(&[u8])) -> bool {
        if self.outlet.is_full() {
            return false;
        }
        if !self.limit.is_on() {
            return self.take_what_there_is(tap);
        }
        if self.limit.is_spent() && !self.refill() {
            return false;
        }
        // An event that came while the port was masked is still pending.
        if !std::mem::take(&mut self.state.event) && !self.channel.clear() {
            return false;
        }
        self.take_event(tap);
        true
    }

    /// Without a limit: reads, and lets the next writes gather.
    fn take_what_there_is(&mut self, tap: &mut impl FnMut(&[u8])) -> bool {
        let bytes = self.drain(tap);
        if bytes == 0 {
            self.state.gather.forget();
            return false;
        }
        self.state.gather.found(bytes, cycles());
        self.channel.send();
        true
    }

    #[traced]
    fn take_event(&mut self, tap: &mut impl FnMut(&[u8])) {
        let now = Instant::now();
        while !self.state.think.is_zero() && now.elapsed() < self.state.think {
            std::hint::spin_loop();
        }
        self.stats.events += 1;
        self.drain(tap);
        // Also if there was nothing in the ring: the guest may wait for us to look.
        self.channel.send();
        self.limit.event(now);
        self.stats.limited += u64::from(self.limit.is_spent());
    }

    /// The period may be over: then the port may be unmasked.
    fn refill(&mut self) -> bool {
        let now = Instant::now();
        if !self.limit.refill(now) {
            return false;
        }
        if let Some(last) = self.state.unmasked.replace(now) {
            self.stats.periods.add(now - last);
        }
        true
    }

    /// Reads the whole ring, once, and says how much that was. What is logged is in the log before it
    /// leaves the ring: a daemon that is killed in between logs it twice rather than never.
    #[traced(quiet)]
    fn drain(&mut self, tap: &mut impl FnMut(&[u8])) -> usize {
        let room = &mut self.state.room[..];
        match self.half.reader.peek(room) {
            Ok(0) => 0,
            Ok(len) => {
                tap(&room[..len]);
                self.outlet.take(&room[..len]);
                self.half.reader.consume(len);
                self.stats.bytes += len as u64;
                self.stats.drains += 1;
                len
            }
            Err(lie) => {
                self.ignore(lie);
                0
            }
        }
    }

    /// An index that cannot be: there is nothing in the ring, as far as we are concerned.
    #[cold]
    fn ignore(&mut self, lie: IllegalIndex) {
        self.stats.illegal += 1;
        if !std::mem::replace(&mut self.state.told, true) {
            tracing::warn!(front = %self.front, %lie, "a console's ring is ignored");
        }
    }

    /// Shows what waits, and takes what was typed as far as the guest has room for it.
    fn serve_terminal(&mut self) -> bool {
        let mut served = false;
        if std::mem::take(&mut self.state.look)
            || self.state.turns.is_multiple_of(TURNS_PER_LOOK)
            || self.guest_has_read()
        {
            self.outlet.changed();
            served |= self.take_typed();
        }
        served | self.outlet.show()
    }

    /// Whether the guest has read some of what was typed since we last looked.
    fn guest_has_read(&mut self) -> bool {
        let room = self.half.writer.look().unwrap_or(0);
        std::mem::replace(&mut self.state.typing_room, room) != room
    }

    #[traced]
    fn take_typed(&mut self) -> bool {
        let mut took = false;
        loop {
            // What there is no room for is left where it was typed.
            let room = self.half.writer.look().unwrap_or(0);
            let mut chunk = [0; CHUNK];
            let len = self.outlet.typed(&mut chunk[..room.min(CHUNK)]);
            if len == 0 {
                self.state.typing_room = room;
                return took;
            }
            // There is as much room as there was.
            if let Ok(written) = self.half.writer.write(&chunk[..len]) {
                self.stats.typed += written as u64;
            }
            self.channel.send();
            took = true;
        }
    }

    /// Whether an event of the guest may wake us now.
    fn listens(&self, now: Instant) -> bool {
        !self.limit.is_spent()
            && !self.outlet.is_full()
            && self.state.eoi.masked_until(now).is_none()
    }

    /// Before sleeping: unmasks the port, unless it has to stay masked. `true` if an event has come.
    pub fn arm(&mut self, now: Instant) -> bool {
        if !self.listens(now) {
            return false;
        }
        // Without a limit the ring was read without asking for events: those that told of what has
        // been read meanwhile are no storm.
        if !self.limit.is_on() {
            self.channel.clear();
            if self.has_news() {
                return true;
            }
        }
        self.channel.unmask() || self.state.event
    }

    /// Whether the guest has written, or read what was typed, since we last looked.
    fn has_news(&mut self) -> bool {
        let room = self.half.writer.look().unwrap_or(0);
        self.half.reader.look().is_ok_and(|waits| waits > 0) || room != self.state.typing_room
    }

    /// After sleeping: masks the port. `true` if an event had come.
    pub fn disarm(&mut self) -> bool {
        self.channel.mask();
        (self.state.look, self.state.closed) = (true, self.channel.closed());
        self.state.gather.forget();
        if !self.limit.is_spent() && !self.outlet.is_full() {
            self.state.event |= self.channel.clear();
        }
        let came = self.state.event;
        // Without a limit it has told all it had to tell.
        self.state.event &= self.limit.is_on();
        came
    }

    /// An event came; this is whether it brought anything.
    pub fn settle(&mut self, worked: bool, now: Instant) {
        // A limit is all the back-off that is needed.
        self.state.eoi.settle(worked || self.limit.is_on(), now);
    }

    /// How long it may be left asleep.
    #[must_use]
    pub fn patience(&self, now: Instant) -> Duration {
        self.limit.left(now).unwrap_or(Duration::MAX).min(self.state.eoi.patience(now))
    }

    /// Whether the limit keeps the port masked.
    #[must_use]
    pub fn limited(&self) -> bool {
        self.limit.is_spent()
    }

    /// Sleeps on this console's port and terminal from now on.
    ///
    /// # Errors
    /// If the operating system refuses.
    pub fn watch(&self, waiter: &mut impl Waiter<D::Doorbell>) -> Result<(), DomainError> {
        waiter.add(&self.channel)?;
        self.outlet.fd().map_or(Ok(()), |fd| waiter.add_fd(fd))
    }

    /// Stops sleeping on them.
    pub fn unwatch(&self, waiter: &mut impl Waiter<D::Doorbell>) {
        waiter.remove(&self.channel);
        if let Some(fd) = self.outlet.fd() {
            waiter.remove_fd(fd);
        }
    }

    /// Before it ends: what is in the ring still is read, whatever the limit says. A guest that has
    /// ended has said something last. What would only go to a terminal that ends with us is left in
    /// the ring of a guest that lives: the next daemon has it.
    pub fn drain_all(&mut self, tap: &mut impl FnMut(&[u8])) {
        if self.outlet.fd().is_none() || self.channel.closed() {
            self.drain(tap);
        }
        self.outlet.changed();
        while self.outlet.show() {}
    }

    /// Ends it: says that nobody reads any more, and closes the port.
    pub fn close(mut self) {
        self.page.set_connected(false);
        self.channel.send();
    }
}
