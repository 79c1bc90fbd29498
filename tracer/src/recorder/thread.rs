//! A thread's own part: its buffer, and the one function that writes into it.
//!
//! A buffer is made when its thread records for the first time. From then on an event costs a clock
//! read and three stores; it takes no lock, allocates nothing and makes no system call.
//!
//! While an event is being written the thread has, for itself, no buffer: a signal handler that comes
//! in between cannot spoil it, and its own events are counted as lost. A forked child has none for
//! good. What runs in signal handlers must not be the first to record on a thread.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::AsFd;
use std::ptr::null_mut;
use std::sync::atomic::{Ordering, compiler_fence};

use memmap2::{MmapOptions, MmapRaw};

use super::base::Base;
use super::header::{half, word, write_header};
use super::process::{self, Memory};
use super::{memory, stamp, switch};
use crate::format::Full;
use crate::format::buffer::{self, at};
use crate::format::record::{RECORD, kind, tag};

/// When an event happened.
#[derive(Clone, Copy)]
enum When {
    /// Now.
    Now,
    /// Now, and after everything that has been read from memory so far.
    AfterLoads,
    /// Then.
    At(u64),
}

/// What [`record`] returns for an event that was not recorded.
pub(super) const NOT_RECORDED: u64 = u64::MAX;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Has not recorded yet.
    New,
    /// Is just being given its buffer: what that itself would record is left out.
    Attaching,
    /// Has one.
    Attached,
    /// Has none, and will have none.
    Ended,
}

/// What the fast path needs, without a destructor and so without a check for it.
struct Local {
    /// The buffer; null if there is none, and while an event is being written.
    base: Base,
    /// The same, without these exceptions.
    header: Cell<*mut u8>,
    mask: Cell<u64>,
    /// Records that may be written: the capacity, or without end.
    limit: Cell<u64>,
    /// The switch's number when this thread looked last.
    seen: Cell<u32>,
    /// Which host it was asked for, see [`process::hosts`].
    host: Cell<u32>,
    /// The cursor behind the last record of spinning.
    spun: Cell<u64>,
    state: Cell<State>,
}

thread_local! {
    static LOCAL: Local = const {
        Local {
            base: Base::new(),
            header: Cell::new(null_mut()),
            mask: Cell::new(0),
            limit: Cell::new(0),
            seen: Cell::new(0),
            host: Cell::new(0),
            spun: Cell::new(NOT_RECORDED),
            state: Cell::new(State::New),
        }
    };
    /// Keeps the mapping, and ends it with the thread.
    static OWNER: RefCell<Option<Owner>> = const { RefCell::new(None) };
}

/// Records what happens now. Returns the cursor behind it, or [`NOT_RECORDED`].
#[inline(never)]
pub(super) fn record(what: u32, arg: u32) -> u64 {
    with_local(|local| local.record(When::Now, what, arg))
}

/// Records what was just found in memory that another CPU writes.
#[inline(never)]
pub(super) fn record_after_loads(what: u32, arg: u32) -> u64 {
    with_local(|local| local.record(When::AfterLoads, what, arg))
}

/// Records what happened at `ticks`.
#[inline(never)]
pub(super) fn record_at(ticks: u64, what: u32, arg: u32) -> u64 {
    with_local(|local| local.record(When::At(ticks), what, arg))
}

#[inline(always)]
fn with_local<R>(work: impl FnOnce(&Local) -> R) -> R {
    // So small that `with` is inlined, which it is not around the rest.
    let local = LOCAL.with(std::ptr::from_ref);
    // SAFETY: a thread's own local without a destructor lives as long as the thread, which is here.
    work(unsafe { &*local })
}

/// Records something that may be taken back: where there is no room it is not worth counting as lost.
#[inline(never)]
pub(super) fn record_quietly(what: u32, arg: u32) -> u64 {
    with_local(|local| match local.cursor() {
        Some(cursor) if cursor >= local.limit.get() => NOT_RECORDED,
        _ => local.record(When::Now, what, arg),
    })
}

/// Records that this thread spins, unless that is what it recorded last, while recording has been on
/// since, or there is no room.
#[inline(never)]
pub(super) fn record_spin(what: u32) {
    with_local(|local| match local.cursor() {
        Some(cursor) if cursor >= local.limit.get() => {}
        Some(cursor) if cursor == local.spun.get() && local.seen.get() == switch::word() => {}
        _ => local.spun.set(local.record(When::Now, what, 0)),
    });
}

