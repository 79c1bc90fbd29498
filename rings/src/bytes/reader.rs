//! The end that reads. Its mirror image is `writer.rs`.

use tracer::format::Slot;
use tracer::format::journal::Half;

use super::{ByteIndex, ByteMem, IllegalIndex, info, split, waiting};
use crate::sync::Ordering;

/// The private half of a ring of bytes on the reading side.
#[derive(Debug)]
pub struct ByteReader<M> {
    mem: M,
    /// Bytes read: our own copy of `cons`, which the other end could overwrite.
    cons: u32,
    /// The last `prod` believed. At least as many bytes wait as it says.
    prod: u32,
    trace: tracer::Ring,
}

impl<M: ByteMem> ByteReader<M> {
    /// Takes over a ring where its last reader left off: what nobody read is read now.
    pub fn attach(mem: M) -> Self {
        let cons = mem.load(ByteIndex::Cons, Ordering::Relaxed);
        // As if it were empty, until the first look.
        Self { mem, cons, prod: cons, trace: tracer::Ring::default() }
    }

    /// Gives the ring the name by which traces know it, the same on both sides (`console1-out`). To be
    /// called before anything is read: a ring without a name is not traced.
    pub fn set_name(&mut self, name: &str) {
        self.trace = tracer::Ring::new(&info(name, Half::Back, self.mem.size(), self.cons));
    }

    /// Our index: bytes read so far, modulo 2^32.
    #[must_use]
    pub fn index(&self) -> u32 {
        self.cons
    }

    /// Looks how many bytes could be read now.
    ///
    /// # Errors
    /// If the writer claims to have written more than the ring holds, or less than was read.
    #[inline]
    pub fn look(&mut self) -> Result<usize, IllegalIndex> {
        // SYNC bytes are visible: with the Release store of prod in ByteWriter::write.
        let prod = self.mem.load(ByteIndex::Prod, Ordering::Acquire);
        waiting(prod, self.cons, self.mem.size(), ByteIndex::Prod)?;
        self.trace.seen(Slot::Request, self.prod, prod);
        self.prod = prod;
        Ok(self.known())
    }

    /// Bytes that could be read, as far as we have looked.
    #[inline(always)]
    #[must_use]
    pub fn known(&self) -> usize {
        self.prod.wrapping_sub(self.cons) as usize
    }

    /// Reads as many bytes as wait and `to` has room for and gives their places back; says how many.
    /// If it is more than none, the writer must be sent an event. The bytes are ours alone: whatever
    /// they turn out to be is decided on the copy.
    ///
    /// # Errors
    /// As [`look`](Self::look); nothing is read then.
    #[inline]
    pub fn read(&mut self, to: &mut [u8]) -> Result<usize, IllegalIndex> {
        let len = self.peek(to)?;
        self.consume(len);
        Ok(len)
    }

    /// As [`read`](Self::read), but the bytes stay in the ring until [`consume`](Self::consume): for a
    /// reader that wants them kept elsewhere before their places are written again.
    ///
    /// # Errors
    /// As [`look`](Self::look).
    #[inline]
    pub fn peek(&mut self, to: &mut [u8]) -> Result<usize, IllegalIndex> {
        let waits = if self.known() < to.len() { self.look()? } else { self.known() };
        let len = to.len().min(waits);
        let (at, first) = split(self.cons, len, self.mem.size());
        self.mem.copy_out(at, &mut to[..first]);
        if first < len {
            self.mem.copy_out(0, &mut to[first..len]);
        }
        Ok(len)
    }

    /// Gives the places of `len` bytes back.
    ///
    /// # Panics
    /// If fewer are known to wait.
    #[inline]
    pub fn consume(&mut self, len: usize) {
        assert!(len <= self.known(), "what is given back was there");
        if len == 0 {
            return;
        }
        #[expect(clippy::cast_possible_truncation, reason = "at most the size, a u32")]
        let cons = self.cons.wrapping_add(len as u32);
        let stamp = self.trace.stamp();
        // SYNC room is free: with the Acquire load of cons in ByteWriter::look.
        self.mem.store(ByteIndex::Cons, cons, Ordering::Release);
        self.trace.pushed(stamp, Slot::Response, self.cons, cons, true);
        self.cons = cons;
    }

    /// The memory under the ring.
    pub fn mem(&self) -> &M {
        &self.mem
    }
}
