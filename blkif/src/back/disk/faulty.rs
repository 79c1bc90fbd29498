//! Faults around any disk: operations that fail, writes that are answered and not done, answers that are late,
//! and a cache that a kill loses.
//!
//! The cache is what makes a flush mean something. A coin decides of each write whether it goes to the
//! disk below at once or stays in this process, where it always stays if some of it is there already; reads
//! see both, and never what is older than what was answered. A flush writes what has stayed and
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
    /// Share of writes that are answered, and not done: 0 to 1.
    pub lost: f64,
    /// Share of operations that are answered late: 0 to 1.
    pub delays: f64,
    /// How late.
    pub delay: Duration,
    /// Writes may stay in this process until a flush.
    pub cache: bool,
    /// Flushes are answered EOPNOTSUPP, though they were offered.
    pub no_flush: bool,
    /// Flushes are answered, and not done.
    pub liar: bool,
    /// Where chance begins.
    pub seed: u64,
}

/// How soon a flush that waits for another queue's looks again.
const AGAIN: Duration = Duration::from_micros(200);

/// The bytes of one sector.
type Sector = [u8; SECTOR_SIZE];

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
    cache: BTreeMap<u64, (u64, Sector)>,
    /// Writes so far.
    writes: u64,
    /// A flush is writing just now: nothing may overtake it.
    flushing: bool,
}

impl Shared {
    pub(super) fn new(faults: Faults) -> Self {
        let random = faults.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let state = State { random, cache: BTreeMap::new(), writes: 0, flushing: false };
        Self { faults, state: Mutex::new(state) }
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

    /// What is only here of these sectors.
    fn kept(&self, sector: u64, sectors: u64) -> impl Iterator<Item = (u64, &Sector)> {
        self.cache.range(sector..sector + sectors).map(|(&at, (_, kept))| (at, kept))
    }

    /// Turns what is only here of these sectors into zeros. Not forgotten: until the disk below has done
    /// the same, it holds what is older still, and a flush may have the bytes from before in its hands.
    fn blank(&mut self, sector: u64, sectors: u64) {
        self.writes += 1;
        for (_, kept) in self.cache.range_mut(sector..sector + sectors) {
            *kept = (self.writes, [0; SECTOR_SIZE]);
        }
    }
}

/// A read that is below.
#[derive(Debug)]
struct Read {
    sector: u64,
    /// What was only here when it began: a flush may take it out of the cache meanwhile, after the disk
    /// below has been read.
    kept: Vec<(u64, Sector)>,
}

impl Read {
    /// Puts a sector over what was read below.
    fn lay_over(&self, bytes: &mut [u8], (at, kept): (u64, &Sector)) {
        let from = usize::try_from(at - self.sector).unwrap_or(0) * SECTOR_SIZE;
        bytes[from..from + SECTOR_SIZE].copy_from_slice(kept);
    }
}

/// A flush on its way: what it still has to write, one run of sectors after the other.
#[derive(Debug)]
struct Flush {
    /// The flush's own operation.
    io: Io,
    runs: VecDeque<(u64, Vec<u8>)>,
    /// All of them are written, and the disk below is flushing.
    last: bool,
    /// Writes up to this one are saved by it.
    until: u64,
}

/// One queue's access to a disk with faults.
#[derive(Debug)]
pub(super) struct Faulty {
    inner: Box<dyn Disk>,
    shared: Arc<Shared>,
    late: Due,
    /// By tag.
    reads: BTreeMap<u32, Read>,
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

    /// Whether the next write is one of those that are not done.
    fn loses(&self) -> bool {
        let lost = self.shared.faults.lost;
        lost > 0.0 && self.shared.lock().chance() < lost
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
        if let Some(read) = self.reads.remove(&done.tag) {
            let bytes = done.buffer.bytes_mut();
            read.kept.iter().for_each(|(at, kept)| read.lay_over(bytes, (*at, kept)));
            let state = self.shared.lock();
            let sectors = (bytes.len() / SECTOR_SIZE) as u64;
            state.kept(read.sector, sectors).for_each(|kept| read.lay_over(bytes, kept));
        }
        self.over(done);
    }

