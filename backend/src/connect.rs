//! What a vif does in its own way in the handshake: what it is offered, when its guest is ready, and its
//! carrier. The handshake itself is [`rings::store::backend`]'s, as Linux' netback walks it.
//!
//! `Initialised` means nothing here: netfronts go past it, and one that writes its keys after it is
//! waited for until it is connected.

mod attach;

use rings::Domain;
use rings::store::backend::{Backend, ConnectError, Device, Kind};
use rings::store::{Nodes, StoreError, XenbusState, XsClient, keys};
use tracer::traced;

use crate::queue::Queue;
use crate::vif::{Config, VifId};

/// The control half of netback.
pub type Netback<D> = Backend<Vifs<D>>;

/// What serves vifs.
#[derive(Debug)]
pub struct Vifs<D: Domain> {
    domain: D,
    store: XsClient<D::Transport>,
    config: Config,
}

impl<D: Domain> Kind for Vifs<D> {
    const NAME: &'static str = "vif";
    const OFFERED: &'static str = keys::FEATURE_RX_COPY;
    const STEPWISE: bool = true;

    type Domain = D;
    type Config = Config;
    type Queue = Queue<D>;
    /// Queues whose guest has had no buffers for too long.
    type Own = u32;

    fn new(domain: &D, config: Config) -> Result<Self, ConnectError> {
        Ok(Self { domain: domain.clone(), store: domain.store()?, config })
    }

    fn store(&mut self) -> &mut XsClient<D::Transport> {
        &mut self.store
    }

    /// In the order in which Linux' netback does.
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

    fn is_ready(&mut self, _: &mut Device<Self>, front: XenbusState) -> Result<bool, StoreError> {
        Ok(front == XenbusState::Connected)
    }

    #[traced]
    fn connect(&mut self, vif: &mut Device<Self>) -> Result<Vec<Queue<D>>, ConnectError> {
        self.attach(vif)
    }

    /// The carrier is the next guest's.
    fn disconnected(&mut self, vif: &mut Device<Self>) -> Result<(), StoreError> {
        vif.own = 0;
        let carrier = carrier(vif);
        match self.store.read_if_present(&carrier)? {
            Some(_) => self.store.rm(&carrier),
            None => Ok(()),
        }
    }

    /// With the first queue that stalls the carrier goes off, with the last it comes back: Linux tells
    /// its network stack, we the store.
    fn stalled(&mut self, vif: &mut Device<Self>, stalled: bool) -> Result<(), StoreError> {
        let before = vif.own > 0;
        vif.own = if stalled { vif.own + 1 } else { vif.own.saturating_sub(1) };
        if before == (vif.own > 0) {
            return Ok(());
        }
        let VifId { front, handle } = vif.id;
        if before {
            tracing::info!(%front, handle, "guest rx ready");
        } else {
            tracing::warn!(%front, handle, "guest rx stalled: carrier off");
        }
        self.store.write(&carrier(vif), if before { "1" } else { "0" })
    }
}

/// Where a vif's carrier is told.
fn carrier<D: Domain>(vif: &Device<Vifs<D>>) -> String {
    format!("{}/{}", vif.back, keys::CARRIER)
}
