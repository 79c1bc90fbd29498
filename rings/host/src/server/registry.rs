//! Who is a domain, and what each may ask.

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Instant;

use nix::errno::Errno;
use rings::grant::{GrantPage, HOLD_LINES, Layout};
use rings::{DomId, Pfn, Port};
use tracer::keeper::Keeper;
use tracer::traced;

use super::consoles::Consoles;
use super::devices::Devices;
use super::dom::Dom;
use super::inspect;
use super::ports::{Ports, errno_of};
use super::traces;
use super::{DomainInfo, HostConfig, News};
use crate::mapping::{map, sealed_memfd};
use crate::proto::{ANY, Held, Kind, Message, VERSION};
use crate::stall::Stall;
use crate::stats::{BLOCKS, Segment};
use crate::store::Xenstored;

/// Grants a domain's table has room for: 64 frames of 512, as Xen gives them by default.
const GREFS: u32 = 32_768;
/// Largest page pool a domain may ask for: 256 MiB.
const MAX_POOL: u32 = 65_536;

/// Store connections a domain may have at a time: each costs the host a descriptor.
const MAX_STORES: usize = 64;
/// Blocks of the statistics segment that one domain may have.
const MAX_BLOCKS: usize = 64;

/// What an answer carries: the message, descriptors of ours to pass, and descriptors made for the
/// asker, which are closed here once they are sent.
pub(super) struct Answer {
    pub(super) message: Message,
    pub(super) fds: Vec<RawFd>,
    /// Kept open until sent.
    pub(super) passed: Vec<OwnedFd>,
    /// A new store connection for the loop to serve.
    pub(super) store: Option<(DomId, UnixStream)>,
    /// A new trace connection for the loop to serve.
    pub(super) trace: Option<OwnedFd>,
}

impl From<Message> for Answer {
    fn from(message: Message) -> Self {
        Self { message, fds: Vec::new(), passed: Vec::new(), store: None, trace: None }
    }
}

/// Everything the host knows.
pub(super) struct Registry {
    config: HostConfig,
    domains: BTreeMap<DomId, Dom>,
    /// Registrations so far.
    lives: u32,
    ports: Ports,
    pub(super) devices: Devices,
    consoles: Consoles,
    pub(super) xs: Xenstored,
    segment: Segment,
    keeper: Arc<Keeper>,
    news: Sender<News>,
}

impl Registry {
    pub(super) fn new(
        config: HostConfig,
        segment: Segment,
        keeper: Arc<Keeper>,
        news: Sender<News>,
    ) -> Self {
        let mut xs = Xenstored::new();
        if let Some(recorder) = &config.record {
            xs.record_to(recorder.clone());
        }
        let devices = Devices::new(&mut xs, config.device.clone());
        let consoles = Consoles::new(config.console);
        Self {
            config,
            domains: BTreeMap::new(),
            lives: 0,
            ports: Ports::default(),
            devices,
            consoles,
            xs,
            segment,
            keeper,
            news,
        }
    }

    /// Who keeps what is recorded.
    pub(super) fn keeper(&self) -> &Keeper {
        &self.keeper
    }

    /// Answers one request. `who` is the domain that asks, once it has said HELLO; a successful
    /// HELLO sets it.
    pub(super) fn request(&mut self, who: &mut Option<DomId>, pid: i32, m: &Message) -> Answer {
        let outcome = match (Kind::from_number(m.kind), *who) {
            (Some(Kind::Hello), None) => self.hello(who, pid, m),
            (Some(Kind::Inspect), _) => self.inspect(m),
            (Some(Kind::Record), None) => traces::record(&self.keeper, m).map(Answer::from),
            (Some(Kind::Hello), Some(_)) | (_, None) | (None, _) => Err(Errno::EPROTO),
            (Some(kind), Some(domid)) => self.of_domain(kind, domid, m),
        };
        outcome.unwrap_or_else(|errno| m.refusal(errno).into())
    }

