//! The text of a run and of the tour, around the table.

use crate::config::{Amount, GrantMode, Mode, NetConfig, RunConfig, format_cpus};
use crate::results::{Config, Host, Results, Summary};
use crate::units::{float, format_size};

use super::numbers::{counted, per_op, thousands, three_digits};
use super::options::{Setting, cost_sentence, settings};
use super::{Row, table};

/// Columns of running text.
const WIDTH: usize = 100;

/// Who runs where and how grants are reached: the first line of a run.
#[must_use]
pub fn headline(config: &NetConfig) -> String {
    let run = &config.run;
    let fronts = match config.vifs {
        1 => "domain 1 (netfront)".to_owned(),
        last => format!("domains 1-{last} (netfront)"),
    };
    let vifs = match config.vifs {
        1 => "one vif".to_owned(),
        count => format!("{count} vifs"),
    };
    let grants = grants(run);
    let (back, front) = (cpus(&run.back_cpus), cpus(&run.front_cpus));
    format!("pvlab: domain 0 (netback) on {back}, {fronts} on {front}, {vifs}, {grants}")
}

/// The same of a netfront by hand, which knows nothing of netback's CPUs, nor how that reaches its pages.
#[must_use]
pub fn headline_by_hand(config: &NetConfig) -> String {
    format!("pvlab: netfront on {}, one vif", cpus(&config.run.front_cpus))
}

/// `CPU 0`, `CPUs 0-1`.
pub(super) fn cpus(cpus: &[usize]) -> String {
    let plural = if cpus.len() == 1 { "" } else { "s" };
    format!("CPU{plural} {}", format_cpus(cpus))
}

/// How granted pages are reached.
pub(super) fn grants(run: &RunConfig) -> &'static str {
    match run.grant {
        GrantMode::Copy => "grants copied and checked",
        GrantMode::Map => "grants mapped for each request",
        GrantMode::Persistent => "grants mapped once",
    }
}

/// The first line of a run of any kind.
pub(super) fn first_line(config: &Config) -> String {
    match config {
        Config::Net(record) => headline(&record.net),
        Config::Blk(record) => super::blk::headline(&record.blk),
    }
}

/// What a run of any kind has done.
pub(super) fn what_of(results: &Results) -> String {
    match &results.config {
        Config::Net(record) => what(&record.net),
        Config::Blk(record) => super::blk::done(&record.blk, results),
    }
}

/// What a run does, in a few words: the name of its row.
#[must_use]
pub fn what(config: &NetConfig) -> String {
    let checked = if config.run.verify { ", every byte checked" } else { "" };
    let back = if config.reverse { ", from the back" } else { "" };
    match (config.mode, config.run.amount) {
        (Mode::Stream | Mode::Maerts, Amount::Count(bytes)) => {
            format!("TCP copy of {}{back}{checked}", binary(bytes))
        }
        (Mode::Stream | Mode::Maerts, _) => format!("TCP stream{back}{checked}"),
        (Mode::Udp, _) => format!("UDP, {} bytes{back}{checked}", config.len),
        (Mode::Pktgen, _) => format!("{}-byte frames{back}", thousands(config.len as u64)),
        (Mode::Rr, _) => "TCP round trip".to_owned(),
        (Mode::Crr, _) => "TCP connect ... close".to_owned(),
    }
}

/// `128 MiB`, `1,000 bytes`.
fn binary(bytes: u64) -> String {
    let size = format_size(bytes);
    match size.char_indices().next_back() {
        Some((at, scale)) if scale.is_ascii_alphabetic() => format!("{} {scale}iB", &size[..at]),
        _ => counted(bytes, "byte"),
    }
}

/// Everything about one run, below its headline, which is shown when it begins. `repeat` is the command that
/// does the same again.
#[must_use]
pub fn run_text(what: &str, results: &Results, repeat: &str) -> String {
    text(what, results, repeat, &[])
}

