//! Event channels: who may bind what, and what each end gets.
//!
//! Semantics of event_channel.h: bind succeeds only on an unbound port reserved for the caller, and
//! leaves the caller's end pending; closing makes the other end unbound again, for the same domain.
//! Port numbers only grow while their domain lives (XSA-338), so that none of its numbers is ever another
//! port's. A successor of the same number begins anew.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::rc::Rc;

use eventfd::{EfdFlags, EventFD};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags};
use rings::evtchn::{End, EventPage};
use rings::{DomId, PAGE_SIZE, Port};
use tracer::traced;

use crate::mapping::{map, sealed_memfd};
use crate::sys;
use crate::waiter::edge;

/// What an asker is told of something that could not be made for it.
pub(super) fn errno_of(why: &io::Error) -> Errno {
    match why.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EMFILE | Errno::ENFILE) => Errno::EMFILE,
        _ => Errno::ENOMEM,
    }
}

/// Ports a domain may have at a time (`max_event_channels` of xl).
const MAX_PORTS: usize = 1023;

/// Where an end sleeps, and what wakes it there: one bell is the other end's to ring, and one the host's.
///
/// An end is given the epoll and not the bells in it. Whoever holds an eventfd can make it block, and fill it
/// up: then the other end would stand still when it rings, or the host.
struct Ear {
    epoll: Epoll,
    bell: EventFD,
    host: EventFD,
}

impl Ear {
    fn new() -> io::Result<Self> {
        let bell = || EventFD::new(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK);
        let ear = Self {
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            bell: bell()?,
            host: bell()?,
        };
        for bell in [&ear.bell, &ear.host] {
            ear.epoll.add(sys::of_bell(bell), edge())?;
        }
        Ok(ear)
    }
}

/// What two ends share.
struct Shared {
    page: OwnedFd,
    words: EventPage,
    ears: [Ear; 2],
}

impl Shared {
    fn new() -> io::Result<Self> {
        let page = sealed_memfd("pvlab-evtchn", PAGE_SIZE)?;
        let words = EventPage::new(map(&page, PAGE_SIZE)?);
        Ok(Self { page, words, ears: [Ear::new()?, Ear::new()?] })
    }

    fn ear(&self, end: End) -> &Ear {
        match end {
            End::A => &self.ears[0],
            End::B => &self.ears[1],
        }
    }

    /// Wakes an end.
    fn ring(&self, end: End) {
        // A counter that is full has woken it as often.
        let _ = self.ear(end).host.write(1);
    }

    /// What an end is given: event page, where it sleeps, the other end's bell.
    fn fds(&self, end: End) -> [RawFd; 3] {
        let (own, other) = (&self.ear(end).epoll.0, &self.ear(end.other()).bell);
        [self.page.as_raw_fd(), own.as_raw_fd(), other.as_raw_fd()]
    }
}

/// One domain's end.
struct PortState {
    end: End,
    remote: DomId,
    /// The other end's port, while there is one.
    bound: Option<Port>,
    shared: Rc<Shared>,
}

/// All ports of all domains.
#[derive(Default)]
pub(super) struct Ports {
    ports: BTreeMap<(DomId, Port), PortState>,
    next: BTreeMap<DomId, u32>,
}

/// A port and the descriptors its owner is given.
pub(super) type Opened = (Port, [RawFd; 3]);

impl Ports {
    /// `EVTCHNOP_alloc_unbound`: a port of `owner` that `remote` may bind.
    #[traced]
    pub(super) fn alloc_unbound(&mut self, owner: DomId, remote: DomId) -> Result<Opened, Errno> {
        let port = self.number(owner)?;
        let shared = Rc::new(Shared::new().map_err(|why| errno_of(&why))?);
        let fds = shared.fds(End::A);
        self.ports.insert((owner, port), PortState { end: End::A, remote, bound: None, shared });
        Ok((port, fds))
    }

    /// `EVTCHNOP_bind_interdomain`: a port of `owner`, joined to `remote_port` of `remote`.
    #[traced]
    pub(super) fn bind_interdomain(
        &mut self,
        owner: DomId,
        remote: DomId,
        remote_port: Port,
    ) -> Result<Opened, Errno> {
        let port = self.number(owner)?;
        let other = self.ports.get_mut(&(remote, remote_port)).ok_or(Errno::EINVAL)?;
        if other.bound.is_some() || other.remote != owner {
            return Err(Errno::EINVAL);
        }
        other.bound = Some(port);
        let end = other.end.other();
        let shared = Rc::clone(&other.shared);
        shared.words.set_closed(other.end, false);
        shared.words.bind(end);
        shared.ring(end);
        let fds = shared.fds(end);
        self.ports
            .insert((owner, port), PortState { end, remote, bound: Some(remote_port), shared });
        Ok((port, fds))
    }

    /// The end of a port that `owner` has already, and whom it is for.
    pub(super) fn open(&self, owner: DomId, port: Port) -> Result<(DomId, [RawFd; 3]), Errno> {
        let state = self.ports.get(&(owner, port)).ok_or(Errno::EINVAL)?;
        // What a domain has bound it was given then.
        if state.end != End::A {
            Err(Errno::EINVAL)
        } else {
            Ok((state.remote, state.shared.fds(End::A)))
        }
    }

