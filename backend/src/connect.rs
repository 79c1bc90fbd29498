//! The driver domain's half of the handshake, for all vifs it serves.
//!
//! ```text
//!   backend                                 frontend
//!   Initialising -> InitWait   features  ->
//!                                        <- keys, Connected
//!   -> Connected, once hotplug-status is `connected`: maps, binds
//!   any -> Closing or Closed             <- Closing, Closed, or gone
//!   any -> Closed -> InitWait            <- Initialising again
//! ```
//!
//! `Initialised` means nothing here: netfronts go past it, and one that writes its keys after it is
//! waited for until it is connected.
//!
//! Runs on a thread of its own: it reports queues that are ready ([`VifEvent::Connected`]) and those
//! that must be given back ([`VifEvent::Disconnect`]); workers serve them in between.

mod attach;

use std::collections::BTreeMap;
use std::time::Duration;

use rings::Domain;
use rings::store::{Nodes, StoreError, XenbusState, XsClient, frontends, keys, xenbus};
use tracer::traced;

use crate::error::ConnectError;
use crate::vif::{Config, VifEvent, VifId};

/// One vif, seen from the control side.
#[derive(Debug)]
struct Vif {
    back: String,
    front: String,
    state: XenbusState,
    /// Workers have its queues.
    connected: bool,
    /// The state to go to once they have given them back.
    leaving: Option<XenbusState>,
    /// The guest has lied: the queues are to be given back, whatever it does now.
    broken: bool,
    /// Queues whose guest has had no buffers for too long.
    stalled: u32,
}

/// The control half of netback.
#[derive(Debug)]
pub struct Netback<D: Domain> {
    domain: D,
    store: XsClient<D::Transport>,
    config: Config,
    vifs: BTreeMap<VifId, Vif>,
}

/// Where our vifs are, relative to our home.
const BACKENDS: &str = "backend/vif";

impl<D: Domain> Netback<D> {
    /// Begins to look for vifs.
    ///
    /// # Errors
    /// If the store does not answer.
    pub fn new(domain: &D, config: Config) -> Result<Self, ConnectError> {
        let mut store = domain.store()?;
        store.watch(BACKENDS, "backends")?;
        Ok(Self { domain: domain.clone(), store, config, vifs: BTreeMap::new() })
    }

    /// The store connection.
    pub fn store(&mut self) -> &mut XsClient<D::Transport> {
        &mut self.store
    }

    /// Waits at most `timeout` for something to change, and deals with it.
    ///
    /// # Errors
    /// If the store does not answer: the host is gone.
    pub fn step(&mut self, timeout: Duration) -> Result<Vec<VifEvent<D>>, StoreError> {
        let mut events = Vec::new();
        if frontends::changed(&mut self.store, timeout)? {
            self.discover()?;
            for id in self.vifs.keys().copied().collect::<Vec<_>>() {
                match self.look(id, &mut events) {
                    // What this guest wrote is no reason to leave the others alone.
                    Err(why) if why.is_answer() => self.rogue(id, &why.to_string())?,
                    looked => looked?,
                }
            }
        }
        Ok(events)
    }

    /// The workers have given the queues of this vif back and closed them.
    ///
    /// # Errors
    /// If the store does not answer.
    #[traced]
    pub fn disconnected(&mut self, id: VifId) -> Result<(), StoreError> {
        let Some(vif) = self.vifs.get_mut(&id) else { return Ok(()) };
        (vif.connected, vif.broken) = (false, false);
        vif.stalled = 0;
        let carrier = format!("{}/{}", vif.back, keys::CARRIER);
        if self.store.read_if_present(&carrier)?.is_some() {
            self.store.rm(&carrier)?;
        }
        let Some(vif) = self.vifs.get_mut(&id) else { return Ok(()) };
        let Some(to) = vif.leaving.take() else { return Ok(()) };
        if vif.state != XenbusState::Closing {
            self.switch(id, XenbusState::Closing)?;
        }
        if to == XenbusState::Closing { Ok(()) } else { self.switch(id, to) }
    }

