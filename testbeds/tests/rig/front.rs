//! A frontend that may do anything with what is its own, against the real netback.

use std::time::Duration;

use backend::{Config, Netback, Queue, Rogue, Timers, VifEvent, VifId};
use rings::evtchn::Channel;
use rings::io::netif::{
    Extra, ExtraInfo, GsoType, RX_SLOT, RxFlags, RxRequest, RxResponse, TX_SLOT, TxFlags,
    TxRequest, TxResponse,
};
use rings::mem::Frames;
use rings::ring::{Index, Sring, SringMem};
use rings::store::{Nodes, XenbusState, XsClient, xenbus};
use rings::sync::Ordering;
use rings::{DomId, Domain, GrantMode, Gref, PAGE_SIZE};
use rings_host::{EventDoorbell, HostDomain, UnixTransport};

use super::{Lab, holdings, until};

/// Pages of the rogue's own: those with even numbers are granted, the others are canaries.
pub(crate) const PAGES: usize = 64;
/// What canaries hold.
pub(crate) const CANARY: u8 = 0xc5;

/// The two rings, ports and pages of a frontend without scruples.
#[derive(Debug)]
pub(crate) struct Front {
    pub(crate) domain: HostDomain,
    pub(crate) store: XsClient<UnixTransport>,
    pub(crate) tx: Sring<TX_SLOT>,
    pub(crate) rx: Sring<RX_SLOT>,
    pub(crate) tx_port: Channel<EventDoorbell>,
    pub(crate) rx_port: Channel<EventDoorbell>,
    pub(crate) pages: Frames,
    rings: [Frames; 2],
    pub(crate) ring_grefs: [Gref; 2],
    pub(crate) grefs: Vec<Gref>,
    /// Next request of the tx ring, next response to look at.
    pub(crate) tx_prod: u32,
    pub(crate) tx_seen: u32,
    pub(crate) rx_prod: u32,
    /// Grants and free frames before all this.
    before: (usize, usize),
}

/// What to tell the backend.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offer {
    pub(crate) base: u32,
    pub(crate) sg: bool,
    pub(crate) gso: bool,
    pub(crate) csum: bool,
    pub(crate) csum6: bool,
    pub(crate) rx_notify: bool,
}

impl Default for Offer {
    fn default() -> Self {
        Self { base: 0, sg: true, gso: true, csum: true, csum6: true, rx_notify: true }
    }
}

/// What to put into a slot.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Slot {
    Data(TxRequest),
    Extra(ExtraInfo),
}

impl Front {
    pub(crate) fn new(domain: &HostDomain, offer: &Offer) -> Self {
        let before = holdings(domain);
        let memory = domain.memory();
        let rings = [memory.alloc(1).unwrap(), memory.alloc(1).unwrap()];
        let pages = memory.alloc(PAGES).unwrap();
        let grant =
            |frames: &Frames, page| memory.grant_access(DomId::DOM0, frames, page, false).unwrap();
        let ring_grefs = [grant(&rings[0], 0), grant(&rings[1], 0)];
        let grefs = (0..PAGES).step_by(2).map(|page| grant(&pages, page)).collect();
        for page in 0..PAGES {
            let fill = if page % 2 == 0 { 0x11 } else { CANARY };
            pages.region().copy_in(page * PAGE_SIZE, &[fill; PAGE_SIZE]);
        }
        let (tx, rx) =
            (Sring::new(rings[0].region().clone()), Sring::new(rings[1].region().clone()));
        tx.init(offer.base);
        rx.init(offer.base);
        Self {
            domain: domain.clone(),
            store: domain.store().unwrap(),
            tx,
            rx,
            tx_port: domain.alloc_unbound(DomId::DOM0).unwrap(),
            rx_port: domain.alloc_unbound(DomId::DOM0).unwrap(),
            pages,
            rings,
            ring_grefs,
            grefs,
            tx_prod: offer.base,
            tx_seen: offer.base,
            rx_prod: offer.base,
            before,
        }
    }

