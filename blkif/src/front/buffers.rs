//! Pages granted to the backend once and used again: what is read and written lies in them, and the
//! segments of indirect requests.

use rings::mem::Region;
use rings::{DomId, Domain, DomainError, Granted, Gref, Memory, PAGE_SIZE};

/// Granted pages.
#[derive(Debug)]
pub struct Buffers(Granted);

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
        let granted = domain.memory().grant_all(backend, pages, readonly);
        let what = format!("{pages} pages for buffers, or their grants");
        granted.map(Self).ok_or(DomainError::Refused { what, errno: "ENOSPC" })
    }

    /// How many pages there are.
    #[must_use]
    pub fn pages(&self) -> usize {
        self.0.grefs().len()
    }

    /// The grant of a page.
    #[inline(always)]
    pub(super) fn gref(&self, page: usize) -> Gref {
        self.0.grefs()[page]
    }

    /// Lends `len` bytes from the start of a page, to be filled. For pages that no request in flight
    /// names.
    #[inline]
    pub fn fill<R>(&mut self, page: usize, len: usize, fill: impl FnOnce(&mut [u8]) -> R) -> R {
        self.0.lend(page * PAGE_SIZE, len, fill)
    }

    /// Copies `into.len()` bytes out, from the start of a page.
    #[inline]
    pub fn copy_out(&self, page: usize, into: &mut [u8]) {
        self.0.region().copy_out(page * PAGE_SIZE, into);
    }

    /// Copies bytes in, from the start of a page.
    #[inline]
    pub fn copy_in(&self, page: usize, from: &[u8]) {
        self.0.region().copy_in(page * PAGE_SIZE, from);
    }

    /// The pages as shared memory.
    pub(super) fn region(&self) -> &Region {
        self.0.region()
    }

    /// Takes all grants back and returns the pages. Says how many grants the backend still uses; see
    /// [`Granted::close`].
    pub(super) fn close(self, memory: &Memory) -> usize {
        self.0.close(memory)
    }
}