    fn of_domain(&mut self, kind: Kind, domid: DomId, m: &Message) -> Result<Answer, Errno> {
        match kind {
            Kind::Hello | Kind::Inspect | Kind::Record => Err(Errno::EPROTO),
            Kind::AllocUnbound => {
                let (port, fds) = self.ports.alloc_unbound(domid, domid_of(m.arg[0])?)?;
                Ok(Answer { fds: fds.to_vec(), ..m.answer(&[port.0]).into() })
            }
            Kind::BindInterdomain => {
                let (remote, port) = (domid_of(m.arg[0])?, Port(m.arg[1]));
                let (port, fds) = self.ports.bind_interdomain(domid, remote, port)?;
                Ok(Answer { fds: fds.to_vec(), ..m.answer(&[port.0]).into() })
            }
            Kind::Close => {
                self.ports.close(domid, Port(m.arg[0]))?;
                Ok(m.answer(&[]).into())
            }
            Kind::OpenPort => {
                let (remote, fds) = self.ports.open(domid, Port(m.arg[0]))?;
                Ok(Answer { fds: fds.to_vec(), ..m.answer(&[m.arg[0], remote.0.into()]).into() })
            }
            Kind::Foreign => self.foreign(domid, m),
            Kind::Release => self.release(domid, m),
            Kind::Store => {
                if self.xs.connections(domid) >= MAX_STORES {
                    return Err(Errno::ENOSPC);
                }
                let (ours, theirs) = UnixStream::pair().map_err(|_| Errno::EMFILE)?;
                let mut answer = Answer::from(m.answer(&[]));
                answer.fds.push(theirs.as_raw_fd());
                answer.passed.push(theirs.into());
                answer.store = Some((domid, ours));
                Ok(answer)
            }
            Kind::Stats => self.stats(domid, m),
            Kind::Trace => self.trace(domid, m),
            Kind::Goodbye => {
                let dom = self.domains.get_mut(&domid).ok_or(Errno::EPROTO)?;
                dom.goodbye = Some(m.arg[0]);
                Ok(m.answer(&[]).into())
            }
        }
    }

    #[traced]
    fn hello(&mut self, who: &mut Option<DomId>, pid: i32, m: &Message) -> Result<Answer, Errno> {
        if m.arg[0] != VERSION {
            return Err(Errno::EPROTO);
        }
        let domid = self.choose(m.arg[1])?;
        let pool = if m.arg[2] == 0 { self.config.pool_frames } else { m.arg[2] };
        if pool > MAX_POOL {
            return Err(Errno::EINVAL);
        }
        let fixed = Layout::new(0, GREFS).pool_first;
        let layout = Layout::new(fixed + pool, GREFS);
        let memory = sealed_memfd("pvlab-memory", layout.bytes()).map_err(|e| errno_of(&e))?;
        let (ours, theirs) = UnixStream::pair().map_err(|_| Errno::EMFILE)?;
        self.consoles.prepare(&memory, &layout).ok_or(Errno::ENOMEM)?;

        let mut answer = Answer::from(m.answer(&[
            domid.0.into(),
            layout.frames,
            layout.grant_first,
            layout.grant_frames,
            layout.hold,
            layout.console,
            layout.store,
            layout.pool_first,
        ]));
        answer.fds = vec![memory.as_raw_fd(), theirs.as_raw_fd()];
        answer.passed.push(theirs.into());
        answer.store = Some((domid, ours));

        let info = DomainInfo { domid, name: m.name(), pid };
        tracing::info!(%domid, name = info.name, pid, "domain registered");
        let holds = [None; HOLD_LINES];
        self.lives = self.lives.checked_add(1).ok_or(Errno::ENOSPC)?;
        let dom = Dom {
            info: info.clone(),
            life: self.lives,
            memory,
            layout,
            holds,
            blocks: Vec::new(),
            stall: Stall::default(),
            traced: false,
            goodbye: None,
        };
        self.domains.insert(domid, dom);
        if let Err(errno) = self.introduce(domid, Pfn(layout.console)) {
            // Nobody else would take back what it has: its connection belongs to no domain.
            self.gone(domid);
            return Err(errno);
        }
        // Nobody listens when the lab is just ending.
        let _ = self.news.send(News::Born(info));
        *who = Some(domid);
        Ok(answer)
    }

