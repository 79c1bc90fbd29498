//! What is looked at from outside while a run goes on: the rate, from the statistics segment; CPU
//! time, from the processes' clocks; memory, from /proc.

use std::fs;
use std::time::{Duration, Instant};

use nix::time::ClockId;
use nix::unistd::Pid;
use rings_host::{Block, BlockKind, Segment};

use super::domains::LOOK;
use crate::counters::Counters;
use crate::results::{Cpu, Interval};

/// The same while the run is young.
const LOOK_YOUNG: Duration = Duration::from_millis(2);
/// How long a run is young.
const YOUNG: Duration = Duration::from_millis(100);

/// Processes of one side.
#[derive(Clone, Debug, Default)]
pub(super) struct Pids {
    pub(super) front: Vec<i32>,
    pub(super) back: Vec<i32>,
}

/// What of a run is sampled.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct What {
    /// Bytes of one operation, where those are what is counted.
    pub(super) per_op: Option<u64>,
    /// Whether there are operations to count; a stream of bytes has none.
    pub(super) counts_ops: bool,
    /// Seconds at the start that no figure counts.
    pub(super) warmup: f64,
    /// Seconds of an interval, if there are to be any.
    pub(super) interval: Option<f64>,
}

/// Samples of one run.
pub(super) struct Sampler {
    segment: Segment,
    pids: Pids,
    /// What backends that are gone had used and counted.
    gone: Gone,
    /// Bytes of one operation, where those are what is counted.
    per_op: Option<u64>,
    counts_ops: bool,
    interval: Option<Duration>,
    warmup: f64,
    began: Option<Began>,
    /// The first look after the warm-up.
    warm: Option<Began>,
    last: Option<Began>,
    /// The last look at which more had been done than before, and what.
    moved: Option<(Instant, (u64, u64))>,
    intervals: Vec<Interval>,
    peak_kib: u64,
    /// When memory was looked at last.
    weighed: Instant,
}

#[derive(Clone, Copy, Default)]
struct Gone {
    cpu_seconds: f64,
    counters: Counters,
}

#[derive(Clone, Copy)]
struct Began {
    at: Instant,
    cpu: (f64, f64),
    done: (u64, u64),
}

impl Sampler {
    /// Samples a run.
    pub(super) fn new(segment: Segment, pids: Pids, what: What) -> Self {
        let What { per_op, counts_ops, warmup, interval } = what;
        Self {
            segment,
            pids,
            gone: Gone::default(),
            per_op,
            counts_ops,
            interval: interval.map(Duration::from_secs_f64),
            warmup,
            began: None,
            warm: None,
            last: None,
            moved: None,
            intervals: Vec::new(),
            peak_kib: 0,
            weighed: Instant::now(),
        }
    }

    /// The backend is about to be killed: notes what it used and counted, which nobody else will tell.
    pub(super) fn back_goes(&mut self) {
        self.gone.cpu_seconds += self.pids.cpu_seconds().1;
        let pids = &self.pids.back;
        let its = |block: &Block| {
            block.kind() == BlockKind::Back
                && i32::try_from(block.pid()).is_ok_and(|pid| pids.contains(&pid))
        };
        for block in self.segment.blocks().filter(its) {
            self.gone.counters = self.gone.counters.plus(&Counters::read(&block));
        }
        self.pids.back.clear();
    }

    /// The backend is another process from now on.
    pub(super) fn another_back(&mut self, pid: i32) {
        self.pids.back = vec![pid];
    }

    /// What backends that were killed had counted.
    pub(super) fn gone(&self) -> &Counters {
        &self.gone.counters
    }

    fn sum(&self) -> Counters {
        let all = self.segment.blocks().filter(|b| b.kind() != BlockKind::Other);
        all.fold(Counters::default(), |sum, b| sum.plus(&Counters::read(&b)))
    }

    /// Blocks of a disk that were written and read again, and how many are to be, once that has begun.
    pub(super) fn read_back(&self) -> Option<(u64, u64)> {
        let sum = self.sum();
        (sum.to_read_back > 0).then_some((sum.read_back, sum.to_read_back))
    }

    /// Payload bytes and operations so far, at the end that receives.
    pub(super) fn done(&self) -> (u64, u64) {
        let sum = self.sum();
        match self.per_op {
            Some(bytes) => (sum.payload, sum.payload / bytes.max(1)),
            None => (sum.payload, sum.ops),
        }
    }

    /// Of that, what does not belong to the warm-up.
    pub(super) fn counted(&self) -> (u64, u64) {
        let done = self.done();
        let before = match self.warm {
            _ if self.warmup <= 0.0 => (0, 0),
            Some(warm) => warm.done,
            None => done,
        };
        (done.0.saturating_sub(before.0), done.1.saturating_sub(before.1))
    }

