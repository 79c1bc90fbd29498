//! What is behind a vbd.
//!
//! | module | disk |
//! |---|---|
//! | `plain` | `null`: zeros, written into every granted page; `void`: touches nothing |
//! | `ram` | memory, taken as it is written |
//! | `file` | a file or block device, through io_uring where the system allows it |
//! | `lock` | what keeps two backends from one file |
//! | `uring` | the io_uring under it |
//! | `psync` | what is under it without io_uring: one system call after the other |
//! | `model` | memory that is as slow as storage: one arm, a latency, a rate, units of writing |
//! | `faulty` | around any of them: errors, delays, and a cache that a kill loses |
//! | `timer` | answers that come later |
//!
//! A [`Source`] is the disk itself, one for a vbd; each queue has a [`Disk`] of its own on it. An
//! operation takes its buffer along and brings it back, so that nobody has a reference to memory that
//! the kernel is filling.

mod faulty;
mod file;
mod lock;
mod model;
mod plain;
mod psync;
mod ram;
mod source;
mod timer;
mod uring;

use std::fmt::Debug;
use std::os::fd::BorrowedFd;

pub use faulty::Faults;
pub use model::Model;
pub use source::{OpenError, Source, Spec};

/// What an operation does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Fill the buffer.
    Read,
    /// Write the buffer.
    Write,
    /// Make durable what has been answered.
    Flush,
    /// Forget the sectors.
    Discard {
        /// No copy may survive.
        secure: bool,
    },
}

/// One operation.
#[derive(Debug)]
pub struct Io {
    /// Whose it is, to the queue.
    pub tag: u32,
    /// What to do.
    pub kind: Kind,
    /// First sector.
    pub sector: u64,
    /// How many.
    pub sectors: u64,
    /// As many bytes as sectors, for reads and writes.
    pub buffer: Buffer,
}

/// An operation that is over.
#[derive(Debug)]
pub struct Done {
    /// Whose it is.
    pub tag: u32,
    /// What it took along.
    pub buffer: Buffer,
    /// How it went.
    pub outcome: Result<(), Failure>,
}

/// Why an operation failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failure {
    /// The disk could not.
    Io,
    /// This disk never can.
    Unsupported,
}

/// What became of an operation that was started.
#[derive(Debug)]
pub enum Started {
    /// It is over already.
    Now(Done),
    /// [`Disk::poll`] will tell.
    Later,
}

/// What a read brings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Content {
    /// What was written.
    Data,
    /// Zeros, whatever was written.
    Zeros,
    /// Whatever is in the guest's pages already: nothing is moved at all.
    Nothing,
}

/// The shape of a disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Geometry {
    /// Length. Sectors of 512 bytes.
    pub sectors: u64,
    /// Bytes of its own sectors, below which nothing can be written.
    pub sector_size: u32,
    /// Bytes that it writes at once.
    pub physical_sector_size: u32,
    /// It cannot be changed.
    pub read_only: bool,
    /// It can forget, in whole multiples of so many bytes.
    pub discard: Option<u32>,
    /// What it forgets leaves no copy.
    pub secure: bool,
}

/// One queue's access to a disk.
pub trait Disk: Send + Debug {
    /// What reads bring.
    fn content(&self) -> Content {
        Content::Data
    }

    /// Starts an operation; its range is on the disk.
    fn start(&mut self, io: Io) -> Started;

    /// Whether [`start`](Self::start) waits for the storage.
    fn blocks(&self) -> bool {
        false
    }

    /// Sends on what was started since the last call: once for a batch.
    fn submit(&mut self) {}

    /// The next operation that is over.
    fn poll(&mut self) -> Option<Done> {
        None
    }

    /// Tells which descriptors become readable when an operation is over.
    fn wakes(&self, _tell: &mut dyn FnMut(BorrowedFd<'_>)) {}

    /// System calls so far.
    fn syscalls(&self) -> u64 {
        0
    }

    /// Why an operation failed, the first time: the disk, what is wrong with it, what to do.
    fn complaint(&self) -> Option<&str> {
        None
    }
}

/// Private memory for one request, at the start of a page, as direct I/O wants it.
#[derive(Debug, Default)]
pub struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

/// What direct I/O wants buffers aligned to.
const ALIGN: usize = 4096;

impl Buffer {
    /// Makes it hold `len` bytes, whatever they are. Takes memory only if it never held so many.
    pub fn set_len(&mut self, len: usize) {
        if self.start + len > self.bytes.len() {
            let room = len.next_multiple_of(ALIGN) + ALIGN;
            // Zeroed: what a failed read leaves in a buffer must not be another guest's.
            self.bytes = vec![0; room];
            self.start = self.bytes.as_ptr().align_offset(ALIGN).min(ALIGN);
        }
        self.len = len;
    }

    /// Bytes of memory it has taken.
    #[must_use]
    pub fn room(&self) -> usize {
        self.bytes.len()
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.len]
    }

    /// The bytes.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.len]
    }
}
