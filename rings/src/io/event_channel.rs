//! States of an event channel and how many a domain may have (`event_channel.h`).
//!
//! Not here: the words of a channel and how an event travels (`evtchn`), which in pvlab are a page
//! per pair of domains and not Xen's bitmap; FIFO channels; the arguments of hypercalls.

use super::numbered::numbered;

/// Ports of a domain with two-level channels, 64-bit (`EVTCHN_2L_NR_CHANNELS`). Port 0 is none.
pub const TWO_LEVEL_NR_CHANNELS: u32 = 4096;
/// Highest port of a domain unless its configuration says otherwise (xl's
/// `max_event_channels`).
pub const DEFAULT_MAX_PORT: u32 = 1023;

numbered! {
    /// State of a port (`EVTCHNSTAT_*`).
    pub enum EvtchnStatus: u32 {
        /// Not in use.
        Closed = 0,
        /// Waits for the one domain it was made for to bind to it.
        Unbound = 1,
        /// Connected to a port of another domain.
        Interdomain = 2,
        /// Bound to a physical interrupt. Never here.
        Pirq = 3,
        /// Bound to a virtual interrupt. Never here.
        Virq = 4,
        /// Bound to an interrupt between CPUs of one domain. Never here.
        Ipi = 5,
    }
}
