//! The host's socket, seen by who asks: a question, an answer.

use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::sockopt::ReceiveTimeout;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, setsockopt, socket};
use nix::sys::time::{TimeVal, TimeValLike as _};
use rings::DomainError;

use crate::domain::ConnectError;
use crate::proto::{Kind, Message};
use crate::sys::{self, Received};

/// The host had no descriptor left for the answer.
const EMFILE: u32 = Errno::EMFILE as u32;

/// How long an answer may take: a host does nothing that takes long.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection to a host.
#[derive(Debug)]
pub(crate) struct HostSocket {
    pub(crate) socket: OwnedFd,
    seq: u32,
    /// Why the host counts as gone. An answer that comes late would pass for that to the next question,
    /// and whoever closes many ports would wait for each: so nothing more is asked.
    gone: Option<String>,
}

impl HostSocket {
    /// Reaches the host of the lab in `dir`.
    pub(crate) fn open(dir: &Path) -> Result<Self, ConnectError> {
        let open = || -> nix::Result<OwnedFd> {
            let flags = SockFlag::SOCK_CLOEXEC;
            let fd = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?;
            connect(fd.as_raw_fd(), &UnixAddr::new(&dir.join("host.sock"))?)?;
            Ok(fd)
        };
        let why = |e: Errno| ConnectError::NoHost { dir: dir.display().to_string(), why: e.into() };
        open().and_then(|fd| Self::over(fd, PATIENCE)).map_err(why)
    }

    /// The host at the other end of `socket`, which may take so long for an answer.
    fn over(socket: OwnedFd, patience: Duration) -> nix::Result<Self> {
        let micros = i64::try_from(patience.as_micros()).unwrap_or(i64::MAX);
        setsockopt(&socket, ReceiveTimeout, &TimeVal::microseconds(micros))?;
        Ok(Self { socket, seq: 0, gone: None })
    }

    /// Asks, and waits for the answer. Once the host is gone, it is so for every later call, at once.
    pub(crate) fn call(
        &mut self,
        message: Message,
    ) -> Result<(Message, Vec<OwnedFd>), DomainError> {
        if let Some(why) = &self.gone {
            return Err(DomainError::HostGone(why.clone()));
        }
        let outcome = self.ask(message);
        if let Err(DomainError::HostGone(why)) = &outcome {
            self.gone = Some(why.clone());
        }
        outcome
    }

    fn ask(&mut self, mut message: Message) -> Result<(Message, Vec<OwnedFd>), DomainError> {
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

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use nix::sys::socket::socketpair;

    use super::*;

    /// As a host does that was stopped and goes on.
    #[test]
    fn a_host_that_answered_too_late_is_not_asked_again() {
        let flags = SockFlag::SOCK_CLOEXEC;
        let (own, host) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags).expect("a pair");
        let patience = Duration::from_millis(200);
        let mut socket = HostSocket::over(own, patience).expect("a socket");
        let question = Message::request(Kind::Stats, &[0, 0]);
        let begun = Instant::now();
        let stopped = |outcome: Result<_, DomainError>| matches!(outcome, Err(DomainError::HostGone(why)) if why.contains("is it stopped?"));
        assert!(stopped(socket.call(question)));
        assert!(begun.elapsed() >= patience);
        let Ok(Received::Message(late, _)) = sys::receive(host.as_fd()) else {
            panic!("nothing was asked");
        };
        sys::send(host.as_fd(), &late, &[]).expect("an answer");
        let begun = Instant::now();
        for _ in 0..100 {
            assert!(stopped(socket.call(question)));
        }
        assert!(begun.elapsed() < patience, "each waited by itself");
    }
}
