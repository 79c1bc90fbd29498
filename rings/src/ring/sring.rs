//! The sring in shared memory: where the words and slots lie in its page or pages.

use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{Index, SringMem};
use crate::io::ring_size;
use crate::mem::Region;
use crate::sync::Ordering;

/// Offset of the first slot, after the four indices, `pvt` and the pad.
const RING_OFFSET: usize = crate::io::SRING_HEADER;

/// One sring of slots of `SLOT` bytes (the larger of request and response) in shared memory.
#[derive(Clone, Debug)]
pub struct Sring<const SLOT: usize> {
    region: Region,
    size: u32,
}

impl<const SLOT: usize> Sring<SLOT> {
    /// The ring in `region`, which holds one or more whole pages.
    ///
    /// # Panics
    /// If the region is not even a page: rings are made of grants, and a grant is a page.
    #[must_use]
    pub fn new(region: Region) -> Self {
        assert!(region.len() >= crate::PAGE_SIZE, "a ring needs a page");
        let order = (region.len() / crate::PAGE_SIZE).ilog2();
        let size = u32::try_from(ring_size(SLOT, order)).expect("a ring is a few pages");
        Self { region, size }
    }

    /// What `SHARED_RING_INIT` does, for a ring that starts at `base`: producers at `base`, events
    /// one ahead, private area and pad zero. Only a frontend does this, once, before it publishes
    /// the gref.
    pub fn init(&self, base: u32) {
        self.region.zero(0, RING_OFFSET);
        self.store(Index::ReqProd, base, Ordering::Relaxed);
        self.store(Index::RspProd, base, Ordering::Relaxed);
        self.store(Index::ReqEvent, base.wrapping_add(1), Ordering::Relaxed);
        self.store(Index::RspEvent, base.wrapping_add(1), Ordering::Relaxed);
    }

    #[inline(always)]
    fn slot_offset(&self, slot: u32) -> usize {
        debug_assert!(slot < self.size);
        RING_OFFSET + slot as usize * SLOT
    }
}

impl<const SLOT: usize> SringMem for Sring<SLOT> {
    #[inline(always)]
    fn size(&self) -> u32 {
        self.size
    }

    #[inline(always)]
    fn load(&self, index: Index, order: Ordering) -> u32 {
        self.region.word32(offset_of(index)).load(order)
    }

    #[inline(always)]
    fn store(&self, index: Index, value: u32, order: Ordering) {
        self.region.word32(offset_of(index)).store(value, order);
    }

    #[inline(always)]
    fn read<T: FromBytes>(&self, slot: u32) -> T {
        const { assert!(size_of::<T>() <= SLOT) };
        self.region.read(self.slot_offset(slot))
    }

    #[inline(always)]
    fn write<T: IntoBytes + Immutable>(&self, slot: u32, value: T) {
        const { assert!(size_of::<T>() <= SLOT) };
        self.region.write(self.slot_offset(slot), value);
    }
}

#[inline(always)]
const fn offset_of(index: Index) -> usize {
    match index {
        Index::ReqProd => 0,
        Index::ReqEvent => 4,
        Index::RspProd => 8,
        Index::RspEvent => 12,
    }
}
