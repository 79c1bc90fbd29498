//! Leaving one check out, so that a test can show what the check is good for.
//!
//! For tests only. A build without the feature `weaken`, which is off by default, has [`skipped`]
//! as the constant `false`, and the compiler leaves nothing of it. Each name stands at the one check
//! it is named after; what the other end can do when that check is gone is told by the tests.

/// A check that can be left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Check {
    /// A back ring believes any `req_prod`.
    ReqProd = 1,
    /// A front ring believes any `rsp_prod`.
    RspProd,
    /// More bytes may wait in a ring of bytes than it has.
    ByteIndex,
    /// A grant is good whatever its type, domain and direction.
    GrantEntry,
    /// A sleep may be for ever.
    LongestSleep,
    /// A copy may cross the end of its page.
    CopyBounds,
    /// A page may be taken back while it is mapped.
    InUse,
    /// A grant may be pinned any number of times.
    Pins,
    /// Any number of pages may stay mapped.
    Kept,
    /// Event storms are not slowed.
    Storm,
    /// netback: a slot may leave its page.
    SlotBounds,
    /// netback: a frame may have any number of slots.
    SlotCount,
    /// netback: a slot without bytes is copied all the same.
    EmptySlot,
    /// netback: slots may be longer than the frame.
    SlotTotal,
    /// netback: a frame may be shorter than its header.
    Runt,
    /// netback: a frame may end where the ring ends.
    SlotCut,
    /// netback: extra infos may be of any type.
    ExtraType,
    /// netback: a frame may have any number of extra infos.
    ExtraCount,
    /// netback: segments may have no size.
    GsoSize,
    /// netback: a guest without buffers holds its frames for ever.
    Drain,
    /// netback: a guest without buffers keeps its carrier.
    Stall,
    /// netback: a guest without buffers holds the whole bridge for ever.
    Hold,
    /// netback: a guest may have any number of addresses on a bridge.
    Addresses,
    /// netfront: a tx answer may name any page.
    TxId,
    /// netfront: a tx answer may come without a request.
    TxNull,
    /// netfront: an rx answer may name another slot.
    RxId,
    /// netfront: an rx answer may claim more than its page.
    RxBounds,
    /// netfront: a frame may end where the ring ends.
    RxCut,
    /// netfront: a frame may have any number of slots.
    RxSlots,
    /// netfront: extra infos may be of any type.
    RxExtra,
    /// netfront: a frame may have any number of extra infos.
    RxExtraCount,
    /// netfront: segments may have no size.
    RxGso,
    /// blkback: a request may have any number of segments.
    BlkCount,
    /// blkback: a segment may leave its page.
    BlkSegment,
    /// blkback: a request may lie past the end of the disk.
    BlkRange,
    /// blkback: a disk that is for reading only may be written.
    BlkReadOnly,
    /// blkback: an indirect request that neither reads nor writes writes.
    BlkInner,
    /// blkback: a guest's requests have our layout, whatever it says.
    BlkProtocol,
    /// blkback: a barrier does not wait for what came before it.
    BlkDrain,
    /// blkback: a barrier saves nothing.
    BlkBarrier,
    /// blkback: a flush of the faulty disk does nothing.
    BlkFlush,
    /// blkfront: an answer may name any request.
    BlkId,
    /// blkfront: an answer may name another operation.
    BlkOp,
    /// xenstored: a domain may write without pause.
    WriteRate,
    /// xenstored: a transaction may fail for ever.
    Conflict,
}

/// Whether this check is to be left out: never.
#[cfg(not(feature = "weaken"))]
#[inline(always)]
#[must_use]
pub const fn skipped(_: Check) -> bool {
    false
}

#[cfg(feature = "weaken")]
pub use on::{Skip, skip, skipped};

#[cfg(feature = "weaken")]
mod on {
    use std::sync::atomic::{AtomicU8, Ordering};
    use std::sync::{Mutex, MutexGuard, PoisonError};

    use super::Check;

    /// The check that is left out; 0 for none.
    static SKIPPED: AtomicU8 = AtomicU8::new(0);
    /// One test at a time leaves something out.
    static TURN: Mutex<()> = Mutex::new(());

    /// Whether this check is to be left out.
    #[must_use]
    pub fn skipped(check: Check) -> bool {
        SKIPPED.load(Ordering::Relaxed) == check as u8
    }

    /// As long as this lives, one check of the whole process is left out.
    #[derive(Debug)]
    pub struct Skip {
        _turn: MutexGuard<'static, ()>,
    }

    /// Leaves `check` out; none with `None`. Waits for its turn.
    pub fn skip(check: Option<Check>) -> Skip {
        // A test that failed in its turn has given it back all the same.
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        SKIPPED.store(check.map_or(0, |check| check as u8), Ordering::Relaxed);
        Skip { _turn: turn }
    }

    impl Drop for Skip {
        fn drop(&mut self) {
            SKIPPED.store(0, Ordering::Relaxed);
        }
    }
}
