//! What only a disk's run measures: each direction apart, the two parts of an operation's time, how many
//! requests were in flight.

use serde::{Deserialize, Serialize};

use crate::counters::Counters;
use crate::results::Latencies;
use crate::units::float;

/// Levels of the histograms of requests in flight.
pub const DEPTHS: usize = blkif::DEPTHS;

/// Smallest, largest, and what mean and deviation are made of. Nanoseconds.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Moments {
    /// How many.
    pub count: u64,
    /// The smallest.
    pub min: u64,
    /// The largest.
    pub max: u64,
    /// All added up.
    pub sum: f64,
    /// Their squares added up.
    pub squares: f64,
}

impl Moments {
    /// Counts `count` values alike.
    #[inline]
    pub fn add(&mut self, ns: u64, count: u64) {
        if count == 0 {
            return;
        }
        self.min = if self.count == 0 { ns } else { self.min.min(ns) };
        self.max = self.max.max(ns);
        self.count += count;
        self.sum += float(ns) * float(count);
        self.squares += float(ns) * float(ns) * float(count);
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        if self.count == 0 || other.count == 0 {
            return if self.count == 0 { other } else { self };
        }
        Self {
            count: self.count + other.count,
            min: self.min.min(other.min),
            max: self.max.max(other.max),
            sum: self.sum + other.sum,
            squares: self.squares + other.squares,
        }
    }

    /// The mean.
    #[must_use]
    pub fn mean(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.sum / float(self.count) }
    }

    /// The standard deviation.
    #[must_use]
    pub fn deviation(&self) -> f64 {
        if self.count == 0 {
            return 0.0;
        }
        let mean = self.mean();
        (self.squares / float(self.count) - mean * mean).max(0.0).sqrt()
    }
}

/// One direction.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Direction {
    /// Operations that were done.
    pub ops: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Operations that were answered with an error; no other figure here has them.
    #[serde(default)]
    pub failed: u64,
    /// From the decision to the push: submission.
    pub slat: Moments,
    /// From the push to the answer: completion.
    pub clat: Moments,
    /// From the decision to the answer: both, of each operation.
    pub lat: Moments,
    /// Completion again, for percentiles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clats: Option<Latencies>,
}

impl Direction {
    pub(super) fn new() -> Self {
        Self { clats: Some(Latencies::new()), ..Self::default() }
    }

    fn plus(mut self, other: Self) -> Self {
        self.ops += other.ops;
        self.bytes += other.bytes;
        self.failed += other.failed;
        self.slat = self.slat.plus(other.slat);
        self.clat = self.clat.plus(other.clat);
        self.lat = self.lat.plus(other.lat);
        self.clats = match (self.clats, other.clats) {
            (Some(mut a), Some(b)) => {
                a.merge(&b);
                Some(a)
            }
            (a, b) => a.or(b),
        };
        self
    }
}

/// What was written and read again when all was over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ReadBack {
    /// Blocks to be read again: all that hold a write that was answered.
    pub all: u64,
    /// Blocks that were.
    pub blocks: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Seconds.
    pub seconds: f64,
}

impl ReadBack {
    fn plus(self, other: Self) -> Self {
        Self {
            all: self.all + other.all,
            blocks: self.blocks + other.blocks,
            bytes: self.bytes + other.bytes,
            seconds: self.seconds.max(other.seconds),
        }
    }
}

/// What one end of a disk's run measured beside what every run does.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct BlkReport {
    /// Reads; at the frontend alone.
    pub read: Direction,
    /// Writes; at the frontend alone.
    pub write: Direction,
    /// What was written and read again; at the frontend alone, where that is checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_back: Option<ReadBack>,
    /// Flushes that are over.
    pub flushes: u64,
    /// Requests put or taken: an operation may be many.
    pub requests: u64,
    /// Of them, with their segments in pages of their own.
    pub indirect: u64,
    /// Segments of all requests.
    pub segments: u64,
    /// Requests put again because their backend had died.
    pub requeued: u64,
    /// Backends that took the place of another.
    pub reconnects: u64,
    /// Features given up because the backend turned out not to have them.
    pub downgrades: u64,
    /// Times all requests that the backend allows in flight were.
    pub out_of_requests: u64,
    /// How many requests were in flight when one was put, or taken.
    pub depth: [u64; DEPTHS],
}

impl BlkReport {
    /// What a queue of blkfront has counted.
    pub(crate) fn of(stats: &blkif::front::Stats) -> Self {
        Self {
            requests: stats.requests,
            indirect: stats.indirect,
            segments: stats.segments,
            requeued: stats.requeued,
            reconnects: stats.reconnects,
            downgrades: stats.downgrades,
            depth: stats.depth,
            ..Self::default()
        }
    }

    /// What all lives of a backend have counted.
    pub(crate) fn of_backend(counters: &Counters) -> Self {
        let c = counters;
        Self {
            flushes: c.flushes,
            requests: c.frames_in,
            indirect: c.indirect,
            segments: c.segments,
            out_of_requests: c.out_of_requests,
            depth: c.depth(),
            ..Self::default()
        }
    }

    /// All operations that either end has worked for, and the bytes they moved: those measured, those that
    /// failed, what was read back. Nothing at a backend, which knows requests only.
    #[must_use]
    pub fn moved(&self) -> Option<(u64, u64)> {
        let (read, write, back) = (&self.read, &self.write, self.read_back.unwrap_or_default());
        let ops = read.ops + read.failed + write.ops + write.failed + back.blocks;
        (ops > 0).then_some((ops, read.bytes + write.bytes + back.bytes))
    }

    /// Two queues together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let mut depth = self.depth;
        depth.iter_mut().zip(other.depth).for_each(|(a, b)| *a += b);
        Self {
            read: self.read.plus(other.read),
            write: self.write.plus(other.write),
            read_back: match (self.read_back, other.read_back) {
                (Some(a), Some(b)) => Some(a.plus(b)),
                (a, b) => a.or(b),
            },
            flushes: self.flushes + other.flushes,
            requests: self.requests + other.requests,
            indirect: self.indirect + other.indirect,
            segments: self.segments + other.segments,
            requeued: self.requeued + other.requeued,
            reconnects: self.reconnects.max(other.reconnects),
            downgrades: self.downgrades + other.downgrades,
            out_of_requests: self.out_of_requests + other.out_of_requests,
            depth,
        }
    }

    /// What was added since `then`, of what counts requests.
    #[must_use]
    pub fn since(mut self, then: &Self) -> Self {
        self.requests -= then.requests.min(self.requests);
        self.indirect -= then.indirect.min(self.indirect);
        self.segments -= then.segments.min(self.segments);
        self.depth.iter_mut().zip(then.depth).for_each(|(a, b)| *a -= b.min(*a));
        self
    }
}
