//! What a driver needs of the place it runs in: memory, grants, event channels, the store.
//!
//! Drivers are generic over [`Domain`]. `rings-host` implements it for a process of a lab; an
//! implementation over `/dev/xen/{gntalloc,gntdev,evtchn,xenbus}` would leave the drivers as they
//! are.

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use crate::cost::Cost;
use crate::evtchn::{Channel, Doorbell};
use crate::grant::{CopyOp, GntStatus};
use crate::mem::Region;
use crate::memory::Memory;
use crate::store::{Transport, XsClient};
use crate::{DomId, Gref, Port};

/// How a backend reaches granted pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum GrantMode {
    /// A checked copy (`GNTTABOP_copy`).
    #[default]
    Copy,
    /// Map the page for each request, and unmap it before the response.
    Map,
    /// Map the page at its first use and keep it.
    Persistent,
}

/// Why the platform refused something.
#[derive(Debug, thiserror::Error)]
pub enum DomainError {
    /// The hypervisor's own answer.
    #[error("{what}: {status}")]
    Grant {
        /// Which operation.
        what: &'static str,
        /// The answer.
        status: GntStatus,
    },
    /// Refused, with the errno name a hypercall would return.
    #[error("{what}: {errno}")]
    Refused {
        /// Which operation, with its arguments.
        what: String,
        /// `EINVAL`, `ENOSPC`, ...
        errno: &'static str,
    },
    /// A descriptor could not be made, or not be received. All the ports that one domain may have cost the host of
    /// a lab some 7,200.
    #[error("{0} may not have that many open files; raise the limit: ulimit -n 8192")]
    NoDescriptor(&'static str),
    /// The host does not answer any more.
    #[error("the host is gone ({0})")]
    HostGone(String),
    /// The operating system refused.
    #[error("{0}")]
    Os(#[from] std::io::Error),
}

/// What the granted pages of one other domain can be reached by.
pub trait Foreign: Send + std::fmt::Debug {
    /// A mapped page; dropping it unmaps.
    type Mapping: Send + std::fmt::Debug;

    /// Requests have been seen whose pages are not known yet. Buffers are reused the most recently
    /// used first, so a lone request's bytes are likely where the last batch's were: their cache
    /// lines can be asked for while the request itself is still on its way. A hint.
    fn anticipate(&self) {}

    /// Copies out of granted pages into `arena`. Each operation gets its own status; one that fails
    /// leaves the others alone. Returns the bytes copied.
    fn copy_from(&mut self, ops: &mut [CopyOp], arena: &mut [u8]) -> u64;

    /// Copies from `arena` into granted pages.
    fn copy_to(&mut self, ops: &mut [CopyOp], arena: &[u8]) -> u64;

    /// Maps one page for reading and writing, as rings are.
    ///
    /// # Errors
    /// The status Xen would answer.
    fn map(&mut self, gref: Gref) -> Result<Self::Mapping, GntStatus>;

    /// Maps the pages of one ring, as one range in this order, for reading and writing.
    ///
    /// # Errors
    /// The status Xen would answer for the first that cannot be mapped; none is mapped then.
    fn map_ring(&mut self, grefs: &[Gref]) -> Result<Self::Mapping, GntStatus>;

    /// Maps pages for data, all in one operation, for reading and with `write` for writing too.
    /// Appends one outcome for each to `maps`.
    fn map_data(
        &mut self,
        grefs: &[Gref],
        write: bool,
        maps: &mut Vec<Result<Self::Mapping, GntStatus>>,
    );

    /// Unmaps what `map_data` has mapped, all in one operation.
    fn unmap_data(&mut self, maps: &mut Vec<Result<Self::Mapping, GntStatus>>);

    /// The bytes of a mapped page, or of a ring's mapped pages.
    fn region<'a>(&self, mapping: &'a Self::Mapping) -> &'a Region;

    /// What was done so far.
    fn counters(&self) -> ForeignCounters;
}

/// What was done through grants, counted where it was done.
#[derive(Clone, Copy, Debug, Default)]
pub struct ForeignCounters {
    /// Copy operations.
    pub copies: u64,
    /// Bytes copied.
    pub bytes: u64,
    /// Pages mapped for data; rings stay mapped and do not count.
    pub maps: u64,
    /// Pages unmapped.
    pub unmaps: u64,
}

/// Sleeps on the doorbells of some event channels.
pub trait Waiter<B>: Send {
    /// Sleeps on this channel's doorbell too.
    ///
    /// # Errors
    /// If the operating system refuses.
    fn add(&mut self, channel: &Channel<B>) -> Result<(), DomainError>;

