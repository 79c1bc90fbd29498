//! One io_uring: operations on one file go in with the buffers they own, and come out with them.
//!
//! The only file of this crate with `unsafe`. The invariant of all of it: an operation whose entry was
//! given to the kernel lies in `in_flight`, and with it the memory that the entry points to, which
//! nobody can reach until the kernel has said that it is done with it.

#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use io_uring::types::{Fixed, FsyncFlags};
use io_uring::{IoUring, opcode, squeue};
use nix::libc::{FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE};
use rings::io::blkif::SECTOR_SIZE;

use super::{Io, Kind};

/// The one registered file.
const FILE: Fixed = Fixed(0);

/// Operations handed over at once. The storage is to begin with the first of a batch while we prepare
/// the others: a larger one would keep it waiting, a smaller one costs more system calls.
const CHUNK: usize = 4;

/// An io_uring on one file.
pub(super) struct Uring {
    ring: IoUring,
    /// By tag: what the kernel has.
    in_flight: Vec<Option<Io>>,
    /// Entries put and not handed over yet.
    put: usize,
    /// Completions were taken since then: they are dealt with before the kernel is asked for more.
    popped: bool,
    syscalls: u64,
}

impl std::fmt::Debug for Uring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let busy = self.in_flight.iter().flatten().count();
        write!(f, "Uring({busy} of {} in flight)", self.in_flight.len())
    }
}

impl Uring {
    /// Whether the system allows one at all on such a file.
    pub(super) fn allowed(file: &File) -> io::Result<()> {
        Self::new(file, 2).map(drop)
    }

    /// Room for operations with tags below `depth` on `file`.
    pub(super) fn new(file: &File, depth: u32) -> io::Result<Self> {
        let entries = depth.next_power_of_two().max(2);
        // We look for completions ourselves: nobody need interrupt us for them. Kernels before 5.19
        // cannot do without.
        let ring = IoUring::builder()
            .setup_coop_taskrun()
            .setup_taskrun_flag()
            .build(entries)
            .or_else(|_| IoUring::new(entries))?;
        ring.submitter().register_files(&[file.as_raw_fd()])?;
        let in_flight = (0..depth).map(|_| None).collect();
        Ok(Self { ring, in_flight, put: 0, popped: false, syscalls: 0 })
    }

    /// Puts an operation. Gives it back if its tag is not to be used now, or the kernel takes none.
    pub(super) fn push(&mut self, mut io: Io) -> Result<(), Io> {
        let at = io.tag as usize;
        if !matches!(self.in_flight.get(at), Some(None)) {
            return Err(io);
        }
        let entry = entry(&mut io).user_data(u64::from(io.tag));
        // SAFETY: `entry` points into the heap memory of `io.buffer`. `io` goes into `in_flight` in
        // the next statement, which moves the buffer's handle but not its bytes, and stays there
        // until `pop` has seen the kernel's completion; `Drop` waits for that too.
        let pushed = unsafe { self.ring.submission().push(&entry) };
        if pushed.is_err() {
            return Err(io);
        }
        self.in_flight[at] = Some(io);
        self.put += 1;
        if self.put >= CHUNK {
            // What it does not take now stays put.
            let _ = self.submit();
        }
        Ok(())
    }

    /// Hands over what was put.
    pub(super) fn submit(&mut self) -> io::Result<()> {
        self.popped = false;
        if self.put == 0 {
            return Ok(());
        }
        self.syscalls += 1;
        let _span = tracer::span!("io_uring_enter", put = self.put);
        let taken = self.ring.submit()?;
        self.put = self.put.saturating_sub(taken);
        Ok(())
    }

    /// The next operation the kernel is done with, and its result: bytes, or a negative errno.
    pub(super) fn pop(&mut self) -> Option<(Io, i32)> {
        if !self.popped && self.ring.completion().is_empty() {
            self.look_in_kernel();
        }
        let completion = self.ring.completion().next()?;
        self.popped = true;
        let tag = usize::try_from(completion.user_data()).ok()?;
        let io = self.in_flight.get_mut(tag)?.take()?;
        Some((io, completion.result()))
    }

    /// Lets the kernel put completions into the ring that it has kept until we come by.
    #[inline]
    fn look_in_kernel(&mut self) {
        if self.ring.submission().taskrun() {
            self.syscalls += 1;
            // Whatever it says, the next look tells.
            let _ = self.ring.submit();
        }
    }

    /// Becomes readable with each completion.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor is the ring's own and is closed with `self.ring`, which the borrow
        // keeps alive.
        unsafe { BorrowedFd::borrow_raw(self.ring.as_raw_fd()) }
    }

    pub(super) fn syscalls(&self) -> u64 {
        self.syscalls
    }
}

impl Drop for Uring {
    /// Waits for the kernel: it must not write into memory that is somebody else's by then.
    fn drop(&mut self) {
        while self.in_flight.iter().any(Option::is_some) {
            if self.ring.submit_and_wait(1).is_err() {
                // Better lost than shared.
                std::mem::forget(std::mem::take(&mut self.in_flight));
                return;
            }
            while self.pop().is_some() {}
        }
    }
}

/// What the kernel is told.
fn entry(io: &mut Io) -> squeue::Entry {
    let (offset, bytes) = (io.sector * SECTOR_SIZE as u64, io.sectors * SECTOR_SIZE as u64);
    let buffer = io.buffer.bytes_mut();
    let len = u32::try_from(buffer.len()).unwrap_or(0);
    match io.kind {
        Kind::Read => opcode::Read::new(FILE, buffer.as_mut_ptr(), len).offset(offset).build(),
        Kind::Write => opcode::Write::new(FILE, buffer.as_ptr(), len).offset(offset).build(),
        Kind::Flush => opcode::Fsync::new(FILE).flags(FsyncFlags::DATASYNC).build(),
        Kind::Discard { .. } => opcode::Fallocate::new(FILE, bytes)
            .offset(offset)
            .mode(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)
            .build(),
    }
}
