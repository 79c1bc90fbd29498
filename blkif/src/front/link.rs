//! A ring and its port: what one connection of a queue consists of. A queue outlives it when the
//! backend dies.

use rings::evtchn::Channel;
use rings::io::blkif::{Request, Response, SLOT};
use rings::ring::{Answered, FrontRing, Sring};
use rings::{DomId, Domain, DomainError, Granted};

/// The ring of a vbd.
pub(super) type Ring = FrontRing<Sring<SLOT>, Request, Response>;

/// A ring and its port.
#[derive(Debug)]
pub struct Link<D: Domain> {
    pub(super) ring: Ring,
    pub(super) pages: Granted,
    pub(super) port: Channel<D::Doorbell>,
}

impl<D: Domain> Link<D> {
    /// Makes a ring of 2 to the power of `order` pages that starts at index `base`, grants it and makes
    /// its port. Traces know both as `name`.
    pub(super) fn new(
        domain: &D,
        backend: DomId,
        order: u32,
        base: u32,
        name: &str,
    ) -> Result<Self, DomainError> {
        let memory = domain.memory();
        let Some(pages) = memory.grant_all(backend, 1 << order, false) else {
            let what = "pages of a ring, or their grants".into();
            return Err(DomainError::Refused { what, errno: "ENOSPC" });
        };
        let mut port = match domain.alloc_unbound(backend) {
            Ok(port) => port,
            Err(why) => {
                pages.close(memory);
                return Err(why);
            }
        };
        let sring = Sring::new(pages.region().clone());
        sring.init(base);
        let mut ring = Ring::attach(sring, base);
        port.set_name(name);
        ring.set_name(name, Answered::ById);
        Ok(Self { ring, pages, port })
    }

    /// Closes the port, takes the grants back and returns the pages. Says how many grants the backend
    /// still uses: their pages come back when it does not.
    pub fn close(self, domain: &D) -> usize {
        drop(self.port);
        self.pages.close(domain.memory())
    }
}
