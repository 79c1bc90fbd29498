//! A guest that writes numbered lines, as fast as its console takes them or one now and then.

use std::time::{Duration, Instant};

use console::front::Console;
use rings::DomainError;
use rings::bytes::IllegalIndex;
use rings::worker::Task;
use rings_host::{EpollWaiter, HostDomain};
use tracer::clock::{cycles, cycles_per_us};

use super::clock::{Clock, micros};
use super::lines::Lines;
use super::series::STALL_US;
use super::tally::{Counted, WriterReport};
use crate::config::{Amount, GuestConfig, OnFull, RunConfig};
use crate::counters::Counters;
use crate::results::Latencies;
use crate::workload::{Job, SideReport, think};

/// Lines in one turn.
const BUDGET: u32 = 64;

/// The writer.
#[derive(Debug)]
pub struct Writer {
    console: Console<HostDomain>,
    lines: Lines,
    config: GuestConfig,
    think_ns: u64,
    /// Bytes of the line that are in the ring.
    put: usize,
    /// The ring is full, and we have counted that.
    held: bool,
    clock: Clock,
    counted: Counted,
    /// What was counted before that.
    past: Counters,
    report: WriterReport,
    latencies: Latencies,
    /// The oldest line that was not read when we last looked: when it was written.
    unread_since: Option<u64>,
    lie: Option<IllegalIndex>,
    state: State,
    /// What waited to be read when we last looked at the end, and since when it has been as much.
    waits: (usize, u64),
    /// Nobody reads any more after so long without a byte read.
    patience_us: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nobody reads yet.
    Waits,
    Writes,
    /// Everything is written; so many bytes had been read, after so many microseconds.
    Drains {
        read: u64,
        us: u64,
    },
    Done {
        read: u64,
        us: u64,
    },
}

impl Writer {
    /// A writer on this console.
    pub fn new(console: Console<HostDomain>, config: &GuestConfig, run: &RunConfig) -> Self {
        Self {
            console,
            lines: Lines::new(config.len),
            config: config.clone(),
            think_ns: run.think_ns,
            put: 0,
            held: false,
            clock: Clock::new(run, config.pace_ns),
            counted: Counted { warm: run.warmup > 0.0, ..Counted::default() },
            past: Counters::default(),
            report: WriterReport {
                read: (config.pace_ns > 0).then(Latencies::new),
                ..WriterReport::default()
            },
            latencies: Latencies::new(),
            unread_since: None,
            lie: None,
            state: State::Waits,
            waits: (0, 0),
            patience_us: micros(run.stall_timeout),
        }
    }

    /// Writes lines while it can; `false` if it can do nothing now.
    fn write(&mut self) -> Result<bool, IllegalIndex> {
        let _span = tracer::quiet_span!(GUEST, "write_lines");
        let mut worked = false;
        for _ in 0..BUDGET {
            if self.put == 0 && !self.begin_line()? {
                return Ok(worked);
            }
            let put = self.console.put(&self.lines.line()[self.put..])?;
            worked |= put > 0;
            self.counted.puts += u64::from(put > 0);
            self.put += put;
            if self.put < self.lines.line().len() {
                // However often we look, it is full once.
                self.counted.full += u64::from(!std::mem::replace(&mut self.held, true));
                return Ok(self.time_passes()? || worked);
            }
            self.held = false;
            tracer::mark!(ITERATION, "line", bytes = self.put);
            self.end_line();
            if self.is_over() {
                self.stop()?;
                return Ok(true);
            }
        }
        Ok(worked)
    }

    /// Time passes for a writer that is held, too. `true` if that has ended something.
    fn time_passes(&mut self) -> Result<bool, IllegalIndex> {
        if self.clock.left(self.counted.warm) > Duration::ZERO {
            return Ok(false);
        }
        let now = cycles();
        if self.counted.warm {
            self.end_warmup(now);
        } else {
            self.clock.last = now;
            self.stop()?;
        }
        Ok(true)
    }

