//! Is a ring of bytes right at any index, and does a liar hurt it?
//!
//! Both ends do random steps on one ring, in this thread, and are compared with a model that is a
//! queue and knows nothing of masks or wrapping; over memory made for the purpose, which fails on a
//! byte outside the ring, and over both rings of a real console's page. Then the shared indices are
//! overwritten between the steps. Two processes at once are the business of `loom.rs`.

#![cfg(not(loom))]

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use proptest::collection::vec;
use proptest::prelude::*;
use rings::PAGE_SIZE;
use rings::bytes::{ByteIndex, ByteMem, ByteReader, ByteWriter, ConsolePage};
use rings::io::console::{CONNECTION, IN_SIZE, OUT_PROD, OUT_SIZE, SIZE};
use rings::mem::Region;
use rings::sync::Ordering;

/// A ring in plain memory.
#[derive(Clone)]
struct VecRing {
    prod: Rc<Cell<u32>>,
    cons: Rc<Cell<u32>>,
    bytes: Rc<RefCell<Vec<u8>>>,
}

fn vec_ring(order: u32, base: u32) -> VecRing {
    let bytes = Rc::new(RefCell::new(vec![0; 1 << order]));
    VecRing { prod: Rc::new(Cell::new(base)), cons: Rc::new(Cell::new(base)), bytes }
}

impl VecRing {
    fn index(&self, index: ByteIndex) -> &Cell<u32> {
        match index {
            ByteIndex::Prod => &self.prod,
            ByteIndex::Cons => &self.cons,
        }
    }
}

impl ByteMem for VecRing {
    fn size(&self) -> u32 {
        u32::try_from(self.bytes.borrow().len()).expect("a few bytes")
    }

    fn load(&self, index: ByteIndex, _: Ordering) -> u32 {
        self.index(index).get()
    }

    fn store(&self, index: ByteIndex, value: u32, _: Ordering) {
        self.index(index).set(value);
    }

    fn copy_out(&self, at: u32, to: &mut [u8]) {
        to.copy_from_slice(&self.bytes.borrow()[at as usize..at as usize + to.len()]);
    }

    fn copy_in(&self, at: u32, from: &[u8]) {
        self.bytes.borrow_mut()[at as usize..at as usize + from.len()].copy_from_slice(from);
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Write(usize),
    Read(usize),
    /// Sees so many, then reads so many of them.
    Peek(usize, usize),
    Look,
    /// Both ends are gone, and others take over.
    Attach,
}

fn steps(most: usize) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0..=most).prop_map(Step::Write),
        8 => (0..=most).prop_map(Step::Read),
        4 => (0..=most, 0..=most).prop_map(|(len, kept)| Step::Peek(len, kept)),
        1 => Just(Step::Look),
        1 => Just(Step::Attach),
    ];
    vec(step, 0..80)
}

/// Indices, those about to wrap among them.
fn bases() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0), Just(u32::MAX - 3), (u32::MAX - 3000)..=u32::MAX, any::<u32>()]
}

/// The ring's two ends, and what should be in it.
struct Pair<M> {
    writer: ByteWriter<M>,
    reader: ByteReader<M>,
    model: VecDeque<u8>,
    next: u8,
    size: usize,
}

impl<M: ByteMem + Clone> Pair<M> {
    fn new(mem: M) -> Self {
        let size = mem.size() as usize;
        let (writer, reader) = (ByteWriter::attach(mem.clone()), ByteReader::attach(mem));
        Self { writer, reader, model: VecDeque::new(), next: 0, size }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Write(len) => {
                let numbers = std::iter::successors(Some(self.next), |n| Some(n.wrapping_add(1)));
                let bytes: Vec<u8> = numbers.take(len).collect();
                let written = self.writer.write(&bytes).expect("true indices");
                assert_eq!(written, len.min(self.size - self.model.len()));
                self.model.extend(&bytes[..written]);
                self.next = bytes.get(written).copied().unwrap_or(self.next.wrapping_add(1));
            }
            Step::Read(len) => {
                let mut bytes = vec![0; len];
                let read = self.reader.read(&mut bytes).expect("true indices");
                assert_eq!(read, len.min(self.model.len()));
                let expected: Vec<u8> = self.model.drain(..read).collect();
                assert_eq!(bytes[..read], expected);
            }
            Step::Peek(len, kept) => {
                let mut bytes = vec![0; len];
                let seen = self.reader.peek(&mut bytes).expect("true indices");
                assert_eq!(seen, len.min(self.model.len()));
                assert!(bytes[..seen].iter().eq(self.model.iter().take(seen)));
                // Only what is consumed leaves the ring.
                let kept = kept.min(seen);
                self.reader.consume(kept);
                self.model.drain(..kept);
            }
            Step::Look => {
                assert_eq!(self.writer.look(), Ok(self.size - self.model.len()));
                assert_eq!(self.reader.look(), Ok(self.model.len()));
            }
            Step::Attach => {
                self.writer = ByteWriter::attach(self.writer.mem().clone());
                self.reader = ByteReader::attach(self.reader.mem().clone());
            }
        }
        let waiting = self.writer.index().wrapping_sub(self.reader.index());
        assert_eq!(waiting as usize, self.model.len());
    }
}

