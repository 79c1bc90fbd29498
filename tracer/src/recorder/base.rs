//! Where the calling thread's events go: its buffer, or null, which is also what it has for itself while it
//! writes one. In an instrumented program that is the word which the sleds' handlers look at, so that none of
//! the two writers comes in between the other's stores.

#[cfg(not(feature = "sleds"))]
use std::ptr::null_mut;
#[cfg(not(feature = "sleds"))]
use std::sync::atomic::{AtomicPtr, Ordering};

#[cfg(feature = "sleds")]
use crate::sleds::{base, set_base};

/// A word of the thread's own, which its signal handlers read too.
#[cfg(not(feature = "sleds"))]
pub(super) struct Base(AtomicPtr<u8>);

#[cfg(not(feature = "sleds"))]
impl Base {
    pub(super) const fn new() -> Self {
        Self(AtomicPtr::new(null_mut()))
    }

    #[inline(always)]
    pub(super) fn get(&self) -> *mut u8 {
        self.0.load(Ordering::Relaxed)
    }

    #[inline(always)]
    pub(super) fn set(&self, base: *mut u8) {
        self.0.store(base, Ordering::Relaxed);
    }
}

/// The handlers' word.
#[cfg(feature = "sleds")]
pub(super) struct Base;

#[cfg(feature = "sleds")]
impl Base {
    pub(super) const fn new() -> Self {
        Self
    }

    #[inline(always)]
    #[expect(clippy::unused_self, reason = "as the other has it")]
    pub(super) fn get(&self) -> *mut u8 {
        base()
    }

    #[inline(always)]
    #[expect(clippy::unused_self, reason = "as the other has it")]
    pub(super) fn set(&self, base: *mut u8) {
        set_base(base);
    }
}
