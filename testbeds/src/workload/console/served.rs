//! A console that the daemon serves, and looks at what its guest writes.

use std::time::{Duration, Instant};

use console::back::{Periods, Session};
use rings::DomainError;
use rings::worker::Task;
use rings_host::{EpollWaiter, HostDomain};
use serde::{Deserialize, Serialize};
use tracer::clock::cycles;

use super::lines::{Check, Checked};
use super::printer::Printer;
use super::series::Spread;
use super::window::{Stage, Window};
use crate::counters::Counters;
use crate::workload::{Job, SideReport};

/// What the daemon found at one console.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ConsoleReport {
    /// Whose.
    pub domid: u16,
    /// Bytes that the guest wrote. This and what follows, what is wrong apart, are figures of the window.
    pub bytes: u64,
    /// Events taken against the limit.
    pub events: u64,
    /// Times the ring was drained of something.
    pub drains: u64,
    /// Times the port was left masked.
    pub limited: u64,
    /// Lengths of the periods of the limit.
    pub period_ms: Spread,
    /// Bytes that a terminal or a log did not take.
    pub lost: u64,
    /// Looks at indices that cannot be.
    pub illegal: u64,
    /// What its worker counted while it served it.
    pub counters: Counters,
    /// Its lines, if they were to be checked.
    pub checked: Option<Checked>,
}

/// What is made of a guest's bytes as they come.
#[derive(Debug, Default)]
struct Look {
    /// They are numbered lines.
    check: Option<Check>,
    /// They are to be seen.
    printer: Option<Printer>,
}

impl Look {
    #[inline(always)]
    fn at(&mut self, bytes: &[u8]) {
        if let Some(check) = &mut self.check {
            check.look(bytes);
        }
        if let Some(printer) = &mut self.printer {
            printer.take(bytes);
        }
    }
}

/// One console, as a job.
#[derive(Debug)]
pub struct Served {
    session: Session<HostDomain>,
    look: Look,
    window: Window,
    /// What had been counted when the window began; nothing as long as it has not.
    base: Option<Counters>,
    /// What had been counted when it ended.
    ended: Option<(Counters, Periods)>,
}

impl Served {
    /// Serves this console; with a length, its guest writes numbered lines of so many bytes, which are
    /// checked; with `print` its lines go to stderr. Figures are those of the window; what was wrong
    /// counts whenever it was.
    pub fn new(
        session: Session<HostDomain>,
        check: Option<usize>,
        print: bool,
        window: Window,
    ) -> Self {
        let printer = print.then(|| Printer::new(session.front().0));
        let look = Look { check: check.map(Check::new), printer };
        let base = (!window.warms_up()).then(Counters::default);
        Self { session, look, window, base, ended: None }
    }

    /// Another part of the run begins, before anything is taken in it.
    #[cold]
    fn turn_to(&mut self, stage: Stage) {
        let now = self.counters();
        // Whoever slept through all of it took nothing in it.
        if stage > Stage::Before && self.base.is_none() {
            self.base = Some(now);
            self.session.forget_periods();
        }
        if stage == Stage::Over {
            self.ended = Some((now, self.session.stats().periods));
        }
    }

    /// What was counted in the window.
    fn measured(&self) -> (Counters, Periods) {
        let now = || (self.counters(), self.session.stats().periods);
        let (counters, periods) = self.ended.unwrap_or_else(now);
        (counters.since(&self.base.unwrap_or(counters)), periods)
    }

    fn report(&self) -> ConsoleReport {
        let (counters, periods) = self.measured();
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        ConsoleReport {
            domid: self.session.front().0,
            bytes: counters.bytes_in,
            events: counters.events,
            drains: counters.frames_in,
            limited: counters.limited,
            period_ms: Spread {
                count: periods.count,
                mean: ms(periods.sum) / (periods.count.max(1) as f64),
                min: ms(periods.min),
                max: ms(periods.max),
            },
            lost: counters.lost,
            illegal: self.session.stats().illegal,
            counters,
            checked: self.look.check.as_ref().map(|check| check.checked),
        }
    }
}

impl Task for Served {
    fn work(&mut self) -> bool {
        let now = cycles();
        if let Some(stage) = self.window.turns(now) {
            self.turn_to(stage);
        }
        let Self { session, look, .. } = self;
        let worked = session.work(&mut |bytes| look.at(bytes));
        if worked {
            self.window.came(now);
        }
        worked
    }

    fn arm(&mut self, now: Instant) -> bool {
        self.session.arm(now)
    }

    fn disarm(&mut self) -> bool {
        self.session.disarm()
    }

    fn settle(&mut self, worked: bool, now: Instant) {
        self.session.settle(worked, now);
    }

    fn patience(&self, now: Instant) -> Duration {
        self.session.patience(now)
    }

    fn limited(&self) -> bool {
        self.session.limited()
    }

    fn finished(&self) -> bool {
        self.session.closed()
    }
}

impl Job for Served {
    fn counters(&self) -> Counters {
        let (stats, events) = (self.session.stats(), self.session.events());
        Counters {
            payload: stats.bytes,
            bytes_in: stats.bytes,
            frames_in: stats.drains,
            lost: self.session.outlet().lost(),
            notifies: events.sent(),
            copied_bytes: stats.bytes + stats.typed,
            syscalls: events.rung,
            storm_delays: self.session.storm_delays(),
            events: stats.events,
            limited: stats.limited,
            ..Counters::default()
        }
    }

    // That a guest has gone is no failure of its console.
    fn failure(&self) -> Option<String> {
        None
    }

    fn begun(&self) -> bool {
        self.window.has_begun()
    }

    fn over(&self) -> bool {
        self.window.is_over()
    }

    fn watch(&self, waiter: &mut EpollWaiter) -> Result<(), DomainError> {
        self.session.watch(waiter)
    }

    fn unwatch(&self, waiter: &mut EpollWaiter) {
        self.session.unwatch(waiter);
    }

    fn finish(mut self: Box<Self>) -> SideReport {
        let Self { session, look, .. } = &mut *self;
        session.drain_all(&mut |bytes| look.at(bytes));
        if let Some(printer) = &mut look.printer {
            printer.end();
        }
        let (report, bytes) = (self.report(), self.counters().payload);
        self.session.close();
        let counters = report.counters;
        SideReport { bytes, counters, console: Some(report), ..SideReport::default() }
    }
}
