//! Memory of a domain as a process sees it: sealed memfds, and mappings of them.

use std::any::Any;
use std::ffi::CString;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;

use memmap2::{MmapOptions, MmapRaw};
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap};
use nix::sys::stat::fstat;
use nix::unistd::ftruncate;
use rings::mem::Region;
use rings::{PAGE_SIZE, Pfn};

/// Creates shared memory of `bytes`, zeroed, sealed against growing and shrinking, so that nobody
/// who has it can make another process fault.
pub(crate) fn sealed_memfd(name: &str, bytes: usize) -> io::Result<OwnedFd> {
    let name = CString::new(name).map_err(|_| io::ErrorKind::InvalidInput)?;
    let fd = memfd_create(name.as_c_str(), MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?;
    ftruncate(&fd, i64::try_from(bytes).map_err(|_| io::ErrorKind::InvalidInput)?)?;
    let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
    fcntl(&fd, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(fd)
}

/// Which memory a descriptor leads to: device and inode, nobody else's as long as one of us has it.
pub(crate) type MemoryId = (u64, u64);

pub(crate) fn id(fd: &OwnedFd) -> io::Result<MemoryId> {
    let stat = fstat(fd)?;
    Ok((stat.st_dev, stat.st_ino))
}

/// Whether this is memory that cannot shrink under us.
fn check_sealed(fd: BorrowedFd<'_>) -> io::Result<()> {
    let seals = SealFlag::from_bits_truncate(fcntl(fd, FcntlArg::F_GET_SEALS)?);
    if seals.contains(SealFlag::F_SEAL_SHRINK) {
        Ok(())
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidData, "shared memory without a shrink seal"))
    }
}

/// Maps the first `bytes` of a memfd for reading and writing.
pub(crate) fn map(fd: &OwnedFd, bytes: usize) -> io::Result<Region> {
    check_sealed(fd.as_fd())?;
    region(MmapOptions::new().len(bytes).map_raw(fd)?, bytes, true, 0, ())
}

/// Maps one frame of a domain's memory: a real mmap, as `GNTTABOP_map_grant_ref` is a real change
/// of page tables. Where the grant is for reading only, so is the mapping. `pin` is dropped when the
/// page is unmapped.
pub(crate) fn map_frame(
    fd: &OwnedFd,
    frame: Pfn,
    write: bool,
    pin: impl Any + Send + Sync,
) -> io::Result<Region> {
    let mut options = MmapOptions::new();
    options.offset(u64::from(frame.0) * PAGE_SIZE as u64).len(PAGE_SIZE);
    let mapping = if write { options.map_raw(fd)? } else { options.map_raw_read_only(fd)? };
    region(mapping, PAGE_SIZE, write, 1, pin)
}

/// Maps frames of a domain's memory as one range, in this order, for reading and writing: a ring of
/// several grants, which may lie anywhere. `pins` are dropped when they are unmapped.
pub(crate) fn map_frames(
    fd: &OwnedFd,
    frames: &[Pfn],
    pins: impl Any + Send + Sync,
) -> io::Result<Region> {
    check_sealed(fd.as_fd())?;
    let bytes = frames.len() * PAGE_SIZE;
    // Room for all of them; each page is then replaced by the frame that belongs there.
    let room = MmapOptions::new().len(bytes).map_anon()?;
    let room = MmapRaw::from(room);
    for (page, frame) in frames.iter().enumerate() {
        let at = NonZeroUsize::new(room.as_mut_ptr().addr() + page * PAGE_SIZE);
        let offset = i64::from(frame.0) * i64::try_from(PAGE_SIZE).unwrap_or(i64::MAX);
        let length = NonZeroUsize::new(PAGE_SIZE).ok_or(io::ErrorKind::InvalidInput)?;
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        let flags = MapFlags::MAP_SHARED | MapFlags::MAP_FIXED;
        // SAFETY: replaces one page of `room`, which nobody else knows yet and which stays one
        // mapping for whoever unmaps it: munmap takes the whole range, whatever it consists of.
        unsafe { mmap(at, length, access, flags, fd, offset)? };
    }
    region(room, bytes, true, frames.len(), pins)
}

/// What a region keeps alive.
struct Mapped<P> {
    mapping: Option<MmapRaw>,
    pins: Option<P>,
    /// Grants that were mapped for it.
    grants: usize,
}

impl<P> Drop for Mapped<P> {
    fn drop(&mut self) {
        let _span = (self.grants > 0).then(|| tracer::span!(GRANT, "unmap", ops = self.grants));
        // While a page is mapped it is pinned.
        drop(self.mapping.take());
        drop(self.pins.take());
    }
}

fn region(
    mapping: MmapRaw,
    bytes: usize,
    write: bool,
    grants: usize,
    pins: impl Any + Send + Sync,
) -> io::Result<Region> {
    let base = NonNull::new(mapping.as_mut_ptr()).ok_or(io::ErrorKind::OutOfMemory)?;
    let mapped = Arc::new(Mapped { mapping: Some(mapping), pins: Some(pins), grants });
    // SAFETY, of both: the mapping covers `bytes` bytes at `base`, page-aligned, unmapped when the Arc
    // goes; the file is sealed against shrinking, so they stay backed. Where it is for reading only, so
    // is the region.
    Ok(if write {
        // SAFETY: as above; mapped readable and writable.
        unsafe { Region::new(base, bytes, mapped) }
    } else {
        // SAFETY: as above.
        unsafe { Region::new_read_only(base, bytes, mapped) }
    })
}