    /// Writes a key of the device.
    pub(crate) fn key(&mut self, key: &str, value: impl ToString) {
        self.store.write(&format!("device/vif/0/{key}"), value.to_string()).unwrap();
    }

    /// Writes all keys and switches to Connected.
    pub(crate) fn publish(&mut self, offer: &Offer) {
        self.publish_without(offer, None);
    }

    /// The same, but for one key.
    pub(crate) fn publish_without(&mut self, offer: &Offer, missing: Option<&str>) {
        for (key, value) in [
            ("tx-ring-ref", self.ring_grefs[0].0),
            ("rx-ring-ref", self.ring_grefs[1].0),
            ("event-channel-tx", self.tx_port.port().0),
            ("event-channel-rx", self.rx_port.port().0),
        ] {
            if missing != Some(key) {
                self.key(key, value);
            }
        }
        self.key("request-rx-copy", 1);
        self.key("feature-rx-notify", u8::from(offer.rx_notify));
        self.key("feature-sg", u8::from(offer.sg));
        self.key("feature-gso-tcpv4", u8::from(offer.gso));
        self.key("feature-no-csum-offload", u8::from(!offer.csum));
        self.key("feature-ipv6-csum-offload", u8::from(offer.csum6));
        xenbus::switch_state(&mut self.store, "device/vif/0", XenbusState::Connected).unwrap();
    }

    /// A request for `size` bytes at the start of granted page `n`.
    pub(crate) fn data(&self, n: usize, size: u16, more: bool) -> TxRequest {
        let flags = if more { TxFlags::MORE_DATA } else { TxFlags::empty() };
        let id = u16::try_from(n).unwrap();
        TxRequest { gref: self.grefs[n].0, offset: 0, flags: flags.bits(), id, size }
    }

    /// Puts slots on the tx ring and publishes them.
    pub(crate) fn put(&mut self, slots: &[Slot]) {
        for slot in slots {
            let at = self.tx_prod & 255;
            match slot {
                Slot::Data(request) => self.tx.write(at, *request),
                Slot::Extra(extra) => self.tx.write(at, *extra),
            }
            self.tx_prod = self.tx_prod.wrapping_add(1);
        }
        self.claim(self.tx_prod);
    }

    /// Puts data slots on the tx ring and publishes them.
    pub(crate) fn put_data(&mut self, requests: &[TxRequest]) {
        let slots: Vec<Slot> = requests.iter().copied().map(Slot::Data).collect();
        self.put(&slots);
    }

    /// Writes into a slot of the tx ring, whoever it belongs to.
    pub(crate) fn tx_write(&self, slot: u32, request: TxRequest) {
        self.tx.write(slot, request);
    }

    /// Claims that the tx ring's producer is there.
    pub(crate) fn claim(&self, req_prod: u32) {
        self.tx.store(Index::ReqProd, req_prod, Ordering::Release);
    }

    /// Statuses of the answers since the last look.
    pub(crate) fn answers(&mut self) -> Vec<i16> {
        let prod = self.tx.load(Index::RspProd, Ordering::Acquire);
        let mut all = Vec::new();
        while self.tx_seen != prod {
            all.push(self.tx.read::<TxResponse>(self.tx_seen & 255).status);
            self.tx_seen = self.tx_seen.wrapping_add(1);
        }
        all
    }

    /// Posts buffers with these grants.
    pub(crate) fn post(&mut self, grefs: &[Gref]) {
        for gref in grefs {
            let (at, id) = (self.rx_prod & 255, self.rx_prod.to_le_bytes());
            let id = u16::from_le_bytes([id[0], id[1]]);
            self.rx.write(at, RxRequest { id, pad: 0, gref: gref.0 });
            self.rx_prod = self.rx_prod.wrapping_add(1);
        }
        self.rx.store(Index::ReqProd, self.rx_prod, Ordering::Release);
    }

