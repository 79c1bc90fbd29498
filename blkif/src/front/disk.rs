//! What the backend says of the disk: its shape, and what can be asked of it.

use rings::io::blkif::{SECTOR_SIZE, VdiskInfo};
use rings::store::{Nodes, StoreError, keys, xenbus};

use crate::dialect::Dialect;

/// A disk, as its backend describes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DiskInfo {
    /// Length. Sectors of 512 bytes.
    pub sectors: u64,
    /// Bytes of its own sectors: everything is in whole ones.
    pub sector_size: u32,
    /// Bytes that it writes at once.
    pub physical_sector_size: u32,
    /// Writes will be refused.
    pub read_only: bool,
    /// FLUSH_DISKCACHE is understood.
    pub flush: bool,
    /// WRITE_BARRIER is understood.
    pub barrier: bool,
    /// DISCARD is understood, in whole multiples of so many bytes.
    pub discard: Option<u32>,
    /// A discard can leave no copy.
    pub secure: bool,
    /// Segments of an indirect request; 0 for none.
    pub max_indirect: u16,
    /// Pages may stay mapped.
    pub persistent: bool,
}

impl DiskInfo {
    /// Before anything is known.
    pub(super) fn none() -> Self {
        Self {
            sectors: 0,
            sector_size: 512,
            physical_sector_size: 512,
            read_only: false,
            flush: false,
            barrier: false,
            discard: None,
            secure: false,
            max_indirect: 0,
            persistent: false,
        }
    }

    /// Reads the description in the backend's directory.
    pub(super) fn read<N: Nodes>(
        store: &mut N,
        back: &str,
        dialect: Dialect,
    ) -> Result<Self, StoreError> {
        let number = |store: &mut N, key: &str, default: u32| {
            let found = xenbus::read_u32_if_present(store, &format!("{back}/{key}"))?;
            Ok::<u32, StoreError>(found.unwrap_or(default))
        };
        let sector_size = number(store, keys::SECTOR_SIZE, 512)?;
        let node = sectors(store, back)?;
        let info = VdiskInfo::from_bits_truncate(number(store, keys::INFO, 0)?);
        let discard = number(store, keys::FEATURE_DISCARD, 0)? != 0;
        let granularity = number(store, keys::DISCARD_GRANULARITY, sector_size)?;
        let indirect = number(store, keys::FEATURE_MAX_INDIRECT_SEGMENTS, 0)?;
        Ok(Self {
            sectors: dialect.units(sector_size).sectors_of_node(node),
            sector_size,
            physical_sector_size: number(store, keys::PHYSICAL_SECTOR_SIZE, sector_size)?,
            read_only: info.contains(VdiskInfo::READONLY),
            flush: number(store, keys::FEATURE_FLUSH_CACHE, 0)? != 0,
            barrier: number(store, keys::FEATURE_BARRIER, 0)? != 0,
            discard: discard.then_some(granularity),
            secure: number(store, keys::DISCARD_SECURE, 0)? != 0,
            max_indirect: u16::try_from(indirect).unwrap_or(u16::MAX),
            persistent: number(store, keys::FEATURE_PERSISTENT, 0)? != 0,
        })
    }

    /// What is wrong with it, if anything: a backend's numbers are its own.
    pub(super) fn fault(&self) -> Option<String> {
        let own = self.sector_size;
        if !own.is_power_of_two() || !(512..=4096).contains(&own) {
            return Some(format!("sectors of {own} bytes, must be 512, 1024, 2048 or 4096"));
        }
        if self.sectors == 0 {
            return Some("no sectors".into());
        }
        if self.sectors > u64::MAX / SECTOR_SIZE as u64 {
            return Some(format!("{} sectors, more than bytes can be counted", self.sectors));
        }
        None
    }

    /// What makes it impossible to go on with this disk after `before`, if anything: what is in flight
    /// was made for that.
    pub(super) fn less_than(&self, before: &Self) -> Option<String> {
        let (own, was) = (self.sector_size, before.sector_size);
        if own != was {
            return Some(format!("sectors of {own} bytes, {was} before"));
        }
        if self.sectors < before.sectors {
            return Some(format!("{} sectors, {} before", self.sectors, before.sectors));
        }
        let (most, was) = (self.max_indirect, before.max_indirect);
        (most < was).then(|| format!("{most} segments in a request, {was} before"))
    }
}

/// The `sectors` node, whatever its units.
fn sectors<N: Nodes>(store: &mut N, back: &str) -> Result<u64, StoreError> {
    let path = format!("{back}/{}", keys::SECTORS);
    let text = store.read_string(&path)?;
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let value = text.parse().ok().filter(|_| digits);
    let expected = "a decimal number below 2^64";
    value.ok_or(StoreError::Value { path, value: text, expected })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_backend_may_offer_more_and_not_less() {
        let before = DiskInfo {
            sectors: 1000,
            sector_size: 512,
            physical_sector_size: 512,
            read_only: false,
            flush: true,
            barrier: true,
            discard: None,
            secure: false,
            max_indirect: 32,
            persistent: false,
        };
        assert_eq!(before.less_than(&before), None);
        let more = DiskInfo { sectors: 2000, max_indirect: 256, ..before };
        assert_eq!(more.less_than(&before), None);
        for (less, why) in [
            (DiskInfo { sectors: 999, ..before }, "999 sectors, 1000 before"),
            (DiskInfo { sector_size: 4096, ..before }, "sectors of 4096 bytes, 512 before"),
            (DiskInfo { max_indirect: 0, ..before }, "0 segments in a request, 32 before"),
        ] {
            assert_eq!(less.less_than(&before).as_deref(), Some(why));
        }
    }
}
