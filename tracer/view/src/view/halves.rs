//! Which half of a ring belongs to which.
//!
//! A back half belongs to the youngest front half of its name that is not younger than itself. Where the
//! clocks of two processes differ it may seem older than all of them: then it has one that is left over.

use std::collections::HashMap;

use tracer::format::journal::{self, Half};
use tracer::format::record::MOST_RINGS;

use super::{Ring, RingEnd, View};

/// Halves by name: when each front half was made, and which ring it has.
type Generations = HashMap<String, Vec<(i64, usize)>>;

/// Makes rings of the halves that the journals speak of, each with its process.
pub(super) fn pair(view: &mut View<'_>, found: Vec<(usize, journal::Ring)>) {
    let timed = found.into_iter().map(|(process, ring)| {
        let at = view.ns(&view.processes[process], ring.ticks);
        (at, process, ring)
    });
    let mut timed: Vec<_> = timed.collect();
    timed.sort_by_key(|(at, _, ring)| (ring.half, *at));
    let (mut all, mut left) = (Generations::new(), Vec::new());
    for (at, process, ring) in timed {
        let alike = all.get(&ring.name).into_iter().flatten();
        let older = alike.rev().find(|of| of.0 <= at).map(|of| of.1);
        match (ring.half, older) {
            (Half::Front, _) => {
                let index = make(view, &mut all, &ring, at);
                take(view, index, process, &ring);
            }
            (Half::Back, Some(index)) => take(view, index, process, &ring),
            (Half::Back, None) => left.push((at, process, ring)),
        }
    }
    for (at, process, ring) in left {
        let mut alike = all.get(&ring.name).into_iter().flatten();
        let free = alike.find(|(_, index)| view.rings[*index].back.is_none());
        let index = free.map(|&(_, index)| index);
        let index = index.unwrap_or_else(|| make(view, &mut all, &ring, at));
        take(view, index, process, &ring);
    }
}

/// A ring that nobody has spoken of yet.
fn make(view: &mut View<'_>, all: &mut Generations, ring: &journal::Ring, at: i64) -> usize {
    let alike = all.entry(ring.name.clone()).or_default();
    let name = match alike.len() {
        0 => ring.name.clone(),
        more => format!("{} #{}", ring.name, more + 1),
    };
    let (in_order, size) = (ring.in_order, ring.size);
    view.rings.push(Ring { name, in_order, size, front: None, back: None });
    alike.push((at, view.rings.len() - 1));
    view.rings.len() - 1
}

/// Gives a process its half.
fn take(view: &mut View<'_>, index: usize, process: usize, ring: &journal::Ring) {
    let of = &mut view.rings[index];
    match ring.half {
        Half::Front => of.front = Some(process),
        Half::Back => of.back = Some(process),
    }
    if ring.id < MOST_RINGS {
        let ends = &mut view.processes[process].rings;
        let at = ring.id as usize;
        ends.resize(ends.len().max(at + 1), None);
        ends[at] = Some(RingEnd { ring: index, half: ring.half });
    }
}
