//! Xen's public structures, byte for byte, and nothing else: no behaviour, no memory access.
//!
//! | module | Xen header |
//! |---|---|
//! | [`blkif`] | `io/blkif.h`: requests and responses of a vbd, for x86_64 |
//! | [`console`] | `io/console.h`: the console's page |
//! | [`event_channel`] | `event_channel.h`: states and limits |
//! | [`grant_table`] | `grant_table.h`: entries of version 1, status codes |
//! | [`netif`] | `io/netif.h`: transmit and receive slots, extras, status codes |
//! | [`netif_ctrl`] | `io/netif.h`: the control ring, hash words, static grants |
//! | [`xs_wire`] | `io/xs_wire.h`: messages of the store, its ring |
//!
//! # How to read an octet ruler
//!
//! Structures are drawn the way Xen's headers draw them. The numbers on top count octets from the
//! start of a row, a row is eight octets, and a cell is as wide as its field. Here `b` starts
//! at offset 8 + 2 and is two octets wide:
//!
//! ```text
//!   0     1     2     3     4     5     6     7   octet
//! +-----+-----+-----+-----+-----+-----+-----+-----+
//! | a                     | pad                   |
//! +-----+-----+-----+-----+-----+-----+-----+-----+
//! | pad       | b         |
//! +-----+-----+-----+-----+
//! ```
//!
//! Numbers wider than an octet are in the byte order of the CPU, as in C, unless a ruler says
//! LSB and MSB. A cell named `pad` is written as zero and never read; one named `unused` belongs
//! to a slot that is longer than the structure and keeps whatever was there before.

pub mod blkif;
pub mod console;
pub mod event_channel;
pub mod grant_table;
pub mod netif;
pub mod netif_ctrl;
mod numbered;
pub mod xs_wire;

use crate::PAGE_SIZE;

/// Octets before the first slot of a shared ring: four indices and their padding (`ring.h`).
pub const SRING_HEADER: usize = 64;

/// Slots of a ring whose slots are `slot` octets, on `1 << order` pages (`__CONST_RING_SIZE`).
///
/// The page holds more slots than this as a rule; Xen rounds down to a power of two so that an
/// index becomes a slot by masking.
pub const fn ring_size(slot: usize, order: u32) -> usize {
    let slots = ((PAGE_SIZE << order) - SRING_HEADER) / slot;
    1 << slots.ilog2()
}
