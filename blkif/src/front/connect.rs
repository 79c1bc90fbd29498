//! The guest's half of the handshake: Xen's keys in blkfront's order, and the states.
//!
//! ```text
//!   backend                          frontend
//!   InitWait   limits        ----->  makes rings and ports, grants them
//!                            <-----  keys in one transaction, then Initialised
//!   features, geometry,
//!   Connected                ----->  reads them
//!                            <-----  Connected
//!   gone                     ----->  Initialising: the same again, with new rings and ports
//! ```

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use rings::io::blkif::{PROTO_X86_64, queue_name};
use rings::store::xenbus;
use rings::store::{Nodes, StoreError, XenbusState, XsClient, keys};
use rings::{DomId, Domain, DomainError};
use tracer::traced;

use super::buffers::Buffers;
use super::disk::DiskInfo;
use super::error::ConnectError;
use super::link::Link;
use super::queue::{Limits, Queue};
use super::split::{DIRECT, LIST};

/// How to connect.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which vbd of this domain.
    pub handle: u32,
    /// Rings.
    pub queues: u32,
    /// Pages of a ring, as a power of two.
    pub ring_order: u32,
    /// Requests with more than 11 segments, where the backend takes them.
    pub indirect: bool,
    /// The backend may keep our pages mapped.
    pub persistent: bool,
    /// How each queue works. `handle` is filled in.
    pub limits: Limits,
    /// Pages of buffers for each queue.
    pub pages: usize,
    /// Index at which the rings start.
    pub index_base: u32,
    /// How long each step of the backend may take.
    pub timeout: Duration,
}

/// The control half of a vbd: its store connection and its states. The queues are apart, each with
/// its worker.
#[derive(Debug)]
pub struct Blkfront<D: Domain> {
    domain: D,
    pub(super) store: XsClient<D::Transport>,
    pub(super) config: Config,
    pub(super) backend: DomId,
    front: String,
    pub(super) back: String,
    disk: DiskInfo,
    /// What was agreed on: rings, and pages of each. Before that, what is wanted.
    queues: u32,
    ring_order: u32,
    /// Rings that were published and that no backend took. They stay until there are others: those must
    /// not have the same ports, by which a backend tells new rings from its forerunner's.
    untaken: Vec<Link<D>>,
    /// There are queues already, made for what was agreed on: another backend must not offer less.
    connected: bool,
}

impl<D: Domain> Blkfront<D> {
    /// Connects a vbd, and returns its control half and its queues.
    ///
    /// # Errors
    /// If the backend does not answer in time, describes no disk, or memory is short.
    #[traced]
    pub fn connect(domain: &D, config: &Config) -> Result<(Self, Vec<Queue<D>>), ConnectError> {
        let mut store = domain.store()?;
        let handle = config.handle;
        let bad = |why| ConnectError::Store { handle, why };
        let front = format!("device/vbd/{handle}");
        let (back, backend) = xenbus::backend_of(&mut store, &front).map_err(bad)?;
        let mut me = Self {
            domain: domain.clone(),
            store,
            config: config.clone(),
            backend,
            front,
            back,
            disk: DiskInfo::none(),
            queues: config.queues,
            ring_order: config.ring_order,
            untaken: Vec::new(),
            connected: false,
        };
        let deadline = Instant::now() + config.timeout;
        let links = loop {
            me.wait_for_backend("waiting for the backend's limits", config.timeout)?;
            match me.bring_up(config.timeout) {
                Ok(links) => break links,
                Err(why) if why.backend_gone() && Instant::now() < deadline => {
                    me.switch(XenbusState::Initialising).map_err(bad)?;
                }
                Err(why) => {
                    // Whoever reads our keys from here on finds a device that is going: its grefs may
                    // be another's soon.
                    let _ = me.fatal(&why.to_string());
                    me.close_untaken();
                    return Err(why);
                }
            }
        };
        let queues = me.queues(links)?;
        Ok((me, queues))
    }

    /// Goes on with the backend that comes after one that died, if it comes within `patience`: returns
    /// a new link for each queue, in the order of the queues, for [`Queue::relink`]. Each of its steps
    /// may take `timeout`. May be called again when it fails.
    ///
    /// # Errors
    /// As [`connect`](Self::connect); and if the new backend takes fewer or smaller rings, or its disk is
    /// shorter, has other sectors or takes shorter requests, than what is in flight was made for.
    #[traced]
    pub fn reconnect(
        &mut self,
        patience: Duration,
        timeout: Duration,
    ) -> Result<Vec<Link<D>>, ConnectError> {
        let handle = self.config.handle;
        self.switch(XenbusState::Initialising)
            .map_err(|why| ConnectError::Store { handle, why })?;
        self.wait_for_backend("waiting for another backend", patience)?;
        self.bring_up(timeout)
    }

