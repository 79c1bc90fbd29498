//! Bare frames in one direction: a sender and a receiver without a stack. What the frames are made of
//! is said in `frames`.

use std::time::{Duration, Instant};

use rings::DomainError;
use rings::worker::Task;
use rings_host::EpollWaiter;

use super::frames::{Maker, Taker};
use super::meter::{Meter, SideReport};
use super::{Job, Nic};
use crate::counters::Counters;

/// Empty turns between two looks at the clock: it costs more than the turn.
const IDLE_TURNS_PER_CLOCK: u32 = 64;

/// Sends frames as fast as the ring takes them.
pub(super) struct Sender<N: Nic> {
    nic: N,
    meter: Meter,
    maker: Maker,
    batch: usize,
    blocked: bool,
    /// Whether this end decides when its time is over.
    decides: bool,
    over: bool,
}

/// Takes frames.
pub(super) struct Receiver<N: Nic> {
    nic: N,
    meter: Meter,
    taker: Taker,
    batch: usize,
    /// Whether this end decides when it is over.
    decides: bool,
    over: bool,
    /// Turns without a frame.
    idle: u32,
}

impl<N: Nic> Sender<N> {
    /// Sends what `maker` makes, published `batch` frames at a time. With `decides` it is this end
    /// that ends the run.
    pub(super) fn new(nic: N, meter: Meter, maker: Maker, batch: usize, decides: bool) -> Self {
        let meter = if decides { meter } else { meter.following() };
        Self { nic, meter, maker, batch, blocked: false, decides, over: false }
    }
}

impl<N: Nic> Task for Sender<N> {
    #[inline]
    fn work(&mut self) -> bool {
        let _span = tracer::quiet_span!(GUEST, "send_frames");
        self.nic.poll();
        if self.over {
            return false;
        }
        let left = self.meter.left(self.maker.made());
        let whole = usize::try_from(left).unwrap_or(usize::MAX).min(self.batch);
        let batch = self.maker.in_a_turn(whole);
        let first = self.maker.made();
        let sent = self.send(batch);
        self.meter.report.sent += self.maker.bytes_of(sent);
        self.blocked = sent < batch;
        if sent > 0 {
            tracer::mark!(ITERATION, "batch", first = first & 0xffff_ffff);
        }
        self.nic.flush();
        if sent == 0 && !self.blocked {
            self.over = true;
            return true;
        }
        // One look at the clock for some batches: it costs as much as a few frames, unless those take long.
        if self.maker.made() % 1024 < self.batch as u64 || sent == 0 || batch < whole {
            self.look_at_clock();
        }
        sent > 0
    }

    fn arm(&mut self, now: Instant) -> bool {
        let was_over = self.over;
        self.look_at_clock();
        self.nic.arm(self.blocked, now) || self.over != was_over
    }

    fn disarm(&mut self) -> bool {
        self.nic.disarm()
    }

    fn settle(&mut self, worked: bool, now: Instant) {
        self.nic.settle(worked, now);
    }

    fn missed(&mut self) -> bool {
        self.nic.missed()
    }

    fn patience(&self, now: Instant) -> Duration {
        self.nic.patience(now)
    }

    fn finished(&self) -> bool {
        (self.over && self.nic.drained()) || self.nic.failure().is_some()
    }
}

impl<N: Nic> Sender<N> {
    /// Sends up to so many frames.
    // Not inlined into what has a span: that would cost each frame some instructions, even switched off.
    #[inline(never)]
    fn send(&mut self, batch: usize) -> usize {
        let mut sent = 0;
        while sent < batch && self.maker.send(&mut self.nic) {
            sent += 1;
        }
        sent
    }

    #[cold]
    fn look_at_clock(&mut self) {
        let now = Instant::now();
        self.meter.tick(now);
        if self.meter.wants_base() {
            self.meter.set_base(self.nic.counters());
        }
        self.over |= self.decides && self.meter.is_over(now, self.maker.made());
    }
}

