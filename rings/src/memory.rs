//! A domain's own memory: its page pool and its grant table, as the domain itself sees them.
//!
//! Control path only: drivers take their frames and grants when they connect and keep them.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::grant::{GrantPage, GrantTable, Layout, StillInUse};
use crate::mem::{Frames, Region};
use crate::{DomId, Gref, PAGE_SIZE, Pfn};

/// What a domain owns: frames, and grants on them.
#[derive(Debug)]
pub struct Memory {
    region: Region,
    layout: Layout,
    inner: Mutex<Inner>,
}

/// Frames of which one other domain may use all: taken and granted together, and given back together.
#[derive(Debug)]
pub struct Granted {
    frames: Frames,
    grefs: Vec<Gref>,
}

#[derive(Debug)]
struct Inner {
    grants: GrantTable<GrantPage>,
    /// Free runs of pool frames: first frame and length, sorted, never touching one another.
    free: Vec<(u32, u32)>,
    /// What was given back while the other domain was using some of it, with the grants that are left.
    leaving: Vec<Granted>,
}

impl Memory {
    /// The memory in `region`, laid out as `layout` says; `None` if that does not fit.
    #[must_use]
    pub fn new(region: Region, layout: Layout) -> Option<Self> {
        if region.len() < layout.bytes() || layout.pool_first > layout.frames {
            return None;
        }
        let grants = GrantTable::new(GrantPage::new(&region, &layout)?);
        let free = vec![(layout.pool_first, layout.frames - layout.pool_first)];
        let inner = Inner { grants, free, leaving: Vec::new() };
        Some(Self { region, layout, inner: Mutex::new(inner) })
    }

    /// Where the frames with fixed jobs are.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The frame with number `pfn`, for those with fixed jobs.
    #[must_use]
    pub fn page(&self, pfn: Pfn) -> Option<Region> {
        self.region.page(pfn)
    }

    /// Takes `count` contiguous frames from the pool. `None` if there is no such run.
    #[must_use]
    pub fn alloc(&self, count: usize) -> Option<Frames> {
        let wanted = u32::try_from(count).ok().filter(|&n| n > 0)?;
        let mut inner = self.lock();
        inner.ask_again();
        let at = inner.free.iter().position(|&(_, len)| len >= wanted)?;
        let (first, len) = inner.free[at];
        if len == wanted {
            inner.free.remove(at);
        } else {
            inner.free[at] = (first + wanted, len - wanted);
        }
        let region = self.region.part(first as usize * PAGE_SIZE, count * PAGE_SIZE)?;
        Some(Frames::new(region, Pfn(first)))
    }

    /// Gives frames back to the pool. All grants on them must have ended.
    ///
    /// # Panics
    /// If they are another memory's: there would be two [`Frames`] for one frame of ours.
    pub fn free(&self, frames: Frames) {
        self.assert_ours(&frames);
        self.lock().put_back(&frames);
    }

    fn assert_ours(&self, frames: &Frames) {
        let offset = frames.pfn(0).0 as usize * PAGE_SIZE;
        assert!(self.region.has_part(offset, frames.region()), "frames of another memory");
    }

    /// Frames in the pool that nobody has.
    #[must_use]
    pub fn free_frames(&self) -> usize {
        self.lock().free.iter().map(|&(_, len)| len as usize).sum()
    }

    /// Lets `domid` read, and unless `readonly` write, the `index`-th of `frames`.
    #[must_use]
    pub fn grant_access(
        &self,
        domid: DomId,
        frames: &Frames,
        index: usize,
        readonly: bool,
    ) -> Option<Gref> {
        self.lock().grants.grant_access(domid, frames.pfn(index), readonly)
    }

    /// Takes access back.
    ///
    /// # Errors
    /// While the other domain uses the page; it must not be reused then. Ask again later.
    pub fn end_access(&self, gref: Gref) -> Result<(), StillInUse> {
        self.lock().grants.end_access(gref)
    }

    /// Takes `count` contiguous frames from the pool and lets `domid` read, and unless `readonly` write,
    /// each of them. `None`, and nothing is taken, if there are not so many frames or grants.
    #[must_use]
    pub fn grant_all(&self, domid: DomId, count: usize, readonly: bool) -> Option<Granted> {
        let frames = self.alloc(count)?;
        let mut granted = Granted { frames, grefs: Vec::with_capacity(count) };
        for index in 0..count {
            match self.grant_access(domid, &granted.frames, index, readonly) {
                Some(gref) => granted.grefs.push(gref),
                None => {
                    granted.close(self);
                    return None;
                }
            }
        }
        Some(granted)
    }

    /// Grants given and not taken back.
    #[must_use]
    pub fn active_grants(&self) -> usize {
        self.lock().grants.active()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic elsewhere leaves these lists whole: each change is a single step.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn put_back(&mut self, frames: &Frames) {
        let (first, len) = (frames.pfn(0).0, u32::try_from(frames.count()).unwrap_or(0));
        let at = self.free.partition_point(|&(start, _)| start < first);
        self.free.insert(at, (first, len));
        self.free.dedup_by(|next, run| {
            let touches = run.0 + run.1 == next.0;
            if touches {
                run.1 += next.1;
            }
            touches
        });
    }

    /// Takes the grants back and, once there is none left, the frames. How many are left.
    fn take_back(&mut self, mut granted: Granted) -> usize {
        granted.grefs.retain(|&gref| self.grants.end_access(gref).is_err());
        let left = granted.grefs.len();
        if left == 0 {
            self.put_back(&granted.frames);
        } else {
            self.leaving.push(granted);
        }
        left
    }

    /// Asks again for what was in use.
    fn ask_again(&mut self) {
        for granted in std::mem::take(&mut self.leaving) {
            self.take_back(granted);
        }
    }
}

impl Granted {
    /// The grants, one for each frame.
    #[inline(always)]
    #[must_use]
    pub fn grefs(&self) -> &[Gref] {
        &self.grefs
    }

