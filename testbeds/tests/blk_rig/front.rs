//! A frontend that may do anything with what is its own, against the real blkback.

use std::sync::Arc;
use std::time::Duration;

use blkif::back::disk::{Source, Spec};
use blkif::back::{Blkback, Config, Queue, Rogue, VbdEvent, VbdId};
use blkif::dialect::Dialect;
use rings::evtchn::Channel;
use rings::io::blkif::{Op, RSP_OKAY, Request, RequestIndirect, RequestSegment, Response, SLOT};
use rings::mem::Frames;
use rings::ring::{Index, Sring, SringMem};
use rings::store::{Nodes, XenbusState, XsClient, xenbus};
use rings::sync::Ordering;
use rings::{DomId, Domain, GrantMode, Gref, PAGE_SIZE};
use rings_host::{EventDoorbell, HostDomain, UnixTransport};

use super::{Lab, XVDA, holdings, until};

/// Pages of the rogue's own: those with even numbers are granted, the others are canaries.
const PAGES: usize = 64;
/// What canaries hold.
const CANARY: u8 = 0xc5;
/// Bytes of the disk.
pub(crate) const DISK: u64 = 1 << 20;
/// The vbd.
pub(crate) const VBD: VbdId = VbdId { front: DomId(1), handle: XVDA };
const DIR: &str = "device/vbd/51712";

/// The ring, port and pages of a frontend without scruples.
#[derive(Debug)]
pub(crate) struct Front {
    pub(crate) domain: HostDomain,
    pub(crate) store: XsClient<UnixTransport>,
    pub(crate) ring: Sring<SLOT>,
    pub(crate) port: Channel<EventDoorbell>,
    pub(crate) pages: Frames,
    ring_page: Frames,
    pub(crate) ring_gref: Gref,
    /// Of pages 0, 2, 4 ...: for reading and writing.
    pub(crate) grefs: Vec<Gref>,
    /// Of the last page: for reading only.
    pub(crate) readonly: Gref,
    /// Of the last page but two: to another domain.
    pub(crate) of_others: Gref,
    pub(crate) prod: u32,
    seen: u32,
    before: (usize, usize),
}

impl Front {
    pub(crate) fn new(domain: &HostDomain, base: u32) -> Self {
        let before = holdings(domain);
        let memory = domain.memory();
        let ring_page = memory.alloc(1).unwrap();
        let pages = memory.alloc(PAGES + 4).unwrap();
        let grant = |frames: &Frames, page, to, readonly| {
            memory.grant_access(to, frames, page, readonly).unwrap()
        };
        let ring_gref = grant(&ring_page, 0, DomId::DOM0, false);
        let grefs = (0..PAGES).step_by(2).map(|n| grant(&pages, n, DomId::DOM0, false)).collect();
        let readonly = grant(&pages, PAGES + 2, DomId::DOM0, true);
        let of_others = grant(&pages, PAGES, DomId(2), false);
        for page in 0..PAGES + 4 {
            let fill = if page % 2 == 0 { 0x11 } else { CANARY };
            pages.region().copy_in(page * PAGE_SIZE, &[fill; PAGE_SIZE]);
        }
        let ring = Sring::new(ring_page.region().clone());
        ring.init(base);
        Self {
            domain: domain.clone(),
            store: domain.store().unwrap(),
            ring,
            port: domain.alloc_unbound(DomId::DOM0).unwrap(),
            pages,
            ring_page,
            ring_gref,
            grefs,
            readonly,
            of_others,
            prod: base,
            seen: base,
            before,
        }
    }

    /// Writes a key of the device.
    pub(crate) fn key(&mut self, key: &str, value: impl ToString) {
        self.store.write(&format!("{DIR}/{key}"), value.to_string()).unwrap();
    }

    pub(crate) fn switch(&mut self, state: XenbusState) {
        xenbus::switch_state(&mut self.store, DIR, state).unwrap();
    }

    /// Writes all keys and switches to Initialised.
    pub(crate) fn publish(&mut self) {
        self.key("ring-ref", self.ring_gref);
        self.key("event-channel", self.port.port());
        self.key("protocol", "x86_64-abi");
        self.key("feature-persistent", 1);
        self.switch(XenbusState::Initialised);
    }

    /// An honest request for whole granted pages: page `n` and those after it.
    pub(crate) fn request(&self, op: Op, sector: u64, pages: &[usize]) -> Request {
        let mut request = Request {
            operation: op as u8,
            nr_segments: u8::try_from(pages.len()).unwrap(),
            id: u64::from(self.prod) | 0xabcd_0000_0000_0000,
            sector_number: sector,
            ..Request::default()
        };
        for (segment, &page) in request.seg.iter_mut().zip(pages) {
            *segment =
                RequestSegment { gref: self.grefs[page].0, first_sect: 0, last_sect: 7, pad: 0 };
        }
        request
    }

