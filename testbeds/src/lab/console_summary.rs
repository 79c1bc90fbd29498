//! What a console run's processes report, made into figures.

use crate::config::{ConsoleConfig, EventRate};
use crate::counters::Counters;
use crate::domain::GuestReport;
use crate::results::{ConsoleFigures, Cpu, Latencies, Neighbours, Summary, per};
use crate::units::float;
use crate::workload::console::{Checked, ConsoleReport, Lines};

/// The guest that the run is about.
const WRITER: u16 = 1;

/// The figures of a run.
pub(super) fn summarise(
    config: &ConsoleConfig,
    guests: &[GuestReport],
    consoles: &[ConsoleReport],
    cpu: Option<Cpu>,
    rss_bytes: u64,
) -> (Summary, ConsoleFigures) {
    let Some(guest) = guests.iter().find(|guest| guest.domid == WRITER) else {
        return Default::default();
    };
    let mut console = ConsoleReport::default();
    if let Some(found) = consoles.iter().find(|console| console.domid == WRITER) {
        console = found.clone();
    }
    let summary = summary(config, guest, &console, cpu, rss_bytes);
    (summary, figures(config, guest, &console, guests))
}

fn summary(
    config: &ConsoleConfig,
    guest: &GuestReport,
    console: &ConsoleReport,
    cpu: Option<Cpu>,
    rss_bytes: u64,
) -> Summary {
    let (side, seconds) = (&guest.side, guest.side.seconds);
    let (counters, back): (&Counters, &Counters) = (&side.counters, &console.counters);
    let len = config.guest.len as u64;
    let discarded = console.lost.div_ceil(len.max(1));
    Summary {
        throughput_bps: (seconds > 0.0).then(|| float(side.bytes * 8) / seconds),
        latency_us: side.latencies.as_ref().and_then(Latencies::latency),
        bytes: Some(side.bytes),
        bytes_verified: console.checked.map(|checked| {
            // Lines are checked whenever they were written; what was not read in this run's window is no
            // part of its figures.
            let outside = (guest.writer.all_lines * len).saturating_sub(side.bytes);
            (checked.lines * len).saturating_sub(outside)
        }),
        errors: Some(
            console.checked.map_or(0, |checked| checked.bad + disorder(config, guest, &checked))
                + console.illegal,
        ),
        lost: Some(side.lost + discarded),
        ops: Some(side.ops),
        notifies_per_op: per(counters.notifies + back.notifies, side.ops),
        wakeups: Some(counters.wakeups + back.wakeups),
        ring_full: Some(counters.ring_full),
        cycles_per_op: per(counters.busy_cycles + back.busy_cycles, side.ops),
        spin_cycles_per_op: per(counters.spin_cycles + back.spin_cycles, side.ops),
        allocs_per_op: per(counters.allocs + back.allocs, side.ops),
        syscalls_per_op: per(counters.syscalls + back.syscalls, side.ops),
        copies_per_byte: per(counters.copied_bytes + back.copied_bytes, side.bytes),
        cpu,
        rss_bytes: Some(rss_bytes),
        seconds,
        ..Summary::default()
    }
}

fn figures(
    config: &ConsoleConfig,
    guest: &GuestReport,
    console: &ConsoleReport,
    guests: &[GuestReport],
) -> ConsoleFigures {
    let seconds = guest.side.seconds.max(1e-9);
    let events = if config.daemon.limit == EventRate::Off { 0 } else { console.events };
    let others: Vec<&GuestReport> = guests.iter().filter(|g| g.domid != WRITER).collect();
    ConsoleFigures {
        kb_per_s: float(guest.side.bytes) / seconds / 1e3,
        messages_per_s: float(guest.side.ops) / seconds,
        dropped: guest.side.lost,
        discarded_bytes: console.lost,
        events,
        events_per_s: float(events) / seconds,
        limited: console.limited,
        bytes_per_drain: per(console.bytes, console.drains).unwrap_or(0.0),
        period_ms: console.period_ms,
        stalls: guest.writer.stalls,
        longest_gap_ms: float(guest.writer.longest_us) / 1e3,
        read_us: guest.writer.read.as_ref().and_then(Latencies::latency),
        neighbours: (!others.is_empty()).then(|| {
            let mut read = Latencies::new();
            others.iter().filter_map(|g| g.writer.read.as_ref()).for_each(|one| read.merge(one));
            Neighbours {
                count: config.neighbours,
                messages: others.iter().map(|g| g.side.ops).sum(),
                read_us: read.latency(),
            }
        }),
    }
}