    /// The guest was found lying: the vif breaks. Its queues, if workers have any, are to be given back.
    ///
    /// # Errors
    /// If the store does not answer.
    #[traced]
    pub fn rogue(&mut self, id: VifId, lie: &str) -> Result<(), StoreError> {
        tracing::warn!(front = %id.front, handle = id.handle, lie, "vif broken");
        if let Some(vif) = self.vifs.get_mut(&id) {
            // The write of our own state below brings the next `step` here.
            vif.broken = vif.connected;
        }
        self.fail(id, lie)
    }

    /// A queue of this vif has stalled, or has not any more. With the first the carrier goes off, with
    /// the last it comes back: Linux tells its network stack, we the store.
    ///
    /// # Errors
    /// If the store does not answer.
    #[traced]
    pub fn stalled(&mut self, id: VifId, stalled: bool) -> Result<(), StoreError> {
        let Some(vif) = self.vifs.get_mut(&id).filter(|vif| vif.connected) else { return Ok(()) };
        let before = vif.stalled > 0;
        vif.stalled = if stalled { vif.stalled + 1 } else { vif.stalled.saturating_sub(1) };
        if before == (vif.stalled > 0) {
            return Ok(());
        }
        if before {
            tracing::info!(front = %id.front, handle = id.handle, "guest rx ready");
        } else {
            tracing::warn!(front = %id.front, handle = id.handle, "guest rx stalled: carrier off");
        }
        let carrier = format!("{}/{}", vif.back, keys::CARRIER);
        self.store.write(&carrier, if before { "1" } else { "0" })
    }

    /// Error node and Closing, as Linux' xenbus_dev_fatal leaves it.
    fn fail(&mut self, id: VifId, text: &str) -> Result<(), StoreError> {
        const EINVAL: u32 = 22;
        let Some(vif) = self.vifs.get_mut(&id) else { return Ok(()) };
        vif.state = XenbusState::Closing;
        xenbus::fatal(&mut self.store, &vif.back, EINVAL, text)
    }

    /// Finds vifs that are new.
    #[traced]
    fn discover(&mut self) -> Result<(), StoreError> {
        for (front, handle, back) in frontends::list(&mut self.store, BACKENDS)? {
            let id = VifId { front, handle };
            if self.vifs.contains_key(&id) {
                continue;
            }
            match self.probe(id, back) {
                Err(why) if why.is_answer() => {
                    tracing::warn!(%front, handle, %why, "vif not begun")
                }
                probed => probed?,
            }
        }
        Ok(())
    }

    /// A new vif: offers what we have, and waits for the guest.
    fn probe(&mut self, id: VifId, back: String) -> Result<(), StoreError> {
        let Some(front) = self.store.read_if_present(&format!("{back}/{}", keys::FRONTEND))? else {
            return Ok(());
        };
        self.offer(&back)?;
        frontends::watch(&mut self.store, &front, id.front)?;
        let state = XenbusState::Initialising;
        let vif =
            Vif { back, front, state, connected: false, leaving: None, broken: false, stalled: 0 };
        self.vifs.insert(id, vif);
        self.invite(id)
    }

    /// Writes what we offer, in the order in which Linux' netback does.
    fn offer(&mut self, back: &str) -> Result<(), StoreError> {
        self.store.transaction(|t| {
            for (key, value) in [
                (keys::FEATURE_SG, "1"),
                (keys::FEATURE_GSO_TCPV4, "1"),
                // smoltcp cannot do segmented TCP over IPv6.
                (keys::FEATURE_GSO_TCPV6, "0"),
                (keys::FEATURE_IPV6_CSUM_OFFLOAD, "1"),
                (keys::FEATURE_RX_COPY, "1"),
                (keys::FEATURE_RX_FLIP, "0"),
            ] {
                t.write(&format!("{back}/{key}"), value)?;
            }
            Ok(())
        })?;
        let queues = self.config.max_queues.to_string();
        self.store.write(&format!("{back}/{}", keys::FEATURE_SPLIT_EVENT_CHANNELS), "1")?;
        self.store.write(&format!("{back}/{}", keys::MULTI_QUEUE_MAX_QUEUES), queues)?;
        self.store.write(&format!("{back}/{}", keys::FEATURE_CTRL_RING), "0")
    }

