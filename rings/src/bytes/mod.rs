//! Rings of bytes, as a console has two of them: one end writes, the other reads.
//!
//! ```text
//!        cons            prod
//!   ------+---------------+------   bytes between them wait to be read; the rest is room
//!         `-> the reader's `-> the writer's
//! ```
//!
//! Both indices are free-running `u32`s, so that `prod - cons` bytes wait, modulo 2^32, and a ring
//! whose difference is its size is full. There is no event index: whoever moves an index sends an
//! event, and whoever waits clears its port's pending bit *before* it looks at the other's index.
//!
//! [`ByteWriter`] and [`ByteReader`] are mirror images. Both work over any [`ByteMem`], so that the
//! model checker and the property tests run this very code; [`ConsolePage`] is the page of a real
//! console, whose two ends are the same thing with the two rings exchanged. Each side's own index is
//! private to it: the one in the page is where the other end may lie.

mod page;
mod reader;
mod writer;

pub use page::{ConsolePage, ConsoleRing, Half};
pub use reader::ByteReader;
pub use writer::ByteWriter;

use tracer::RingInfo;
use tracer::format::journal;

use crate::sync::Ordering;
use crate::weaken::{Check, skipped};

/// The two shared indices of a ring of bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ByteIndex {
    /// Bytes written so far.
    Prod,
    /// Bytes read so far.
    Cons,
}

/// Memory that holds one ring of bytes. The orderings are passed in, so that they all stand beside
/// the sentence that needs them.
pub trait ByteMem {
    /// Bytes of the ring, a power of two.
    fn size(&self) -> u32;
    /// Reads a shared index.
    fn load(&self, index: ByteIndex, order: Ordering) -> u32;
    /// Writes a shared index.
    fn store(&self, index: ByteIndex, value: u32, order: Ordering);
    /// Copies bytes out, from place `at` (already masked) on; they do not reach past the end.
    fn copy_out(&self, at: u32, to: &mut [u8]);
    /// Copies bytes in, from place `at` (already masked) on; they do not reach past the end.
    fn copy_in(&self, at: u32, from: &[u8]);
}

/// The indices say that more bytes wait than the ring has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "the other end's {index:?} is {claimed}, which lets {waiting} bytes wait in a ring of {size}"
)]
pub struct IllegalIndex {
    /// The index that lies.
    pub index: ByteIndex,
    /// What the shared page says.
    pub claimed: u32,
    /// `prod - cons`.
    pub waiting: u32,
    /// Bytes of the ring.
    pub size: u32,
}

/// What a trace is told of a ring of bytes: the end that writes asks, and the one that reads answers.
fn info(name: &str, half: journal::Half, size: u32, base: u32) -> RingInfo<'_> {
    RingInfo { name, half, size, base, in_order: true, awaited: true }
}

/// Bytes that wait, if that many can.
#[inline(always)]
fn waiting(prod: u32, cons: u32, size: u32, theirs: ByteIndex) -> Result<u32, IllegalIndex> {
    let waiting = prod.wrapping_sub(cons);
    if waiting > size && !skipped(Check::ByteIndex) {
        let claimed = if theirs == ByteIndex::Prod { prod } else { cons };
        return Err(IllegalIndex { index: theirs, claimed, waiting, size });
    }
    Ok(waiting)
}

/// Where in a ring of `size` bytes `len` bytes from `index` on lie: a place, and how many of them lie
/// there before the end. The others are at the start.
#[inline(always)]
fn split(index: u32, len: usize, size: u32) -> (u32, usize) {
    let at = index & (size - 1);
    (at, len.min((size - at) as usize))
}
