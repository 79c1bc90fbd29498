//! Reports of both ends made into figures: the `summary` of the results contract.

use crate::config::{Mode, NetConfig, NetPath, WireKind};
use crate::counters::Counters;
use crate::domain::FrontReport;
use crate::results::{Cpu, End, Grants, Summary, per};
use crate::units::float;
use crate::workload::SideReport;

/// Bytes that a frame takes on a wire beside its own: checksum, preamble, delimiter, gap.
const LINE_OVERHEAD: u64 = 24;

/// Both ends of a run, over all its vifs.
struct Ends {
    /// The end that connects.
    client: SideReport,
    /// The end that is connected to.
    server: SideReport,
    front: Counters,
    back: Counters,
}

impl Ends {
    fn of(config: &NetConfig, reports: &[FrontReport]) -> Self {
        let mut ends = Self {
            client: SideReport::default(),
            server: SideReport::default(),
            front: Counters::default(),
            back: Counters::default(),
        };
        let mut back_end = SideReport::default();
        for report in reports {
            ends.front = ends.front.plus(&report.front.counters);
            let own = report.front.clone();
            if config.path == NetPath::Bridge && report.domid.is_multiple_of(2) {
                ends.server = std::mem::take(&mut ends.server).plus(own);
            } else {
                ends.client = std::mem::take(&mut ends.client).plus(own);
            }
            if let Some(back) = &report.back {
                // One process has served all vifs.
                back_end = back_end.plus(back.clone());
                if config.path == NetPath::Backend {
                    ends.server = std::mem::take(&mut ends.server).plus(back.clone());
                }
            }
        }
        ends.back = back_end.settled().counters;
        ends
    }

    /// The end whose measurement counts.
    fn measured(&self, config: &NetConfig) -> &SideReport {
        let back = config.path != NetPath::Loopback && config.wire != WireKind::Reflect;
        let client = !back || matches!(config.mode, Mode::Rr | Mode::Crr) || config.reverse;
        if client { &self.client } else { &self.server }
    }
}

/// The figures of a run.
pub(super) fn summarise(
    config: &NetConfig,
    reports: &[FrontReport],
    cpu: Option<Cpu>,
    rss_bytes: u64,
) -> (Summary, End) {
    let ends = Ends::of(config, reports);
    let measured = ends.measured(config);
    let both = ends.front.plus(&ends.back);
    let seconds = measured.seconds;
    let transactions = matches!(config.mode, Mode::Rr | Mode::Crr);
    // What netback lost on purpose has come as far as its ring, and no further.
    let frames = measured.counters.frames_in.saturating_sub(measured.counters.lost);
    let ops = if transactions { measured.ops } else { frames };
    let rate = |count: u64| (seconds > 0.0).then(|| float(count) / seconds);
    let line_bytes = measured.counters.bytes_in + LINE_OVERHEAD * frames;
    let summary = Summary {
        throughput_bps: rate(measured.bytes * 8),
        line_bps: (!transactions).then(|| rate(line_bytes * 8)).flatten(),
        pps: rate(frames),
        transactions_per_s: transactions.then(|| rate(measured.ops)).flatten(),
        latency_us: measured.latencies.as_ref().and_then(|l| l.latency()),
        bytes: Some(measured.bytes),
        bytes_verified: Some(measured.verified).filter(|_| !transactions),
        errors: Some(ends.client.errors + ends.server.errors),
        // What was lost on purpose a stack sends again, and the last of it nobody misses.
        lost: Some(measured.lost.max(ends.back.lost)),
        ops: Some(ops),
        notifies_per_op: per(both.notifies, ops),
        notifies_suppressed: Some(both.suppressed),
        wakeups: Some(both.wakeups),
        lost_wakeups: Some(both.lost_wakeups),
        storm_delays: Some(both.storm_delays),
        batch_mean: per(both.pushed, both.pushes),
        ring_full: Some(both.ring_full),
        stalls: Some(both.stalls),
        cycles_per_op: per(both.busy_cycles, ops),
        spin_cycles_per_op: per(both.spin_cycles, ops),
        allocs_per_op: per(both.allocs, ops),
        syscalls_per_op: per(both.syscalls, ops),
        copies_per_byte: per(both.copied_bytes, measured.bytes),
        grants: Some(Grants {
            copies: ends.back.copies,
            maps: ends.back.maps,
            unmaps: ends.back.unmaps,
        }),
        cpu,
        rss_bytes: Some(rss_bytes),
        seconds,
        ..Summary::default()
    };
    // Who asks and is answered counts both ways in one.
    let sent = if transactions { measured.bytes } else { ends.client.sent + ends.server.sent };
    let end = End::new(seconds, sent, measured.bytes);
    (summary, end)
}

/// What went wrong in words, if anything did.
pub(super) fn failure(config: &NetConfig, reports: &[FrontReport]) -> Option<String> {
    for report in reports {
        let sides = [Some(&report.front), report.back.as_ref()];
        let errors: u64 = sides.iter().flatten().map(|side| side.errors).sum();
        let first = sides.iter().flatten().find_map(|side| side.first_error.as_deref());
        if let Some(why) = &report.failure {
            return Some(format!("domain {}: {why}", report.domid));
        }
        if errors > 0 {
            let first = first.unwrap_or("no words for it");
            let count = if errors == 1 {
                "one error".into()
            } else {
                format!("{errors} errors, the first")
            };
            return Some(format!("domain {}: {count}: {first}", report.domid));
        }
    }
    let warmup = config.run.warmup;
    // Either end sees the warm-up over at a moment of its own.
    let unmeasured = warmup > 0.0 && Ends::of(config, reports).measured(config).seconds == 0.0;
    unmeasured.then(|| {
        format!(
            "nothing came after the warm-up of {warmup} s; use a larger -n, or a shorter --warmup"
        )
    })
}
