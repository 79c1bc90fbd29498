//! The options of a console run: of the guest that writes, and of the daemon that reads.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::args::{Args, quoted};
use super::run::{Amount, RunConfig};
use super::word;
use crate::units::{TimeUnit, format_ns, format_size, parse_time, round_u64};

/// Bytes of A1's lines: five digits and a line end.
const LEN: usize = 6;
/// What xenconsoled keeps of what nobody takes. Bytes.
const BUFFER: u64 = 1 << 20;

/// How many events the daemon takes from each guest, in what time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum EventRate {
    /// As many as come.
    Off,
    /// So many in so many nanoseconds.
    Of(u32, u64),
}

impl Default for EventRate {
    /// xenconsoled's own.
    fn default() -> Self {
        Self::Of(30, 200_000_000)
    }
}

impl EventRate {
    /// The limit itself, if there is one.
    #[must_use]
    pub fn limit(self) -> Option<console::back::Limit> {
        match self {
            Self::Off => None,
            Self::Of(events, ns) => {
                Some(console::back::Limit { events, period: Duration::from_nanos(ns) })
            }
        }
    }
}

impl fmt::Display for EventRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Of(events, ns) => write!(f, "{events}/{}", format_ns(*ns)),
        }
    }
}

impl FromStr for EventRate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const REMEDY: &str = "use EVENTS/TIME as in 30/200ms, or off";
        if text == "off" {
            return Ok(Self::Off);
        }
        let (events, time) =
            text.split_once('/').ok_or_else(|| format!("not a limit; {REMEDY}"))?;
        let digits = !events.is_empty() && events.bytes().all(|b| b.is_ascii_digit());
        let count = digits.then(|| events.parse().ok()).flatten();
        let events = count.ok_or_else(|| format!("'{events}' is no number of events; {REMEDY}"))?;
        if !(1..=1_000_000).contains(&events) {
            return Err("events out of range; use 1 to 1000000, or off for no limit".to_owned());
        }
        let ns = parse_time(time, TimeUnit::Nanoseconds, None)
            .map_err(|why| format!("'{time}' {why}"))?;
        match round_u64(ns) {
            Some(ns) if (1_000_000..=60_000_000_000).contains(&ns) => Ok(Self::Of(events, ns)),
            _ => Err("period out of range; use 1ms to 60s".to_owned()),
        }
    }
}

as_text!(EventRate, SinkKind);

/// What a guest does that finds the ring full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnFull {
    /// Sleeps until there is room.
    Block,
    /// Looks until there is room.
    Spin,
    /// Throws the line away, and counts it.
    Drop,
}

/// What happens to output that a terminal does not take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Overflow {
    /// The middle of it is thrown away.
    Discard,
    /// The ring is not read any more.
    Keep,
}

/// Where the daemon puts what guests write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum SinkKind {
    /// A terminal for each console.
    Pty,
    /// A file; or a directory, with a file for each guest.
    File(PathBuf),
    /// Lines on the daemon's stderr, each with its guest's number.
    Stderr,
    /// Nowhere.
    Null,
}

impl fmt::Display for SinkKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pty => f.write_str("pty"),
            Self::File(path) => write!(f, "file={}", path.display()),
            Self::Stderr => f.write_str("stderr"),
            Self::Null => f.write_str("null"),
        }
    }
}

impl FromStr for SinkKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.strip_prefix("file=")) {
            ("pty", _) => Ok(Self::Pty),
            ("stderr", _) => Ok(Self::Stderr),
            ("null", _) => Ok(Self::Null),
            (_, Some("")) => Err("names no file; use file=PATH".to_owned()),
            (_, Some(path)) => Ok(Self::File(path.into())),
            _ => Err("no such sink; use pty, file=PATH, stderr or null".to_owned()),
        }
    }
}

/// What the daemon does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DaemonConfig {
    /// Events it takes from each guest.
    pub limit: EventRate,
    /// Where output goes.
    pub sink: SinkKind,
    /// Where output is kept besides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<PathBuf>,
    /// The time at the start of each line of a file.
    pub timestamps: bool,
    /// Dots for escapes in a file.
    pub replace_escape: bool,
    /// Bytes of a file before the next one begins.
    pub log_limit: u64,
    /// What happens to output that a terminal does not take.
    pub overflow: Overflow,
    /// Nanoseconds of its own work for each event.
    pub daemon_think_ns: u64,
    /// Bytes of each line, if lines are those of a console run and to be checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<usize>,
}