/// Takes back the last event, if it is the one after which the cursor was `mine` and none was left out
/// since: there is a beginning that is kept, or it has holes.
#[inline(never)]
pub(super) fn take_back(mine: u64) -> bool {
    with_local(|local| {
        let base = local.base.get();
        if base.is_null() || mine == NOT_RECORDED {
            return mine == NOT_RECORDED;
        }
        // SAFETY: a base that is not null is a live buffer of this thread, see `Local::attach`.
        let cursor = unsafe { word(base, at::CURSOR) };
        // SAFETY: as above.
        let lost = unsafe { word(base, at::LOST) };
        let last = cursor.load(Ordering::Relaxed) == mine && lost.load(Ordering::Relaxed) == 0;
        if last {
            // SYNC records are whole: with the keeper's `read`.
            cursor.store(mine - 1, Ordering::Release);
        }
        last
    })
}

/// Makes this thread's buffer now and touches its memory, so that its first events cost no more than
/// the others. Does nothing while recording is off.
pub fn attach() {
    if switch::on() {
        LOCAL.with(|local| {
            if local.state.get() == State::New {
                local.attach(true);
            }
        });
    }
}

/// Gives the calling thread memory of its own to record into, which nobody keeps.
pub(super) fn attach_to(mapping: MmapRaw, records: u64) {
    let owner = Owner { mapping, limit: u64::MAX, mask: records - 1, inherited: false };
    LOCAL.with(|local| local.adopt(Ok(owner)));
}

/// In the child of a fork: the buffer is the parent's, and no longer ours.
pub(super) fn forked() {
    LOCAL.with(|local| {
        local.base.set(null_mut());
        local.header.set(null_mut());
        local.state.set(State::Ended);
    });
    // A thread whose locals are being destroyed has none.
    let _ = OWNER.try_with(|kept| {
        if let Ok(mut kept) = kept.try_borrow_mut()
            && let Some(owner) = kept.as_mut()
        {
            owner.inherited = true;
        }
    });
}

/// Where in a buffer of so many records, less one, a record stands.
#[inline(always)]
fn slot(number: u64, mask: u64) -> usize {
    #[expect(clippy::cast_possible_truncation, reason = "a mapping fits the address space")]
    let place = (number & mask) as usize;
    buffer::RECORDS_AT + place * RECORD
}

impl Local {
    /// The buffer's cursor, if there is a buffer.
    #[inline(always)]
    fn cursor(&self) -> Option<u64> {
        let base = self.base.get();
        // SAFETY: a base that is not null is a live buffer of this thread, see `attach`.
        (!base.is_null()).then(|| unsafe { word(base, at::CURSOR) }.load(Ordering::Relaxed))
    }

    #[inline(always)]
    fn record(&self, when: When, what: u32, arg: u32) -> u64 {
        let base = self.base.get();
        if base.is_null() {
            return self.without_buffer(when, what, arg);
        }
        self.base.set(null_mut());
        // SYNC signal handlers: with the fence below. One that comes in between finds no buffer.
        compiler_fence(Ordering::SeqCst);
        let on = switch::word();
        let mut base = base;
        if on != self.seen.get() && on != 0 {
            base = self.resume(base, when, on);
            if base.is_null() {
                return NOT_RECORDED;
            }
        }
        let cursor = self.put(base, when, what, arg);
        // SYNC signal handlers: with the fence above.
        compiler_fence(Ordering::SeqCst);
        self.base.set(base);
        cursor
    }

    /// The first event since recording was switched on, or on again. Returns the buffer, which is another
    /// one if it is for another host, or null.
    #[cold]
    fn resume(&self, mut base: *mut u8, when: When, on: u32) -> *mut u8 {
        if self.host.get() != process::hosts() {
            if !self.attach(false) {
                return null_mut();
            }
            base = self.base.get();
            self.base.set(null_mut());
        }
        self.seen.set(on);
        // At the time of the event, which may be a little ago.
        self.put(base, when, tag(kind::RESUME, 0), 0);
        #[cfg(feature = "sleds")]
        crate::sleds::resumed(on);
        base
    }