    /// Lets the guest come, unless the device is another meanwhile: then the next look begins again.
    fn invite(&mut self, id: VifId) -> Result<(), StoreError> {
        let Some(vif) = self.vifs.get_mut(&id) else { return Ok(()) };
        if xenbus::invite(&mut self.store, &vif.back, keys::FEATURE_RX_COPY)? {
            let (from, to) = (vif.state, XenbusState::InitWait);
            tracing::info!(front = %id.front, handle = id.handle, %from, %to, "vif");
            vif.state = to;
        }
        Ok(())
    }

    fn switch(&mut self, id: VifId, state: XenbusState) -> Result<(), StoreError> {
        let Some(vif) = self.vifs.get_mut(&id) else { return Ok(()) };
        tracing::info!(front = %id.front, handle = id.handle, from = %vif.state, to = %state, "vif");
        vif.state = state;
        xenbus::switch_state(&mut self.store, &vif.back, state)
    }

    /// Looks at one vif's frontend, and follows it.
    #[traced]
    fn look(&mut self, id: VifId, events: &mut Vec<VifEvent<D>>) -> Result<(), StoreError> {
        let Some(vif) = self.vifs.get(&id) else { return Ok(()) };
        if vif.leaving.is_some() {
            return Ok(());
        }
        let (front, back, state) = (vif.front.clone(), vif.back.clone(), vif.state);
        if vif.broken && vif.connected {
            return self.bring_down(id, XenbusState::Closing, events);
        }
        if frontends::is_new(&mut self.store, &back, keys::FEATURE_RX_COPY)? {
            return self.begin_again(id, &back, events);
        }
        let otherend = xenbus::read_state(&mut self.store, &front)?;
        match (otherend, state) {
            (XenbusState::Initialising, XenbusState::Closed) => self.invite(id),
            // Its driver begins again, without a word of goodbye.
            (XenbusState::Initialising, XenbusState::Connected | XenbusState::Closing) => {
                self.bring_down(id, XenbusState::Closed, events)
            }
            (XenbusState::Connected, XenbusState::InitWait) => {
                if frontends::is_plugged(&mut self.store, &back)? {
                    self.bring_up(id, &front, events)?;
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
        id: VifId,
        back: &str,
        events: &mut Vec<VifEvent<D>>,
    ) -> Result<(), StoreError> {
        if self.vifs.get(&id).is_some_and(|vif| vif.connected) {
            return self.bring_down(id, XenbusState::Closed, events);
        }
        self.offer(back)?;
        self.invite(id)
    }

    /// The guest is connected: makes the queues and hands them to the workers.
    #[traced]
    fn bring_up(
        &mut self,
        id: VifId,
        front: &str,
        events: &mut Vec<VifEvent<D>>,
    ) -> Result<(), StoreError> {
        let rate = self.rate(id)?;
        match self.connect(id, front, rate) {
            Ok(queues) => {
                if let Some(vif) = self.vifs.get_mut(&id) {
                    vif.connected = true;
                }
                events.push(VifEvent::Connected(id, queues));
                self.switch(id, XenbusState::Connected)
            }
            Err(why) => {
                if why.is_guest_gone() {
                    tracing::debug!(front = %id.front, handle = id.handle, %why, "its guest went");
                } else {
                    tracing::warn!(front = %id.front, handle = id.handle, %why, "vif refused");
                }
                self.fail(id, &why.to_string())
            }
        }
    }

    /// The guest leaves: asks for the queues, or goes at once if there are none.
    #[traced]
    fn bring_down(
        &mut self,
        id: VifId,
        to: XenbusState,
        events: &mut Vec<VifEvent<D>>,
    ) -> Result<(), StoreError> {
        let Some(vif) = self.vifs.get_mut(&id) else { return Ok(()) };
        if vif.connected {
            vif.leaving = Some(to);
            events.push(VifEvent::Disconnect(id));
            return Ok(());
        }
        if vif.state != XenbusState::Closing {
            self.switch(id, XenbusState::Closing)?;
        }
        if to == XenbusState::Closed { self.switch(id, to) } else { Ok(()) }
    }

    /// The toolstack has removed the device.
    fn forget_if_removed(&mut self, id: VifId, back: &str) -> Result<(), StoreError> {
        if frontends::is_removed(&mut self.store, back)?
            && self.vifs.get(&id).is_some_and(|vif| !vif.connected)
            && let Some(vif) = self.vifs.remove(&id)
        {
            frontends::unwatch(&mut self.store, &vif.front, id.front);
        }
        Ok(())
    }
}
