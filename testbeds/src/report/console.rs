//! The text of a console run.

use super::numbers::{counted, per_op, scaled, thousands, three_digits};
use super::options::{Setting, cost_sentence};
use super::stairs::first_second;
use super::table::{HEAD, grid};
use super::text::{crowded, folded, memory, ring, work};
use crate::config::{Amount, ConsoleConfig, EventRate, SinkKind, format_cpus};
use crate::results::{ConsoleFigures, ConsoleResults, Latency};
use crate::workload::console::Spread;

/// Who runs where, and what holds them: the first line of a run.
#[must_use]
pub fn console_headline(config: &ConsoleConfig) -> String {
    let guests = match config.neighbours {
        0 => "domain 1 (console-guest)".to_owned(),
        more => format!("domains 1-{} (console-guest)", more + 1),
    };
    let limit = match config.daemon.limit {
        EventRate::Off => "no limit".to_owned(),
        limit @ EventRate::Of(..) => format!("limit {limit}"),
    };
    let (back, front) = (format_cpus(&config.run.back_cpus), format_cpus(&config.run.front_cpus));
    let sink = &config.daemon.sink;
    format!(
        "pvlab: domain 0 (consoled) on CPU {back}, {guests} on CPU {front}, {limit}, sink {sink}"
    )
}

/// What a run does, in a few words: the name of its row.
#[must_use]
pub fn console_what(config: &ConsoleConfig) -> String {
    let checked = if config.run.verify { ", every one checked" } else { "" };
    format!("{}-byte lines{checked}", thousands(config.guest.len as u64))
}

/// What a picture of a run is called: what was written, what held it, how fast it was.
#[must_use]
pub fn console_title(results: &ConsoleResults) -> String {
    let config = &results.config.console;
    let (len, limit) = (thousands(config.guest.len as u64), config.daemon.limit);
    let limit = match limit {
        EventRate::Off => "no limit".to_owned(),
        limit @ EventRate::Of(..) => format!("limit {limit}"),
    };
    format!("{len}-byte lines, {limit}: {}", rate(&results.console))
}

/// Everything about one run, below its headline, which is shown when it begins. `repeat` is the command that
/// does the same again.
#[must_use]
pub fn console_text(results: &ConsoleResults, repeat: &str) -> String {
    let config = &results.config.console;
    let row = [console_what(config)].into_iter().chain(cells(results));
    let mut text = grid(HEAD, [row].into_iter());
    let mut lines = remarks(results);
    lines.extend(first_second(&results.series));
    lines.push(cost_sentence(&config.run));
    lines.extend(crowded(&results.host));
    for line in lines {
        text += &format!("  {line}\n");
    }
    text += "  configuration:\n";
    for line in folded(&settings(config)) {
        text += &format!("    {line}\n");
    }
    text += &format!("  repeat:  {repeat}\n");
    text
}

/// The figures the table has no column for.
pub(super) fn remarks(results: &ConsoleResults) -> Vec<String> {
    let mut lines = vec![volume(results)];
    lines.extend(limited(&results.console));
    lines.push(held(&results.console));
    lines.extend(read(&results.console));
    let summary = &results.summary;
    lines.extend([ring(summary), work(summary), memory(summary)]);
    lines
}

pub(super) fn cells(results: &ConsoleResults) -> [String; 5] {
    let summary = &results.summary;
    let latency = |us: Latency| format!("{} / {} us", three_digits(us.p50), three_digits(us.p99));
    let cpu = summary.cpu.map(|cpu| format!("{:.1} / {:.1}", cpu.front, cpu.back));
    [
        rate(&results.console),
        summary.latency_us.map(latency).unwrap_or_default(),
        summary.notifies_per_op.map(|n| format!("{n:.2}")).unwrap_or_default(),
        summary.cycles_per_op.map(per_op).unwrap_or_default(),
        cpu.unwrap_or_default(),
    ]
}

/// `12.3 KB/s, 2.05 k/s`.
fn rate(figures: &ConsoleFigures) -> String {
    let (bytes, prefix) = scaled(figures.kb_per_s * 1e3);
    // Kilobytes of 1,000 bytes are written so in everything that is told of consoles.
    let prefix = if prefix == "k" { "K" } else { prefix };
    let (lines, thousand) = scaled(figures.messages_per_s);
    format!("{bytes} {prefix}B/s, {lines} {thousand}/s")
}

