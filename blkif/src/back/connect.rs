//! The driver domain's half of the handshake, for all vbds it serves.
//!
//! ```text
//!   backend                                 frontend
//!   Initialising -> InitWait   limits    ->
//!                                        <- ring, port, Initialised (or Connected at once)
//!   -> Connected   features, geometry    ->
//!                                        <- Connected
//!   sectors rewritten, and our own state ->    the disk has another length
//!   any -> Closing or Closed             <- Closing, Closed, or gone
//!   Closed -> InitWait                   <- Initialising again
//! ```
//!
//! A frontend that is connected before we are is one whose backend has died: its ring belongs to
//! that. We wait until it has noticed and brings a new one. What a connected vbd reads from its guest's
//! keys is in `keys`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rings::Domain;
use rings::store::{Nodes, StoreError, XenbusState, XsClient, frontends, keys, xenbus};
use tracer::traced;

use super::disk::Geometry;
use super::error::ConnectError;
use super::news;
use super::queue::{Live, Queue};
use super::vbd::{Config, VbdEvent, VbdId};

/// One vbd, seen from the control side.
#[derive(Debug)]
struct Vbd {
    back: String,
    front: String,
    state: XenbusState,
    /// Workers have its queues.
    connected: bool,
    /// The state to go to once they have given them back.
    leaving: Option<XenbusState>,
    /// The guest has lied: the queues are to be given back, whatever it does now.
    broken: bool,
    /// Ports of a connection to a backend before us.
    stale: Option<super::keys::Ports>,
    live: Arc<Live>,
    /// Features that were taken back.
    withdrawn: (bool, bool),
}

/// The control half of blkback.
#[derive(Debug)]
pub struct Blkback<D: Domain> {
    domain: D,
    store: XsClient<D::Transport>,
    config: Config,
    vbds: BTreeMap<VbdId, Vbd>,
}

/// Where our vbds are, relative to our home.
const BACKENDS: &str = "backend/vbd";

impl<D: Domain> Blkback<D> {
    /// Begins to look for vbds.
    ///
    /// # Errors
    /// If the store does not answer.
    pub fn new(domain: &D, config: Config) -> Result<Self, ConnectError> {
        let mut store = domain.store()?;
        store.watch(BACKENDS, "backends")?;
        Ok(Self { domain: domain.clone(), store, config, vbds: BTreeMap::new() })
    }

    /// The store connection.
    pub fn store(&mut self) -> &mut XsClient<D::Transport> {
        &mut self.store
    }

    /// Waits at most `timeout` for something to change, and deals with it.
    ///
    /// # Errors
    /// If the store does not answer: the host is gone.
    pub fn step(&mut self, timeout: Duration) -> Result<Vec<VbdEvent<D>>, StoreError> {
        let mut events = Vec::new();
        if frontends::changed(&mut self.store, timeout)? {
            self.discover()?;
            for id in self.vbds.keys().copied().collect::<Vec<_>>() {
                match self.look(id, &mut events) {
                    // What this guest wrote is no reason to leave the others alone.
                    Err(why) if why.is_answer() => self.rogue(id, &why.to_string())?,
                    looked => looked?,
                }
            }
        }
        // Afterwards: what is told then is told to guests that are still there.
        self.look_at_disk()?;
        Ok(events)
    }

    /// The workers have given the queues of this vbd back and closed them.
    ///
    /// # Errors
    /// If the store does not answer.
    pub fn disconnected(&mut self, id: VbdId) -> Result<(), StoreError> {
        let Some(vbd) = self.vbds.get_mut(&id) else { return Ok(()) };
        (vbd.connected, vbd.broken) = (false, false);
        let Some(to) = vbd.leaving.take() else { return Ok(()) };
        self.switch(id, to)
    }

    /// The guest was found lying: the vbd breaks. Its queues, if workers have any, are to be given back.
    ///
    /// # Errors
    /// If the store does not answer.
    pub fn rogue(&mut self, id: VbdId, lie: &str) -> Result<(), StoreError> {
        tracing::warn!(front = %id.front, handle = id.handle, lie, "vbd broken");
        if let Some(vbd) = self.vbds.get_mut(&id) {
            // The write of our own state below brings the next `step` here.
            vbd.broken = vbd.connected;
        }
        self.fail(id, lie)
    }

    /// Error node and Closing, as Linux' xenbus_dev_fatal leaves it.
    fn fail(&mut self, id: VbdId, text: &str) -> Result<(), StoreError> {
        const EINVAL: u32 = 22;
        let Some(vbd) = self.vbds.get_mut(&id) else { return Ok(()) };
        vbd.state = XenbusState::Closing;
        xenbus::fatal(&mut self.store, &vbd.back, EINVAL, text)
    }