    /// The rx responses from index `from` on.
    pub(crate) fn received(&self, from: u32) -> Vec<RxResponse> {
        let count = self.rx.load(Index::RspProd, Ordering::Acquire).wrapping_sub(from);
        (0..count).map(|n| self.rx.read(from.wrapping_add(n) & 255)).collect()
    }

    /// Whether no byte of the pages that were never granted has changed.
    pub(crate) fn canaries_live(&self) -> bool {
        let mut page = [0; PAGE_SIZE];
        (1..PAGES).step_by(2).all(|n| {
            self.pages.region().copy_out(n * PAGE_SIZE, &mut page);
            page.iter().all(|&byte| byte == CANARY)
        })
    }

    /// Takes everything back. All grants must come back, or somebody still holds them.
    pub(crate) fn leave(self) {
        let memory = self.domain.memory();
        for gref in self.ring_grefs.iter().chain(&self.grefs) {
            assert_eq!(memory.end_access(*gref), Ok(()), "a map or hold was left behind");
        }
        let [tx, rx] = self.rings;
        [tx, rx, self.pages].into_iter().for_each(|frames| memory.free(frames));
        drop((self.tx_port, self.rx_port));
        assert_eq!(holdings(&self.domain), self.before, "grants and frames are as before");
    }
}

/// The real netback with a rogue for a guest, and a well-behaved one beside it.
#[derive(Debug)]
pub(crate) struct Attack {
    pub(crate) lab: Lab,
    pub(crate) netback: Netback<HostDomain>,
    pub(crate) front: Front,
    pub(crate) queue: Queue<HostDomain>,
    pub(crate) neighbour: Front,
    pub(crate) other: Queue<HostDomain>,
}

/// How netback is configured here.
pub(crate) const CONFIG: Config = Config {
    max_queues: 4,
    grant: GrantMode::Copy,
    batch: 64,
    always_notify: false,
    timers: Timers::LINUX,
};

impl Attack {
    pub(crate) fn new() -> Self {
        Self::offering(&Offer::default())
    }

    pub(crate) fn offering(offer: &Offer) -> Self {
        Self::with(offer, CONFIG)
    }

    /// With this rate for the rogue, as the toolstack writes it.
    pub(crate) fn limited(rate: &str) -> Self {
        Self::made(&Offer::default(), CONFIG, Some(rate))
    }

    pub(crate) fn with(offer: &Offer, config: Config) -> Self {
        Self::made(offer, config, None)
    }

    fn made(offer: &Offer, config: Config, rate: Option<&str>) -> Self {
        let lab = Lab::new();
        let mut netback = Netback::new(&lab.dom0, config).unwrap();
        let mut front = Front::new(&lab.guests[0], offer);
        let mut neighbour = Front::new(&lab.guests[1], &Offer::default());
        wait_for(&mut netback, 1, XenbusState::InitWait);
        if let Some(rate) = rate {
            let id = VifId { front: DomId(1), handle: 0 };
            netback.store().write(&format!("{}/rate", dir(id)), rate).unwrap();
        }
        front.publish(offer);
        let queue = connected(&mut netback);
        wait_for(&mut netback, 2, XenbusState::InitWait);
        neighbour.publish(&Offer::default());
        let other = connected(&mut netback);
        Self { lab, netback, front, queue, neighbour, other }
    }

