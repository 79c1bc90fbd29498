//! A backend that may do anything with a guest's rings and grants, against the real netfront.

use std::time::Instant;

use frontend::{Config, Misbehaviour, Netfront, Queue, Wanted};
use rings::evtchn::Channel;
use rings::frame::Meta;
use rings::grant::{CopyOp, GntStatus};
use rings::io::netif::{RX_SLOT, RxRequest, RxResponse, TX_SLOT, TxRequest, TxResponse};
use rings::ring::{Index, Sring, SringMem};
use rings::store::{Nodes, XenbusState, XsClient, xenbus};
use rings::sync::Ordering;
use rings::{DomId, Domain, Foreign, GrantMode, Gref, Port};
use rings_host::{EventDoorbell, HostDomain, HostForeign, UnixTransport};

use super::{Lab, WATCHDOG, holdings};

const BACK: &str = "/local/domain/0/backend/vif/1/0";
const FRONT: &str = "/local/domain/1/device/vif/0";

/// A backend without scruples, connected to the real netfront.
#[derive(Debug)]
pub(crate) struct Attack {
    pub(crate) lab: Lab,
    pub(crate) netfront: Netfront<HostDomain>,
    pub(crate) queue: Queue<HostDomain>,
    pub(crate) back: Back,
    /// Grants and free frames of the guest before it connected.
    pub(crate) before: (usize, usize),
}

/// Its rings, ports and maps.
#[derive(Debug)]
pub(crate) struct Back {
    pub(crate) domain: HostDomain,
    pub(crate) store: XsClient<UnixTransport>,
    pub(crate) foreign: HostForeign,
    pub(crate) maps: Vec<<HostForeign as Foreign>::Mapping>,
    pub(crate) tx: Sring<TX_SLOT>,
    pub(crate) rx: Sring<RX_SLOT>,
    pub(crate) tx_port: Channel<EventDoorbell>,
    pub(crate) rx_port: Channel<EventDoorbell>,
    /// Next response on either ring.
    pub(crate) tx_prod: u32,
    pub(crate) rx_prod: u32,
}

impl Attack {
    pub(crate) fn new() -> Self {
        Self::from_index(0)
    }

    /// With rings that start at this index.
    pub(crate) fn from_index(base: u32) -> Self {
        Self::made(base, &[])
    }

    /// A backend that has these keys beside those that all have.
    pub(crate) fn offering(keys: &[(&str, &str)]) -> Self {
        Self::made(0, keys)
    }

    fn made(base: u32, keys: &[(&str, &str)]) -> Self {
        let lab = Lab::new();
        let guest = lab.guests[0].clone();
        let before = holdings(&guest);
        let mut store = lab.dom0.store().unwrap();
        let usual = [
            ("feature-sg", "1"),
            ("feature-gso-tcpv4", "1"),
            ("feature-rx-copy", "1"),
            ("feature-split-event-channels", "1"),
        ];
        for (key, value) in usual.iter().chain(keys) {
            store.write(&format!("{BACK}/{key}"), *value).unwrap();
        }
        xenbus::switch_state(&mut store, BACK, XenbusState::InitWait).unwrap();
        let wanted = Wanted { csum_tx: true, csum_rx: true, gso: true, sg: true, queues: 1 };
        let config =
            Config { handle: 0, wanted, always_notify: false, index_base: base, timeout: WATCHDOG };
        // The guest waits for us to connect while we wait for it.
        let connecting = std::thread::spawn(move || Netfront::connect(&guest, &config).unwrap());
        let deadline = Instant::now() + WATCHDOG;
        let ready = [XenbusState::Connected];
        xenbus::wait_for_state(&mut store, FRONT, &ready, deadline).unwrap();
        let back = Back::connect(&lab.dom0, store, base);
        let (netfront, mut queues) = connecting.join().unwrap();
        Self { lab, netfront, queue: queues.pop().unwrap(), back, before }
    }

    /// Sends a frame of `len` bytes, and says under which ids.
    pub(crate) fn send(&mut self, len: usize) -> Vec<u16> {
        let from = self.back.tx.load(Index::ReqProd, Ordering::Acquire);
        self.queue.xmit(len, Meta::default(), |bytes| bytes.fill(0x22)).expect("room");
        self.queue.flush();
        let to = self.back.tx.load(Index::ReqProd, Ordering::Acquire);
        (0..to.wrapping_sub(from)).map(|n| self.back.request(from.wrapping_add(n)).id).collect()
    }

    /// Lengths of all frames that the frontend takes now.
    pub(crate) fn frames(&mut self) -> Vec<usize> {
        let mut all = Vec::new();
        while let Some(len) = self.queue.receive(|bytes, _| bytes.len()) {
            all.push(len);
        }
        all
    }

    /// The outcome: the device is broken for this reason, told in the store; the process lives, and
    /// once the rogue has let go, everything has come back.
    pub(crate) fn breaks(mut self, lie: Misbehaviour) {
        assert_eq!(self.queue.broken(), Some(lie));
        assert!(self.queue.xmit(60, Meta::default(), |_| ()).is_none(), "nothing more is sent");
        assert!(self.queue.receive(|_, _| ()).is_none(), "nothing more is taken");
        assert!(!self.queue.poll() && self.queue.reap() == 0);
        self.netfront.fatal(&lie.to_string()).unwrap();
        let state = xenbus::read_state(&mut self.back.store, FRONT).unwrap();
        assert_eq!(state, XenbusState::Closing);
        let error = "/local/domain/1/error/device/vif/0/error";
        let error = self.back.store.read_string(error).unwrap();
        assert!(error.contains(&lie.to_string()), "the store says {error:?}");
        self.leave();
    }

