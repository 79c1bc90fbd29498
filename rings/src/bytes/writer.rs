//! The end that writes. Its mirror image is `reader.rs`.

use super::{ByteIndex, ByteMem, IllegalIndex, split, waiting};
use crate::sync::Ordering;

/// The private half of a ring of bytes on the writing side.
#[derive(Debug)]
pub struct ByteWriter<M> {
    mem: M,
    /// Bytes written: our own copy of `prod`, which the other end could overwrite.
    prod: u32,
    /// The last `cons` believed. There is at least as much room as it says.
    cons: u32,
}

impl<M: ByteMem> ByteWriter<M> {
    /// Takes over a ring where its last writer left off.
    pub fn attach(mem: M) -> Self {
        let prod = mem.load(ByteIndex::Prod, Ordering::Relaxed);
        // As if it were full, until the first look.
        let cons = prod.wrapping_sub(mem.size());
        Self { mem, prod, cons }
    }

    /// Our index: bytes written so far, modulo 2^32.
    #[must_use]
    pub fn index(&self) -> u32 {
        self.prod
    }

    /// Looks how many bytes could be written now.
    ///
    /// # Errors
    /// If the reader claims to have read what was never written, or less than it had.
    #[inline]
    pub fn look(&mut self) -> Result<usize, IllegalIndex> {
        // SYNC room is free: with the Release store of cons in ByteReader::consume.
        let cons = self.mem.load(ByteIndex::Cons, Ordering::Acquire);
        waiting(self.prod, cons, self.mem.size(), ByteIndex::Cons)?;
        self.cons = cons;
        Ok(self.known())
    }

    /// Bytes that could be written, as far as we have looked.
    #[inline(always)]
    #[must_use]
    pub fn known(&self) -> usize {
        self.mem.size().wrapping_sub(self.prod.wrapping_sub(self.cons)) as usize
    }

    /// Writes as many of `bytes` as there is room for and publishes them; says how many. If it is
    /// more than none, the reader must be sent an event.
    ///
    /// # Errors
    /// As [`look`](Self::look); nothing is written then.
    #[inline]
    pub fn write(&mut self, bytes: &[u8]) -> Result<usize, IllegalIndex> {
        // The indices of a console share a line that the reader writes too: one look less.
        let room = if self.known() < bytes.len() { self.look()? } else { self.known() };
        let len = bytes.len().min(room);
        if len == 0 {
            return Ok(0);
        }
        let (at, first) = split(self.prod, len, self.mem.size());
        self.mem.copy_in(at, &bytes[..first]);
        if first < len {
            self.mem.copy_in(0, &bytes[first..len]);
        }
        #[expect(clippy::cast_possible_truncation, reason = "at most the size, a u32")]
        let prod = self.prod.wrapping_add(len as u32);
        // SYNC bytes are visible: with the Acquire load of prod in ByteReader::look.
        self.mem.store(ByteIndex::Prod, prod, Ordering::Release);
        self.prod = prod;
        Ok(len)
    }

    /// The memory under the ring.
    pub fn mem(&self) -> &M {
        &self.mem
    }
}
