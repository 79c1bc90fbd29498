//! Memory as the model checker sees it, behind the three traits that the protocols ask for.
//!
//! Words are loom's atomics, with the orderings that the protocol passes. Slots and pages are
//! watched: an access that is not ordered after the last write to them fails the model. Where the
//! words lie in a real page is not asked here.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use loom::cell::UnsafeCell;
use loom::sync::Notify as Wake;
use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use rings::Gref;
use rings::bytes::{ByteIndex, ByteMem};
use rings::evtchn::{Doorbell, End, EventWords, Word};
use rings::grant::GrantMem;
use rings::ring::{Index, SringMem};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Bytes that no two processes may touch at a time unless both only read.
///
/// loom watches the accesses; the value beside it needs no care, because all of a model runs on
/// one thread, and because a read that could see a stale value is a race and fails.
#[derive(Default)]
pub(crate) struct Watched {
    accesses: UnsafeCell<()>,
    value: Cell<u64>,
}

impl Watched {
    /// Reads all of it.
    pub(crate) fn read(&self) -> u64 {
        self.accesses.with(|_| self.value.get())
    }

    /// Writes all of it.
    pub(crate) fn write(&self, value: u64) {
        self.accesses.with_mut(|_| self.value.set(value));
    }
}

/// An sring of `SIZE` slots of eight bytes.
pub(crate) struct RingMem<const SIZE: usize>(Rc<RingWords<SIZE>>);

struct RingWords<const SIZE: usize> {
    indices: [AtomicU32; 4],
    slots: [Watched; SIZE],
}

impl<const SIZE: usize> Clone for RingMem<SIZE> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<const SIZE: usize> RingMem<SIZE> {
    /// A ring that starts at index `base`, as `Sring::init` leaves it.
    pub(crate) fn new(base: u32) -> Self {
        let words = [base, base.wrapping_add(1), base, base.wrapping_add(1)];
        let slots = std::array::from_fn(|_| Watched::default());
        Self(Rc::new(RingWords { indices: words.map(AtomicU32::new), slots }))
    }

    fn index(&self, index: Index) -> &AtomicU32 {
        &self.0.indices[match index {
            Index::ReqProd => 0,
            Index::ReqEvent => 1,
            Index::RspProd => 2,
            Index::RspEvent => 3,
        }]
    }

    fn slot(&self, slot: u32) -> &Watched {
        &self.0.slots[slot as usize]
    }
}

impl<const SIZE: usize> SringMem for RingMem<SIZE> {
    fn size(&self) -> u32 {
        u32::try_from(SIZE).expect("a few slots")
    }

    fn load(&self, index: Index, order: Ordering) -> u32 {
        self.index(index).load(order)
    }

    fn store(&self, index: Index, value: u32, order: Ordering) {
        self.index(index).store(value, order);
    }

    fn read<T: FromBytes>(&self, slot: u32) -> T {
        T::read_from_bytes(&self.slot(slot).read().to_ne_bytes()).expect("eight bytes")
    }

    fn write<T: IntoBytes + Immutable>(&self, slot: u32, value: T) {
        let bytes = value.as_bytes().try_into().expect("eight bytes");
        self.slot(slot).write(u64::from_ne_bytes(bytes));
    }
}

/// A ring of `SIZE` bytes, each of them watched.
pub(crate) struct ByteRing<const SIZE: usize>(Rc<ByteWords<SIZE>>);

struct ByteWords<const SIZE: usize> {
    indices: [AtomicU32; 2],
    bytes: [Watched; SIZE],
}

impl<const SIZE: usize> Clone for ByteRing<SIZE> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<const SIZE: usize> ByteRing<SIZE> {
    /// An empty ring at index `base`.
    pub(crate) fn new(base: u32) -> Self {
        let bytes = std::array::from_fn(|_| Watched::default());
        Self(Rc::new(ByteWords { indices: [base, base].map(AtomicU32::new), bytes }))
    }

    fn index(&self, index: ByteIndex) -> &AtomicU32 {
        &self.0.indices[index as usize]
    }
}

impl<const SIZE: usize> ByteMem for ByteRing<SIZE> {
    fn size(&self) -> u32 {
        u32::try_from(SIZE).expect("a few bytes")
    }

    fn load(&self, index: ByteIndex, order: Ordering) -> u32 {
        self.index(index).load(order)
    }

    fn store(&self, index: ByteIndex, value: u32, order: Ordering) {
        self.index(index).store(value, order);
    }

    fn copy_out(&self, at: u32, to: &mut [u8]) {
        for (byte, place) in to.iter_mut().zip(&self.0.bytes[at as usize..]) {
            *byte = place.read().to_le_bytes()[0];
        }
    }

    fn copy_in(&self, at: u32, from: &[u8]) {
        for (byte, place) in from.iter().zip(&self.0.bytes[at as usize..]) {
            place.write((*byte).into());
        }
    }
}

impl<M: ByteMem> ByteMem for Unordered<M> {
    fn size(&self) -> u32 {
        self.0.size()
    }

