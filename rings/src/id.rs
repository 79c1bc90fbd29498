//! The three numbers everything else is named by: domid, gref, port.
//!
//! Newtypes, so that a port can never be passed where a gref is meant. What they refer to lives in
//! `grant`, `evtchn` and, for domids, with the host. Widths: xen.h (`domid_t`), grant_table.h
//! (`grant_ref_t`), event_channel.h (`evtchn_port_t`).

use std::fmt;

/// A domain's number (`domid_t`). 0 is the driver domain and toolstack, guests count from 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct DomId(pub u16);

impl DomId {
    /// Domain 0: the backend side and the toolstack.
    pub const DOM0: Self = Self(0);
    /// First number that is not an ordinary domain (`DOMID_FIRST_RESERVED`, xen.h).
    pub const FIRST_RESERVED: u16 = 0x7ff0;
}

/// A reference into the granter's grant table (`grant_ref_t`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Gref(pub u32);

/// A domain's end of an event channel (`evtchn_port_t`). 0 is never a valid port.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Port(pub u32);

/// Number of a 4 KiB frame in a domain's pseudo-physical memory.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Pfn(pub u32);

macro_rules! display_number {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}
display_number!(DomId, Gref, Port, Pfn);
