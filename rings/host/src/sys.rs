//! System calls that nix has no safe wrapper for, wrapped here: descriptors out of messages, pidfd.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use eventfd::EventFD;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use zerocopy::{FromBytes, IntoBytes};

use crate::proto::Message;

/// Sends one message with descriptors beside it.
///
/// # Errors
/// As sendmsg(2); `EPIPE` when the other end is gone.
pub(crate) fn send(socket: BorrowedFd<'_>, message: &Message, fds: &[RawFd]) -> nix::Result<()> {
    send_with(socket, message, fds, MsgFlags::empty())
}

/// The same, for whoever cannot wait.
///
/// # Errors
/// As [`send`]; `EAGAIN` when the other end has not read what was sent before.
pub(crate) fn send_now(
    socket: BorrowedFd<'_>,
    message: &Message,
    fds: &[RawFd],
) -> nix::Result<()> {
    send_with(socket, message, fds, MsgFlags::MSG_DONTWAIT)
}

fn send_with(
    socket: BorrowedFd<'_>,
    message: &Message,
    fds: &[RawFd],
    flags: MsgFlags,
) -> nix::Result<()> {
    let data = [IoSlice::new(message.as_bytes())];
    let rights = [ControlMessage::ScmRights(fds)];
    let control: &[ControlMessage<'_>] = if fds.is_empty() { &[] } else { &rights };
    let flags = flags | MsgFlags::MSG_NOSIGNAL;
    loop {
        match sendmsg::<()>(socket.as_raw_fd(), &data, control, flags, None) {
            Err(Errno::EINTR) => {}
            other => return other.map(|_| ()),
        }
    }
}

/// What [`receive`] got.
#[derive(Debug)]
pub(crate) enum Received {
    /// A message and the descriptors beside it.
    Message(Message, Vec<OwnedFd>),
    /// A message that came with more descriptors than this process may have. They are closed.
    Truncated(Message),
    /// The other end is closed.
    Closed,
    /// A packet that is not a message.
    Malformed,
}

/// Receives one message from whoever asks the host. It has no room for descriptors: what a stranger
/// sends along, the kernel closes, however much it is.
///
/// # Errors
/// As recvmsg(2); `EAGAIN` on a non-blocking socket with nothing to read.
pub(crate) fn receive_request(socket: BorrowedFd<'_>) -> nix::Result<Received> {
    let mut bytes = [0_u8; size_of::<Message>() + 1];
    let len = loop {
        let mut data = [IoSliceMut::new(&mut bytes)];
        match recvmsg::<()>(socket.as_raw_fd(), &mut data, None, MsgFlags::empty()) {
            Err(Errno::EINTR) => {}
            other => break other?.bytes,
        }
    };
    Ok(parse(&bytes[..len], Vec::new()))
}

/// Descriptors that a message can carry at all.
const SCM_MAX_FD: usize = 253;

/// Receives one answer. Descriptors are closed on exec.
///
/// # Errors
/// As recvmsg(2).
pub(crate) fn receive(socket: BorrowedFd<'_>) -> nix::Result<Received> {
    let mut bytes = [0_u8; size_of::<Message>() + 1];
    // Room for all that can come: what does not fit would be installed in part, and owned by nobody.
    let mut control = nix::cmsg_space!([RawFd; SCM_MAX_FD]);
    let (len, fds) = {
        let mut data = [IoSliceMut::new(&mut bytes)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let got = loop {
            match recvmsg::<()>(socket.as_raw_fd(), &mut data, Some(&mut control), flags) {
                Err(Errno::EINTR) => {}
                other => break other?,
            }
        };
        // Room there is: what is missing is a number that they could have here.
        if got.flags.contains(MsgFlags::MSG_CTRUNC) {
            let len = got.bytes;
            drop(installed(&control));
            return Ok(match parse(&bytes[..len], Vec::new()) {
                Received::Message(message, _) => Received::Truncated(message),
                other => other,
            });
        }
        let mut fds = Vec::new();
        for message in got.cmsgs()? {
            if let ControlMessageOwned::ScmRights(raw) = message {
                // SAFETY: the kernel has just installed these descriptors for this message and
                // nobody else knows their numbers.
                fds.extend(raw.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
            }
        }
        (got.bytes, fds)
    };
    Ok(parse(&bytes[..len], fds))
}

/// The descriptors that did come with a message that lacks others: nix does not show them. `control` was
/// zeroed, and begins with their header, if there are any.
fn installed(control: &[u8]) -> Vec<OwnedFd> {
    const HEADER: usize = size_of::<libc::cmsghdr>();
    let word = control.first_chunk().copied().unwrap_or_default();
    let fds = control.get(HEADER..usize::from_ne_bytes(word)).unwrap_or_default();
    fds.chunks_exact(size_of::<RawFd>())
        .filter_map(|fd| Some(RawFd::from_ne_bytes(fd.try_into().ok()?)))
        // SAFETY: what we receive comes with SCM_RIGHTS alone; the kernel has just installed these
        // descriptors for this message, has counted them in its header, and nobody else knows their
        // numbers.
        .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
        .collect()
}

fn parse(packet: &[u8], fds: Vec<OwnedFd>) -> Received {
    match Message::read_from_bytes(packet) {
        _ if packet.is_empty() => Received::Closed,
        Ok(message) => Received::Message(message, fds),
        Err(_) => Received::Malformed,
    }
}

/// Has nobody wait on this socket.
pub(crate) fn set_nonblocking(socket: &OwnedFd) -> nix::Result<()> {
    fcntl(socket, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map(|_| ())
}

/// A descriptor that becomes readable when the process dies.
///
/// # Errors
/// As pidfd_open(2).
pub(crate) fn pidfd_open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: pidfd_open takes two integers and returns a new descriptor or -1.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = RawFd::try_from(fd).map_err(|_| io::ErrorKind::Other)?;
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just returned this descriptor to us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Takes over a descriptor that accept4(2) has just returned.
pub(crate) fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: called with the fresh result of accept4 alone; nobody else knows the number.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// A bell's descriptor, for calls that want to know that it is open.
pub(crate) fn of_bell(bell: &EventFD) -> BorrowedFd<'_> {
    // SAFETY: an EventFD closes its descriptor when it is dropped, not before, and it is borrowed.
    unsafe { BorrowedFd::borrow_raw(bell.as_raw_fd()) }
}

/// Sets the nice value of the calling thread.
///
/// # Errors
/// As setpriority(2): `EACCES` for a negative value without the privilege.
pub fn set_nice(nice: i32) -> io::Result<()> {
    // SAFETY: three integers; 0 means the calling thread, which is what Linux makes of PRIO_PROCESS.
    let outcome = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
