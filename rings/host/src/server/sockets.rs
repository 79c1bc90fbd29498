//! The host's sockets: made, listened on, accepted from.

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, accept4, bind, socket,
};

use crate::sys;

/// A domain may have 1,023 ports, and each channel costs us seven descriptors: the event page, and for each end
/// an epoll with its two bells. The usual limit, which keeps programs with select(2) alive, is 1,024 in all.
/// The hard limit is the one that is meant.
pub(super) fn raise_descriptor_limit() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
    {
        // A lab of a few ports lives with the old one.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

/// A socket at `path` that processes can connect to.
pub(super) fn listen(path: &Path, kind: SockType) -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(AddressFamily::Unix, kind, flags, None)?;
    bind(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
    nix::sys::socket::listen(&fd, Backlog::new(64)?)?;
    Ok(fd)
}

/// Nobody is let in for so long when there is no descriptor for a connection.
const SHUT: Duration = Duration::from_millis(50);
/// It is said once in so long.
const SAY: Duration = Duration::from_secs(60);

/// Whether processes are let in. A connection for which there is no descriptor stays in its queue,
/// and its socket stays readable: without a pause the loop would do nothing but try.
#[derive(Debug, Default)]
pub(super) struct Doors {
    shut_until: Option<Instant>,
    /// The loop knows that they are shut.
    shut: bool,
    said: Option<Instant>,
}

impl Doors {
    /// The next process that wants to be heard; `None` if it has gone already, or there is no room.
    pub(super) fn accept(&mut self, listener: &OwnedFd, now: Instant) -> Option<OwnedFd> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        match accept4(listener.as_raw_fd(), flags) {
            Ok(fd) => return Some(sys::own(fd)),
            Err(why @ (Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM)) => {
                self.full(why, now);
            }
            // Who has gone already, or a signal.
            Err(_) => {}
        }
        None
    }

    fn full(&mut self, why: Errno, now: Instant) {
        self.shut_until = Some(now + SHUT);
        if self.said.is_none_or(|said| now.saturating_duration_since(said) >= SAY) {
            self.said = Some(now);
            tracing::warn!(%why, "no process can connect until others end; see ulimit -n");
        }
    }

    /// When they open again.
    pub(super) fn due(&self) -> Option<Instant> {
        self.shut_until
    }

    /// Whether they are open, if that has changed since the last time.
    pub(super) fn turn(&mut self, now: Instant) -> Option<bool> {
        self.shut_until = self.shut_until.filter(|&until| until > now);
        let before = mem::replace(&mut self.shut, self.shut_until.is_some());
        (before != self.shut).then_some(!self.shut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doors_shut_when_it_is_full_and_open_after_a_while() {
        let (mut doors, start) = (Doors::default(), Instant::now());
        assert_eq!((doors.turn(start), doors.due()), (None, None));
        doors.full(Errno::EMFILE, start);
        assert_eq!(doors.turn(start), Some(false));
        assert_eq!((doors.turn(start), doors.due()), (None, Some(start + SHUT)));
        doors.full(Errno::EMFILE, start + SHUT / 2);
        assert_eq!(doors.turn(start + SHUT), None, "full again meanwhile");
        assert_eq!(doors.turn(start + 2 * SHUT), Some(true));
        assert_eq!((doors.turn(start + 2 * SHUT), doors.due()), (None, None));
    }
}
