//! A worker's loop: serve tasks in turn, spin when all are idle, then arm, look again and sleep.
//!
//! Written once for both ends. What a task does is the driver's business; when to spin is
//! [`Spin`]'s; what a storm costs is `evtchn::Eoi`'s.

use std::cmp::Ordering;
use std::time::{Duration, Instant};

use tracer::clock::cycles;

use crate::Waiter;
use crate::cost::{Charge, Cost};
use crate::evtchn::{Next, Spin};
use crate::weaken::{Check, skipped};

/// Something a worker serves: a queue with whatever sits on top of it.
pub trait Task {
    /// Does some work, at most a budget's worth. `false` if there was none.
    fn work(&mut self) -> bool;
    /// Before sleeping: unmasks, arms the event indices, looks again. `true` forbids the sleep.
    fn arm(&mut self, now: Instant) -> bool;
    /// After sleeping: masks and clears. `true` if an event had come.
    fn disarm(&mut self) -> bool;
    /// An event came; this is whether it brought work.
    fn settle(&mut self, worked: bool, now: Instant);
    /// How long this task may be left asleep.
    fn patience(&self, now: Instant) -> Duration;
    /// Whether a limit keeps it asleep, whatever waits for it: a trace tells that from having nothing to do.
    fn limited(&self) -> bool {
        false
    }
    /// Slept out, and no event has come: whether work waits all the same, of which the other end
    /// should have told.
    fn missed(&mut self) -> bool {
        false
    }
    /// Whether this task is done for good.
    fn finished(&self) -> bool;
}

impl<T: Task + ?Sized> Task for Box<T> {
    fn work(&mut self) -> bool {
        (**self).work()
    }

    fn arm(&mut self, now: Instant) -> bool {
        (**self).arm(now)
    }

    fn disarm(&mut self) -> bool {
        (**self).disarm()
    }

    fn settle(&mut self, worked: bool, now: Instant) {
        (**self).settle(worked, now);
    }

    fn patience(&self, now: Instant) -> Duration {
        (**self).patience(now)
    }

    fn limited(&self) -> bool {
        (**self).limited()
    }

    fn missed(&mut self) -> bool {
        (**self).missed()
    }

    fn finished(&self) -> bool {
        (**self).finished()
    }
}

/// One worker.
#[derive(Debug)]
pub struct Worker<W> {
    waiter: W,
    spin: Spin,
    cost: Cost,
    started: u64,
    slept: u64,
    turns: u64,
    wakeups: u64,
    lost: u64,
}

/// What a worker's time went into, in cycles of the time-stamp counter.
#[derive(Clone, Copy, Debug, Default)]
pub struct Time {
    /// Doing something.
    pub busy: u64,
    /// Looking and finding nothing.
    pub spun: u64,
    /// Asleep.
    pub slept: u64,
}

/// The longest sleep: even an idle worker shows twice a second that it lives.
pub const LONGEST_SLEEP: Duration = Duration::from_millis(500);

impl<W> Worker<W> {
    /// A worker that sleeps on `waiter`.
    pub fn new(waiter: W, spin: Spin, cost: Cost) -> Self {
        Self { waiter, spin, cost, started: cycles(), slept: 0, turns: 0, wakeups: 0, lost: 0 }
    }

    /// What it sleeps on.
    pub fn waiter(&mut self) -> &mut W {
        &mut self.waiter
    }

    /// What it sleeps on.
    pub fn waiter_ref(&self) -> &W {
        &self.waiter
    }

    /// Turns so far.
    #[must_use]
    pub fn turns(&self) -> u64 {
        self.turns
    }

    /// Sleeps that ended.
    #[must_use]
    pub fn wakeups(&self) -> u64 {
        self.wakeups
    }

    /// Work found only because no sleep is for ever: the other end had not sent its event.
    #[must_use]
    pub fn lost_wakeups(&self) -> u64 {
        self.lost
    }

    /// Where the time went. Reads the clock.
    #[must_use]
    pub fn time(&self) -> Time {
        let (spun, slept) = (self.spin.spun(), self.slept);
        let all = cycles().wrapping_sub(self.started);
        Time { busy: all.saturating_sub(spun + slept), spun, slept }
    }

