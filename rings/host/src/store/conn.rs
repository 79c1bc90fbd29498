//! One connection: bytes not yet understood, bytes not yet sent, watches, open transactions.
//!
//! A client that does not read is held back, not believed: with too many replies unread its
//! requests wait (`may_serve`), and with too many events unread it loses the connection. Xen bounds
//! the latter by a time (20 s of backlog); a store without a clock bounds it by bytes. An event
//! equal to one that waits already is not queued again.

use std::collections::{BTreeMap, HashSet, VecDeque};

use rings::DomId;
use rings::io::xs_wire::{XsdSockmsg, XsdType};
use rings::store::frame::{self, Inbox};

use super::perms::is_privileged;
use super::quota::Quota;
use super::transaction::Transaction;
use super::watch::Watch;

/// Unsent bytes with which a privileged connection is not served further until it reads.
const PAUSE_BYTES: usize = 1 << 20;
/// Unsent bytes that cost a privileged connection its life.
const FLOOD_BYTES: usize = 64 << 20;

#[derive(Debug)]
pub(super) struct Conn {
    pub(super) domid: DomId,
    pub(super) inbox: Inbox,
    pub(super) outbox: Outbox,
    pub(super) watches: Vec<Watch>,
    pub(super) transactions: BTreeMap<u32, Transaction>,
    pub(super) last_tx_id: u32,
    /// Transactions in a row that failed because of what others changed.
    pub(super) conflicts: u32,
    /// To be closed once its output is sent; nothing more is served.
    pub(super) dead: bool,
}

impl Conn {
    pub(super) fn new(domid: DomId) -> Self {
        Self {
            domid,
            inbox: Inbox::default(),
            outbox: Outbox::default(),
            watches: Vec::new(),
            transactions: BTreeMap::new(),
            last_tx_id: 0,
            conflicts: 0,
            dead: false,
        }
    }

    /// Whether the next request may be served now. `memory` is what the domain uses otherwise.
    pub(super) fn may_serve(&self, quota: &Quota, memory: usize) -> bool {
        let unsent = self.outbox.bytes().len();
        !self.dead
            && match is_privileged(self.domid) {
                true => unsent < PAUSE_BYTES,
                false => {
                    self.outbox.replies < quota.outstanding
                        && (unsent == 0 || unsent + memory <= quota.memory)
                }
            }
    }

    /// Whether it has been told more than it may leave unread.
    pub(super) fn is_flooded(&self, quota: &Quota) -> bool {
        let most = if is_privileged(self.domid) { FLOOD_BYTES } else { quota.memory };
        self.outbox.bytes().len() > most
    }

    /// An id for a new transaction: never 0, never that of an open one.
    pub(super) fn fresh_tx_id(&mut self) -> u32 {
        loop {
            self.last_tx_id = self.last_tx_id.checked_add(1).unwrap_or(1);
            if !self.transactions.contains_key(&self.last_tx_id) {
                return self.last_tx_id;
            }
        }
    }
}

/// Messages waiting to be sent.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    bytes: Vec<u8>,
    /// For each message the bytes of it not yet sent, and its payload if it is an event.
    messages: VecDeque<(usize, Option<Vec<u8>>)>,
    /// Payloads of the events among them.
    events: HashSet<Vec<u8>>,
    /// Replies among them.
    replies: usize,
}

impl Outbox {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Queues a reply; `false` if the payload is too long for a message.
    pub(super) fn reply(&mut self, header: XsdSockmsg, payload: &[u8]) -> bool {
        let Some(len) = frame::append(&mut self.bytes, header, &[payload]) else { return false };
        self.messages.push_back((len, None));
        self.replies += 1;
        true
    }

    /// Queues a watch event. One too long for a message cannot be told, and is not (XSA-324).
    pub(super) fn event(&mut self, path: &str, token: &[u8]) {
        let payload = [path.as_bytes(), b"\0", token, b"\0"].concat();
        if self.events.contains(&payload) {
            return;
        }
        let header = XsdSockmsg { r#type: XsdType::WATCH_EVENT.number(), ..Default::default() };
        if let Some(len) = frame::append(&mut self.bytes, header, &[&payload]) {
            self.messages.push_back((len, Some(payload.clone())));
            self.events.insert(payload);
        }
    }

    /// The first `len` bytes are sent.
    pub(super) fn sent(&mut self, len: usize) {
        let mut left = len.min(self.bytes.len());
        self.bytes.drain(..left);
        while let Some((unsent, _)) = self.messages.front_mut() {
            if *unsent > left {
                *unsent -= left;
                return;
            }
            left -= *unsent;
            match self.messages.pop_front() {
                Some((_, Some(event))) => _ = self.events.remove(&event),
                _ => self.replies -= 1,
            }
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_waits_once_and_replies_are_counted_until_wholly_sent() {
        let mut outbox = Outbox::default();
        outbox.event("/a", b"t");
        outbox.event("/a", b"t");
        outbox.event("/a", b"u");
        assert!(outbox.reply(XsdSockmsg::default(), b"OK\0"));
        assert!(!outbox.reply(XsdSockmsg::default(), &[0; 4097]));
        assert_eq!((outbox.bytes().len(), outbox.replies), (21 + 21 + 19, 1));
        outbox.sent(20);
        outbox.event("/a", b"t");
        assert_eq!(outbox.bytes().len(), 1 + 21 + 19, "not yet wholly sent");
        outbox.sent(1);
        outbox.event("/a", b"t");
        outbox.sent(21 + 18);
        assert_eq!(outbox.replies, 1);
        outbox.sent(1 + 21);
        assert_eq!((outbox.bytes().len(), outbox.replies, outbox.events.len()), (0, 0, 0));
    }
}
