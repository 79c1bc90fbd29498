//! A file or block device as a disk, through io_uring where the system allows it, with direct I/O where the
//! file system has it.
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

use nix::errno::Errno;
use nix::fcntl::{Flock, OFlag};
use rings::io::blkif::SECTOR_SIZE;

use super::lock::lock;
use super::psync::Psync;
use super::source::OpenError;
use super::uring::Uring;
use super::{Buffer, Disk, Done, Failure, Geometry, Io, Kind, Started};

/// What a system may not have, each with the reason. Tests take it away.
struct System {
    /// Opens past the page cache; for reading only if so asked.
    direct: fn(&Path, bool) -> io::Result<fs::File>,
    uring: fn(&fs::File) -> io::Result<()>,
}

/// This one.
const SYSTEM: System = System { direct, uring: Uring::allowed };

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
    /// Why there is no io_uring, if there is none.
    no_uring: Option<String>,
    /// Why it failed first.
    complaint: OnceLock<String>,
}

impl File {
    pub(super) fn open(path: &Path, read_only: bool) -> Result<Self, OpenError> {
        Self::open_on(&SYSTEM, path, read_only)
    }

    fn open_on(system: &System, path: &Path, read_only: bool) -> Result<Self, OpenError> {
        let shown = path.display();
        let refuse = OpenError;
        let what = fs::metadata(path).map_err(|e| refuse(reason(&e, read_only)))?.file_type();
        if !what.is_file() && !what.is_block_device() {
            return Err(refuse("neither a file nor a block device; name one that is".into()));
        }
        let (file, mut direct) =
            open(system, path, read_only).map_err(|e| refuse(reason(&e, read_only)))?;
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
        // Before there is a guest: it could only wait for a disk that never comes.
        let no_uring = (system.uring)(&file).err().map(|error| words(&error));
        let (sectors, path, complaint) = (bytes / sector, path.to_owned(), OnceLock::new());
        Ok(Self { path, file, read_only, sectors, direct, sector_size, no_uring, complaint })
    }

    /// Access for one queue with at most `depth` operations in flight.
    pub(super) fn queue(self: &Arc<Self>, depth: u32) -> Result<Box<dyn Disk>, OpenError> {
        if self.no_uring.is_some() {
            return Ok(Box::new(Psync::new(Arc::clone(self))));
        }
        let refused = |error| {
            OpenError(format!(
                "no io_uring for another queue: {}; see ulimit -n and ulimit -l",
                words(&error)
            ))
        };
        let uring = Uring::new(&self.file, depth).map_err(refused)?;
        Ok(Box::new(FileQueue { file: Arc::clone(self), uring }))
    }

