//! The driver domain's half of the handshake, for all devices of one kind that it serves.
//!
//! ```text
//!   backend                                 frontend
//!   Initialising -> InitWait   offers    ->
//!                                        <- keys, Connected (a disk's: or Initialised)
//!   -> Connected, once hotplug-status is `connected`: maps, binds
//!   any -> Closing or Closed             <- Closing, Closed, or gone
//!   Closed -> InitWait                   <- Initialising again
//! ```
//!
//! The devices are found and forgotten here; the way of each is in `device`, what a kind of device does
//! in its own way in `kind`.
//!
//! Runs on a thread of its own: it reports queues that are ready ([`Event::Connected`]) and those
//! that must be given back ([`Event::Disconnect`]); workers serve them in between.

mod device;
mod error;
mod kind;

use std::collections::BTreeMap;
use std::time::Duration;

use tracer::traced;

pub use self::device::Device;
pub use self::error::ConnectError;
pub use self::kind::{Kind, Store};
use super::{Nodes, StoreError, frontends, keys};
use crate::DomId;

/// Which device.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct DeviceId {
    /// The guest.
    pub front: DomId,
    /// Which of the guest's devices of this kind.
    pub handle: u32,
}

/// Something for the workers.
#[derive(Debug)]
pub enum Event<Q> {
    /// These queues are to be served.
    Connected(DeviceId, Vec<Q>),
    /// All queues of this device must be closed; then call [`Backend::disconnected`].
    Disconnect(DeviceId),
}

/// The control half of a backend.
#[derive(Debug)]
pub struct Backend<K: Kind> {
    kind: K,
    devices: BTreeMap<DeviceId, Device<K>>,
}

impl<K: Kind> Backend<K> {
    /// Begins to look for devices.
    ///
    /// # Errors
    /// If the store does not answer.
    pub fn new(domain: &K::Domain, config: K::Config) -> Result<Self, ConnectError> {
        let mut kind = K::new(domain, config)?;
        kind.store().watch(&Self::backends(), "backends")?;
        Ok(Self { kind, devices: BTreeMap::new() })
    }

    /// Where our devices are, relative to our home.
    fn backends() -> String {
        format!("backend/{}", K::NAME)
    }

    /// The store connection.
    pub fn store(&mut self) -> &mut Store<K> {
        self.kind.store()
    }

    /// Waits at most `timeout` for something to change, and deals with it.
    ///
    /// # Errors
    /// If the store does not answer: the host is gone.
    pub fn step(&mut self, timeout: Duration) -> Result<Vec<Event<K::Queue>>, StoreError> {
        let mut events = Vec::new();
        if frontends::changed(self.kind.store(), timeout)? {
            self.discover()?;
            for device in self.devices.values_mut() {
                match device.look(&mut self.kind, &mut events) {
                    // What this guest wrote is no reason to leave the others alone.
                    Err(why) if why.is_answer() => {
                        device.rogue(&mut self.kind, &why.to_string())?
                    }
                    looked => looked?,
                }
            }
            self.devices.retain(|_, device| !device.removed);
        }
        // Afterwards: what is told then is told to guests that are still there.
        self.kind.tell(self.devices.values_mut().filter(|device| device.connected))?;
        Ok(events)
    }

    /// The workers have given the queues of this device back and closed them.
    ///
    /// # Errors
    /// If the store does not answer.
    #[traced]
    pub fn disconnected(&mut self, id: DeviceId) -> Result<(), StoreError> {
        let Some(device) = self.devices.get_mut(&id) else { return Ok(()) };
        device.disconnected(&mut self.kind)
    }

    /// The guest was found lying: the device breaks. Its queues, if workers have any, are to be given
    /// back.
    ///
    /// # Errors
    /// If the store does not answer.
    #[traced]
    pub fn rogue(&mut self, id: DeviceId, lie: &str) -> Result<(), StoreError> {
        let Some(device) = self.devices.get_mut(&id) else { return Ok(()) };
        device.rogue(&mut self.kind, lie)
    }

    /// A queue of this device has stalled, or has not any more.
    ///
    /// # Errors
    /// If the store does not answer.
    #[traced]
    pub fn stalled(&mut self, id: DeviceId, stalled: bool) -> Result<(), StoreError> {
        match self.devices.get_mut(&id) {
            Some(device) if device.connected => self.kind.stalled(device, stalled),
            _ => Ok(()),
        }
    }

    /// Finds devices that are new.
    #[traced]
    fn discover(&mut self) -> Result<(), StoreError> {
        for (id, back) in frontends::list(self.kind.store(), &Self::backends())? {
            if self.devices.contains_key(&id) {
                continue;
            }
            match self.probe(id, back) {
                Err(why) if why.is_answer() => {
                    let DeviceId { front, handle } = id;
                    tracing::warn!(%front, handle, %why, "{} not begun", K::NAME);
                }
                probed => probed?,
            }
        }
        Ok(())
    }

    /// A new device: offers what we have, and waits for the guest.
    #[traced]
    fn probe(&mut self, id: DeviceId, back: String) -> Result<(), StoreError> {
        let front = self.kind.store().read_if_present(&format!("{back}/{}", keys::FRONTEND))?;
        let Some(front) = front else { return Ok(()) };
        let own = self.kind.probe(&front)?;
        self.kind.offer(&back)?;
        frontends::watch(self.kind.store(), &front, id.front)?;
        let device = Device::new(id, back, front, own);
        self.devices.entry(id).or_insert(device).invite(&mut self.kind)
    }
}
