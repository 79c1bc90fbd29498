//! What a client may have asked for without having been told, in bytes: without it, a client that asks and
//! does not listen decides how much memory we take.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// One client's.
#[derive(Clone, Debug)]
pub(super) struct Credit(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    left: Mutex<usize>,
    more: Condvar,
}

/// What a request has taken of it; comes back when this is dropped.
#[derive(Debug)]
pub(super) struct Share {
    credit: Credit,
    bytes: usize,
}

impl Credit {
    pub(super) fn new(bytes: usize) -> Self {
        Self(Arc::new(Inner { left: Mutex::new(bytes), more: Condvar::new() }))
    }

    /// Takes so many bytes, which must not be more than there were at first. Waits until they are there.
    pub(super) fn take(&self, bytes: usize) -> Share {
        let left = self.0.left.lock().unwrap_or_else(PoisonError::into_inner);
        let enough = self.0.more.wait_while(left, |left| *left < bytes);
        *enough.unwrap_or_else(PoisonError::into_inner) -= bytes;
        Share { credit: self.clone(), bytes }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let inner = &self.credit.0;
        *inner.left.lock().unwrap_or_else(PoisonError::into_inner) += self.bytes;
        inner.more.notify_one();
    }
}
