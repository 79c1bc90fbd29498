//! What recording costs on this machine.

use memmap2::MmapOptions;

use super::stamp;
use super::thread::{attach_to, record};
use crate::clock::{cycles, cycles_per_us};
use crate::format::buffer::RECORDS_AT;
use crate::format::record::{RECORD, kind, tag};

/// Costs, in picoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Costs {
    /// Recording an event.
    pub(crate) event_ps: u64,
    /// Reading the clock, which is part of it.
    pub(crate) read_ps: u64,
}

/// Records of the buffer that is written to.
const RECORDS: u32 = 1 << 12;
/// Rounds, of which the fastest counts.
const ROUNDS: u32 = 32;

/// Measures both, on a thread of its own that nobody keeps records of. Takes a few milliseconds.
pub(crate) fn costs() -> Costs {
    // Without a thread there are no costs to speak of.
    std::thread::spawn(measure).join().unwrap_or_default()
}

fn measure() -> Costs {
    let bytes = RECORDS_AT + RECORDS as usize * RECORD;
    let Ok(mapping) = MmapOptions::new().len(bytes).map_anon() else { return Costs::default() };
    attach_to(mapping.into(), RECORDS.into());
    let event = fastest(|| {
        record(tag(kind::MARK, 1), 0);
    });
    let read = fastest(|| {
        std::hint::black_box(stamp::now());
    });
    Costs { event_ps: event, read_ps: read }
}

/// What one call takes, in picoseconds, in the fastest round.
fn fastest(mut call: impl FnMut()) -> u64 {
    let round = |_| {
        let begin = cycles();
        (0..RECORDS).for_each(|_| call());
        cycles().wrapping_sub(begin)
    };
    let ticks = (0..ROUNDS).map(round).min().unwrap_or(0);
    ticks * 1_000_000 / (cycles_per_us() * u64::from(RECORDS)).max(1)
}