    /// The toolstack's part of a domain's beginning.
    fn introduce(&mut self, domid: DomId, console: Pfn) -> Result<(), Errno> {
        self.devices.introduce(&mut self.xs, domid);
        if domid == Consoles::back() {
            self.consoles.introduce_back(&mut self.xs);
            return Ok(());
        }
        // A console's port is there before the guest runs, so it is its first.
        let (port, _) = self.ports.alloc_unbound(domid, Consoles::back())?;
        self.consoles.introduce(&mut self.xs, domid, port, console);
        Ok(())
    }

    fn choose(&self, wanted: u32) -> Result<DomId, Errno> {
        if wanted == ANY {
            let free = (1..=self.config.guests).map(DomId);
            return free.into_iter().find(|d| !self.domains.contains_key(d)).ok_or(Errno::ENOSPC);
        }
        let domid = domid_of(wanted)?;
        if domid.0 > self.config.guests {
            return Err(Errno::ENOSPC);
        }
        if self.domains.contains_key(&domid) { Err(Errno::EBUSY) } else { Ok(domid) }
    }

    /// A backend gets a frontend's memory only if our own copy of the configuration says that it
    /// serves one of its devices: the store's copy can be written by others (XSA-175).
    #[traced]
    fn foreign(&mut self, domid: DomId, m: &Message) -> Result<Answer, Errno> {
        let remote = domid_of(m.arg[0])?;
        if !self.devices.serves(domid, remote) && !self.consoles.serves(domid, remote) {
            return Err(Errno::EPERM);
        }
        let dom = self.domains.get_mut(&remote).ok_or(Errno::ENOENT)?;
        let line = dom.holds.iter().position(Option::is_none).ok_or(Errno::ENOSPC)?;
        dom.holds[line] = Some(domid);
        let line = u32::try_from(line).map_err(|_| Errno::ENOSPC)?;
        let l = &dom.layout;
        let args = [line, l.frames, l.grant_first, l.grant_frames, l.hold, dom.life];
        Ok(Answer { fds: vec![dom.memory.as_raw_fd()], ..m.answer(&args).into() })
    }

    #[traced]
    fn release(&mut self, domid: DomId, m: &Message) -> Result<Answer, Errno> {
        let remote = domid_of(m.arg[0])?;
        if !(1..=self.lives).contains(&m.arg[2]) {
            return Err(Errno::EINVAL);
        }
        // A frontend that is gone has taken its hold words along, whoever has its number now.
        if let Some(dom) = self.domains.get_mut(&remote).filter(|dom| dom.life == m.arg[2]) {
            let hold = dom.holds.get_mut(m.arg[1] as usize).ok_or(Errno::EINVAL)?;
            if *hold != Some(domid) {
                return Err(Errno::EINVAL);
            }
            *hold = None;
        }
        Ok(m.answer(&[]).into())
    }

    /// Who holds what, for whoever looks on.
    fn inspect(&self, m: &Message) -> Result<Answer, Errno> {
        let mut text = String::new();
        match m.arg[0] {
            what if what == Held::Ports as u32 => self.ports.describe(&mut text),
            what if what == Held::Grants as u32 => {
                for (domid, dom) in &self.domains {
                    let region = map(&dom.memory, dom.layout.bytes()).map_err(|e| errno_of(&e))?;
                    if let Some(table) = GrantPage::new(&region, &dom.layout) {
                        inspect::grants(*domid, &table, &mut text);
                    }
                }
            }
            _ => return Err(Errno::EINVAL),
        }
        let (fd, len) = inspect::hand_over(&text).map_err(|e| errno_of(&e))?;
        let mut answer = Answer::from(m.answer(&[len]));
        answer.fds.push(fd.as_raw_fd());
        answer.passed.push(fd);
        Ok(answer)
    }

