//! A connection to xenstored: requests and their replies, transactions, watches.
//!
//! One request is under way at a time; watch events that arrive before its reply are queued. A
//! reply must echo the request's number, type and transaction, otherwise the server is not to be
//! believed and the connection is given up: an error value now, [`StoreError::Broken`] from then
//! on. Node calls live in [`Nodes`]; bytes come from a [`Transport`].

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use super::frame::{self, Inbox};
use super::nodes::{acknowledged, strings};
use super::{Nodes, StoreError, Transport};
use crate::DomId;
use crate::io::xs_wire::{XBT_NULL, XsdError, XsdSockmsg, XsdType};

/// How long a server may take over a reply unless [`XsClient::set_reply_timeout`] says otherwise.
pub const REPLY_TIMEOUT: Duration = Duration::from_secs(5);
/// How often [`XsClient::transaction`] is redone before it gives up.
pub const MAX_ATTEMPTS: u32 = 100;
/// Most watch events kept for the caller. Equal ones are kept once, so this many different ones
/// means a flood (XSA-349).
const MAX_EVENTS: usize = 8192;
/// Bytes asked of the transport at a time: a header and the longest payload.
const CHUNK: usize = XsdSockmsg::SIZE + crate::io::xs_wire::XENSTORE_PAYLOAD_MAX;

/// A watch fired.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct WatchEvent {
    /// What changed: the watched path or one below it, relative if the watched path was.
    pub path: String,
    /// The token the watch was set with.
    pub token: String,
}

/// A client of xenstored.
#[derive(Debug)]
pub struct XsClient<T> {
    transport: T,
    inbox: Inbox,
    events: VecDeque<WatchEvent>,
    next_req_id: u32,
    next_token: u32,
    reply_timeout: Duration,
    broken: bool,
}

impl<T: Transport> XsClient<T> {
    /// A client over a fresh connection. Nothing is sent yet.
    pub fn new(transport: T) -> Self {
        Self {
            transport,
            inbox: Inbox::default(),
            events: VecDeque::new(),
            next_req_id: 1,
            next_token: 1,
            reply_timeout: REPLY_TIMEOUT,
            broken: false,
        }
    }

    /// Sets how long a reply may take before the connection is given up.
    pub fn set_reply_timeout(&mut self, timeout: Duration) {
        self.reply_timeout = timeout;
    }

    /// The transport, for instance to poll its file descriptor.
    pub fn transport(&self) -> &T {
        &self.transport
    }

    /// Asks to be told of changes at `path` and below it. Fires once at once. `token` comes back
    /// in every event.
    ///
    /// # Errors
    /// `EEXIST` if that path and token are watched already, `ENOSPC` over quota, or as [`Nodes`].
    pub fn watch(&mut self, path: &str, token: &str) -> Result<(), StoreError> {
        self.watch_request(XsdType::WATCH, path, token)
    }

    /// Takes a watch back. Events queued before remain queued.
    ///
    /// # Errors
    /// `ENOENT` if there is no such watch, or as [`Nodes`].
    pub fn unwatch(&mut self, path: &str, token: &str) -> Result<(), StoreError> {
        self.watch_request(XsdType::UNWATCH, path, token)
    }

    /// Forgets all watches and transactions of this connection.
    ///
    /// # Errors
    /// As [`Nodes`].
    pub fn reset_watches(&mut self) -> Result<(), StoreError> {
        acknowledged(self.request(XsdType::RESET_WATCHES, "", &[b"\0"]))
    }

    /// The home of a domain, `/local/domain/<domid>`, whether that domain exists or not.
    ///
    /// # Errors
    /// As [`Nodes`].
    pub fn get_domain_path(&mut self, domid: DomId) -> Result<String, StoreError> {
        let text = format!("{domid}\0");
        let reply = self.request(XsdType::GET_DOMAIN_PATH, &domid.to_string(), &[text.as_bytes()]);
        one_string(&reply?)
    }

