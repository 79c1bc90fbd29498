//! What stands in a block that was written: where it belongs, which write it was, and a sum over the rest.
//!
//! ```text
//!     0       8        16           24            32
//!   +-------+--------+------------+-------------+---------------------------+
//!   | magic | offset | generation | sum of rest | words that follow from all |
//!   +-------+--------+------------+-------------+---------------------------+
//! ```
//! The rest follows from seed, offset and generation alone, so a block that was torn, or is another's, or
//! an older write's, is told from the right one.

/// Bytes of the header.
const HEADER: usize = 32;
/// First word of a block of ours.
const MAGIC: u64 = u64::from_le_bytes(*b"pvlabblk");
/// Between neighbouring words of the rest.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// What a block that was read is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found {
    /// Whole, and this write of it.
    Write(u64),
    /// All zeros.
    Zeros,
    /// None of ours.
    Foreign,
    /// Whole, but of another place.
    Elsewhere(u64),
    /// Begins as one of ours and does not go on so.
    Torn,
}

/// Where the words of a block's rest begin.
#[inline]
fn base(seed: u64, offset: u64, generation: u64) -> u64 {
    let mut z = seed ^ offset.wrapping_mul(STEP) ^ generation.rotate_left(32);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn word(block: &[u8], at: usize) -> u64 {
    block[at..at + 8].try_into().map_or(0, u64::from_le_bytes)
}

/// Writes the block that belongs at byte `offset`.
pub fn stamp(block: &mut [u8], seed: u64, offset: u64, generation: u64) {
    let (header, rest) = block.split_at_mut(HEADER);
    let mut next = base(seed, offset, generation);
    let mut sum = 0_u64;
    for bytes in rest.chunks_exact_mut(8) {
        bytes.copy_from_slice(&next.to_le_bytes());
        sum = sum.wrapping_add(next.rotate_left(7));
        next = next.wrapping_add(STEP);
    }
    for (at, value) in [MAGIC, offset, generation, sum].into_iter().enumerate() {
        header[at * 8..at * 8 + 8].copy_from_slice(&value.to_le_bytes());
    }
}

/// Looks what a block is that was read at byte `offset`.
#[must_use]
pub fn look(block: &[u8], seed: u64, offset: u64) -> Found {
    if word(block, 0) != MAGIC {
        // All of them, without a way out in between: that is what a CPU does many at a time.
        let any = block.chunks_exact(8).fold(0, |any, bytes| any | word(bytes, 0));
        return if any == 0 { Found::Zeros } else { Found::Foreign };
    }
    let (place, generation, sum) = (word(block, 8), word(block, 16), word(block, 24));
    let mut next = base(seed, place, generation);
    let mut found = 0_u64;
    let mut wrong = 0_u64;
    for bytes in block[HEADER..].chunks_exact(8) {
        wrong |= word(bytes, 0) ^ next;
        found = found.wrapping_add(next.rotate_left(7));
        next = next.wrapping_add(STEP);
    }
    match wrong == 0 && found == sum {
        true if place == offset => Found::Write(generation),
        true => Found::Elsewhere(place),
        false => Found::Torn,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_says_what_it_is() {
        let mut block = vec![0; 4096];
        assert_eq!(look(&block, 1, 8192), Found::Zeros);
        stamp(&mut block, 1, 8192, 7);
        assert_eq!(look(&block, 1, 8192), Found::Write(7));
        assert_eq!(look(&block, 1, 4096), Found::Elsewhere(8192));
        assert_eq!(look(&block, 2, 8192), Found::Torn, "another run's");
        let mut newer = vec![0; 4096];
        stamp(&mut newer, 1, 8192, 8);
        block[2048..].copy_from_slice(&newer[2048..]);
        assert_eq!(look(&block, 1, 8192), Found::Torn);
        newer[4095] ^= 1;
        assert_eq!(look(&newer, 1, 8192), Found::Torn);
        assert_eq!(look(&[3; 512], 1, 0), Found::Foreign);
    }
}
