//! A queue of blkback as a job: it serves, and counts.

use std::time::{Duration, Instant};

use blkif::back::Queue;
use rings::DomainError;
use rings::worker::Task;
use rings_host::{EpollWaiter, HostDomain};

use crate::counters::Counters;
use crate::workload::{Job, SideReport};

/// Turns between two looks at the clock.
const TURNS_PER_TICK: u32 = 4096;

/// Characters of a disk's complaint at most: the report has to fit into a node of the store.
const LONGEST: usize = 400;

/// A queue that is served.
#[derive(Debug)]
pub struct Served {
    queue: Queue<HostDomain>,
    turns: u32,
}

impl Served {
    /// Serves this queue.
    #[must_use]
    pub fn new(queue: Queue<HostDomain>) -> Self {
        Self { queue, turns: 0 }
    }
}

impl Task for Served {
    #[inline]
    fn work(&mut self) -> bool {
        self.turns = self.turns.wrapping_add(1);
        if self.turns.is_multiple_of(TURNS_PER_TICK) {
            self.queue.tick(Instant::now());
        }
        self.queue.work()
    }

    fn arm(&mut self, now: Instant) -> bool {
        self.queue.arm(now)
    }

    fn disarm(&mut self) -> bool {
        self.queue.disarm()
    }

    fn settle(&mut self, worked: bool, now: Instant) {
        self.queue.settle_event(worked, now);
    }

    fn patience(&self, now: Instant) -> Duration {
        self.queue.patience(now)
    }

    fn missed(&mut self) -> bool {
        self.queue.missed()
    }

    fn finished(&self) -> bool {
        self.queue.broken().is_some()
    }
}

impl Job for Served {
    fn counters(&self) -> Counters {
        let (stats, grants, events) =
            (self.queue.stats(), self.queue.grants(), self.queue.events());
        Counters {
            frames_in: stats.rd_req + stats.wr_req + stats.f_req + stats.ds_req,
            bytes_in: stats.wr_sect * 512,
            bytes_out: stats.rd_sect * 512,
            errors: stats.errors,
            pushes: stats.pushes,
            pushed: stats.pushed,
            notifies: events.sent(),
            suppressed: stats.suppressed,
            copies: grants.copies,
            copied_bytes: stats.copied,
            maps: grants.maps,
            unmaps: grants.unmaps,
            syscalls: events.rung + grants.maps + grants.unmaps + self.queue.disk_syscalls(),
            storm_delays: self.queue.storm_delays(),
            flushes: stats.f_req,
            indirect: stats.indirect,
            segments: stats.segments,
            out_of_requests: stats.oo_req,
            ..Counters::default()
        }
        .with_depth(stats.depth)
    }

    fn failure(&self) -> Option<String> {
        self.queue.broken().map(|lie| lie.to_string())
    }

    fn begun(&self) -> bool {
        true
    }

    fn watch(&self, waiter: &mut EpollWaiter) -> Result<(), DomainError> {
        self.queue.watch(waiter)
    }

    fn unwatch(&self, waiter: &mut EpollWaiter) {
        self.queue.unwatch(waiter);
    }

    fn finish(self: Box<Self>) -> SideReport {
        let counters = self.counters();
        let first_error =
            self.queue.disk_complaint().map(|why| why.chars().take(LONGEST).collect());
        self.queue.close();
        SideReport { counters, first_error, ..SideReport::default() }
    }
}
