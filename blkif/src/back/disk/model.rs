//! Memory that is as slow as storage: the model of an SD card behind a published experiment.
//!
//! A read costs a latency and its bytes at a rate; the latencies of reads in flight overlap, their
//! bytes come one after the other. A write costs the latency and the units it touches at another rate,
//! a unit touched in part costing as much as a whole one (flash is erased in blocks), and writes come
//! one after the other altogether. Times follow from the requests alone: nothing is random.

use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rings::io::blkif::SECTOR_SIZE;

use super::ram::Memory;
use super::timer::Due;
use super::{Disk, Done, Io, Kind, Started};

/// What the storage costs.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Model {
    /// Bytes read in a second.
    pub read: f64,
    /// Bytes written in a second.
    pub write: f64,
    /// From a request to its first byte.
    pub latency: Duration,
    /// Bytes that are written at once.
    pub write_unit: u32,
}

impl Default for Model {
    /// The SD card of the experiment: 20 MB/s and 10 MB/s, 1.3 ms, units of 32 KiB.
    fn default() -> Self {
        let latency = Duration::from_micros(1300);
        Self { read: 20e6, write: 10e6, latency, write_unit: 32 << 10 }
    }
}

impl Model {
    /// When an operation that starts at `now` is over, and until when it keeps the storage busy, which
    /// is busy until `free` already.
    #[must_use]
    pub fn schedule(
        &self,
        kind: Kind,
        sector: u64,
        bytes: u64,
        now: Instant,
        free: Instant,
    ) -> Instant {
        let at = |bytes: u64, rate: f64| Duration::from_secs_f64(bytes as f64 / rate.max(1.0));
        match kind {
            Kind::Read => (now + self.latency).max(free) + at(bytes, self.read),
            Kind::Write => {
                let unit = u64::from(self.write_unit.max(1));
                let first = sector * SECTOR_SIZE as u64 / unit;
                let last = (sector * SECTOR_SIZE as u64 + bytes.max(1) - 1) / unit;
                now.max(free) + self.latency + at((last - first + 1) * unit, self.write)
            }
            Kind::Flush | Kind::Discard { .. } => now.max(free),
        }
    }
}

/// One queue's access to the modelled storage.
#[derive(Debug)]
pub(super) struct Modelled {
    memory: Memory,
    model: Model,
    /// Until when the storage is busy, for all queues.
    free: Arc<Mutex<Instant>>,
    due: Due,
}

impl Modelled {
    pub(super) fn new(
        memory: Memory,
        model: Model,
        free: Arc<Mutex<Instant>>,
    ) -> nix::Result<Self> {
        Ok(Self { memory, model, free, due: Due::new()? })
    }
}

impl Disk for Modelled {
    fn start(&mut self, io: Io) -> Started {
        let (kind, sector) = (io.kind, io.sector);
        let bytes = io.buffer.bytes().len() as u64;
        let done = self.memory.run(io);
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let due = self.model.schedule(kind, sector, bytes, Instant::now(), *free);
        *free = due;
        self.due.push(due, done);
        Started::Later
    }

    fn submit(&mut self) {
        if !self.due.is_empty() {
            self.due.submit(Instant::now(), None);
        }
    }

    fn poll(&mut self) -> Option<Done> {
        if self.due.is_empty() { None } else { self.due.pop(Instant::now()) }
    }

    fn wakes(&self, tell: &mut dyn FnMut(BorrowedFd<'_>)) {
        tell(self.due.fd());
    }

    fn syscalls(&self) -> u64 {
        self.due.syscalls()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// MB/s of operations of so many pages, `depth` of them at once, cut into requests of `segments` pages
    /// that go one after the other.
    fn rate(kind: Kind, pages: u64, depth: usize, segments: u64) -> f64 {
        let (model, start) = (Model::default(), Instant::now());
        let (mut free, mut done) = (start, 0);
        // Of each operation in flight: when its next request goes out, and the pages that are left.
        let mut lanes = vec![(start, pages); depth];
        while done < 64 * pages {
            let lane = lanes.iter_mut().min_by_key(|(at, _)| *at).expect("one at least");
            let now = lane.1.min(segments);
            free = model.schedule(kind, done * 8, now * 4096, lane.0, free);
            *lane = (free, if lane.1 == now { pages } else { lane.1 - now });
            done += now;
        }
        (done * 4096) as f64 / (free - start).as_secs_f64() / 1e6
    }

    #[test]
    fn the_published_figures_come_out() {
        for (kind, pages, depth, published, within) in [
            (Kind::Read, 1, 1, 2.7, 0.25),
            (Kind::Read, 64, 1, 12.3, 0.25),
            (Kind::Read, 32, 1, 10.9, 0.25),
            (Kind::Read, 32, 2, 18.27, 0.25),
            (Kind::Read, 32, 3, 18.25, 0.25),
            (Kind::Write, 1, 1, 0.7, 0.35),
            (Kind::Write, 8, 1, 7.0, 0.25),
            (Kind::Write, 64, 1, 5.12, 0.25),
        ] {
            let found = rate(kind, pages, depth, 11);
            let off = (found / published - 1.0).abs();
            assert!(off <= within, "{kind:?} {pages} x{depth}: {found:.2}, published {published}");
        }
    }

    #[test]
    fn a_second_read_in_flight_is_worth_much_and_a_third_nothing() {
        let at = |depth| rate(Kind::Read, 32, depth, 11);
        assert!(at(2) >= 1.4 * at(1), "{} against {}", at(2), at(1));
        assert!((at(3) / at(2) - 1.0).abs() < 0.03, "{} against {}", at(3), at(2));
    }

    #[test]
    fn indirect_segments_remove_the_steps() {
        let at = |pages, segments| rate(Kind::Read, pages, 1, segments);
        for step in [11, 22, 33] {
            assert!(at(step + 1, 11) < at(step, 11), "one request more for one page more");
            assert!(at(step + 1, 256) > at(step, 256), "and none with indirect segments");
        }
        let rising = (1..64).all(|pages| at(pages + 1, 256) > at(pages, 256));
        assert!(rising, "the more at once the better");
    }

    #[test]
    fn writes_are_best_in_the_storages_own_units() {
        let best = rate(Kind::Write, 8, 1, 11);
        for pages in (1..=64).filter(|&pages| pages != 8) {
            let other = rate(Kind::Write, pages, 1, 11);
            assert!(other < best, "{pages} pages: {other:.2}, 8 pages: {best:.2}");
        }
    }
}
