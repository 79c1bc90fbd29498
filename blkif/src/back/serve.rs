//! The work of a queue: requests from the ring to the disk, and answers back.
//!
//! One turn looks at the ring once, takes a batch, and publishes all answers that are ready at once.
//! Requests for a disk that answers at once go straight through; the others wait in the table of what
//! is pending. A barrier lets nothing past it in either direction.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rings::io::blkif::{
    Op, RSP_EOPNOTSUPP, RSP_ERROR, RSP_OKAY, Request, RequestSegment, Response, SECTOR_SIZE,
    SEGMENTS_PER_INDIRECT_PAGE, SLOT,
};
use rings::mem::Region;
use rings::ring::{BackRing, Notify, Sring};
use rings::weaken::{Check, skipped};
use rings::{Foreign, Gref};
use tracer::format::Slot;
use tracer::traced;
use zerocopy::{FromZeros as _, IntoBytes as _};

use super::access::Access;
use super::disk::{Content, Disk, Done, Failure, Io, Started};
use super::error::Rogue;
use super::parse::{
    Action, Head, Refusal, Rules, Segment, Segments, check, echo, head, indirect_pages,
};
use super::pending::{Barrier, Table, Zeroed};
use super::queue::Live;
use super::stats::Stats;

/// Answers of a disk that takes its time that one turn deals with. Storage answers in bursts and then
/// waits for us: what the first few of a burst lead the guest to ask for next is with the storage
/// while we still deal with the others.
const REAPED: u32 = 4;

/// The ring of a vbd.
pub(crate) type Ring = BackRing<Sring<SLOT>, Request, Response>;

/// The ring in `pages`, taken over where its last backend left off.
pub(crate) fn attach(pages: Region) -> Result<Ring, rings::ring::ProdOverflow> {
    Ring::attach(Sring::new(pages))
}

/// Everything between a ring and a disk.
#[derive(Debug)]
pub(crate) struct Server<F: Foreign> {
    ring: Ring,
    pub(crate) access: Access<F>,
    pub(crate) disk: Box<dyn Disk>,
    pub(crate) rules: Rules,
    pub(crate) live: Arc<Live>,
    pub(crate) stats: Stats,
    content: Content,
    table: Table,
    /// Segments of the request at hand.
    parts: Vec<Segment>,
    /// What the guest wrote into the pages of an indirect request, copied.
    list: Vec<RequestSegment>,
    zeroed: Vec<Zeroed>,
    zero_parts: Vec<Segment>,
    /// A barrier that waits for what is in flight, or is in flight itself.
    barrier: Option<Barrier>,
    batch: usize,
    always_notify: bool,
    /// Requests wait, and none has been taken since there was no room for them.
    starved: bool,
    /// Answers put since the last push.
    put: u32,
}

impl<F: Foreign> Server<F> {
    pub(super) fn new(
        ring: Ring,
        access: Access<F>,
        disk: Box<dyn Disk>,
        (rules, live): (Rules, Arc<Live>),
        (limit, memory): (u32, usize),
        batch: usize,
        always_notify: bool,
    ) -> Self {
        let indirect = usize::from(rules.max_indirect).max(11);
        let ring_size = ring.size() as usize;
        Self {
            content: disk.content(),
            ring,
            access,
            disk,
            rules,
            live,
            stats: Stats::default(),
            table: Table::new(limit, indirect, memory),
            parts: Vec::with_capacity(indirect),
            list: Vec::with_capacity(indirect),
            zeroed: Vec::with_capacity(ring_size),
            zero_parts: Vec::with_capacity(ring_size * 11),
            barrier: None,
            // Half a ring at a time: the guest takes answers while we make more.
            batch: batch.clamp(1, (ring_size / 2).max(1)),
            always_notify,
            starved: false,
            put: 0,
        }
    }

    /// Requests taken and not answered.
    pub(super) fn in_flight(&self) -> u32 {
        self.ring.unanswered()
    }

