//! A process's own part: its journal, the numbers it gives out, and who keeps its memory.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};

use memmap2::{MmapOptions, MmapRaw};

use super::{ENABLED, memory, site, switch, thread};
use crate::format::journal::{self, ENTRIES_AT, Process};
use crate::format::record::{MOST_IDS, MOST_RINGS};
use crate::format::{Entry, Note};

/// Bytes of a journal. Only what is written takes memory.
pub(crate) const JOURNAL_BYTES: usize = 4 << 20;

/// What a piece of memory is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Memory {
    /// The process's journal.
    Journal,
    /// The calling thread's buffer.
    Thread,
}

/// A request that took too long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slow {
    /// On which ring of this process.
    pub ring: u32,
    /// Its index.
    pub index: u32,
    /// When its response was seen. Ticks.
    pub ticks: u64,
    /// How long it took. Ticks.
    pub took: u64,
}

/// Whoever keeps what this process records, and has the switch.
pub trait Host: Send + Sync {
    /// Keeps memory that was just made. It must not record anything, nor wait for a lock that
    /// somebody might hold who does.
    ///
    /// # Errors
    /// If it cannot: then this memory is not used.
    fn keep(&self, what: Memory, fd: BorrowedFd<'_>) -> io::Result<()>;

    /// A request was slow: recording is to stop everywhere. The same holds.
    fn slow(&self, slow: Slow);
}

/// How many hosts there were, one after the other: a thread's buffer is for one of them.
static HOSTS: AtomicU32 = AtomicU32::new(0);
/// The process that may record: us, or 0. A forked child is another one.
static RECORDING: AtomicU32 = AtomicU32::new(0);
static STATE: Mutex<State> = Mutex::new(State { host: None, journal: None, rings: 0, ports: 0 });

struct State {
    host: Option<Arc<dyn Host>>,
    journal: Option<JournalWriter>,
    /// Numbers given out; never twice.
    rings: u32,
    ports: u32,
}

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on this process records what `host` wants: `switch` is the descriptor of its page. `process`
/// says who we are; pid and time are filled in. What it recorded for another host before is that one's;
/// rings and ports that were made before are unknown to this one. Without a recorder in this program
/// nothing is done.
///
/// # Errors
/// If there is no memory, or the host does not keep it.
pub fn start(process: Process, switch: BorrowedFd<'_>, host: Arc<dyn Host>) -> io::Result<()> {
    if !ENABLED {
        return Ok(());
    }
    watch_forks();
    let clock = switch::source_in(switch)?;
    let fd = memory::create("pvlab-journal", JOURNAL_BYTES)?;
    let pid = std::process::id();
    let mut journal = JournalWriter::new(MmapOptions::new().map_raw(&fd)?, pid);
    host.keep(Memory::Journal, fd.as_fd())?;
    journal.append(&Entry::Process(Process { pid, started: clock.now(), ..process }));
    journal.append(&Entry::Anchor(clock.anchor()));
    site::all().for_each(|site| journal.append(&site));
    #[cfg(feature = "sleds")]
    crate::sleds::entries().iter().for_each(|entry| journal.append(entry));
    let mut state = state();
    (state.host, state.journal) = (Some(host), Some(journal));
    // SYNC host is another: with the Acquire load in `hosts`.
    HOSTS.fetch_add(1, Ordering::Release);
    // SYNC process records: with the Acquire load in `is_started`.
    RECORDING.store(pid, Ordering::Release);
    drop(state);
    // Whoever sees that it is on sees all of that.
    switch::map_over(switch)
}

/// See [`HOSTS`].
pub(super) fn hosts() -> u32 {
    // SYNC host is another: with the Release addition in `start`.
    HOSTS.load(Ordering::Acquire)
}

/// Whether [`start`] was called, by this process and not by its parent.
pub(super) fn is_started() -> bool {
    // SYNC process records: with the Release store in `start`.
    ENABLED && RECORDING.load(Ordering::Acquire) != 0
}

/// Notes something said in words, if recording is on.
pub fn note(note: Note) {
    if switch::on() && is_started() {
        define(&Entry::Note(note));
    }
}

/// Writes an entry into the journal; in a forked child it is the parent's.
pub(super) fn define(entry: &Entry) {
    if !is_started() {
        return;
    }
    if let Some(journal) = &mut state().journal {
        journal.append(entry);
    }
}

/// A number for a ring, from 1 on; 0 if there are no more.
pub(super) fn next_ring() -> u32 {
    let mut state = state();
    next(&mut state.rings, MOST_RINGS)
}

/// A number for a port.
pub(super) fn next_port() -> u32 {
    let mut state = state();
    next(&mut state.ports, MOST_IDS)
}

fn next(last: &mut u32, most: u32) -> u32 {
    if *last + 1 >= most {
        return 0;
    }
    *last += 1;
    *last
}

/// Has memory kept.
pub(super) fn hand_over(what: Memory, fd: BorrowedFd<'_>) -> io::Result<()> {
    if !is_started() {
        return Err(io::ErrorKind::NotConnected.into());
    }
    let host = state().host.clone();
    host.ok_or(io::ErrorKind::NotConnected)?.keep(what, fd)
}

/// Tells of a slow request.
pub(super) fn slow(slow: Slow) {
    let host = state().host.clone();
    if let Some(host) = host.filter(|_| is_started()) {
        host.slow(slow);
    }
}

/// A child that is forked off records nothing, unless it calls [`start`] itself. (One that is started
/// by exec has its own program, and none of this.)
fn watch_forks() {
    extern "C" fn child() {
        RECORDING.store(0, Ordering::Relaxed);
        thread::forked();
    }
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: the handler makes a few plain stores, which is safe in a child with one thread.
        // If it cannot be registered, for want of memory, a forked child would write into our
        // buffers; there is no worse than a wrong trace.
        unsafe { libc::pthread_atfork(None, None, Some(child)) };
    });
}

/// The journal's memory.
struct JournalWriter {
    mapping: MmapRaw,
    used: usize,
}

impl JournalWriter {
    fn new(mapping: MmapRaw, pid: u32) -> Self {
        let me = Self { mapping, used: 0 };
        me.copy_in(0, &journal::MAGIC);
        me.copy_in(journal::at::VERSION, &journal::VERSION.to_le_bytes());
        me.copy_in(journal::at::PID, &pid.to_le_bytes());
        me
    }

    fn append(&mut self, entry: &Entry) {
        let octets = entry.to_bytes();
        if octets.len() > self.mapping.len() - ENTRIES_AT - self.used {
            self.word(journal::at::LOST).fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.copy_in(ENTRIES_AT + self.used, &octets);
        self.used += octets.len();
        // SYNC entries are whole: with the keeper's `read`, which reads the cursor first, after whatever
        // end of this process.
        self.word(journal::at::CURSOR).store(self.used as u64, Ordering::Release);
    }

    fn copy_in(&self, at: usize, bytes: &[u8]) {
        assert!(at + bytes.len() <= self.mapping.len());
        let to = self.mapping.as_mut_ptr().wrapping_add(at);
        // SAFETY: just checked to be inside; the mapping is shared memory to which no reference
        // exists, and the lock on `State` keeps other threads away.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        assert!(at + 8 <= self.mapping.len());
        let word = self.mapping.as_mut_ptr().wrapping_add(at);
        // SAFETY: just checked to be inside; offsets of words are multiples of 8.
        unsafe { AtomicU64::from_ptr(word.cast()) }
    }
}
