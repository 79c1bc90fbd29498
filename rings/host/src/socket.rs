//! The host's socket, seen by who asks: a question, an answer.

use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::socket::sockopt::ReceiveTimeout;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, setsockopt, socket};
use nix::sys::time::TimeVal;
use rings::DomainError;

use crate::domain::ConnectError;
use crate::proto::{Kind, Message};
use crate::sys::{self, Received};

/// The host had no descriptor left for the answer.
const EMFILE: u32 = Errno::EMFILE as u32;

/// How long an answer may take, in seconds: a host does nothing that takes long.
const PATIENCE: i64 = 10;

/// A connection to a host.
#[derive(Debug)]
pub(crate) struct HostSocket {
    pub(crate) socket: OwnedFd,
    seq: u32,
}

impl HostSocket {
    /// Reaches the host of the lab in `dir`.
    pub(crate) fn open(dir: &Path) -> Result<Self, ConnectError> {
        let open = || -> nix::Result<OwnedFd> {
            let flags = SockFlag::SOCK_CLOEXEC;
            let fd = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?;
            connect(fd.as_raw_fd(), &UnixAddr::new(&dir.join("host.sock"))?)?;
            setsockopt(&fd, ReceiveTimeout, &TimeVal::new(PATIENCE, 0))?;
            Ok(fd)
        };
        let why = |e: Errno| ConnectError::NoHost { dir: dir.display().to_string(), why: e.into() };
        Ok(Self { socket: open().map_err(why)?, seq: 0 })
    }

    /// Asks, and waits for the answer.
    pub(crate) fn call(
        &mut self,
        mut message: Message,
    ) -> Result<(Message, Vec<OwnedFd>), DomainError> {
        self.seq = self.seq.wrapping_add(1);
        message.seq = self.seq;
        let gone = |e: Errno| match e {
            Errno::EAGAIN => DomainError::HostGone("it does not answer: is it stopped?".into()),
            _ => DomainError::HostGone(e.to_string()),
        };
        sys::send(self.socket.as_fd(), &message, &[]).map_err(gone)?;
        match sys::receive(self.socket.as_fd()).map_err(gone)? {
            Received::Message(answer, fds) if answer.seq == self.seq => match answer.status {
                0 => Ok((answer, fds)),
                EMFILE => Err(DomainError::NoDescriptor("the host")),
                errno => Err(refused(&message, errno)),
            },
            Received::Truncated(answer) => {
                if let Some(request) = undo(&message, &answer) {
                    // A host that is gone has taken it back.
                    let _ = self.call(request);
                }
                Err(DomainError::NoDescriptor("this process"))
            }
            Received::Message(..) | Received::Malformed => {
                Err(DomainError::HostGone("it answers something else".into()))
            }
            Received::Closed => Err(DomainError::HostGone("it closed the connection".into())),
        }
    }
}

/// What takes back the effect of a request whose answer could not be used.
fn undo(request: &Message, answer: &Message) -> Option<Message> {
    let got = &answer.arg;
    match Kind::from_number(request.kind)? {
        Kind::AllocUnbound | Kind::BindInterdomain => {
            Some(Message::request(Kind::Close, &got[..1]))
        }
        Kind::Foreign => {
            let (remote, line, life) = (request.arg[0], got[0], got[5]);
            Some(Message::request(Kind::Release, &[remote, line, life]))
        }
        // The others leave nothing but the descriptors, which are closed.
        _ => None,
    }
}

fn refused(message: &Message, errno: u32) -> DomainError {
    let kind = Kind::from_number(message.kind).map_or("?".into(), |k| format!("{k:?}"));
    let what = format!("{kind}({}, {})", message.arg[0], message.arg[1]);
    DomainError::Refused { what, errno: errno_name(errno) }
}

fn errno_name(errno: u32) -> &'static str {
    match i32::try_from(errno).map(Errno::from_raw) {
        Ok(Errno::EINVAL) => "EINVAL",
        Ok(Errno::ENOSPC) => "ENOSPC",
        Ok(Errno::EPERM) => "EPERM",
        Ok(Errno::EBUSY) => "EBUSY",
        Ok(Errno::ENOENT) => "ENOENT",
        Ok(Errno::ENOMEM) => "ENOMEM",
        Ok(Errno::EPROTO) => "EPROTO",
        _ => "error",
    }
}