    fn flush(&mut self, io: Io) {
        if self.shared.faults.no_flush {
            let outcome = Err(Failure::Unsupported);
            return self.over(Done { tag: io.tag, buffer: io.buffer, outcome });
        }
        if self.shared.faults.liar || skipped(Check::BlkFlush) {
            return self.over(Done { tag: io.tag, buffer: io.buffer, outcome: Ok(()) });
        }
        self.flushes.push_back(Flush { io, runs: VecDeque::new(), last: false, until: 0 });
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
        if state.flushing {
            self.held = Some(Instant::now() + AGAIN);
            return;
        }
        state.flushing = true;
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
                flush.last = true;
                Io { tag, kind: Kind::Flush, sector: 0, sectors: 0, buffer }
            }
        };
        self.below(io);
    }

    fn flush_came(&mut self, done: Done) {
        let Some(flush) = self.flushes.front_mut() else { return };
        if !flush.last && done.outcome.is_ok() {
            return self.next_run();
        }
        let Some(flush) = self.flushes.pop_front() else { return };
        {
            let mut state = self.shared.lock();
            state.flushing = false;
            if done.outcome.is_ok() {
                state.cache.retain(|_, (written, _)| *written > flush.until);
            }
        }
        let (tag, buffer) = (flush.io.tag, flush.io.buffer);
        self.over(Done { tag, buffer, outcome: done.outcome });
        self.begin_flush();
    }

    fn read(&mut self, io: Io) {
        let state = self.shared.lock();
        let kept = state.kept(io.sector, io.sectors).map(|(at, kept)| (at, *kept)).collect();
        drop(state);
        self.reads.insert(io.tag, Read { sector: io.sector, kept });
        self.below(io);
    }

    /// A write: to the disk below, or only into the cache. Always there where some of it is there
    /// already: taken out, it would leave what is older still until the disk below has the new.
    fn write(&mut self, io: Io) {
        let mut state = self.shared.lock();
        let must = state.flushing || state.kept(io.sector, io.sectors).next().is_some();
        if self.shared.faults.cache && (must || state.chance() < 0.5) {
            state.keep(io.sector, io.buffer.bytes());
            drop(state);
            return self.over(Done { tag: io.tag, buffer: io.buffer, outcome: Ok(()) });
        }
        drop(state);
        self.below(io);
    }
}

impl Drop for Faulty {
    /// A flush that nobody waits for any more must not hold those of other queues.
    fn drop(&mut self) {
        if self.held.is_none() && !self.flushes.is_empty() {
            self.shared.lock().flushing = false;
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
            Kind::Read => self.read(io),
            Kind::Write if self.loses() => {
                self.over(Done { tag: io.tag, buffer: io.buffer, outcome: Ok(()) });
            }
            Kind::Write => self.write(io),
            Kind::Flush => self.flush(io),
            Kind::Discard { .. } => {
                self.shared.lock().blank(io.sector, io.sectors);
                self.below(io);
            }
        }
        Started::Later
    }

    fn blocks(&self) -> bool {
        self.inner.blocks()
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

    fn complaint(&self) -> Option<&str> {
        self.inner.complaint()
    }
}

#[cfg(test)]
mod tests {
    use super::super::ram::Memory;
    use super::*;
    use proptest::prelude::*;

    /// Of the disk below.
    const SECTORS: u64 = 12;
    const QUEUES: usize = 2;

    /// A disk that does in any order what it was told, when it is let, and says so at the next look.
    #[derive(Debug)]
    struct Slow {
        memory: Memory,
        waiting: Vec<Io>,
        done: VecDeque<Done>,
        /// Which of those that wait is done next, once.
        next: Arc<Mutex<Option<usize>>>,
    }

    impl Disk for Slow {
        fn start(&mut self, io: Io) -> Started {
            self.waiting.push(io);
            Started::Later
        }

        fn poll(&mut self) -> Option<Done> {
            let told = self.done.pop_front();
            if told.is_none() && !self.waiting.is_empty() {
                let at = self.next.lock().unwrap().take()? % self.waiting.len();
                self.done.push_back(self.memory.run(self.waiting.remove(at)));
            }
            told
        }
    }

    /// Something that changes a sector: what to, when it began, when it was answered.
    #[derive(Clone, Copy, Debug)]
    struct Change {
        value: u8,
        begun: usize,
        ended: usize,
    }

    /// Whether a sector that was read between two moments may have held this: something that was written
    /// by then, and not all over before another write that was over before the read began.
    fn may_be(changes: &[Change], value: u8, begun: usize, ended: usize) -> bool {
        changes
            .iter()
            .filter(|c| c.value == value && c.begun < ended)
            .any(|c| !changes.iter().any(|later| c.ended < later.begun && later.ended < begun))
    }

    /// An operation in flight.
    struct Flying {
        queue: usize,
        kind: Kind,
        sector: u64,
        sectors: u64,
        begun: usize,
    }

    struct Bench {
        queues: Vec<Faulty>,
        next: Vec<Arc<Mutex<Option<usize>>>>,
        /// By tag.
        flying: Vec<Option<Flying>>,
        /// By sector.
        changes: Vec<Vec<Change>>,
        now: usize,
    }

    impl Bench {
        fn new(seed: u64) -> Self {
            let faults = Faults { cache: true, seed, ..Faults::default() };
            let shared = Arc::new(Shared::new(faults));
            let memory = Memory::new(SECTORS);
            let next: Vec<Arc<Mutex<_>>> = (0..QUEUES).map(|_| Arc::default()).collect();
            let queue = |next: &Arc<Mutex<_>>| {
                let (memory, next) = (memory.clone(), Arc::clone(next));
                let slow = Slow { memory, waiting: Vec::new(), done: VecDeque::new(), next };
                Faulty::new(Box::new(slow), Arc::clone(&shared)).unwrap()
            };
            let queues = next.iter().map(queue).collect();
            let first = Change { value: 0, begun: 0, ended: 0 };
            let changes = vec![vec![first]; usize::try_from(SECTORS).unwrap()];
            Self { queues, next, flying: Vec::new(), changes, now: 1 }
        }

