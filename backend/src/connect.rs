//! The driver domain's half of the handshake, for all vifs it serves.
//!
//! ```text
//!   backend                                 frontend
//!   Initialising -> InitWait   features  ->
//!                                        <- keys, Connected
//!   -> Connected, once hotplug-status is `connected`: maps, binds
//!   any -> Closing or Closed             <- Closing, Closed, or gone
//!   Closed -> InitWait                   <- Initialising again
//! ```
//!
//! Runs on a thread of its own: it reports queues that are ready ([`VifEvent::Connected`]) and those
//! that must be given back ([`VifEvent::Disconnect`]); workers serve them in between.

use std::collections::BTreeMap;
use std::time::Duration;

use rings::evtchn::{Channel, Eoi};
use rings::io::netif::queue_name;
use rings::store::{Nodes, StoreError, XenbusState, XsClient, keys, xenbus};
use rings::{DomId, Domain, Foreign, Gref, Port};
use tracer::traced;

use crate::error::ConnectError;
use crate::queue::Queue;
use crate::rx::Rx;
use crate::starve::Starved;
use crate::stats::Stats;
use crate::tx::Tx;
use crate::vif::{Accepted, Config, VifEvent, VifId};

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
}

/// The control half of netback.
#[derive(Debug)]
pub struct Netback<D: Domain> {
    domain: D,
    store: XsClient<D::Transport>,
    config: Config,
    vifs: BTreeMap<VifId, Vif>,
}

