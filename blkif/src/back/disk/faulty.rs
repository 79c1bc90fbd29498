//! Faults around any disk: operations that fail, answers that are late, and a cache that a kill loses.
//!
//! The cache is what makes a flush mean something. A coin decides of each write whether it goes to the
//! disk below at once or stays in this process; reads see both. A flush writes what has stayed and
//! flushes the disk below; only then is it answered. A process that is killed takes with it what no
//! flush has saved. All chance comes from a seed.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rings::io::blkif::SECTOR_SIZE;
use rings::weaken::{Check, skipped};

use super::timer::Due;
use super::{Buffer, Disk, Done, Failure, Io, Kind, Started};

/// What goes wrong.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Faults {
    /// Share of reads and writes that fail: 0 to 1.
    pub errors: f64,
    /// Share of operations that are answered late: 0 to 1.
    pub delays: f64,
    /// How late.
    pub delay: Duration,
    /// Writes may stay in this process until a flush.
    pub cache: bool,
    /// Flushes are answered EOPNOTSUPP, though they were offered.
    pub no_flush: bool,
    /// Where chance begins.
    pub seed: u64,
}

/// How soon a flush that waits for another queue's looks again.
const AGAIN: Duration = Duration::from_micros(200);

/// What all queues of a disk share.
#[derive(Debug)]
pub(super) struct Shared {
    faults: Faults,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    random: u64,
    /// Sectors that only this process has, and when each was written.
    cache: BTreeMap<u64, (u64, [u8; SECTOR_SIZE])>,
    /// Writes so far.
    writes: u64,
    /// Flushes that are writing just now, at most one: nothing may overtake it.
    flushing: u32,
}