    /// Opens a transaction and returns its id. [`XsClient::transaction`] is the easier way.
    ///
    /// # Errors
    /// `ENOSPC` over quota, or as [`Nodes`].
    pub fn transaction_start(&mut self) -> Result<u32, StoreError> {
        let reply = self.request(XsdType::TRANSACTION_START, "", &[b"\0"])?;
        match one_string(&reply)?.parse() {
            Ok(id) if id != XBT_NULL => Ok(id),
            _ => Err(StoreError::Protocol("a transaction id that is none")),
        }
    }

    /// The node calls inside an open transaction.
    pub fn within(&mut self, tx_id: u32) -> Transaction<'_, T> {
        Transaction { client: self, tx_id }
    }

    /// Closes a transaction: makes what it did visible (`commit`) or forgets it.
    ///
    /// # Errors
    /// `EAGAIN` if it was in conflict with a change made meanwhile and has to be redone as a
    /// whole, or as [`Nodes`]. The transaction is closed in any case.
    pub fn transaction_end(&mut self, tx_id: u32, commit: bool) -> Result<(), StoreError> {
        let flag: &[u8] = if commit { b"T\0" } else { b"F\0" };
        acknowledged(self.exchange(XsdType::TRANSACTION_END, tx_id, "", &[flag]))
    }

    /// Runs `work` in a transaction and commits it; redoes the whole on a conflict, so `work` must
    /// have no effect outside the store. If it fails, nothing of it remains.
    ///
    /// # Errors
    /// What `work` returned; [`StoreError::Conflict`] after [`MAX_ATTEMPTS`]; or as [`Nodes`].
    pub fn transaction<R, F>(&mut self, mut work: F) -> Result<R, StoreError>
    where
        F: FnMut(&mut Transaction<'_, T>) -> Result<R, StoreError>,
    {
        for _ in 0..MAX_ATTEMPTS {
            let tx_id = self.transaction_start()?;
            let done = work(&mut self.within(tx_id));
            let ended = self.transaction_end(tx_id, done.is_ok());
            match done.and_then(|value| ended.map(|()| value)) {
                Err(error) if error.xsd_error() == Some(XsdError::EAGAIN) => {}
                outcome => return outcome,
            }
        }
        Err(StoreError::Conflict(MAX_ATTEMPTS))
    }

    /// The next watch event; `None` if none comes within `timeout` (`None`: wait for ever).
    ///
    /// # Errors
    /// A [`StoreError`] other than [`StoreError::Refused`].
    pub fn next_event(
        &mut self,
        timeout: Option<Duration>,
    ) -> Result<Option<WatchEvent>, StoreError> {
        self.next_event_where(timeout, |_| true)
    }

    /// The next watch event for which `wanted` holds; others stay queued for later.
    ///
    /// # Errors
    /// As [`XsClient::next_event`].
    pub fn next_event_where(
        &mut self,
        timeout: Option<Duration>,
        wanted: impl Fn(&WatchEvent) -> bool,
    ) -> Result<Option<WatchEvent>, StoreError> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            if let Some(at) = self.events.iter().position(&wanted) {
                return Ok(self.events.remove(at));
            }
            match self.receive(deadline)? {
                Some((header, payload)) => self.queue_event(header, &payload)?,
                None => return Ok(None),
            }
        }
    }

    /// Forgets queued events for which `dropped` holds.
    pub fn drop_events(&mut self, dropped: impl Fn(&WatchEvent) -> bool) {
        self.events.retain(|event| !dropped(event));
    }

    /// A token no other watch of this client has, provided callers do not begin theirs with
    /// `prefix`.
    pub(super) fn fresh_token(&mut self, prefix: &str) -> String {
        let number = self.next_token;
        self.next_token = number.wrapping_add(1);
        format!("{prefix}{number}")
    }

    fn watch_request(&mut self, ty: XsdType, path: &str, token: &str) -> Result<(), StoreError> {
        if token.contains('\0') {
            return Err(StoreError::Unsendable {
                request: ty,
                path: path.escape_debug().to_string(),
            });
        }
        let parts = [path.as_bytes(), b"\0", token.as_bytes(), b"\0"];
        acknowledged(self.request(ty, path, &parts))
    }

    /// One request and its reply. After any failure to understand the server the connection is
    /// given up: a late or wrong reply must not be taken for that of the next request.
    fn exchange(
        &mut self,
        request: XsdType,
        tx_id: u32,
        path: &str,
        parts: &[&[u8]],
    ) -> Result<Vec<u8>, StoreError> {
        if self.broken {
            return Err(StoreError::Broken);
        }
        let req_id = self.next_req_id;
        // 0 belongs to watch events.
        self.next_req_id = req_id.checked_add(1).unwrap_or(1);
        let header = XsdSockmsg { r#type: request.number(), req_id, tx_id, len: 0 };
        let mut message = Vec::new();
        if path.contains('\0') || frame::append(&mut message, header, parts).is_none() {
            return Err(StoreError::Unsendable { request, path: path.escape_debug().to_string() });
        }
        let sent = self.transport.send(&message);
        let reply = sent.map_err(StoreError::Io).and_then(|()| self.reply_to(request, header));
        let (ty, payload) = reply.inspect_err(|_| self.broken = true)?;
        if ty == request { Ok(payload) } else { Err(self.refusal(request, path, &payload)) }
    }

    /// Waits for the reply to `asked`: its type is that of the request, or ERROR.
    fn reply_to(
        &mut self,
        request: XsdType,
        asked: XsdSockmsg,
    ) -> Result<(XsdType, Vec<u8>), StoreError> {
        let deadline = Instant::now().checked_add(self.reply_timeout);
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

    /// The error an ERROR reply stands for.
    fn refusal(&mut self, request: XsdType, path: &str, payload: &[u8]) -> StoreError {
        let error = payload.strip_suffix(b"\0").and_then(XsdError::from_name);
        match error {
            Some(error) => StoreError::Refused { request, path: path.to_owned(), error },
            None => {
                self.broken = true;
                StoreError::Protocol("an error without a known name")
            }
        }
    }

    /// The next message of any kind; `None` once `deadline` passes.
    fn receive(
        &mut self,
        deadline: Option<Instant>,
    ) -> Result<Option<(XsdSockmsg, Vec<u8>)>, StoreError> {
        if self.broken {
            return Err(StoreError::Broken);
        }
        self.receive_inner(deadline).inspect_err(|_| self.broken = true)
    }

    fn receive_inner(
        &mut self,
        deadline: Option<Instant>,
    ) -> Result<Option<(XsdSockmsg, Vec<u8>)>, StoreError> {
        let mut chunk = [0; CHUNK];
        loop {
            let message = self.inbox.take();
            if let Some(message) =
                message.map_err(|_| StoreError::Protocol("a payload over 4096 bytes"))?
            {
                return Ok(Some(message));
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
        let event = parse_event(header, payload).inspect_err(|_| self.broken = true)?;
        if self.events.contains(&event) {
            return Ok(());
        }
        if self.events.len() == MAX_EVENTS {
            self.broken = true;
            return Err(StoreError::Protocol("a flood of watch events"));
        }
        self.events.push_back(event);
        Ok(())
    }
}

impl<T: Transport> Nodes for XsClient<T> {
    fn request(
        &mut self,
        request: XsdType,
        path: &str,
        parts: &[&[u8]],
    ) -> Result<Vec<u8>, StoreError> {
        self.exchange(request, XBT_NULL, path, parts)
    }
}

/// The node calls inside one open transaction: reads see the store as it was when the transaction
/// began, and writes show to others only after the commit.
#[derive(Debug)]
pub struct Transaction<'a, T> {
    client: &'a mut XsClient<T>,
    tx_id: u32,
}

impl<T: Transport> Nodes for Transaction<'_, T> {
    fn request(
        &mut self,
        request: XsdType,
        path: &str,
        parts: &[&[u8]],
    ) -> Result<Vec<u8>, StoreError> {
        self.client.exchange(request, self.tx_id, path, parts)
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

fn one_string(payload: &[u8]) -> Result<String, StoreError> {
    match <[String; 1]>::try_from(strings(payload)?) {
        Ok([text]) => Ok(text),
        Err(_) => Err(StoreError::Protocol("a reply that is not one string")),
    }
}

fn overlong_recv() -> StoreError {
    io::Error::other("transport received more than it was given room for").into()
}