    /// Finds vbds that are new.
    fn discover(&mut self) -> Result<(), StoreError> {
        for (front, handle, back) in frontends::list(&mut self.store, BACKENDS)? {
            let id = VbdId { front, handle };
            if self.vbds.contains_key(&id) {
                continue;
            }
            match self.probe(id, back) {
                Err(why) if why.is_answer() => {
                    tracing::warn!(%front, handle, %why, "vbd not begun")
                }
                probed => probed?,
            }
        }
        Ok(())
    }

    /// A new vbd: offers what we have, and waits for the guest.
    #[traced]
    fn probe(&mut self, id: VbdId, back: String) -> Result<(), StoreError> {
        let Some(front) = self.store.read_if_present(&format!("{back}/{}", keys::FRONTEND))? else {
            return Ok(());
        };
        let state = xenbus::read_state(&mut self.store, &front)?;
        let connected = matches!(state, XenbusState::Initialised | XenbusState::Connected);
        let stale = if connected { super::keys::ports(&mut self.store, &front)? } else { None };
        self.offer(&back)?;
        frontends::watch(&mut self.store, &front, id.front)?;
        let live = Live::of(self.config.disk.geometry().sectors);
        let vbd = Vbd {
            back,
            front,
            state: XenbusState::Initialising,
            connected: false,
            leaving: None,
            broken: false,
            stale,
            live: Arc::new(live),
            withdrawn: (false, false),
        };
        self.vbds.insert(id, vbd);
        self.invite(id)
    }

    /// Writes our limits, in the order in which Linux' blkback does.
    #[traced]
    fn offer(&mut self, back: &str) -> Result<(), StoreError> {
        for (key, value) in [
            (keys::FEATURE_MAX_INDIRECT_SEGMENTS, u32::from(self.config.max_indirect)),
            (keys::MULTI_QUEUE_MAX_QUEUES, self.config.max_queues),
            (keys::MAX_RING_PAGE_ORDER, self.config.max_ring_order),
        ] {
            self.store.write(&format!("{back}/{key}"), value.to_string())?;
        }
        Ok(())
    }

    /// Lets the guest come, unless the device is another meanwhile: then the next look begins again.
    fn invite(&mut self, id: VbdId) -> Result<(), StoreError> {
        let Some(vbd) = self.vbds.get_mut(&id) else { return Ok(()) };
        if xenbus::invite(&mut self.store, &vbd.back, keys::MAX_RING_PAGE_ORDER)? {
            let (from, to) = (vbd.state, XenbusState::InitWait);
            tracing::info!(front = %id.front, handle = id.handle, %from, %to, "vbd");
            vbd.state = to;
        }
        Ok(())
    }

    fn switch(&mut self, id: VbdId, state: XenbusState) -> Result<(), StoreError> {
        let Some(vbd) = self.vbds.get_mut(&id) else { return Ok(()) };
        // The node may lack even the state that we know: the device may have been made anew.
        if vbd.state != state {
            let from = vbd.state;
            tracing::info!(front = %id.front, handle = id.handle, %from, to = %state, "vbd");
        }
        vbd.state = state;
        xenbus::switch_state(&mut self.store, &vbd.back, state)
    }

    /// Looks at one vbd's frontend, and follows it.
    fn look(&mut self, id: VbdId, events: &mut Vec<VbdEvent<D>>) -> Result<(), StoreError> {
        let Some(vbd) = self.vbds.get(&id) else { return Ok(()) };
        if vbd.leaving.is_some() {
            return Ok(());
        }
        let (front, back, state) = (vbd.front.clone(), vbd.back.clone(), vbd.state);
        if vbd.broken && vbd.connected {
            return self.bring_down(id, XenbusState::Closing, events);
        }
        if frontends::is_new(&mut self.store, &back, keys::MAX_RING_PAGE_ORDER)? {
            return self.begin_again(id, &back, events);
        }
        let otherend = xenbus::read_state(&mut self.store, &front)?;
        match (otherend, state) {
            (XenbusState::Initialising, XenbusState::Closed) => self.invite(id),
            (XenbusState::Initialised | XenbusState::Connected, XenbusState::InitWait) => {
                if frontends::is_plugged(&mut self.store, &back)? {
                    self.bring_up(id, &front, events)?;
                }
                Ok(())
            }
            (XenbusState::Initialising, XenbusState::InitWait) => {
                // It has seen us: what it publishes next is for us.
                if let Some(vbd) = self.vbds.get_mut(&id) {
                    vbd.stale = None;
                }
                Ok(())
            }
            (XenbusState::Closing, s) if s != XenbusState::Closed => {
                self.bring_down(id, XenbusState::Closing, events)
            }
            (XenbusState::Closed, s) if s != XenbusState::Closed => {
                self.bring_down(id, XenbusState::Closed, events)
            }
            (XenbusState::Unknown, s) => {
                if s != XenbusState::Closed {
                    self.bring_down(id, XenbusState::Closed, events)?;
                }
                self.forget_if_removed(id, &back)
            }
            _ => Ok(()),
        }
    }

