//! Journey 12. Copying through grants (`GNTTABOP_copy`): the simulated hypervisor checks the entry,
//! the domain, the direction and the bounds of each operation, and copies.

use super::{GntStatus, GrantMem, GrantPage, Hold, check};
use crate::io::grant_table::GrantEntry;
use crate::mem::Region;
use crate::sync::Ordering;
use crate::weaken::{Check, skipped};
use crate::{DomId, Gref, PAGE_SIZE, Pfn};

/// One copy between a granted page and private memory.
#[derive(Clone, Copy, Debug)]
pub struct CopyOp {
    /// The page, in the other domain's table.
    pub gref: Gref,
    /// Where in the page. Bytes.
    pub offset: u16,
    /// How many bytes. 0 is answered `Okay` without a look at the gref, as Xen does (XSA-448).
    pub len: u16,
    /// Where in the private memory. Bytes.
    pub local: u32,
    /// The answer.
    pub status: GntStatus,
}

impl Default for CopyOp {
    fn default() -> Self {
        Self { gref: Gref(0), offset: 0, len: 0, local: 0, status: GntStatus::Okay }
    }
}

/// The checks and the copying, for one copier and one granter.
#[derive(Debug)]
pub struct CopyEngine {
    caller: DomId,
    memory: Region,
    table: GrantPage,
    hold: Hold,
}

impl CopyEngine {
    /// Copies between `caller` and the domain whose whole memory is `memory`.
    #[must_use]
    pub fn new(caller: DomId, memory: Region, table: GrantPage, hold: Hold) -> Self {
        Self { caller, memory, table, hold }
    }

    /// The granter's table.
    #[must_use]
    pub fn table(&self) -> &GrantPage {
        &self.table
    }

    /// Whether the granter has this frame at all.
    #[must_use]
    pub fn in_memory(&self, frame: Pfn) -> bool {
        (frame.0 as usize) < self.memory.len() / PAGE_SIZE
    }

    /// Which hold word is ours.
    #[must_use]
    pub fn hold_line(&self) -> usize {
        self.hold.line()
    }

    /// Copies each operation's bytes out of its page into `arena`. Returns the bytes copied.
    #[inline]
    pub fn copy_from(&mut self, ops: &mut [CopyOp], arena: &mut [u8]) -> u64 {
        self.hold.begin(&self.table);
        let mut bytes = 0;
        for op in ops {
            op.status = match self.locate(op, false) {
                Ok(at) => {
                    match arena.get_mut(op.local as usize..op.local as usize + op.len as usize) {
                        Some(to) => {
                            self.memory.copy_out(at, to);
                            bytes += u64::from(op.len);
                            GntStatus::Okay
                        }
                        None => GntStatus::BadCopyArg,
                    }
                }
                Err(status) => status,
            };
        }
        self.hold.end(&self.table);
        bytes
    }

    /// Copies each operation's bytes from `arena` into its page. Returns the bytes copied.
    #[inline]
    pub fn copy_to(&mut self, ops: &mut [CopyOp], arena: &[u8]) -> u64 {
        self.hold.begin(&self.table);
        let mut bytes = 0;
        for op in ops {
            op.status = match self.locate(op, true) {
                Ok(at) => match arena.get(op.local as usize..op.local as usize + op.len as usize) {
                    Some(from) => {
                        self.memory.copy_in(at, from);
                        bytes += u64::from(op.len);
                        GntStatus::Okay
                    }
                    None => GntStatus::BadCopyArg,
                },
                Err(status) => status,
            };
        }
        self.hold.end(&self.table);
        bytes
    }

    /// Where in the granter's memory the operation's bytes lie, if it may have them.
    #[inline(always)]
    fn locate(&self, op: &CopyOp, write: bool) -> Result<usize, GntStatus> {
        if op.len == 0 {
            return Ok(0);
        }
        let crosses = op.offset as usize + op.len as usize > PAGE_SIZE;
        if crosses && !skipped(Check::CopyBounds) {
            return Err(GntStatus::BadCopyArg);
        }
        if op.gref.0 >= self.table.entries() {
            return Err(GntStatus::BadGntref);
        }
        // SYNC grant is visible: with the Release store in GrantTable::grant_at.
        let entry = GrantEntry::from_u64(self.table.load(op.gref, Ordering::Acquire));
        let frame = check(entry, self.caller, write)?;
        let at = frame.0 as usize * PAGE_SIZE + op.offset as usize;
        if at + op.len as usize > self.memory.len() {
            return Err(GntStatus::BadPage);
        }
        Ok(at)
    }
}
