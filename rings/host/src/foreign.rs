//! A backend's access to one frontend's grants: copy, map, persistent.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use rings::cost::{Charge, Cost};
use rings::grant::{CopyEngine, CopyOp, GntStatus, GrantPage, Pins};
use rings::lru::Lru;
use rings::mem::Region;
use rings::weaken::{Check, skipped};
use rings::{DomId, Foreign, ForeignCounters, GrantMode, Gref, Pfn};
use tracer::traced;

use crate::domain::Released;
use crate::mapping::{map_frame, map_frames};

/// What all queues that serve the same frontend share: its memory, and what of it is pinned.
#[derive(Debug)]
pub(crate) struct Granter {
    pub(crate) memory: OwnedFd,
    pub(crate) pins: Mutex<Pins>,
}

/// Pages kept mapped for one queue, as many as Linux' blkback keeps (`max_persistent_grants`); netfront
/// has 784 of them. A guest has thousands of grants, each can be mapped for reading and for writing,
/// and a process may have no more than `vm.max_map_count` mappings, for all its guests together.
const MAX_KEPT: usize = 1056;

/// Access to one frontend's grants, for one queue.
#[derive(Debug)]
pub struct HostForeign {
    caller: DomId,
    mode: GrantMode,
    granter: Arc<Granter>,
    engine: CopyEngine,
    cost: Cost,
    counters: ForeignCounters,
    /// Pages that stay mapped, in persistent mode.
    kept: Lru<Mapping>,
    /// Gives the hold word back to the host.
    _released: Released,
}

/// A mapped page, or the mapped pages of a ring. Dropping it unmaps them, and then unpins the grants;
/// a view of the region that lives longer keeps both.
#[derive(Debug)]
pub struct Mapping {
    region: Region,
}

/// A grant that is pinned. Dropping it unpins it.
#[derive(Debug)]
struct Pinned {
    gref: Gref,
    write: bool,
    granter: Arc<Granter>,
    table: GrantPage,
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let mut pins = self.granter.pins.lock().unwrap_or_else(PoisonError::into_inner);
        // We made this pin, so it is there.
        let _ = pins.unpin(&self.table, self.gref, self.write);
    }
}

impl HostForeign {
    pub(crate) fn new(
        caller: DomId,
        mode: GrantMode,
        granter: Arc<Granter>,
        engine: CopyEngine,
        cost: Cost,
        released: Released,
    ) -> Self {
        let counters = ForeignCounters::default();
        let kept = Lru::new(if skipped(Check::Kept) { usize::MAX } else { MAX_KEPT });
        Self { caller, mode, granter, engine, cost, counters, kept, _released: released }
    }

    fn map_page(&mut self, gref: Gref, write: bool) -> Result<Mapping, GntStatus> {
        let _span = tracer::span!(GRANT, "map", ops = 1);
        self.cost.charge(Charge::Map(1));
        self.map_uncharged(gref, write)
    }

    fn map_uncharged(&mut self, gref: Gref, write: bool) -> Result<Mapping, GntStatus> {
        let (frame, pinned) = self.pin(gref, write)?;
        let region = map_frame(&self.granter.memory, frame, write, pinned);
        region.map(|region| Mapping { region }).map_err(|_| GntStatus::NoSpace)
    }

    fn pin(&self, gref: Gref, write: bool) -> Result<(Pfn, Pinned), GntStatus> {
        let (table, granter) = (self.engine.table().clone(), Arc::clone(&self.granter));
        let frame = {
            let mut pins = granter.pins.lock().unwrap_or_else(PoisonError::into_inner);
            pins.pin(&table, self.caller, gref, write)?
        };
        let pinned = Pinned { gref, write, granter, table };
        if self.engine.in_memory(frame) { Ok((frame, pinned)) } else { Err(GntStatus::BadPage) }
    }

    /// The mapping of a page that stays mapped: until as many others were used since.
    fn kept(&mut self, gref: Gref, write: bool) -> Result<&Mapping, GntStatus> {
        let key = gref.0 as usize * 2 + usize::from(write);
        if self.kept.get(key).is_none() {
            let mapping = self.map_page(gref, write)?;
            self.counters.maps += 1;
            if let Some((_, gone)) = self.kept.insert(key, mapping) {
                drop(gone);
                self.cost.charge(Charge::Map(1));
                self.counters.unmaps += 1;
            }
        }
        self.kept.get(key).map(|mapping| &*mapping).ok_or(GntStatus::GeneralError)
    }

