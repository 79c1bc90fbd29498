//! What can go wrong between a client and its store. Every case is a value; none is a panic.

use std::io;

use crate::io::xs_wire::{XsdError, XsdType};

/// Why a call to the store failed. The text of each case is its message.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The store refused: Xen's name for the reason, and what it was about.
    #[error("xenstore: {request} {path}: {error}")]
    Refused {
        /// What was asked.
        request: XsdType,
        /// The path it was asked of (empty for requests without one).
        path: String,
        /// Xen's errno name.
        error: XsdError,
    },
    /// A value is there but is not what its key calls for.
    #[error("xenstore: {path} is {value:?}, expected {expected}")]
    Value {
        /// The key.
        path: String,
        /// What was found, made printable.
        value: String,
        /// What would have been right.
        expected: &'static str,
    },
    /// A transaction met a conflict every time, this many times.
    #[error("xenstore: transaction still in conflict after {0} attempts")]
    Conflict(u32),
    /// The request cannot be put into one message; nothing was sent.
    #[error("xenstore: {request} {path}: does not fit a message of 4096 bytes or holds a NUL")]
    Unsendable {
        /// What was to be asked.
        request: XsdType,
        /// The path it was about, made printable.
        path: String,
    },
    /// The server broke the protocol; the connection is given up.
    #[error("xenstore: server broke the protocol: {0}")]
    Protocol(&'static str),
    /// No reply in time; the connection is given up.
    #[error("xenstore: no reply to {0} in time: the host stands still, or is stopped")]
    TimedOut(XsdType),
    /// The server closed the connection.
    #[error("xenstore: connection closed by the server")]
    Closed,
    /// The connection was given up after an earlier error.
    #[error("xenstore: connection given up after an earlier error")]
    Broken,
    /// The transport failed; the connection is given up.
    #[error("xenstore: {0}")]
    Io(#[from] io::Error),
}

impl StoreError {
    /// Xen's errno name, if it was the store that refused.
    #[must_use]
    pub fn xsd_error(&self) -> Option<XsdError> {
        match self {
            Self::Refused { error, .. } => Some(*error),
            _ => None,
        }
    }

    /// Whether the store has answered, and goes on answering: what failed is this one call. A backend
    /// that meets such an error among the keys of one guest gives that guest up; with any other
    /// the connection is gone.
    #[must_use]
    pub fn is_answer(&self) -> bool {
        match self {
            Self::Refused { .. }
            | Self::Value { .. }
            | Self::Conflict(_)
            | Self::Unsendable { .. } => true,
            Self::Protocol(_) | Self::TimedOut(_) | Self::Closed | Self::Broken | Self::Io(_) => {
                false
            }
        }
    }

    /// Whether the node (or watch, or transaction) is simply not there.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.xsd_error() == Some(XsdError::ENOENT)
    }
}
