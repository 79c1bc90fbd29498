//! One queue of a vbd: a ring and its port; the unit of work of a worker.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rings::evtchn::{Channel, Eoi, EventCounters};
use rings::ring::Notify;
use rings::{Domain, DomainError, Foreign, ForeignCounters, Waiter};
use tracer::traced;

use super::access::Access;
use super::disk::Disk;
use super::error::Rogue;
use super::parse::Rules;
use super::serve::Server;
use super::stats::Stats;
use super::vbd::VbdId;

/// What the control side tells a queue while it works, and the other way round.
#[derive(Debug, Default)]
pub(crate) struct Live {
    /// Length of the disk. Sectors.
    pub(crate) sectors: AtomicU64,
    /// The disk has said that it cannot flush (or discard), though that was offered.
    pub(crate) no_flush: AtomicBool,
    pub(crate) no_discard: AtomicBool,
}

/// One queue.
#[derive(Debug)]
pub struct Queue<D: Domain> {
    vbd: VbdId,
    server: Server<D::Foreign>,
    /// The ring's pages, mapped as long as the queue lives.
    _pages: <D::Foreign as Foreign>::Mapping,
    port: Channel<D::Doorbell>,
    eoi: Eoi,
    broken: Option<Rogue>,
}

/// What a queue is made of.
pub(crate) struct Parts<D: Domain> {
    pub(crate) vbd: VbdId,
    pub(crate) ring: super::serve::Ring,
    pub(crate) pages: <D::Foreign as Foreign>::Mapping,
    pub(crate) access: Access<D::Foreign>,
    pub(crate) disk: Box<dyn Disk>,
    pub(crate) port: Channel<D::Doorbell>,
    pub(crate) rules: Rules,
    pub(crate) limit: u32,
    /// Bytes that requests in flight may take.
    pub(crate) memory: usize,
    pub(crate) batch: usize,
    pub(crate) always_notify: bool,
    pub(crate) live: Arc<Live>,
}

impl<D: Domain> Queue<D> {
    pub(crate) fn new(parts: Parts<D>) -> Self {
        let Parts { vbd, ring, pages, access, disk, port, rules, live, .. } = parts;
        let (limits, batch) = ((parts.limit, parts.memory), parts.batch);
        let (rules, notify) = ((rules, live), parts.always_notify);
        let server = Server::new(ring, access, disk, rules, limits, batch, notify);
        let (eoi, broken) = (Eoi::default(), None);
        Self { vbd, server, _pages: pages, port, eoi, broken }
    }

    /// Which vbd it belongs to.
    #[must_use]
    pub fn vbd(&self) -> VbdId {
        self.vbd
    }

    /// Counters.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let mut stats = self.server.stats;
        stats.copied = self.server.access.copied();
        stats
    }

    /// What was done through the guest's grants.
    #[must_use]
    pub fn grants(&self) -> ForeignCounters {
        self.server.access.counters()
    }

    /// Pages of the guest that are kept mapped.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.server.access.kept()
    }

    /// System calls of the disk.
    #[must_use]
    pub fn disk_syscalls(&self) -> u64 {
        self.server.disk.syscalls()
    }

    /// Why its disk failed, if it did.
    #[must_use]
    pub fn disk_complaint(&self) -> Option<&str> {
        self.server.disk.complaint()
    }

    /// What happened on the port.
    #[must_use]
    pub fn events(&self) -> EventCounters {
        self.port.counters()
    }

    /// How often the port was kept masked because its events brought no work.
    #[must_use]
    pub fn storm_delays(&self) -> u64 {
        self.eoi.delays()
    }

    /// The lie that broke the vbd, if one did.
    #[must_use]
    pub fn broken(&self) -> Option<Rogue> {
        self.broken
    }

    /// Requests taken and not answered.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.server.in_flight()
    }

    /// Does what there is to do, at most a batch of requests. `false` if there was nothing.
    #[inline]
    pub fn work(&mut self) -> bool {
        if self.broken.is_some() {
            return false;
        }
        match self.server.turn() {
            Ok((worked, Notify::Yes)) => {
                self.port.send();
                worked
            }
            Ok((worked, Notify::No)) => worked,
            Err(lie) => {
                self.broken = Some(lie);
                false
            }
        }
    }

    /// Before sleeping: unmasks the port, asks the ring to wake us, looks once more. `true` if there is
    /// work after all.
    pub fn arm(&mut self, now: Instant) -> bool {
        if self.broken.is_some() {
            return false;
        }
        self.look_around(now);
        if self.eoi.masked_until(now).is_some() {
            return false;
        }
        // What was sent while we looked anyway told nothing new: only what comes from here on is an
        // event, and has to bring work. The ring is looked at below.
        self.disarm();
        let pending = self.port.unmask();
        match self.server.final_check() {
            Ok(work) => pending | work,
            Err(lie) => {
                self.broken = Some(lie);
                true
            }
        }
    }

    /// Now and then: what the disk turned out not to do, what has been unused for long.
    fn look_around(&mut self, now: Instant) {
        let Server { access, live, rules, .. } = &mut self.server;
        access.tick(now);
        // What was taken back, whichever queue found it out, does not go to the disk any more.
        if live.no_flush.load(Ordering::Relaxed) {
            (rules.flush, rules.barrier) = (false, false);
        }
        if live.no_discard.load(Ordering::Relaxed) {
            rules.discard = None;
        }
    }

    /// The same for a queue that never sleeps; cheap enough for every millisecond.
    pub fn tick(&mut self, now: Instant) {
        self.look_around(now);
    }

    /// After sleeping, or when polling: masks the port and clears what is pending, before the ring is
    /// looked at. `true` if an event had come.
    pub fn disarm(&mut self) -> bool {
        self.port.mask();
        self.port.clear()
    }

    /// Tells the storm guard what an event brought.
    pub fn settle_event(&mut self, worked: bool, now: Instant) {
        self.eoi.settle(worked, now);
    }

    /// How long this queue may be left asleep: for ever, unless a storm keeps its port masked.
    #[must_use]
    pub fn patience(&self, now: Instant) -> Duration {
        self.eoi.patience(now)
    }

    /// Whether requests of the guest wait of which no event has told.
    pub fn missed(&mut self) -> bool {
        !self.port.clear() && self.server.has_requests()
    }

    /// Sleeps on this queue's doorbell, and on its disk, from now on.
    ///
    /// # Errors
    /// If the operating system refuses.
    pub fn watch(&self, waiter: &mut impl Waiter<D::Doorbell>) -> Result<(), DomainError> {
        waiter.add(&self.port)?;
        let mut outcome = Ok(());
        self.server.disk.wakes(&mut |fd| {
            if outcome.is_ok() {
                outcome = waiter.add_fd(fd);
            }
        });
        outcome
    }

    /// Stops sleeping on them.
    pub fn unwatch(&self, waiter: &mut impl Waiter<D::Doorbell>) {
        waiter.remove(&self.port);
        self.server.disk.wakes(&mut |fd| waiter.remove_fd(fd));
    }

    /// Lets the disk finish what it has, unmaps everything and closes the port.
    #[traced]
    pub fn close(mut self) {
        self.server.drain();
        self.server.access.close();
    }
}
