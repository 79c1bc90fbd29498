//! Attaching to a guest that is ready: its keys are read, its rings mapped, its ports bound. Nothing of
//! it stays if one of that fails. When to do so, and what is told to the guest, is the handshake's.

use std::time::Instant;

use rings::csum::Blank;
use rings::evtchn::Ports;
use rings::io::netif::queue_name;
use rings::store::backend::{ConnectError, Device};
use rings::store::{Nodes, StoreError, frontends, keys, xenbus};
use rings::{DomId, Domain, Foreign, Gref, Port};
use tracer::traced;

use super::Vifs;
use crate::credit::{Credit, Rate};
use crate::queue::Queue;
use crate::rx::Rx;
use crate::starve::Starved;
use crate::stats::Stats;
use crate::tx::Tx;
use crate::vif::{Accepted, VifId};

impl<D: Domain> Vifs<D> {
    /// How fast the guest may send, if the toolstack has said so.
    fn rate(&mut self, id: VifId, back: &str) -> Result<Option<Rate>, StoreError> {
        let text = self.store.read_if_present(&format!("{back}/{}", keys::RATE))?;
        let Some(text) = text else { return Ok(None) };
        Ok(Rate::parse(&text).unwrap_or_else(|_| {
            tracing::warn!(front = %id.front, handle = id.handle, rate = text,
                "rate is not BYTES,USEC: traffic unlimited");
            None
        }))
    }

    /// Reads the guest's keys, maps its rings and binds its ports.
    pub(super) fn attach(&mut self, vif: &Device<Self>) -> Result<Vec<Queue<D>>, ConnectError> {
        let Device { id, front, back, .. } = vif;
        let rate = self.rate(*id, back)?;
        let (key, range) = (keys::MULTI_QUEUE_NUM_QUEUES, 1..=self.config.max_queues);
        let count = frontends::number(&mut self.store, front, key, 1, range)?;
        let accepted = self.read_accepted(front)?;
        // The first that fails ends it, and those before it are dropped: closed.
        (0..count)
            .map(|n| {
                let dir = if count == 1 { front.clone() } else { format!("{front}/queue-{n}") };
                let name = queue_name(id.front, id.handle, n);
                let mut queue = self.connect_queue(*id, &dir, accepted, &name)?;
                // Each queue for itself, as in Linux.
                queue.tx.credit = rate.map(|rate| Credit::new(rate, Instant::now()));
                Ok(queue)
            })
            .collect()
    }

    fn read_accepted(&mut self, front: &str) -> Result<Accepted, ConnectError> {
        let mut flag = |key| xenbus::read_flag(&mut self.store, &format!("{front}/{key}"));
        if !flag(keys::REQUEST_RX_COPY)? {
            let key = keys::REQUEST_RX_COPY;
            let why = format!("{key} is not 1: pages are copied here, never exchanged");
            return Err(ConnectError::Own(why));
        }
        let (sg, gso) = (flag(keys::FEATURE_SG)?, flag(keys::FEATURE_GSO_TCPV4)?);
        let blank = Blank {
            v4: !flag(keys::FEATURE_NO_CSUM_OFFLOAD)?,
            v6: flag(keys::FEATURE_IPV6_CSUM_OFFLOAD)?,
        };
        let rx_notify = flag(keys::FEATURE_RX_NOTIFY)?;
        Ok(Accepted { sg, gso: gso && sg && blank.v4, blank, rx_notify })
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
        let mut ports = self.bind(vif.front, dir)?;
        ports.set_name(name);
        Ok(Queue {
            vif,
            tx,
            rx,
            foreign,
            _pages: [tx_page, rx_page],
            ports,
            stats: Stats::default(),
            accepted,
            broken: None,
            batch: self.config.batch,
            segment: Vec::new(),
            starved: Starved::new(self.config.timers, accepted.rx_notify),
            wants_room: false,
        })
    }

    #[traced]
    fn map_ring(
        &mut self,
        foreign: &mut D::Foreign,
        dir: &str,
        key: &'static str,
    ) -> Result<<D::Foreign as Foreign>::Mapping, ConnectError> {
        let gref = xenbus::read_u32(&mut self.store, &format!("{dir}/{key}"))?;
        let refused = |status| ConnectError::Grant { key, grefs: gref.to_string(), status };
        foreign.map(Gref(gref)).map_err(refused)
    }

    /// Two ports, or one for both rings.
    #[traced]
    fn bind(&mut self, front: DomId, dir: &str) -> Result<Ports<D::Doorbell>, ConnectError> {
        let mut read = |key| xenbus::read_u32_if_present(&mut self.store, &format!("{dir}/{key}"));
        let split = (read(keys::EVENT_CHANNEL_TX)?, read(keys::EVENT_CHANNEL_RX)?);
        let both = read(keys::EVENT_CHANNEL)?;
        let bind = |port| self.domain.bind_interdomain(front, Port(port));
        let missing = |key| Err(ConnectError::Own(format!("{key} is missing")));
        match (split, both) {
            ((Some(tx), Some(rx)), _) => Ok(Ports::new(bind(tx)?, Some(bind(rx)?))),
            (_, Some(both)) => Ok(Ports::new(bind(both)?, None)),
            ((Some(_), None), None) => missing(keys::EVENT_CHANNEL_RX),
            ((None, Some(_)), None) => missing(keys::EVENT_CHANNEL_TX),
            ((None, None), None) => missing(keys::EVENT_CHANNEL),
        }
    }
}