    /// Before a line: `false` if it is not to be written now.
    #[inline]
    fn begin_line(&mut self) -> Result<bool, IllegalIndex> {
        if self.config.pace_ns > 0 && !self.clock.is_due() {
            return Ok(false);
        }
        if self.think_ns > 0 || self.config.pace_ns > 0 {
            think(self.think_ns);
            self.clock.last = cycles();
        }
        while self.config.on_full == OnFull::Drop && self.console.room()? < self.lines.line().len()
        {
            self.drop_line();
            if self.is_over() {
                self.stop()?;
                return Ok(false);
            }
            if self.config.pace_ns > 0 {
                return Ok(false);
            }
            think(self.think_ns);
        }
        Ok(true)
    }

    fn drop_line(&mut self) {
        self.counted.dropped += 1;
        self.report.all_dropped += 1;
        self.lines.advance();
        self.clock.last = cycles();
    }

    #[inline]
    fn end_line(&mut self) {
        let now = cycles();
        let (start, per_us) = (*self.clock.start.get_or_insert(now), cycles_per_us());
        let took = now.saturating_sub(self.clock.last);
        self.clock.last = now;
        self.put = 0;
        self.lines.advance();
        self.counted.lines += 1;
        self.counted.bytes += self.lines.line().len() as u64;
        self.report.all_lines += 1;
        let us = now.saturating_sub(start) / per_us;
        self.report.series.add(us);
        self.latencies.record(took * 1000 / per_us);
        let took_us = took / per_us;
        self.report.longest_us = self.report.longest_us.max(took_us);
        if took_us >= STALL_US {
            self.report.stalls.add(us, took_us, self.counted.lines);
        }
        if self.config.pace_ns > 0 {
            self.unread_since.get_or_insert(now);
        }
        if self.counted.warm && us >= self.clock.warmup_us {
            self.end_warmup(now);
        }
    }

    /// Measuring begins. Of a line that is held, what is in the ring already counts with the rest of it.
    #[cold]
    fn end_warmup(&mut self, now: u64) {
        (self.clock.start, self.clock.last) = (Some(now), now);
        self.past = self.counters();
        let unread = self.console.unread().unwrap_or(0).saturating_sub(self.put) as u64;
        let before = self.console.events();
        self.counted = Counted { unread_at_start: unread, before, ..Counted::default() };
        self.unread_since = None;
        self.latencies.clear();
        let WriterReport { all_lines, all_dropped, read, .. } = std::mem::take(&mut self.report);
        self.report = WriterReport { all_lines, all_dropped, read, ..WriterReport::default() };
        if let Some(read) = &mut self.report.read {
            read.clear();
        }
    }

    fn is_over(&self) -> bool {
        !self.counted.warm && self.clock.is_over(self.counted.lines + self.counted.dropped)
    }

    /// All is written: what has been read by now is what the run has moved.
    fn stop(&mut self) -> Result<(), IllegalIndex> {
        let waits = self.console.unread()?;
        self.waits = (waits, cycles());
        self.state = State::Drains { read: self.read_but(waits), us: self.clock.elapsed_us() };
        Ok(())
    }

    /// Bytes read since measuring began, if so many wait to be read.
    fn read_but(&self, waits: usize) -> u64 {
        // Of a line that was held, what is in the ring was not counted.
        let unread = (waits as u64).saturating_sub(self.put as u64);
        (self.counted.bytes + self.counted.unread_at_start).saturating_sub(unread)
    }

    /// Looks whether lines have been read meanwhile.
    fn look(&mut self) -> Result<bool, IllegalIndex> {
        match self.state {
            State::Waits if self.console.connected() && !self.console.closed() => {
                self.state = State::Writes;
                self.clock.last = cycles();
                self.clock.start = Some(self.clock.last);
                return Ok(true);
            }
            State::Drains { read, us } => {
                let (waits, now) = (self.console.unread()?, cycles());
                if waits == 0 {
                    self.state = self.done(read, us);
                    self.report.flushed = true;
                } else if waits != self.waits.0 {
                    self.waits = (waits, now);
                } else if now.saturating_sub(self.waits.1) / cycles_per_us() >= self.patience_us {
                    self.state = State::Done { read, us };
                }
            }
            _ => {}
        }
        if let (Some(since), Some(read)) = (self.unread_since, &mut self.report.read)
            && self.console.unread()? == 0
        {
            let ns = cycles().saturating_sub(since) * 1000 / cycles_per_us();
            read.record(ns);
            self.unread_since = None;
        }
        Ok(false)
    }