    /// All frames the backend has from the rogue now.
    pub(crate) fn frames(&mut self) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        while let Some(frame) = self.queue.receive(|bytes, _| bytes.to_vec()) {
            all.push(frame);
        }
        all
    }

    /// So many grants of the rogue's first page.
    pub(crate) fn grants_of_one_page(&self, count: usize) -> Vec<Gref> {
        let memory = self.lab.guests[0].memory();
        let grant = || memory.grant_access(DomId::DOM0, &self.front.pages, 0, false).unwrap();
        (0..count).map(|_| grant()).collect()
    }

    /// Sends a frame through each of these grants.
    pub(crate) fn use_each(&mut self, grefs: &[Gref]) {
        let frame = self.front.data(0, 60, false);
        for some in grefs.chunks(200) {
            let with = |gref: &Gref| TxRequest { gref: gref.0, ..frame };
            self.front.put_data(&some.iter().map(with).collect::<Vec<_>>());
            assert_eq!(self.frames().len(), some.len());
            self.front.answers();
        }
    }

    /// The outcome: the vif breaks for this reason, told in the store; the neighbour does not care,
    /// and nothing of the rogue's is held any more.
    pub(crate) fn breaks(mut self, lie: Rogue) {
        assert_eq!(self.queue.broken(), Some(lie));
        assert!(self.queue.receive(|_, _| ()).is_none(), "nothing more is taken from a liar");
        let id = self.queue.vif();
        self.netback.rogue(id, &lie.to_string()).unwrap();
        let given_back = until("the queues to be asked back", || {
            let events = self.netback.step(Duration::from_millis(10)).unwrap();
            events.into_iter().find(|event| matches!(event, VifEvent::Disconnect(_)))
        });
        assert!(matches!(given_back, VifEvent::Disconnect(broken) if broken == id));
        let Self { lab, mut netback, front, queue, neighbour, other } = self;
        queue.close();
        netback.disconnected(id).unwrap();
        let state = xenbus::read_state(netback.store(), &dir(id)).unwrap();
        assert_eq!(state, XenbusState::Closing);
        let error = netback.store().read_string(&format!("error/{}/error", dir(id))).unwrap();
        assert!(error.contains(&lie.to_string()), "the store says {error:?}");
        assert!(front.tx_port.closed() && front.rx_port.closed(), "ports are given back");
        finish(lab, front, neighbour, other);
    }

    /// The outcome: the vif is as good as before, and so is the neighbour.
    pub(crate) fn survives(mut self) {
        assert_eq!(self.queue.broken(), None);
        let last = self.front.data(0, 60, false);
        self.front.put_data(&[last]);
        assert_eq!(self.frames().len(), 1, "the next frame passes");
        self.leaves();
    }

    /// The rogue goes, with all that is its own, and the neighbour does not care.
    pub(crate) fn leaves(self) {
        let Self { lab, netback: _netback, front, queue, neighbour, other } = self;
        queue.close();
        finish(lab, front, neighbour, other);
    }
}

fn finish(lab: Lab, front: Front, mut neighbour: Front, mut other: Queue<HostDomain>) {
    assert!(front.canaries_live(), "bytes outside a grant were written");
    front.leave();
    let frame = neighbour.data(0, 60, false);
    neighbour.put_data(&[frame]);
    assert_eq!(other.receive(|bytes, _| bytes.len()), Some(60), "the neighbour is served");
    assert_eq!(neighbour.answers(), [0]);
    other.close();
    neighbour.leave();
    drop(lab);
}

/// Vifs of guests that behave, for what has more than two ends.
#[derive(Debug)]
pub(crate) struct Vifs {
    pub(crate) lab: Lab,
    pub(crate) netback: Netback<HostDomain>,
    pub(crate) guests: Vec<Guest>,
}

/// A guest that knows which of its buffers is next, and sends one frame at a time.
#[derive(Debug)]
pub(crate) struct Guest {
    pub(crate) front: Front,
    /// Next response of the rx ring to look at.
    seen: u32,
    /// Which granted pages were posted, in order; the first one is for sending.
    posted: Vec<usize>,
}

/// A frame that a guest was given, as it stands on its ring.
#[derive(Debug)]
pub(crate) struct Given {
    pub(crate) flags: RxFlags,
    /// From its GSO extra; 0 without.
    pub(crate) gso: u16,
    pub(crate) bytes: Vec<u8>,
}