impl Shared {
    pub(super) fn new(faults: Faults) -> nix::Result<Self> {
        let random = faults.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let state = State { random, cache: BTreeMap::new(), writes: 0, flushing: 0 };
        Ok(Self { faults, state: Mutex::new(state) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// A number from 0 to below 1.
    fn chance(&mut self) -> f64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Keeps a write here.
    fn keep(&mut self, sector: u64, bytes: &[u8]) {
        self.writes += 1;
        for (sector, bytes) in (sector..).zip(bytes.chunks_exact(SECTOR_SIZE)) {
            let mut copy = [0; SECTOR_SIZE];
            copy.copy_from_slice(bytes);
            self.cache.insert(sector, (self.writes, copy));
        }
    }

    /// Puts what is only here over what was read below.
    fn overlay(&self, sector: u64, bytes: &mut [u8]) {
        let end = sector + (bytes.len() / SECTOR_SIZE) as u64;
        for (at, (_, kept)) in self.cache.range(sector..end) {
            let from = usize::try_from(at - sector).unwrap_or(0) * SECTOR_SIZE;
            bytes[from..from + SECTOR_SIZE].copy_from_slice(kept);
        }
    }

    /// Forgets what is only here of these sectors.
    fn forget(&mut self, sector: u64, sectors: u64) {
        let gone: Vec<u64> = self.cache.range(sector..sector + sectors).map(|(&s, _)| s).collect();
        for sector in gone {
            self.cache.remove(&sector);
        }
    }
}

/// A flush on its way: what it still has to write, one run of sectors after the other.
#[derive(Debug)]
struct Flush {
    /// The flush's own operation.
    io: Io,
    runs: VecDeque<(u64, Vec<u8>)>,
    /// Writes up to this one are saved by it.
    until: u64,
}

/// One queue's access to a disk with faults.
#[derive(Debug)]
pub(super) struct Faulty {
    inner: Box<dyn Disk>,
    shared: Arc<Shared>,
    late: Due,
    /// By tag: the sectors of a read that is below.
    reads: BTreeMap<u32, u64>,
    /// The first is under way with its first run, unless it is held; the others wait.
    flushes: VecDeque<Flush>,
    /// The first waits for another queue's: when to look again.
    held: Option<Instant>,
    /// What the disk below was done with at once.
    back: VecDeque<Done>,
    done: VecDeque<Done>,
}

impl Faulty {
    pub(super) fn new(inner: Box<dyn Disk>, shared: Arc<Shared>) -> nix::Result<Self> {
        let late = Due::new()?;
        let (reads, flushes, held, back, done) = Default::default();
        Ok(Self { inner, shared, late, reads, flushes, held, back, done })
    }

    /// An operation is over, unless it is to be late.
    fn over(&mut self, done: Done) {
        let faults = self.shared.faults;
        if faults.delays > 0.0 && self.shared.lock().chance() < faults.delays {
            self.late.push(Instant::now() + faults.delay, done);
        } else {
            self.done.push_back(done);
        }
    }

    fn below(&mut self, io: Io) {
        match self.inner.start(io) {
            Started::Now(done) => self.back.push_back(done),
            Started::Later => {}
        }
    }

    /// The disk below is done with something.
    fn came(&mut self, mut done: Done) {
        if self.flushes.front().is_some_and(|flush| flush.io.tag == done.tag) {
            return self.flush_came(done);
        }
        if let Some(sector) = self.reads.remove(&done.tag) {
            self.shared.lock().overlay(sector, done.buffer.bytes_mut());
        }
        self.over(done);
    }

    fn flush(&mut self, io: Io) {
        if self.shared.faults.no_flush {
            let outcome = Err(Failure::Unsupported);
            return self.over(Done { tag: io.tag, buffer: io.buffer, outcome });
        }
        if skipped(Check::BlkFlush) {
            return self.over(Done { tag: io.tag, buffer: io.buffer, outcome: Ok(()) });
        }
        self.flushes.push_back(Flush { io, runs: VecDeque::new(), until: 0 });
        if self.flushes.len() == 1 {
            self.begin_flush();
        }
    }

    /// Begins with the first of the flushes; later, if another queue's is writing: it has older sectors
    /// in its hands, and must not write them after ours.
    fn begin_flush(&mut self) {
        self.held = None;
        let Some(flush) = self.flushes.front_mut() else { return };
        let mut state = self.shared.lock();
        if state.flushing > 0 {
            self.held = Some(Instant::now() + AGAIN);
            return;
        }
        state.flushing += 1;
        flush.until = state.writes;
        for (&sector, (_, bytes)) in &state.cache {
            match flush.runs.back_mut() {
                Some((first, run)) if *first + (run.len() / SECTOR_SIZE) as u64 == sector => {
                    run.extend_from_slice(bytes);
                }
                _ => flush.runs.push_back((sector, bytes.to_vec())),
            }
        }
        drop(state);
        self.next_run();
    }

    /// Writes the next run below, under the flush's own tag; after the last, flushes below.
    fn next_run(&mut self) {
        let Some(flush) = self.flushes.front_mut() else { return };
        let (tag, mut buffer) = (flush.io.tag, Buffer::default());
        let io = match flush.runs.pop_front() {
            Some((sector, bytes)) => {
                buffer.set_len(bytes.len());
                buffer.bytes_mut().copy_from_slice(&bytes);
                let sectors = (bytes.len() / SECTOR_SIZE) as u64;
                Io { tag, kind: Kind::Write, sector, sectors, buffer }
            }
            None => {
                flush.io.kind = Kind::Flush;
                flush.io.sectors = u64::MAX;
                Io { tag, kind: Kind::Flush, sector: 0, sectors: 0, buffer }
            }
        };
        self.below(io);
    }

    fn flush_came(&mut self, done: Done) {
        let Some(flush) = self.flushes.front_mut() else { return };
        let last = flush.io.sectors == u64::MAX;
        if !last && done.outcome.is_ok() {
            return self.next_run();
        }
        let Some(flush) = self.flushes.pop_front() else { return };
        {
            let mut state = self.shared.lock();
            state.flushing -= 1;
            if done.outcome.is_ok() {
                state.cache.retain(|_, (written, _)| *written > flush.until);
            }
        }
        let (tag, buffer) = (flush.io.tag, flush.io.buffer);
        self.over(Done { tag, buffer, outcome: done.outcome });
        self.begin_flush();
    }

    /// A write: to the disk below, or only into the cache.
    fn write(&mut self, io: Io) {
        let mut state = self.shared.lock();
        let stays = self.shared.faults.cache && (state.flushing > 0 || state.chance() < 0.5);
        if stays {
            state.keep(io.sector, io.buffer.bytes());
            drop(state);
            return self.over(Done { tag: io.tag, buffer: io.buffer, outcome: Ok(()) });
        }
        state.forget(io.sector, io.sectors);
        drop(state);
        self.below(io);
    }
}

impl Drop for Faulty {
    /// A flush that nobody waits for any more must not hold those of other queues.
    fn drop(&mut self) {
        if self.held.is_none() && !self.flushes.is_empty() {
            self.shared.lock().flushing -= 1;
        }
    }
}

impl Disk for Faulty {
    fn start(&mut self, io: Io) -> Started {
        let errors = self.shared.faults.errors;
        if errors > 0.0 && self.shared.lock().chance() < errors && io.kind != Kind::Flush {
            self.over(Done { tag: io.tag, buffer: io.buffer, outcome: Err(Failure::Io) });
            return Started::Later;
        }
        match io.kind {
            Kind::Read => {
                self.reads.insert(io.tag, io.sector);
                self.below(io);
            }
            Kind::Write => self.write(io),
            Kind::Flush => self.flush(io),
            Kind::Discard { .. } => {
                self.shared.lock().forget(io.sector, io.sectors);
                self.below(io);
            }
        }
        Started::Later
    }

    fn submit(&mut self) {
        self.inner.submit();
        if self.held.is_some() || !self.late.is_empty() {
            self.late.submit(Instant::now(), self.held);
        }
    }

    fn poll(&mut self) -> Option<Done> {
        if self.held.is_some_and(|again| again <= Instant::now()) {
            self.begin_flush();
        }
        while let Some(done) = self.back.pop_front().or_else(|| self.inner.poll()) {
            self.came(done);
        }
        if !self.late.is_empty() {
            while let Some(done) = self.late.pop(Instant::now()) {
                self.done.push_back(done);
            }
        }
        self.done.pop_front()
    }

    fn wakes(&self, tell: &mut dyn FnMut(BorrowedFd<'_>)) {
        self.inner.wakes(tell);
        tell(self.late.fd());
    }

    fn syscalls(&self) -> u64 {
        self.inner.syscalls() + self.late.syscalls()
    }
}
