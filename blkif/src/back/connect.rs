//! What a vbd does in its own way in the handshake: its limits, when its guest is ready, features and
//! geometry. The handshake itself is [`rings::store::backend`]'s, as Linux' blkback goes through it.
//!
//! ```text
//!   backend                                 frontend
//!   InitWait                   limits    ->
//!                                        <- ring, port, Initialised (or Connected at once)
//!   -> Connected   features, geometry    ->
//!                                        <- Connected
//!   sectors rewritten, and our own state ->    the disk has another length
//! ```
//!
//! A frontend that is connected before we are is one whose backend has died: its ring belongs to
//! that. We wait until it has noticed and brings a new one. What a connected vbd reads from its guest's
//! keys is in `keys`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use rings::Domain;
use rings::store::backend::{Backend, ConnectError, Device, Kind};
use rings::store::{Nodes, StoreError, XenbusState, XsClient, keys, xenbus};
use tracer::traced;

use super::disk::Geometry;
use super::keys::{Ports, description, disk, ports, queue, read};
use super::news;
use super::queue::{Live, Queue};
use super::vbd::Config;

/// The control half of blkback.
pub type Blkback<D> = Backend<Vbds<D>>;

/// What serves vbds.
#[derive(Debug)]
pub struct Vbds<D: Domain> {
    domain: D,
    store: XsClient<D::Transport>,
    config: Config,
}

/// What is kept of one vbd.
#[derive(Debug, Default)]
pub struct Vbd {
    /// Ports of a connection to a backend before us.
    stale: Option<Ports>,
    live: Arc<Live>,
    /// Features that were taken back.
    withdrawn: (bool, bool),
}

impl<D: Domain> Kind for Vbds<D> {
    const NAME: &'static str = "vbd";
    const OFFERED: &'static str = keys::MAX_RING_PAGE_ORDER;
    const STEPWISE: bool = false;

    type Domain = D;
    type Config = Config;
    type Queue = Queue<D>;
    type Own = Vbd;

    fn new(domain: &D, config: Config) -> Result<Self, ConnectError> {
        Ok(Self { domain: domain.clone(), store: domain.store()?, config })
    }

    fn store(&mut self) -> &mut XsClient<D::Transport> {
        &mut self.store
    }

    fn probe(&mut self, front: &str) -> Result<Vbd, StoreError> {
        let state = xenbus::read_state(&mut self.store, front)?;
        let connected = matches!(state, XenbusState::Initialised | XenbusState::Connected);
        let stale = if connected { ports(&mut self.store, front)? } else { None };
        Ok(Vbd { stale, ..Vbd::default() })
    }

    /// In the order in which Linux' blkback does.
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

    fn is_ready(&mut self, vbd: &mut Device<Self>, front: XenbusState) -> Result<bool, StoreError> {
        let stale = &mut vbd.own.stale;
        let published = matches!(front, XenbusState::Initialised | XenbusState::Connected);
        if published && stale.is_some() && *stale == ports(&mut self.store, &vbd.front)? {
            return Ok(false);
        }
        // It has seen us: what it publishes from now on is for us.
        *stale = None;
        Ok(published)
    }

    #[traced]
    fn connect(&mut self, vbd: &mut Device<Self>) -> Result<Vec<Queue<D>>, ConnectError> {
        let own = &mut vbd.own;
        // It may have changed while nobody was connected.
        own.live.sectors.store(self.config.disk.geometry().sectors, Ordering::Relaxed);
        let disk = disk(&mut self.store, &vbd.back, &self.config)?;
        let asked = read(&mut self.store, &vbd.front, &self.config)?;
        // The first that fails ends it, and those before it are dropped: closed.
        let queues: Result<Vec<Queue<D>>, ConnectError> = asked
            .rings
            .iter()
            .map(|ring| queue(&self.domain, vbd.id, ring, &asked, &disk, &self.config, &own.live))
            .collect();
        let queues = queues?;
        // All is offered anew; what the disk lacks is taken back again.
        own.withdrawn = (false, false);
        self.describe(&vbd.back, &disk)?;
        Ok(queues)
    }

    fn tell<'a>(
        &mut self,
        connected: impl Iterator<Item = &'a mut Device<Self>>,
    ) -> Result<(), StoreError> {
        let resized = self.config.disk.resized();
        for vbd in connected {
            let mut all = news::withdrawn(&vbd.own.live, &mut vbd.own.withdrawn);
            if let Some(sectors) = resized {
                tracing::info!(sectors, "the disk has another length");
                vbd.own.live.sectors.store(sectors, Ordering::Relaxed);
                all.extend(news::length(&self.config, vbd.state));
            }
            if !vbd.is_leaving() && !all.is_empty() {
                news::tell(&mut self.store, &vbd.back, &all)?;
            }
        }
        Ok(())
    }
}

impl<D: Domain> Vbds<D> {
    /// Features and geometry in one transaction, in the order in which Linux' blkback writes them.
    #[traced]
    fn describe(&mut self, back: &str, disk: &Geometry) -> Result<(), StoreError> {
        let all = description(disk, &self.config);
        let (path, name) = (format!("{back}/{}", keys::PHYSICAL_DEVICE_PATH), &self.config.name);
        self.store.transaction(|t| {
            for (key, value) in &all {
                t.write(&format!("{back}/{key}"), value)?;
            }
            let named = t.read_if_present(&path)?.is_some_and(|known| !known.is_empty());
            if named || name.is_empty() { Ok(()) } else { t.write(&path, name) }
        })
    }
}
