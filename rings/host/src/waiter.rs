//! Doorbells, and sleeping on them.
//!
//! A doorbell is an eventfd the host made, and has put into an epoll: who rings has the one, who sleeps the
//! other. Sleepers watch that, edge-triggered, and nobody ever reads it empty, so a wake-up is one write and one
//! epoll_wait.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use rings::evtchn::{Channel, Doorbell};
use rings::{DomainError, Waiter};
use tracer::traced;

use crate::domain::OpenPort;

/// The two doorbells of one channel: the one we ring, and the epoll of those that wake us. The channel's port
/// is open as long as it has them.
#[derive(Debug)]
pub struct EventDoorbell {
    own: OwnedFd,
    other: OwnedFd,
    /// Closes it, unless the toolstack does.
    _open: Option<OpenPort>,
}

impl EventDoorbell {
    pub(crate) fn new(own: OwnedFd, other: OwnedFd, open: Option<OpenPort>) -> Self {
        Self { own, other, _open: open }
    }
}

impl Doorbell for EventDoorbell {
    #[traced]
    fn ring(&self) {
        // The host made it non-blocking, and who sleeps there has it not: nobody can make us wait.
        let _ = nix::unistd::write(&self.other, &1_u64.to_ne_bytes());
    }
}

/// Sleeps on doorbells with epoll.
#[derive(Debug)]
pub struct EpollWaiter {
    epoll: Epoll,
    kick: Arc<EventFd>,
    sleeps: u64,
}

impl EpollWaiter {
    pub(crate) fn new() -> nix::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let kick = Arc::new(EventFd::from_flags(flags)?);
        epoll.add(kick.as_ref(), edge())?;
        Ok(Self { epoll, kick, sleeps: 0 })
    }
}

/// Below this a millisecond more or less is told apart: credit comes in such windows.
const FINE: Duration = Duration::from_millis(20);

impl EpollWaiter {
    /// Sleeps until there is something in the epoll, or the time is over, to the timer's own
    /// accuracy.
    fn wait_finely(&mut self, timeout: Duration) {
        self.sleeps += 1;
        let mut fds = [PollFd::new(self.epoll.0.as_fd(), PollFlags::POLLIN)];
        // Woken by a signal or by nothing at all: whoever sleeps looks again anyway.
        let _ = ppoll(&mut fds, Some(timeout.into()), None);
    }
}

/// Watched for what comes from now on.
pub(crate) fn edge() -> EpollEvent {
    EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, 0)
}

impl Waiter<EventDoorbell> for EpollWaiter {
    fn add(&mut self, channel: &Channel<EventDoorbell>) -> Result<(), DomainError> {
        let own = channel.doorbell().own.as_fd();
        self.epoll.add(own, edge()).map_err(|e| DomainError::Os(e.into()))
    }

    fn remove(&mut self, channel: &Channel<EventDoorbell>) {
        // Not being there is as good as being removed.
        let _ = self.epoll.delete(channel.doorbell().own.as_fd());
    }

    fn add_fd(&mut self, fd: BorrowedFd<'_>) -> Result<(), DomainError> {
        self.epoll.add(fd, edge()).map_err(|e| DomainError::Os(e.into()))
    }

    fn remove_fd(&mut self, fd: BorrowedFd<'_>) {
        let _ = self.epoll.delete(fd);
    }

    fn wait(&mut self, timeout: Duration) {
        self.sleeps += 1;
        let timeout = if timeout < FINE {
            self.wait_finely(timeout);
            EpollTimeout::ZERO
        } else {
            // Rounded up: an epoll counts in milliseconds.
            let millis = timeout.as_micros().div_ceil(1000);
            EpollTimeout::try_from(millis).unwrap_or(EpollTimeout::MAX)
        };
        let mut events = [EpollEvent::empty(); 16];
        match self.epoll.wait(&mut events, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            // Cannot happen to a live epoll; if it does, looking again at once is the safe answer.
            Err(_) => std::thread::yield_now(),
        }
    }

    fn kicker(&self) -> Arc<dyn Fn() + Send + Sync> {
        let kick = Arc::clone(&self.kick);
        Arc::new(move || {
            let _ = kick.write(1);
        })
    }

    fn sleeps(&self) -> u64 {
        self.sleeps
    }
}