    /// Looks once. Says which interval has just ended, if one has.
    pub(super) fn look(&mut self) -> Option<Interval> {
        let done = self.done();
        if done.0 == 0 {
            return None;
        }
        let (front, back) = self.pids.cpu_seconds();
        let cpu = (front, back + self.gone.cpu_seconds);
        let now = Began { at: Instant::now(), cpu, done };
        // A short run may be looked at once.
        if self.peak_kib == 0 || now.at.duration_since(self.weighed) >= LOOK {
            self.weighed = now.at;
            self.peak_kib = self.peak_kib.max(self.pids.peak_kib());
        }
        let Some(began) = self.began else {
            (self.began, self.last) = (Some(now), Some(now));
            self.moved = Some((now.at, done));
            return None;
        };
        if self.warm.is_none() && now.at.duration_since(began.at).as_secs_f64() >= self.warmup {
            self.warm = Some(if self.warmup > 0.0 { now } else { began });
        }
        if self.moved.is_none_or(|(_, before)| done.0 > before.0) {
            self.moved = Some((now.at, done));
        }
        // A side whose process has ended has no time any more: what was seen before counts.
        if now.cpu.0 >= began.cpu.0 && now.cpu.1 >= began.cpu.1 && done.0 > self.last?.done.0 {
            self.last = Some(now);
        }
        let interval = self.interval?;
        let from = interval * u32::try_from(self.intervals.len()).ok()?;
        let due = from + interval;
        if now.at.duration_since(began.at) < due {
            return None;
        }
        Some(self.interval_until(began.at, now.at, done))
    }

    /// What has been done since the last interval, if there are any: the run is over.
    pub(super) fn rest(&mut self) -> Option<Interval> {
        self.interval?;
        let now = self.done();
        if self.moved.is_some_and(|(_, before)| now.0 > before.0) {
            self.moved = Some((Instant::now(), now));
        }
        let (began, (at, done)) = (self.began?, self.moved?);
        let so_far: u64 = self.intervals.iter().map(|i| i.sum.bytes).sum();
        let left = done.0 > so_far && at > began.at;
        left.then(|| self.interval_until(began.at, at, done))
    }

    /// Ends an interval at `at`, when `done` had been done.
    fn interval_until(&mut self, began: Instant, at: Instant, done: (u64, u64)) -> Interval {
        let so_far: u64 = self.intervals.iter().map(|i| i.sum.bytes).sum();
        let so_far_ops: u64 = self.intervals.iter().filter_map(|i| i.sum.ops).sum();
        let end = at.duration_since(began).as_secs_f64();
        let start = self.intervals.last().map_or(0.0, |i| i.sum.end);
        let (bytes, ops) = (done.0.saturating_sub(so_far), done.1.saturating_sub(so_far_ops));
        let ops = self.counts_ops.then_some(ops);
        // One that has any warm-up in it says nothing about what comes after.
        let one = Interval::new(start, end, bytes, ops, start < self.warmup);
        self.intervals.push(one);
        one
    }

    /// How long to wait until the next look. A short run is looked at often, so that it is seen at
    /// all; a long one seldom, so that looking does not slow it down.
    pub(super) fn pause(&self) -> Duration {
        if self.elapsed() < YOUNG { LOOK_YOUNG } else { LOOK }
    }

    /// How long it has gone on.
    pub(super) fn elapsed(&self) -> Duration {
        self.began.map_or(Duration::ZERO, |began| began.at.elapsed())
    }

    /// CPU time of both sides while what counts went on, in cores.
    pub(super) fn cpu(&self) -> Option<Cpu> {
        let (began, last) = (self.warm?, self.last?);
        let seconds = last.at.saturating_duration_since(began.at).as_secs_f64();
        // Two samples too close together say nothing.
        (seconds > 0.005).then(|| Cpu {
            front: (last.cpu.0 - began.cpu.0) / seconds,
            back: (last.cpu.1 - began.cpu.1) / seconds,
        })
    }

    /// The most memory that all processes had, added up. Bytes.
    pub(super) fn peak_bytes(&self) -> u64 {
        self.peak_kib * 1024
    }

    /// All intervals, up to the last in which anything was done: what follows is the end of the
    /// processes, not of the run.
    pub(super) fn intervals(&mut self) -> &mut Vec<Interval> {
        self.rest();
        while self.intervals.last().is_some_and(|last| last.sum.bytes == 0) {
            self.intervals.pop();
        }
        &mut self.intervals
    }
}

impl Pids {
    /// CPU seconds of each side so far.
    fn cpu_seconds(&self) -> (f64, f64) {
        let of = |pids: &[i32]| pids.iter().map(|&pid| cpu_time(pid).as_secs_f64()).sum();
        (of(&self.front), of(&self.back))
    }

    /// Peak resident memory of all, this process included. KiB.
    fn peak_kib(&self) -> u64 {
        let own = i32::try_from(std::process::id()).unwrap_or(0);
        self.front.iter().chain(&self.back).chain([&own]).map(|&pid| peak_kib(pid)).sum()
    }
}

/// CPU time of a process. Its clock is exact to the nanosecond, where /proc counts ticks.
fn cpu_time(pid: i32) -> Duration {
    let clock = ClockId::pid_cpu_clock_id(Pid::from_raw(pid));
    clock.and_then(ClockId::now).map_or(Duration::ZERO, Duration::from)
}

fn peak_kib(pid: i32) -> u64 {
    let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else { return 0 };
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|l| l.trim().strip_suffix(" kB")?.trim().parse().ok()).unwrap_or(0)
}