    /// The file itself.
    pub(super) fn handle(&self) -> &fs::File {
        &self.file
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

    pub(super) fn remarks(&self) -> Vec<String> {
        let cached = "no direct I/O here: reads come from the page cache, and the figures are its";
        let serial = |why: &String| {
            format!(
                "no io_uring ({why}): one operation at a time; sysctl kernel.io_uring_disabled=0 or a container's seccomp profile may allow it"
            )
        };
        let both = [(!self.direct).then(|| cached.to_owned()), self.no_uring.as_ref().map(serial)];
        let path = self.path.display();
        both.into_iter().flatten().map(|remark| format!("{path}: {remark}")).collect()
    }

    /// What an operation came to, of which the system says how many bytes it moved, or a negative errno.
    pub(super) fn outcome(&self, io: &Io, result: i32) -> Result<(), Failure> {
        let moved = match io.kind {
            Kind::Read | Kind::Write => io.buffer.bytes().len(),
            Kind::Flush | Kind::Discard { .. } => 0,
        };
        match usize::try_from(result) {
            Ok(bytes) if bytes == moved => Ok(()),
            // Somebody has cut the file, or there is no room for all of it.
            Ok(_) => {
                self.failed(io, if io.kind == Kind::Write { Errno::ENOSPC } else { Errno::EIO });
                Err(Failure::Io)
            }
            Err(_) if result == -(Errno::EOPNOTSUPP as i32) => Err(Failure::Unsupported),
            Err(_) => {
                self.failed(io, Errno::from_raw(-result));
                Err(Failure::Io)
            }
        }
    }

    /// Why it failed first, if it did.
    pub(super) fn complaint(&self) -> Option<&str> {
        self.complaint.get().map(String::as_str)
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
fn open(system: &System, path: &Path, read_only: bool) -> io::Result<(fs::File, bool)> {
    match (system.direct)(path, read_only) {
        Ok(file) => Ok((file, true)),
        Err(e) if e.raw_os_error() == Some(Errno::EINVAL as i32) => {
            plain(path, read_only).map(|file| (file, false))
        }
        Err(e) => Err(e),
    }
}

fn direct(path: &Path, read_only: bool) -> io::Result<fs::File> {
    let mut options = OpenOptions::new();
    options.read(true).write(!read_only).custom_flags(OFlag::O_DIRECT.bits());
    options.open(path)
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

/// The system's words without its number for them.
fn words(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

/// The system's words, and what to do.
fn reason(error: &io::Error, read_only: bool) -> String {
    let words = words(error);
    let remedy = match error.kind() {
        io::ErrorKind::NotFound => "make it: truncate -s 1G PATH",
        io::ErrorKind::PermissionDenied if read_only => "make it yours to read: chmod u+r PATH",
        io::ErrorKind::PermissionDenied => "make it yours to write, or use --read-only",
        io::ErrorKind::ReadOnlyFilesystem => "use --read-only",
        _ => "name another file",
    };
    format!("{words}; {remedy}")
}

/// One queue's access to a file, through io_uring.
#[derive(Debug)]
pub(super) struct FileQueue {
    file: Arc<File>,
    uring: Uring,
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
        let outcome = self.file.outcome(&io, result);
        Some(Done { tag: io.tag, buffer: io.buffer, outcome })
    }

    fn wakes(&self, tell: &mut dyn FnMut(BorrowedFd<'_>)) {
        tell(self.uring.fd());
    }

    fn syscalls(&self) -> u64 {
        self.uring.syscalls()
    }

    fn complaint(&self) -> Option<&str> {
        self.file.complaint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of 1 MiB, opened where the system has as much as `system` says.
    fn opened(system: &System) -> (tempfile::TempDir, Arc<File>) {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("disk.img");
        fs::File::create(&path).and_then(|file| file.set_len(1 << 20)).expect("a file");
        let file = File::open_on(system, &path, false).expect("a disk");
        (dir, Arc::new(file))
    }

    fn run(
        disk: &mut dyn Disk,
        kind: Kind,
        sector: u64,
        fill: u8,
    ) -> (Result<(), Failure>, Buffer) {
        let mut buffer = Buffer::default();
        if matches!(kind, Kind::Read | Kind::Write) {
            buffer.set_len(4096);
            buffer.bytes_mut().fill(fill);
        }
        match disk.start(Io { tag: 3, kind, sector, sectors: 8, buffer }) {
            Started::Now(Done { tag: 3, buffer, outcome }) => (outcome, buffer),
            other => panic!("done at once: {other:?}"),
        }
    }

    #[test]
    fn where_io_uring_is_forbidden_a_file_is_served_all_the_same_and_it_says_so() {
        let forbidden = System { uring: |_| Err(Errno::EPERM.into()), ..SYSTEM };
        let (_dir, file) = opened(&forbidden);
        let remarks = file.remarks();
        let told = remarks.last().expect("it says so");
        for part in ["disk.img", "no io_uring (Operation not permitted)", "one operation at a time"]
        {
            assert!(told.contains(part), "{told}");
        }
        assert!(!told.contains("os error") && !told.contains('\n'), "{told}");
        let mut disk = file.queue(4).expect("a queue");
        assert_eq!(run(&mut *disk, Kind::Write, 8, 7).0, Ok(()));
        assert_eq!(run(&mut *disk, Kind::Flush, 0, 0).0, Ok(()));
        let (outcome, read) = run(&mut *disk, Kind::Read, 8, 0xee);
        assert_eq!((outcome, read.bytes()), (Ok(()), &[7; 4096][..]));
        assert_eq!(run(&mut *disk, Kind::Discard { secure: false }, 8, 0).0, Ok(()));
        assert_eq!(run(&mut *disk, Kind::Read, 8, 0xee).1.bytes(), [0; 4096]);
        assert_eq!(disk.syscalls(), 5);
        // As with io_uring, what is wrong with the file is told.
        file.handle().set_len(8192).expect("ours");
        assert_eq!(run(&mut *disk, Kind::Read, 1500, 0).0, Err(Failure::Io));
        let complaint = disk.complaint().expect("it fails");
        assert!(complaint.contains("cut to 8192 bytes"), "{complaint}");
    }

    #[test]
    fn where_there_is_no_direct_io_a_file_is_served_all_the_same_and_it_says_so() {
        let cached = System { direct: |_, _| Err(Errno::EINVAL.into()), ..SYSTEM };
        let (_dir, file) = opened(&cached);
        assert!(!file.direct);
        let told = &file.remarks()[0];
        assert!(
            told.contains("disk.img: no direct I/O here") && told.contains("page cache"),
            "{told}"
        );
        assert_eq!(file.geometry().sector_size, 512);
        // What else can be wrong with it is no reason to open it otherwise.
        let broken = System { direct: |_, _| Err(Errno::EACCES.into()), ..SYSTEM };
        let why = open(&broken, &file.path, false).expect_err("no rights");
        assert_eq!(why.kind(), io::ErrorKind::PermissionDenied);
    }
}