    /// The same with one whole granted page, `page`, that stands in the list in page 0.
    pub(crate) fn indirect(&self, op: Op, page: usize) -> Request {
        let gref = self.grefs[page].0;
        let segment = RequestSegment { gref, first_sect: 0, last_sect: 7, pad: 0 };
        self.pages.region().write(0, segment);
        indirect(self.grefs[0].0, op, 1)
    }

    /// Puts a request on the ring and publishes it.
    pub(crate) fn put(&mut self, request: Request) {
        self.ring.write(self.prod & 31, request);
        self.prod = self.prod.wrapping_add(1);
        self.claim(self.prod);
    }

    /// Claims that the producer is there.
    pub(crate) fn claim(&self, req_prod: u32) {
        self.ring.store(Index::ReqProd, req_prod, Ordering::Release);
    }

    /// The answers since the last look.
    pub(crate) fn answers(&mut self) -> Vec<Response> {
        let prod = self.ring.load(Index::RspProd, Ordering::Acquire);
        let mut all = Vec::new();
        while self.seen != prod {
            all.push(self.ring.read::<Response>(self.seen & 31));
            self.seen = self.seen.wrapping_add(1);
        }
        all
    }

    /// Statuses of the answers since the last look.
    pub(crate) fn statuses(&mut self) -> Vec<i16> {
        self.answers().iter().map(|response| response.status).collect()
    }

    /// Fills granted page `n`.
    pub(crate) fn fill(&self, n: usize, value: u8) {
        self.pages.region().copy_in(n * 2 * PAGE_SIZE, &[value; PAGE_SIZE]);
    }

    /// What is in granted page `n`.
    pub(crate) fn page(&self, n: usize) -> Vec<u8> {
        let mut page = vec![0; PAGE_SIZE];
        self.pages.region().copy_out(n * 2 * PAGE_SIZE, &mut page);
        page
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
        assert!(self.canaries_live(), "bytes outside a grant were written");
        let memory = self.domain.memory();
        let all = self.grefs.iter().chain([&self.ring_gref, &self.readonly, &self.of_others]);
        for &gref in all {
            memory.end_access(gref).unwrap_or_else(|e| panic!("{e}"));
        }
        memory.free(self.ring_page);
        memory.free(self.pages);
        drop(self.port);
        assert_eq!(holdings(&self.domain), self.before, "grants and frames are as before");
    }
}

/// The real blkback with a rogue for a guest.
#[derive(Debug)]
pub(crate) struct Attack {
    pub(crate) front: Front,
    pub(crate) queue: Queue<HostDomain>,
    pub(crate) blkback: Blkback<HostDomain>,
    pub(crate) lab: Lab,
}

/// So many segments in the page with this gref.
pub(crate) fn indirect(list: u32, op: Op, segments: u16) -> Request {
    let mut request = RequestIndirect {
        operation: Op::Indirect as u8,
        indirect_op: op as u8,
        nr_segments: segments,
        ..RequestIndirect::default()
    };
    request.indirect_grefs[0] = list;
    request.into()
}

/// How blkback is configured here.
pub(crate) fn config(spec: &Spec, grant: GrantMode, read_only: bool) -> Config {
    Config {
        max_queues: 4,
        max_ring_order: 4,
        max_indirect: 256,
        grant,
        per_page: 32,
        batch: 64,
        always_notify: false,
        dialect: Dialect::Xen,
        disk: Arc::new(Source::open(spec, read_only, 512).unwrap()),
        name: String::new(),
    }
}

impl Attack {
    /// A disk in memory, pages copied.
    pub(crate) fn new() -> Self {
        Self::with(&config(&Spec::Ram(DISK), GrantMode::Copy, false), 0)
    }

    /// The same with pages reached in another way.
    pub(crate) fn by(grant: GrantMode) -> Self {
        Self::with(&config(&Spec::Ram(DISK), grant, false), 0)
    }

    pub(crate) fn with(config: &Config, base: u32) -> Self {
        Self::within(Lab::new(), config, base)
    }

    /// In this lab.
    pub(crate) fn within(lab: Lab, config: &Config, base: u32) -> Self {
        Self::telling(lab, config, base, |_| ())
    }