    /// One turn. Whether there was anything to do, and whether to wake the guest.
    #[traced(quiet)]
    #[inline]
    pub(super) fn turn(&mut self) -> Result<(bool, Notify), Rogue> {
        let mut left = REAPED;
        let mut worked = self.reap(&mut left);
        if self.ring.unconsumed_requests() > 0 || self.ring.poll_requests()? > 0 {
            // After the look at the ring: whoever asks for what is new on the disk was told of it before.
            self.rules.sectors = self.live.sectors.load(Ordering::Relaxed);
            worked |= self.take_batch();
        }
        self.zero_pages();
        if worked {
            tracer::counter!("requests with the disk", self.table.in_flight());
            self.disk.submit();
            // What the disk has done at once (or while it was told) is answered with the rest.
            self.reap(&mut left);
        }
        // That may have begun another step or set an answer aside, and the kernel may have taken less
        // than it was given before: nobody else would send it on. Free where there is nothing.
        self.disk.submit();
        Ok((worked, self.push()))
    }

    /// Takes a batch of requests, as far as there is room for them.
    #[inline]
    fn take_batch(&mut self) -> bool {
        let mut span = tracer::quiet_span!("take_batch", waiting = self.ring.unconsumed_requests());
        let mut taken = 0;
        // Whoever waits for each operation shows in between that it lives.
        let batch = if self.disk.blocks() { 1 } else { self.batch };
        while taken < batch && self.barrier.is_none() {
            if !self.table.has_room() {
                // Counted once, however often we look until there is room again.
                let starved = self.ring.unconsumed_requests() > 0;
                self.stats.oo_req += u64::from(starved && !self.starved);
                self.starved = starved;
                break;
            }
            let Some((_, request)) = self.ring.take_request() else { break };
            taken += 1;
            self.starved = false;
            self.stats.in_flight(self.ring.unanswered());
            let bars = Op::from_raw(request.operation) == Some(Op::WriteBarrier);
            if bars && self.table.in_flight() > 0 && !skipped(Check::BlkDrain) {
                self.barrier = Some(Barrier::Waits(request));
                break;
            }
            self.dispatch(&request);
        }
        span.keep_if(taken > 0);
        taken > 0
    }

    /// Judges one request and begins it.
    #[inline]
    fn dispatch(&mut self, request: &Request) {
        match self.judge(request) {
            Ok((head, sectors)) => self.begin(request, &head, sectors),
            Err(refusal) => self.respond(request.id, echo(request), refusal.status()),
        }
    }

    /// What a request asks for; its segments are in `parts` then.
    #[inline]
    fn judge(&mut self, request: &Request) -> Result<(Head, u64), Refusal> {
        let head = head(request, &self.rules)?;
        let segments = match head.segments {
            Segments::Direct(count) => &request.seg[..count],
            Segments::Indirect(count, grefs) => {
                self.fetch_list(count, &grefs)?;
                self.stats.indirect += 1;
                &self.list
            }
        };
        if let Action::Discard { .. } = head.action {
            self.parts.clear();
            return Ok((head, head.sectors));
        }
        self.stats.segments += segments.len() as u64;
        let sectors = check(&head, segments, &self.rules, &mut self.parts)?;
        Ok((head, sectors))
    }

    /// Copies the segments of an indirect request out of the guest's pages, once.
    fn fetch_list(&mut self, count: usize, grefs: &[u32]) -> Result<(), Refusal> {
        self.list.clear();
        self.list.resize(count, RequestSegment::new_zeroed());
        let pages = self.list.chunks_mut(SEGMENTS_PER_INDIRECT_PAGE);
        for (page, &gref) in pages.zip(&grefs[..indirect_pages(count).min(grefs.len())]) {
            if !self.access.read_page(Gref(gref), page.as_mut_bytes()) {
                return Err(Refusal::Segment);
            }
        }
        Ok(())
    }

