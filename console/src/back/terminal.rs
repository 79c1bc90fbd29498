//! A console's terminal: a pty, whose other side anybody may open by its path.
//!
//! It is raw, so that what the guest writes arrives as it is; whoever opens it says how it shall be.
//! We hold its other side open too: so it stays while nobody looks, and whoever comes later finds
//! what waits.

use std::fs::OpenOptions;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::pty::{PtyMaster, grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};
use nix::sys::uio::writev;
use nix::unistd::read;

/// Bytes of input taken at a time, as xenconsoled takes them.
pub(super) const CHUNK: usize = 80;

/// Our side of a pty.
#[derive(Debug)]
pub struct Terminal {
    master: PtyMaster,
    path: String,
    _other: OwnedFd,
    /// Becomes readable whenever the pty becomes readable or writable.
    ready: Epoll,
}

impl Terminal {
    /// A new one.
    ///
    /// # Errors
    /// If the system has no more, or does not let us.
    pub fn open() -> io::Result<Self> {
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let master = posix_openpt(flags)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let path = ptsname_r(&master)?;
        let noctty = OFlag::O_NOCTTY.bits();
        let other: OwnedFd =
            OpenOptions::new().read(true).write(true).custom_flags(noctty).open(&path)?.into();
        let mut raw = tcgetattr(&other)?;
        cfmakeraw(&mut raw);
        tcsetattr(&other, SetArg::TCSANOW, &raw)?;
        let ready = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let both = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
        ready.add(&master, EpollEvent::new(both, 0))?;
        Ok(Self { master, path, _other: other, ready })
    }

    /// Where others open it: `/dev/pts/N`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What was typed, at most `to.len()` bytes; 0 if nothing was.
    pub fn read(&self, to: &mut [u8]) -> usize {
        // Nothing there, or an error that will be there the next time too: no input either way.
        read(&self.master, to).unwrap_or(0)
    }

    /// Shows as much as there is room for, and says how much.
    ///
    /// # Errors
    /// `WouldBlock` if there is none.
    pub fn write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        match writev(&self.master, parts) {
            Err(Errno::EINTR) => Ok(0),
            other => Ok(other?),
        }
    }

    /// Makes [`AsFd::as_fd`] readable again only at the next change.
    pub fn seen(&self) {
        let mut event = [EpollEvent::empty()];
        // Whether there was anything is found out by reading and writing.
        let _ = self.ready.wait(&mut event, EpollTimeout::ZERO);
    }
}

impl AsFd for Terminal {
    /// To wait on: readable when there is input, or room for output, that was not there before.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ready.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::io::{Read as _, Write as _};

    fn is_ready(terminal: &Terminal) -> bool {
        let mut fds = [PollFd::new(terminal.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::ZERO).expect("poll") > 0
    }

    #[test]
    fn it_is_raw_and_stays_when_whoever_looked_has_gone() {
        let terminal = Terminal::open().expect("a pty");
        for round in 0..3 {
            let mut user = OpenOptions::new()
                .read(true)
                .write(true)
                .custom_flags(OFlag::O_NOCTTY.bits())
                .open(terminal.path())
                .expect("it can be opened");
            let text = format!("a\r\n\x03b{round}");
            let parts = [IoSlice::new(text.as_bytes()), IoSlice::new(b"")];
            assert_eq!(terminal.write(&parts).expect("room"), text.len());
            let mut seen = vec![0; text.len()];
            user.read_exact(&mut seen).expect("output");
            assert_eq!(seen, text.as_bytes(), "nothing is changed on the way");
            terminal.seen();
            user.write_all(b"x\x03\r").expect("input");
            // The kernel moves what was typed at its leisure.
            while !is_ready(&terminal) {
                std::thread::yield_now();
            }
            let mut typed = [0; 80];
            assert_eq!(terminal.read(&mut typed), 3);
            assert_eq!(&typed[..3], b"x\x03\r", "nor is there an echo");
            assert_eq!(terminal.read(&mut typed), 0);
            drop(user);
        }
    }

    #[test]
    fn it_says_when_there_is_room_again() {
        let terminal = Terminal::open().expect("a pty");
        let text = [b'x'; 4096];
        while terminal.write(&[IoSlice::new(&text)]).is_ok_and(|len| len > 0) {}
        terminal.seen();
        assert!(!is_ready(&terminal));
        let mut user = OpenOptions::new().read(true).open(terminal.path()).expect("a terminal");
        let mut room = [0; 65_536];
        while !is_ready(&terminal) {
            assert!(user.read(&mut room).expect("output") > 0);
        }
    }
}
