//! The end that writes. Its mirror image is `reader.rs`.

use tracer::format::Slot;
use tracer::format::journal::Half;

use super::{ByteIndex, ByteMem, IllegalIndex, info, split, waiting};
use crate::sync::Ordering;

/// The private half of a ring of bytes on the writing side.
#[derive(Debug)]
pub struct ByteWriter<M> {
    mem: M,
    /// Bytes written: our own copy of `prod`, which the other end could overwrite.
    prod: u32,
    /// The last `cons` believed. There is at least as much room as it says.
    cons: u32,
    trace: tracer::Ring,
}

impl<M: ByteMem> ByteWriter<M> {
    /// Takes over a ring where its last writer left off.
    pub fn attach(mem: M) -> Self {
        let prod = mem.load(ByteIndex::Prod, Ordering::Relaxed);
        // As if it were full, until the first look.
        let cons = prod.wrapping_sub(mem.size());
        Self { mem, prod, cons, trace: tracer::Ring::default() }
    }

    /// Gives the ring the name by which traces know it, the same on both sides (`console1-out`). To be
    /// called before anything is written: a ring without a name is not traced. In a trace each byte is a
    /// request, and its having been read the response.
    pub fn set_name(&mut self, name: &str) {
        // What was read before is nobody's response. A lie is for those who look later.
        let _ = self.look();
        self.trace = tracer::Ring::new(&info(name, Half::Front, self.mem.size(), self.cons));
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
        self.trace.seen(Slot::Response, self.cons, cons);
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
        if len < bytes.len() {
            self.trace.full();
        } else {
            self.trace.room();
        }
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
        let stamp = self.trace.stamp();
        // SYNC bytes are visible: with the Acquire load of prod in ByteReader::look.
        self.mem.store(ByteIndex::Prod, prod, Ordering::Release);
        self.trace.pushed(stamp, Slot::Request, self.prod, prod, true);
        self.prod = prod;
        Ok(len)
    }

    /// The memory under the ring.
    pub fn mem(&self) -> &M {
        &self.mem
    }
}