    #[traced]
    fn stats(&mut self, domid: DomId, m: &Message) -> Result<Answer, Errno> {
        let dom = self.domains.get(&domid).ok_or(Errno::EPROTO)?;
        if dom.blocks.len() >= MAX_BLOCKS {
            return Err(Errno::ENOSPC);
        }
        let pid = dom.info.pid.unsigned_abs();
        let blocks = || (1..BLOCKS).filter_map(|n| self.segment.block(n).map(|block| (n, block)));
        // What the dead have left is for the curious, as long as there is room.
        let fresh = blocks().find(|(_, block)| block.owner().is_none());
        let alive = |n: &usize| self.domains.values().any(|dom| dom.blocks.contains(n));
        let (number, block) =
            fresh.or_else(|| blocks().find(|(n, _)| !alive(n))).ok_or(Errno::ENOSPC)?;
        if let Some(dom) = self.domains.get_mut(&domid) {
            dom.blocks.push(number);
        }
        block.assign(domid, pid, m.arg[0], m.arg[1]);
        Ok(m.answer(&[u32::try_from(number).map_err(|_| Errno::ENOSPC)?]).into())
    }

    #[traced]
    fn trace(&mut self, domid: DomId, m: &Message) -> Result<Answer, Errno> {
        let dom = self.domains.get_mut(&domid).ok_or(Errno::EPROTO)?;
        if dom.traced {
            return Err(Errno::EBUSY);
        }
        let (ours, theirs) = traces::connection()?;
        dom.traced = true;
        let mut answer = Answer::from(m.answer(&[]));
        answer.fds = vec![self.keeper.switch().as_raw_fd(), theirs.as_raw_fd()];
        answer.passed.push(theirs);
        answer.trace = Some(ours);
        Ok(answer)
    }

    /// A domain's process has ended: takes back what it had, and tells the others.
    #[traced]
    pub(super) fn gone(&mut self, domid: DomId) {
        let Some(dom) = self.domains.remove(&domid) else { return };
        match dom.goodbye {
            Some(status) => tracing::info!(%domid, status, "domain left"),
            // Who listens to the news says so in its own words.
            None => tracing::info!(%domid, name = dom.info.name, pid = dom.info.pid, "domain died"),
        }
        self.keeper.ended(dom.info.pid.unsigned_abs(), dom.goodbye.is_some());
        self.ports.close_all(domid);
        for other in self.domains.values_mut() {
            other.end_access_of(domid);
        }
        self.xs.domain_gone(domid);
        self.devices.gone(&mut self.xs, domid);
        self.consoles.gone(&mut self.xs, domid);
        let _ = self.news.send(News::Gone(dom.info, dom.goodbye));
    }

    /// Time has passed: looks for domains that have stopped.
    pub(super) fn tick(&mut self, now: Instant) {
        for dom in self.domains.values_mut() {
            let (info, timeout) = (&dom.info, self.config.stall_timeout);
            let blocks = dom.blocks.iter().filter_map(|&number| self.segment.block(number));
            if dom.stall.look(info.pid, blocks, timeout, now) {
                tracing::info!(domid = %info.domid, name = info.name, "domain stalled");
                let _ = self.news.send(News::Stalled(info.clone()));
            }
        }
    }
}

fn domid_of(number: u32) -> Result<DomId, Errno> {
    let domid = u16::try_from(number).map_err(|_| Errno::EINVAL)?;
    if domid < DomId::FIRST_RESERVED { Ok(DomId(domid)) } else { Err(Errno::EINVAL) }
}
