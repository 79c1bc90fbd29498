//! The host's loop: sockets, deaths, time. What goes over the store's sockets is in `stores`.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::socket::sockopt::{PeerCredentials, SndBuf};
use nix::sys::socket::{SockType, getsockopt, setsockopt};
use rings::DomId;
use rings::io::xs_wire::{XsdSockmsg, XsdType};
use rings::store::frame;
use tracer::keeper::Keeper;

use super::registry::Registry;
use super::sockets::{Doors, listen, raise_descriptor_limit};
use super::stores::StoreSocket;
use super::traces;
use super::{HostConfig, News};
use crate::stats::Segment;
use crate::store::ConnId;
use crate::sys::{self, Received};

/// Between two looks for stalled domains.
const TICK: Duration = Duration::from_millis(250);

/// Connections that have not said HELLO; for a further one the oldest is closed.
const MAX_STRANGERS: usize = 64;
/// Room for answers that a process has not read, as the kernel counts it (it takes no less than
/// some answers).
const UNREAD_BYTES: usize = 4096;

/// A running loop.
pub(super) struct Started {
    pub(super) thread: JoinHandle<()>,
    pub(super) stop: Arc<EventFd>,
    pub(super) news: Receiver<News>,
}

/// What a readable descriptor is.
pub(super) enum Source {
    Stop,
    HostListener(OwnedFd),
    StoreListener(OwnedFd),
    /// A process, and once it has said HELLO the domain that it is.
    Process(Process),
    /// Becomes readable when the process with this token ends.
    Life {
        _pidfd: OwnedFd,
        process: u64,
    },
    Trace {
        socket: OwnedFd,
        pid: u32,
    },
    Store(StoreSocket),
}

/// A process that asks for things. While it is a domain, its connection and its life stand together:
/// whichever ends first takes the other along, so that nothing is left to end a later domain of the
/// same number.
pub(super) struct Process {
    socket: OwnedFd,
    pid: i32,
    domid: Option<DomId>,
    /// The token of its life.
    life: Option<u64>,
}

/// Opens the sockets and starts the thread.
pub(super) fn start(
    config: HostConfig,
    dir: &Path,
    segment: Segment,
    keeper: Arc<Keeper>,
) -> io::Result<Started> {
    raise_descriptor_limit();
    let (tell, news) = channel();
    let stop = Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?);
    let host = listen(&dir.join("host.sock"), SockType::SeqPacket)?;
    let store = listen(&dir.join("xenstored.sock"), SockType::Stream)?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let seen = Arc::clone(&stop);
    let thread = std::thread::Builder::new().name("host".into()).spawn(move || {
        let registry = Registry::new(config, segment, keeper, tell);
        let mut events = Events::new(epoll, registry);
        if let Err(error) = events.listen(seen.as_ref(), host, store).and_then(|()| events.run()) {
            tracing::error!(%error, "the host ends");
        }
    })?;
    Ok(Started { thread, stop, news })
}

pub(super) struct Events {
    pub(super) epoll: Epoll,
    pub(super) sources: HashMap<u64, Source>,
    pub(super) stores: HashMap<ConnId, u64>,
    next: u64,
    pub(super) registry: Registry,
    /// The toolstack's own connection, on which its watches fire.
    pub(super) toolstack: ConnId,
    doors: Doors,
}

