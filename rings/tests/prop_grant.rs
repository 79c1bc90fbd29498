//! Who may touch which page, and does everything that was taken come back?
//!
//! Grants, pins, copies and their ends in any order, with arguments right and wrong, against a
//! model that remembers each grant as a record; and the page pool against a set. All in this
//! thread: two processes at once are the business of `loom.rs`.

#![cfg(not(loom))]

use std::collections::{BTreeSet, HashMap};

use proptest::collection::vec;
use proptest::prelude::*;
use rings::grant::{
    CopyEngine, CopyOp, GntStatus, GrantMem, GrantPage, GrantTable, Hold, Layout, Pins, StillInUse,
};
use rings::io::grant_table::{GrantEntry, GrantFlags};
use rings::mem::Region;
use rings::sync::Ordering;
use rings::{DomId, Gref, Memory, PAGE_SIZE, Pfn};

/// Frames of the granter; its pool is what the fixed jobs leave.
const FRAMES: u32 = 12;
/// The one whose pins and copies are tried.
const CALLER: DomId = DomId(3);
const ARENA: usize = 3 * PAGE_SIZE;

fn layout() -> Layout {
    Layout::new(FRAMES, 512)
}

/// A grant as it should be.
#[derive(Clone, Copy, Debug)]
struct Grant {
    domid: DomId,
    frame: Pfn,
    readonly: bool,
    readers: usize,
    writers: usize,
}

impl Grant {
    /// The entry that tells of it: reading while it is mapped at all, writing while that is allowed.
    fn entry(&self) -> GrantEntry {
        let mut entry = GrantEntry::permit_access(self.domid, self.frame, self.readonly);
        entry.flags.set(GrantFlags::READING, self.readers + self.writers > 0);
        entry.flags.set(GrantFlags::WRITING, self.writers > 0);
        entry
    }

    /// What Xen answers one who wants to use it, for reading or for writing.
    fn permits(&self, write: bool) -> Result<Pfn, GntStatus> {
        if self.domid != CALLER || (write && self.readonly) {
            return Err(GntStatus::GeneralError);
        }
        Ok(self.frame)
    }
}

#[derive(Clone, Debug)]
enum Step {
    Grant { domid: DomId, frame: Pfn, readonly: bool },
    EndAccess(Gref),
    Pin { gref: Gref, write: bool },
    Unpin { gref: Gref, write: bool },
    Copy { write: bool, ops: Vec<CopyOp> },
}

/// Mostly grefs that the first grants get, but also reserved ones and such as do not exist.
fn gref() -> impl Strategy<Value = Gref> {
    prop_oneof![8 => 8..14_u32, 1 => 0..600_u32, 1 => any::<u32>()].prop_map(Gref)
}

/// Mostly frames of the pool, but also such as do not exist.
fn frame() -> impl Strategy<Value = Pfn> {
    let pool = layout().pool_first..FRAMES;
    prop_oneof![8 => pool, 1 => FRAMES..FRAMES + 3, 1 => any::<u32>(), 1 => Just(u32::MAX)]
        .prop_map(Pfn)
}