/// What went wrong in words, if anything did.
pub(super) fn failure(
    config: &ConsoleConfig,
    guests: &[GuestReport],
    consoles: &[ConsoleReport],
) -> Option<String> {
    for guest in guests {
        let domid = guest.domid;
        // Neighbours write until they are told to end.
        let ended = domid != WRITER && guest.failure.as_deref() == Some("interrupted");
        if let Some(why) = guest.failure.as_ref().filter(|_| !ended) {
            return Some(format!("domain {domid}: {why}"));
        }
        let Some(console) = consoles.iter().find(|console| console.domid == domid) else {
            // It may have been told so before anybody served it.
            if ended {
                continue;
            }
            return Some(format!("domain {domid}: the daemon does not know its console"));
        };
        if console.illegal > 0 {
            let times = console.illegal;
            return Some(format!("domain {domid}: an index that cannot be was met {times} times"));
        }
        if let Some(why) = wrong(config, guest, console, ended) {
            return Some(format!("domain {domid}: {why}"));
        }
    }
    None
}

/// Whether every line arrived whole, once and in its order.
fn wrong(
    config: &ConsoleConfig,
    guest: &GuestReport,
    console: &ConsoleReport,
    cut: bool,
) -> Option<String> {
    let checked = console.checked?;
    let (written, read) = (guest.writer.all_lines, checked.lines);
    if checked.bad > 0 {
        return Some(format!("{} lines did not arrive as they were written", checked.bad));
    }
    // A guest that is told to end may have begun a line.
    if read != written && !cut {
        return Some(format!("{written} lines were written, {read} arrived"));
    }
    match disorder(config, guest, &checked) {
        0 => None,
        some => Some(format!("{some} lines arrived out of their order")),
    }
}

/// Lines that arrived out of their order. Whoever drops lines leaves gaps, but never steps back, as far as
/// the digits of a line tell the one from the other.
fn disorder(config: &ConsoleConfig, guest: &GuestReport, checked: &Checked) -> u64 {
    let dropped = guest.writer.all_dropped;
    let gaps = if dropped == 0 { checked.gaps } else { 0 };
    let back = if dropped <= Lines::tellable(config.guest.len) { checked.back } else { 0 };
    gaps + back
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::SideReport;
    use crate::workload::console::WriterReport;

    #[test]
    fn whoever_drops_leaves_gaps_and_never_steps_back() {
        let disorder = |len, all_dropped, checked: Checked| {
            let mut config = ConsoleConfig::default();
            config.guest.len = len;
            let writer = WriterReport { all_dropped, ..WriterReport::default() };
            let side = SideReport::default();
            disorder(&config, &GuestReport { domid: 1, side, writer, failure: None }, &checked)
        };
        let gaps = Checked { gaps: 3, ..Checked::default() };
        let back = Checked { back: 2, ..Checked::default() };
        assert_eq!((disorder(6, 0, gaps), disorder(6, 0, back)), (3, 2));
        assert_eq!((disorder(6, 50_000, gaps), disorder(6, 50_000, back)), (0, 2));
        // Five digits do not tell so large a gap from a step back; ten do.
        assert_eq!((disorder(6, 50_001, back), disorder(16, 50_001, back)), (0, 2));
    }
}
