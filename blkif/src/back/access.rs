//! The guest's pages, reached in one of three ways: copied by the hypervisor, mapped for one request,
//! or kept mapped.
//!
//! Whatever the way, data goes between a page and a private buffer here, once, and a page that cannot
//! be reached fails its request alone.

use std::time::{Duration, Instant};

use rings::grant::{CopyOp, GntStatus};
use rings::lru::Lru;
use rings::mem::Region;
use rings::weaken::{Check, skipped};
use rings::{Foreign, ForeignCounters, GrantMode, Gref, PAGE_SIZE};

use super::parse::Segment;

/// Pages kept mapped for all queues of a vbd together (`max_persistent_grants`).
pub(crate) const MAX_PERSISTENT: usize = 1056;
/// A page that nobody used for so long is unmapped.
const IDLE: Duration = Duration::from_secs(60);

type Maps<F> = Vec<Result<<F as Foreign>::Mapping, GntStatus>>;

/// Access to one guest's pages, for one queue.
#[derive(Debug)]
pub(crate) struct Access<F: Foreign> {
    foreign: F,
    mode: GrantMode,
    ops: Vec<CopyOp>,
    grefs: Vec<Gref>,
    maps: Maps<F>,
    kept: Lru<Kept<F::Mapping>>,
    /// The time, as far as the age of kept pages needs it.
    now: Instant,
    /// What a page of zeros is copied from.
    zeros: Vec<u8>,
    /// Bytes copied through mappings.
    copied: u64,
}

/// A page that stays mapped.
#[derive(Debug)]
struct Kept<M> {
    map: M,
    used: Instant,
}

/// Which way the bytes go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    /// From the guest.
    In,
    /// To the guest.
    Out,
}

impl<F: Foreign> Access<F> {
    /// Access in this mode, keeping at most `limit` pages mapped.
    pub(crate) fn new(foreign: F, mode: GrantMode, limit: usize) -> Self {
        Self {
            foreign,
            mode,
            ops: Vec::with_capacity(512),
            grefs: Vec::with_capacity(512),
            maps: Vec::new(),
            kept: Lru::new(if skipped(Check::Kept) { usize::MAX } else { limit }),
            now: Instant::now(),
            zeros: vec![0; PAGE_SIZE],
            copied: 0,
        }
    }

    /// What was done through grants.
    pub(crate) fn counters(&self) -> ForeignCounters {
        self.foreign.counters()
    }

    /// Bytes copied between pages and buffers.
    pub(crate) fn copied(&self) -> u64 {
        self.copied + self.foreign.counters().bytes
    }

    /// Pages kept mapped now.
    pub(crate) fn kept(&self) -> usize {
        self.kept.len()
    }

    /// Copies the guest's bytes into `buffer`, the segments one after the other. `false` if a page
    /// cannot be read.
    #[inline]
    pub(crate) fn fetch(&mut self, segments: &[Segment], buffer: &mut [u8]) -> bool {
        if self.mode == GrantMode::Copy {
            self.plan(segments, false);
            self.foreign.copy_from(&mut self.ops, buffer);
            return self.ops.iter().all(|op| op.status == GntStatus::Okay);
        }
        let mut at = 0;
        self.through_maps(segments, Way::In, |page, segment| {
            let len = usize::from(segment.len);
            page.copy_out(usize::from(segment.offset), &mut buffer[at..at + len]);
            at += len;
        })
    }

    /// Copies `buffer` into the guest's pages. `false` if one cannot be written.
    #[inline]
    pub(crate) fn deliver(&mut self, segments: &[Segment], buffer: &[u8]) -> bool {
        if self.mode == GrantMode::Copy {
            self.plan(segments, false);
            self.foreign.copy_to(&mut self.ops, buffer);
            return self.ops.iter().all(|op| op.status == GntStatus::Okay);
        }
        let mut at = 0;
        self.through_maps(segments, Way::Out, |page, segment| {
            let len = usize::from(segment.len);
            page.copy_in(usize::from(segment.offset), &buffer[at..at + len]);
            at += len;
        })
    }