    #[traced(fine, sectors = sectors)]
    #[inline]
    fn begin(&mut self, request: &Request, head: &Head, sectors: u64) {
        self.stats.count(head.action, sectors);
        let (id, echo) = (request.id, echo(request));
        match (head.action, self.content) {
            (Action::Read | Action::Write, Content::Nothing) => {
                return self.respond(id, echo, RSP_OKAY);
            }
            (Action::Read, Content::Zeros) => {
                self.zero_parts.extend_from_slice(&self.parts);
                let end = self.zero_parts.len();
                return self.zeroed.push(Zeroed { id, echo, end });
            }
            _ => {}
        }
        let moves = if matches!(head.action, Action::Discard { .. }) { 0 } else { sectors };
        let bytes = usize::try_from(moves).unwrap_or(0) * SECTOR_SIZE;
        let Some((tag, pending)) = self.table.begin(&self.parts, bytes) else {
            // Nobody takes a request from the ring when there is no room; if somebody did, it has an answer.
            return self.respond(id, echo, RSP_ERROR);
        };
        (pending.id, pending.echo) = (id, echo);
        // What has no sectors is at none, whatever it says.
        let sector = if sectors > 0 { head.sector } else { 0 };
        (pending.action, pending.sector, pending.sectors) = (head.action, sector, sectors);
        let brings = pending.brings_data();
        if brings && !self.access.fetch(&pending.segments, pending.buffer.bytes_mut()) {
            return self.end(tag, RSP_ERROR);
        }
        if head.action == Action::Barrier {
            self.barrier = Some(Barrier::Runs(tag));
        }
        self.step(tag);
    }

    /// Begins the next step of a request; answers it after the last.
    #[inline]
    fn step(&mut self, tag: u32) {
        loop {
            let pending = self.table.get(tag);
            let Some(kind) = pending.next_step() else { return self.succeed(tag) };
            let (sector, sectors) = (pending.sector, pending.sectors);
            let buffer = std::mem::take(&mut pending.buffer);
            match self.disk.start(Io { tag, kind, sector, sectors, buffer }) {
                Started::Later => return,
                Started::Now(Done { buffer, outcome, .. }) => {
                    self.table.get(tag).buffer = buffer;
                    if let Err(failure) = outcome {
                        return self.fail(tag, failure);
                    }
                }
            }
        }
    }

    /// Deals with what the disk is done with, at most with so many as are `left` of this turn's.
    #[traced(quiet)]
    #[inline]
    fn reap(&mut self, left: &mut u32) -> bool {
        let mut any = false;
        while *left > 0
            && let Some(Done { tag, buffer, outcome }) = self.disk.poll()
        {
            any = true;
            *left -= 1;
            self.table.get(tag).buffer = buffer;
            match outcome {
                Ok(()) => self.step(tag),
                Err(failure) => self.fail(tag, failure),
            }
        }
        if let Some(Barrier::Waits(request)) = self.barrier
            && self.table.in_flight() == 0
        {
            self.barrier = None;
            self.dispatch(&request);
            any = true;
        }
        any
    }

    /// All steps are done: a read's bytes go to the guest.
    #[inline]
    fn succeed(&mut self, tag: u32) {
        let pending = self.table.get(tag);
        let reads = pending.action == Action::Read;
        let good = !reads || self.access.deliver(&pending.segments, pending.buffer.bytes());
        self.end(tag, if good { RSP_OKAY } else { RSP_ERROR });
    }

    fn fail(&mut self, tag: u32, failure: Failure) {
        let action = self.table.get(tag).action;
        let status = match failure {
            Failure::Io => RSP_ERROR,
            Failure::Unsupported => {
                let flushes = matches!(action, Action::Flush | Action::Barrier);
                let lacks = if flushes { &self.live.no_flush } else { &self.live.no_discard };
                lacks.store(true, Ordering::Relaxed);
                RSP_EOPNOTSUPP
            }
        };
        self.end(tag, status);
    }

    /// Answers a request that was pending.
    #[inline]
    fn end(&mut self, tag: u32, status: i16) {
        let pending = self.table.get(tag);
        let (id, echo) = (pending.id, pending.echo);
        self.table.end(tag);
        if matches!(self.barrier, Some(Barrier::Runs(barrier)) if barrier == tag) {
            self.barrier = None;
        }
        self.respond(id, echo, status);
    }

