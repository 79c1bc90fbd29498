//! The domain half: what a driver process asks of its host.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rings::cost::{Charge, Cost, CostNs};
use rings::evtchn::{Channel, End, EventPage};
use rings::grant::{CopyEngine, GrantPage, Hold, Layout, Pins};
use rings::store::XsClient;
use rings::{DomId, Domain, DomainError, GrantMode, Memory, PAGE_SIZE, Port};
use tracer::format::journal;
use tracer::traced;

use crate::foreign::{Granter, HostForeign};
use crate::mapping::{self, MemoryId};
use crate::proto::{ANY, Kind, Message, VERSION};
use crate::socket::HostSocket;
use crate::transport::UnixTransport;
use crate::waiter::{EpollWaiter, EventDoorbell};
use crate::welcome::Welcome;

/// How to register.
#[derive(Clone, Debug)]
pub struct Connect {
    /// The lab's run directory.
    pub dir: PathBuf,
    /// The number wanted; `None` for the next free guest.
    pub domid: Option<DomId>,
    /// Frames of the page pool; 0 for the host's default.
    pub pool_frames: u32,
    /// What the domain is called in listings, at most 31 bytes.
    pub name: String,
    /// The cost model.
    pub cost: CostNs,
}

/// Why a process could not become a domain.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// There is no host.
    #[error("no lab in {dir}: {why}; start one with: pvlab host --dir {dir}")]
    NoHost {
        /// The directory.
        dir: String,
        /// What the system said.
        why: io::Error,
    },
    /// The host said no.
    #[error("the host refuses domain {domid}: {why}")]
    Refused {
        /// The number asked for.
        domid: String,
        /// Its reason.
        why: &'static str,
    },
    /// Something else.
    #[error(transparent)]
    Domain(#[from] DomainError),
}

/// This process as a domain of a lab. Clones are the same domain.
#[derive(Clone, Debug)]
pub struct HostDomain(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    domid: DomId,
    dir: PathBuf,
    host: Mutex<HostSocket>,
    memory: Memory,
    cost: Cost,
    first_store: Mutex<Option<OwnedFd>>,
    granters: Mutex<HashMap<MemoryId, Weak<Granter>>>,
}

impl HostDomain {
    /// Registers this process as a domain of the lab in `connect.dir`.
    ///
    /// # Errors
    /// If there is no lab, or it refuses.
    pub fn connect(connect_to: &Connect) -> Result<Self, ConnectError> {
        let mut host = HostSocket::open(&connect_to.dir)?;
        let domid = connect_to.domid.map_or(ANY, |d| d.0.into());
        let mut hello = Message::request(Kind::Hello, &[VERSION, domid, connect_to.pool_frames, 0]);
        hello.set_name(&connect_to.name);
        let (answer, fds) = host.call(hello).map_err(|e| explain(e, domid))?;
        let welcome = Welcome::parse(&answer, fds)?;
        let region =
            mapping::map(&welcome.memory, welcome.layout.bytes()).map_err(DomainError::from)?;
        let memory = Memory::new(region, welcome.layout)
            .ok_or_else(|| DomainError::HostGone("its memory has no room for its layout".into()))?;
        Ok(Self(Arc::new(Inner {
            domid: welcome.domid,
            dir: connect_to.dir.clone(),
            host: Mutex::new(host),
            memory,
            cost: Cost::new(connect_to.cost),
            first_store: Mutex::new(Some(welcome.store)),
            granters: Mutex::new(HashMap::new()),
        })))
    }

