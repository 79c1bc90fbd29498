//! In which units which implementation counts sectors, on disks whose own sectors are not of 512
//! bytes.
//!
//! blkif.h has said since 2024 that everything is in sectors of 512 bytes. Before, five
//! implementations had five readings (xen-devel, commit 221f2748e8): the `sectors` node, a request's
//! `sector_number`, and a segment's `first_sect` and `last_sect` in sectors of 512 bytes or in the
//! disk's own. Two ends of different dialects read and write the wrong places; here one can see it
//! happen. Within this crate all numbers are in sectors of 512 bytes; a dialect stands where they are
//! put on the ring or into the store, and where they are taken from there.

use rings::io::blkif::SECTOR_SIZE;

/// Who is imitated.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Dialect {
    /// blkif.h of today, and Linux: sectors of 512 bytes everywhere.
    #[default]
    Xen,
    /// FreeBSD: the disk's own sectors, but for segments.
    FreeBsd,
    /// QEMU and Windows: the disk's own sectors everywhere.
    Qemu,
    /// mini-os: the disk's own sectors in the store, 512 bytes on the ring.
    MiniOs,
}

/// A dialect on a disk with sectors of a certain size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Units {
    /// Sectors of 512 bytes in one unit of the `sectors` node.
    node: u64,
    /// In one unit of `sector_number`.
    number: u64,
    /// In one unit of `first_sect` and `last_sect`.
    segment: u8,
}

impl Dialect {
    /// This dialect on a disk whose sectors have `sector_size` bytes.
    #[must_use]
    pub fn units(self, sector_size: u32) -> Units {
        let own = u64::from(sector_size) / SECTOR_SIZE as u64;
        let own = own.max(1);
        // A page has no more than eight sectors, whatever the disk's are.
        let in_page = u8::try_from(own.min(8)).unwrap_or(8);
        match self {
            Self::Xen => Units { node: 1, number: 1, segment: 1 },
            Self::FreeBsd => Units { node: own, number: own, segment: 1 },
            Self::Qemu => Units { node: own, number: own, segment: in_page },
            Self::MiniOs => Units { node: own, number: 1, segment: 1 },
        }
    }
}

impl Units {
    /// The value of the `sectors` node for a disk of so many sectors.
    #[must_use]
    pub fn node_of(self, sectors: u64) -> u64 {
        sectors / self.node
    }

    /// How many sectors the `sectors` node means.
    #[must_use]
    pub fn sectors_of_node(self, node: u64) -> u64 {
        node.saturating_mul(self.node)
    }

    /// The `sector_number` (or the number of sectors of a discard) for a sector.
    #[must_use]
    pub fn number_of(self, sector: u64) -> u64 {
        sector / self.number
    }

    /// The sector that a `sector_number` means.
    #[must_use]
    pub fn sector_of(self, number: u64) -> u64 {
        number.saturating_mul(self.number)
    }

    /// `first_sect` and `last_sect` for sectors `first` to `last` of a page, `last` included.
    #[must_use]
    pub fn segment_of(self, first: u8, last: u8) -> (u8, u8) {
        (first / self.segment, last / self.segment)
    }

    /// The sectors of a page that `first_sect` and `last_sect` mean, the last included.
    #[must_use]
    pub fn sectors_of_segment(self, first: u8, last: u8) -> (u8, u8) {
        let first = first.saturating_mul(self.segment);
        let last = last.saturating_add(1).saturating_mul(self.segment).saturating_sub(1);
        (first, last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Dialect; 4] = [Dialect::Xen, Dialect::FreeBsd, Dialect::Qemu, Dialect::MiniOs];

    #[test]
    fn each_dialect_understands_itself() {
        for dialect in ALL {
            for size in [512, 4096] {
                let units = dialect.units(size);
                assert_eq!(units.sectors_of_node(units.node_of(8000)), 8000, "{dialect:?}");
                assert_eq!(units.sector_of(units.number_of(4096)), 4096, "{dialect:?}");
                let (first, last) = units.segment_of(0, 7);
                assert_eq!(units.sectors_of_segment(first, last), (0, 7), "{dialect:?}");
            }
            let units = dialect.units(512);
            assert_eq!(units.segment_of(3, 5), (3, 5));
            assert_eq!(units.sectors_of_segment(0, 255), (0, 254), "nothing overflows");
        }
    }

    #[test]
    fn on_disks_of_512_bytes_all_say_the_same() {
        for dialect in ALL {
            assert_eq!(dialect.units(512), Dialect::Xen.units(512));
        }
    }

    #[test]
    fn dialects_disagree_about_disks_of_4096_bytes() {
        let of = |d: Dialect| (d.units(4096).node_of(80), d.units(4096).number_of(16));
        assert_eq!(of(Dialect::Xen), (80, 16));
        assert_eq!(of(Dialect::FreeBsd), (10, 2));
        assert_eq!(of(Dialect::Qemu), (10, 2));
        assert_eq!(of(Dialect::MiniOs), (10, 16));
        assert_eq!(Dialect::Qemu.units(4096).segment_of(0, 7), (0, 0));
        assert_eq!(Dialect::FreeBsd.units(4096).segment_of(0, 7), (0, 7));
    }
}