proptest! {
    #[test]
    fn a_ring_of_bytes_is_a_queue(order in 0u32..6, base in bases(), steps in steps(70)) {
        let mut pair = Pair::new(vec_ring(order, base));
        steps.into_iter().for_each(|step| pair.step(step));
    }

    #[test]
    fn both_rings_of_a_console_are_queues(base in bases(), steps in steps(3000), back in any::<bool>()) {
        let page = ConsolePage::new(Region::anonymous(PAGE_SIZE));
        page.init(base);
        let (front, behind) = (page.front(), page.back());
        let (writer, reader, size) = if back {
            (behind.writer, front.reader, IN_SIZE)
        } else {
            (front.writer, behind.reader, OUT_SIZE)
        };
        let mut pair = Pair { writer, reader, model: VecDeque::new(), next: 0, size };
        steps.into_iter().for_each(|step| pair.step(step));
    }

    /// Whatever the other end writes over the indices: what is read or written lies inside the ring
    /// (the memory sees to that), and an index that cannot be is told and changes nothing.
    #[test]
    fn a_liar_is_told_and_nothing_else(
        order in 0u32..6, base in bases(),
        moves in vec((any::<bool>(), any::<u32>(), 0usize..70, any::<bool>()), 1..60),
    ) {
        let mem = vec_ring(order, base);
        let (mut writer, mut reader) =
            (ByteWriter::attach(mem.clone()), ByteReader::attach(mem.clone()));
        for (theirs, lie, len, near) in moves {
            let mut bytes = vec![0xa5; len];
            // Near a true index lies are harder to see.
            let lie = if near { base.wrapping_add(lie % 200).wrapping_sub(100) } else { lie };
            if theirs {
                mem.prod.set(lie);
                let (before, claimed) = (reader.index(), lie.wrapping_sub(reader.index()));
                let known = reader.known();
                let read = reader.read(&mut bytes);
                if known < len && claimed > mem.size() {
                    prop_assert!(read.is_err());
                    prop_assert_eq!(reader.index(), before);
                } else {
                    prop_assert!(read.is_ok_and(|read| read <= len.min(mem.size() as usize)));
                }
            } else {
                mem.cons.set(lie);
                let (before, claimed) = (writer.index(), writer.index().wrapping_sub(lie));
                let known = writer.known();
                let written = writer.write(&bytes);
                if known < len && claimed > mem.size() {
                    prop_assert!(written.is_err());
                    prop_assert_eq!(writer.index(), before);
                } else {
                    prop_assert!(written.is_ok_and(|w| w <= len.min(mem.size() as usize)));
                }
            }
        }
    }
}

#[test]
fn an_end_does_not_believe_its_own_index_in_the_page() {
    let mem = vec_ring(4, 0);
    let mut pair = Pair::new(mem.clone());
    pair.step(Step::Write(5));
    mem.store(ByteIndex::Cons, 3, Ordering::Relaxed);
    let mut all = [0; 16];
    assert_eq!(pair.reader.read(&mut all), Ok(5), "the reader knows what it has read");
    mem.store(ByteIndex::Prod, 99, Ordering::Relaxed);
    assert_eq!(pair.writer.write(&[1]), Ok(1), "the writer knows what it has written");
    assert_eq!(mem.load(ByteIndex::Prod, Ordering::Relaxed), 6);
}

#[test]
fn the_page_of_a_real_guest_reads_as_it_was_written() {
    // ring-console.txt: a guest of Xen 4.17 after its first two lines, which have been read.
    let page = Region::anonymous(PAGE_SIZE);
    page.copy_in(0x400, b"domU init 2.86 0.00\r\ndomU ready 4.24 1.09\r\n");
    for at in [0xc08, 0xc0c] {
        page.write(at, 0x2b_u32);
    }
    let console = ConsolePage::new(page.clone());
    assert!(console.connected(), "a page of an older Xen says nothing, which says connected");
    let (mut front, mut back) = (console.front(), console.back());
    assert_eq!(back.reader.look(), Ok(0));
    assert_eq!(back.reader.index(), 43);
    assert_eq!(front.writer.write(b"# "), Ok(2));
    let mut prompt = [0; 2];
    page.copy_out(0x400 + 43, &mut prompt);
    assert_eq!(&prompt, b"# ");
    assert_eq!(page.read::<u32>(OUT_PROD), 45);
    page.write(0xc08, 0_u32);
    let mut all = [0; OUT_SIZE];
    let read = console.back().reader.read(&mut all).expect("true indices");
    assert_eq!(&all[..read], b"domU init 2.86 0.00\r\ndomU ready 4.24 1.09\r\n# ");
}

#[test]
fn a_new_page_is_empty_and_read_by_nobody() {
    let page = Region::anonymous(PAGE_SIZE);
    page.write(5, 0xff_u8);
    let console = ConsolePage::new(page.clone());
    console.init(u32::MAX - 3);
    assert!(!console.connected());
    console.set_connected(true);
    assert!(console.connected());
    assert_eq!(page.read::<u8>(CONNECTION), 0);
    assert!((SIZE..PAGE_SIZE).all(|at| page.read::<u8>(at) == 0));
    assert_eq!(console.front().writer.look(), Ok(OUT_SIZE));
    assert_eq!(console.back().writer.look(), Ok(IN_SIZE));
}