    /// The frames' bytes as shared memory.
    #[inline(always)]
    #[must_use]
    pub fn region(&self) -> &Region {
        self.frames.region()
    }

    /// Lends bytes to be filled in place; see [`Frames::lend`].
    #[inline(always)]
    pub fn lend<R>(&mut self, offset: usize, len: usize, fill: impl FnOnce(&mut [u8]) -> R) -> R {
        self.frames.lend(offset, len, fill)
    }

    /// Takes all grants back and returns the frames. While the other domain uses one of them they all
    /// stay out of the pool (XSA-396), and whoever takes something or closes another `Granted` asks for
    /// them again. Says how many grants are in use now.
    ///
    /// # Panics
    /// As [`Memory::free`].
    pub fn close(self, memory: &Memory) -> usize {
        memory.assert_ours(&self.frames);
        let mut inner = memory.lock();
        inner.ask_again();
        inner.take_back(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grant::{Hold, Pins};

    fn memory(frames: u32) -> Memory {
        let layout = Layout::new(frames, 512);
        Memory::new(Region::anonymous(layout.bytes()), layout).expect("fits")
    }

    #[test]
    #[should_panic(expected = "frames of another memory")]
    fn a_pool_takes_only_its_own_frames() {
        let (ours, theirs) = (memory(64), memory(64));
        ours.free(theirs.alloc(1).unwrap());
    }

    #[test]
    fn runs_come_back_together() {
        let m = memory(64);
        let all = m.free_frames();
        let (a, b, c) = (m.alloc(3).unwrap(), m.alloc(17).unwrap(), m.alloc(5).unwrap());
        assert_eq!(m.free_frames(), all - 25);
        assert!(m.alloc(64).is_none());
        m.free(b);
        m.free(a);
        m.free(c);
        assert_eq!(m.free_frames(), all);
        assert!(m.alloc(all).is_some(), "one run again");
    }

    #[test]
    fn grants_count_back_to_zero() {
        let m = memory(64);
        let f = m.alloc(2).unwrap();
        let g = m.grant_access(DomId(0), &f, 1, true).unwrap();
        assert_eq!(m.active_grants(), 1);
        m.end_access(g).unwrap();
        assert_eq!(m.active_grants(), 0);
    }

    #[test]
    fn what_is_in_use_when_it_is_given_back_comes_back_later() {
        let m = memory(64);
        let free = m.free_frames();
        let table = GrantPage::new(&m.region, &m.layout).expect("fits");
        let mut hold = Hold::attach(0, &table);
        let [first, second] = [16, 3].map(|n| m.grant_all(DomId(0), n, false).expect("room"));
        let mut pins = Pins::default();
        let mapped = second.grefs()[1];
        pins.pin(&table, DomId(0), mapped, true).unwrap();

        hold.begin(&table);
        assert_eq!(first.close(&m), 16, "a batch runs, it may have seen any of them");
        hold.end(&table);
        assert_eq!(second.close(&m), 1, "one is mapped");
        assert_eq!((m.free_frames(), m.active_grants()), (free - 3, 1), "and the batch is over");
        let third = m.grant_all(DomId(0), 1, false).expect("room");
        pins.unpin(&table, mapped, true).unwrap();
        assert_eq!(third.close(&m), 0);
        assert_eq!((m.free_frames(), m.active_grants()), (free, 0));

        hold.begin(&table);
        let all = m.grant_all(DomId(0), free, false).expect("all there is");
        assert_eq!(all.close(&m), free);
        assert!(m.alloc(1).is_none(), "none of them yet");
        hold.end(&table);
        assert!(m.alloc(free).is_some(), "whoever needs them asks again");
    }

    #[test]
    fn what_cannot_be_granted_whole_is_not_taken() {
        let m = memory(4096);
        let free = m.free_frames();
        let mut all = Vec::new();
        while let Some(one) = m.grant_all(DomId(0), 1, false) {
            all.push(one);
        }
        let (frames, grants) = (m.free_frames(), m.active_grants());
        assert!(frames > 0, "it is the grants that are short");
        all.drain(..3).for_each(|one| assert_eq!(one.close(&m), 0));
        assert!(m.grant_all(DomId(0), 4, true).is_none());
        assert!(m.grant_all(DomId(0), 1 << 20, true).is_none());
        assert_eq!((m.free_frames(), m.active_grants()), (frames + 3, grants - 3));
        let three = m.grant_all(DomId(0), 3, true).expect("as many as there are");
        assert_eq!((three.grefs().len(), three.region().len()), (3, 3 * PAGE_SIZE));
        three.close(&m);
        all.into_iter().for_each(|one| assert_eq!(one.close(&m), 0));
        assert_eq!((m.free_frames(), m.active_grants()), (free, 0));
    }
}
