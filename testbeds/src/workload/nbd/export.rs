//! What is exported: the disk as clients are told of it, and as they are held to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use blkif::front::DiskInfo;

/// A disk as clients see it. A clone is the same disk.
#[derive(Clone, Debug)]
pub struct Export {
    /// Length, which may change. Sectors. A hint that orders nothing: the backend has the last word.
    sectors: Arc<AtomicU64>,
    pub(super) sector_size: u32,
    pub(super) read_only: bool,
    pub(super) flush: bool,
    /// Discards, of whole multiples of so many bytes.
    pub(super) trim: Option<u32>,
}

impl Export {
    /// The disk that its backend describes so.
    #[must_use]
    pub fn of(disk: &DiskInfo) -> Self {
        Self {
            sectors: Arc::new(AtomicU64::new(disk.sectors)),
            sector_size: disk.sector_size,
            read_only: disk.read_only,
            flush: disk.flush || disk.barrier,
            trim: disk.discard,
        }
    }

    /// Length now. Bytes. NBD tells it to a client once; one that comes later hears of another.
    pub(super) fn bytes(&self) -> u64 {
        self.sectors.load(Ordering::Relaxed) * 512
    }

    /// The disk has another length. Sectors.
    pub(super) fn resize(&self, sectors: u64) {
        self.sectors.store(sectors, Ordering::Relaxed);
    }
}
