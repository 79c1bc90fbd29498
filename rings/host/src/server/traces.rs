//! Trace connections: what processes record, handed to the keeper. And the switch, for whoever looks on.

use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use tracer::keeper::{Keeper, Recording};
use tracer::{Memory, Slow};

use crate::proto::{Message, Recorded, TraceKind};
use crate::sys::{self, Received};

/// A trace connection: our end, which does not block, and the domain's.
pub(super) fn connection() -> nix::Result<(OwnedFd, OwnedFd)> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
    sys::set_nonblocking(&ours)?;
    Ok((ours, theirs))
}

/// Switches recording on or off, if there is somebody who writes a trace.
pub(super) fn record(keeper: &Keeper, m: &Message) -> Result<Message, Errno> {
    let on = match m.arg[0] {
        0 => false,
        1 => true,
        _ => return Err(Errno::EINVAL),
    };
    if keeper.recording() != Recording::NotYet {
        keeper.set(on);
    }
    let recorded = match keeper.recording() {
        Recording::NotYet => Recorded::Never,
        Recording::Off => Recorded::Off,
        Recording::On => Recorded::On,
        Recording::Over => Recorded::Over,
    };
    Ok(m.answer(&[recorded as u32]))
}

/// Takes one message of process `pid`; `false` if there will be no more.
pub(super) fn serve(keeper: &Keeper, pid: u32, socket: &OwnedFd) -> bool {
    match sys::receive(socket.as_fd()) {
        Ok(Received::Message(message, fds)) => {
            // What the keeper does not take is closed: such a thread is not in the trace, which says so.
            let _ = take(keeper, pid, &message, fds);
            true
        }
        Ok(Received::Truncated(_)) | Err(Errno::EAGAIN | Errno::EINTR) => true,
        Ok(Received::Closed | Received::Malformed) | Err(_) => {
            keeper.closed(pid);
            false
        }
    }
}

fn take(keeper: &Keeper, pid: u32, m: &Message, fds: Vec<OwnedFd>) -> std::io::Result<()> {
    let one = || fds.into_iter().next().ok_or(std::io::ErrorKind::InvalidInput);
    match TraceKind::from_number(m.kind) {
        Some(TraceKind::Journal) => keeper.keep(pid, Memory::Journal, one()?),
        Some(TraceKind::Thread) => keeper.keep(pid, Memory::Thread, one()?),
        Some(TraceKind::Slow) => {
            let word = |low: usize| u64::from(m.arg[low]) | u64::from(m.arg[low + 1]) << 32;
            let slow = Slow { ring: m.arg[0], index: m.arg[1], ticks: word(2), took: word(4) };
            keeper.slow(pid, slow);
            Ok(())
        }
        None => Ok(()),
    }
}
