//! The header of a thread's buffer, as its writer reaches it: words at fixed octets, see
//! [`format::buffer`](crate::format::buffer).

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use nix::unistd::gettid;

use super::{memory, stamp};
use crate::format::Full;
use crate::format::buffer::{self, at};

/// Fills in the header of a buffer that was made just now, at `base`.
pub(super) fn write_header(base: *mut u8, full: Full, capacity: u64) {
    let pid = std::process::id();
    let tid = u32::try_from(gettid().as_raw()).unwrap_or(0);
    let mut name = [0; at::NAME_LEN];
    let own = if tid == pid { "main".into() } else { memory::thread_name() };
    let len = own.len().min(at::NAME_LEN - 1);
    name[..len].copy_from_slice(&own.as_bytes()[..len]);
    let words = [
        (at::CAPACITY, capacity),
        (at::STARTED, stamp::now()),
        (0, u64::from_le_bytes(buffer::MAGIC)),
    ];
    #[expect(clippy::cast_possible_truncation, reason = "one page")]
    let halves = [
        (at::VERSION, buffer::VERSION),
        (at::RECORDS, buffer::RECORDS_AT as u32),
        (at::MODE, full as u32),
        (at::PID, pid),
        (at::TID, tid),
    ];
    for (n, eight) in name.as_chunks::<8>().0.iter().enumerate() {
        // SAFETY: `base` is a mapping of at least a page, made just now; all offsets are inside.
        unsafe { word(base, at::NAME + 8 * n) }
            .store(u64::from_le_bytes(*eight), Ordering::Relaxed);
    }
    for (at, value) in halves {
        // SAFETY: as above.
        unsafe { half(base, at) }.store(value.to_le(), Ordering::Relaxed);
    }
    for (at, value) in words {
        // SAFETY: as above.
        unsafe { word(base, at) }.store(value.to_le(), Ordering::Relaxed);
    }
}

/// The 64-bit word at octet `at` of a buffer.
///
/// # Safety
/// `base` is a mapping that lives as long as the reference is used and has that word; `at` is a
/// multiple of 8.
#[inline(always)]
pub(super) unsafe fn word<'a>(base: *mut u8, at: usize) -> &'a AtomicU64 {
    // SAFETY: the caller's promise; mappings begin at a page.
    unsafe { AtomicU64::from_ptr(base.wrapping_add(at).cast()) }
}

/// The 32-bit word at octet `at` of a buffer.
///
/// # Safety
/// As [`word`], with a multiple of 4.
#[inline(always)]
pub(super) unsafe fn half<'a>(base: *mut u8, at: usize) -> &'a AtomicU32 {
    // SAFETY: the caller's promise.
    unsafe { AtomicU32::from_ptr(base.wrapping_add(at).cast()) }
}
