//! The host half: one thread that plays hypervisor, toolstack and xenstored for a lab.
//!
//! | module | what |
//! |---|---|
//! | `events` | the loop: sockets, deaths, time |
//! | `registry` | who is a domain, and what each may ask (`proto`) |
//! | `sockets` | listening and accepting |
//! | `stores` | the store's connections |
//! | `ports` | event channels |
//! | `devices` | the toolstack's configuration, in the store and in its own copy |
//! | `consoles` | the same for the guests' consoles, which are there before the guests run |
//! | `keys` | the keys of each kind of device |
//! | `traces` | what the domains record, handed to the keeper |
//!
//! Nothing of the data path passes through here.

mod consoles;
mod devices;
mod dom;
mod events;
mod inspect;
mod keys;
mod ports;
mod registry;
mod sockets;
mod stores;
mod traces;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use rings::DomId;
use tracer::keeper::{Keeper, Mode};

pub use self::keys::vif_mac;
use crate::rundir::{RunDir, RunDirError};
use crate::stats::{Segment, SegmentError};
use crate::store::Record;

/// What the toolstack configures for each guest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Device {
    /// A network interface.
    Vif {
        /// Largest IP packet. Bytes.
        mtu: usize,
        /// How fast the guest may send, as the key `rate` has it ("bytes,usec"), if that is limited.
        rate: Option<String>,
    },
    /// A disk.
    Vbd {
        /// What it is made of, in the words of whoever serves it.
        params: String,
        /// It may not be written (`mode` is `r`).
        read_only: bool,
        /// It may be discarded (`discard-enable`).
        discard: bool,
    },
}

/// What kind of lab to be host of.
#[derive(Clone, Debug)]
pub struct HostConfig {
    /// The run directory; `None` for a fresh one.
    pub dir: Option<PathBuf>,
    /// Guests that may register: domains 1 to this, each with one device served by domain 0.
    pub guests: u16,
    /// That device.
    pub device: Device,
    /// Frames of a guest's page pool.
    pub pool_frames: u32,
    /// A domain that makes no progress for so long is called stalled.
    pub stall_timeout: Duration,
    /// The consoles of all guests.
    pub console: ConsoleConfig,
    /// Is told of everything that is written into the store.
    pub record: Option<Sender<Record>>,
    /// What is kept of a trace that is larger than its buffers.
    pub trace_mode: Mode,
    /// Bytes of each thread's buffer, if there is a trace.
    pub trace_buffer: u64,
}

impl Default for HostConfig {
    fn default() -> Self {
        Self {
            dir: None,
            guests: 1,
            device: Device::Vif { mtu: 1500, rate: None },
            pool_frames: 4096,
            stall_timeout: Duration::from_secs(5),
            console: ConsoleConfig::default(),
            record: None,
            trace_mode: Mode::default(),
            trace_buffer: 8 << 20,
        }
    }
}

/// How the toolstack makes the guests' consoles.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConsoleConfig {
    /// Where the indices of both rings start.
    pub index_base: u32,
    /// Bytes of output that xenconsoled keeps while nobody takes them (the key `limit`).
    pub limit: u64,
}

impl Default for ConsoleConfig {
    fn default() -> Self {
        Self { index_base: 0, limit: 1 << 20 }
    }
}

/// Why there is no host.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// No run directory.
    #[error(transparent)]
    RunDir(#[from] RunDirError),
    /// No statistics.
    #[error(transparent)]
    Segment(#[from] SegmentError),
    /// The system said no.
    #[error("cannot start the host")]
    Io(#[from] io::Error),
}

/// A domain, as the host knows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DomainInfo {
    /// Its number.
    pub domid: DomId,
    /// What it calls itself.
    pub name: String,
    /// Its process.
    pub pid: i32,
}

/// Something that happened to a domain.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum News {
    /// It registered.
    Born(DomainInfo),
    /// Its process ended; with the status it said goodbye with, or `None` if it did not.
    Gone(DomainInfo, Option<u32>),
    /// It has made no progress for the stall time-out.
    Stalled(DomainInfo),
}

/// A running host. Dropping it ends the lab and removes what it left.
#[derive(Debug)]
pub struct Host {
    thread: Option<JoinHandle<()>>,
    stop: Arc<nix::sys::eventfd::EventFd>,
    news: Receiver<News>,
    segment: Segment,
    keeper: Arc<Keeper>,
    dir: RunDir,
}

impl Host {
    /// Becomes the host of a lab.
    ///
    /// # Errors
    /// If the run directory, the statistics segment or the sockets cannot be had.
    pub fn start(config: HostConfig) -> Result<Self, HostError> {
        let dir = RunDir::take(config.dir.as_deref())?;
        let segment = Segment::create(dir.path())?;
        let keeper = Arc::new(Keeper::new(config.trace_mode, config.trace_buffer)?);
        let started = events::start(config, dir.path(), segment.clone(), Arc::clone(&keeper))?;
        let events::Started { thread, stop, news } = started;
        Ok(Self { thread: Some(thread), stop, news, segment, keeper, dir })
    }

    /// The run directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The statistics of the lab.
    #[must_use]
    pub fn segment(&self) -> &Segment {
        &self.segment
    }

    /// The tracer: the switch of all domains, and what they have recorded.
    #[must_use]
    pub fn tracer(&self) -> &Arc<Keeper> {
        &self.keeper
    }

    /// The next thing that happens to a domain, if it does so within `timeout`.
    #[must_use]
    pub fn news(&self, timeout: Duration) -> Option<News> {
        // Too late, or the host has ended: there are no news either way.
        self.news.recv_timeout(timeout).ok()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.segment.end();
        let _ = self.stop.write(1);
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed; there is nothing to add here.
            let _ = thread.join();
        }
    }
}
