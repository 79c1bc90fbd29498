//! A ring of bytes and its event channel: write, send on one side; clear, read, send back, unmask,
//! sleep on the other; and the writer sleeps while the ring is full.
//!
//! There is no event index here: every move of an index is followed by a send, and whoever waits
//! clears pending before it looks.

use loom::thread;
use rings::bytes::{ByteMem, ByteReader, ByteWriter};
use rings::cost::Cost;
use rings::evtchn::{Channel, End};
use rings::{DomId, Port};

use super::explore;
use super::memory::{Bell, ByteRing, EventMem, Unordered};

type Side = Channel<Bell, EventMem>;

/// What a model may replace by something broken.
#[derive(Clone, Copy)]
struct Steps {
    /// What a side does that found nothing to do.
    wait: fn(&Side, &Bell),
    /// After each move of an index.
    send: fn(&mut Side),
}

const REAL: Steps = Steps {
    wait: |side, bell| {
        if !side.unmask() {
            bell.wait();
        }
        side.mask();
    },
    send: Side::send,
};

const TEXT: [u8; 4] = *b"abcd";

/// A writer puts `COUNT` bytes through a ring of `SIZE`, both ends sleeping when they can do nothing.
fn stream<M: ByteMem + Clone + 'static, const COUNT: usize>(mem: M, steps: Steps) {
    let (words, bells) = (EventMem::new(), (Bell::new(), Bell::new()));
    let side = |end, doorbell| {
        Channel::new(Port(1), DomId(0), end, words.clone(), doorbell, Cost::default())
    };
    // Each rings the bell that the other one sleeps on.
    let (mut front, mut back) = (side(End::A, bells.1.clone()), side(End::B, bells.0.clone()));
    let (front_bell, back_bell) = bells;
    let mut writer = ByteWriter::attach(mem.clone());
    let mut reader = ByteReader::attach(mem);
    let sender = thread::spawn(move || {
        let mut left = &TEXT[..COUNT];
        front.mask();
        loop {
            front.clear();
            let written = writer.write(left).expect("true indices");
            left = &left[written..];
            if written > 0 {
                (steps.send)(&mut front);
            }
            if left.is_empty() {
                break;
            }
            (steps.wait)(&front, &front_bell);
        }
    });
    let (mut got, mut room) = (Vec::new(), [0; COUNT]);
    back.mask();
    loop {
        back.clear();
        let read = reader.read(&mut room).expect("true indices");
        got.extend_from_slice(&room[..read]);
        if read > 0 {
            (steps.send)(&mut back);
        }
        if got.len() == COUNT {
            break;
        }
        (steps.wait)(&back, &back_bell);
    }
    assert_eq!(got, TEXT[..COUNT]);
    sender.join().expect("no panic");
}

/// io/console.h: no event index, so that every move is told. A byte that is written is read, once,
/// in its order.
#[test]
fn no_byte_is_lost() {
    explore(None, || stream::<_, 1>(ByteRing::<2>::new(0), REAL));
}

/// The ring wraps and is full once. Bound: 4 preemptions.
#[test]
fn a_writer_that_waits_for_room_gets_it() {
    explore(Some(4), || stream::<_, 2>(ByteRing::<1>::new(u32::MAX), REAL));
}

/// Full again and again, across 2^32. Bound: 2 preemptions.
#[test]
fn four_bytes_pass_a_ring_of_two() {
    explore(Some(2), || stream::<_, 4>(ByteRing::<2>::new(u32::MAX - 1), REAL));
}

#[test]
#[should_panic(expected = "Causality violation")]
fn with_relaxed_indices_a_byte_is_read_before_it_is_written() {
    explore(Some(4), || stream::<_, 2>(Unordered(ByteRing::<2>::new(0)), REAL));
}

#[test]
#[should_panic(expected = "deadlock")]
fn without_the_event_after_each_move_somebody_sleeps_for_ever() {
    let steps = Steps { send: |_| {}, ..REAL };
    explore(None, move || stream::<_, 1>(ByteRing::<2>::new(0), steps));
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_side_that_ignores_what_unmask_says_sleeps_for_ever() {
    let wait: fn(&Side, &Bell) = |side, bell| {
        let _ = side.unmask();
        bell.wait();
        side.mask();
    };
    explore(None, move || stream::<_, 1>(ByteRing::<2>::new(0), Steps { wait, ..REAL }));
}
