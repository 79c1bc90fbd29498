//! A disk as it is asked for, and opened: from a [`Spec`] to one [`Disk`] for each queue.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use rings::io::blkif::SECTOR_SIZE;

use super::faulty::{self, Faults};
use super::file::File;
use super::model::{Model, Modelled};
use super::plain::Plain;
use super::ram::Memory;
use super::{Content, Disk, Geometry};

/// What a disk is to be made of.
#[derive(Clone, PartialEq, Debug)]
pub enum Spec {
    /// Zeros, of so many bytes.
    Null(u64),
    /// Nothing, of so many bytes.
    Void(u64),
    /// Memory, of so many bytes.
    Ram(u64),
    /// A file or block device.
    File(PathBuf),
    /// Memory of so many bytes, as slow as storage.
    Model(u64, Model),
    /// Another one, with faults.
    Faulty(Box<Spec>, Faults),
}

/// Why a disk cannot be had: one line, with the remedy.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct OpenError(pub String);

/// An opened disk.
#[derive(Debug)]
pub struct Source {
    kind: Opened,
    geometry: Mutex<Geometry>,
}

#[derive(Debug)]
enum Opened {
    Plain(Content),
    Ram(Memory),
    File(Arc<File>),
    Model(Memory, Model, Arc<Mutex<Instant>>),
    Faulty(Box<Source>, Arc<faulty::Shared>),
}

/// Bytes of the largest disk in memory: what is written to it is as much memory, and the rest costs a little too.
const LARGEST: u64 = 1 << 40;

/// The memory of a disk that has so many bytes.
fn memory(bytes: u64) -> Result<Memory, OpenError> {
    if bytes > LARGEST {
        return Err(OpenError("too long for a disk in memory; use 1T or less".into()));
    }
    Ok(Memory::new(bytes / SECTOR_SIZE as u64))
}

/// A disk in memory: of this length, everything allowed.
fn in_memory(bytes: u64) -> Geometry {
    Geometry {
        sectors: bytes / SECTOR_SIZE as u64,
        sector_size: 512,
        physical_sector_size: 4096,
        read_only: false,
        discard: Some(4096),
        secure: true,
    }
}

impl Source {
    /// Opens a disk; for reading only if so asked, with its own sectors of `sector_size` bytes.
    ///
    /// # Errors
    /// One line that says what is wrong with it, and what to do.
    pub fn open(spec: &Spec, read_only: bool, sector_size: u32) -> Result<Self, OpenError> {
        let shape = |bytes: u64| Geometry { read_only, sector_size, ..in_memory(bytes) };
        let (kind, geometry) = match spec {
            Spec::Null(bytes) => {
                let geometry = Geometry { discard: None, secure: false, ..shape(*bytes) };
                (Opened::Plain(Content::Zeros), geometry)
            }
            Spec::Void(bytes) => {
                let geometry = Geometry { discard: None, secure: false, ..shape(*bytes) };
                (Opened::Plain(Content::Nothing), geometry)
            }
            Spec::Ram(bytes) => (Opened::Ram(memory(*bytes)?), shape(*bytes)),
            Spec::File(path) => {
                let file = File::open(path, read_only)?;
                let found = file.geometry();
                // What the file cannot do directly cannot be offered.
                let geometry =
                    Geometry { sector_size: sector_size.max(found.sector_size), ..found };
                (Opened::File(Arc::new(file)), geometry)
            }
            Spec::Model(bytes, model) => {
                let memory = memory(*bytes)?;
                let free = Arc::new(Mutex::new(Instant::now()));
                (Opened::Model(memory, *model, free), shape(*bytes))
            }
            Spec::Faulty(inner, faults) => {
                let inner = Self::open(inner, read_only, sector_size)?;
                let shared = faulty::Shared::new(*faults);
                let geometry = inner.geometry();
                (Opened::Faulty(Box::new(inner), Arc::new(shared)), geometry)
            }
        };
        Ok(Self { kind, geometry: Mutex::new(geometry) })
    }

    /// Its shape now.
    #[must_use]
    pub fn geometry(&self) -> Geometry {
        *self.geometry.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Looks whether it has another length than before.
    pub fn resized(&self) -> Option<u64> {
        let sectors = self.length()?;
        let mut geometry = self.geometry.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        (std::mem::replace(&mut geometry.sectors, sectors) != sectors).then_some(sectors)
    }

    /// Sectors it has now, where that can change.
    fn length(&self) -> Option<u64> {
        match &self.kind {
            Opened::File(file) => file.length().map(|bytes| bytes / SECTOR_SIZE as u64),
            Opened::Faulty(inner, _) => inner.length(),
            _ => None,
        }
    }

    /// What has to be said about it: a file that cannot be read directly, or without io_uring.
    #[must_use]
    pub fn remarks(&self) -> Vec<String> {
        match &self.kind {
            Opened::File(file) => file.remarks(),
            Opened::Faulty(inner, _) => inner.remarks(),
            _ => Vec::new(),
        }
    }

    /// Access for one queue with at most `depth` operations in flight.
    ///
    /// # Errors
    /// If the system has no more io_uring or timer for it.
    pub fn queue(&self, depth: u32) -> Result<Box<dyn Disk>, OpenError> {
        let os = |error: nix::Error| OpenError(format!("cannot make a timer: {error}"));
        Ok(match &self.kind {
            Opened::Plain(content) => Box::new(Plain::new(*content)),
            Opened::Ram(memory) => Box::new(memory.clone()),
            Opened::File(file) => file.queue(depth)?,
            Opened::Model(memory, model, free) => {
                Box::new(Modelled::new(memory.clone(), *model, Arc::clone(free)).map_err(os)?)
            }
            Opened::Faulty(inner, shared) => {
                Box::new(faulty::Faulty::new(inner.queue(depth)?, Arc::clone(shared)).map_err(os)?)
            }
        })
    }
}
