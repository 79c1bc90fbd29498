//! How many requests were in flight, as a histogram: both ends count it alike, and as fio does. What they count
//! besides is in their own `stats`.

/// Its levels: 1, 2 and 3, 4 to 7 ... 32 to 63, 64 and more.
pub const DEPTHS: usize = 7;

/// The level of so many.
#[inline(always)]
pub(crate) fn level(count: u32) -> usize {
    (count.max(1).ilog2() as usize).min(DEPTHS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_fios() {
        let counts = [0, 1, 2, 3, 4, 7, 8, 31, 32, 33, 63, 64, 1024, u32::MAX];
        let levels = [0, 0, 1, 1, 2, 2, 3, 4, 5, 5, 5, 6, 6, 6];
        assert_eq!(counts.map(level), levels);
    }
}