impl DaemonConfig {
    /// The defaults, with this sink.
    #[must_use]
    pub fn of_sink(sink: SinkKind) -> Self {
        Self {
            limit: EventRate::default(),
            sink,
            log: None,
            timestamps: false,
            replace_escape: false,
            log_limit: 1 << 30,
            overflow: Overflow::Discard,
            daemon_think_ns: 0,
            check: None,
        }
    }

    fn push(&self, args: &mut Args, plain: &Self) {
        args.option("--limit", self.limit != plain.limit, || self.limit.to_string());
        args.option("--sink", self.sink != plain.sink, || self.sink.to_string());
        if let Some(log) = &self.log {
            args.option("--log", true, || log.display().to_string());
        }
        args.flag("--timestamps", self.timestamps);
        args.flag("--replace-escape", self.replace_escape);
        args.option("--log-limit", self.log_limit != plain.log_limit, || {
            format_size(self.log_limit)
        });
        args.option("--overflow", self.overflow != plain.overflow, || word(&self.overflow));
        args.option("--daemon-think", self.daemon_think_ns != 0, || {
            format_ns(self.daemon_think_ns)
        });
    }
}

/// A daemon started by hand, or for a run.
#[derive(Debug, Clone, PartialEq)]
pub struct ConsoledConfig {
    /// What it does.
    pub daemon: DaemonConfig,
    /// Seconds after the warm-up that figures count, if there is an end to them.
    pub measure: Option<f64>,
    /// The options every process has.
    pub run: RunConfig,
}

impl ConsoledConfig {
    /// The arguments after `pvlab` that start it.
    #[must_use]
    pub fn to_args(&self) -> Vec<String> {
        let mut args = Args::new("consoled");
        self.daemon.push(&mut args, &DaemonConfig::of_sink(SinkKind::Pty));
        if let Some(len) = self.daemon.check {
            args.option("--check", true, || len.to_string());
        }
        if let Some(seconds) = self.measure {
            args.option("--measure", true, || seconds.to_string());
        }
        self.run.push(&mut args);
        args.0
    }
}

/// What a guest writes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GuestConfig {
    /// Bytes of each line, its end included.
    pub len: usize,
    /// What it does that finds the ring full.
    pub on_full: OnFull,
    /// Nanoseconds from one line to the next; 0 for as fast as they go.
    pub pace_ns: u64,
}

impl Default for GuestConfig {
    fn default() -> Self {
        Self { len: LEN, on_full: OnFull::Block, pace_ns: 0 }
    }
}

impl GuestConfig {
    fn push(&self, args: &mut Args) {
        let plain = Self::default();
        args.option("--len", self.len != plain.len, || format_size(self.len as u64));
        args.option("--on-full", self.on_full != plain.on_full, || word(&self.on_full));
        args.option("--pace", self.pace_ns != 0, || format_ns(self.pace_ns));
    }

    /// The arguments after `pvlab` that start a guest which writes so.
    #[must_use]
    pub fn to_args(&self, run: &RunConfig) -> Vec<String> {
        let mut args = Args::new("console-guest");
        self.push(&mut args);
        amount(run, &mut args, true);
        run.push(&mut args);
        args.0
    }
}

/// Lines are the amount of a console run.
fn amount(run: &RunConfig, args: &mut Args, always: bool) {
    let default = !always && run.amount == RunConfig::default().amount;
    match run.amount {
        Amount::Seconds(seconds) => args.option("-t", !default, || seconds.to_string()),
        Amount::Count(count) => args.option("--messages", true, || format_size(count)),
    }
}

