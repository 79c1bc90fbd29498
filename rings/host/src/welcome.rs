//! What a process is told when it becomes a domain. How it asks is in `domain`.

use std::os::fd::OwnedFd;

use rings::grant::Layout;
use rings::{DomId, DomainError};

use crate::proto::Message;

/// The answer to HELLO, checked.
pub(crate) struct Welcome {
    pub(crate) domid: DomId,
    pub(crate) layout: Layout,
    pub(crate) memory: OwnedFd,
    pub(crate) store: OwnedFd,
}

impl Welcome {
    pub(crate) fn parse(answer: &Message, fds: Vec<OwnedFd>) -> Result<Self, DomainError> {
        let bad = || DomainError::HostGone("a welcome that is not one".into());
        let [memory, store] = <[OwnedFd; 2]>::try_from(fds).map_err(|_| bad())?;
        let a = &answer.arg;
        let domid = DomId(u16::try_from(a[0]).map_err(|_| bad())?);
        let layout = Layout {
            frames: a[1],
            grant_first: a[2],
            grant_frames: a[3],
            hold: a[4],
            console: a[5],
            store: a[6],
            pool_first: a[7],
        };
        Ok(Self { domid, layout, memory, store })
    }
}
