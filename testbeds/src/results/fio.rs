//! `jobs` with the names and meanings fio's JSON gives them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::latency::Latencies;
use crate::units::{float, round_u64};
use crate::workload::blk::{BlkReport, DEPTHS, Direction, Moments, ReadBack};

/// One job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FioJob {
    /// What it is called.
    pub jobname: String,
    /// 0, or 1 if an operation failed or brought something wrong.
    pub error: i32,
    /// Seconds.
    pub elapsed: f64,
    /// Its options under fio's names.
    #[serde(rename = "job options")]
    pub options: BTreeMap<String, String>,
    /// Reads.
    pub read: FioDirection,
    /// Writes.
    pub write: FioDirection,
    /// Flushes.
    pub sync: FioSync,
    /// What was written and read again when the job was over, where that is checked. No other figure of the
    /// job has it but those of `ring` and the levels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_back: Option<ReadBack>,
    /// Why nothing was checked, if nothing was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unchecked: Option<String>,
    /// Percent of requests that found so many in flight, themselves included, when they were put.
    pub iodepth_level: BTreeMap<String, f64>,
    /// The same where the backend took them.
    pub iodepth_level_backend: BTreeMap<String, f64>,
    /// What became of the operations on the ring.
    pub ring: FioRing,
}

/// One direction of a job.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct FioDirection {
    /// Bytes.
    pub io_bytes: u64,
    /// KiB.
    pub io_kbytes: u64,
    /// Bytes per second.
    pub bw_bytes: u64,
    /// KiB per second.
    pub bw: u64,
    /// Operations per second.
    pub iops: f64,
    /// Milliseconds.
    pub runtime: u64,
    /// Operations that were done.
    pub total_ios: u64,
    /// Operations that were answered with an error: in no other figure of this direction.
    #[serde(default)]
    pub failed_ios: u64,
    /// From the decision to the push.
    pub slat_ns: FioTimes,
    /// From the push to the answer.
    pub clat_ns: FioTimes,
    /// From the decision to the answer, of each operation.
    pub lat_ns: FioTimes,
}

/// Flushes of a job.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FioSync {
    /// How many.
    pub total_ios: u64,
}

/// Times, in nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct FioTimes {
    /// The smallest.
    pub min: u64,
    /// The largest.
    pub max: u64,
    /// The mean.
    pub mean: f64,
    /// The standard deviation.
    pub stddev: f64,
    /// How many.
    #[serde(rename = "N")]
    pub count: u64,
    /// Percentiles, under fio's keys: `99.000000`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub percentile: BTreeMap<String, u64>,
}

/// What became of the operations on the ring; fio has no names for these.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct FioRing {
    /// Requests put.
    pub requests: u64,
    /// Requests per operation.
    pub requests_per_io: f64,
    /// Of them, with their segments in pages of their own.
    pub indirect: u64,
    /// Segments of all requests.
    pub segments: u64,
    /// Requests that backends took: all of them, however many lives that was.
    pub taken: u64,
    /// Requests put again because their backend had died.
    pub requeued: u64,
    /// Backends that took the place of another.
    pub reconnects: u64,
    /// Features given up because the backend turned out not to have them.
    pub downgrades: u64,
    /// Times the backend had as many requests in flight as it allows.
    pub out_of_requests: u64,
}

impl FioTimes {
    fn of(moments: &Moments, all: Option<&Latencies>) -> Self {
        Self {
            min: moments.min,
            max: moments.max,
            mean: moments.mean(),
            stddev: moments.deviation(),
            count: moments.count,
            percentile: all.map(Latencies::fio_percentiles).unwrap_or_default(),
        }
    }
}

impl FioDirection {
    fn of(direction: &Direction, seconds: f64) -> Self {
        let rate = |count: u64| if seconds > 0.0 { float(count) / seconds } else { 0.0 };
        let bw_bytes = round_u64(rate(direction.bytes)).unwrap_or(0);
        Self {
            io_bytes: direction.bytes,
            io_kbytes: direction.bytes >> 10,
            bw_bytes,
            bw: bw_bytes >> 10,
            iops: rate(direction.ops),
            runtime: round_u64(seconds * 1e3).unwrap_or(0),
            total_ios: direction.ops,
            failed_ios: direction.failed,
            slat_ns: FioTimes::of(&direction.slat, None),
            clat_ns: FioTimes::of(&direction.clat, direction.clats.as_ref()),
            lat_ns: FioTimes::of(&direction.lat, None),
        }
    }
}

/// A histogram of depths in percent, under fio's keys.
fn levels(depth: &[u64; DEPTHS]) -> BTreeMap<String, f64> {
    const NAMES: [&str; DEPTHS] = ["1", "2", "4", "8", "16", "32", ">=64"];
    let all: u64 = depth.iter().sum();
    let percent = |n: u64| if all > 0 { float(n) * 100.0 / float(all) } else { 0.0 };
    NAMES.iter().zip(depth).map(|(name, n)| ((*name).to_owned(), percent(*n))).collect()
}

impl FioJob {
    /// A job of `seconds`, from what both ends measured.
    #[must_use]
    pub fn new(
        options: BTreeMap<String, String>,
        front: &BlkReport,
        back: &BlkReport,
        seconds: f64,
        failed: bool,
    ) -> Self {
        let (ios, _) = front.moved().unwrap_or_default();
        let ring = FioRing {
            requests: front.requests,
            requests_per_io: if ios > 0 { float(front.requests) / float(ios) } else { 0.0 },
            indirect: front.indirect,
            segments: front.segments,
            taken: back.requests,
            requeued: front.requeued,
            reconnects: front.reconnects,
            downgrades: front.downgrades,
            out_of_requests: back.out_of_requests,
        };
        Self {
            jobname: "pvlab".to_owned(),
            error: i32::from(failed),
            elapsed: seconds,
            options,
            read: FioDirection::of(&front.read, seconds),
            write: FioDirection::of(&front.write, seconds),
            sync: FioSync { total_ios: front.flushes },
            read_back: front.read_back,
            unchecked: None,
            iodepth_level: levels(&front.depth),
            iodepth_level_backend: levels(&back.depth),
            ring,
        }
    }
}