    /// The outcome: the device is as good as before.
    pub(crate) fn survives(mut self) {
        assert_eq!(self.queue.broken(), None);
        let ids = self.send(60);
        self.back.answer_all(&ids);
        assert!(self.queue.reap() > 0 && self.queue.broken().is_none(), "the next frame passes");
        self.leave();
    }

    fn leave(self) {
        let Self { lab, netfront: _netfront, queue, back, before } = self;
        back.leave();
        assert_eq!(queue.close(), 0, "no page is kept aside");
        assert_eq!(holdings(&lab.guests[0]), before, "grants and frames are as before");
    }
}

impl Back {
    fn connect(domain: &HostDomain, mut store: XsClient<UnixTransport>, base: u32) -> Self {
        let mut key = |key| xenbus::read_u32(&mut store, &format!("{FRONT}/{key}")).unwrap();
        let (tx, rx) = (Gref(key("tx-ring-ref")), Gref(key("rx-ring-ref")));
        let ports = [Port(key("event-channel-tx")), Port(key("event-channel-rx"))];
        let mut foreign = domain.foreign(DomId(1), GrantMode::Copy).unwrap();
        let maps = vec![foreign.map(tx).unwrap(), foreign.map(rx).unwrap()];
        let region = |n: usize| foreign.region(&maps[n]).clone();
        let (tx, rx) = (Sring::new(region(0)), Sring::new(region(1)));
        let bind = |port| domain.bind_interdomain(DomId(1), port).unwrap();
        let (tx_port, rx_port) = (bind(ports[0]), bind(ports[1]));
        xenbus::switch_state(&mut store, BACK, XenbusState::Connected).unwrap();
        let (tx_prod, rx_prod) = (base, base);
        let domain = domain.clone();
        Self { domain, store, foreign, maps, tx, rx, tx_port, rx_port, tx_prod, rx_prod }
    }

    /// The tx request at this index.
    pub(crate) fn request(&self, index: u32) -> TxRequest {
        self.tx.read(index & 255)
    }

    /// Answers on the tx ring.
    pub(crate) fn answer(&mut self, id: u16, status: i16) {
        self.tx.write(self.tx_prod & 255, TxResponse { id, status });
        self.tx_prod = self.tx_prod.wrapping_add(1);
        self.claim_tx(self.tx_prod);
    }

    pub(crate) fn answer_all(&mut self, ids: &[u16]) {
        ids.iter().for_each(|&id| self.answer(id, 0));
    }

    /// Answers all requests that wait.
    pub(crate) fn answer_waiting(&mut self) {
        let prod = self.tx.load(Index::ReqProd, Ordering::Acquire);
        while self.tx_prod != prod {
            self.answer(self.request(self.tx_prod).id, 0);
        }
    }

    /// Whether a buffer is posted that was not used yet.
    pub(crate) fn has_buffer(&self) -> bool {
        self.rx.load(Index::ReqProd, Ordering::Acquire) != self.rx_prod
    }

    /// Claims that the producer of responses is there.
    pub(crate) fn claim_tx(&self, rsp_prod: u32) {
        self.tx.store(Index::RspProd, rsp_prod, Ordering::Release);
    }

    pub(crate) fn claim_rx(&self, rsp_prod: u32) {
        self.rx.store(Index::RspProd, rsp_prod, Ordering::Release);
    }

    /// The buffer that the next rx response is about.
    pub(crate) fn buffer(&self) -> RxRequest {
        self.rx.read(self.rx_prod & 255)
    }

    /// Maps a page of the guest's.
    pub(crate) fn map(&mut self, gref: u32) -> <HostForeign as Foreign>::Mapping {
        self.foreign.map(Gref(gref)).unwrap()
    }

    /// Fills the next buffer and answers it with these flags; honestly, but for what `edit` does.
    pub(crate) fn deliver(&mut self, bytes: &[u8], flags: u16, edit: impl FnOnce(&mut RxResponse)) {
        let request = self.buffer();
        let len = u16::try_from(bytes.len()).unwrap();
        let mut op = [CopyOp { gref: Gref(request.gref), len, ..CopyOp::default() }];
        self.foreign.copy_to(&mut op, bytes);
        assert_eq!(op[0].status, GntStatus::Okay);
        let status = i16::try_from(len).unwrap();
        let mut response = RxResponse { id: request.id, offset: 0, flags, status };
        edit(&mut response);
        self.put_rx(response);
    }

    /// Puts anything into the next rx slot, and publishes it.
    pub(crate) fn put_rx<T: zerocopy::IntoBytes + zerocopy::Immutable>(&mut self, slot: T) {
        self.rx.write(self.rx_prod & 255, slot);
        self.rx_prod = self.rx_prod.wrapping_add(1);
        self.claim_rx(self.rx_prod);
    }

    /// Lets go of everything.
    pub(crate) fn leave(self) {}
}