    /// The lab's run directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.0.dir
    }

    /// A block of our own in the statistics segment: its number.
    ///
    /// # Errors
    /// `ENOSPC` when all blocks are taken.
    #[traced]
    pub fn stats_block(&self, kind: u32, worker: u32) -> Result<usize, DomainError> {
        let (answer, _) = self.call(Message::request(Kind::Stats, &[kind, worker]))?;
        Ok(answer.arg[0] as usize)
    }

    /// Tells the host that this process leaves in good order.
    #[traced]
    pub fn goodbye(&self, status: u32) {
        // If the host is gone there is nobody to tell.
        let _ = self.call(Message::request(Kind::Goodbye, &[status]));
    }

    pub(crate) fn call(&self, message: Message) -> Result<(Message, Vec<OwnedFd>), DomainError> {
        self.0.host.lock().unwrap_or_else(PoisonError::into_inner).call(message)
    }

    #[traced]
    fn channel(
        &self,
        kind: Kind,
        remote: DomId,
        remote_port: Port,
    ) -> Result<Channel<EventDoorbell>, DomainError> {
        let end = if kind == Kind::AllocUnbound { End::A } else { End::B };
        self.0.cost.charge(Charge::Port);
        let request = Message::request(kind, &[remote.0.into(), remote_port.0]);
        let (answer, fds) = self.call(request)?;
        let port = Port(answer.arg[0]);
        // From here on it is closed whatever happens.
        let open = OpenPort { domain: self.clone(), port };
        self.opened(port, (remote, remote_port), end, fds, Some(open))
    }

    /// A channel of the descriptors that the host gave us. With it goes `open`, if it is ours to close.
    fn opened(
        &self,
        port: Port,
        (remote, remote_port): (DomId, Port),
        end: End,
        fds: Vec<OwnedFd>,
        open: Option<OpenPort>,
    ) -> Result<Channel<EventDoorbell>, DomainError> {
        let [page, own, other] = <[OwnedFd; 3]>::try_from(fds)
            .map_err(|_| DomainError::HostGone("a port without its descriptors".into()))?;
        let words = EventPage::new(mapping::map(&page, PAGE_SIZE)?);
        let doorbell = EventDoorbell::new(own, other, open);
        let cost = self.0.cost.clone();
        // What both ends know: who allocated it, and which of its ports it is.
        let (allocator, allocator_port) = match end {
            End::A => (self.0.domid, port),
            End::B => (remote, remote_port),
        };
        let trace = tracer::Port::new(journal::Port {
            port: port.0,
            remote: remote.0.into(),
            allocator: allocator.0.into(),
            allocator_port: allocator_port.0,
            ..journal::Port::default()
        });
        Ok(Channel::new(port, remote, end, words, doorbell, cost).traced(trace))
    }

    /// The part of a granter's state that all our queues share. It goes by the memory and not by the
    /// domid, which may be a successor's already while we still have something of the dead one.
    fn granter(&self, memory: OwnedFd) -> io::Result<Arc<Granter>> {
        let id = mapping::id(&memory)?;
        let mut granters = self.0.granters.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(granter) = granters.get(&id).and_then(Weak::upgrade) {
            return Ok(granter);
        }
        granters.retain(|_, granter| granter.strong_count() > 0);
        let granter = Arc::new(Granter { memory, pins: Mutex::new(Pins::default()) });
        granters.insert(id, Arc::downgrade(&granter));
        Ok(granter)
    }
}

/// Makes a refusal of HELLO readable.
fn explain(error: DomainError, domid: u32) -> ConnectError {
    let domid = if domid == ANY { "(any)".into() } else { domid.to_string() };
    match error {
        DomainError::Refused { errno: "EBUSY", .. } => {
            ConnectError::Refused { domid, why: "it is running already" }
        }
        DomainError::Refused { errno: "EPROTO", .. } => {
            ConnectError::Refused { domid, why: "it speaks another version of the messages" }
        }
        DomainError::Refused { errno: "ENOSPC", .. } => {
            ConnectError::Refused { domid, why: "all the domains it is configured for run already" }
        }
        other => other.into(),
    }
}

/// A port of ours. Dropping it closes it.
#[derive(Debug)]
pub(crate) struct OpenPort {
    domain: HostDomain,
    port: Port,
}

impl Drop for OpenPort {
    fn drop(&mut self) {
        self.domain.0.cost.charge(Charge::Port);
        // A host that is gone has closed everything.
        let _ = self.domain.call(Message::request(Kind::Close, &[self.port.0]));
    }
}

/// Gives a hold word back when its copier is gone.
#[derive(Debug)]
pub(crate) struct Released {
    domain: HostDomain,
    remote: DomId,
    line: u32,
    life: u32,
}

impl Drop for Released {
    fn drop(&mut self) {
        let args = [self.remote.0.into(), self.line, self.life];
        let _ = self.domain.call(Message::request(Kind::Release, &args));
    }
}

impl Domain for HostDomain {
    type Doorbell = EventDoorbell;
    type Waiter = EpollWaiter;
    type Foreign = HostForeign;
    type Transport = UnixTransport;

