//! A ring and its port: what one connection of a queue consists of. A queue outlives it when the
//! backend dies.

use rings::evtchn::Channel;
use rings::io::blkif::{Request, Response, SLOT};
use rings::mem::Frames;
use rings::ring::{FrontRing, Sring};
use rings::{DomId, Domain, DomainError, Gref};

/// The ring of a vbd.
pub(super) type Ring = FrontRing<Sring<SLOT>, Request, Response>;

/// A ring and its port.
#[derive(Debug)]
pub struct Link<D: Domain> {
    pub(super) ring: Ring,
    pages: Frames,
    pub(super) grefs: Vec<Gref>,
    pub(super) port: Channel<D::Doorbell>,
}

impl<D: Domain> Link<D> {
    /// Makes a ring of 2 to the power of `order` pages that starts at index `base`, grants it and makes
    /// its port.
    pub(super) fn new(
        domain: &D,
        backend: DomId,
        order: u32,
        base: u32,
    ) -> Result<Self, DomainError> {
        let none = |what: &str| DomainError::Refused { what: what.into(), errno: "ENOSPC" };
        let memory = domain.memory();
        let count = 1_usize << order;
        let pages = memory.alloc(count).ok_or_else(|| none("pages of a ring"))?;
        let sring = Sring::new(pages.region().clone());
        sring.init(base);
        let grefs: Option<Vec<Gref>> =
            (0..count).map(|page| memory.grant_access(backend, &pages, page, false)).collect();
        let grefs = grefs.ok_or_else(|| none("grants for a ring"))?;
        let port = domain.alloc_unbound(backend)?;
        Ok(Self { ring: FrontRing::attach(sring, base), pages, grefs, port })
    }

    /// Closes the port, takes the grants back and returns the pages. Says how many grants the backend
    /// still uses: their pages are never used again.
    pub fn close(self, domain: &D) -> usize {
        domain.close(self.port.port());
        let memory = domain.memory();
        let kept = self.grefs.iter().filter(|&&gref| memory.end_access(gref).is_err()).count();
        if kept == 0 {
            memory.free(self.pages);
        }
        kept
    }
}
