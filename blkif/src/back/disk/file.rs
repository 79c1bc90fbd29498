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
use std::sync::{Arc, OnceLock};
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
    /// Why it failed first.
    complaint: OnceLock<String>,
}

impl File {
    pub(super) fn open(path: &Path, read_only: bool) -> Result<Self, OpenError> {
        let shown = path.display();
        let refuse = OpenError;
        let what = fs::metadata(path).map_err(|e| refuse(reason(&e, read_only)))?.file_type();
        if !what.is_file() && !what.is_block_device() {
            return Err(refuse("neither a file nor a block device; name one that is".into()));
        }
        let (file, mut direct) =
            open(path, read_only).map_err(|e| refuse(reason(&e, read_only)))?;
        let bytes = length(&file).map_err(|e| refuse(reason(&e, read_only)))?;
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
                    file = plain(path, read_only).map_err(|e| refuse(reason(&e, read_only)))?;
                }
            }
        }
        let file = lock(file, read_only).map_err(refuse)?;
        let (sectors, path, complaint) = (bytes / sector, path.to_owned(), OnceLock::new());
        Ok(Self { path, file, read_only, sectors, direct, sector_size, complaint })
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
        let bytes = length(&self.file).ok()?;
        if bytes < self.sectors * SECTOR_SIZE as u64 {
            self.complain(|| {
                format!("cut to {bytes} bytes while in use; leave it as long as it was")
            });
        }
        Some(bytes)
    }

    pub(super) fn remark(&self) -> Option<String> {
        let why = "no direct I/O here: reads come from the page cache, and the figures are its";
        (!self.direct).then(|| format!("{}: {why}", self.path.display()))
    }

    /// An operation failed: notes why.
    fn failed(&self, io: &Io, errno: Errno) {
        // That may be all that is wrong.
        let _ = self.length();
        self.complain(|| match errno {
            Errno::ENOSPC => "no space left behind it; make room on its file system".into(),
            errno => format!("{:?} failed: {}", io.kind, errno.desc()),
        });
    }

    /// Notes what is wrong with it, the first time.
    fn complain(&self, why: impl FnOnce() -> String) {
        self.complaint.get_or_init(|| {
            let what = format!("{}: {}", self.path.display(), why());
            tracing::info!(what, "the disk fails");
            what
        });
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
fn reason(error: &io::Error, read_only: bool) -> String {
    let text = error.to_string();
    let words = text.split(" (os error").next().unwrap_or(&text);
    let remedy = match error.kind() {
        io::ErrorKind::NotFound => "make it: truncate -s 1G PATH",
        io::ErrorKind::PermissionDenied if read_only => "make it yours to read: chmod u+r PATH",
        io::ErrorKind::PermissionDenied => "make it yours to write, or use --read-only",
        io::ErrorKind::ReadOnlyFilesystem => "use --read-only",
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
            // Somebody has cut the file, or there is no room for all of it.
            Ok(_) => {
                self.file
                    .failed(io, if io.kind == Kind::Write { Errno::ENOSPC } else { Errno::EIO });
                Err(Failure::Io)
            }
            Err(_) if result == -(Errno::EOPNOTSUPP as i32) => Err(Failure::Unsupported),
            Err(_) => {
                self.file.failed(io, Errno::from_raw(-result));
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

    fn complaint(&self) -> Option<&str> {
        self.file.complaint.get().map(String::as_str)
    }
}
