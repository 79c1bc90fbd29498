//! The guest's half of the handshake: Xen's keys in netfront's order, and the states.
//!
//! ```text
//!   backend                          frontend
//!   InitWait   features      ----->  reads them, makes rings, grants and ports
//!                            <-----  keys in one transaction, then Connected (never Initialised)
//!   Connected                ----->  kicks both ports once
//! ```

use std::time::{Duration, Instant};

use rings::io::netif::queue_name;
use rings::store::xenbus::{self, WaitError};
use rings::store::{Nodes, StoreError, XenbusState, XsClient, keys, missing};
use rings::{DomId, Domain, DomainError, Granted};
use tracer::traced;

use crate::features::{Features, Wanted};
use crate::queue::Queue;

/// How to connect.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which vif of this domain.
    pub handle: u32,
    /// What is asked of the backend.
    pub wanted: Wanted,
    /// Notify after every push, whatever the event index says.
    pub always_notify: bool,
    /// Index at which the rings start.
    pub index_base: u32,
    /// How long each step of the backend may take.
    pub timeout: Duration,
}

/// Why there is no vif.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The backend did not come as far as it should.
    #[error("vif {handle}: {step}: {why}{missing}")]
    Stuck {
        /// The vif.
        handle: u32,
        /// What we waited for.
        step: &'static str,
        /// In which state it stuck.
        why: WaitError,
        /// Which key is missing, if that is why, and the remedy.
        missing: String,
    },
    /// A key that must be there is not, or holds something else.
    #[error("vif {handle}: {why}")]
    Store {
        /// The vif.
        handle: u32,
        /// Which key, and what is wrong with it.
        why: StoreError,
    },
    /// The backend lacks something that cannot be done without.
    #[error("vif {0}: the backend does not offer {1}; it is no netback of this century")]
    Missing(u32, &'static str),
    /// The platform refused memory, grants or ports.
    #[error(transparent)]
    Domain(#[from] DomainError),
}

/// The control half of a vif: its store connection and its states. The queues are apart, each with
/// its worker.
#[derive(Debug)]
pub struct Netfront<D: Domain> {
    store: XsClient<D::Transport>,
    handle: u32,
    front: String,
    back: String,
    features: Features,
}

/// Token of the watch on the backend's state.
const OTHEREND: &str = "otherend";

impl<D: Domain> Netfront<D> {
    /// Connects a vif, and returns its control half and its queues.
    ///
    /// # Errors
    /// If the backend does not answer in time, offers too little, or memory is short.
    #[traced]
    pub fn connect(domain: &D, config: &Config) -> Result<(Self, Vec<Queue<D>>), ConnectError> {
        let mut store = domain.store()?;
        let handle = config.handle;
        let bad = |why| ConnectError::Store { handle, why };
        let front = format!("device/vif/{handle}");
        let (back, backend) = xenbus::backend_of(&mut store, &front).map_err(bad)?;
        let mut me = Self { store, handle, front, back, features: Features::none(&config.wanted) };

        me.wait("waiting for the backend's features", &[XenbusState::InitWait], config)?;
        me.features = me.negotiate(&config.wanted)?;
        let mut queues = Vec::new();
        if let Err(why) = me.bring_up(domain, backend, &mut queues, config) {
            // Whoever reads our keys from here on finds a device that is going: its grefs may be another's
            // soon. A backend that never connects must not cost pages, grants and ports each time.
            let _ = me.fatal(&why.to_string());
            queues.into_iter().for_each(|queue| {
                queue.close();
            });
            return Err(why);
        }
        queues.iter_mut().for_each(Queue::kick);
        tracing::info!(vif = handle, features = ?me.features, "connected");
        Ok((me, queues))
    }

    /// Makes the queues, as far as that goes, publishes them and waits for the backend to take them.
    #[traced]
    fn bring_up(
        &mut self,
        domain: &D,
        backend: DomId,
        queues: &mut Vec<Queue<D>>,
        config: &Config,
    ) -> Result<(), ConnectError> {
        let handle = self.handle;
        let bad = |why| ConnectError::Store { handle, why };
        for n in 0..self.features.queues {
            let (base, always) = (config.index_base, config.always_notify);
            let name = queue_name(domain.domid(), handle, n);
            queues.push(Queue::new(domain, backend, self.features, base, always, &name)?);
        }
        let published: Vec<Vec<(&str, u32)>> = queues.iter().map(ring_keys).collect();
        self.publish(&published).map_err(bad)?;
        self.switch(XenbusState::Connected).map_err(bad)?;
        self.wait("waiting for the backend to connect", &[XenbusState::Connected], config)?;
        Ok(())
    }

    /// What was agreed on.
    #[must_use]
    pub fn features(&self) -> &Features {
        &self.features
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

    /// Has the store tell when the backend's state changes.
    ///
    /// # Errors
    /// If the store does not answer.
    pub fn watch_otherend(&mut self) -> Result<(), StoreError> {
        let path = format!("{}/{}", self.back, keys::STATE);
        self.store.watch(&path, OTHEREND)
    }

    /// Whether it has told so since the last time. Does not wait, and asks nobody.
    ///
    /// # Errors
    /// If the store is gone.
    pub fn otherend_changed(&mut self) -> Result<bool, StoreError> {
        let mut any = false;
        while self
            .store
            .next_event_where(Some(Duration::ZERO), |event| event.token == OTHEREND)?
            .is_some()
        {
            any = true;
        }
        Ok(any)
    }

    /// Gives the device up because the backend lied: error node, Closing.
    ///
    /// # Errors
    /// If the store does not answer.
    pub fn fatal(&mut self, lie: &str) -> Result<(), StoreError> {
        const EINVAL: u32 = 22;
        xenbus::fatal(&mut self.store, &self.front, EINVAL, lie)
    }

    /// Leaves in good order: Closing, wait for the backend, Closed. The queues are closed
    /// afterwards, when nobody uses their pages any more.
    ///
    /// # Errors
    /// If the store does not answer.
    #[traced]
    pub fn close(&mut self, timeout: Duration) -> Result<(), StoreError> {
        self.switch(XenbusState::Closing)?;
        let done = [XenbusState::Closing, XenbusState::Closed, XenbusState::Unknown];
        let deadline = Instant::now() + timeout;
        // A backend that does not answer any more keeps nobody from leaving.
        let _ = xenbus::wait_for_state(&mut self.store, &self.back, &done, deadline);
        self.switch(XenbusState::Closed)?;
        let done = &done[1..];
        let _ = xenbus::wait_for_state(&mut self.store, &self.back, done, deadline);
        Ok(())
    }

    fn switch(&mut self, state: XenbusState) -> Result<(), StoreError> {
        xenbus::switch_state(&mut self.store, &self.front, state)
    }

    #[traced]
    fn wait(
        &mut self,
        step: &'static str,
        states: &[XenbusState],
        config: &Config,
    ) -> Result<XenbusState, ConnectError> {
        let deadline = Instant::now() + config.timeout;
        let waited = xenbus::wait_for_state(&mut self.store, &self.back, states, deadline);
        waited.map_err(|why| {
            let missing = match &why {
                WaitError::Stuck { .. } => {
                    missing(&mut self.store, &self.back, keys::FEATURE_RX_COPY, "netback")
                }
                _ => String::new(),
            };
            ConnectError::Stuck { handle: self.handle, step, why, missing }
        })
    }

    /// Reads what the backend offers and takes of it what we want.
    #[traced]
    fn negotiate(&mut self, wanted: &Wanted) -> Result<Features, ConnectError> {
        let handle = self.handle;
        let bad = |why| ConnectError::Store { handle, why };
        let back = self.back.clone();
        let mut offers = |key| xenbus::read_flag(&mut self.store, &format!("{back}/{key}"));
        if !offers(keys::FEATURE_RX_COPY).map_err(bad)? {
            return Err(ConnectError::Missing(handle, keys::FEATURE_RX_COPY));
        }
        let sg = offers(keys::FEATURE_SG).map_err(bad)? && wanted.sg;
        let gso = offers(keys::FEATURE_GSO_TCPV4).map_err(bad)? && wanted.gso;
        let csum6 = offers(keys::FEATURE_IPV6_CSUM_OFFLOAD).map_err(bad)?;
        let split = offers(keys::FEATURE_SPLIT_EVENT_CHANNELS).map_err(bad)?;
        let most = format!("{back}/{}", keys::MULTI_QUEUE_MAX_QUEUES);
        let most = xenbus::read_u32_if_present(&mut self.store, &most).map_err(bad)?.unwrap_or(1);
        let mtu = format!("{}/{}", self.front, keys::MTU);
        let mtu = xenbus::read_u32_if_present(&mut self.store, &mtu).map_err(bad)?;
        let mac = format!("{}/{}", self.front, keys::MAC);
        let mac = xenbus::read_mac(&mut self.store, &mac).map_err(bad)?;
        Ok(Features {
            csum_tx: wanted.csum_tx,
            csum6_tx: wanted.csum_tx && csum6,
            csum_rx: wanted.csum_rx,
            // A segment of many can only be cut up by somebody who fills in the checksums anyway.
            gso_tx: gso && sg && wanted.csum_tx,
            gso_rx: wanted.gso && wanted.sg && wanted.csum_rx,
            sg,
            split,
            queues: wanted.queues.min(most).max(1),
            mtu: mtu.and_then(|m| usize::try_from(m).ok()).unwrap_or(1500),
            mac,
        })
    }

    /// Writes our keys in one transaction, in the order in which Linux' netfront does.
    #[traced]
    fn publish(&mut self, queues: &[Vec<(&str, u32)>]) -> Result<(), StoreError> {
        let (front, f) = (self.front.clone(), self.features);
        self.store.transaction(|t| {
            t.write(&format!("{front}/{}", keys::MULTI_QUEUE_NUM_QUEUES), f.queues.to_string())?;
            for (index, ring) in queues.iter().enumerate() {
                let dir = match f.queues {
                    1 => front.clone(),
                    _ => format!("{front}/queue-{index}"),
                };
                for (key, value) in ring {
                    t.write(&format!("{dir}/{key}"), value.to_string())?;
                }
            }
            for (key, on) in [
                (keys::REQUEST_RX_COPY, true),
                (keys::FEATURE_RX_NOTIFY, true),
                (keys::FEATURE_SG, f.sg),
                (keys::FEATURE_GSO_TCPV4, f.gso_rx),
                // smoltcp drops segmented TCP over IPv6, so we never ask for it.
                (keys::FEATURE_GSO_TCPV6, false),
                (keys::FEATURE_IPV6_CSUM_OFFLOAD, f.csum_rx),
            ] {
                t.write(&format!("{front}/{key}"), if on { "1" } else { "0" })?;
            }
            if !f.csum_rx {
                t.write(&format!("{front}/{}", keys::FEATURE_NO_CSUM_OFFLOAD), "1")?;
            }
            Ok(())
        })
    }
}

impl Features {
    /// Before anything was agreed on.
    fn none(wanted: &Wanted) -> Self {
        Self {
            csum_tx: false,
            csum6_tx: false,
            csum_rx: false,
            gso_tx: false,
            gso_rx: false,
            sg: false,
            split: false,
            queues: wanted.queues,
            mtu: 1500,
            mac: [0; 6],
        }
    }
}

/// What one queue publishes: its rings' grefs, and its ports.
fn ring_keys<D: Domain>(queue: &Queue<D>) -> Vec<(&'static str, u32)> {
    let gref = |page: &Granted| page.grefs()[0].0;
    let (tx, rx) = (gref(&queue.tx.page), gref(&queue.rx.page));
    let mut all = vec![(keys::TX_RING_REF, tx), (keys::RX_RING_REF, rx)];
    let tx = queue.ports().tx().port();
    match queue.ports().rx() {
        Some(rx) => {
            all.push((keys::EVENT_CHANNEL_TX, tx.0));
            all.push((keys::EVENT_CHANNEL_RX, rx.port().0));
        }
        None => all.push((keys::EVENT_CHANNEL, tx.0)),
    }
    all
}
