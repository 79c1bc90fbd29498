//! What clients asked for and has not been begun: where their threads leave it and a worker takes it.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};

use super::credit::Share;

/// What to do with the disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wish {
    Read,
    Write,
    Flush,
    Trim,
}

/// A client's request, as it becomes an operation or several.
pub(super) struct Request {
    pub(super) wish: Wish,
    pub(super) cookie: u64,
    pub(super) offset: u64,
    pub(super) length: u32,
    /// A flush follows before the reply.
    pub(super) fua: bool,
    /// What is to be written; what was read, from when it is begun.
    pub(super) data: Vec<u8>,
    /// Where the reply goes.
    pub(super) reply: Sender<Reply>,
    /// What it has taken of its client's credit.
    pub(super) share: Share,
}

/// What a client is told.
pub(super) struct Reply {
    pub(super) cookie: u64,
    pub(super) error: u32,
    pub(super) data: Vec<u8>,
    /// Given back when the client has been told.
    pub(super) share: Share,
}

/// Where requests lie until a worker takes them.
#[derive(Clone)]
pub struct Desk {
    inner: Arc<Inner>,
    kick: Arc<dyn Fn() + Send + Sync>,
}

struct Inner {
    requests: Mutex<VecDeque<Request>>,
    count: AtomicUsize,
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Desk({} requests)", self.len())
    }
}

impl Desk {
    /// An empty one; `kick` wakes the worker that takes from it.
    #[must_use]
    pub fn new(kick: Arc<dyn Fn() + Send + Sync>) -> Self {
        let (requests, count) = (Mutex::new(VecDeque::new()), AtomicUsize::new(0));
        Self { inner: Arc::new(Inner { requests, count }), kick }
    }

    /// Leaves a request.
    pub(super) fn put(&self, request: Request) {
        let mut requests = self.inner.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.push_back(request);
        // SYNC requests on the desk: with the Acquire load in `len`.
        self.inner.count.store(requests.len(), Ordering::Release);
        drop(requests);
        (self.kick)();
    }

    /// Takes the oldest.
    pub(super) fn take(&self) -> Option<Request> {
        if self.len() == 0 {
            return None;
        }
        let mut requests = self.inner.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let request = requests.pop_front();
        // SYNC requests on the desk: with the Acquire load in `len`.
        self.inner.count.store(requests.len(), Ordering::Release);
        request
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        // SYNC requests on the desk: with the Release stores in `put` and `take`.
        self.inner.count.load(Ordering::Acquire)
    }
}
