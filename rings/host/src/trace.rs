//! A domain's process as one that is traced: what it records goes to its host, while it records it.
//!
//! The trace connection is apart from the one on which the process asks the host for things: a thread
//! may record for the first time while another one waits there for an answer.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use nix::errno::Errno;
use rings::{Domain as _, DomainError};
use tracer::format::journal::Process;
use tracer::{Memory, Slow};

use crate::HostDomain;
use crate::proto::{Kind, Message, TraceKind};
use crate::sys;

/// From now on what this process records is kept by the host of `domain`, and the host says whether it
/// records at all. `name` is what the process is: `netfront`, `netback`.
///
/// # Errors
/// If the host refuses or is gone, or there is no memory.
pub fn trace(domain: &HostDomain, name: &str) -> Result<(), DomainError> {
    if !tracer::ENABLED {
        return Ok(());
    }
    let (_, fds) = domain.call(Message::request(Kind::Trace, &[]))?;
    let [switch, connection] = <[OwnedFd; 2]>::try_from(fds)
        .map_err(|_| DomainError::HostGone("a trace without its descriptors".into()))?;
    let program = std::env::current_exe().unwrap_or_default();
    let process = Process {
        domid: domain.domid().0.into(),
        name: name.into(),
        program: program.display().to_string(),
        ..Process::default()
    };
    tracer::start(process, switch.as_fd(), Arc::new(Connection(connection)))?;
    Ok(())
}

/// The trace connection.
struct Connection(OwnedFd);

impl Connection {
    /// Nobody waits here: a host that does not listen keeps nothing.
    fn tell(&self, kind: TraceKind, args: &[u32], fds: &[i32]) -> Result<(), Errno> {
        let mut message = Message { kind: kind as u32, ..Message::default() };
        message.arg[..args.len()].copy_from_slice(args);
        sys::send_now(self.0.as_fd(), &message, fds)
    }
}

impl tracer::Host for Connection {
    fn keep(&self, what: Memory, fd: BorrowedFd<'_>) -> io::Result<()> {
        let kind = match what {
            Memory::Journal => TraceKind::Journal,
            Memory::Thread => TraceKind::Thread,
        };
        Ok(self.tell(kind, &[], &[fd.as_raw_fd()])?)
    }

    fn slow(&self, slow: Slow) {
        let [ticks_low, ticks_high] = halves(slow.ticks);
        let [took_low, took_high] = halves(slow.took);
        let args = [slow.ring, slow.index, ticks_low, ticks_high, took_low, took_high];
        // A host that does not hear of it does not stop the trace: there will be another.
        let _ = self.tell(TraceKind::Slow, &args, &[]);
    }
}

#[expect(clippy::cast_possible_truncation, reason = "halves are what is wanted")]
fn halves(word: u64) -> [u32; 2] {
    [word as u32, (word >> 32) as u32]
}
