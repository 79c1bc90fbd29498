//! The lower half of a client: messages from the transport, told apart into replies and events.
//!
//! After any failure to understand the server the connection is given up, for good: a late or
//! wrong reply must never be taken for that of the next request. What is asked is `client`'s
//! business.

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use super::frame::Inbox;
use super::nodes::strings;
use super::{StoreError, Transport, WatchEvent};
use crate::io::xs_wire::{XENSTORE_PAYLOAD_MAX, XsdSockmsg, XsdType};

/// Watch events kept for the caller. Equal ones are kept once, and beyond this many only one more of
/// each token: an event is a hint to look, and who looks at the one that is kept sees what the
/// others were about. Whoever may write below a watched node can make events without end (XSA-349).
pub(super) const MAX_EVENTS: usize = 1024;
/// Bytes asked of the transport at a time: a header and the longest payload.
const CHUNK: usize = XsdSockmsg::SIZE + XENSTORE_PAYLOAD_MAX;

type Message = (XsdSockmsg, Vec<u8>);

#[derive(Debug)]
pub(super) struct Link<T> {
    pub(super) transport: T,
    pub(super) events: VecDeque<WatchEvent>,
    inbox: Inbox,
    broken: bool,
}

impl<T: Transport> Link<T> {
    pub(super) fn new(transport: T) -> Self {
        Self { transport, events: VecDeque::new(), inbox: Inbox::default(), broken: false }
    }

    /// Sends `message`, whose header is `asked`, and waits for its reply: the type, which is
    /// `request` or ERROR, and the payload. Events that arrive before it are queued.
    pub(super) fn exchange(
        &mut self,
        request: XsdType,
        asked: XsdSockmsg,
        message: &[u8],
        timeout: Duration,
    ) -> Result<(XsdType, Vec<u8>), StoreError> {
        self.unless_broken(|link| {
            link.transport.send(message)?;
            link.reply_to(request, asked, Instant::now().checked_add(timeout))
        })
    }

    /// The first event, queued or yet to come, for which `wanted` holds; `None` after `timeout`.
    pub(super) fn event(
        &mut self,
        timeout: Option<Duration>,
        wanted: impl Fn(&WatchEvent) -> bool,
    ) -> Result<Option<WatchEvent>, StoreError> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            if let Some(at) = self.events.iter().position(&wanted) {
                return Ok(self.events.remove(at));
            }
            let came = self.unless_broken(|link| match link.receive(deadline)? {
                Some((header, payload)) => link.queue_event(header, &payload).map(|()| true),
                None => Ok(false),
            });
            if !came? {
                return Ok(None);
            }
        }
    }

    /// The server said what cannot be: nothing it says is listened to any more.
    pub(super) fn give_up(&mut self, why: &'static str) -> StoreError {
        self.broken = true;
        StoreError::Protocol(why)
    }

    fn unless_broken<R>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<R, StoreError>,
    ) -> Result<R, StoreError> {
        if self.broken {
            return Err(StoreError::Broken);
        }
        work(self).inspect_err(|_| self.broken = true)
    }

    fn reply_to(
        &mut self,
        request: XsdType,
        asked: XsdSockmsg,
        deadline: Option<Instant>,
    ) -> Result<(XsdType, Vec<u8>), StoreError> {
        loop {
            let Some((header, payload)) = self.receive(deadline)? else {
                return Err(StoreError::TimedOut(request));
            };
            let ty = XsdType::try_from(header.r#type)
                .map_err(|_| StoreError::Protocol("a message of unknown type"))?;
            if ty == XsdType::WATCH_EVENT {
                self.queue_event(header, &payload)?;
                continue;
            }
            if header.req_id != asked.req_id || header.tx_id != asked.tx_id {
                return Err(StoreError::Protocol("a reply to another request"));
            }
            if ty != request && ty != XsdType::ERROR {
                return Err(StoreError::Protocol("a reply of another type"));
            }
            return Ok((ty, payload));
        }
    }

    /// The next message of any kind; `None` once `deadline` passes.
    fn receive(&mut self, deadline: Option<Instant>) -> Result<Option<Message>, StoreError> {
        let mut chunk = [0; CHUNK];
        loop {
            let message = self.inbox.take();
            let message = message.map_err(|_| StoreError::Protocol("a payload over 4096 bytes"))?;
            if message.is_some() {
                return Ok(message);
            }
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            match self.transport.recv(&mut chunk, left) {
                Ok(0) => return Err(StoreError::Closed),
                Ok(n) => self.inbox.push(chunk.get(..n).ok_or_else(overlong_recv)?),
                Err(error) if error.kind() == io::ErrorKind::TimedOut => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Queues a watch event; anything else that comes unasked is the server's mistake.
    fn queue_event(&mut self, header: XsdSockmsg, payload: &[u8]) -> Result<(), StoreError> {
        let event = parse_event(header, payload)?;
        let flooded = self.events.len() >= MAX_EVENTS;
        let told = |queued: &WatchEvent| match flooded {
            true => queued.token == event.token,
            false => *queued == event,
        };
        if !self.events.iter().any(told) {
            self.events.push_back(event);
        }
        Ok(())
    }
}

fn parse_event(header: XsdSockmsg, payload: &[u8]) -> Result<WatchEvent, StoreError> {
    if header.r#type != XsdType::WATCH_EVENT.number() {
        return Err(StoreError::Protocol("a message nobody asked for"));
    }
    match <[String; 2]>::try_from(strings(payload)?) {
        Ok([path, token]) => Ok(WatchEvent { path, token }),
        Err(_) => Err(StoreError::Protocol("a watch event without path and token")),
    }
}

fn overlong_recv() -> StoreError {
    io::Error::other("transport received more than it was given room for").into()
}
