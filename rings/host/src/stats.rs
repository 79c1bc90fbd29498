//! The statistics segment: counters that outlive the process that counts.
//!
//! A small *named* piece of shared memory, so that another terminal (`pvlab ls`) finds it by name
//! and it is still there when a domain has been killed. Every worker of every domain owns one block
//! of 64 words in it and is its only writer; anyone may read. What is counted where is the drivers'
//! business.
//!
//! ```text
//! block 0: magic, version, blocks, host's pid, ended block n: owner, pid, kind, worker,
//!                                                             beat, 3 spare, 56 counters
//! ```

use std::io;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rings::DomId;
use rings::mem::Region;
use shared_memory::{Shmem, ShmemConf, ShmemError};

use crate::rundir::STATS;

const MAGIC: u64 = u64::from_le_bytes(*b"pvlab\0st");
/// 2: what stalls and rates did stands before what was lost.
const VERSION: u64 = 2;
/// Blocks in a segment: one for each worker of each domain.
pub(crate) const BLOCKS: usize = 192;
/// Words of 64 bits in a block.
const WORDS: usize = 64;
const BLOCK_BYTES: usize = WORDS * 8;
/// Words before the counters.
const HEADER: usize = 8;

/// Word of block 0.
const ENDED: usize = 4;

const OWNER: usize = 0;
const PID: usize = 1;
const KIND: usize = 2;
const WORKER: usize = 3;
const BEAT: usize = 4;

/// Whose counters a block holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BlockKind {
    /// A worker of a frontend.
    Front,
    /// A worker of a backend.
    Back,
    /// Anything else.
    Other,
}

impl BlockKind {
    /// The number on the wire and in the block.
    #[must_use]
    pub fn number(self) -> u32 {
        match self {
            Self::Front => 1,
            Self::Back => 2,
            Self::Other => 3,
        }
    }

    /// The kind with this number.
    #[must_use]
    pub fn from_number(n: u64) -> Self {
        match n {
            1 => Self::Front,
            2 => Self::Back,
            _ => Self::Other,
        }
    }
}

/// Why there is no segment.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    /// /dev/shm has no room.
    #[error("no space in /dev/shm for {0} bytes of statistics; free some and try again")]
    NoSpace(usize),
    /// Nobody made one here.
    #[error("no statistics in {0}: no lab runs there")]
    Missing(String),
    /// It is something else.
    #[error("{0} is not a statistics segment of this version")]
    Foreign(String),
    /// Everything else.
    #[error("cannot have a statistics segment")]
    Shmem(#[from] ShmemError),
}

/// The mapping; unmapped, and by its maker unlinked, when the last view is gone.
struct Mapping {
    /// Held for its Drop.
    _shmem: Shmem,
}

// SAFETY: Shmem is an address and names; it is only dropped, once, by the last owner of the Arc
// around it, and its memory is reached through Region's atomics alone.
unsafe impl Send for Mapping {}
// SAFETY: as for Send: no method is called through a shared reference.
unsafe impl Sync for Mapping {}

/// The whole segment.
#[derive(Clone, Debug)]
pub struct Segment(Region);

impl Segment {
    /// Makes the segment of the lab in `dir`.
    ///
    /// # Errors
    /// If /dev/shm has no room, or the system refuses.
    pub fn create(dir: &Path) -> Result<Self, SegmentError> {
        let bytes = BLOCKS * BLOCK_BYTES;
        let name = format!("pvlab-{}-{}", std::process::id(), unique());
        let conf = ShmemConf::new().os_id(&name).size(bytes).flink(dir.join(STATS));
        let shmem = conf.create()?;
        // tmpfs promises nothing when a file is made longer: ask for the pages now, so that a full
        // /dev/shm is an error here and not a SIGBUS later.
        reserve(&name, bytes)?;
        let segment = Self::of(shmem);
        for (word, value) in
            [MAGIC, VERSION, BLOCKS as u64, u64::from(std::process::id())].into_iter().enumerate()
        {
            // SYNC segment is ours: with the Acquire loads in `open`.
            segment.0.word64(word * 8).store(value, Ordering::Release);
        }
        Ok(segment)
    }

    /// Attaches to the segment of the lab in `dir`.
    ///
    /// # Errors
    /// If there is none, or it is something else.
    pub fn open(dir: &Path) -> Result<Self, SegmentError> {
        let shown = dir.display().to_string();
        if !dir.join(STATS).exists() {
            return Err(SegmentError::Missing(shown));
        }
        let mut shmem = match ShmemConf::new().flink(dir.join(STATS)).open() {
            Ok(shmem) => shmem,
            Err(ShmemError::LinkDoesNotExist | ShmemError::MapOpenFailed(_)) => {
                return Err(SegmentError::Missing(shown));
            }
            Err(other) => return Err(other.into()),
        };
        shmem.set_owner(false);
        if shmem.len() < BLOCKS * BLOCK_BYTES {
            return Err(SegmentError::Foreign(shown));
        }
        let segment = Self::of(shmem);
        // SYNC segment is ours: with the Release stores in `create`.
        let header = [0, 1].map(|word| segment.0.word64(word * 8).load(Ordering::Acquire));
        if header == [MAGIC, VERSION] { Ok(segment) } else { Err(SegmentError::Foreign(shown)) }
    }

    fn of(shmem: Shmem) -> Self {
        let base = NonNull::new(shmem.as_ptr()).unwrap_or(NonNull::dangling());
        let len = shmem.len();
        let mapping = Arc::new(Mapping { _shmem: shmem });
        // SAFETY: the mapping is `len` bytes at `base`, page-aligned and writable, and lives in the
        // Arc; this process reaches it through Regions only.
        Self(unsafe { Region::new(base, len, mapping) })
    }