    /// Writes the zeros of all reads of this turn, and answers them.
    #[inline]
    fn zero_pages(&mut self) {
        if self.zeroed.is_empty() {
            return;
        }
        let Self { access, zeroed, zero_parts, ring, stats, put, .. } = self;
        let mut next = 0;
        access.zero(zero_parts, zeroed.iter().map(|read| read.end), |good| {
            let Zeroed { id, echo, .. } = zeroed[next];
            next += 1;
            let status = if good { RSP_OKAY } else { RSP_ERROR };
            stats.errors += u64::from(!good);
            let index = ring.put_response(Response::new(id, echo, status));
            ring.trace().id(Slot::Response, index, id);
            *put += 1;
        });
        zeroed.clear();
        zero_parts.clear();
    }

    #[inline]
    fn respond(&mut self, id: u64, echo: u8, status: i16) {
        self.stats.errors += u64::from(status == RSP_ERROR);
        self.stats.unsupported += u64::from(status == RSP_EOPNOTSUPP);
        let index = self.ring.put_response(Response::new(id, echo, status));
        self.ring.trace().id(Slot::Response, index, id);
        self.put += 1;
    }

    /// Publishes the answers of this turn, all at once.
    #[traced(quiet, slots = self.put)]
    #[inline]
    fn push(&mut self) -> Notify {
        if self.put == 0 {
            return Notify::No;
        }
        let notify = self.ring.push_responses();
        self.stats.pushes += 1;
        self.stats.pushed += u64::from(std::mem::take(&mut self.put));
        let notify = if self.always_notify { Notify::Yes } else { notify };
        self.stats.notifies += u64::from(notify == Notify::Yes);
        self.stats.suppressed += u64::from(notify == Notify::No);
        notify
    }

    /// Whether requests wait to be taken.
    pub(super) fn has_requests(&mut self) -> bool {
        matches!(self.ring.poll_requests(), Ok(1..))
    }

    /// Asks to be woken by the next request; `true` if there is one that could be taken now. With no
    /// room for more, answers of the disk come first, and they wake us by themselves.
    pub(super) fn final_check(&mut self) -> Result<bool, Rogue> {
        let waits = self.ring.final_check_for_requests()?;
        Ok(waits && self.table.has_room() && self.barrier.is_none())
    }

    /// Waits for everything in flight; the answers are not published any more.
    pub(super) fn drain(&mut self) {
        let patience = Instant::now() + Duration::from_secs(5);
        self.disk.submit();
        while self.table.in_flight() > 0 && Instant::now() < patience {
            if !self.reap(&mut { u32::MAX }) {
                std::thread::sleep(Duration::from_micros(200));
            }
            self.disk.submit();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use rings::grant::{CopyOp, GntStatus};
    use rings::ring::FrontRing;
    use rings::{ForeignCounters, GrantMode, PAGE_SIZE};

    use super::super::disk::{Faults, Source, Spec};
    use super::super::pending::MEMORY;
    use super::*;
    use crate::dialect::Dialect;

    type Front = FrontRing<Sring<SLOT>, Request, Response>;

    /// A guest whose pages hold whatever they hold.
    #[derive(Debug)]
    struct Pages;

    impl Foreign for Pages {
        type Mapping = Region;
        fn copy_from(&mut self, _: &mut [CopyOp], _: &mut [u8]) -> u64 {
            0
        }
        fn copy_to(&mut self, _: &mut [CopyOp], _: &[u8]) -> u64 {
            0
        }
        fn map(&mut self, _: Gref) -> Result<Region, GntStatus> {
            Err(GntStatus::GeneralError)
        }
        fn map_ring(&mut self, _: &[Gref]) -> Result<Region, GntStatus> {
            Err(GntStatus::GeneralError)
        }
        fn map_data(&mut self, _: &[Gref], _: bool, _: &mut Vec<Result<Region, GntStatus>>) {}
        fn unmap_data(&mut self, _: &mut Vec<Result<Region, GntStatus>>) {}
        fn region<'a>(&self, mapping: &'a Region) -> &'a Region {
            mapping
        }
        fn counters(&self) -> ForeignCounters {
            ForeignCounters::default()
        }
    }

