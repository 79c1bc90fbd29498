//! A backend that may do anything with a guest's ring and grants, against the real blkfront.

use std::time::Instant;

use blkif::dialect::Dialect;
use blkif::front::{Blkfront, Config, Limits, Misbehaviour, Op, OpKind, Outcome, Queue, SplitMode};
use rings::evtchn::Channel;
use rings::io::blkif::{Request, Response, SLOT};
use rings::ring::{Index, Sring, SringMem};
use rings::store::{Nodes, XenbusState, XsClient, xenbus};
use rings::sync::Ordering;
use rings::{DomId, Domain, Foreign, GrantMode, Gref, Port};
use rings_host::{EventDoorbell, HostDomain, HostForeign, UnixTransport};

use super::{Lab, WATCHDOG, XVDA, holdings};

pub(crate) const BACK: &str = "/local/domain/0/backend/vbd/1/51712";
pub(crate) const FRONT: &str = "/local/domain/1/device/vbd/51712";

/// A backend without scruples, connected to the real blkfront.
#[derive(Debug)]
pub(crate) struct Attack {
    pub(crate) blkfront: Blkfront<HostDomain>,
    pub(crate) queue: Queue<HostDomain>,
    pub(crate) back: Back,
    pub(crate) lab: Lab,
    /// Grants and free frames of the guest before it connected.
    before: (usize, usize),
}

/// Its ring, port and maps.
#[derive(Debug)]
pub(crate) struct Back {
    pub(crate) domain: HostDomain,
    pub(crate) store: XsClient<UnixTransport>,
    pub(crate) foreign: HostForeign,
    map: <HostForeign as Foreign>::Mapping,
    pub(crate) ring: Sring<SLOT>,
    port: Channel<EventDoorbell>,
    /// Next response.
    pub(crate) prod: u32,
}

pub(crate) fn config() -> Config {
    Config {
        handle: XVDA,
        queues: 1,
        ring_order: 0,
        indirect: true,
        persistent: false,
        limits: Limits {
            depth: 32,
            segments: 32,
            split: SplitMode::Parallel,
            batch: 32,
            always_notify: false,
            dialect: Dialect::Xen,
            handle: 0,
        },
        pages: 128,
        index_base: 0,
        timeout: WATCHDOG,
    }
}

/// A backend describes its disk and waits for the guest. A key that is to be empty is not there at all.
pub(crate) fn offer(lab: &Lab, keys: &[(&str, &str)]) -> XsClient<UnixTransport> {
    let mut store = lab.dom0.store().unwrap();
    let usual = [
        ("feature-max-indirect-segments", "256"),
        ("feature-flush-cache", "1"),
        ("feature-barrier", "1"),
        ("info", "0"),
        ("sector-size", "512"),
    ];
    for (key, value) in usual.iter().chain(keys) {
        let node = format!("{BACK}/{key}");
        if value.is_empty() { store.rm(&node) } else { store.write(&node, *value) }.unwrap();
    }
    xenbus::switch_state(&mut store, BACK, XenbusState::InitWait).unwrap();
    store
}

impl Attack {
    pub(crate) fn new() -> Self {
        Self::describing(&[("sectors", "2048")]).unwrap_or_else(|why| panic!("{why}"))
    }

    /// With a disk that has these keys, beside the usual ones.
    pub(crate) fn describing(keys: &[(&str, &str)]) -> Result<Self, String> {
        Self::with(config(), keys)
    }

    /// The same, with another guest.
    pub(crate) fn with(config: Config, keys: &[(&str, &str)]) -> Result<Self, String> {
        let lab = Lab::new();
        let guest = lab.guest.clone();
        let before = holdings(&guest);
        let mut store = offer(&lab, keys);
        // The guest waits for us to connect while we wait for it.
        let connecting = std::thread::spawn(move || Blkfront::connect(&guest, &config));
        let deadline = Instant::now() + WATCHDOG;
        let ready = [XenbusState::Initialised];
        xenbus::wait_for_state(&mut store, FRONT, &ready, deadline).unwrap();
        let back = Back::connect(&lab.dom0, store);
        match connecting.join().unwrap() {
            Ok((blkfront, mut queues)) => {
                let queue = queues.pop().unwrap();
                Ok(Self { blkfront, queue, back, lab, before })
            }
            Err(why) => {
                back.leave();
                Err(why.to_string())
            }
        }
    }