    /// The guest has written other keys, too, before it is looked at.
    pub(crate) fn telling(
        lab: Lab,
        config: &Config,
        base: u32,
        keys: impl FnOnce(&mut Front),
    ) -> Self {
        let mut blkback = Blkback::new(&lab.dom0, config.clone()).unwrap();
        let mut front = Front::new(&lab.guest, base);
        wait_for(&mut blkback, XenbusState::InitWait);
        front.publish();
        keys(&mut front);
        let queue = connected(&mut blkback);
        Self { front, queue, blkback, lab }
    }

    /// Lets the backend work until it has nothing more to do.
    pub(crate) fn serve(&mut self) {
        let mut idle = 0;
        while idle < 3 {
            idle = if self.queue.work() { 0 } else { idle + 1 };
        }
    }

    /// Grants the same few pages under so many grefs, a multiple of 11, and has all of them read into.
    pub(crate) fn read_into_many(&mut self, count: usize) -> (Frames, Vec<Gref>) {
        let memory = self.front.domain.memory();
        let frames = memory.alloc(4).unwrap();
        let grant = |n| memory.grant_access(DomId::DOM0, &frames, n % 4, false).unwrap();
        let grefs: Vec<Gref> = (0..count).map(grant).collect();
        for grefs in grefs.chunks(11) {
            let mut request = self.front.request(Op::Read, 0, &[1; 11]);
            for (segment, gref) in request.seg.iter_mut().zip(grefs) {
                segment.gref = gref.0;
            }
            assert_eq!(self.ask(request), RSP_OKAY);
        }
        (frames, grefs)
    }

    /// Puts one request, lets it be served, and says what it came to.
    pub(crate) fn ask(&mut self, request: Request) -> i16 {
        self.front.put(request);
        self.serve();
        let answers = self.front.answers();
        assert_eq!(answers.len(), 1, "one answer: {answers:?}");
        assert_eq!(answers[0].id, request.id);
        answers[0].status
    }

    /// The outcome: the vbd breaks for this reason, told in the store, and nothing of the rogue's is held
    /// any more.
    pub(crate) fn breaks(mut self, lie: Rogue) {
        assert_eq!(self.queue.broken(), Some(lie));
        assert!(!self.queue.work(), "nothing more is taken from a liar");
        self.blkback.rogue(VBD, &lie.to_string()).unwrap();
        until("the queues to be asked back", || {
            let events = self.blkback.step(Duration::from_millis(10)).unwrap();
            events.into_iter().find(|event| matches!(event, VbdEvent::Disconnect(VBD)))
        });
        let Self { front, queue, mut blkback, lab } = self;
        queue.close();
        blkback.disconnected(VBD).unwrap();
        let state = xenbus::read_state(blkback.store(), &dir()).unwrap();
        assert_eq!(state, XenbusState::Closing);
        let error = blkback.store().read_string(&format!("error/{}/error", dir())).unwrap();
        assert!(error.contains(&lie.to_string()), "the store says {error:?}");
        assert!(front.port.closed(), "the port is given back");
        front.leave();
        drop(lab);
    }

    /// The outcome: the vbd is as good as before, and all that was mapped is unmapped at the end.
    pub(crate) fn survives(mut self) {
        assert_eq!(self.queue.broken(), None);
        self.front.fill(0, 0x77);
        let write = self.front.request(Op::Write, 8, &[0]);
        assert_eq!(self.ask(write), RSP_OKAY);
        let read = self.front.request(Op::Read, 8, &[1]);
        assert_eq!(self.ask(read), RSP_OKAY);
        assert_eq!(self.front.page(1), [0x77; PAGE_SIZE], "the next request is served");
        let Self { front, queue, lab, .. } = self;
        queue.close();
        front.leave();
        drop(lab);
    }
}

/// The vbd's directory, relative to the backend's home.
pub(crate) fn dir() -> String {
    format!("backend/vbd/{}/{}", VBD.front, VBD.handle)
}

/// Lets blkback work until it is in `state`.
pub(crate) fn wait_for(blkback: &mut Blkback<HostDomain>, state: XenbusState) {
    until("a state of blkback", || {
        let events = blkback.step(Duration::from_millis(10)).unwrap();
        assert!(events.is_empty(), "nothing is ready yet");
        (xenbus::read_state(blkback.store(), &dir()).unwrap() == state).then_some(())
    });
}

/// Lets blkback work until it has connected a vbd of one queue.
pub(crate) fn connected(blkback: &mut Blkback<HostDomain>) -> Queue<HostDomain> {
    until("blkback to connect", || {
        blkback.step(Duration::from_millis(10)).unwrap().into_iter().find_map(|e| match e {
            VbdEvent::Connected(_, mut queues) => queues.pop(),
            VbdEvent::Disconnect(_) => None,
        })
    })
}
