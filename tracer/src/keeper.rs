//! What the host does to trace a lab: it has the switch, keeps the memory of all that record, and in
//! the end makes a file of it.

mod kin;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use memmap2::{MmapOptions, MmapRaw};

use crate::clock;
use crate::format::buffer::{self, Full};
use crate::format::record::RECORD;
use crate::format::{Anchor, Clock, Ended, TraceWriter};
use crate::recorder::{self, Host, Memory, Slow, Source, memory, switch};
use kin::Kin;

/// Threads of one process whose buffers are kept.
pub const MOST_THREADS: usize = 256;

/// Under this name a file says how many threads it has not, because their processes had more than are kept.
pub const REFUSED: &str = "threads-refused";
/// What is said of a run under this name: when recording was off in between, as `FROM-TO FROM-TO`, in ticks.
pub const PAUSED: &str = "paused";
/// Pauses that are told; what is not recorded in others looks as if nothing had happened.
const MOST_PAUSES: usize = 4096;

/// What is kept when there is more than the buffers hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mode {
    /// The beginning.
    #[default]
    Stop,
    /// The end.
    Overwrite,
    /// What led to the first request that took longer than so many microseconds.
    Slow(u32),
}

/// What is in the file that was written.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Written {
    /// Processes.
    pub processes: usize,
    /// Records.
    pub records: u64,
    /// Events that were left out because buffers were full.
    pub lost: u64,
    /// Events that were left out because they came, in signal handlers, in the middle of another.
    pub busy: u64,
    /// Threads that are not there: their processes have more than are kept.
    pub threads: u64,
    /// Names and words that journals had no room for.
    pub entries: u64,
    /// Records that were overwritten.
    pub overwritten: u64,
    /// What stamped the records.
    pub clock: Source,
    /// Which slow request ended the recording, if one did.
    pub frozen: Option<String>,
}

/// The host's part of the tracer.
#[derive(Debug)]
pub struct Keeper {
    switch: OwnedFd,
    page: MmapRaw,
    mode: Mode,
    clock: Source,
    start: Anchor,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    processes: Vec<Kin>,
    at: BTreeMap<u32, usize>,
    /// The switch's number when it was last on: another one each time, and another one than any other host's,
    /// so that whoever sees it knows.
    number: u32,
    /// It was on.
    used: bool,
    frozen: Option<(u32, Slow)>,
    /// It stays off.
    over: bool,
    /// Since when it is off, if it was on before. Ticks.
    off: Option<u64>,
    /// From when to when it was off in between. Ticks.
    pauses: Vec<(u64, u64)>,
}

/// Whether a lab is recorded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Recording {
    /// Not yet: nothing has been switched on so far.
    NotYet,
    /// It has been, and may be again.
    Off,
    /// It is.
    On,
    /// It has been, and will not be again.
    Over,
}

impl Keeper {
    /// A switch that is off, for buffers of at least 4 KiB and about `bytes` (rounded down to a power
    /// of two of records).
    ///
    /// # Errors
    /// If there is no memory.
    pub fn new(mode: Mode, bytes: u64) -> io::Result<Self> {
        Self::with_clock(mode, bytes, Source::of_this_machine())
    }

    /// The same, with a clock of the caller's choice.
    ///
    /// # Errors
    /// If there is no memory.
    pub fn with_clock(mode: Mode, bytes: u64, clock: Source) -> io::Result<Self> {
        let fd = memory::create("pvlab-switch", switch::PAGE)?;
        let page = MmapOptions::new().map_raw(&fd)?;
        memory::forbid_writing(&fd)?;
        #[expect(clippy::cast_possible_truncation, reason = "as good as any")]
        let number = clock::cycles() as u32;
        let kept = Mutex::new(Kept { number, ..Kept::default() });
        let me = Self { switch: fd, page, mode, clock, start: clock.anchor(), kept };
        let records = (bytes / RECORD as u64).max(256);
        me.word(switch::CAPACITY)
            .store(records.ilog2().min(switch::MOST_CAPACITY), Ordering::Relaxed);
        let (full, slow_us) = match mode {
            Mode::Stop => (Full::Stop, 0),
            Mode::Overwrite => (Full::Overwrite, 0),
            Mode::Slow(us) => (Full::Overwrite, us.max(1)),
        };
        me.word(switch::FULL).store(full as u32, Ordering::Relaxed);
        me.word(switch::SLOW_US).store(slow_us, Ordering::Relaxed);
        me.word(switch::CLOCK).store(clock as u32, Ordering::Relaxed);
        Ok(me)
    }

