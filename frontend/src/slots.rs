//! A frame as slots: pure arithmetic.

use rings::PAGE_SIZE;
use tracer::traced;

/// One slot's share of a frame that lies in contiguous pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slot {
    /// Which page of the run.
    pub page: usize,
    /// Where in it. Bytes.
    pub offset: u16,
    /// How many bytes of the frame are in it.
    pub len: u16,
    /// What the request's `size` says: on tx the first slot carries the size of the *whole* frame,
    /// so that the backend knows it before it has seen the rest; the others carry their own.
    pub size: u16,
    /// Another data slot follows.
    pub more: bool,
}

/// Journey 3. The slots of a frame of `len` bytes that starts `offset` bytes into the first page of
/// its run.
///
/// `len` is at least 1 and at most 65,535 (`XEN_NETIF_MAX_TX_SIZE`), `offset` less than a page.
#[traced(fine, bytes = len)]
pub fn slots(len: usize, offset: usize) -> impl Iterator<Item = Slot> {
    debug_assert!((1..=0xffff).contains(&len) && offset < PAGE_SIZE);
    let pages = (offset + len).div_ceil(PAGE_SIZE);
    (0..pages).map(move |page| {
        let begin = (page * PAGE_SIZE).max(offset);
        let end = ((page + 1) * PAGE_SIZE).min(offset + len);
        let here = narrow(end - begin);
        Slot {
            page,
            offset: narrow(begin % PAGE_SIZE),
            len: here,
            size: if page == 0 { narrow(len) } else { here },
            more: page + 1 < pages,
        }
    })
}

/// Frames and pages are at most 65,535 bytes long.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "bounded by the largest frame")]
fn narrow(bytes: usize) -> u16 {
    bytes as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_small_frame_is_one_slot() {
        let all: Vec<_> = slots(60, 128).collect();
        assert_eq!(all, [Slot { page: 0, offset: 128, len: 60, size: 60, more: false }]);
    }

    proptest! {
        #[test]
        fn slots_tile_the_frame(len in 1_usize..=0xffff, offset in 0_usize..PAGE_SIZE) {
            let all: Vec<_> = slots(len, offset).collect();
            prop_assert!(all.len() <= rings::io::netif::NR_SLOTS_MIN);
            prop_assert_eq!(usize::from(all[0].size), len, "the first carries the total");
            prop_assert_eq!(all.iter().map(|s| usize::from(s.len)).sum::<usize>(), len);
            let mut at = offset;
            for (i, slot) in all.iter().enumerate() {
                prop_assert_eq!(slot.page * PAGE_SIZE + usize::from(slot.offset), at);
                prop_assert!(usize::from(slot.offset) + usize::from(slot.len) <= PAGE_SIZE);
                prop_assert!(slot.len > 0);
                prop_assert_eq!(slot.more, i + 1 < all.len());
                at += usize::from(slot.len);
            }
        }
    }
}