    #[inline(always)]
    fn put(&self, base: *mut u8, when: When, what: u32, arg: u32) -> u64 {
        // SAFETY: `base` is a live buffer of this thread: `attach` made it, `Owner::drop` and
        // `forked`, which take it away, run on this thread.
        let cursor = unsafe { word(base, at::CURSOR) };
        let n = cursor.load(Ordering::Relaxed);
        if n >= self.limit.get() {
            // SAFETY: as above.
            let lost = unsafe { word(base, at::LOST) };
            lost.store(lost.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            return NOT_RECORDED;
        }
        let ticks = match when {
            When::Now => stamp::now(),
            When::AfterLoads => stamp::now_after_loads(),
            When::At(ticks) => ticks,
        };
        let slot = slot(n, self.mask.get());
        // SAFETY: as above; the mask is the capacity of the mapping less one, so the slot's two words
        // are inside, whatever the cursor is.
        unsafe { word(base, slot) }.store(ticks, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { word(base, slot + 8) }
            .store(u64::from(what) | u64::from(arg) << 32, Ordering::Relaxed);
        // SYNC records are whole: with the keeper's `read`, after whatever end of this thread.
        cursor.store(n + 1, Ordering::Release);
        n + 1
    }

    #[cold]
    fn without_buffer(&self, when: When, what: u32, arg: u32) -> u64 {
        let state = match self.state.get() {
            // For this host it has not been asked.
            State::Ended if self.host.get() != process::hosts() => State::New,
            state => state,
        };
        match state {
            State::New => {
                if self.attach(false) {
                    self.record(when, what, arg)
                } else {
                    NOT_RECORDED
                }
            }
            State::Attached => {
                // SAFETY: an attached thread's header is its live buffer.
                let lost = unsafe { word(self.header.get(), at::LOST_BUSY) };
                lost.fetch_add(1, Ordering::Relaxed);
                NOT_RECORDED
            }
            State::Attaching | State::Ended => NOT_RECORDED,
        }
    }

    /// Gives this thread its buffer. `false` if it cannot have one.
    #[cold]
    fn attach(&self, touch: bool) -> bool {
        self.state.set(State::Attaching);
        self.host.set(process::hosts());
        self.adopt(Owner::new(touch))
    }

    fn adopt(&self, owner: io::Result<Owner>) -> bool {
        let outcome = owner.and_then(|owner| {
            let (base, limit, mask) = (owner.mapping.as_mut_ptr(), owner.limit, owner.mask);
            // A thread whose locals are being destroyed gets no buffer any more.
            OWNER.try_with(|kept| kept.replace(Some(owner))).map_err(io::Error::other)?;
            Ok((base, limit, mask))
        });
        let Ok((base, limit, mask)) = outcome else {
            self.state.set(State::Ended);
            return false;
        };
        self.limit.set(limit);
        self.mask.set(mask);
        self.header.set(base);
        self.spun.set(NOT_RECORDED);
        self.state.set(State::Attached);
        #[cfg(feature = "sleds")]
        crate::sleds::set_limits(mask, limit);
        self.base.set(base);
        true
    }
}

/// A thread's buffer, until the thread ends.
struct Owner {
    mapping: MmapRaw,
    limit: u64,
    mask: u64,
    /// It is that of the process which this one was forked from.
    inherited: bool,
}

impl Owner {
    fn new(touch: bool) -> io::Result<Self> {
        let settings = switch::settings();
        let records = usize::try_from(settings.capacity).map_err(io::Error::other)?;
        let bytes = buffer::RECORDS_AT + records * RECORD;
        let fd = memory::create("pvlab-trace", bytes)?;
        let mut options = MmapOptions::new();
        options.len(bytes);
        if touch {
            options.populate();
        }
        let mapping = options.map_raw(&fd)?;
        write_header(mapping.as_mut_ptr(), settings.full, settings.capacity);
        process::hand_over(Memory::Thread, fd.as_fd())?;
        let limit = if settings.full == Full::Stop { settings.capacity } else { u64::MAX };
        Ok(Self { mapping, limit, mask: settings.capacity - 1, inherited: false })
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        if self.inherited {
            return;
        }
        LOCAL.with(|local| {
            local.base.set(null_mut());
            let base = self.mapping.as_mut_ptr();
            // SAFETY: the mapping is alive until the end of this function.
            unsafe { word(base, at::ENDED) }.store(stamp::now(), Ordering::Relaxed);
            // SYNC records are whole: and this is the last of them, with the keeper's `read`.
            // SAFETY: as above.
            unsafe { half(base, at::STATE) }.store(1, Ordering::Release);
            local.header.set(null_mut());
            local.state.set(State::Ended);
        });
    }
}