    /// Begins an operation, and says which requests it became.
    pub(crate) fn start(&mut self, kind: OpKind, sectors: u32) -> Vec<Request> {
        self.start_at(kind, 0, sectors)
    }

    pub(crate) fn start_at(&mut self, kind: OpKind, sector: u64, sectors: u32) -> Vec<Request> {
        let from = self.back.ring.load(Index::ReqProd, Ordering::Acquire);
        self.queue.start(Op { kind, sector, sectors, page: 0, tag: 7 }).unwrap();
        self.queue.flush();
        self.back.requests(from)
    }

    /// What is over now.
    pub(crate) fn over(&mut self) -> Vec<Outcome> {
        let mut all = Vec::new();
        self.queue.reap(|_, op, outcome| {
            assert_eq!(op.tag, 7);
            all.push(outcome);
        });
        all
    }

    /// The outcome: the device is broken for this reason, told in the store; the process lives, and
    /// once the rogue has let go, everything has come back.
    pub(crate) fn breaks(mut self, lie: Misbehaviour) {
        assert_eq!(self.queue.broken(), Some(lie));
        let op = Op { kind: OpKind::Read, sector: 0, sectors: 8, page: 0, tag: 7 };
        assert_eq!(self.queue.start(op), Err(Outcome::Error), "nothing more is asked");
        assert_eq!(self.queue.reap(|_, _, _| ()), 0, "nothing more is taken");
        self.blkfront.fatal(&lie.to_string()).unwrap();
        let state = xenbus::read_state(&mut self.back.store, FRONT).unwrap();
        assert_eq!(state, XenbusState::Closing);
        let error = "/local/domain/1/error/device/vbd/51712/error";
        let error = self.back.store.read_string(error).unwrap();
        assert!(error.contains(&lie.to_string()), "the store says {error:?}");
        self.leave();
    }

    /// The outcome: the device is as good as before.
    pub(crate) fn survives(mut self) {
        assert_eq!(self.queue.broken(), None);
        let requests = self.start(OpKind::Write, 8);
        self.back.answer_all(&requests);
        assert_eq!(self.over(), [Outcome::Okay], "the next operation passes");
        self.leave();
    }

    fn leave(self) {
        let Self { queue, back, lab, before, .. } = self;
        back.leave();
        assert_eq!(queue.close(), 0, "no page is kept aside");
        assert_eq!(holdings(&lab.guest), before, "grants and frames are as before");
    }
}

impl Back {
    pub(crate) fn connect(domain: &HostDomain, mut store: XsClient<UnixTransport>) -> Self {
        let mut key = |key| xenbus::read_u32(&mut store, &format!("{FRONT}/{key}")).unwrap();
        let (gref, port) = (Gref(key("ring-ref")), Port(key("event-channel")));
        let mut foreign = domain.foreign(DomId(1), GrantMode::Copy).unwrap();
        let map = foreign.map(gref).unwrap();
        let ring = Sring::new(foreign.region(&map).clone());
        let port = domain.bind_interdomain(DomId(1), port).unwrap();
        xenbus::switch_state(&mut store, BACK, XenbusState::Connected).unwrap();
        Self { domain: domain.clone(), store, foreign, map, ring, port, prod: 0 }
    }

    /// Puts an answer and publishes it.
    pub(crate) fn answer(&mut self, response: Response) {
        self.ring.write(self.prod & 31, response);
        self.prod = self.prod.wrapping_add(1);
        self.claim(self.prod);
    }

    pub(crate) fn answer_all(&mut self, requests: &[Request]) {
        for request in requests {
            self.answer(Response::new(request.id, request.operation, 0));
        }
    }

    /// The requests from this one on.
    pub(crate) fn requests(&self, from: u32) -> Vec<Request> {
        let to = self.ring.load(Index::ReqProd, Ordering::Acquire);
        (0..to.wrapping_sub(from)).map(|n| self.ring.read(from.wrapping_add(n) & 31)).collect()
    }

    /// Claims that the producer of responses is there.
    pub(crate) fn claim(&self, rsp_prod: u32) {
        self.ring.store(Index::RspProd, rsp_prod, Ordering::Release);
    }

    /// Sends an event.
    pub(crate) fn wake(&mut self) {
        self.port.send();
    }

    /// Lets go of everything.
    pub(crate) fn leave(self) {
        drop((self.port, self.map));
    }
}
