//! An allocator that counts, so that "no allocation per packet" is measured and not claimed.
//!
//! The command `pvlab` installs it as its global allocator. It counts calls, not bytes.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    // Constant and without a destructor: touching it allocates nothing itself.
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

#[inline(always)]
fn count() {
    // A thread that is being torn down is not counted any more.
    let _ = CALLS.try_with(|calls| calls.set(calls.get() + 1));
}

/// The system allocator with a counter in front of it.
#[derive(Debug)]
pub struct Counting;

// SAFETY: every method forwards its arguments unchanged to `System`, which upholds the contract of
// `GlobalAlloc`; the counter neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises about `layout` are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises about `layout` are passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count();
        // SAFETY: `ptr` came from `System` through one of the methods here, with this `layout`.
        unsafe { System.realloc(ptr, layout, new_size) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: `ptr` came from `System` through one of the methods here, with this `layout`.
        unsafe { System.dealloc(ptr, layout) }
    }
}

/// Allocations (alloc, alloc_zeroed, realloc) by the calling thread so far; 0 where [`Counting`] is
/// not the global allocator.
#[must_use]
pub fn thread_calls() -> u64 {
    CALLS.try_with(Cell::get).unwrap_or(0)
}
