//! A file or block device as a disk, through io_uring, with direct I/O where the file system has it.
//!
//! The file is locked as long as it is open. That keeps two backends from one disk; and a backend that
//! takes the place of a killed one waits until the kernel is done with what the dead one had in flight:
//! the lock lives until the last of that has its answer, so nothing old is written after something new.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::{FileExt as _, FileTypeExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};
use rings::io::blkif::SECTOR_SIZE;

use super::source::OpenError;
use super::uring::Uring;
use super::{Buffer, Disk, Done, Failure, Geometry, Io, Kind, Started};

/// How often and how long another owner is waited for.
const LOCK_TRIES: u32 = 200;
const LOCK_WAIT: Duration = Duration::from_millis(50);

/// An open and locked file.
#[derive(Debug)]
pub(super) struct File {
    path: PathBuf,
    file: Flock<fs::File>,
    read_only: bool,
    sectors: u64,
    /// Reads and writes go past the page cache.
    direct: bool,
    /// What is the least of them then. Bytes.
    sector_size: u32,
    /// Somebody was told that it fails.
    told: AtomicBool,
}

impl File {
    pub(super) fn open(path: &Path, read_only: bool) -> Result<Self, OpenError> {
        let shown = path.display();
        let refuse = |why: String| OpenError(format!("{shown}: {why}"));
        let what = fs::metadata(path).map_err(|e| refuse(reason(&e)))?.file_type();
        if !what.is_file() && !what.is_block_device() {
            return Err(refuse("neither a file nor a block device; name one that is".into()));
        }
        let (file, mut direct) = open(path, read_only).map_err(|e| refuse(reason(&e)))?;
        let bytes = length(&file).map_err(|e| refuse(reason(&e)))?;
        let sector = SECTOR_SIZE as u64;
        if bytes == 0 {
            return Err(refuse(format!("empty; make it larger: truncate -s 1G {shown}")));
        }
        if !bytes.is_multiple_of(sector) {
            let fits = bytes.next_multiple_of(sector);
            let why = format!("{bytes} bytes are no whole number of sectors of {sector}");
            return Err(refuse(format!("{why}; make it so: truncate -s {fits} {shown}")));
        }
        let mut sector_size = 512;
        let mut file = file;
        if direct {
            match least_direct(&file, bytes) {
                Some(least) => sector_size = least,
                None => {
                    direct = false;
                    file = plain(path, read_only).map_err(|e| refuse(reason(&e)))?;
                }
            }
        }
        let file = lock(file, read_only).map_err(refuse)?;
        let (sectors, path, told) = (bytes / sector, path.to_owned(), AtomicBool::new(false));
        Ok(Self { path, file, read_only, sectors, direct, sector_size, told })
    }

    pub(super) fn geometry(&self) -> Geometry {
        Geometry {
            sectors: self.sectors,
            sector_size: self.sector_size,
            physical_sector_size: 4096,
            read_only: self.read_only,
            discard: Some(4096),
            secure: false,
        }
    }

    /// Bytes now; less than before if somebody has cut it.
    pub(super) fn length(&self) -> Option<u64> {
        length(&self.file).ok()
    }

    pub(super) fn remark(&self) -> Option<String> {
        let why = "no direct I/O here: reads come from the page cache, and the figures are its";
        (!self.direct).then(|| format!("{}: {why}", self.path.display()))
    }

    /// Says once why it fails.
    fn tell(&self, kind: Kind, errno: i32) {
        if !self.told.swap(true, Ordering::Relaxed) {
            let why = Errno::from_raw(errno).desc();
            tracing::warn!(disk = %self.path.display(), ?kind, why, "the disk fails");
        }
    }
}

/// Opens it, past the page cache where that can be.
fn open(path: &Path, read_only: bool) -> io::Result<(fs::File, bool)> {
    let mut options = OpenOptions::new();
    options.read(true).write(!read_only).custom_flags(OFlag::O_DIRECT.bits());
    match options.open(path) {
        Ok(file) => Ok((file, true)),
        Err(e) if e.raw_os_error() == Some(Errno::EINVAL as i32) => {
            plain(path, read_only).map(|file| (file, false))
        }
        Err(e) => Err(e),
    }
}

