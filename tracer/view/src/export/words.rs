//! What things are called in every export alike.

use tracer::format::{Level, Slot};

/// Category and name of what a batch is shown as.
pub(super) fn names_of(slot: Slot, push: bool) -> (&'static str, &'static str) {
    match (slot, push) {
        (Slot::Request, true) => ("ring.req", "push requests"),
        (Slot::Request, false) => ("ring.req", "see requests"),
        (Slot::Response, true) => ("ring.rsp", "push responses"),
        (Slot::Response, false) => ("ring.rsp", "see responses"),
    }
}

pub(super) fn level(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warn => "warn",
        Level::Info => "info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    }
}
