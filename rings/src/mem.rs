//! Memory that another process can write at any time, and the only safe ways to touch it.
//!
//! [`Region`] is a range of a shared mapping. It never gives out a reference: values are copied in
//! and out, words are atomics. [`Frames`] is a run of a domain's own frames; it alone may lend its
//! bytes as a slice, for the moment in which nobody else has been given them. Who maps what is
//! decided elsewhere (`rings-host`); what the bytes mean too.

use std::any::Any;
use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64};

use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::{PAGE_SIZE, Pfn};

/// A range of shared memory. Cloning clones the view, not the bytes.
#[derive(Clone)]
pub struct Region {
    base: NonNull<u8>,
    len: usize,
    /// How many of the bytes may be written: all or none. Writes are checked against this instead of the
    /// length, so that it costs them nothing.
    writable: usize,
    /// Keeps the mapping alive as long as any view of it.
    _mapping: Arc<dyn Any + Send + Sync>,
}

// SAFETY: a Region is an address and a length; every access through it is an atomic or a copy that
// forms no reference, so views may be used from any thread. The mapping lives in the Arc.
unsafe impl Send for Region {}
// SAFETY: as for Send; no method needs exclusive access.
unsafe impl Sync for Region {}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Region({} bytes)", self.len)
    }
}

impl Region {
    /// A view of `len` bytes at `base`.
    ///
    /// # Safety
    /// `base..base + len` is mapped readable and writable for as long as `mapping` lives, is
    /// aligned to 8 bytes, and this process reaches it through Regions only.
    #[must_use]
    pub unsafe fn new(base: NonNull<u8>, len: usize, mapping: Arc<dyn Any + Send + Sync>) -> Self {
        Self { base, len, writable: len, _mapping: mapping }
    }

    /// A view of `len` bytes at `base` for reading only: what would write them panics, and so does
    /// [`word32`](Self::word32), whose words could be written.
    ///
    /// # Safety
    /// As for [`new`](Self::new), but it need not be mapped writable.
    #[must_use]
    pub unsafe fn new_read_only(
        base: NonNull<u8>,
        len: usize,
        mapping: Arc<dyn Any + Send + Sync>,
    ) -> Self {
        Self { base, len, writable: 0, _mapping: mapping }
    }

