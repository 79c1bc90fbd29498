//! The page of a console: its two rings, seen from either end, and the octet that says whether
//! anybody reads.

use super::{ByteIndex, ByteMem, ByteReader, ByteWriter};
use crate::io::console::{
    CONNECTED, CONNECTION, DISCONNECTED, IN, IN_CONS, IN_PROD, IN_SIZE, OUT, OUT_CONS, OUT_PROD,
    OUT_SIZE,
};
use crate::mem::Region;
use crate::sync::Ordering;
use crate::{DomId, PAGE_SIZE};

/// The page that a guest and xenconsoled share (`struct xencons_interface`).
#[derive(Clone, Debug)]
pub struct ConsolePage(Region);

/// One end of a console: what it writes into, and what it reads.
#[derive(Debug)]
pub struct Half {
    /// The ring that this end fills.
    pub writer: ByteWriter<ConsoleRing>,
    /// The ring that this end empties.
    pub reader: ByteReader<ConsoleRing>,
    end: End,
}

/// Whose a half is.
#[derive(Clone, Copy, Debug)]
enum End {
    /// The guest's.
    Front,
    /// xenconsoled's.
    Back,
}

impl Half {
    /// Gives both rings the names by which traces know them, the same on both sides: those of the console
    /// of domain `guest`. To be called before anything is written or read.
    pub fn set_name(&mut self, guest: DomId) {
        let (out, r#in) = (format!("console{guest}-out"), format!("console{guest}-in"));
        let (writes, reads) = match self.end {
            End::Front => (out, r#in),
            End::Back => (r#in, out),
        };
        self.writer.set_name(&writes);
        self.reader.set_name(&reads);
    }
}

impl ConsolePage {
    /// The console in `page`.
    ///
    /// # Panics
    /// If that is less than a page.
    #[must_use]
    pub fn new(page: Region) -> Self {
        assert!(page.len() >= PAGE_SIZE, "a console is a page");
        Self(page)
    }

    /// Makes both rings empty, at index `base`, with nobody reading: what the toolstack does before
    /// the guest runs, and nobody afterwards.
    pub fn init(&self, base: u32) {
        self.0.zero(0, PAGE_SIZE);
        for at in [IN_CONS, IN_PROD, OUT_CONS, OUT_PROD] {
            self.0.word32(at).store(base, Ordering::Relaxed);
        }
        self.set_connected(false);
    }

    /// The guest's end: writes `out`, reads `in`.
    #[must_use]
    pub fn front(&self) -> Half {
        Half {
            writer: ByteWriter::attach(ConsoleRing::out(self)),
            reader: ByteReader::attach(ConsoleRing::r#in(self)),
            end: End::Front,
        }
    }

    /// xenconsoled's end: the same, seen from the other side.
    #[must_use]
    pub fn back(&self) -> Half {
        Half {
            writer: ByteWriter::attach(ConsoleRing::r#in(self)),
            reader: ByteReader::attach(ConsoleRing::out(self)),
            end: End::Back,
        }
    }

    /// Whether somebody reads `out`, as far as the page says.
    #[must_use]
    pub fn connected(&self) -> bool {
        self.0.read::<u8>(CONNECTION) == CONNECTED
    }

    /// Says whether somebody reads `out`. By xenconsoled alone.
    pub fn set_connected(&self, connected: bool) {
        self.0.write(CONNECTION, if connected { CONNECTED } else { DISCONNECTED });
    }
}

/// One of the two rings of a console's page.
#[derive(Clone, Debug)]
pub struct ConsoleRing {
    page: Region,
    bytes: usize,
    size: u32,
    prod: usize,
    cons: usize,
}

impl ConsoleRing {
    fn r#in(page: &ConsolePage) -> Self {
        let page = page.0.clone();
        Self { page, bytes: IN, size: size(IN_SIZE), prod: IN_PROD, cons: IN_CONS }
    }

    fn out(page: &ConsolePage) -> Self {
        let page = page.0.clone();
        Self { page, bytes: OUT, size: size(OUT_SIZE), prod: OUT_PROD, cons: OUT_CONS }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "1,024 and 2,048")]
const fn size(bytes: usize) -> u32 {
    bytes as u32
}

impl ByteMem for ConsoleRing {
    #[inline(always)]
    fn size(&self) -> u32 {
        self.size
    }

    #[inline(always)]
    fn load(&self, index: ByteIndex, order: Ordering) -> u32 {
        self.page.word32(self.place(index)).load(order)
    }

    #[inline(always)]
    fn store(&self, index: ByteIndex, value: u32, order: Ordering) {
        self.page.word32(self.place(index)).store(value, order);
    }

    #[inline(always)]
    fn copy_out(&self, at: u32, to: &mut [u8]) {
        self.page.copy_out(self.bytes + at as usize, to);
    }

    #[inline(always)]
    fn copy_in(&self, at: u32, from: &[u8]) {
        self.page.copy_in(self.bytes + at as usize, from);
    }
}

impl ConsoleRing {
    #[inline(always)]
    fn place(&self, index: ByteIndex) -> usize {
        match index {
            ByteIndex::Prod => self.prod,
            ByteIndex::Cons => self.cons,
        }
    }
}
