//! The payload of a verified run: an endless stream of bytes that both ends can make at any offset from the seed
//! alone. Nothing here knows what carries the bytes.
//!
//! Byte `i` depends on the seed and on `i` only. A table of random words is laid end to end and each repetition has
//! another multiple of an odd constant added, so no two repetitions agree: a frame that arrives twice, late or in
//! another's place is found. The inner loops are one load, one add and one store (or compare) per word, which the
//! compiler turns into vectors; the table is small enough to stay in the first cache.

use std::fmt;

/// Bytes in one word of the stream.
const WORD: usize = 8;
/// Words in the table; 16 KiB leaves the other half of a first-level cache to the data.
const TABLE: usize = 2048;
/// What one repetition of the table adds to the next (odd, so it takes 2^64 repetitions to come round).
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
/// Words compared before the first look at the outcome.
const CHECKED_AT_ONCE: usize = 256;

/// The stream of bytes that belongs to one seed.
#[derive(Clone)]
pub struct Payload {
    table: Box<[u64; TABLE]>,
}

/// The first byte of a buffer that is not what the stream has there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mismatch {
    /// Where the wrong byte stands, counted from the start of the stream.
    pub offset: u64,
    /// What should stand there.
    pub expected: u8,
    /// What stands there.
    pub got: u8,
}

impl Payload {
    /// The stream of `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut state = seed;
        let mut table = Box::new([0; TABLE]);
        table.fill_with(|| splitmix(&mut state));
        Self { table }
    }

    /// Writes the bytes `offset..offset + buf.len()` of the stream.
    pub fn fill(&self, offset: u64, buf: &mut [u8]) {
        // A request is often one byte: no copying of slices for that.
        if is_in_one_word(offset, buf.len()) {
            buf.iter_mut().zip(self.bytes_at(offset)).for_each(|(out, byte)| *out = byte);
            return;
        }
        let (mut index, head) = place(offset, buf.len());
        let (first, rest) = buf.split_at_mut(head);
        first.copy_from_slice(&self.bytes_at(offset)[..head]);

        let (mut words, tail) = rest.as_chunks_mut::<WORD>();
        while !words.is_empty() {
            let (row, add) = self.row(index, words.len());
            let (now, later) = words.split_at_mut(row.len());
            for (out, word) in now.iter_mut().zip(row) {
                *out = word.wrapping_add(add).to_le_bytes();
            }
            index += wide(row.len());
            words = later;
        }
        tail.copy_from_slice(&self.word(index).to_le_bytes()[..tail.len()]);
    }

    /// Compares `buf` with the bytes `offset..offset + buf.len()` of the stream.
    ///
    /// # Errors
    /// The first byte that differs.
    pub fn check(&self, offset: u64, buf: &[u8]) -> Result<(), Mismatch> {
        if is_in_one_word(offset, buf.len()) {
            let bytes = self.bytes_at(offset);
            let good = buf.iter().zip(bytes).all(|(got, byte)| *got == byte);
            return if good { Ok(()) } else { compare(offset, &bytes[..buf.len()], buf) };
        }
        let (mut index, head) = place(offset, buf.len());
        let (first, rest) = buf.split_at(head);
        compare(offset, &self.bytes_at(offset)[..head], first)?;

        let (mut words, tail) = rest.as_chunks::<WORD>();
        while !words.is_empty() {
            let (row, add) = self.row(index, words.len().min(CHECKED_AT_ONCE));
            let (now, later) = words.split_at(row.len());
            if differs(row, add, now) {
                return self.first_difference(index, now);
            }
            index += wide(row.len());
            words = later;
        }
        compare(index.wrapping_mul(wide(WORD)), &self.word(index).to_le_bytes()[..tail.len()], tail)
    }

    /// The words from `index` on that stand in one repetition of the table, at most `most`, and what to add to each.
    fn row(&self, index: u64, most: usize) -> (&[u64], u64) {
        let at = column(index);
        let add = (index / wide(TABLE)).wrapping_add(1).wrapping_mul(STEP);
        (&self.table[at..TABLE.min(at + most)], add)
    }

    fn word(&self, index: u64) -> u64 {
        let (row, add) = self.row(index, 1);
        row[0].wrapping_add(add)
    }

    /// The bytes from `offset` to the end of its word, then zeros.
    fn bytes_at(&self, offset: u64) -> [u8; WORD] {
        let skip = 8 * (offset % wide(WORD));
        (self.word(offset / wide(WORD)) >> skip).to_le_bytes()
    }

    /// Looks again, word by word, at a row that is known to differ.
    fn first_difference(&self, index: u64, words: &[[u8; WORD]]) -> Result<(), Mismatch> {
        for (index, got) in (index..).zip(words) {
            compare(index * wide(WORD), &self.word(index).to_le_bytes(), got)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Payload").finish_non_exhaustive()
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { offset, expected, got } = self;
        write!(f, "byte {offset} of the payload is {got:#04x} and should be {expected:#04x}")
    }
}