    /// Zeroes the guest's pages, of many requests at once: the ends of their segments in `segments`
    /// are `ends`; whether its pages could be written is told to `outcome`, of each.
    #[inline]
    pub(crate) fn zero(
        &mut self,
        segments: &[Segment],
        ends: impl Iterator<Item = usize>,
        mut outcome: impl FnMut(bool),
    ) {
        let mut begin = 0;
        if self.mode == GrantMode::Copy {
            self.plan(segments, true);
            self.foreign.copy_to(&mut self.ops, &self.zeros);
            for end in ends {
                outcome(self.ops[begin..end].iter().all(|op| op.status == GntStatus::Okay));
                begin = end;
            }
            return;
        }
        for end in ends {
            outcome(self.through_maps(&segments[begin..end], Way::Out, |page, segment| {
                page.zero(segment.offset.into(), segment.len.into());
            }));
            begin = end;
        }
    }

    /// Copies for all segments: one after the other in the buffer, or all from its start.
    #[inline(always)]
    fn plan(&mut self, segments: &[Segment], same: bool) {
        self.ops.clear();
        let mut at = 0;
        for segment in segments {
            let local = if same { 0 } else { at };
            let (gref, offset, len) = (Gref(segment.gref), segment.offset, segment.len);
            self.ops.push(CopyOp { gref, offset, len, local, status: GntStatus::Okay });
            at += u32::from(len);
        }
    }

    /// Does `copy` with each segment's page, mapped. All or nothing: a page that cannot be mapped keeps
    /// the others from being touched.
    fn through_maps(
        &mut self,
        segments: &[Segment],
        way: Way,
        mut copy: impl FnMut(&Region, &Segment),
    ) -> bool {
        let fits = self.mode == GrantMode::Persistent && segments.len() <= self.kept.limit();
        if fits && segments.iter().all(|s| self.keep(Gref(s.gref))) {
            for segment in segments {
                // Just used, and no more of them than may be kept: they are there.
                let Some(kept) = self.kept.get(segment.gref as usize) else { return false };
                copy(self.foreign.region(&kept.map), segment);
                self.copied += u64::from(segment.len);
            }
            return true;
        }
        self.grefs.clear();
        self.grefs.extend(segments.iter().map(|segment| Gref(segment.gref)));
        self.foreign.map_data(&self.grefs, way == Way::Out, &mut self.maps);
        let good = self.maps.iter().all(Result::is_ok);
        if good {
            for (segment, map) in segments.iter().zip(&self.maps) {
                let Ok(map) = map else { continue };
                copy(self.foreign.region(map), segment);
                self.copied += u64::from(segment.len);
            }
        }
        self.foreign.unmap_data(&mut self.maps);
        good
    }

    /// Makes sure that a page is mapped for good, for reading and writing as Linux maps it. `false` if
    /// the guest has granted it for reading only, or not at all: then it is mapped for this request.
    #[inline]
    fn keep(&mut self, gref: Gref) -> bool {
        if let Some(kept) = self.kept.get(gref.0 as usize) {
            kept.used = self.now;
            return true;
        }
        self.foreign.map_data(&[gref], true, &mut self.maps);
        let Some(Ok(map)) = self.maps.pop() else { return false };
        let kept = Kept { map, used: self.now };
        if let Some((_, gone)) = self.kept.insert(gref.0 as usize, kept) {
            self.maps.push(Ok(gone.map));
            self.foreign.unmap_data(&mut self.maps);
        }
        true
    }

    /// Now and then: notes the time, and unmaps what has not been used for long.
    pub(crate) fn tick(&mut self, now: Instant) {
        self.now = now;
        let idle = |kept: &Kept<_>| now.saturating_duration_since(kept.used) >= IDLE;
        while self.kept.oldest().is_some_and(idle) {
            self.maps.extend(self.kept.pop_oldest().map(|(_, kept)| Ok(kept.map)));
        }
        if !self.maps.is_empty() {
            self.foreign.unmap_data(&mut self.maps);
        }
    }

    /// Reads `into.len()` bytes from the start of a page that is no data: one of segments.
    pub(crate) fn read_page(&mut self, gref: Gref, into: &mut [u8]) -> bool {
        let len = u16::try_from(into.len().min(PAGE_SIZE)).unwrap_or(0);
        let segment = Segment { gref: gref.0, offset: 0, len };
        self.fetch(&[segment], into)
    }

    /// Unmaps everything: as many unmaps as maps (XSA-371).
    pub(crate) fn close(&mut self) {
        while let Some((_, kept)) = self.kept.pop_oldest() {
            self.maps.push(Ok(kept.map));
        }
        self.foreign.unmap_data(&mut self.maps);
    }
}