    /// `EVTCHNOP_close`.
    pub(super) fn close(&mut self, owner: DomId, port: Port) -> Result<(), Errno> {
        let closed = self.ports.remove(&(owner, port)).ok_or(Errno::EINVAL)?;
        if let Some(other_port) = closed.bound
            && let Some(other) = self.ports.get_mut(&(closed.remote, other_port))
        {
            other.bound = None;
            closed.shared.words.set_closed(other.end, true);
            closed.shared.words.raise(other.end);
            closed.shared.ring(other.end);
        }
        Ok(())
    }

    /// Closes all ports of a domain that is gone. Those that others had bound to them, or kept for it, are
    /// theirs to close.
    pub(super) fn close_all(&mut self, owner: DomId) {
        let mine: Vec<Port> = self.of(owner).collect();
        for port in mine {
            let _ = self.close(owner, port);
        }
        self.next.remove(&owner);
    }

    /// All of them, as [`Held::Ports`](crate::proto::Held) says.
    pub(super) fn describe(&self, out: &mut String) {
        for ((owner, port), PortState { end, remote, bound, shared }) in &self.ports {
            let bound = bound.map_or_else(|| "-".to_owned(), |port| port.to_string());
            let words = &shared.words;
            let set = [
                ("pending", words.is_pending(*end)),
                ("masked", words.is_masked(*end)),
                ("closed", words.is_closed(*end)),
            ];
            let set: Vec<_> = set.iter().filter(|(_, set)| *set).map(|(name, _)| *name).collect();
            let set = if set.is_empty() { "-".to_owned() } else { set.join(",") };
            // Writing to a String cannot fail.
            let _ = writeln!(out, "{owner}\t{port}\t{remote}\t{bound}\t{set}");
        }
    }

    /// Ports of a domain.
    fn of(&self, owner: DomId) -> impl Iterator<Item = Port> + '_ {
        self.ports.range((owner, Port(0))..=(owner, Port(u32::MAX))).map(|((_, port), _)| *port)
    }

    fn number(&mut self, owner: DomId) -> Result<Port, Errno> {
        if self.of(owner).count() >= MAX_PORTS {
            return Err(Errno::ENOSPC);
        }
        let next = self.next.entry(owner).or_insert(1);
        let port = Port(*next);
        *next = next.checked_add(1).ok_or(Errno::ENOSPC)?;
        Ok(port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRONT: DomId = DomId(1);
    const BACK: DomId = DomId(0);

    #[test]
    fn only_the_named_domain_may_bind_and_only_once() {
        let mut ports = Ports::default();
        let (port, _) = ports.alloc_unbound(FRONT, BACK).unwrap();
        assert_eq!(ports.bind_interdomain(DomId(2), FRONT, port).err(), Some(Errno::EINVAL));
        assert_eq!(ports.bind_interdomain(BACK, FRONT, Port(99)).err(), Some(Errno::EINVAL));
        ports.bind_interdomain(BACK, FRONT, port).unwrap();
        assert_eq!(ports.bind_interdomain(BACK, FRONT, port).err(), Some(Errno::EINVAL));
    }

    #[test]
    fn binding_leaves_the_binder_pending_and_closing_frees_the_other_end() {
        let mut ports = Ports::default();
        let (port, _) = ports.alloc_unbound(FRONT, BACK).unwrap();
        let (bound, _) = ports.bind_interdomain(BACK, FRONT, port).unwrap();
        let words = ports.ports[&(FRONT, port)].shared.words.clone();
        assert!(words.is_pending(End::B) && !words.is_pending(End::A));
        ports.close(BACK, bound).unwrap();
        assert!(words.is_closed(End::A), "the front is told");
        let (again, _) = ports.bind_interdomain(BACK, FRONT, port).unwrap();
        assert_ne!(again, bound, "a number is never used twice");
        assert!(!words.is_closed(End::A));
    }

    #[test]
    fn a_port_of_the_toolstack_is_opened_by_its_owner_alone() {
        let mut ports = Ports::default();
        let (port, [page, own, other]) = ports.alloc_unbound(FRONT, BACK).unwrap();
        assert_eq!(ports.open(FRONT, port), Ok((BACK, [page, own, other])));
        assert_eq!(ports.open(BACK, port), Err(Errno::EINVAL));
        let (bound, _) = ports.bind_interdomain(BACK, FRONT, port).unwrap();
        assert_eq!(ports.open(BACK, bound), Err(Errno::EINVAL), "it was given that when it bound");
    }

    #[test]
    fn there_is_an_end_to_ports() {
        let mut ports = Ports::default();
        let mut shared = Vec::new();
        for _ in 0..3 {
            shared.push(ports.alloc_unbound(FRONT, BACK).unwrap());
        }
        ports.close_all(FRONT);
        assert_eq!(ports.of(FRONT).count(), 0);
    }

    #[test]
    fn what_others_had_bound_to_the_dead_is_theirs_and_a_successor_begins_anew() {
        let mut ports = Ports::default();
        let (first, _) = ports.alloc_unbound(FRONT, BACK).unwrap();
        let (bound, _) = ports.bind_interdomain(BACK, FRONT, first).unwrap();
        let words = ports.ports[&(BACK, bound)].shared.words.clone();
        ports.close_all(FRONT);
        assert!(words.is_closed(End::B), "the back is told");
        assert_eq!(ports.of(BACK).collect::<Vec<_>>(), [bound]);
        let (again, _) = ports.alloc_unbound(FRONT, BACK).unwrap();
        assert_eq!(again, first);
        ports.close(BACK, bound).unwrap();
        assert!(ports.bind_interdomain(BACK, FRONT, again).is_ok(), "nothing of the dead one's");
    }
}