fn copy_op() -> impl Strategy<Value = CopyOp> {
    let within = 0..=4096_u16;
    let (offset, len) = (within.clone(), prop_oneof![3 => within, 1 => any::<u16>(), 1 => Just(0)]);
    let local = prop_oneof![5 => 0..ARENA, 1 => Just(ARENA), 1 => Just(u32::MAX as usize)];
    (gref(), prop_oneof![3 => 0..64_u16, 1 => offset], len, local).prop_map(
        |(gref, offset, len, local)| {
            let local = u32::try_from(local).expect("small");
            CopyOp { gref, offset, len, local, status: GntStatus::Eagain }
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let domid = prop_oneof![4 => Just(CALLER), 1 => any::<u16>().prop_map(DomId)];
    prop_oneof![
        3 => (domid, frame(), any::<bool>())
            .prop_map(|(domid, frame, readonly)| Step::Grant { domid, frame, readonly }),
        2 => gref().prop_map(Step::EndAccess),
        2 => (gref(), any::<bool>()).prop_map(|(gref, write)| Step::Pin { gref, write }),
        2 => (gref(), any::<bool>()).prop_map(|(gref, write)| Step::Unpin { gref, write }),
        3 => (any::<bool>(), vec(copy_op(), 0..8))
            .prop_map(|(write, ops)| Step::Copy { write, ops }),
    ]
}

/// What the copy of one operation should answer, as Xen does.
fn expected(op: &CopyOp, write: bool, grants: &HashMap<Gref, Grant>) -> GntStatus {
    let (start, len) = (usize::from(op.offset), usize::from(op.len));
    if len > 0 {
        if start + len > PAGE_SIZE {
            return GntStatus::BadCopyArg;
        }
        if op.gref.0 >= Layout::ENTRIES_PER_FRAME {
            return GntStatus::BadGntref;
        }
        match grants.get(&op.gref).map(|grant| grant.permits(write)) {
            None => return GntStatus::GeneralError,
            Some(Err(status)) => return status,
            Some(Ok(frame)) if frame.0 >= FRAMES => return GntStatus::BadPage,
            Some(Ok(_)) => {}
        }
    }
    if op.local as usize + len > ARENA { GntStatus::BadCopyArg } else { GntStatus::Okay }
}

/// A granter, one that uses its grants, and what should be true of both.
struct World {
    memory: Region,
    page: GrantPage,
    table: GrantTable<GrantPage>,
    pins: Pins,
    engine: CopyEngine,
    arena: Vec<u8>,
    grants: HashMap<Gref, Grant>,
}

impl World {
    fn new() -> Self {
        let memory = Region::anonymous(layout().bytes());
        for at in (layout().pool_first as usize * PAGE_SIZE..memory.len()).step_by(8) {
            memory.write(at, at);
        }
        let page = GrantPage::new(&memory, &layout()).expect("fits");
        let hold = Hold::attach(5, &page);
        let engine = CopyEngine::new(CALLER, memory.clone(), page.clone(), hold);
        let arena = (0..ARENA).map(|i| i.to_le_bytes()[0] ^ 0x5a).collect();
        let table = GrantTable::new(page.clone());
        Self { memory, page, table, pins: Pins::default(), engine, arena, grants: HashMap::new() }
    }

    /// The granter's pool, byte by byte.
    fn pool(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.memory.len()];
        self.memory.copy_out(0, &mut bytes);
        bytes.split_off(layout().pool_first as usize * PAGE_SIZE)
    }

    fn copy(&mut self, write: bool, mut ops: Vec<CopyOp>) -> Result<(), TestCaseError> {
        let (mut pool, mut arena) = (self.pool(), self.arena.clone());
        let mut bytes = 0;
        for op in &ops {
            if expected(op, write, &self.grants) == GntStatus::Okay && op.len > 0 {
                let frame = self.grants[&op.gref].frame.0 - layout().pool_first;
                let (page, local) =
                    (frame as usize * PAGE_SIZE + usize::from(op.offset), op.local as usize);
                let (theirs, ours) =
                    (page..page + usize::from(op.len), local..local + usize::from(op.len));
                if write {
                    pool[theirs].copy_from_slice(&arena[ours]);
                } else {
                    arena[ours].copy_from_slice(&pool[theirs]);
                }
                bytes += u64::from(op.len);
            }
        }
        let copied = if write {
            self.engine.copy_to(&mut ops, &self.arena)
        } else {
            self.engine.copy_from(&mut ops, &mut self.arena)
        };
        prop_assert_eq!(copied, bytes);
        for op in &ops {
            prop_assert_eq!(op.status, expected(op, write, &self.grants), "{:?}", op);
        }
        prop_assert!(self.pool() == pool && self.arena == arena, "other bytes than the granted");
        Ok(())
    }

    fn pin(&mut self, gref: Gref, write: bool) -> Result<(), TestCaseError> {
        let grant = self.grants.get_mut(&gref);
        let expected = match &grant {
            _ if gref.0 >= Layout::ENTRIES_PER_FRAME => Err(GntStatus::BadGntref),
            None => Err(GntStatus::GeneralError),
            Some(grant) => grant.permits(write),
        };
        prop_assert_eq!(self.pins.pin(&self.page, CALLER, gref, write), expected);
        if let (Some(grant), Ok(_)) = (grant, expected) {
            *(if write { &mut grant.writers } else { &mut grant.readers }) += 1;
        }
        Ok(())
    }

    fn unpin(&mut self, gref: Gref, write: bool) -> Result<(), TestCaseError> {
        let count = self
            .grants
            .get_mut(&gref)
            .map(|grant| if write { &mut grant.writers } else { &mut grant.readers });
        let expected = match count {
            Some(count) if *count > 0 => {
                *count -= 1;
                Ok(())
            }
            _ => Err(GntStatus::BadHandle),
        };
        prop_assert_eq!(self.pins.unpin(&self.page, gref, write), expected);
        Ok(())
    }

    fn end_access(&mut self, gref: Gref) -> Result<(), TestCaseError> {
        if gref.0 < 8 {
            return Ok(()); // Reserved: the toolstack's, not the domain's.
        }
        let in_use = self.grants.get(&gref).is_some_and(|g| g.readers + g.writers > 0);
        let expected = if in_use { Err(StillInUse(gref)) } else { Ok(()) };
        prop_assert_eq!(self.table.end_access(gref), expected);
        if !in_use {
            self.grants.remove(&gref);
        }
        Ok(())
    }

    fn step(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Grant { domid, frame, readonly } => {
                let gref = self.table.grant_access(domid, frame, readonly).expect("a free gref");
                let grant = Grant { domid, frame, readonly, readers: 0, writers: 0 };
                prop_assert!(self.grants.insert(gref, grant).is_none(), "{} given twice", gref);
            }
            Step::EndAccess(gref) => self.end_access(gref)?,
            Step::Pin { gref, write } => self.pin(gref, write)?,
            Step::Unpin { gref, write } => self.unpin(gref, write)?,
            Step::Copy { write, ops } => self.copy(write, ops)?,
        }
        let pinned: usize = self.grants.values().map(|g| g.readers + g.writers).sum();
        prop_assert_eq!(self.pins.active(), pinned);
        prop_assert_eq!(self.table.active(), self.grants.len());
        for (&gref, grant) in &self.grants {
            let word = self.page.load(gref, Ordering::Relaxed);
            prop_assert_eq!(GrantEntry::from_u64(word), grant.entry());
        }
        Ok(())
    }
}