    fn domid(&self) -> DomId {
        self.0.domid
    }

    fn memory(&self) -> &Memory {
        &self.0.memory
    }

    fn cost(&self) -> &Cost {
        &self.0.cost
    }

    fn alloc_unbound(&self, remote: DomId) -> Result<Channel<EventDoorbell>, DomainError> {
        self.channel(Kind::AllocUnbound, remote, Port(0))
    }

    fn bind_interdomain(
        &self,
        remote: DomId,
        remote_port: Port,
    ) -> Result<Channel<EventDoorbell>, DomainError> {
        self.channel(Kind::BindInterdomain, remote, remote_port)
    }

    fn open_port(&self, port: Port) -> Result<Channel<EventDoorbell>, DomainError> {
        let (answer, fds) = self.call(Message::request(Kind::OpenPort, &[port.0]))?;
        let remote = u16::try_from(answer.arg[1])
            .map_err(|_| DomainError::HostGone("a port of no domain".into()))?;
        // What the toolstack allocates for a domain is that domain's first end.
        self.opened(port, (DomId(remote), Port(0)), End::A, fds, None)
    }

    #[traced]
    fn foreign(&self, remote: DomId, mode: GrantMode) -> Result<HostForeign, DomainError> {
        let request = Message::request(Kind::Foreign, &[remote.0.into()]);
        let (answer, fds) = self.call(request)?;
        let bad = || DomainError::HostGone("foreign memory that is not one".into());
        let [memory] = <[OwnedFd; 1]>::try_from(fds).map_err(|_| bad())?;
        let a = &answer.arg;
        let (line, frames, life) = (a[0], a[1], a[5]);
        let released = Released { domain: self.clone(), remote, line, life };
        let layout =
            Layout { grant_first: a[2], grant_frames: a[3], hold: a[4], ..Layout::new(frames, 1) };
        let region = mapping::map(&memory, layout.bytes())?;
        let table = GrantPage::new(&region, &layout).ok_or_else(bad)?;
        let hold = Hold::attach(line as usize, &table);
        let engine = CopyEngine::new(self.domid(), region, table, hold);
        let granter = self.granter(memory)?;
        Ok(HostForeign::new(self.domid(), mode, granter, engine, self.0.cost.clone(), released))
    }

    fn waiter(&self) -> Result<EpollWaiter, DomainError> {
        EpollWaiter::new().map_err(|e| DomainError::Os(e.into()))
    }

    #[traced]
    fn store(&self) -> Result<XsClient<UnixTransport>, DomainError> {
        let first = self.0.first_store.lock().unwrap_or_else(PoisonError::into_inner).take();
        let fd = match first {
            Some(fd) => fd,
            None => {
                let (_, fds) = self.call(Message::request(Kind::Store, &[]))?;
                fds.into_iter()
                    .next()
                    .ok_or_else(|| DomainError::HostGone("a store without a socket".into()))?
            }
        };
        Ok(XsClient::new(UnixTransport::from(fd)))
    }
}

/// Calls `on_death` from a thread of its own when the host's process ends.
///
/// # Errors
/// If the thread or the descriptor cannot be made.
pub fn watch_host(domain: &HostDomain, on_death: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let socket = {
        let host = domain.0.host.lock().unwrap_or_else(PoisonError::into_inner);
        host.socket.try_clone()?
    };
    std::thread::Builder::new().name("host-watch".into()).spawn(move || {
        // No events asked for: only the hang-up, which cannot be switched off, ends the poll.
        let mut fds = [PollFd::new(socket.as_fd(), PollFlags::empty())];
        while !matches!(poll(&mut fds, PollTimeout::NONE), Ok(n) if n > 0) {}
        on_death();
    })?;
    Ok(())
}

/// Whether the host's process has ended; a host that is just ending may be waited for a little.
#[must_use]
pub fn host_is_gone(domain: &HostDomain) -> bool {
    let host = domain.0.host.lock().unwrap_or_else(PoisonError::into_inner);
    let mut fds = [PollFd::new(host.socket.as_fd(), PollFlags::empty())];
    matches!(poll(&mut fds, PollTimeout::from(100_u8)), Ok(n) if n > 0)
}
