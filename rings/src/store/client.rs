//! A connection to xenstored: requests and their replies, transactions, watches.
//!
//! One request is under way at a time; watch events that arrive before its reply are queued. A
//! server that breaks the protocol is an error value now and [`StoreError::Broken`] from then on:
//! how that is told is in `link`. Node calls live in [`Nodes`]; bytes come from a [`Transport`].

use std::time::Duration;

use super::link::Link;
use super::nodes::{acknowledged, strings};
use super::{Nodes, StoreError, Transport, frame};
use tracer::traced;

use crate::DomId;
use crate::io::xs_wire::{XBT_NULL, XsdError, XsdSockmsg, XsdType};

/// How long a server may take over a reply unless [`XsClient::set_reply_timeout`] says otherwise.
pub const REPLY_TIMEOUT: Duration = Duration::from_secs(5);
/// How often [`XsClient::transaction`] is redone before it gives up.
pub const MAX_ATTEMPTS: u32 = 100;

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
    link: Link<T>,
    next_req_id: u32,
    next_token: u32,
    reply_timeout: Duration,
}

impl<T: Transport> XsClient<T> {
    /// A client over a fresh connection. Nothing is sent yet.
    pub fn new(transport: T) -> Self {
        Self {
            link: Link::new(transport),
            next_req_id: 1,
            next_token: 1,
            reply_timeout: REPLY_TIMEOUT,
        }
    }

    /// Sets how long a reply may take before the connection is given up.
    pub fn set_reply_timeout(&mut self, timeout: Duration) {
        self.reply_timeout = timeout;
    }

    /// The transport, for instance to poll its file descriptor.
    pub fn transport(&self) -> &T {
        &self.link.transport
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
    #[traced]
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
        self.link.event(timeout, wanted)
    }

    /// Forgets queued events for which `dropped` holds.
    pub fn drop_events(&mut self, dropped: impl Fn(&WatchEvent) -> bool) {
        self.link.events.retain(|event| !dropped(event));
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
            return Err(unsendable(ty, path));
        }
        let parts = [path.as_bytes(), b"\0", token.as_bytes(), b"\0"];
        acknowledged(self.request(ty, path, &parts))
    }

    /// One request and its reply.
    #[traced]
    fn exchange(
        &mut self,
        request: XsdType,
        tx_id: u32,
        path: &str,
        parts: &[&[u8]],
    ) -> Result<Vec<u8>, StoreError> {
        let req_id = self.next_req_id;
        let header = XsdSockmsg { r#type: request.number(), req_id, tx_id, len: 0 };
        let mut message = Vec::new();
        if path.contains('\0') || frame::append(&mut message, header, parts).is_none() {
            return Err(unsendable(request, path));
        }
        // 0 belongs to watch events.
        self.next_req_id = req_id.checked_add(1).unwrap_or(1);
        let reply = self.link.exchange(request, header, &message, self.reply_timeout);
        let (ty, payload) = reply?;
        if ty == request { Ok(payload) } else { Err(self.refusal(request, path, &payload)) }
    }

    /// The error an ERROR reply stands for.
    fn refusal(&mut self, request: XsdType, path: &str, payload: &[u8]) -> StoreError {
        match payload.strip_suffix(b"\0").and_then(XsdError::from_name) {
            Some(error) => StoreError::Refused { request, path: path.to_owned(), error },
            None => self.link.give_up("an error without a known name"),
        }
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

fn one_string(payload: &[u8]) -> Result<String, StoreError> {
    match <[String; 1]>::try_from(strings(payload)?) {
        Ok([text]) => Ok(text),
        Err(_) => Err(StoreError::Protocol("a reply that is not one string")),
    }
}

fn unsendable(request: XsdType, path: &str) -> StoreError {
    StoreError::Unsendable { request, path: path.escape_debug().to_string() }
}

#[cfg(test)]
mod tests;