/// What is netback's to know, or the toolstack's.
const ELSEWHERE: [&str; 4] = ["grant", "rate", "rx-drain-timeout", "rx-stall-timeout"];

/// The same of a netfront by hand: its own options alone.
#[must_use]
pub fn run_text_by_hand(what: &str, results: &Results, repeat: &str) -> String {
    text(what, results, repeat, &ELSEWHERE)
}

fn text(what: &str, results: &Results, repeat: &str, without: &[&str]) -> String {
    let config = &results.config;
    let mut text = table(&[Row { what, results }]);
    let said = [cost_sentence(config.run())].into_iter().chain(crowded(&results.host));
    for line in remarks(results).into_iter().chain(said) {
        text += &format!("  {line}\n");
    }
    text += "  configuration:\n";
    let mut settings = settings(config);
    settings.retain(|(name, _)| !without.contains(name));
    for line in folded(&settings) {
        text += &format!("    {line}\n");
    }
    text += &format!("  repeat:  {repeat}\n");
    text
}

/// The tour: the table, what to type next, and the files that were written, of which one is a trace.
#[must_use]
pub fn tour_text(rows: &[Row<'_>], wrote: &[String], trace: &str) -> String {
    let Some(first) = rows.first() else { return String::new() };
    let config = &first.results.config;
    let mut text = format!("{}\n{}", first_line(config), table(rows));
    let command = first.results.config.command_line();
    text += &format!("  {}\n", cost_sentence(config.run()));
    text += &crowded(&first.results.host).map(|line| format!("  {line}\n")).unwrap_or_default();
    text += &format!("  repeat the first row:  {command}\n");
    let pktgen = "pvlab net --mode pktgen -l 64 --batch 1";
    text += &format!("  try:                   {command} --csum off      {pktgen}\n");
    let wrote = wrote.join(", ");
    text + &format!("  wrote {wrote}, {trace}  (timeline: pvlab trace open {trace})\n")
}

/// The figures the table has no column for, and what has to be said about them.
pub(super) fn remarks(results: &Results) -> Vec<String> {
    let summary = &results.summary;
    let mut lines = vec![volume(summary), ring(summary), work(summary), memory(summary)];
    lines.extend(results.jobs.iter().flat_map(super::blk::remarks));
    if matches!(&results.config, Config::Net(record) if record.net.mode == Mode::Crr) {
        lines.push("TIME-WAIT is cut short on the client after its last ACK".to_owned());
    }
    lines.retain(|line| !line.is_empty());
    lines
}

/// The warning that belongs to figures made on a busy machine.
pub(super) fn crowded(host: &Host) -> Option<String> {
    let warning = "other programs wanted the CPUs when this began: the figures are suspect";
    host.oversubscribed.then(|| warning.to_owned())
}

fn volume(summary: &Summary) -> String {
    let count = |value: Option<u64>, what: &str| value.map(|n| format!("{} {what}", thousands(n)));
    let many = |value: Option<u64>, what: &str| value.map(|n| counted(n, what));
    let parts = [
        many(summary.ops, "op"),
        many(summary.bytes, "byte"),
        count(summary.bytes_verified, "bytes checked"),
        count(summary.lost, "lost"),
        many(summary.errors, "error"),
    ];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    format!("{:.2} s: {}", summary.seconds, parts.join(", "))
}

/// What went over the rings, and what it cost to tell of it.
pub(super) fn ring(summary: &Summary) -> String {
    let parts = [
        summary.batch_mean.map(|mean| format!("{} slots per push", three_digits(mean))),
        summary.ring_full.map(|n| format!("full {}", counted(n, "time"))),
        summary.notifies_suppressed.map(|n| format!("{} spared", counted(n, "notification"))),
        summary.wakeups.map(|n| counted(n, "wake-up")),
        some(summary.lost_wakeups).map(|n| format!("{} lost", counted(n, "event"))),
        some(summary.storm_delays).map(|n| format!("{} against storms", counted(n, "delay"))),
        some(summary.stalls).map(|n| counted(n, "stall")),
    ];
    labelled("rings: ", parts)
}

/// What is worth a word only where there is any.
fn some(count: Option<u64>) -> Option<u64> {
    count.filter(|&n| n > 0)
}

/// What an operation took.
pub(super) fn work(summary: &Summary) -> String {
    let parts = [
        summary.allocs_per_op.map(|n| format!("{} allocations", per_op(n))),
        summary.syscalls_per_op.map(|n| format!("{} system calls", per_op(n))),
        summary.spin_cycles_per_op.map(|n| format!("{} cycles of looking in vain", per_op(n))),
    ];
    labelled("per op: ", parts)
}

/// How often bytes were copied, and the memory of all processes.
pub(super) fn memory(summary: &Summary) -> String {
    let (copies, maps) = summary.grants.map(|grants| (grants.copies, grants.maps)).unzip();
    let parts = [
        summary.copies_per_byte.map(|n| format!("each byte copied {n:.1} times")),
        copies.map(|n| format!("{} grant copies", thousands(n))),
        maps.map(|n| format!("{} pages mapped", thousands(n))),
        summary.rss_bytes.map(|n| format!("{:.0} MiB resident", float(n) / float(1 << 20))),
    ];
    labelled("memory: ", parts)
}

fn labelled<const N: usize>(label: &str, parts: [Option<String>; N]) -> String {
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    if parts.is_empty() { String::new() } else { format!("{label}{}", parts.join(", ")) }
}

/// Every option as `name=value`, in lines that fit.
pub(super) fn folded(settings: &[Setting]) -> Vec<String> {
    let mut lines = vec![String::new()];
    for (name, value) in settings {
        let word = format!("{name}={value}");
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= WIDTH => {
                line.push_str(if line.is_empty() { "" } else { " " });
                line.push_str(&word);
            }
            _ => lines.push(word),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::super::invented;
    use super::*;

    #[test]
    fn a_run_says_how_it_was_made_and_how_to_repeat_it() {
        for (what, results) in invented() {
            let text = run_text(what, &results, &results.config.command_line());
            println!("{text}");
            assert!(text.contains("repeat:  pvlab net"), "{text}");
            assert!(text.contains("no hypervisor cost charged"), "{text}");
            assert!(text.contains("batch=32") && text.contains("csum=on"), "{text}");
            assert!(text.lines().all(|line| line.chars().count() <= 110), "{text}");
            let Config::Net(record) = &results.config else { panic!("a network run") };
            assert_eq!(text.contains("TIME-WAIT"), record.net.mode == Mode::Crr);
        }
    }

    #[test]
    fn the_tour_has_the_shape_of_the_contract() {
        let runs = invented();
        let rows: Vec<_> = runs.iter().map(|(what, results)| Row { what, results }).collect();
        let wrote = ["pvlab-out/tour.json".to_owned(), "report.html".to_owned()];
        let text = tour_text(&rows, &wrote, "pvlab-out/trace.json");
        println!("{text}");
        assert!(text.starts_with("pvlab: domain 0 (netback) on CPU"), "{text}");
        assert!(text.contains("  repeat the first row:  pvlab net -n 128M\n"), "{text}");
        let last = "  wrote pvlab-out/tour.json, report.html, pvlab-out/trace.json  \
                    (timeline: pvlab trace open pvlab-out/trace.json)\n";
        assert!(text.ends_with(last), "{text}");
    }

    #[test]
    fn rows_name_themselves() {
        let mut config = NetConfig::default();
        assert_eq!(what(&config), "TCP stream, every byte checked");
        config.run.amount = Amount::Count(128 << 20);
        assert_eq!(what(&config), "TCP copy of 128 MiB, every byte checked");
        assert_eq!(what(&NetConfig::of_mode(Mode::Pktgen)), "64-byte frames");
    }
}