impl Events {
    fn new(epoll: Epoll, mut registry: Registry) -> Self {
        let toolstack = registry.xs.connect(DomId::DOM0);
        let mut watch = Vec::new();
        let header = XsdSockmsg { r#type: XsdType::WATCH.number(), req_id: 1, tx_id: 0, len: 0 };
        frame::append(&mut watch, header, &[b"/local/domain/0/backend\0toolstack\0"]);
        registry.xs.input(toolstack, &watch);
        let (sources, stores) = (HashMap::new(), HashMap::new());
        Self { epoll, sources, stores, next: 0, registry, toolstack, doors: Doors::default() }
    }

    fn listen(&mut self, stop: &EventFd, host: OwnedFd, store: OwnedFd) -> io::Result<()> {
        let token = self.token();
        self.epoll.add(stop, EpollEvent::new(EpollFlags::EPOLLIN, token))?;
        self.sources.insert(token, Source::Stop);
        let token = self.token();
        self.epoll.add(&host, EpollEvent::new(EpollFlags::EPOLLIN, token))?;
        self.sources.insert(token, Source::HostListener(host));
        let token = self.token();
        self.epoll.add(&store, EpollEvent::new(EpollFlags::EPOLLIN, token))?;
        self.sources.insert(token, Source::StoreListener(store));
        Ok(())
    }

    pub(super) fn token(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Serves until told to stop.
    fn run(&mut self) -> io::Result<()> {
        let mut due = Instant::now() + TICK;
        let mut ready = [EpollEvent::empty(); 64];
        loop {
            let others = [self.registry.xs.due(), self.doors.due()];
            let wake = others.into_iter().flatten().fold(due, Instant::min);
            let count = match self.epoll.wait(&mut ready, timeout_until(wake)) {
                Err(Errno::EINTR) => 0,
                other => other?,
            };
            let free = self.registry.xs.tick(Instant::now());
            for event in &ready[..count] {
                if !self.serve(event.data()) {
                    return Ok(());
                }
            }
            if Instant::now() >= due {
                due = Instant::now() + TICK;
                self.registry.tick(Instant::now());
            }
            self.toolstack_events();
            self.flush_stores(free);
            self.turn_doors();
        }
    }

    /// Serves one source; `false` to stop.
    fn serve(&mut self, token: u64) -> bool {
        // Taken out for the time of the call, so that the source and the rest can both be used.
        let Some(source) = self.sources.remove(&token) else { return true };
        let keep = match source {
            Source::Stop => return false,
            Source::HostListener(fd) => {
                self.accept_process(&fd);
                Some(Source::HostListener(fd))
            }
            Source::StoreListener(listener) => {
                self.accept_store(&listener);
                Some(Source::StoreListener(listener))
            }
            Source::Process(process) => self.serve_process(token, process),
            Source::Life { process, .. } => {
                if let Some(Source::Process(process)) = self.sources.remove(&process) {
                    self.end_process(process);
                }
                None
            }
            Source::Trace { socket, pid } => traces::serve(self.registry.keeper(), pid, &socket)
                .then_some(Source::Trace { socket, pid }),
            Source::Store(at) => self.serve_store(token, at),
        };
        if let Some(source) = keep {
            self.sources.insert(token, source);
        }
        true
    }

    /// Lets processes in again, or no more for a while.
    fn turn_doors(&mut self) {
        let Some(open) = self.doors.turn(Instant::now()) else { return };
        let wanted = if open { EpollFlags::EPOLLIN } else { EpollFlags::empty() };
        for (&token, source) in &self.sources {
            if let Source::HostListener(fd) | Source::StoreListener(fd) = source {
                let _ = self.epoll.modify(fd, &mut EpollEvent::new(wanted, token));
            }
        }
    }

    fn accept_process(&mut self, listener: &OwnedFd) {
        let Some(socket) = self.doors.accept(listener, Instant::now()) else { return };
        self.make_room();
        // Answers that nobody reads hold descriptors: a handful must do.
        let _ = setsockopt(&socket, SndBuf, &UNREAD_BYTES);
        // Only our own user can reach a socket in a directory of mode 0700.
        let Ok(pid) = getsockopt(&socket, PeerCredentials).map(|c| c.pid()) else { return };
        let token = self.token();
        if self.epoll.add(&socket, EpollEvent::new(EpollFlags::EPOLLIN, token)).is_ok() {
            let process = Process { socket, pid, domid: None, life: None };
            self.sources.insert(token, Source::Process(process));
        }
    }

    /// Closes the connection that has been silent the longest, if there are too many: whoever came
    /// to be a domain says so at once, and is not kept out by those who did not.
    fn make_room(&mut self) {
        let stranger = |s: &Source| matches!(s, Source::Process(p) if p.domid.is_none());
        let strangers = self.sources.iter().filter(|(_, source)| stranger(source));
        let tokens: Vec<u64> = strangers.map(|(&token, _)| token).collect();
        if tokens.len() >= MAX_STRANGERS
            && let Some(first) = tokens.iter().min()
        {
            self.sources.remove(first);
        }
    }

    fn accept_store(&mut self, listener: &OwnedFd) {
        if let Some(socket) = self.doors.accept(listener, Instant::now()) {
            self.add_store(DomId::DOM0, socket.into());
        }
    }

    fn add_trace(&mut self, pid: u32, socket: OwnedFd) {
        let token = self.token();
        if self.epoll.add(&socket, EpollEvent::new(EpollFlags::EPOLLIN, token)).is_ok() {
            self.sources.insert(token, Source::Trace { socket, pid });
        }
    }

    fn serve_process(&mut self, token: u64, mut process: Process) -> Option<Source> {
        let message = match sys::receive_request(process.socket.as_fd()) {
            Ok(Received::Message(message, _)) => message,
            Err(Errno::EAGAIN | Errno::EINTR) => return Some(Source::Process(process)),
            // The connection is the domain: whoever closes it, or speaks something else, is gone.
            Ok(Received::Closed | Received::Malformed | Received::Truncated(_)) | Err(_) => {
                return self.end_process(process);
            }
        };
        let before = process.domid;
        let answer = self.registry.request(&mut process.domid, process.pid, &message);
        if before.is_none() && process.domid.is_some() {
            process.life = self.watch_life(process.pid, token);
        }
        if let Some((owner, stream)) = answer.store {
            self.add_store(owner, stream);
        }
        if let Some(socket) = answer.trace {
            self.add_trace(process.pid.unsigned_abs(), socket);
        }
        let sent = sys::send(process.socket.as_fd(), &answer.message, &answer.fds);
        drop(answer.passed);
        // A process that does not read its answers is not waited for, and one that has missed an
        // answer does not know what it has.
        if sent.is_err() { self.end_process(process) } else { Some(Source::Process(process)) }
    }

    /// A process is gone, and the domain that it was.
    fn end_process(&mut self, process: Process) -> Option<Source> {
        if let Some(life) = process.life {
            self.sources.remove(&life);
        }
        if let Some(domid) = process.domid {
            self.registry.gone(domid);
        }
        None
    }

    fn watch_life(&mut self, pid: i32, process: u64) -> Option<u64> {
        let pidfd = sys::pidfd_open(pid).ok()?;
        let token = self.token();
        self.epoll.add(&pidfd, EpollEvent::new(EpollFlags::EPOLLIN, token)).ok()?;
        self.sources.insert(token, Source::Life { _pidfd: pidfd, process });
        Some(token)
    }
}

/// How long to wait, in whole milliseconds: rather a little too long than, at the end, not at all.
fn timeout_until(wake: Instant) -> EpollTimeout {
    let left = wake.saturating_duration_since(Instant::now());
    let millis = left.as_nanos().div_ceil(1_000_000);
    EpollTimeout::try_from(millis).unwrap_or(EpollTimeout::MAX)
}