/// Watch events thrown away before one look at everything: a guest that writes without end must not
/// keep us from looking.
const FLOOD: u32 = 1024;
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
        let Some(_) = self.store.next_event(Some(timeout))? else { return Ok(events) };
        // Watch events are only hints: however many have come, one look at everything will do, so
        // that a flood of them costs no more than the looks (XSA-349).
        for _ in 0..FLOOD {
            if self.store.next_event(Some(Duration::ZERO))?.is_none() {
                break;
            }
        }
        self.discover()?;
        for id in self.vifs.keys().copied().collect::<Vec<_>>() {
            self.look(id, &mut events)?;
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
        let Some(to) = vif.leaving.take() else { return Ok(()) };
        if vif.state != XenbusState::Closing {
            self.switch(id, XenbusState::Closing)?;
        }
        if to == XenbusState::Closing { Ok(()) } else { self.switch(id, to) }
    }

    /// A worker found the guest lying: the vif breaks. Its queues are to be given back.
    ///
    /// # Errors
    /// If the store does not answer.
    #[traced]
    pub fn rogue(&mut self, id: VifId, lie: &str) -> Result<(), StoreError> {
        tracing::warn!(front = %id.front, handle = id.handle, lie, "vif broken");
        if let Some(vif) = self.vifs.get_mut(&id) {
            // The write of our own state below brings the next `step` here.
            vif.broken = true;
        }
        self.fail(id, lie)
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
        for front in list(&mut self.store, BACKENDS)? {
            for handle in list(&mut self.store, &format!("{BACKENDS}/{front}"))? {
                let (Ok(domid), Ok(number)) = (front.parse(), handle.parse()) else { continue };
                let id = VifId { front: DomId(domid), handle: number };
                if !self.vifs.contains_key(&id) {
                    self.probe(id, format!("{BACKENDS}/{front}/{handle}"))?;
                }
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
        self.store.watch(&format!("{front}/{}", keys::STATE), &format!("front-{}", id.front))?;
        let state = XenbusState::Initialising;
        let vif = Vif { back, front, state, connected: false, leaving: None, broken: false };
        self.vifs.insert(id, vif);
        self.switch(id, XenbusState::InitWait)
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
        let otherend = xenbus::read_state(&mut self.store, &front)?;
        match (otherend, state) {
            (XenbusState::Initialising, XenbusState::Closed) => {
                self.switch(id, XenbusState::InitWait)
            }
            (XenbusState::Initialised | XenbusState::Connected, XenbusState::InitWait) => {
                let hotplug = format!("{back}/{}", keys::HOTPLUG_STATUS);
                if self.store.read_if_present(&hotplug)?.as_deref() == Some("connected") {
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

    /// The guest is connected: makes the queues and hands them to the workers.
    #[traced]
    fn bring_up(
        &mut self,
        id: VifId,
        front: &str,
        events: &mut Vec<VifEvent<D>>,
    ) -> Result<(), StoreError> {
        match self.connect(id, front) {
            Ok(queues) => {
                if let Some(vif) = self.vifs.get_mut(&id) {
                    vif.connected = true;
                }
                events.push(VifEvent::Connected(id, queues));
                self.switch(id, XenbusState::Connected)
            }
            Err(why) => {
                tracing::warn!(front = %id.front, handle = id.handle, %why, "vif refused");
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
        let gone = self.store.read_if_present(&format!("{back}/{}", keys::FRONTEND))?.is_none();
        if gone
            && self.vifs.get(&id).is_some_and(|vif| !vif.connected)
            && let Some(vif) = self.vifs.remove(&id)
        {
            let token = format!("front-{}", id.front);
            // The watch may have gone with the guest.
            let _ = self.store.unwatch(&format!("{}/{}", vif.front, keys::STATE), &token);
        }
        Ok(())
    }

    /// Reads the guest's keys, maps its rings and binds its ports.
    #[traced]
    fn connect(&mut self, id: VifId, front: &str) -> Result<Vec<Queue<D>>, ConnectError> {
        let count = format!("{front}/{}", keys::MULTI_QUEUE_NUM_QUEUES);
        let count = xenbus::read_u32_if_present(&mut self.store, &count)?.unwrap_or(1);
        if count == 0 || count > self.config.max_queues {
            return Err(ConnectError::Range {
                key: keys::MULTI_QUEUE_NUM_QUEUES.into(),
                value: count,
                range: format!("1 to {}", self.config.max_queues),
            });
        }
        let accepted = self.read_accepted(front)?;
        let mut queues = Vec::new();
        for n in 0..count {
            let dir = if count == 1 { front.into() } else { format!("{front}/queue-{n}") };
            match self.connect_queue(id, &dir, accepted, &queue_name(id.front, id.handle, n)) {
                Ok(queue) => queues.push(queue),
                Err(why) => {
                    queues.into_iter().for_each(Queue::close);
                    return Err(why);
                }
            }
        }
        Ok(queues)
    }

    fn read_accepted(&mut self, front: &str) -> Result<Accepted, StoreError> {
        let mut flag = |key| xenbus::read_flag(&mut self.store, &format!("{front}/{key}"));
        let (sg, gso) = (flag(keys::FEATURE_SG)?, flag(keys::FEATURE_GSO_TCPV4)?);
        let csum = !flag(keys::FEATURE_NO_CSUM_OFFLOAD)?;
        let rx_notify = flag(keys::FEATURE_RX_NOTIFY)?;
        Ok(Accepted { sg, gso: gso && sg && csum, csum, rx_notify })
    }

    #[traced]
    fn connect_queue(
        &mut self,
        vif: VifId,
        dir: &str,
        accepted: Accepted,
        name: &str,
    ) -> Result<Queue<D>, ConnectError> {
        let mut foreign = self.domain.foreign(vif.front, self.config.grant)?;
        let tx_page = self.map_ring(&mut foreign, dir, keys::TX_RING_REF)?;
        let rx_page = self.map_ring(&mut foreign, dir, keys::RX_RING_REF)?;
        let always = self.config.always_notify;
        let mut tx = Tx::new(foreign.region(&tx_page).clone(), always)
            .map_err(|why| ConnectError::Ring { key: keys::TX_RING_REF, why })?;
        let mut rx = Rx::new(foreign.region(&rx_page).clone(), always)
            .map_err(|why| ConnectError::Ring { key: keys::RX_RING_REF, why })?;
        tx.set_name(&format!("{name}-tx"));
        rx.set_name(&format!("{name}-rx"));
        let (mut tx_port, mut rx_port) = self.bind(vif.front, dir)?;
        tx_port.set_name(&if rx_port.is_some() { format!("{name}-tx") } else { name.into() });
        if let Some(port) = &mut rx_port {
            port.set_name(&format!("{name}-rx"));
        }
        Ok(Queue {
            vif,
            domain: self.domain.clone(),
            tx,
            rx,
            foreign,
            _pages: [tx_page, rx_page],
            tx_port,
            rx_port,
            eoi: Eoi::default(),
            stats: Stats::default(),
            accepted,
            broken: None,
            batch: self.config.batch,
            segment: Vec::new(),
            starved: Starved::default(),
        })
    }

    #[traced]
    fn map_ring(
        &mut self,
        foreign: &mut D::Foreign,
        dir: &str,
        key: &str,
    ) -> Result<<D::Foreign as Foreign>::Mapping, ConnectError> {
        let gref = xenbus::read_u32(&mut self.store, &format!("{dir}/{key}"))?;
        let refused = |status| ConnectError::Grant { key: key.into(), gref, status };
        foreign.map(Gref(gref)).map_err(refused)
    }

    /// Two ports, or one for both rings.
    #[traced]
    fn bind(&mut self, front: DomId, dir: &str) -> Result<Ports<D>, ConnectError> {
        let mut read = |key| xenbus::read_u32_if_present(&mut self.store, &format!("{dir}/{key}"));
        let split = (read(keys::EVENT_CHANNEL_TX)?, read(keys::EVENT_CHANNEL_RX)?);
        let bind = |port| self.domain.bind_interdomain(front, Port(port));
        if let (Some(tx), Some(rx)) = split {
            let tx = bind(tx)?;
            // A guest that tries again and again must not use up our ports.
            return match bind(rx) {
                Ok(rx) => Ok((tx, Some(rx))),
                Err(why) => {
                    self.domain.close(tx.port());
                    Err(why.into())
                }
            };
        }
        let both = xenbus::read_u32(&mut self.store, &format!("{dir}/{}", keys::EVENT_CHANNEL))?;
        Ok((bind(both)?, None))
    }
}

type Ports<D> = (Channel<<D as Domain>::Doorbell>, Option<Channel<<D as Domain>::Doorbell>>);

/// Names of children; none if the node is not there.
fn list<N: Nodes>(store: &mut N, path: &str) -> Result<Vec<String>, StoreError> {
    match store.directory(path) {
        Err(error) if error.is_not_found() => Ok(Vec::new()),
        other => other,
    }
}