        fn start(&mut self, queue: usize, kind: Kind, sector: u64, sectors: u64) {
            let sectors = if kind == Kind::Flush { 0 } else { sectors.min(SECTORS - sector) };
            let tag = u32::try_from(self.flying.len()).unwrap();
            let value = if kind == Kind::Write { u8::try_from(tag + 1).unwrap() } else { 0 };
            let mut buffer = Buffer::default();
            let moves = matches!(kind, Kind::Read | Kind::Write);
            buffer.set_len(if moves { usize::try_from(sectors).unwrap() * SECTOR_SIZE } else { 0 });
            buffer.bytes_mut().fill(value);
            let begun = self.now;
            self.flying.push(Some(Flying { queue, kind, sector, sectors, begun }));
            self.queues[queue].start(Io { tag, kind, sector, sectors, buffer });
            if matches!(kind, Kind::Write | Kind::Discard { .. }) {
                for sector in &mut self.changes[span(sector, sectors)] {
                    sector.push(Change { value, begun, ended: usize::MAX });
                }
            }
        }

        /// Hears what is over, and lets the disk below do one thing.
        fn poll(&mut self, queue: usize, which: usize) {
            *self.next[queue].lock().unwrap() = Some(which);
            if self.queues[queue].held.is_some() {
                self.queues[queue].held = Some(Instant::now());
            }
            while let Some(done) = self.queues[queue].poll() {
                let over = self.flying[done.tag as usize].take().expect("in flight");
                assert_eq!((over.queue, done.outcome), (queue, Ok(())));
                let range = span(over.sector, over.sectors);
                if over.kind == Kind::Read {
                    let bytes = done.buffer.bytes().chunks_exact(SECTOR_SIZE);
                    for (changes, found) in self.changes[range].iter().zip(bytes) {
                        let fits = may_be(changes, found[0], over.begun, self.now);
                        assert!(fits, "{} is none of {changes:?}", found[0]);
                    }
                    continue;
                }
                for changes in &mut self.changes[range] {
                    let this = |c: &&mut Change| c.begun == over.begun;
                    changes.iter_mut().filter(this).for_each(|c| c.ended = self.now);
                }
            }
        }

        /// Until nothing is in flight.
        fn drain(&mut self) {
            while self.flying.iter().any(Option::is_some) {
                (0..QUEUES).for_each(|queue| self.poll(queue, 0));
            }
        }
    }

    fn span(sector: u64, sectors: u64) -> std::ops::Range<usize> {
        let at = usize::try_from(sector).unwrap();
        at..at + usize::try_from(sectors).unwrap()
    }

    /// A read below is older than a write that was answered; the flush that saves it overtakes the read.
    #[test]
    fn a_read_is_never_older_than_what_was_answered() {
        let mut bench = Bench::new(1);
        for sector in 0..SECTORS {
            bench.start(0, Kind::Write, sector, 1);
        }
        bench.drain();
        bench.now += 1;
        assert!(!bench.queues[0].shared.lock().cache.is_empty(), "something is only here");
        bench.start(1, Kind::Read, 0, SECTORS);
        // Below it is over, and nobody has heard of it yet.
        bench.poll(1, 0);
        bench.start(0, Kind::Flush, 0, 0);
        while bench.flying.iter().flatten().any(|op| op.kind == Kind::Flush) {
            bench.poll(0, 0);
        }
        assert!(bench.queues[0].shared.lock().cache.is_empty(), "the flush saved all of it");
        bench.poll(1, 0);
        assert!(bench.flying.iter().all(Option::is_none));
    }

    proptest! {
        /// Operations of two queues that overlap in time and place, and a disk below that does them in
        /// any order: each read brings what it may.
        #[test]
        fn operations_in_flight_together_are_as_on_one_disk(
            seed in 1_u64..1000,
            steps in prop::collection::vec((0_u8..8, 0..QUEUES, 0..SECTORS, 1_u64..5), 1..120),
        ) {
            let mut bench = Bench::new(seed);
            for (what, queue, sector, sectors) in steps {
                bench.now += 1;
                match what {
                    0 | 1 => bench.start(queue, Kind::Write, sector, sectors),
                    2 | 3 => bench.start(queue, Kind::Read, sector, sectors),
                    4 => bench.start(queue, Kind::Flush, 0, 0),
                    5 => bench.start(queue, Kind::Discard { secure: false }, sector, sectors),
                    _ => bench.poll(queue, usize::try_from(sector).unwrap()),
                }
            }
            bench.now += 1;
            bench.drain();
            bench.now += 1;
            bench.start(0, Kind::Read, 0, SECTORS);
            bench.drain();
        }
    }
}
