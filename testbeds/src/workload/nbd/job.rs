//! The worker's end of the NBD server: takes requests from the desk as long as there is room, and serves
//! the queue that does them.

use std::any::Any;
use std::time::{Duration, Instant};

use blkif::front::Queue;
use rings::DomainError;
use rings::worker::Task;
use rings_host::{EpollWaiter, HostDomain};

use super::desk::Desk;
use super::export::Export;
use super::requests::{Done, Requests};
use crate::config::RunConfig;
use crate::counters::Counters;
use crate::workload::blk::{BlkReport, Change};
use crate::workload::{Job, SideReport};

/// Serves NBD clients with one queue.
pub struct Clerk {
    queue: Queue<HostDomain>,
    desk: Desk,
    export: Export,
    requests: Requests,
}

impl std::fmt::Debug for Clerk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Clerk").field("queue", &self.queue).finish_non_exhaustive()
    }
}

impl Clerk {
    /// Serves what lies on `desk` with this queue, `slots` operations at once; `export` hears of another
    /// length of the disk.
    #[must_use]
    pub fn new(
        queue: Queue<HostDomain>,
        desk: Desk,
        export: Export,
        slots: u32,
        run: &RunConfig,
    ) -> Self {
        Self { queue, desk, export, requests: Requests::new(slots, run) }
    }

    /// Begins what can be begun of the requests at hand, and takes more as long as there is room.
    fn begin(&mut self) -> bool {
        let mut any = self.requests.begin(&mut self.queue);
        while self.queue.has_room() && self.requests.has_room() {
            let Some(request) = self.desk.take() else { break };
            self.requests.take(request);
            any |= self.requests.begin(&mut self.queue);
        }
        any
    }
}

impl Task for Clerk {
    fn work(&mut self) -> bool {
        if self.queue.lost() {
            return false;
        }
        let Self { queue, requests, .. } = self;
        let answers = queue.reap(|buffers, op, outcome| requests.over(buffers, op, outcome));
        let begun = self.begin();
        if answers > 0 || begun {
            self.requests.done.meter.tick(Instant::now());
            self.queue.flush();
        }
        answers > 0 || begun
    }

    fn arm(&mut self, now: Instant) -> bool {
        let room = self.queue.has_room() && self.requests.has_room();
        let asked = self.desk.len() > 0 && room;
        !self.queue.lost() && (self.queue.arm(now) || asked)
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

impl Job for Clerk {
    fn counters(&self) -> Counters {
        let (stats, events) = (self.queue.stats(), self.queue.events());
        let done = &self.requests.done;
        let both = Counters {
            frames_out: stats.requests,
            bytes_out: done.writes.1,
            bytes_in: done.reads.1,
            errors: stats.errors,
            pushes: stats.pushes,
            pushed: stats.pushed,
            notifies: events.sent(),
            suppressed: stats.suppressed,
            ring_full: stats.ring_full,
            syscalls: events.rung,
            storm_delays: self.queue.storm_delays(),
            ..Counters::default()
        };
        both.plus(&done.meter.counters())
    }

    fn failure(&self) -> Option<String> {
        self.queue.broken().map(|lie| lie.to_string())
    }

    fn begun(&self) -> bool {
        self.requests.done.meter.begun()
    }

    fn watch(&self, waiter: &mut EpollWaiter) -> Result<(), DomainError> {
        self.queue.watch(waiter)
    }

    fn unwatch(&self, waiter: &mut EpollWaiter) {
        self.queue.unwatch(waiter);
    }

    fn change(&mut self, what: Box<dyn Any + Send>) {
        match what.downcast::<Change>().map(|change| *change) {
            Ok(Change::Relink(link, disk)) => {
                self.export.resize(disk.sectors);
                self.queue.relink(*link, disk);
            }
            Ok(Change::Resize(sectors)) => {
                self.export.resize(sectors);
                self.queue.resize(sectors);
            }
            // Nobody has anything else for a disk.
            Err(_) => {}
        }
    }

    fn finish(self: Box<Self>) -> SideReport {
        let counters = self.counters();
        let stats = *self.queue.stats();
        let Self { queue, requests, .. } = *self;
        let Done { meter, latencies, flushes, reads, writes } = requests.done;
        queue.close();
        let mut report = meter.finish(counters);
        let mut blk = BlkReport { flushes, ..BlkReport::of(&stats) };
        (blk.read.ops, blk.read.bytes) = reads;
        (blk.write.ops, blk.write.bytes) = writes;
        report.latencies = Some(latencies);
        report.blk = Some(blk);
        report
    }
}
