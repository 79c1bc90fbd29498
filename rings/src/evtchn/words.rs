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

use std::sync::atomic::AtomicU32;

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

/// The three words of an end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Word {
    /// An event was sent and not seen yet. Set by the sender, cleared by the owner.
    Pending,
    /// The owner does not want to be woken.
    Mask,
    /// The other end is gone. Set by the host.
    Closed,
}

/// Memory that holds the words of a channel. The orderings are passed in, so that they all stand
/// in `channel.rs`, beside the sentence that needs them.
pub trait EventWords {
    /// Reads a word of `end`.
    fn load(&self, end: End, word: Word, order: Ordering) -> u32;
    /// Writes a word of `end`.
    fn store(&self, end: End, word: Word, value: u32, order: Ordering);
    /// Writes a word of `end` and says what it was.
    fn swap(&self, end: End, word: Word, value: u32, order: Ordering) -> u32;
}

/// The words in a shared page.
#[derive(Clone, Debug)]
pub struct EventPage(Region);

impl EventPage {
    const STRIDE: usize = 64;

    /// The channel in `page`.
    ///
    /// # Panics
    /// If that is less than the two lines.
    #[must_use]
    pub fn new(page: Region) -> Self {
        assert!(page.len() >= 2 * Self::STRIDE, "an event page holds two lines");
        Self(page)
    }

    /// Makes `end` pending and unmasked, as binding it leaves it. Only the host does.
    pub fn bind(&self, end: End) {
        self.store(end, Word::Mask, 0, Ordering::Relaxed);
        // SYNC event of the host: with the swap in Channel::clear.
        self.store(end, Word::Pending, 1, Ordering::Release);
    }

    /// Makes `end` pending, whoever sent. Only the host does.
    pub fn raise(&self, end: End) {
        // SYNC event of the host: with the swap in Channel::clear.
        self.store(end, Word::Pending, 1, Ordering::Release);
    }

    /// Whether `end` is pending, for whoever looks on from outside.
    #[must_use]
    pub fn is_pending(&self, end: End) -> bool {
        self.load(end, Word::Pending, Ordering::Relaxed) != 0
    }

    /// Whether the owner of `end` does not want to be woken, for whoever looks on from outside.
    #[must_use]
    pub fn is_masked(&self, end: End) -> bool {
        self.load(end, Word::Mask, Ordering::Relaxed) != 0
    }

    /// Whether the other end of `end` is gone, as the host says.
    #[must_use]
    pub fn is_closed(&self, end: End) -> bool {
        // SYNC other end is gone: with the Release store in `set_closed`.
        self.load(end, Word::Closed, Ordering::Acquire) != 0
    }

    /// Tells `end` that its other end is gone. Only the host does.
    pub fn set_closed(&self, end: End, closed: bool) {
        // SYNC other end is gone: with the Acquire loads in Channel::closed and `is_closed`.
        self.store(end, Word::Closed, u32::from(closed), Ordering::Release);
    }

    #[inline(always)]
    fn word(&self, end: End, word: Word) -> &AtomicU32 {
        let line = match end {
            End::A => 0,
            End::B => Self::STRIDE,
        };
        let at = match word {
            Word::Pending => 0,
            Word::Mask => 4,
            Word::Closed => 8,
        };
        self.0.word32(line + at)
    }
}

impl EventWords for EventPage {
    #[inline(always)]
    fn load(&self, end: End, word: Word, order: Ordering) -> u32 {
        self.word(end, word).load(order)
    }

    #[inline(always)]
    fn store(&self, end: End, word: Word, value: u32, order: Ordering) {
        self.word(end, word).store(value, order);
    }

    #[inline(always)]
    fn swap(&self, end: End, word: Word, value: u32, order: Ordering) -> u32 {
        self.word(end, word).swap(value, order)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_has_its_place_in_the_page() {
        let page = Region::anonymous(128);
        let words = EventPage::new(page.clone());
        for (end, word, at) in [
            (End::A, Word::Pending, 0),
            (End::A, Word::Mask, 4),
            (End::A, Word::Closed, 8),
            (End::B, Word::Pending, 64),
            (End::B, Word::Mask, 68),
            (End::B, Word::Closed, 72),
        ] {
            words.store(end, word, 1, Ordering::Relaxed);
            assert_eq!(page.read::<u32>(at), 1, "{word:?} of {end:?}");
            page.zero(0, 128);
        }
    }
}
