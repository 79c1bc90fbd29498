//! `null` and `void`: disks that keep nothing.
//!
//! `null` is what measures the driver: every page of a read is written with zeros, every page of a
//! write is read. `void` moves not a byte and shows what the ring alone costs; it is never compared
//! with anything.

use super::{Content, Disk, Done, Io, Started};

/// A disk without memory.
#[derive(Debug)]
pub(super) struct Plain {
    content: Content,
}

impl Plain {
    pub(super) fn new(content: Content) -> Self {
        Self { content }
    }
}

impl Disk for Plain {
    #[inline(always)]
    fn content(&self) -> Content {
        self.content
    }

    #[inline(always)]
    fn start(&mut self, mut io: Io) -> Started {
        if io.kind == super::Kind::Read && self.content == Content::Zeros {
            io.buffer.bytes_mut().fill(0);
        }
        Started::Now(Done { tag: io.tag, buffer: io.buffer, outcome: Ok(()) })
    }
}