/// A console run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConsoleConfig {
    /// What the guest writes.
    #[serde(flatten)]
    pub guest: GuestConfig,
    /// What the daemon does.
    #[serde(flatten)]
    pub daemon: DaemonConfig,
    /// Bytes that the daemon keeps of what a terminal does not take.
    pub buffer: u64,
    /// Further guests, which write a line now and then.
    pub neighbours: u32,
    /// The options every run has.
    #[serde(flatten)]
    pub run: RunConfig,
}

impl Default for ConsoleConfig {
    fn default() -> Self {
        Self {
            guest: GuestConfig::default(),
            daemon: DaemonConfig::of_sink(SinkKind::Null),
            buffer: BUFFER,
            neighbours: 0,
            run: RunConfig::default(),
        }
    }
}

impl ConsoleConfig {
    /// The arguments after `pvlab` that make this run again, the shortest way.
    #[must_use]
    pub fn to_args(&self) -> Vec<String> {
        let plain = Self::default();
        let mut args = Args::new("console");
        amount(&self.run, &mut args, false);
        self.guest.push(&mut args);
        self.daemon.push(&mut args, &plain.daemon);
        args.option("--buffer", self.buffer != plain.buffer, || format_size(self.buffer));
        args.option("--neighbours", self.neighbours != 0, || self.neighbours.to_string());
        self.run.push(&mut args);
        args.0
    }

    /// The whole command, to be pasted into a shell.
    #[must_use]
    pub fn command_line(&self) -> String {
        let words: Vec<_> = self.to_args().iter().map(|arg| quoted(arg)).collect();
        format!("pvlab {}", words.join(" "))
    }
}

/// A terminal on a guest's console.
#[derive(Debug, Clone, PartialEq)]
pub struct AttachConfig {
    /// Whose; the first guest's if not said.
    pub domain: Option<u16>,
    /// The lab to make, unless one runs in its directory already.
    pub lab: ConsoleConfig,
}

/// Where lines over time go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pictures {
    /// As numbers.
    pub csv: Option<PathBuf>,
    /// As a picture.
    pub svg: Option<PathBuf>,
}

impl Pictures {
    /// What makes them, to be put behind a command: ` --csv lines.csv`.
    #[must_use]
    pub fn arguments(&self) -> String {
        let all = [("--csv", &self.csv), ("--svg", &self.svg)].into_iter();
        let given = all.filter_map(|(option, path)| Some((option, path.as_ref()?)));
        given
            .map(|(option, path)| format!(" {option} {}", quoted(&path.display().to_string())))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_limit_is_a_number_and_a_time() {
        assert_eq!("30/200ms".parse(), Ok(EventRate::Of(30, 200_000_000)));
        assert_eq!("1/1.5s".parse(), Ok(EventRate::Of(1, 1_500_000_000)));
        assert_eq!("off".parse(), Ok(EventRate::Off));
        for (bad, why) in [
            ("30", "EVENTS/TIME"),
            ("", "EVENTS/TIME"),
            ("x/200ms", "'x' is no number"),
            ("-1/200ms", "'-1' is no number"),
            ("0/200ms", "events out of range"),
            ("30/200", "unit"),
            ("30/", "'' not a time"),
            ("30/0ms", "period out of range"),
            ("30/2min", "not a time"),
            ("OFF", "EVENTS/TIME"),
        ] {
            let said = bad.parse::<EventRate>().expect_err(bad);
            assert!(said.contains(why), "{bad}: {said}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(events in 1u32..=1_000_000, ns in 1_000_000u64..=60_000_000_000) {
            let rate = EventRate::Of(events, ns);
            prop_assert_eq!(rate.to_string().parse(), Ok(rate));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,12}") {
            let _ = text.parse::<EventRate>();
            let _ = text.parse::<SinkKind>();
        }
    }

    #[test]
    fn only_what_differs_is_written() {
        assert_eq!(ConsoleConfig::default().command_line(), "pvlab console");
        let mut config = ConsoleConfig::default();
        config.run.amount = Amount::Count(10_000);
        config.daemon.limit = EventRate::Off;
        config.guest.on_full = OnFull::Drop;
        config.daemon.sink = SinkKind::File("a b".into());
        let line = "pvlab console --messages 10000 --on-full drop --limit off --sink 'file=a b'";
        assert_eq!(config.command_line(), line);
    }
}
