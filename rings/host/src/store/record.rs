//! What is written into the store, in order: for tests that compare it with a real Xen. Nothing is
//! recorded unless somebody asked for it.

use std::fmt;
use std::sync::mpsc::Sender;

use rings::DomId;
use rings::io::xs_wire::{XBT_NULL, XsdType};

use super::request::changes_nodes;
use super::{ConnId, Xenstored};

/// One request that changes the store and was granted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// Whose it was: a domain's, on a connection, or the toolstack's own.
    pub by: Option<DomId>,
    /// Whether it was part of a transaction.
    pub in_transaction: bool,
    /// What was asked for.
    pub request: XsdType,
    /// Path, then value or permissions; of the end of a transaction `T` or `F`.
    pub args: Vec<String>,
}

impl fmt::Display for Record {
    /// As the reference recordings of a real Xen have it, who and when apart.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.request)?;
        self.args.iter().filter(|arg| !arg.is_empty()).try_for_each(|arg| write!(f, " {arg}"))
    }
}

impl Xenstored {
    /// Tells `to` of everything that is written from now on.
    pub fn record_to(&mut self, to: Sender<Record>) {
        self.recorder = Some(to);
    }

    /// A request on a connection was granted.
    pub(super) fn record(&self, id: ConnId, request: XsdType, tx_id: u32, payload: &[u8]) {
        let changes = changes_nodes(request)
            || matches!(request, XsdType::TRANSACTION_START | XsdType::TRANSACTION_END);
        let Some(recorder) = self.recorder.as_ref().filter(|_| changes) else { return };
        let text = String::from_utf8_lossy(payload);
        let args = text.split_terminator('\0').map(str::to_owned).collect();
        let by = self.conns.get(&id).map(|conn| conn.domid);
        // Who does not listen any more needs no telling.
        let _ = recorder.send(Record { by, in_transaction: tx_id != XBT_NULL, request, args });
    }

    /// The toolstack did something.
    pub(super) fn record_own(&self, request: XsdType, args: &[&str]) {
        if let Some(recorder) = &self.recorder {
            let args = args.iter().map(|&arg| arg.to_owned()).collect();
            let _ = recorder.send(Record { by: None, in_transaction: false, request, args });
        }
    }
}
