//! The switch: one page that the host writes and every domain reads.
//!
//! ```text
//! octet  0  u32  0: off; else on, and a number that is another one each time it is switched on
//!        4  u32  what to do when a buffer is full: 1 stop, 2 overwrite
//!        8  u32  records in a buffer, as a power of two
//!       12  u32  freeze when a request takes longer, in microseconds; 0 for never
//!       16  u32  the clock: 0 the cycle counter, 1 CLOCK_MONOTONIC
//! ```
//!
//! The page is a static of this program, over which the host's memfd is mapped, for reading only. So
//! asking whether to record is one load from a fixed address and a branch, and the host switches a
//! running domain without its help.

use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileExt;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::mman::{MapFlags, ProtFlags, mmap};

use super::ENABLED;
use super::stamp::Source;
use crate::format::Full;

/// Bytes in the switch's page.
pub(crate) const PAGE: usize = 4096;
/// The words of the page.
pub(crate) const ON: usize = 0;
pub(crate) const FULL: usize = 1;
pub(crate) const CAPACITY: usize = 2;
pub(crate) const SLOW_US: usize = 3;
pub(crate) const CLOCK: usize = 4;

/// Buffers are not larger than 2^30 records, 16 GiB.
pub(crate) const MOST_CAPACITY: u32 = 30;

#[repr(C, align(4096))]
pub(crate) struct Page([AtomicU32; PAGE / 4]);

pub(crate) static SWITCH: Page = Page([const { AtomicU32::new(0) }; PAGE / 4]);

/// Whether to record. Relaxed: whoever is a moment late records a little more, or less.
#[inline(always)]
#[must_use]
pub fn on() -> bool {
    ENABLED && word() != 0
}

/// The number of this time of being on; 0 while off.
#[inline(always)]
pub(super) fn word() -> u32 {
    SWITCH.0[ON].load(Ordering::Relaxed)
}

/// The clock that stamps records. In the line that says whether there are any.
#[inline(always)]
pub(crate) fn source() -> Source {
    Source::from_number(SWITCH.0[CLOCK].load(Ordering::Relaxed))
}

/// The same, of a page that is not in its place yet.
pub(super) fn source_in(page: BorrowedFd<'_>) -> io::Result<Source> {
    let mut word = [0; 4];
    File::from(page.try_clone_to_owned()?).read_exact_at(&mut word, 4 * CLOCK as u64)?;
    Ok(Source::from_number(u32::from_le_bytes(word)))
}

/// What the host wants, for buffers made from now on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    pub(super) full: Full,
    /// Records, a power of two.
    pub(super) capacity: u64,
    pub(super) slow_us: u32,
}

pub(super) fn settings() -> Settings {
    let word = |n: usize| SWITCH.0[n].load(Ordering::Relaxed);
    Settings {
        full: Full::from_number(word(FULL)).unwrap_or_default(),
        capacity: 1 << word(CAPACITY).clamp(8, MOST_CAPACITY),
        slow_us: word(SLOW_US),
    }
}

/// Puts the host's page in the place of ours.
pub(super) fn map_over(page: BorrowedFd<'_>) -> io::Result<()> {
    let here = NonNull::from(&SWITCH).addr();
    // SAFETY: the address and the length are those of a static of ours that is nothing but this page,
    // is aligned to pages, and is only ever reached through atomic loads. It is mapped for reading:
    // no store through it exists. The mapping is never taken away.
    unsafe {
        let flags = MapFlags::MAP_SHARED | MapFlags::MAP_FIXED;
        let length = const { std::num::NonZero::new(PAGE).unwrap() };
        mmap(Some(here), length, ProtFlags::PROT_READ, flags, page, 0)?;
    }
    Ok(())
}
