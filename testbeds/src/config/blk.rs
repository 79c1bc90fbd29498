//! The options of a run over a disk, and the defaults that depend on other options.

use std::path::PathBuf;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::disk::{BlkbackConfig, DialectName, DiskConfig, DiskText};
use super::run::RunConfig;

/// Which way, and in which order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[value(rename_all = "lower")]
#[serde(rename_all = "lowercase")]
pub enum Rw {
    /// Reads, one block after the other.
    Read,
    /// Writes, one block after the other.
    Write,
    /// Reads of blocks anywhere.
    RandRead,
    /// Writes of blocks anywhere.
    RandWrite,
    /// Reads and writes of blocks anywhere.
    RandRw,
}

impl Rw {
    /// Whether blocks come one after the other.
    #[must_use]
    pub fn sequential(self) -> bool {
        matches!(self, Self::Read | Self::Write)
    }

    /// Whether anything is written.
    #[must_use]
    pub fn writes(self) -> bool {
        !matches!(self, Self::Read | Self::RandRead)
    }
}

/// How an operation that is longer than a request is sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Split {
    /// Its requests together.
    #[default]
    Parallel,
    /// Each when the one before is answered.
    Serial,
}

/// The options of a run over a disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BlkConfig {
    /// The options every run has.
    #[serde(flatten)]
    pub run: RunConfig,
    /// The disk and how it is served.
    #[serde(flatten)]
    pub disk: DiskConfig,
    /// Which way, and in which order.
    pub rw: Rw,
    /// Bytes of one operation.
    pub bs: usize,
    /// Operations in flight, of each job.
    pub iodepth: u32,
    /// Jobs, each with its part of the disk.
    pub numjobs: u32,
    /// Percent of reads where there are both.
    pub rwmixread: u32,
    /// Operations per second at most, of each job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_iops: Option<f64>,
    /// A flush after so many writes; 0 for none.
    pub fsync: u32,
    /// How an operation that is longer than a request is sent.
    pub split: Split,
    /// Segments of a request at most.
    pub segments: u32,
    /// Whether more than 11 are allowed.
    pub indirect: bool,
    /// Pages of a ring, as a power of two.
    pub ring_order: u32,
    /// Rings.
    pub queues: u32,
    /// In which units the frontend counts.
    pub dialect: DialectName,
    /// Kill the backend and start another one, every so many seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kill_backend_every: Option<f64>,
    /// Serve the disk to NBD clients here, instead of a workload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nbd: Option<PathBuf>,
    /// Everything is checked whatever somebody else's backend calls its disk: a user has said so.
    #[serde(skip)]
    pub doubts: bool,
}

impl Default for BlkConfig {
    fn default() -> Self {
        Self {
            run: RunConfig::default(),
            disk: DiskConfig::default(),
            rw: Rw::RandRead,
            bs: 4096,
            iodepth: 32,
            numjobs: 1,
            rwmixread: 50,
            rate_iops: None,
            fsync: 0,
            split: Split::Parallel,
            segments: 32,
            indirect: true,
            ring_order: 0,
            queues: 1,
            dialect: DialectName::Xen,
            kill_backend_every: None,
            nbd: None,
            doubts: false,
        }
    }
}

impl BlkConfig {
    /// The same on the disk of somebody else's backend, which calls it so. What that says of itself decides
    /// whether anything is checked only where the user has not: a backend that lies must not get rid of the
    /// one who looks.
    #[must_use]
    pub fn on_disk_called(mut self, name: Option<&str>) -> Self {
        let disk = if self.doubts { DiskText::only_called(name) } else { DiskText::called(name) };
        self.run.verify &= disk.keeps();
        (self.disk.disk, self.disk.used) = (disk, true);
        self
    }

    /// Why nothing was checked, unless something was looked at.
    #[must_use]
    pub fn unchecked(&self, looked: bool) -> Option<String> {
        let disk = &self.disk.disk;
        if self.nbd.is_some() || (self.run.verify && looked) {
            return None;
        }
        Some(match (self.run.verify, disk.keeps(), self.disk.used) {
            (true, ..) => "nothing was read that this run had written".to_owned(),
            (false, true, _) => "--verify is off".to_owned(),
            (false, false, false) => format!("{disk} keeps nothing"),
            (false, false, true) => format!(
                "the backend calls its disk {disk}, which keeps nothing; --verify on checks it all the same"
            ),
        })
    }

    /// What its backend is told.
    #[must_use]
    pub fn back(&self) -> BlkbackConfig {
        BlkbackConfig { run: self.run.clone(), disk: self.disk.clone() }
    }

    /// A rate for the progress bar.
    #[must_use]
    pub fn rate_text(&self, ops: u64, seconds: f64) -> String {
        format!("{:.0} k/s", crate::units::float(ops) / seconds / 1e3)
    }

    /// Operations of a queue that can be in flight.
    #[must_use]
    pub fn depth(&self) -> u32 {
        if self.nbd.is_some() {
            return self.iodepth;
        }
        self.iodepth * self.numjobs.div_ceil(self.queues.max(1))
    }

    /// Pages of buffers that all operations of a queue need.
    #[must_use]
    pub fn pages(&self) -> usize {
        let bytes = if self.nbd.is_some() { crate::workload::nbd::SLOT } else { self.bs };
        self.depth() as usize * bytes.div_ceil(4096)
    }
}
