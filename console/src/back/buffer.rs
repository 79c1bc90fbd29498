//! What a terminal has not taken yet.
//!
//! It is bounded (the key `limit`, 1 MiB). What to do when a guest writes more is a choice: xenconsoled
//! discards, from the middle, so that the beginning and the latest survive; or it stops reading, so
//! that the guest waits.

use std::collections::VecDeque;
use std::io::{self, IoSlice};

/// What happens to output that nobody takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Overflow {
    /// The middle of what is kept is thrown away, and counted (`--overflow-data=discard`).
    #[default]
    Discard,
    /// The guest's ring is not read any more until there is room (`--overflow-data=keep`).
    Keep,
}

/// The buffer of one console.
#[derive(Debug)]
pub struct Buffer {
    bytes: VecDeque<u8>,
    limit: usize,
    overflow: Overflow,
    discarded: u64,
}

impl Buffer {
    /// An empty one that keeps `limit` bytes. They are taken as they are needed.
    #[must_use]
    pub fn new(limit: usize, overflow: Overflow) -> Self {
        Self { bytes: VecDeque::new(), limit: limit.max(1), overflow, discarded: 0 }
    }

    /// Takes all of `bytes`. With [`Overflow::Discard`] anything beyond five quarters of the limit
    /// shrinks it to the limit: the first quarter and the latest three are left, as xenconsoled
    /// leaves them.
    pub fn append(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
        let len = self.bytes.len();
        if self.overflow == Overflow::Discard && len > self.limit + self.limit / 4 {
            let first = self.limit / 4;
            self.bytes.drain(first..first + (len - self.limit));
            self.discarded += (len - self.limit) as u64;
        }
    }

    /// Gives as much as `write` takes, which says how much that was.
    ///
    /// # Errors
    /// What `write` said; nothing is lost then.
    pub fn give(
        &mut self,
        write: impl FnOnce(&[IoSlice<'_>; 2]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let (first, second) = self.bytes.as_slices();
        let taken = write(&[IoSlice::new(first), IoSlice::new(second)])?;
        self.bytes.drain(..taken.min(self.bytes.len()));
        Ok(taken)
    }

    /// Bytes that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether none wait.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Whether the guest has to wait.
    #[inline]
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.overflow == Overflow::Keep && self.bytes.len() >= self.limit
    }

    /// Bytes thrown away so far.
    #[must_use]
    pub fn discarded(&self) -> u64 {
        self.discarded
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn all(buffer: &mut Buffer) -> Vec<u8> {
        let mut out = Vec::new();
        let taken = buffer.give(|parts| {
            parts.iter().for_each(|part| out.extend_from_slice(part));
            Ok(out.len())
        });
        assert_eq!(taken.expect("a vector takes all"), out.len());
        out
    }

    #[test]
    fn the_beginning_and_the_latest_survive() {
        let mut buffer = Buffer::new(8, Overflow::Discard);
        buffer.append(b"0123456789");
        assert_eq!((buffer.len(), buffer.discarded()), (10, 0), "five quarters are kept");
        buffer.append(b"ab");
        assert_eq!(all(&mut buffer), b"016789ab");
        assert_eq!(buffer.discarded(), 4);
    }

    #[test]
    fn what_is_kept_is_kept() {
        let mut buffer = Buffer::new(8, Overflow::Keep);
        buffer.append(b"0123456");
        assert!(!buffer.is_full());
        buffer.append(b"789abcdef");
        assert!(buffer.is_full() && buffer.discarded() == 0);
        assert_eq!(buffer.give(|_| Ok(9)).expect("taken"), 9);
        assert!(!buffer.is_full());
        assert!(buffer.give(|_| Err(io::ErrorKind::WouldBlock.into())).is_err());
        assert_eq!(all(&mut buffer), b"9abcdef");
    }

    proptest! {
        #[test]
        fn bytes_are_never_reordered_and_all_accounted_for(
            limit in 1usize..64, keep in any::<bool>(), steps in vec((0usize..40, 0usize..40), 0..60),
        ) {
            let overflow = if keep { Overflow::Keep } else { Overflow::Discard };
            let mut buffer = Buffer::new(limit, overflow);
            let (mut next, mut last, mut got) = (0_u8, None::<u8>, 0);
            for (put, take) in steps {
                let bytes: Vec<u8> = (0..put).map(|_| { next = next.wrapping_add(1); next }).collect();
                buffer.append(&bytes);
                if !keep {
                    prop_assert!(buffer.len() <= limit + limit / 4);
                }
                let mut out = Vec::new();
                let _ = buffer.give(|parts| {
                    out.extend(parts.iter().flat_map(|part| part.iter().copied()).take(take));
                    Ok(out.len())
                });
                got += out.len() as u64;
                if keep {
                    for byte in out {
                        prop_assert_eq!(byte, last.unwrap_or(0).wrapping_add(1));
                        last = Some(byte);
                    }
                }
            }
            let put = u64::from(next);
            prop_assert_eq!((got + buffer.len() as u64 + buffer.discarded()) & 0xff, put);
        }
    }
}
