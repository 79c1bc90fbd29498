//! What the ring protocol asks of its memory: four words and some slots.
//!
//! The orderings are passed in, so that they all stand in `front.rs` and `back.rs`, beside the
//! sentence that needs them.

use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::sync::Ordering;

/// The four shared indices of ring.h.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Index {
    /// Next request to be produced; written by the front.
    ReqProd,
    /// "Wake me when req_prod passes this"; written by the back.
    ReqEvent,
    /// Next response to be produced; written by the back.
    RspProd,
    /// "Wake me when rsp_prod passes this"; written by the front.
    RspEvent,
}

/// Memory that holds one sring.
pub trait SringMem {
    /// Number of slots, a power of two.
    fn size(&self) -> u32;
    /// Reads a shared index.
    fn load(&self, index: Index, order: Ordering) -> u32;
    /// Writes a shared index.
    fn store(&self, index: Index, value: u32, order: Ordering);
    /// Copies the value at the start of slot `slot` (already masked) out, once.
    fn read<T: FromBytes>(&self, slot: u32) -> T;
    /// Writes the value at the start of slot `slot` (already masked).
    fn write<T: IntoBytes + Immutable>(&self, slot: u32, value: T);
}
