//! Pages granted to the backend once and used again: what is read and written lies in them, and the
//! segments of indirect requests.

use rings::mem::{Frames, Region};
use rings::{DomId, Domain, DomainError, Gref, Memory, PAGE_SIZE};

/// Granted pages.
#[derive(Debug)]
pub struct Buffers {
    frames: Frames,
    grefs: Vec<Gref>,
}

impl Buffers {
    /// Takes so many pages from the domain's memory and grants them to the backend.
    ///
    /// # Errors
    /// `ENOSPC` if there are not so many pages or grants left.
    pub fn new<D: Domain>(
        domain: &D,
        backend: DomId,
        pages: usize,
        readonly: bool,
    ) -> Result<Self, DomainError> {
        let memory = domain.memory();
        let none =
            |what: &str| DomainError::Refused { what: format!("{pages} {what}"), errno: "ENOSPC" };
        let frames = memory.alloc(pages).ok_or_else(|| none("pages for buffers"))?;
        let grefs: Option<Vec<Gref>> =
            (0..pages).map(|page| memory.grant_access(backend, &frames, page, readonly)).collect();
        let grefs = grefs.ok_or_else(|| none("grants for buffers"))?;
        Ok(Self { frames, grefs })
    }

    /// How many pages there are.
    #[must_use]
    pub fn pages(&self) -> usize {
        self.grefs.len()
    }

    /// The grant of a page.
    #[inline(always)]
    pub(super) fn gref(&self, page: usize) -> Gref {
        self.grefs[page]
    }

    /// Lends `len` bytes from the start of a page, to be filled. For pages that no request in flight
    /// names.
    #[inline]
    pub fn fill<R>(&mut self, page: usize, len: usize, fill: impl FnOnce(&mut [u8]) -> R) -> R {
        self.frames.lend(page * PAGE_SIZE, len, fill)
    }

    /// Copies `into.len()` bytes out, from the start of a page.
    #[inline]
    pub fn copy_out(&self, page: usize, into: &mut [u8]) {
        self.frames.region().copy_out(page * PAGE_SIZE, into);
    }

    /// Copies bytes in, from the start of a page.
    #[inline]
    pub fn copy_in(&self, page: usize, from: &[u8]) {
        self.frames.region().copy_in(page * PAGE_SIZE, from);
    }

    /// The pages as shared memory.
    pub(super) fn region(&self) -> &Region {
        self.frames.region()
    }

    /// Takes all grants back and returns the pages. Those the backend still uses are kept out of the
    /// pool for good (XSA-396); says how many grants that are.
    pub(super) fn close(self, memory: &Memory) -> usize {
        let kept = self.grefs.iter().filter(|&&gref| memory.end_access(gref).is_err()).count();
        if kept == 0 {
            memory.free(self.frames);
        }
        kept
    }
}