    /// The host's process id.
    #[must_use]
    pub fn host_pid(&self) -> u64 {
        self.0.word64(3 * 8).load(Ordering::Relaxed)
    }

    /// The host ends in good order: whoever sees it gone afterwards knows that it did not die. The host does this.
    pub(crate) fn end(&self) {
        // Nothing is read on the strength of it but itself.
        self.0.word64(ENDED * 8).store(1, Ordering::Relaxed);
    }

    /// Whether the host has ended in good order.
    #[must_use]
    pub fn ended(&self) -> bool {
        self.0.word64(ENDED * 8).load(Ordering::Relaxed) != 0
    }

    /// The block with this number; 0 is the header and not one.
    #[must_use]
    pub fn block(&self, number: usize) -> Option<Block> {
        if number == 0 {
            return None;
        }
        self.0.part(number.checked_mul(BLOCK_BYTES)?, BLOCK_BYTES).map(Block)
    }

    /// The blocks that somebody owns.
    pub fn blocks(&self) -> impl Iterator<Item = Block> + '_ {
        (1..BLOCKS).filter_map(|n| self.block(n)).filter(|b| b.owner().is_some())
    }
}

/// One worker's block.
#[derive(Clone, Debug)]
pub struct Block(Region);

impl Block {
    /// Counters a block has room for.
    pub const COUNTERS: usize = WORDS - HEADER;

    #[inline(always)]
    fn word(&self, at: usize) -> &std::sync::atomic::AtomicU64 {
        self.0.word64(at * 8)
    }

    /// Gives the block to a worker. The host does this.
    pub(crate) fn assign(&self, owner: DomId, pid: u32, kind: u32, worker: u32) {
        for at in 0..WORDS {
            self.word(at).store(0, Ordering::Relaxed);
        }
        self.word(PID).store(pid.into(), Ordering::Relaxed);
        self.word(KIND).store(kind.into(), Ordering::Relaxed);
        self.word(WORKER).store(worker.into(), Ordering::Relaxed);
        // SYNC block is whole: with the Acquire load in `owner`.
        self.word(OWNER).store(u64::from(owner.0) + 1, Ordering::Release);
    }

    /// The domain that owns it.
    #[must_use]
    pub fn owner(&self) -> Option<DomId> {
        // SYNC block is whole: with the Release store in `assign`.
        let owner = self.word(OWNER).load(Ordering::Acquire).checked_sub(1)?;
        u16::try_from(owner).ok().map(DomId)
    }

    /// The owner's process id.
    #[must_use]
    pub fn pid(&self) -> u64 {
        self.word(PID).load(Ordering::Relaxed)
    }

    /// What kind of worker.
    #[must_use]
    pub fn kind(&self) -> BlockKind {
        BlockKind::from_number(self.word(KIND).load(Ordering::Relaxed))
    }

    /// Which worker of its domain.
    #[must_use]
    pub fn worker(&self) -> u64 {
        self.word(WORKER).load(Ordering::Relaxed)
    }

    /// Changes as long as the worker makes progress: one whose beat stands still is stalled.
    #[must_use]
    pub fn beat(&self) -> u64 {
        self.word(BEAT).load(Ordering::Relaxed)
    }

    /// One more turn. By the owner alone.
    #[inline(always)]
    pub fn set_beat(&self, turns: u64) {
        self.word(BEAT).store(turns, Ordering::Relaxed);
    }

    /// Publishes a counter. By the owner alone.
    ///
    /// # Panics
    /// If there is no such counter.
    #[inline(always)]
    pub fn set(&self, counter: usize, value: u64) {
        assert!(counter < Self::COUNTERS, "a block has {} counters", Self::COUNTERS);
        self.word(HEADER + counter).store(value, Ordering::Relaxed);
    }

    /// Reads a counter; 0 where there is none.
    #[must_use]
    pub fn get(&self, counter: usize) -> u64 {
        if counter < Self::COUNTERS {
            self.word(HEADER + counter).load(Ordering::Relaxed)
        } else {
            0
        }
    }
}

/// Makes sure the pages exist.
fn reserve(name: &str, bytes: usize) -> Result<(), SegmentError> {
    let path = Path::new("/dev/shm").join(name);
    let reserved = std::fs::OpenOptions::new().write(true).open(path).and_then(|file| {
        let len = i64::try_from(bytes).map_err(|_| io::ErrorKind::InvalidInput)?;
        nix::fcntl::posix_fallocate(file, 0, len).map_err(io::Error::from)
    });
    reserved.map_err(|_| SegmentError::NoSpace(bytes))
}

/// Tells several labs of one process apart.
fn unique() -> u32 {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_writes_another_reads_and_nothing_is_left() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(Segment::open(dir.path()), Err(SegmentError::Missing(_))));
        let ours = Segment::create(dir.path()).unwrap();
        ours.block(5).unwrap().assign(DomId(3), 77, BlockKind::Front.number(), 1);
        ours.block(5).unwrap().set(2, 42);
        let theirs = Segment::open(dir.path()).unwrap();
        let block = theirs.blocks().next().expect("one is owned");
        assert_eq!((block.owner(), block.pid(), block.get(2)), (Some(DomId(3)), 77, 42));
        assert_eq!(block.kind(), BlockKind::Front);
        assert!(ours.block(0).is_none() && ours.block(BLOCKS).is_none());
        let name = std::fs::read_to_string(dir.path().join(STATS)).unwrap();
        drop((ours, theirs, block));
        assert!(!Path::new("/dev/shm").join(name.trim_start_matches('/')).exists());
    }
}
