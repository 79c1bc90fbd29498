//! What a console run found, in the shape of its JSON: `config`, `summary`, `host` and `intervals` as
//! every run has them, and beside them `console` and `series`.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::{Host, Interval, Latency, Summary, Timestamp, TraceRecord};
use crate::config::{ConsoleConfig, TraceTo};
use crate::workload::console::{Series, Spread, Stalls};

/// Everything one console run found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConsoleResults {
    /// When the run started.
    pub start: ConsoleStart,
    /// Figures of each interval, warm-up included.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub intervals: Vec<Interval>,
    /// The effective options.
    pub config: ConsoleRecord,
    /// The figures that are compared.
    pub summary: Summary,
    /// The figures that only a console has.
    pub console: ConsoleFigures,
    /// Lines written over time.
    pub series: Series,
    /// The machine.
    pub host: Host,
}

/// When a console run started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsoleStart {
    /// Wall-clock time.
    pub timestamp: Timestamp,
    /// Program and version.
    pub version: String,
}

impl ConsoleStart {
    /// Now.
    #[must_use]
    pub fn now() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            timestamp: Timestamp { timesecs: since_epoch.as_secs() },
            version: format!("pvlab {}", env!("CARGO_PKG_VERSION")),
        }
    }
}

/// The options of a console run, with the command they belong to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConsoleRecord {
    /// `console`.
    pub command: String,
    /// Of its trace, if there is one.
    #[serde(flatten)]
    pub trace: Option<TraceRecord>,
    /// All others.
    #[serde(flatten)]
    pub console: ConsoleConfig,
}

impl From<ConsoleConfig> for ConsoleRecord {
    fn from(console: ConsoleConfig) -> Self {
        Self { command: "console".to_owned(), trace: None, console }
    }
}

impl ConsoleRecord {
    /// The same, for a run with this trace.
    #[must_use]
    pub fn traced(mut self, to: Option<&TraceTo>) -> Self {
        self.trace = to.map(TraceRecord::from);
        self
    }
}

/// What only a console has. KB are 1,000 bytes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ConsoleFigures {
    /// Thousand bytes a second that the daemon read.
    pub kb_per_s: f64,
    /// Lines a second that the guest wrote.
    pub messages_per_s: f64,
    /// Lines the guest dropped, the ring being full.
    pub dropped: u64,
    /// Bytes that a terminal or a log did not take.
    pub discarded_bytes: u64,
    /// Events the daemon took against its limit; none without a limit.
    pub events: u64,
    /// The same, each second.
    pub events_per_s: f64,
    /// Times the port was left masked until a period was over.
    pub limited: u64,
    /// Bytes the daemon read at a time.
    pub bytes_per_drain: f64,
    /// Lengths of the periods, from each time the port was unmasked to the next.
    pub period_ms: Spread,
    /// Writes that held the guest for more than 20 ms.
    pub stalls: Stalls,
    /// The longest time from one line to the next.
    pub longest_gap_ms: f64,
    /// Times from a line to its being read, where lines are paced. Microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_us: Option<Latency>,
    /// Other guests, while this one wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub neighbours: Option<Neighbours>,
}

/// What became of the other guests' lines.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Neighbours {
    /// How many guests.
    pub count: u32,
    /// Their lines.
    pub messages: u64,
    /// Times from a line to its being read. Microseconds.
    pub read_us: Option<Latency>,
}

impl ConsoleResults {
    /// The JSON object, indented, with a line end.
    ///
    /// # Errors
    /// A path in the configuration that is not UTF-8.
    pub fn to_json(&self) -> serde_json::Result<String> {
        let mut json = serde_json::to_string_pretty(self)?;
        json.push('\n');
        Ok(json)
    }
}
