//! The parts of Chrome's JSON that are the same in every event of a name, a thread, a ring, put together
//! once. What changes from event to event is not here.

use tracer::format::Slot;

use super::super::text::{Piece, json};
use super::super::words::names_of;
use crate::name;
use crate::view::{Ring, Thread, View};

/// Of a site or a function.
pub(super) struct Name {
    /// `"name":"xmit","cat":"function"`.
    pub(super) what: Piece,
    /// A closed slice as far as its thread: `{"ph":"X",` and the above.
    pub(super) slice: Piece,
    /// `,"args":{"frames":`, where there is an argument.
    pub(super) arg: Piece,
    /// `"frames":`, where there is a result.
    pub(super) result: Piece,
}

impl Name {
    pub(super) fn new(name: &name::Name) -> Self {
        let what = [b"\"name\":", &*json(&name.text), b",\"cat\":", &json(&name.category)].concat();
        let named = |before: &[u8], text: &str| match text {
            "" => Piece::default(),
            text => Piece::new(&[before, &json(text), b":"]),
        };
        Self {
            slice: Piece::new(&[b"{\"ph\":\"X\",", &what]),
            what: Piece::new(&[&what]),
            arg: named(b",\"args\":{", &name.arg),
            result: named(b"", &name.result),
        }
    }
}

/// `,"pid":7,"tid":8,"ts":`.
pub(super) fn thread(thread: &Thread<'_>) -> Piece {
    Piece::new(&[format!(",\"pid\":{},\"tid\":{},\"ts\":", thread.pid, thread.tid).as_bytes()])
}

/// Of requests, or of responses.
pub(super) struct Side {
    /// The two ends of an arrow, each as far as its number: `{"ph":"s",...,"id":`.
    pub(super) arrow: [Piece; 2],
    /// A batch that is seen, and one that is pushed, as far as its thread.
    pub(super) batch: [Piece; 2],
    /// A slot that is taken, as far as its thread.
    pub(super) take: Piece,
}

impl Side {
    fn new(ring: &[u8], slot: Slot) -> Self {
        let (category, _) = names_of(slot, true);
        let arrow = |phase: &str| {
            let head = format!("{{\"ph\":\"{phase}\",\"cat\":\"{category}\",\"name\":");
            Piece::new(&[head.as_bytes(), ring, b",\"id\":"])
        };
        Self {
            arrow: [arrow("s"), arrow("f\",\"bp\":\"e")],
            batch: [false, true].map(|push| instant(names_of(slot, push).1, category)),
            take: instant("take", category),
        }
    }
}

/// Of a ring.
pub(super) struct OnRing {
    /// Its name, quoted.
    pub(super) name: Vec<u8>,
    /// `,"args":{"of":"vif1.0-q0-tx"`.
    pub(super) of: Piece,
    /// The beginning and the end of a request's lane, each as far as its number.
    pub(super) lane: [Piece; 2],
    /// `,"pid":7,"ts":`, of the one with the front half.
    pub(super) front: Piece,
    /// The track of its occupancy, as far as the time; empty if nobody has the front half.
    pub(super) in_flight: Piece,
    sides: [Side; 2],
}

impl OnRing {
    pub(super) fn new(view: &View<'_>, ring: &Ring) -> Self {
        let name = json(&ring.name);
        let pid = |process: usize| view.processes[process].pid;
        let front = format!(",\"pid\":{},\"ts\":", pid(ring.front.unwrap_or_default()));
        let lane = |phase: &str| {
            let head = format!("{{\"ph\":\"{phase}\",\"cat\":\"request\",\"name\":");
            Piece::new(&[head.as_bytes(), &name, b",\"id\":"])
        };
        let in_flight = match ring.front {
            Some(_) => Piece::new(&[b"{\"ph\":\"C\",\"name\":", &name, front.as_bytes()]),
            None => Piece::default(),
        };
        Self {
            of: Piece::new(&[b",\"args\":{\"of\":", &name]),
            lane: ["b", "e"].map(lane),
            front: Piece::new(&[front.as_bytes()]),
            in_flight,
            sides: [Slot::Request, Slot::Response].map(|slot| Side::new(&name, slot)),
            name,
        }
    }

    #[inline]
    pub(super) fn side(&self, slot: Slot) -> &Side {
        &self.sides[usize::from(slot == Slot::Response)]
    }
}

/// An instant of the thread's own, as far as its thread: what an arrow hangs on.
pub(super) fn instant(name: &str, category: &str) -> Piece {
    let head = "{\"ph\":\"i\",\"s\":\"t\",\"name\":";
    Piece::new(&[format!("{head}\"{name}\",\"cat\":\"{category}\"").as_bytes()])
}