    fn load(&self, index: ByteIndex, _: Ordering) -> u32 {
        self.0.load(index, Ordering::Relaxed)
    }

    fn store(&self, index: ByteIndex, value: u32, _: Ordering) {
        self.0.store(index, value, Ordering::Relaxed);
    }

    fn copy_out(&self, at: u32, to: &mut [u8]) {
        self.0.copy_out(at, to);
    }

    fn copy_in(&self, at: u32, from: &[u8]) {
        self.0.copy_in(at, from);
    }
}

/// The same ring where every access to an index is relaxed, whatever the protocol asks for.
#[derive(Clone)]
pub(crate) struct Unordered<M>(pub(crate) M);

impl<M: SringMem> SringMem for Unordered<M> {
    fn size(&self) -> u32 {
        self.0.size()
    }

    fn load(&self, index: Index, _: Ordering) -> u32 {
        self.0.load(index, Ordering::Relaxed)
    }

    fn store(&self, index: Index, value: u32, _: Ordering) {
        self.0.store(index, value, Ordering::Relaxed);
    }

    fn read<T: FromBytes>(&self, slot: u32) -> T {
        self.0.read(slot)
    }

    fn write<T: IntoBytes + Immutable>(&self, slot: u32, value: T) {
        self.0.write(slot, value);
    }
}

/// The words of one event channel.
#[derive(Clone)]
pub(crate) struct EventMem(Rc<[[AtomicU32; 3]; 2]>);

impl EventMem {
    /// A channel as the host makes it: nothing pending, nobody masked.
    pub(crate) fn new() -> Self {
        Self(Rc::new(std::array::from_fn(|_| std::array::from_fn(|_| AtomicU32::new(0)))))
    }

    fn word(&self, end: End, word: Word) -> &AtomicU32 {
        let line = match end {
            End::A => 0,
            End::B => 1,
        };
        let at = match word {
            Word::Pending => 0,
            Word::Mask => 1,
            Word::Closed => 2,
        };
        &self.0[line][at]
    }
}

impl EventWords for EventMem {
    fn load(&self, end: End, word: Word, order: Ordering) -> u32 {
        self.word(end, word).load(order)
    }

    fn store(&self, end: End, word: Word, value: u32, order: Ordering) {
        self.word(end, word).store(value, order);
    }

    fn swap(&self, end: End, word: Word, value: u32, order: Ordering) -> u32 {
        self.word(end, word).swap(value, order)
    }
}

/// An eventfd: what was rung before anybody waits is not lost; waiting takes all of it.
#[derive(Clone)]
pub(crate) struct Bell(Arc<Wake>);

impl Bell {
    /// One that nobody rang.
    pub(crate) fn new() -> Self {
        Self(Arc::new(Wake::new()))
    }

    /// Sleeps until it was rung; may return without. If nobody ever rings, loom reports the
    /// deadlock: that is what a lost wake-up looks like here.
    pub(crate) fn wait(&self) {
        self.0.wait();
    }
}

impl Doorbell for Bell {
    fn ring(&self) {
        self.0.notify();
    }
}

/// A grant table of `GREFS` entries, with the hold words of `HOLDERS` copiers.
pub(crate) struct GrantWords<const GREFS: usize, const HOLDERS: usize>(
    Rc<([AtomicU64; GREFS], [AtomicU32; HOLDERS])>,
);

impl<const GREFS: usize, const HOLDERS: usize> Clone for GrantWords<GREFS, HOLDERS> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<const GREFS: usize, const HOLDERS: usize> GrantWords<GREFS, HOLDERS> {
    /// An empty table, and nobody copying.
    pub(crate) fn new() -> Self {
        let entries = std::array::from_fn(|_| AtomicU64::new(0));
        Self(Rc::new((entries, std::array::from_fn(|_| AtomicU32::new(0)))))
    }

    fn entry(&self, gref: Gref) -> &AtomicU64 {
        &self.0.0[gref.0 as usize]
    }
}

impl<const GREFS: usize, const HOLDERS: usize> GrantMem for GrantWords<GREFS, HOLDERS> {
    fn entries(&self) -> u32 {
        u32::try_from(GREFS).expect("a few entries")
    }

    fn load(&self, gref: Gref, order: Ordering) -> u64 {
        self.entry(gref).load(order)
    }

    fn store(&self, gref: Gref, word: u64, order: Ordering) {
        self.entry(gref).store(word, order);
    }

    fn compare_exchange(&self, gref: Gref, old: u64, new: u64) -> Result<(), u64> {
        // The orderings of GrantPage.
        self.entry(gref).compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire).map(|_| ())
    }

    fn holds(&self) -> usize {
        HOLDERS
    }

    fn load_hold(&self, line: usize, order: Ordering) -> u32 {
        self.0.1[line].load(order)
    }

    fn store_hold(&self, line: usize, value: u32, order: Ordering) {
        self.0.1[line].store(value, order);
    }
}