    /// Does `op` through a mapping of its page: one made for it, or one that is kept.
    fn through_map(
        &mut self,
        op: &CopyOp,
        write: bool,
        copy: impl FnOnce(&Region, usize),
    ) -> Result<(), GntStatus> {
        if usize::from(op.offset) + usize::from(op.len) > rings::PAGE_SIZE {
            return Err(GntStatus::BadCopyArg);
        }
        if self.mode == GrantMode::Persistent {
            copy(&self.kept(op.gref, write)?.region, op.offset.into());
        } else {
            let mapping = self.map_page(op.gref, write)?;
            self.counters.maps += 1;
            copy(&mapping.region, op.offset.into());
            drop(mapping);
            self.cost.charge(Charge::Map(1));
            self.counters.unmaps += 1;
        }
        Ok(())
    }
}

impl Foreign for HostForeign {
    type Mapping = Mapping;

    #[inline]
    fn anticipate(&self) {
        self.engine.anticipate();
    }

    #[inline]
    fn copy_from(&mut self, ops: &mut [CopyOp], arena: &mut [u8]) -> u64 {
        if self.mode == GrantMode::Copy {
            self.charge_copy(ops.len());
            let bytes = self.engine.copy_from(ops, arena);
            self.counters.bytes += bytes;
            return bytes;
        }
        let mut bytes = 0;
        for op in ops {
            let range = op.local as usize..op.local as usize + usize::from(op.len);
            op.status = match arena.get_mut(range) {
                Some(to) => self.through_map(op, false, |page, at| page.copy_out(at, to)),
                None => Err(GntStatus::BadCopyArg),
            }
            .map_or_else(|status| status, |()| GntStatus::Okay);
            bytes += if op.status == GntStatus::Okay { u64::from(op.len) } else { 0 };
        }
        self.counters.bytes += bytes;
        bytes
    }

    #[inline]
    fn copy_to(&mut self, ops: &mut [CopyOp], arena: &[u8]) -> u64 {
        if self.mode == GrantMode::Copy {
            self.charge_copy(ops.len());
            let bytes = self.engine.copy_to(ops, arena);
            self.counters.bytes += bytes;
            return bytes;
        }
        let mut bytes = 0;
        for op in ops {
            let range = op.local as usize..op.local as usize + usize::from(op.len);
            op.status = match arena.get(range) {
                Some(from) => self.through_map(op, true, |page, at| page.copy_in(at, from)),
                None => Err(GntStatus::BadCopyArg),
            }
            .map_or_else(|status| status, |()| GntStatus::Okay);
            bytes += if op.status == GntStatus::Okay { u64::from(op.len) } else { 0 };
        }
        self.counters.bytes += bytes;
        bytes
    }

    fn map(&mut self, gref: Gref) -> Result<Mapping, GntStatus> {
        self.map_page(gref, true)
    }

    fn map_ring(&mut self, grefs: &[Gref]) -> Result<Mapping, GntStatus> {
        let [gref, more @ ..] = grefs else { return Err(GntStatus::GeneralError) };
        if more.is_empty() {
            return self.map_page(*gref, true);
        }
        let _span = tracer::span!(GRANT, "map", ops = grefs.len());
        self.cost.charge(Charge::Map(u32::try_from(grefs.len()).unwrap_or(u32::MAX)));
        let (mut frames, mut pinned) = (Vec::new(), Vec::new());
        for &gref in grefs {
            let (frame, pin) = self.pin(gref, true)?;
            frames.push(frame);
            pinned.push(pin);
        }
        let region = map_frames(&self.granter.memory, &frames, pinned);
        region.map(|region| Mapping { region }).map_err(|_| GntStatus::NoSpace)
    }

    #[traced(GRANT, ops = grefs.len())]
    fn map_data(
        &mut self,
        grefs: &[Gref],
        write: bool,
        maps: &mut Vec<Result<Mapping, GntStatus>>,
    ) {
        self.cost.charge(Charge::Map(u32::try_from(grefs.len()).unwrap_or(u32::MAX)));
        for &gref in grefs {
            let map = self.map_uncharged(gref, write);
            self.counters.maps += u64::from(map.is_ok());
            maps.push(map);
        }
    }

    #[traced(GRANT, ops = maps.len())]
    fn unmap_data(&mut self, maps: &mut Vec<Result<Mapping, GntStatus>>) {
        self.cost.charge(Charge::Map(u32::try_from(maps.len()).unwrap_or(u32::MAX)));
        for map in maps.drain(..) {
            self.counters.unmaps += u64::from(map.is_ok());
        }
    }

    fn region<'a>(&self, mapping: &'a Mapping) -> &'a Region {
        &mapping.region
    }

    fn counters(&self) -> ForeignCounters {
        self.counters
    }
}

impl HostForeign {
    #[inline(always)]
    fn charge_copy(&mut self, ops: usize) {
        self.counters.copies += ops as u64;
        self.cost.charge(Charge::Copy(u32::try_from(ops).unwrap_or(u32::MAX)));
    }
}