    /// The toolstack made the device anew: another guest has taken the place of the one we knew.
    fn begin_again(
        &mut self,
        id: VbdId,
        back: &str,
        events: &mut Vec<VbdEvent<D>>,
    ) -> Result<(), StoreError> {
        let Some(vbd) = self.vbds.get_mut(&id) else { return Ok(()) };
        if vbd.connected {
            return self.bring_down(id, XenbusState::Closed, events);
        }
        (vbd.stale, vbd.withdrawn) = (None, (false, false));
        self.offer(back)?;
        self.invite(id)
    }

    /// The guest has published its ring: makes the queues and hands them to the workers.
    #[traced]
    fn bring_up(
        &mut self,
        id: VbdId,
        front: &str,
        events: &mut Vec<VbdEvent<D>>,
    ) -> Result<(), StoreError> {
        let ports = super::keys::ports(&mut self.store, front)?;
        let Some(vbd) = self.vbds.get_mut(&id) else { return Ok(()) };
        if vbd.stale.is_some() && vbd.stale == ports {
            return Ok(());
        }
        vbd.stale = None;
        let (live, back) = (Arc::clone(&vbd.live), vbd.back.clone());
        // It may have changed while nobody was connected.
        live.sectors.store(self.config.disk.geometry().sectors, Ordering::Relaxed);
        let disk = super::keys::disk(&mut self.store, &back, &self.config)?;
        match self.connect(id, front, &disk, &live) {
            Ok(queues) => {
                if let Some(vbd) = self.vbds.get_mut(&id) {
                    vbd.connected = true;
                    // All is offered anew below; what the disk lacks is taken back again.
                    vbd.withdrawn = (false, false);
                }
                self.describe(&back, &disk)?;
                events.push(VbdEvent::Connected(id, queues));
                self.switch(id, XenbusState::Connected)
            }
            Err(why) => {
                tracing::warn!(front = %id.front, handle = id.handle, %why, "vbd refused");
                self.fail(id, &why.to_string())
            }
        }
    }

    #[traced]
    fn connect(
        &mut self,
        id: VbdId,
        front: &str,
        disk: &Geometry,
        live: &Arc<Live>,
    ) -> Result<Vec<Queue<D>>, ConnectError> {
        let asked = super::keys::read(&mut self.store, front, &self.config)?;
        let mut queues = Vec::new();
        for ring in &asked.rings {
            match super::keys::queue(&self.domain, id, ring, &asked, disk, &self.config, live) {
                Ok(queue) => queues.push(queue),
                Err(why) => {
                    queues.into_iter().for_each(Queue::close);
                    return Err(why);
                }
            }
        }
        Ok(queues)
    }

    /// Features and geometry in one transaction, in the order in which Linux' blkback writes them.
    #[traced]
    fn describe(&mut self, back: &str, disk: &Geometry) -> Result<(), StoreError> {
        let all = super::keys::description(disk, &self.config);
        let (path, name) = (format!("{back}/{}", keys::PHYSICAL_DEVICE_PATH), &self.config.name);
        self.store.transaction(|t| {
            for (key, value) in &all {
                t.write(&format!("{back}/{key}"), value)?;
            }
            let named = t.read_if_present(&path)?.is_some_and(|known| !known.is_empty());
            if named || name.is_empty() { Ok(()) } else { t.write(&path, name) }
        })
    }

    /// The guest leaves: asks for the queues, or goes at once if there are none.
    #[traced]
    fn bring_down(
        &mut self,
        id: VbdId,
        to: XenbusState,
        events: &mut Vec<VbdEvent<D>>,
    ) -> Result<(), StoreError> {
        let Some(vbd) = self.vbds.get_mut(&id) else { return Ok(()) };
        if vbd.connected {
            vbd.leaving = Some(to);
            events.push(VbdEvent::Disconnect(id));
            return Ok(());
        }
        self.switch(id, to)
    }

    /// The toolstack has removed the device.
    fn forget_if_removed(&mut self, id: VbdId, back: &str) -> Result<(), StoreError> {
        if frontends::is_removed(&mut self.store, back)?
            && self.vbds.get(&id).is_some_and(|vbd| !vbd.connected)
            && let Some(vbd) = self.vbds.remove(&id)
        {
            frontends::unwatch(&mut self.store, &vbd.front, id.front);
        }
        Ok(())
    }

    /// Tells guests what has become of their disk.
    fn look_at_disk(&mut self) -> Result<(), StoreError> {
        let resized = self.config.disk.resized();
        for vbd in self.vbds.values_mut().filter(|vbd| vbd.connected) {
            let mut all = news::withdrawn(&vbd.live, &mut vbd.withdrawn);
            if let Some(sectors) = resized {
                tracing::info!(sectors, "the disk has another length");
                vbd.live.sectors.store(sectors, Ordering::Relaxed);
                all.extend(news::length(&self.config, vbd.state));
            }
            if vbd.leaving.is_none() && !all.is_empty() {
                news::tell(&mut self.store, &vbd.back, &all)?;
            }
        }
        Ok(())
    }
}