impl<N: Nic> Job for Sender<N> {
    fn counters(&self) -> Counters {
        self.nic.counters()
    }

    fn failure(&self) -> Option<String> {
        self.nic.failure()
    }

    fn begun(&self) -> bool {
        self.meter.begun()
    }

    fn stalled(&self) -> bool {
        self.nic.stalled()
    }

    fn watch(&self, waiter: &mut EpollWaiter) -> Result<(), DomainError> {
        self.nic.watch(waiter)
    }

    fn unwatch(&self, waiter: &mut EpollWaiter) {
        self.nic.unwatch(waiter);
    }

    fn finish(self: Box<Self>) -> SideReport {
        let counters = self.nic.counters();
        self.nic.close();
        self.meter.finish(counters)
    }
}

impl<N: Nic> Receiver<N> {
    /// Takes `batch` frames in a turn. With `decides` it is this end that ends the run.
    pub(super) fn new(nic: N, meter: Meter, taker: Taker, batch: usize, decides: bool) -> Self {
        Self { nic, meter, taker, batch, decides, over: false, idle: 0 }
    }

    fn look_at_clock(&mut self, took: bool) {
        let now = Instant::now();
        if took {
            self.meter.tick(now);
        }
        if self.meter.wants_base() {
            self.meter.set_base(self.nic.counters());
        }
        self.over = self.decides && self.meter.is_over(now, self.taker.next());
    }

    fn job_counters(&self) -> Counters {
        self.nic.counters().plus(&self.meter.counters())
    }
}

impl<N: Nic> Task for Receiver<N> {
    #[inline]
    fn work(&mut self) -> bool {
        if self.over {
            return false;
        }
        let _span = tracer::quiet_span!(GUEST, "take_frames");
        // The clock starts before the first frame is counted.
        if !self.meter.started() && self.nic.poll() {
            self.look_at_clock(true);
        }
        let mut taken = 0;
        while taken < self.batch && self.taker.take(&mut self.nic, &mut self.meter) {
            taken += 1;
        }
        self.nic.flush();
        if taken == 0 {
            self.idle = self.idle.wrapping_add(1);
        }
        let busy =
            taken > 0 && (self.meter.report.ops % 512 < taken as u64 || taken < self.batch / 2);
        if busy || (taken == 0 && self.idle.is_multiple_of(IDLE_TURNS_PER_CLOCK)) {
            self.look_at_clock(taken > 0);
        }
        taken > 0
    }

    fn arm(&mut self, now: Instant) -> bool {
        self.over |= self.decides && self.meter.is_over(now, self.taker.next());
        self.nic.arm(false, now)
    }

    fn disarm(&mut self) -> bool {
        self.nic.disarm()
    }

    fn settle(&mut self, worked: bool, now: Instant) {
        self.nic.settle(worked, now);
    }

    fn missed(&mut self) -> bool {
        self.nic.missed()
    }

    fn patience(&self, now: Instant) -> Duration {
        self.nic.patience(now)
    }

    fn finished(&self) -> bool {
        self.over || self.nic.failure().is_some()
    }
}

impl<N: Nic> Job for Receiver<N> {
    fn counters(&self) -> Counters {
        self.job_counters()
    }

    fn failure(&self) -> Option<String> {
        self.nic.failure()
    }

    fn begun(&self) -> bool {
        self.meter.begun()
    }

    fn watch(&self, waiter: &mut EpollWaiter) -> Result<(), DomainError> {
        self.nic.watch(waiter)
    }

    fn unwatch(&self, waiter: &mut EpollWaiter) {
        self.nic.unwatch(waiter);
    }

    fn finish(mut self: Box<Self>) -> SideReport {
        // What has been taken off the ring has arrived.
        for _ in 0..self.batch {
            if !self.taker.take(&mut self.nic, &mut self.meter) {
                break;
            }
        }
        let counters = self.job_counters();
        self.nic.close();
        self.meter.finish(counters)
    }
}