    /// Publishes rings, waits for the backend to take them, reads what it says of the disk.
    #[traced]
    fn bring_up(&mut self, timeout: Duration) -> Result<Vec<Link<D>>, ConnectError> {
        let handle = self.config.handle;
        let bad = |why| ConnectError::Store { handle, why };
        let most = |store: &mut XsClient<D::Transport>, key: &str, default| {
            let path = format!("{}/{key}", self.back);
            xenbus::read_u32_if_present(store, &path).map(|found| found.unwrap_or(default))
        };
        let queues = most(&mut self.store, keys::MULTI_QUEUE_MAX_QUEUES, 1).map_err(bad)?;
        let order = most(&mut self.store, keys::MAX_RING_PAGE_ORDER, 0).map_err(bad)?;
        let (queues, order) = (self.queues.min(queues).max(1), self.ring_order.min(order));
        // Every queue there is needs a ring, with room for what it has in flight.
        if self.connected && (queues, order) != (self.queues, self.ring_order) {
            let before = format!("{} of order {} before", self.queues, self.ring_order);
            let what = format!("{queues} rings of order {order}, {before}");
            return Err(ConnectError::Disk { handle, what });
        }
        let links = self.links(queues, order)?;
        // A backend that never connects must not cost pages, grants and ports each time.
        self.close_untaken();
        match self.publish_and_read(&links, order, timeout) {
            Ok(disk) => {
                (self.disk, self.queues, self.ring_order) = (disk, queues, order);
                self.connected = true;
                Ok(links)
            }
            Err(why) => {
                self.untaken = links;
                Err(why)
            }
        }
    }

    /// So many rings of this order, or none.
    fn links(&self, queues: u32, order: u32) -> Result<Vec<Link<D>>, DomainError> {
        let (base, mut links) = (self.config.index_base, Vec::new());
        for n in 0..queues {
            let name = queue_name(self.domain.domid(), self.config.handle, n);
            match Link::new(&self.domain, self.backend, order, base, &name) {
                Ok(link) => links.push(link),
                Err(why) => {
                    for link in links {
                        Link::close(link, &self.domain);
                    }
                    return Err(why);
                }
            }
        }
        Ok(links)
    }

    fn close_untaken(&mut self) {
        for link in self.untaken.drain(..) {
            link.close(&self.domain);
        }
    }

    #[traced]
    fn publish_and_read(
        &mut self,
        links: &[Link<D>],
        order: u32,
        timeout: Duration,
    ) -> Result<DiskInfo, ConnectError> {
        let handle = self.config.handle;
        let bad = |why| ConnectError::Store { handle, why };
        self.watch_backend(timeout).map_err(bad)?;
        self.publish(links, order).map_err(bad)?;
        self.switch(XenbusState::Initialised).map_err(bad)?;
        self.wait_connected(timeout)?;
        let (dialect, back) = (self.config.limits.dialect, &self.back);
        // As one: a backend that dies meanwhile takes its keys along, and what is left of a description
        // would be that of another disk.
        let disk = self.store.transaction(|t| DiskInfo::read(t, back, dialect)).map_err(bad)?;
        let less = self.connected.then(|| disk.less_than(&self.disk)).flatten();
        if let Some(what) = disk.fault().or(less) {
            let _ = self.fatal(&what);
            return Err(ConnectError::Disk { handle, what });
        }
        self.switch(XenbusState::Connected).map_err(bad)?;
        tracing::info!(vbd = handle, ?disk, "connected");
        Ok(disk)
    }

    /// Takes the pages of each queue and, where there are indirect requests, their segments' pages, as far
    /// as there are any.
    fn take_pages(
        &self,
        links: &[Link<D>],
        pages: &mut Vec<Buffers>,
        lists: &mut Vec<Buffers>,
    ) -> Result<(), DomainError> {
        let take = |count, readonly| Buffers::new(&self.domain, self.backend, count, readonly);
        for link in links {
            pages.push(take(self.config.pages, false)?);
            if self.segments() > DIRECT {
                lists.push(take(link.ring.size() as usize, true)?);
            }
        }
        Ok(())
    }

    /// A queue for each link.
    #[traced]
    fn queues(&mut self, links: Vec<Link<D>>) -> Result<Vec<Queue<D>>, ConnectError> {
        let (mut pages, mut lists) = (Vec::new(), Vec::new());
        if let Err(why) = self.take_pages(&links, &mut pages, &mut lists) {
            // The backend has the rings already: it is to let go of them first.
            let _ = self.close(self.config.timeout);
            for link in links {
                link.close(&self.domain);
            }
            for buffers in pages.into_iter().chain(lists) {
                buffers.close(self.domain.memory());
            }
            return Err(why.into());
        }
        let mut limits = self.config.limits;
        limits.handle = u16::try_from(self.config.handle).unwrap_or(u16::MAX);
        limits.segments = self.segments();
        let written = Arc::new(AtomicBool::new(false));
        let (mut queues, mut lists) = (Vec::new(), lists.into_iter());
        for (mut link, pages) in links.into_iter().zip(pages) {
            link.port.send();
            let (lists, written) = (lists.next(), Arc::clone(&written));
            queues.push(Queue::new(&self.domain, link, self.disk, limits, pages, lists, written));
        }
        Ok(queues)
    }

