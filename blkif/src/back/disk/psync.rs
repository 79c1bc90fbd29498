//! A file without io_uring: each operation is done at once, with a system call of its own, and the next waits
//! for it (fio calls that engine `psync`). For systems that forbid io_uring, as containers do.

use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use rings::io::blkif::SECTOR_SIZE;

use super::file::File;
use super::{Disk, Done, Io, Kind, Started};

/// One queue's access to a file.
#[derive(Debug)]
pub(super) struct Psync {
    file: Arc<File>,
    syscalls: u64,
}

impl Psync {
    pub(super) fn new(file: Arc<File>) -> Self {
        Self { file, syscalls: 0 }
    }

    /// Does it. Bytes moved, or a negative errno, as io_uring has it.
    fn run(&mut self, io: &mut Io) -> i32 {
        self.syscalls += 1;
        let (file, at) = (self.file.handle(), io.sector * SECTOR_SIZE as u64);
        let moved = match io.kind {
            Kind::Read => file.read_at(io.buffer.bytes_mut(), at),
            Kind::Write => file.write_at(io.buffer.bytes(), at),
            Kind::Flush => file.sync_data().map(|()| 0),
            Kind::Discard { .. } => {
                let how =
                    FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
                let offset = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
                let bytes = offset(io.sectors * SECTOR_SIZE as u64);
                fallocate(file, how, offset(at), bytes).map(|()| 0).map_err(io::Error::from)
            }
        };
        match moved {
            Ok(bytes) => i32::try_from(bytes).unwrap_or(i32::MAX),
            Err(error) => -error.raw_os_error().unwrap_or(Errno::EIO as i32),
        }
    }
}

impl Disk for Psync {
    fn start(&mut self, mut io: Io) -> Started {
        let result = self.run(&mut io);
        let outcome = self.file.outcome(&io, result);
        Started::Now(Done { tag: io.tag, buffer: io.buffer, outcome })
    }

    fn blocks(&self) -> bool {
        true
    }

    fn syscalls(&self) -> u64 {
        self.syscalls
    }

    fn complaint(&self) -> Option<&str> {
        self.file.complaint()
    }
}
