//! What was recorded of a run, read record by record: who is who in a process, and which slots crossed a ring. What is
//! asserted of it lives in the tests.

use std::collections::BTreeMap;

use tracer::format::journal::{self, Half};
use tracer::format::{Entry, Event, Process, Slot, Thread, Trace};

/// What a journal defines.
#[derive(Default)]
pub(crate) struct Names {
    /// Who it is.
    pub(crate) process: journal::Process,
    /// By number.
    pub(crate) sites: BTreeMap<u32, journal::Site>,
    /// By number.
    pub(crate) rings: BTreeMap<u32, journal::Ring>,
    /// By number.
    pub(crate) ports: BTreeMap<u32, journal::Port>,
    /// In the order of their writing.
    pub(crate) notes: Vec<journal::Note>,
}

impl Names {
    /// Of a process.
    pub(crate) fn of(process: &Process<'_>) -> Self {
        let mut names = Self::default();
        for entry in process.journal() {
            match entry {
                Entry::Process(process) => names.process = process,
                Entry::Site(site) => drop(names.sites.insert(site.id, site)),
                Entry::Ring(ring) => drop(names.rings.insert(ring.id, ring)),
                Entry::Port(port) => drop(names.ports.insert(port.id, port)),
                Entry::Note(note) => names.notes.push(note),
                _ => {}
            }
        }
        names
    }
}

/// When each slot of a ring was pushed and seen. Ticks, by widened index.
#[derive(Default)]
pub(crate) struct Crossings {
    /// By whoever sends.
    pub(crate) pushed: BTreeMap<u64, u64>,
    /// By the other end.
    pub(crate) seen: BTreeMap<u64, u64>,
}

/// All slots of all rings: by name of the ring and kind of slot.
pub(crate) fn crossings(trace: &Trace<'_>) -> BTreeMap<(String, Slot), Crossings> {
    let mut all: BTreeMap<(String, Slot), Crossings> = BTreeMap::new();
    for process in &trace.processes {
        let names = Names::of(process);
        // Index that the next batch must begin with, widened.
        let mut next: BTreeMap<(u32, Slot, bool), u64> = BTreeMap::new();
        for record in process.threads.iter().flat_map(Thread::records) {
            let (slots, pushed) = match record.event() {
                Event::Push { slots, .. } => (slots, true),
                Event::Pop(slots) => (slots, false),
                _ => continue,
            };
            let ring = &names.rings[&slots.ring];
            let side = if ring.half == Half::Front { Slot::Request } else { Slot::Response };
            assert_eq!(pushed, slots.slot == side, "{}: each side pushes its own", ring.name);
            let next = next.entry((slots.ring, slots.slot, pushed)).or_insert(ring.base.into());
            let expected = *next & u64::from(u32::MAX);
            assert_eq!(u64::from(slots.first), expected, "{}: batches follow", ring.name);
            let to = all.entry((ring.name.clone(), slots.slot)).or_default();
            let to = if pushed { &mut to.pushed } else { &mut to.seen };
            for _ in 0..slots.count {
                assert_eq!(to.insert(*next, record.ticks), None, "once only");
                *next += 1;
            }
        }
    }
    all
}