    /// Everything is read. A time is over when it is over; a number of lines when all of them are read.
    fn done(&mut self, read: u64, us: u64) -> State {
        if matches!(self.clock.amount, Amount::Seconds(_)) {
            return State::Done { read, us };
        }
        self.clock.last = cycles();
        let read = self.counted.bytes + self.counted.unread_at_start;
        State::Done { read, us: self.clock.elapsed_us() }
    }

    fn turn(&mut self) -> Result<bool, IllegalIndex> {
        let began = self.look()?;
        if self.state == State::Writes { Ok(self.write()? || began) } else { Ok(began) }
    }
}

impl Task for Writer {
    fn work(&mut self) -> bool {
        match self.turn() {
            Ok(worked) => worked,
            Err(lie) => {
                self.lie = Some(lie);
                false
            }
        }
    }

    fn arm(&mut self, _: Instant) -> bool {
        self.console.arm()
    }

    fn disarm(&mut self) -> bool {
        self.console.disarm()
    }

    // The daemon's events are as many as its limit lets it send.
    fn settle(&mut self, _: bool, _: Instant) {}

    fn patience(&self, now: Instant) -> Duration {
        match self.state {
            State::Writes if self.held => self.clock.left(self.counted.warm),
            State::Writes => self.clock.due_in(now),
            State::Drains { .. } => Duration::from_micros(self.patience_us),
            State::Waits | State::Done { .. } => Duration::MAX,
        }
    }

    fn finished(&self) -> bool {
        self.lie.is_some() || matches!(self.state, State::Done { .. })
    }
}

impl Writer {
    /// What was counted since measuring began.
    fn measured(&self) -> Counters {
        self.counted.counters(self.console.events())
    }
}

impl Job for Writer {
    fn counters(&self) -> Counters {
        self.past.plus(&self.measured())
    }

    fn failure(&self) -> Option<String> {
        if let Some(lie) = self.lie {
            return Some(format!("xenconsoled lies: {lie}"));
        }
        let left = matches!(self.state, State::Done { .. }) && !self.report.flushed;
        let patience = Duration::from_micros(self.patience_us);
        left.then(|| {
            format!(
                "the last {} bytes wait in the ring: nobody has read any for {patience:?}; read the console, or use --overflow discard",
                self.waits.0
            )
        })
    }

    fn begun(&self) -> bool {
        self.clock.start.is_some() && !self.counted.warm
    }

    fn over(&self) -> bool {
        matches!(self.state, State::Drains { .. } | State::Done { .. })
    }

    fn watch(&self, waiter: &mut EpollWaiter) -> Result<(), DomainError> {
        self.console.watch(waiter)
    }

    fn unwatch(&self, waiter: &mut EpollWaiter) {
        self.console.unwatch(waiter);
    }

    fn finish(mut self: Box<Self>) -> SideReport {
        let (read, us) = match self.state {
            State::Drains { read, us } | State::Done { read, us } => (read, us),
            // In the middle of it; a lie was told of already.
            State::Waits | State::Writes => {
                let waits = self.console.unread().unwrap_or(0);
                (self.read_but(waits), self.clock.elapsed_us())
            }
        };
        SideReport {
            bytes: read,
            ops: self.counted.lines,
            lost: self.counted.dropped,
            seconds: Duration::from_micros(us).as_secs_f64(),
            counters: self.measured(),
            latencies: Some(self.latencies),
            writer: Some(self.report),
            ..SideReport::default()
        }
    }
}