fn volume(results: &ConsoleResults) -> String {
    let (summary, figures) = (&results.summary, &results.console);
    let mut parts = vec![
        counted(summary.ops.unwrap_or(0), "line"),
        format!("{} read", counted(summary.bytes.unwrap_or(0), "byte")),
    ];
    if let Some(checked) = summary.bytes_verified {
        parts.push(format!("{} checked", counted(checked, "byte")));
    }
    parts.push(format!("{} lost", thousands(summary.lost.unwrap_or(0))));
    if figures.discarded_bytes > 0 {
        let discarded = counted(figures.discarded_bytes, "byte");
        parts.push(format!("{discarded} discarded that nobody took"));
    }
    parts.push(counted(summary.errors.unwrap_or(0), "error"));
    format!("{:.2} s: {}", summary.seconds, parts.join(", "))
}

fn limited(figures: &ConsoleFigures) -> Option<String> {
    (figures.events > 0).then(|| {
        let mut text = format!(
            "limit: {} taken ({:.1} a second), {} bytes read at a time; port left masked {}",
            counted(figures.events, "event"),
            figures.events_per_s,
            per_op(figures.bytes_per_drain),
            counted(figures.limited, "time"),
        );
        if figures.period_ms.count > 0 {
            text += &format!(", in periods of {} ms", spread(&figures.period_ms));
        }
        text
    })
}

fn held(figures: &ConsoleFigures) -> String {
    let stalls = &figures.stalls;
    let gap = format!("longest gap {} ms", three_digits(figures.longest_gap_ms));
    if stalls.held_ms.count == 0 {
        return format!("guest: never held for 20 ms, {gap}");
    }
    let mut text = format!(
        "guest: held {} for {} ms, {gap}",
        counted(stalls.held_ms.count, "time"),
        spread(&stalls.held_ms)
    );
    if stalls.period_ms.count > 0 {
        text +=
            &format!("; every {} ms, {:.0} lines", spread(&stalls.period_ms), stalls.messages.mean);
    }
    text
}

/// `200.1 (199.9-200.6)`.
fn spread(ms: &Spread) -> String {
    format!("{:.1} ({:.1}-{:.1})", ms.mean, ms.min, ms.max)
}

fn read(figures: &ConsoleFigures) -> Vec<String> {
    let ms = |us: Option<Latency>| {
        let us = us?;
        Some(format!(
            "p50 {:.2}, p99 {:.2}, max {:.2} ms",
            us.p50 / 1e3,
            us.p99 / 1e3,
            us.max / 1e3
        ))
    };
    let own = ms(figures.read_us).map(|text| format!("from a line to its being read: {text}"));
    let others = figures.neighbours.as_ref().map(|others| {
        let text = ms(others.read_us).unwrap_or_else(|| "none was read".into());
        let (count, lines) = (others.count.into(), counted(others.messages, "line"));
        let count = counted(count, "neighbour");
        format!("{count}, {lines}; from a line to its being read: {text}")
    });
    own.into_iter().chain(others).collect()
}

/// Every option as `name=value`.
pub(super) fn settings(config: &ConsoleConfig) -> Vec<Setting> {
    use crate::config::word;
    let run = &config.run;
    let (limit, amount) = match run.amount {
        Amount::Seconds(seconds) => ("t", format!("{seconds}s")),
        Amount::Count(count) => ("messages", count.to_string()),
    };
    let charged = run.cost.to_string();
    let mut all = vec![
        (limit, amount),
        ("warmup", format!("{}s", run.warmup)),
        ("len", config.guest.len.to_string()),
        ("on-full", word(&config.guest.on_full)),
        ("pace", format!("{}ns", config.guest.pace_ns)),
        ("think", format!("{}ns", run.think_ns)),
        ("limit", config.daemon.limit.to_string()),
        ("sink", config.daemon.sink.to_string()),
        ("daemon-think", format!("{}ns", config.daemon.daemon_think_ns)),
        ("neighbours", config.neighbours.to_string()),
        ("wait", word(&run.wait)),
        ("spin", format!("{}us", run.spin_us)),
        ("verify", if run.verify { "on" } else { "off" }.to_owned()),
        ("cost", if charged.is_empty() { "0".to_owned() } else { charged }),
        ("index-base", format!("{:#x}", run.index_base)),
        ("A", format!("{},{}", format_cpus(&run.front_cpus), format_cpus(&run.back_cpus))),
        ("nice", format!("{},{}", run.nice_front, run.nice_back)),
        ("stall-timeout", format!("{}s", run.stall_timeout)),
    ];
    if config.daemon.sink == SinkKind::Pty {
        all.push(("overflow", word(&config.daemon.overflow)));
        all.push(("buffer", config.buffer.to_string()));
    }
    all
}