    /// Done with everything as soon as it is handed over, as the kernel is with writes to memory; or
    /// never.
    #[derive(Debug, Default)]
    struct Inline {
        put: VecDeque<Done>,
        done: VecDeque<Done>,
        stuck: bool,
    }

    impl Disk for Inline {
        fn start(&mut self, io: Io) -> Started {
            self.put.push_back(Done { tag: io.tag, buffer: io.buffer, outcome: Ok(()) });
            Started::Later
        }
        fn submit(&mut self) {
            if !self.stuck {
                self.done.append(&mut self.put);
            }
        }
        fn poll(&mut self) -> Option<Done> {
            self.done.pop_front()
        }
    }

    fn serve(disk: Box<dyn Disk>, limit: u32) -> (Front, Server<Pages>) {
        let rules = Rules {
            sectors: 1000,
            sector_size: 512,
            read_only: false,
            max_indirect: 0,
            flush: true,
            barrier: true,
            discard: None,
            secure: false,
            units: Dialect::Xen.units(512),
        };
        let pages = Region::anonymous(PAGE_SIZE);
        let sring = Sring::new(pages.clone());
        sring.init(0);
        let ring = attach(pages).expect("a new ring");
        let access = Access::new(Pages, GrantMode::Copy, 0);
        let rules = (rules, Arc::new(Live { sectors: rules.sectors.into(), ..Live::default() }));
        let server = Server::new(ring, access, disk, rules, (limit, MEMORY), 16, false);
        (Front::attach(sring, 0), server)
    }

    fn ask(front: &mut Front, id: u64, op: Op) {
        let mut request = Request { operation: op as u8, id, ..Request::default() };
        request.nr_segments = u8::from(op == Op::WriteBarrier);
        front.put_request(request);
        let _ = front.push_requests();
    }

    /// As a worker does, which sleeps when a turn brings nothing.
    fn work(server: &mut Server<Pages>) {
        while server.turn().expect("no lie").0 {}
    }

    #[test]
    fn a_barrier_that_waited_is_handed_to_the_disk_before_the_worker_sleeps() {
        let (mut front, mut server) = serve(Box::new(Inline::default()), 32);
        ask(&mut front, 1, Op::FlushDiskcache);
        ask(&mut front, 2, Op::WriteBarrier);
        work(&mut server);
        assert_eq!(server.in_flight(), 0);
        assert_eq!(front.poll_responses(), Ok(2));
    }

    #[test]
    fn the_first_of_a_burst_of_answers_are_with_the_guest_before_the_last_are_looked_at() {
        let (mut front, mut server) = serve(Box::new(Inline::default()), 32);
        (0..16).for_each(|id| ask(&mut front, id, Op::FlushDiskcache));
        for answered in [4, 8, 12, 16] {
            assert!(server.turn().expect("no lie").0);
            assert_eq!(front.poll_responses(), Ok(answered));
        }
    }

    #[test]
    fn an_answer_set_aside_has_its_timer_set_before_the_worker_sleeps() {
        let faults = Faults { delays: 1.0, delay: Duration::from_secs(60), ..Faults::default() };
        let spec = Spec::Faulty(Box::new(Spec::Ram(1 << 20)), faults);
        let disk = Source::open(&spec, false, 512).and_then(|disk| disk.queue(4)).expect("a disk");
        let (mut front, mut server) = serve(disk, 32);
        ask(&mut front, 1, Op::FlushDiskcache);
        assert!(server.turn().expect("no lie").0);
        assert_eq!((server.in_flight(), server.disk.syscalls()), (1, 1));
    }

    #[test]
    fn a_full_table_is_counted_once_for_each_time_it_stops_a_request() {
        let disk = Inline { stuck: true, ..Inline::default() };
        let (mut front, mut server) = serve(Box::new(disk), 1);
        ask(&mut front, 1, Op::FlushDiskcache);
        ask(&mut front, 2, Op::FlushDiskcache);
        for _ in 0..5 {
            let _ = server.turn().expect("no lie");
        }
        assert_eq!((server.in_flight(), server.stats.oo_req), (1, 1));
    }
}
