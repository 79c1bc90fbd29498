//! Memory as a disk: all zeros at first, and memory is taken where something is written.

use std::sync::{Arc, OnceLock};

use rings::io::blkif::SECTOR_SIZE;
use rings::mem::Region;

use super::{Disk, Done, Io, Kind, Started};

/// Bytes of one piece of memory.
const PIECE: usize = 1 << 20;

/// The memory, which all queues share. Two that write the same sector at once get a mix of both, as on
/// a real disk.
#[derive(Clone, Debug)]
pub(super) struct Memory(Arc<[OnceLock<Region>]>);

impl Memory {
    /// Of so many sectors.
    pub(super) fn new(sectors: u64) -> Self {
        let pieces = sectors.saturating_mul(SECTOR_SIZE as u64).div_ceil(PIECE as u64);
        Self((0..pieces).map(|_| OnceLock::new()).collect())
    }

    /// The pieces of a range: which, where in it, how many bytes.
    fn pieces(sector: u64, len: usize) -> impl Iterator<Item = (usize, usize, usize)> {
        let byte = usize::try_from(sector).unwrap_or(usize::MAX).saturating_mul(SECTOR_SIZE);
        let mut done = 0;
        std::iter::from_fn(move || {
            (done < len).then(|| {
                let at = byte + done;
                let (piece, offset) = (at / PIECE, at % PIECE);
                let part = (PIECE - offset).min(len - done);
                done += part;
                (piece, offset, part)
            })
        })
    }

    pub(super) fn read(&self, sector: u64, into: &mut [u8]) {
        let mut done = 0;
        for (piece, offset, len) in Self::pieces(sector, into.len()) {
            let into = &mut into[done..done + len];
            match self.0.get(piece).and_then(OnceLock::get) {
                Some(region) => region.copy_out(offset, into),
                None => into.fill(0),
            }
            done += len;
        }
    }

    pub(super) fn write(&self, sector: u64, from: &[u8]) {
        let mut done = 0;
        for (piece, offset, len) in Self::pieces(sector, from.len()) {
            if let Some(piece) = self.0.get(piece) {
                let region = piece.get_or_init(|| Region::anonymous(PIECE));
                region.copy_in(offset, &from[done..done + len]);
            }
            done += len;
        }
    }

    /// Forgets: zeros from now on.
    pub(super) fn discard(&self, sector: u64, sectors: u64) {
        let len = usize::try_from(sectors).unwrap_or(usize::MAX).saturating_mul(SECTOR_SIZE);
        for (piece, offset, len) in Self::pieces(sector, len) {
            if let Some(region) = self.0.get(piece).and_then(OnceLock::get) {
                region.zero(offset, len);
            }
        }
    }

    /// Does one operation.
    pub(super) fn run(&self, mut io: Io) -> Done {
        match io.kind {
            Kind::Read => self.read(io.sector, io.buffer.bytes_mut()),
            Kind::Write => self.write(io.sector, io.buffer.bytes()),
            Kind::Flush => {}
            Kind::Discard { .. } => self.discard(io.sector, io.sectors),
        }
        Done { tag: io.tag, buffer: io.buffer, outcome: Ok(()) }
    }
}

impl Disk for Memory {
    #[inline]
    fn start(&mut self, io: Io) -> Started {
        Started::Now(self.run(io))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_across_the_edge_of_a_piece() {
        let disk = Memory::new(2 * (PIECE / SECTOR_SIZE) as u64);
        let edge = (PIECE / SECTOR_SIZE) as u64 - 1;
        let wrote: Vec<u8> = (1..=251).cycle().take(1024).collect();
        disk.write(edge, &wrote);
        let mut read = vec![9; 2048];
        disk.read(edge - 1, &mut read);
        assert_eq!(read[..512], [0; 512]);
        assert_eq!(read[512..1536], wrote);
        assert_eq!(read[1536..], [0; 512]);
        disk.discard(edge, 1);
        disk.read(edge - 1, &mut read);
        assert_eq!(read[512..1024], [0; 512]);
        assert_eq!(read[1024..1536], wrote[512..]);
    }
}