fn plain(path: &Path, read_only: bool) -> io::Result<fs::File> {
    OpenOptions::new().read(true).write(!read_only).open(path)
}

/// The smallest direct read that works at any multiple of itself; none if that is no help here.
fn least_direct(file: &fs::File, bytes: u64) -> Option<u32> {
    let mut buffer = Buffer::default();
    [512_u32, 4096].into_iter().find(|&size| {
        buffer.set_len(size as usize);
        let at = (bytes - 1) / u64::from(size) * u64::from(size);
        bytes.is_multiple_of(size.into()) && file.read_at(buffer.bytes_mut(), at).is_ok()
    })
}

/// Bytes of a file or block device.
fn length(mut file: &fs::File) -> io::Result<u64> {
    io::Seek::seek(&mut file, io::SeekFrom::End(0))
}

fn lock(mut file: fs::File, read_only: bool) -> Result<Flock<fs::File>, String> {
    let how =
        if read_only { FlockArg::LockSharedNonblock } else { FlockArg::LockExclusiveNonblock };
    for _ in 0..LOCK_TRIES {
        match Flock::lock(file, how) {
            Ok(locked) => return Ok(locked),
            Err((back, Errno::EWOULDBLOCK)) => file = back,
            Err((_, errno)) => return Err(format!("cannot be locked: {}", errno.desc())),
        }
        std::thread::sleep(LOCK_WAIT);
    }
    Err("in use by another program; end that or name another file".into())
}

/// The system's words without its number for them, and what to do.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let words = text.split(" (os error").next().unwrap_or(&text);
    let remedy = match error.kind() {
        io::ErrorKind::NotFound => "make it: truncate -s 1G PATH",
        io::ErrorKind::PermissionDenied => "make it yours to write, or use --read-only",
        _ => "name another file",
    };
    format!("{words}; {remedy}")
}

/// One queue's access to a file.
#[derive(Debug)]
pub(super) struct FileQueue {
    file: Arc<File>,
    uring: Uring,
}

impl FileQueue {
    pub(super) fn new(file: Arc<File>, depth: u32) -> Result<Self, OpenError> {
        let refused = |error: io::Error| {
            OpenError(format!("no io_uring ({error}); allow it: sysctl kernel.io_uring_disabled=0"))
        };
        let uring = Uring::new(&file.file, depth).map_err(refused)?;
        Ok(Self { file, uring })
    }

    fn outcome(&self, io: &Io, result: i32) -> Result<(), Failure> {
        let moved = match io.kind {
            Kind::Read | Kind::Write => io.buffer.bytes().len(),
            Kind::Flush | Kind::Discard { .. } => 0,
        };
        match usize::try_from(result) {
            Ok(bytes) if bytes == moved => Ok(()),
            // Somebody has cut the file, or it can grow no more.
            Ok(_) => {
                self.file.tell(io.kind, Errno::EIO as i32);
                Err(Failure::Io)
            }
            Err(_) if result == -(Errno::EOPNOTSUPP as i32) => Err(Failure::Unsupported),
            Err(_) => {
                self.file.tell(io.kind, -result);
                Err(Failure::Io)
            }
        }
    }
}

impl Disk for FileQueue {
    fn start(&mut self, io: Io) -> Started {
        match self.uring.push(io) {
            Ok(()) => Started::Later,
            Err(Io { tag, buffer, .. }) => {
                Started::Now(Done { tag, buffer, outcome: Err(Failure::Io) })
            }
        }
    }

    fn submit(&mut self) {
        // What the kernel does not take now (EAGAIN, EBUSY) it is offered again with the next batch.
        let _ = self.uring.submit();
    }

    fn poll(&mut self) -> Option<Done> {
        let (io, result) = self.uring.pop()?;
        let outcome = self.outcome(&io, result);
        Some(Done { tag: io.tag, buffer: io.buffer, outcome })
    }

    fn wakes(&self, tell: &mut dyn FnMut(BorrowedFd<'_>)) {
        tell(self.uring.fd());
    }

    fn syscalls(&self) -> u64 {
        self.uring.syscalls()
    }
}
