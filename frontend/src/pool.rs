//! Pages to send from: granted once, used again, the most recently used first; and the private
//! truth about which of them are in flight (the *shadow*).
//!
//! There are single pages for ordinary frames and runs of contiguous pages for large ones, so that
//! TCP fills a large frame as one slice. A page's number is its request id.

use rings::weaken::{Check, skipped};
use rings::{DomId, Domain, DomainError, Granted, Gref, Memory, PAGE_SIZE};
use tracer::traced;

use crate::error::Misbehaviour;

/// Single pages: as many as the ring has slots.
const SINGLES: usize = 256;
/// Runs of pages: as many of the largest frames as the ring has room for, and one to build the next.
const RUNS: usize = 16;
/// Pages of a run: the largest frame, wherever it starts in its first page.
const RUN_PAGES: usize = 17;

/// Pages to send from.
#[derive(Debug)]
pub(crate) struct Pool {
    pages: Granted,
    /// The shadow: pages that a published request names. Never read back from the ring.
    in_flight: Vec<bool>,
    free_singles: Vec<u16>,
    free_runs: Vec<u16>,
    /// For each run, how many of its pages are in flight.
    run_pages: [u16; RUNS],
}

/// A buffer taken from the pool: a single page or a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Buffer {
    /// Its first page.
    pub(crate) page: u16,
}

impl Pool {
    /// Pages of this pool.
    pub(crate) const PAGES: usize = SINGLES + RUNS * RUN_PAGES;

    /// Takes the pages from the domain's memory and grants them to the backend, for reading only.
    #[traced]
    pub(crate) fn new<D: Domain>(domain: &D, backend: DomId) -> Result<Self, DomainError> {
        let what = "pages to send from, or their grants".into();
        let pages = domain.memory().grant_all(backend, Self::PAGES, true);
        Ok(Self {
            pages: pages.ok_or(DomainError::Refused { what, errno: "ENOSPC" })?,
            in_flight: vec![false; Self::PAGES],
            free_singles: (0..SINGLES).rev().map(id).collect(),
            free_runs: (0..RUNS).rev().map(|run| id(SINGLES + run * RUN_PAGES)).collect(),
            run_pages: [0; RUNS],
        })
    }

    /// Whether the next frame, of whatever length, has a buffer.
    #[inline(always)]
    pub(crate) fn has_room(&self) -> bool {
        !self.free_singles.is_empty() && !self.free_runs.is_empty()
    }

    /// Whether the next frame of at most a page has a buffer.
    #[inline(always)]
    pub(crate) fn has_single(&self) -> bool {
        !self.free_singles.is_empty()
    }

    /// Buffers that could be taken now, singles and runs.
    pub(crate) fn free(&self) -> usize {
        self.free_singles.len() + self.free_runs.len()
    }

    /// Takes a buffer for `len` bytes.
    #[inline(always)]
    pub(crate) fn take(&mut self, len: usize) -> Option<Buffer> {
        let free = if len <= PAGE_SIZE { &mut self.free_singles } else { &mut self.free_runs };
        free.pop().map(|page| Buffer { page })
    }

    /// Journey 2. Lends the bytes of a buffer, to be filled: the application writes into a page that
    /// the backend may read already.
    #[traced(fine, bytes = len)]
    #[inline(always)]
    pub(crate) fn fill<R>(
        &mut self,
        buffer: Buffer,
        offset: usize,
        len: usize,
        fill: impl FnOnce(&mut [u8]) -> R,
    ) -> R {
        self.pages.lend(usize::from(buffer.page) * PAGE_SIZE + offset, len, fill)
    }

    /// Journey 4. Notes that `page` is in flight, which nobody is asked again. Returns its gref.
    #[traced(fine, page = page)]
    #[inline(always)]
    pub(crate) fn start(&mut self, page: u16) -> Gref {
        let at = usize::from(page);
        debug_assert!(!self.in_flight[at]);
        self.in_flight[at] = true;
        if at >= SINGLES {
            self.run_pages[(at - SINGLES) / RUN_PAGES] += 1;
        }
        self.pages.grefs()[at]
    }

    /// The backend says it is done with `page`: believed only of one in flight.
    #[inline(always)]
    pub(crate) fn finish(&mut self, page: u16) -> Result<(), Misbehaviour> {
        let at = usize::from(page);
        let state = self.in_flight.get_mut(at).ok_or(Misbehaviour::TxIdRange(page))?;
        if !std::mem::take(state) && !skipped(Check::TxId) {
            return Err(Misbehaviour::TxIdIdle(page));
        }
        if at < SINGLES {
            self.free_singles.push(page);
            // It is the next to be used, and the backend's CPU has its line.
            self.pages.region().prefetch_write(at * PAGE_SIZE + small_offset(page));
            return Ok(());
        }
        let run = (at - SINGLES) / RUN_PAGES;
        self.run_pages[run] -= 1;
        // The first of a run's pages may be answered last: the run is free when all are.
        if self.run_pages[run] == 0 {
            self.free_runs.push(id(SINGLES + run * RUN_PAGES));
        }
        Ok(())
    }

    /// Takes all grants back and returns the pages. Says how many grants the backend still uses;
    /// see [`Granted::close`](rings::Granted::close).
    pub(crate) fn close(self, memory: &Memory) -> usize {
        self.pages.close(memory)
    }
}

/// Where in its page a small frame starts. Bytes. Pages begin at multiples of 4096, and so would
/// all frames begin in the same few cache sets.
#[inline(always)]
pub(crate) fn small_offset(page: u16) -> usize {
    usize::from(page % 32) * 64
}

#[expect(clippy::cast_possible_truncation, reason = "a pool has 528 pages")]
fn id(page: usize) -> u16 {
    page as u16
}