    /// The switch's page, for those who record: they can map it for reading only.
    #[must_use]
    pub fn switch(&self) -> BorrowedFd<'_> {
        self.switch.as_fd()
    }

    /// Switches recording on or off, in all processes at once. After its end, and after a slow request, it stays
    /// off.
    pub fn set(&self, on: bool) {
        let mut kept = self.lock();
        let on = on && !kept.over;
        if on == self.is_on() {
            return;
        }
        // SYNC recording is on: with the Acquire load in `is_on`. Recorders look at the word alone.
        if on {
            kept.used = true;
            kept.number = kept.number.wrapping_add(1).max(1);
            kept.paused(self.clock.now());
            self.word(switch::ON).store(kept.number, Ordering::Release);
        } else {
            // SYNC recording is on: the same.
            self.word(switch::ON).store(0, Ordering::Release);
            kept.off = Some(self.clock.now());
        }
    }

    /// Whether recording is on.
    #[must_use]
    pub fn is_on(&self) -> bool {
        // SYNC recording is on: with the Release stores in `set`.
        self.word(switch::ON).load(Ordering::Acquire) != 0
    }

    /// Switches recording off for good.
    pub fn end(&self) {
        let mut kept = self.lock();
        kept.over = true;
        kept.paused(self.clock.now());
        drop(kept);
        self.set(false);
    }

    /// Whether recording is on, and whether it can be.
    #[must_use]
    pub fn recording(&self) -> Recording {
        let kept = self.lock();
        match (kept.used, kept.over) {
            (_, true) => Recording::Over,
            (false, _) => Recording::NotYet,
            _ if self.is_on() => Recording::On,
            _ => Recording::Off,
        }
    }

    /// Keeps memory of process `pid`.
    ///
    /// # Errors
    /// If it is not sealed against shrinking and growing or is too large, if the process has more than
    /// one journal or more threads than are kept.
    pub fn keep(&self, pid: u32, what: Memory, fd: OwnedFd) -> io::Result<()> {
        let file = File::from(fd);
        let most = match what {
            Memory::Journal => recorder::JOURNAL_BYTES as u64,
            Memory::Thread => buffer::RECORDS_AT as u64 + ((RECORD as u64) << self.capacity()),
        };
        if !memory::is_fixed(&file) || file.metadata()?.len() > most {
            let why = "memory whose size is not sealed, or too much of it";
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        let mut kept = self.lock();
        let kin = kept.process(pid);
        match what {
            Memory::Journal if kin.journal.is_none() => kin.journal = Some(file),
            Memory::Thread if kin.threads.len() < MOST_THREADS => kin.threads.push(file),
            Memory::Journal => return Err(io::ErrorKind::QuotaExceeded.into()),
            Memory::Thread => {
                kin.refused += 1;
                return Err(io::ErrorKind::QuotaExceeded.into());
            }
        }
        Ok(())
    }

    /// A process has ended.
    pub fn ended(&self, pid: u32, well: bool) {
        let mut kept = self.lock();
        if let Some(&at) = kept.at.get(&pid) {
            kept.processes[at].ended = if well { Ended::Well } else { Ended::Died };
        }
    }

    /// All that a process has handed over has come.
    pub fn closed(&self, pid: u32) {
        let mut kept = self.lock();
        let unused = !kept.used;
        if let Some(&at) = kept.at.get(&pid) {
            let kin = &mut kept.processes[at];
            kin.closed = true;
            if unused {
                // Nothing was ever recorded: a lab that lives long need not keep what is empty.
                kin.journal = None;
                kin.threads.clear();
            }
        }
    }

    /// Processes that have not ended, or of which something may still come; this one apart.
    #[must_use]
    pub fn living(&self) -> usize {
        let kept = self.lock();
        let others = kept.at.iter().filter(|&(&pid, _)| pid != std::process::id());
        let lives = |kin: &Kin| kin.ended == Ended::Unknown || !kin.closed;
        others.filter(|&(_, &at)| lives(&kept.processes[at])).count()
    }

    /// A request of process `pid` was slow: recording stops, if that is what it is for.
    pub fn slow(&self, pid: u32, slow: Slow) {
        if matches!(self.mode, Mode::Slow(_)) {
            self.lock().frozen.get_or_insert((pid, slow));
            self.end();
        }
    }

    /// Writes what is there into a file; `run` describes what was run. Recording should be off.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self, path: &Path, run: &[(String, String)]) -> io::Result<Written> {
        // Which takes a thread, and should that record, the lock.
        let recorder::Costs { event_ps, read_ps } = recorder::costs();
        let kept = self.lock();
        let steady = self.clock == Source::Monotonic || clock::is_steady();
        let (start, end) = (self.start, self.clock.anchor());
        let clock = Clock { start, end, steady, event_ps, read_ps };
        let mut run = run.to_vec();
        let mut written = Written { clock: self.clock, ..Written::default() };
        if let Some((pid, slow)) = kept.frozen {
            let us = clock.scale().duration_ns(slow.took) / 1000;
            let why = format!("request {} of process {pid} took {us} us", slow.index);
            run.push(("frozen".into(), why.clone()));
            run.push(("frozen-ticks".into(), slow.ticks.to_string()));
            written.frozen = Some(why);
        }
        if !kept.pauses.is_empty() {
            let pauses = kept.pauses.iter().map(|(off, on)| format!("{off}-{on}"));
            run.push((PAUSED.into(), pauses.collect::<Vec<_>>().join(" ")));
        }
        written.threads = kept.processes.iter().map(|kin| kin.refused).sum();
        if written.threads > 0 {
            run.push((REFUSED.into(), written.threads.to_string()));
        }
        // Whoever looks at an older file of that name, or has it under another, keeps what is in it.
        if path.symlink_metadata().is_ok_and(|old| old.is_file()) {
            let _ = std::fs::remove_file(path);
        }
        let to = BufWriter::with_capacity(1 << 20, File::create(path)?);
        let mut to = TraceWriter::new(to, &clock, &run)?;
        for kin in &kept.processes {
            kin.write(&mut to, &mut written)?;
        }
        to.finish()?;
        Ok(written)
    }

    /// Records in a buffer, as a power of two.
    fn capacity(&self) -> u32 {
        self.word(switch::CAPACITY).load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn word(&self, n: usize) -> &AtomicU32 {
        assert!(n < switch::PAGE / 4);
        let word = self.page.as_mut_ptr().cast::<u32>().wrapping_add(n);
        // SAFETY: inside the page, which is mapped as long as we live, and aligned; all others have it
        // for reading only, as atomics.
        unsafe { AtomicU32::from_ptr(word) }
    }
}

/// A process that is its own host: the one that plays the host, and tests.
impl Host for Keeper {
    fn keep(&self, what: Memory, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.keep(std::process::id(), what, fd.try_clone_to_owned()?)
    }

    fn slow(&self, slow: Slow) {
        self.slow(std::process::id(), slow);
    }
}

impl Kept {
    /// A pause, if there was one, is over now.
    fn paused(&mut self, now: u64) {
        let pause = self.off.take().map(|off| (off, now));
        self.pauses.extend(pause.filter(|_| self.pauses.len() < MOST_PAUSES));
    }

    fn process(&mut self, pid: u32) -> &mut Kin {
        let at = *self.at.entry(pid).or_insert(self.processes.len());
        if at == self.processes.len() {
            let (threads, ended) = (Vec::new(), Ended::Unknown);
            let kin = Kin { pid, journal: None, threads, refused: 0, ended, closed: false };
            self.processes.push(kin);
        }
        &mut self.processes[at]
    }
}