    /// Zeroed private memory of this process, for tests and for the loopback path.
    #[must_use]
    pub fn anonymous(len: usize) -> Self {
        let words: Arc<Vec<AtomicU64>> =
            Arc::new((0..len.div_ceil(8)).map(|_| AtomicU64::new(0)).collect());
        let base = NonNull::from(words.as_slice()).cast::<u8>();
        // SAFETY: the Vec's heap block is at least `len` bytes, 8-byte aligned, of a type with
        // interior mutability, and lives in the Arc handed over; nobody else keeps a reference.
        unsafe { Self::new(base, len, words) }
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the region has no bytes at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The part `offset..offset + len`, or `None` if it is not wholly inside.
    #[must_use]
    pub fn part(&self, offset: usize, len: usize) -> Option<Self> {
        let end = offset.checked_add(len)?;
        if end > self.len {
            return None;
        }
        // SAFETY: offset <= len of the mapping, so the sum stays inside it.
        let base = unsafe { self.base.add(offset) };
        let writable = self.writable.min(len);
        Some(Self { base, len, writable, _mapping: Arc::clone(&self._mapping) })
    }

    /// Whether `part` is what [`part`](Self::part) cuts out at `offset`.
    #[must_use]
    pub fn has_part(&self, offset: usize, part: &Self) -> bool {
        self.part(offset, part.len).is_some_and(|own| own.base == part.base)
    }

    /// The page with number `pfn` of this region.
    #[must_use]
    pub fn page(&self, pfn: Pfn) -> Option<Self> {
        self.part(usize::try_from(pfn.0).ok()?.checked_mul(PAGE_SIZE)?, PAGE_SIZE)
    }

    /// The address of `size` bytes at `offset`.
    ///
    /// # Panics
    /// If they are not inside the region or not aligned to `align`: offsets given here are the
    /// caller's own constants or were checked by it, never the other end's.
    #[inline(always)]
    fn at(&self, offset: usize, size: usize, align: usize) -> *mut u8 {
        self.within(self.len, offset, size, align)
    }

    /// The same, of bytes that are to be written.
    #[inline(always)]
    fn at_mut(&self, offset: usize, size: usize, align: usize) -> *mut u8 {
        self.within(self.writable, offset, size, align)
    }

    #[inline(always)]
    fn within(&self, len: usize, offset: usize, size: usize, align: usize) -> *mut u8 {
        assert!(
            offset <= len && size <= len - offset,
            "offset {offset} (+{size}) outside a region of {} bytes, {} of them writable",
            self.len,
            self.writable
        );
        // SAFETY: just checked to be inside the mapping.
        let at = unsafe { self.base.as_ptr().add(offset) };
        // The address counts, not the offset: `part` cuts anywhere.
        assert!(at.addr().is_multiple_of(align), "offset {offset} is not aligned to {align}");
        at
    }

    /// The 32-bit word at `offset`, shared with the other process.
    #[inline(always)]
    #[must_use]
    pub fn word32(&self, offset: usize) -> &AtomicU32 {
        let at = self.at_mut(offset, 4, 4);
        // SAFETY: inside the mapping, writable and aligned; atomics may be shared with writers, of this
        // process or another.
        unsafe { AtomicU32::from_ptr(at.cast()) }
    }

    /// The 64-bit word at `offset`, shared with the other process.
    #[inline(always)]
    #[must_use]
    pub fn word64(&self, offset: usize) -> &AtomicU64 {
        let at = self.at_mut(offset, 8, 8);
        // SAFETY: as in `word32`.
        unsafe { AtomicU64::from_ptr(at.cast()) }
    }

    /// Copies one value out (`RING_COPY_REQUEST`): exactly one read of each byte, then ours alone.
    #[inline(always)]
    #[must_use]
    pub fn read<T: FromBytes>(&self, offset: usize) -> T {
        let at = self.at(offset, size_of::<T>(), align_of::<T>());
        // SAFETY: inside the mapping, aligned; FromBytes means any bytes are a T; volatile, so the
        // compiler can neither repeat nor skip the read while the other end writes.
        unsafe { at.cast::<T>().read_volatile() }
    }

    /// Copies one value in.
    #[inline(always)]
    pub fn write<T: IntoBytes + Immutable>(&self, offset: usize, value: T) {
        let at = self.at_mut(offset, size_of::<T>(), align_of::<T>());
        // SAFETY: inside the mapping, writable, aligned; IntoBytes means no padding byte of ours leaks.
        unsafe { at.cast::<T>().write_volatile(value) }
    }

    /// Copies bytes out into private memory. The copy may be torn; look at it only afterwards.
    #[inline(always)]
    pub fn copy_out(&self, offset: usize, to: &mut [u8]) {
        let from = self.at(offset, to.len(), 1);
        // SAFETY: source inside the mapping, destination a live slice; they cannot overlap because
        // no reference to shared memory exists that `to` could come from, save `Frames::lend`,
        // whose borrow forbids this call on the same frames.
        unsafe { copy_shared(from, to.as_mut_ptr(), to.len()) }
    }

    /// Copies bytes in from private memory.
    #[inline(always)]
    pub fn copy_in(&self, offset: usize, from: &[u8]) {
        let to = self.at_mut(offset, from.len(), 1);
        // SAFETY: as in `copy_out`, with the roles exchanged.
        unsafe { copy_shared(from.as_ptr(), to, from.len()) }
    }

    /// Sets bytes to zero.
    pub fn zero(&self, offset: usize, len: usize) {
        let to = self.at_mut(offset, len, 1);
        // SAFETY: inside the mapping, and writable.
        unsafe { to.write_bytes(0, len) }
    }

    /// Tells the CPU that the cache line at `offset` will be read soon. A hint, as
    /// [`prefetch_write`](Self::prefetch_write).
    #[inline(always)]
    pub fn prefetch_read(&self, offset: usize) {
        let at = self.at(offset, 1, 1);
        #[cfg(target_arch = "x86_64")]
        // SAFETY: PREFETCHT0 changes no architectural state and cannot fault.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T0>(at.cast());
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = at;
    }

    /// Tells the CPU that the cache line at `offset` will be written soon. A hint: a line that
    /// the other end's CPU holds takes hundreds of cycles to come over, and asking for the next batch's
    /// lines early lets those waits overlap.
    #[inline(always)]
    pub fn prefetch_write(&self, offset: usize) {
        let at = self.at(offset, 1, 1);
        #[cfg(target_arch = "x86_64")]
        // SAFETY: PREFETCHW changes no architectural state and cannot fault; on CPUs without it
        // it is a no-op.
        unsafe {
            std::arch::asm!("prefetchw [{}]", in(reg) at, options(nostack, preserves_flags, readonly));
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = at;
    }
}

/// memcpy where one side is shared memory.
///
/// # Safety
/// Both ranges are mapped for `len` bytes and do not overlap.
#[inline(always)]
unsafe fn copy_shared(from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: the caller's promise. The other end may write meanwhile: the writes of another process
    // are outside the abstract machine, and bytes copied may be torn, which every user allows for.
    unsafe { std::ptr::copy_nonoverlapping(from, to, len) };
    // After this the compiler must assume that the shared bytes have changed, so it can never
    // look at the source again where the code looks at the copy (XSA-155).
    // SAFETY: an empty template; its only effect is the memory clobber.
    unsafe { std::arch::asm!("", options(nostack, preserves_flags)) };
}

/// A run of contiguous frames of this domain's own memory, taken from its pool.
///
/// There is exactly one `Frames` for a frame, so `&mut` means what it says within this process.
#[derive(Debug)]
pub struct Frames {
    region: Region,
    first: Pfn,
}

impl Frames {
    /// Frames `first..` of a domain, seen through `region`. Only the pool makes these, once for
    /// each frame.
    pub(crate) fn new(region: Region, first: Pfn) -> Self {
        Self { region, first }
    }

    /// Number of the `index`-th frame of the run.
    #[must_use]
    pub fn pfn(&self, index: usize) -> Pfn {
        debug_assert!(index < self.count());
        Pfn(self.first.0 + u32::try_from(index).unwrap_or(u32::MAX))
    }

    /// How many frames there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.region.len() / PAGE_SIZE
    }

    /// The bytes as shared memory.
    #[inline(always)]
    #[must_use]
    pub fn region(&self) -> &Region {
        &self.region
    }

    /// Lends `len` bytes at `offset` as a slice, to be filled in place.
    ///
    /// For frames that no request on a ring names: a process that keeps to the rules does not write
    /// them (they are granted read-only, and our copy and map refuse), so the slice is ours alone
    /// until it is published. A process that goes around this library and scribbles on the pool can
    /// spoil the bytes of the frame being built; that is a known gap, told in the README.
    #[inline(always)]
    pub fn lend<R>(&mut self, offset: usize, len: usize, fill: impl FnOnce(&mut [u8]) -> R) -> R {
        let at = self.region.at_mut(offset, len, 1);
        // SAFETY: inside the mapping, writable; `&mut self` on the one Frames of these pages excludes every
        // other access of this process for the time of the borrow.
        let bytes = unsafe { std::slice::from_raw_parts_mut(at, len) };
        fill(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::panic::AssertUnwindSafe;

    use super::*;

    #[test]
    fn parts_outside_the_region_do_not_exist() {
        let r = Region::anonymous(2 * PAGE_SIZE);
        assert!(r.part(PAGE_SIZE, PAGE_SIZE).is_some());
        assert!(r.part(PAGE_SIZE + 1, PAGE_SIZE).is_none());
        assert!(r.part(usize::MAX, 2).is_none());
        assert!(r.page(Pfn(2)).is_none());
        assert!(r.page(Pfn(u32::MAX)).is_none());
    }

    #[test]
    #[should_panic(expected = "not aligned")]
    fn a_word_of_a_part_that_begins_anywhere_must_still_be_aligned() {
        let _ = Region::anonymous(64).part(2, 32).expect("inside").word32(0);
    }

    #[test]
    fn what_is_copied_in_comes_out() {
        let r = Region::anonymous(64);
        r.copy_in(3, b"hello");
        let mut back = [0; 5];
        r.copy_out(3, &mut back);
        assert_eq!(&back, b"hello");
        r.write(8, 0x0102_0304_u32);
        assert_eq!(r.read::<u32>(8), 0x0102_0304);
        r.zero(0, 64);
        assert_eq!(r.read::<u64>(0), 0);
    }

    #[test]
    fn what_is_for_reading_only_is_read_and_never_written() {
        let bytes: Arc<[AtomicU64; 8]> = Arc::new(std::array::from_fn(|_| AtomicU64::new(7)));
        let base = NonNull::from(bytes.as_slice()).cast::<u8>();
        // SAFETY: 64 bytes, aligned, atomics, which live in the Arc that is handed over.
        let r = unsafe { Region::new_read_only(base, 64, bytes) };
        let part = r.part(8, 16).expect("inside");
        assert_eq!((r.read::<u64>(56), part.read::<u64>(8)), (7, 7));
        let writes: [fn(&Region); 5] = [
            |r| r.zero(0, 8),
            |r| r.copy_in(0, b"x"),
            |r| r.write(0, 1_u32),
            |r| r.word32(0).store(1, std::sync::atomic::Ordering::Relaxed),
            |r| r.word64(0).store(1, std::sync::atomic::Ordering::Relaxed),
        ];
        for (n, write) in writes.iter().enumerate() {
            for region in [&r, &part] {
                let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| write(region)));
                assert!(outcome.is_err(), "write {n}");
            }
        }
        assert!((0..8).all(|n| r.read::<u64>(n * 8) == 7));
    }
}
