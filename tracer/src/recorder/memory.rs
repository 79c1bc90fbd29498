//! The memory that outlives its writer: memfds of a fixed size.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::ftruncate;

/// Makes shared memory of `bytes`, zeroed, that nobody can make larger or smaller.
pub(crate) fn create(name: &str, bytes: usize) -> io::Result<OwnedFd> {
    let fd = memfd_create(name, MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?;
    ftruncate(&fd, i64::try_from(bytes).map_err(io::Error::other)?)?;
    fcntl(&fd, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW))?;
    Ok(fd)
}

/// Whether nobody can cut this memory off under whoever reads it, or make it larger than it was when
/// its size was looked at.
pub(crate) fn is_fixed(fd: impl AsFd) -> bool {
    let both = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW;
    fcntl(fd, FcntlArg::F_GET_SEALS)
        .is_ok_and(|seals| SealFlag::from_bits_truncate(seals).contains(both))
}

/// From now on nobody can map this memory for writing; mappings that exist stay as they are.
pub(crate) fn forbid_writing(fd: &OwnedFd) -> io::Result<()> {
    let seals = SealFlag::F_SEAL_FUTURE_WRITE | SealFlag::F_SEAL_SEAL;
    fcntl(fd, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(())
}

/// What the calling thread is called, as far as the system knows: 15 octets.
pub(crate) fn thread_name() -> String {
    let mut name = [0_u8; 16];
    // SAFETY: PR_GET_NAME writes at most 16 octets, the last a NUL, to the address it is given.
    let outcome = unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr()) };
    let known = CStr::from_bytes_until_nul(&name).ok().filter(|_| outcome == 0);
    known.map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}
