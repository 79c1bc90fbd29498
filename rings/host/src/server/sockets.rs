//! The host's sockets: made, listened on, accepted from.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, accept4, bind, listen, socket,
};

use crate::sys;

/// A domain may have 1,023 ports of three descriptors each: as many as the usual limit, which keeps
/// programs with select(2) alive, allows in all. The hard limit is the one that is meant.
pub(super) fn raise_descriptor_limit() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
    {
        // A lab of a few ports lives with the old one.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

/// A socket at `path` on which processes ask to be domains.
pub(super) fn listen_seqpacket(path: &Path) -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?;
    bind(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
    listen(&fd, Backlog::new(64)?)?;
    Ok(fd)
}

/// The next process that wants to be heard; `None` if it has gone already.
pub(super) fn accept(listener: &OwnedFd, flags: SockFlag) -> Option<OwnedFd> {
    let fd = accept4(listener.as_raw_fd(), flags).ok()?;
    Some(sys::own(fd))
}