    /// Segments of a request: what is wanted, and what the backend takes.
    #[must_use]
    pub fn segments(&self) -> u32 {
        let indirect = if self.config.indirect { u32::from(self.disk.max_indirect) } else { 0 };
        // One page of segments for each request is enough for any number Linux offers.
        self.config.limits.segments.clamp(1, DIRECT.max(indirect.min(LIST)))
    }

    /// What was agreed on: rings, and pages of each as a power of two.
    #[must_use]
    pub fn agreed(&self) -> (u32, u32) {
        (self.queues, self.ring_order)
    }

    /// What the backend said of the disk.
    #[must_use]
    pub fn disk(&self) -> &DiskInfo {
        &self.disk
    }

    /// Looks whether the disk has another length.
    ///
    /// # Errors
    /// If the store does not answer.
    pub fn resized(&mut self) -> Result<Option<u64>, StoreError> {
        let dialect = self.config.limits.dialect;
        let now = DiskInfo::read(&mut self.store, &self.back, dialect)?;
        let changed = now.sectors != self.disk.sectors && now.fault().is_none();
        if changed {
            self.disk.sectors = now.sectors;
        }
        Ok(changed.then_some(now.sectors))
    }

    /// The store connection.
    pub fn store(&mut self) -> &mut XsClient<D::Transport> {
        &mut self.store
    }

    /// Directory of the backend in the store.
    #[must_use]
    pub fn backend_dir(&self) -> &str {
        &self.back
    }

    /// The backend's state now.
    ///
    /// # Errors
    /// If the store does not answer.
    pub fn otherend(&mut self) -> Result<XenbusState, StoreError> {
        xenbus::read_state(&mut self.store, &self.back)
    }

    /// Gives the device up because the backend lied: error node, Closing.
    ///
    /// # Errors
    /// If the store does not answer.
    pub fn fatal(&mut self, lie: &str) -> Result<(), StoreError> {
        const EINVAL: u32 = 22;
        xenbus::fatal(&mut self.store, &self.front, EINVAL, lie)
    }

    /// Leaves in good order, as Linux' blkfront does: Closed at once, never Closing, and then waits for
    /// the backend. The queues are closed afterwards, when nobody uses their pages any more.
    ///
    /// # Errors
    /// If the store does not answer.
    #[traced]
    pub fn close(&mut self, timeout: Duration) -> Result<(), StoreError> {
        self.switch(XenbusState::Closed)?;
        let done = [XenbusState::Closed, XenbusState::Unknown];
        // A backend that does not answer any more keeps nobody from leaving.
        let deadline = Instant::now() + timeout;
        let _ = xenbus::wait_for_state(&mut self.store, &self.back, &done, deadline);
        self.close_untaken();
        Ok(())
    }

    fn switch(&mut self, state: XenbusState) -> Result<(), StoreError> {
        xenbus::switch_state(&mut self.store, &self.front, state)
    }

    /// Writes our keys in one transaction, in the order in which Linux' blkfront does.
    #[traced]
    fn publish(&mut self, links: &[Link<D>], order: u32) -> Result<(), StoreError> {
        let (front, count) = (self.front.clone(), links.len());
        let persistent = if self.config.persistent { "1" } else { "0" };
        self.store.transaction(|t| {
            if count > 1 {
                t.write(&format!("{front}/{}", keys::MULTI_QUEUE_NUM_QUEUES), count.to_string())?;
            }
            if order > 0 {
                t.write(&format!("{front}/{}", keys::RING_PAGE_ORDER), order.to_string())?;
            }
            for (n, link) in (0..).zip(links) {
                let dir = match count {
                    1 => front.clone(),
                    _ => format!("{front}/{}", keys::queue(n)),
                };
                for (page, gref) in link.pages.grefs().iter().enumerate() {
                    let key = match order {
                        0 => keys::RING_REF.to_owned(),
                        _ => keys::ring_ref(page),
                    };
                    t.write(&format!("{dir}/{key}"), gref.to_string())?;
                }
                t.write(&format!("{dir}/{}", keys::EVENT_CHANNEL), link.port.port().to_string())?;
            }
            t.write(&format!("{front}/{}", keys::PROTOCOL), PROTO_X86_64)?;
            t.write(&format!("{front}/{}", keys::FEATURE_PERSISTENT), persistent)
        })
    }
}
