//! The words of an event channel: a line for each end in a page that only its two ends have.
//!
//! ```text
//!        0          4         8                        64
//!   +---------+---------+----------+-- pad --+---------+---------+----------+-- pad --
//!   | pending |  mask   |  closed  |         | pending |  mask   |  closed  |
//!   +---------+---------+----------+---------+---------+---------+----------+---------
//!   end A: the one that allocated the port     end B: the one that bound it
//! ```
//! All are `u32`, 0 or 1. The sender sets the other end's `pending`; each end owns its `mask`; the
//! host sets `closed` of an end whose other end is gone.

use crate::mem::Region;
use crate::sync::Ordering;

/// Which end of a channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// The end that called alloc_unbound.
    A,
    /// The end that called bind_interdomain.
    B,
}

impl End {
    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

/// Memory that holds the words of a channel.
pub trait EventWords {
    /// Sets the pending bit of `end`; says whether it was set already.
    fn set_pending(&self, end: End) -> bool;
    /// Clears the pending bit of `end`; says whether it was set.
    fn clear_pending(&self, end: End) -> bool;
    /// Reads the pending bit of `end`.
    fn pending(&self, end: End) -> bool;
    /// Writes the mask bit of `end`.
    fn set_mask(&self, end: End, masked: bool);
    /// Reads the mask bit of `end`.
    fn masked(&self, end: End) -> bool;
    /// Whether the other end of `end` is gone.
    fn closed(&self, end: End) -> bool;
}

/// The words in a shared page.
#[derive(Clone, Debug)]
pub struct EventPage(Region);

impl EventPage {
    const STRIDE: usize = 64;
    const PENDING: usize = 0;
    const MASK: usize = 4;
    const CLOSED: usize = 8;

    /// The channel in `page`.
    ///
    /// # Panics
    /// If that is less than the two lines.
    #[must_use]
    pub fn new(page: Region) -> Self {
        assert!(page.len() >= 2 * Self::STRIDE, "an event page holds two lines");
        Self(page)
    }

    /// Tells `end` that its other end is gone. Only the host does.
    pub fn set_closed(&self, end: End, closed: bool) {
        self.word(end, Self::CLOSED).store(u32::from(closed), Ordering::Release);
    }

    #[inline(always)]
    fn word(&self, end: End, at: usize) -> &std::sync::atomic::AtomicU32 {
        self.0.word32(if end == End::A { 0 } else { Self::STRIDE } + at)
    }
}

impl EventWords for EventPage {
    #[inline(always)]
    fn set_pending(&self, end: End) -> bool {
        self.word(end, Self::PENDING).swap(1, Ordering::AcqRel) != 0
    }

    #[inline(always)]
    fn clear_pending(&self, end: End) -> bool {
        let word = self.word(end, Self::PENDING);
        // Usually clear already: look first, a swap would take the line from the sender.
        word.load(Ordering::Relaxed) != 0 && word.swap(0, Ordering::AcqRel) != 0
    }

    #[inline(always)]
    fn pending(&self, end: End) -> bool {
        self.word(end, Self::PENDING).load(Ordering::Acquire) != 0
    }

    #[inline(always)]
    fn set_mask(&self, end: End, masked: bool) {
        self.word(end, Self::MASK).store(u32::from(masked), Ordering::Release);
    }

    #[inline(always)]
    fn masked(&self, end: End) -> bool {
        self.word(end, Self::MASK).load(Ordering::Relaxed) != 0
    }

    #[inline(always)]
    fn closed(&self, end: End) -> bool {
        self.word(end, Self::CLOSED).load(Ordering::Acquire) != 0
    }
}