    /// One turn: every task once; if none had work, a look at the clock or a sleep.
    #[inline]
    pub fn turn<B, T: Task>(&mut self, tasks: &mut [T]) -> bool
    where
        W: Waiter<B>,
    {
        self.turns += 1;
        self.spin.look();
        let mut worked = false;
        for task in tasks.iter_mut() {
            worked |= task.work();
        }
        if worked {
            self.spin.busy();
            return true;
        }
        if self.spin.idle() == Next::Sleep {
            self.sleep(tasks);
        }
        false
    }

    #[cold]
    fn sleep<B, T: Task>(&mut self, tasks: &mut [T])
    where
        W: Waiter<B>,
    {
        let span = tracer::span!("arm");
        let now = Instant::now();
        let mut look_again = false;
        for task in tasks.iter_mut() {
            look_again |= task.arm(now);
        }
        let longest = if skipped(Check::LongestSleep) { Duration::MAX } else { LONGEST_SLEEP };
        let (patience, limited) = patience(tasks, now, longest);
        self.spin.sleeping();
        drop(span);
        let mut slept_out = false;
        if !look_again && !patience.is_zero() {
            let asleep = cycles();
            self.cost.charge(Charge::Block);
            {
                let _span = tracer::span!(WAIT, "sleep", patience_us = patience.as_micros());
                let _why = limited.then(|| tracer::span!(WAIT, "limit"));
                self.waiter.wait(patience);
            }
            self.slept += cycles().wrapping_sub(asleep);
            self.wakeups += 1;
            slept_out = patience == LONGEST_SLEEP;
        }
        let _span = tracer::span!("disarm");
        slept_out = slept_out && now.elapsed() >= LONGEST_SLEEP;
        for task in tasks.iter_mut() {
            if task.disarm() {
                let worked = task.work();
                task.settle(worked, Instant::now());
            } else if slept_out && task.missed() {
                self.lost += 1;
            }
        }
    }
}

/// How long all these may be left asleep, and whether a limit of one of them is why it is no longer than
/// that. Where none has a limit and nothing to wait for, it is `longest`.
fn patience<T: Task>(tasks: &[T], now: Instant, longest: Duration) -> (Duration, bool) {
    tasks.iter().fold((longest, false), |(shortest, limited), task| {
        let own = task.patience(now).min(longest);
        match own.cmp(&shortest) {
            Ordering::Less => (own, task.limited()),
            Ordering::Equal => (own, limited || task.limited()),
            Ordering::Greater => (shortest, limited),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A task that may be left asleep for so many milliseconds, and whether that is for a limit.
    struct Sleeper(u64, bool);

    impl Task for Sleeper {
        fn work(&mut self) -> bool {
            false
        }

        fn arm(&mut self, _: Instant) -> bool {
            false
        }

        fn disarm(&mut self) -> bool {
            false
        }

        fn settle(&mut self, _: bool, _: Instant) {}

        fn patience(&self, _: Instant) -> Duration {
            Duration::from_millis(self.0)
        }

        fn limited(&self) -> bool {
            self.1
        }

        fn finished(&self) -> bool {
            false
        }
    }

    #[test]
    fn a_sleep_is_a_limits_if_the_limit_decides_how_long_it_is() {
        const IDLE: Sleeper = Sleeper(u64::MAX, false);
        let sleep = |tasks: &[Sleeper]| {
            let (patience, limited) = patience(tasks, Instant::now(), LONGEST_SLEEP);
            (patience.as_millis(), limited)
        };
        assert_eq!(sleep(&[]), (500, false));
        assert_eq!(sleep(&[IDLE, IDLE]), (500, false));
        assert_eq!(sleep(&[IDLE, Sleeper(200, true), IDLE]), (200, true));
        // One waits for its period, but another has to be looked at before.
        assert_eq!(sleep(&[Sleeper(200, true), Sleeper(3, false)]), (3, false));
        assert_eq!(sleep(&[Sleeper(3, false), Sleeper(200, true)]), (3, false));
        assert_eq!(sleep(&[Sleeper(200, true), Sleeper(200, false)]), (200, true));
        // A period that is longer than any sleep.
        assert_eq!(sleep(&[IDLE, Sleeper(60_000, true)]), (500, true));
    }
}