impl std::error::Error for Mismatch {}

/// Whether so many bytes from `offset` on are in one word.
#[inline]
fn is_in_one_word(offset: u64, len: usize) -> bool {
    wide(len) <= wide(WORD) - offset % wide(WORD)
}

/// The first whole word at or after `offset`, and how many of `len` bytes stand before it.
fn place(offset: u64, len: usize) -> (u64, usize) {
    let into = usize::try_from(offset % wide(WORD)).unwrap_or(0);
    let head = if into == 0 { 0 } else { (WORD - into).min(len) };
    (offset.div_ceil(wide(WORD)), head)
}

/// Where in the table a word's base stands.
fn column(index: u64) -> usize {
    usize::try_from(index % wide(TABLE)).unwrap_or(0)
}

/// Whether any word differs; no early exit, so that the loop has no branch.
fn differs(row: &[u64], add: u64, words: &[[u8; WORD]]) -> bool {
    let mut difference = 0;
    for (word, got) in row.iter().zip(words) {
        difference |= word.wrapping_add(add) ^ u64::from_le_bytes(*got);
    }
    difference != 0
}

fn compare(offset: u64, expected: &[u8], got: &[u8]) -> Result<(), Mismatch> {
    match expected.iter().zip(got).position(|(expected, got)| expected != got) {
        None => Ok(()),
        Some(at) => {
            let offset = offset.wrapping_add(wide(at));
            Err(Mismatch { offset, expected: expected[at], got: got[at] })
        }
    }
}

/// A length as an offset.
const fn wide(len: usize) -> u64 {
    len as u64
}

/// The generator `SplitMix64` (Steele, Lea and Flood): a counter and a mixing function.
fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(STEP);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The stream by its definition, a byte at a time.
    fn byte(payload: &Payload, offset: u64) -> u8 {
        let index = offset / 8;
        let base = payload.table[usize::try_from(index % wide(TABLE)).expect("small")];
        let word = base.wrapping_add((index / wide(TABLE) + 1).wrapping_mul(STEP));
        word.to_le_bytes()[usize::try_from(offset % 8).expect("small")]
    }

    fn filled(payload: &Payload, offset: u64, len: usize) -> Vec<u8> {
        let mut buf = vec![0xaa; len];
        payload.fill(offset, &mut buf);
        buf
    }

    #[test]
    fn repetitions_of_the_table_differ() {
        let payload = Payload::new(1);
        let period = TABLE * WORD;
        let bytes = filled(&payload, 0, 4 * period);
        let rows: Vec<_> = bytes.chunks(period).collect();
        assert!(rows.iter().enumerate().all(|(i, a)| rows[i + 1..].iter().all(|b| a != b)));
        assert_ne!(bytes, filled(&Payload::new(2), 0, 4 * period));
    }

    #[test]
    fn the_end_of_the_stream_is_as_good_as_its_start() {
        let payload = Payload::new(9);
        let offset = u64::MAX - 100;
        let bytes = filled(&payload, offset, 100);
        assert_eq!(payload.check(offset, &bytes), Ok(()));
    }

    proptest! {
        #[test]
        fn any_piece_is_what_the_definition_says(
            seed: u64, offset in 0u64..1 << 40, len in 0usize..40_000,
        ) {
            let payload = Payload::new(seed);
            let bytes = filled(&payload, offset, len);
            let wrong = (offset..).zip(&bytes).find(|(at, got)| byte(&payload, *at) != **got);
            prop_assert_eq!(wrong, None);
            prop_assert_eq!(payload.check(offset, &bytes), Ok(()));
        }

        #[test]
        fn the_first_wrong_byte_is_named(
            offset in 0u64..1 << 40, len in 1usize..20_000, at: prop::sample::Index, flip in 1u8..,
            second: prop::sample::Index,
        ) {
            let payload = Payload::new(7);
            let mut bytes = filled(&payload, offset, len);
            let at = at.index(len);
            let second = at + second.index(len - at);
            bytes[at] ^= flip;
            if second > at {
                bytes[second] ^= 0x80;
            }
            let found = payload.check(offset, &bytes).expect_err("one byte is wrong");
            prop_assert_eq!(found.offset, offset + wide(at));
            prop_assert_eq!(found.got, bytes[at]);
            prop_assert_eq!(found.expected, bytes[at] ^ flip);
        }
    }
}
