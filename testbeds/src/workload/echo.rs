//! Bare frames sent to a reflector, and taken when they come back: the frames that are counted went
//! both ways.

use std::time::{Duration, Instant};

use rings::DomainError;
use rings::worker::Task;
use rings_host::EpollWaiter;

use super::frames::{Maker, Taker};
use super::meter::{Meter, SideReport};
use super::{Job, Nic};
use crate::counters::Counters;

/// How long nothing must have come before what is missing counts as lost.
const QUIET: Duration = Duration::from_secs(1);
/// Turns between two looks at the clock: it costs as much as a few frames.
const TURNS_PER_CLOCK: u32 = 32;

/// Sends frames, and receives them.
pub(super) struct Echo<N: Nic> {
    nic: N,
    meter: Meter,
    maker: Maker,
    taker: Taker,
    batch: usize,
    blocked: bool,
    turns: u32,
    /// Nothing more is sent.
    sent_all: bool,
    /// Since when nothing has come.
    quiet_since: Option<Instant>,
    over: bool,
}

impl<N: Nic> Echo<N> {
    /// Sends what `maker` makes, `batch` frames at a time, and looks at what comes with `taker`.
    pub(super) fn new(nic: N, meter: Meter, maker: Maker, taker: Taker, batch: usize) -> Self {
        Self {
            nic,
            meter,
            maker,
            taker,
            batch,
            blocked: false,
            turns: 0,
            sent_all: false,
            quiet_since: None,
            over: false,
        }
    }

    #[cold]
    fn look_at_clock(&mut self, came: bool) {
        let now = Instant::now();
        if came || !self.meter.started() {
            self.meter.tick(now);
        }
        if self.meter.wants_base() {
            self.meter.set_base(self.nic.counters());
        }
        self.sent_all |= self.meter.is_over(now, self.maker.made());
        if !self.sent_all || came {
            self.quiet_since = None;
            return;
        }
        let since = *self.quiet_since.get_or_insert(now);
        let late = now.duration_since(since) >= QUIET;
        if late {
            self.taker.give_up(self.maker.made(), &mut self.meter);
        }
        // Once over it stays so: whoever arms looks again.
        self.over |= late;
    }

    fn job_counters(&self) -> Counters {
        self.nic.counters().plus(&self.meter.counters())
    }
}

impl<N: Nic> Task for Echo<N> {
    fn work(&mut self) -> bool {
        let _span = tracer::quiet_span!(GUEST, "echo_frames");
        self.nic.poll();
        if self.over {
            return false;
        }
        if !self.meter.started() {
            self.look_at_clock(false);
        }
        let (mut sent, mut slow) = (0, false);
        if !self.sent_all {
            let left = self.meter.left(self.maker.made());
            let whole = usize::try_from(left).unwrap_or(usize::MAX).min(self.batch);
            let batch = self.maker.in_a_turn(whole);
            slow = batch < whole;
            while sent < batch && self.maker.send(&mut self.nic) {
                sent += 1;
            }
            self.meter.report.sent += self.maker.bytes_of(sent);
            self.blocked = sent < batch;
            self.sent_all = batch == 0;
        }
        let mut taken = 0;
        while taken < self.batch * 4 && self.taker.take(&mut self.nic, &mut self.meter) {
            taken += 1;
        }
        self.nic.flush();
        self.turns = self.turns.wrapping_add(1);
        if taken > 0 {
            self.quiet_since = None;
        }
        self.over = self.sent_all && self.taker.next() >= self.maker.made();
        if self.over || slow || self.turns.is_multiple_of(TURNS_PER_CLOCK) {
            let over = self.over;
            self.look_at_clock(taken > 0);
            self.over |= over;
        }
        sent + taken > 0
    }

    fn arm(&mut self, now: Instant) -> bool {
        self.look_at_clock(false);
        self.nic.arm(self.blocked && !self.sent_all, now) || self.over
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
        let quiet = if self.quiet_since.is_some() { QUIET } else { Duration::MAX };
        self.nic.patience(now).min(quiet)
    }

    fn finished(&self) -> bool {
        self.over || self.nic.failure().is_some()
    }
}

impl<N: Nic> Job for Echo<N> {
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

    fn finish(self: Box<Self>) -> SideReport {
        let counters = self.job_counters();
        self.nic.close();
        self.meter.finish(counters)
    }
}