    /// Stops sleeping on this channel's doorbell.
    fn remove(&mut self, channel: &Channel<B>);

    /// Sleeps on something else too that says through a descriptor when there is work (a disk's
    /// completions). Whoever adds it need not read it: each time it becomes readable again wakes.
    ///
    /// # Errors
    /// If the operating system refuses.
    fn add_fd(&mut self, fd: BorrowedFd<'_>) -> Result<(), DomainError>;

    /// Stops sleeping on it.
    fn remove_fd(&mut self, fd: BorrowedFd<'_>);

    /// Sleeps until one of the doorbells rings, somebody kicks, or the time is over.
    fn wait(&mut self, timeout: Duration);

    /// Something to wake this waiter with from another thread of the same process.
    fn kicker(&self) -> Arc<dyn Fn() + Send + Sync>;

    /// Sleeps so far; each is a system call.
    fn sleeps(&self) -> u64;
}

/// A domain: a process that has memory, grants, ports and a store connection.
pub trait Domain: Clone + Send + Sync + std::fmt::Debug + 'static {
    /// What rings at the other end.
    type Doorbell: Doorbell + std::fmt::Debug + 'static;
    /// What to sleep on.
    type Waiter: Waiter<Self::Doorbell> + 'static;
    /// Access to another domain's grants.
    type Foreign: Foreign + 'static;
    /// The store connection.
    type Transport: Transport + std::fmt::Debug + 'static;

    /// Our number.
    fn domid(&self) -> DomId;

    /// Our own frames and grants.
    fn memory(&self) -> &Memory;

    /// The cost model in force.
    fn cost(&self) -> &Cost;

    /// Makes a port that `remote` may bind (`EVTCHNOP_alloc_unbound`). It is closed with the channel
    /// that is returned: when that is dropped, the other end is unbound (`EVTCHNOP_close`).
    ///
    /// # Errors
    /// `ENOSPC` when there are no ports left.
    fn alloc_unbound(&self, remote: DomId) -> Result<Channel<Self::Doorbell>, DomainError>;

    /// Binds to a port that `remote` made for us (`EVTCHNOP_bind_interdomain`). Our end is pending
    /// afterwards. Closed as that of [`alloc_unbound`](Self::alloc_unbound).
    ///
    /// # Errors
    /// `EINVAL` if there is no such port, or it is not for us.
    fn bind_interdomain(
        &self,
        remote: DomId,
        remote_port: Port,
    ) -> Result<Channel<Self::Doorbell>, DomainError>;

    /// Our end of a port that the toolstack made before we ran: the console's. Each call gives a
    /// handle of its own on the same end, which outlives them all: the toolstack closes it.
    ///
    /// # Errors
    /// `EINVAL` if there is no such port.
    fn open_port(&self, port: Port) -> Result<Channel<Self::Doorbell>, DomainError>;

    /// Access to the granted pages of `remote`, whose backend we are.
    ///
    /// # Errors
    /// If the toolstack's own configuration does not say that we are.
    fn foreign(&self, remote: DomId, mode: GrantMode) -> Result<Self::Foreign, DomainError>;

    /// Something to sleep on.
    ///
    /// # Errors
    /// If the operating system refuses.
    fn waiter(&self) -> Result<Self::Waiter, DomainError>;

    /// A store connection of our own.
    ///
    /// # Errors
    /// If the host is gone.
    fn store(&self) -> Result<XsClient<Self::Transport>, DomainError>;
}