proptest! {
    #[test]
    fn grants_pins_and_copies_agree_with_the_model(steps in vec(step(), 0..80)) {
        let mut world = World::new();
        for step in steps {
            world.step(step)?;
        }
        // Everything that was taken comes back.
        let grants: Vec<_> = world.grants.clone().into_iter().collect();
        for (gref, grant) in grants {
            for _ in 0..grant.readers {
                world.unpin(gref, false)?;
            }
            for _ in 0..grant.writers {
                world.unpin(gref, true)?;
            }
            world.end_access(gref)?;
        }
        prop_assert_eq!((world.pins.active(), world.table.active()), (0, 0));
        let mut entries = vec![0xff; PAGE_SIZE];
        world.memory.copy_out(0, &mut entries);
        prop_assert!(entries.iter().all(|&byte| byte == 0), "an entry was left behind");
    }

    /// The pool against the set of its free frames.
    #[test]
    fn the_pool_gives_each_frame_once_and_every_run_it_has(
        steps in vec(prop_oneof![(0..9_usize).prop_map(Ok), any::<usize>().prop_map(Err)], 0..100),
    ) {
        let layout = Layout::new(40, 8);
        let pool = Memory::new(Region::anonymous(layout.bytes()), layout).expect("fits");
        let mut free: BTreeSet<u32> = (layout.pool_first..layout.frames).collect();
        let mut taken = Vec::new();
        for step in steps {
            match step {
                Ok(count) => {
                    let run = u32::try_from(count).expect("small");
                    let fits = free.iter().any(|&at| (at..at + run).all(|pfn| free.contains(&pfn)));
                    let got = pool.alloc(count);
                    prop_assert_eq!(got.is_some(), count > 0 && fits);
                    if let Some(frames) = got {
                        prop_assert_eq!(frames.count(), count);
                        for index in 0..count {
                            prop_assert!(free.remove(&frames.pfn(index).0), "given twice");
                        }
                        taken.push(frames);
                    }
                }
                Err(which) if !taken.is_empty() => {
                    let frames = taken.swap_remove(which % taken.len());
                    free.extend((0..frames.count()).map(|index| frames.pfn(index).0));
                    pool.free(frames);
                }
                Err(_) => {}
            }
            prop_assert_eq!(pool.free_frames(), free.len());
        }
    }
}

#[test]
fn the_129th_pin_of_a_kind_is_refused_and_the_other_kind_is_not() {
    let mut world = World::new();
    let gref = world.table.grant_access(CALLER, Pfn(5), false).expect("a free gref");
    for write in [false, true] {
        for _ in 0..128 {
            assert_eq!(world.pins.pin(&world.page, CALLER, gref, write), Ok(Pfn(5)));
        }
        let refused = world.pins.pin(&world.page, CALLER, gref, write);
        assert_eq!(refused, Err(GntStatus::GeneralError));
    }
    assert_eq!(world.pins.active(), 256);
}

#[test]
fn a_grant_that_was_ended_twice_is_free_once() {
    let mut world = World::new();
    let gref = world.table.grant_access(CALLER, Pfn(5), false).expect("a free gref");
    assert_eq!((world.table.end_access(gref), world.table.end_access(gref)), (Ok(()), Ok(())));
    assert_eq!(world.table.active(), 0);
    let again = [(), ()].map(|()| world.table.grant_access(CALLER, Pfn(5), false));
    assert_ne!(again[0], again[1]);
}

#[test]
fn a_copier_that_died_in_a_batch_holds_nothing_once_its_line_is_given_on() {
    let mut world = World::new();
    let gref = world.table.grant_access(CALLER, Pfn(5), false).expect("a free gref");
    Hold::attach(9, &world.page).begin(&world.page);
    assert_eq!(world.table.end_access(gref), Err(StillInUse(gref)));
    let _next = Hold::attach(9, &world.page);
    assert_eq!(world.table.end_access(gref), Ok(()));
}