impl Vifs {
    /// A guest for each of these, and its queue.
    pub(crate) fn connect(offers: &[Offer]) -> (Self, Vec<Queue<HostDomain>>) {
        let lab = Lab::of(u16::try_from(offers.len()).unwrap());
        let mut netback = Netback::new(&lab.dom0, CONFIG).unwrap();
        let (mut guests, mut queues) = (Vec::new(), Vec::new());
        for (n, offer) in (1..).zip(offers) {
            let mut front = Front::new(&lab.guests[usize::from(n) - 1], offer);
            wait_for(&mut netback, n, XenbusState::InitWait);
            front.publish(offer);
            queues.push(connected(&mut netback));
            guests.push(Guest { front, seen: 0, posted: Vec::new() });
        }
        (Self { lab, netback, guests }, queues)
    }

    /// All of them go, and take everything with them.
    pub(crate) fn leave(self) {
        for guest in self.guests {
            assert!(guest.front.canaries_live(), "bytes outside a grant were written");
            guest.front.leave();
        }
    }
}

impl Guest {
    /// Posts so many buffers, each the next of the pages that are not for sending.
    pub(crate) fn post(&mut self, buffers: usize) {
        for _ in 0..buffers {
            let page = 1 + self.posted.len() % (self.front.grefs.len() - 1);
            self.front.post(&[self.front.grefs[page]]);
            self.posted.push(page);
        }
    }

    /// Sends a frame of at most a page.
    pub(crate) fn send(&mut self, bytes: &[u8], flags: TxFlags, gso: u16) {
        self.front.pages.region().copy_in(0, bytes);
        let mut flags = flags;
        flags.set(TxFlags::EXTRA_INFO, gso > 0);
        let size = u16::try_from(bytes.len()).unwrap();
        let data = TxRequest { flags: flags.bits(), ..self.front.data(0, size, false) };
        let extra = Extra::Gso { size: gso, kind: GsoType::TcpV4, features: 0 };
        let slots = [Slot::Data(data), Slot::Extra(extra.encode(false))];
        self.front.put(&slots[..1 + usize::from(gso > 0)]);
    }

    /// What it was given since the last look: frames of at most a page.
    pub(crate) fn given(&mut self) -> Vec<Given> {
        let responses = self.front.received(self.seen);
        let mut all: Vec<Given> = Vec::new();
        let mut extra = false;
        for response in responses {
            let page = self.posted[self.seen as usize];
            self.seen += 1;
            if extra {
                let slot: ExtraInfo = self.front.rx.read(self.seen.wrapping_sub(1) & 255);
                let Ok(Extra::Gso { size, .. }) = slot.decode() else { panic!("{slot:?}") };
                all.last_mut().expect("the frame before").gso = size;
                extra = false;
                continue;
            }
            let flags = RxFlags::from_bits_retain(response.flags);
            assert!(!flags.contains(RxFlags::MORE_DATA), "frames of a page");
            let mut bytes = vec![0; usize::try_from(response.status).expect("no error")];
            self.front.pages.region().copy_out(2 * page * PAGE_SIZE, &mut bytes);
            extra = flags.contains(RxFlags::EXTRA_INFO);
            all.push(Given { flags, gso: 0, bytes });
        }
        all
    }
}

/// A vif's directory, relative to the backend's home.
pub(crate) fn dir(id: VifId) -> String {
    format!("backend/vif/{}/{}", id.front, id.handle)
}

/// Lets netback work until it is in `state` for this guest.
pub(crate) fn wait_for(netback: &mut Netback<HostDomain>, guest: u16, state: XenbusState) {
    let dir = dir(VifId { front: DomId(guest), handle: 0 });
    until("a state of netback", || {
        let events = netback.step(Duration::from_millis(10)).unwrap();
        assert!(events.is_empty(), "nothing is ready yet");
        (xenbus::read_state(netback.store(), &dir).unwrap() == state).then_some(())
    });
}

/// Lets netback work until it has connected a vif of one queue.
pub(crate) fn connected(netback: &mut Netback<HostDomain>) -> Queue<HostDomain> {
    until("netback to connect", || {
        netback.step(Duration::from_millis(10)).unwrap().into_iter().find_map(|e| match e {
            VifEvent::Connected(_, mut queues) => queues.pop(),
            VifEvent::Disconnect(_) => None,
        })
    })
}
