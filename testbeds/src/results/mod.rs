//! What a run found, in the shape of its JSON: `start`, `intervals` and `end` under iperf3's names (`jobs` under fio's
//! for a disk), beside them
//! `config`, `summary` and `host`, which every kind of run has. A key that does not apply is absent, not zero. How
//! figures are shown to people is `report`'s business.

mod any;
mod console;
mod fio;
mod host;
mod latency;
mod stream;
mod summary;

use serde::{Deserialize, Serialize};

use crate::config::{BlkConfig, NetConfig, RunConfig, TraceTo};
pub use any::AnyResults;
pub use console::{ConsoleFigures, ConsoleRecord, ConsoleResults, ConsoleStart, Neighbours};
pub use fio::{FioDirection, FioJob, FioRing, FioSync, FioTimes};
pub use host::{Host, host_info};
pub use latency::{Latencies, Latency};
pub use stream::{End, Interval, Span, Start, TestStart, Timestamp};
pub use summary::{Cpu, Grants, Summary, per};

/// Everything one run found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// When the run started and what it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Start>,
    /// Figures of each interval, warm-up included.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub intervals: Vec<Interval>,
    /// What each end counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<End>,
    /// What each job of a disk's run measured.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub jobs: Vec<FioJob>,
    /// The effective options.
    pub config: Config,
    /// The figures that are compared.
    pub summary: Summary,
    /// The machine.
    pub host: Host,
}

/// The effective options of a run, with the command they belong to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case")]
pub enum Config {
    /// A network run.
    Net(NetRecord),
    /// A run over a disk.
    Blk(BlkRecord),
}

/// The trace of a run, as its options have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceRecord {
    /// `--trace`.
    pub trace: String,
    /// `--trace-mode`.
    pub trace_mode: String,
    /// `--trace-buffer`, bytes.
    pub trace_buffer: u64,
}

/// The options of a run over a disk as the results record them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BlkRecord {
    /// Of its trace, if there is one.
    #[serde(flatten)]
    pub trace: Option<TraceRecord>,
    /// All others.
    #[serde(flatten)]
    pub blk: BlkConfig,
}

/// The options of a network run as the results record them: with the words of the command line where the data has
/// them in parts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NetRecord {
    /// What `--csum` says: `on`, `off`, `tx` or `rx`.
    pub csum: String,
    /// Of its trace, if there is one.
    #[serde(flatten)]
    pub trace: Option<TraceRecord>,
    /// All others.
    #[serde(flatten)]
    pub net: NetConfig,
}

impl From<NetConfig> for Config {
    fn from(net: NetConfig) -> Self {
        Self::Net(NetRecord { csum: net.csum_word().to_owned(), trace: None, net })
    }
}

impl From<BlkConfig> for Config {
    fn from(blk: BlkConfig) -> Self {
        Self::Blk(BlkRecord { trace: None, blk })
    }
}

impl From<&TraceTo> for TraceRecord {
    fn from(to: &TraceTo) -> Self {
        Self {
            trace: to.file.display().to_string(),
            trace_mode: to.mode.to_string(),
            trace_buffer: to.buffer,
        }
    }
}

impl Config {
    /// The same, for a run with this trace.
    #[must_use]
    pub fn traced(mut self, to: Option<&TraceTo>) -> Self {
        let place = match &mut self {
            Self::Net(record) => &mut record.trace,
            Self::Blk(record) => &mut record.trace,
        };
        *place = to.map(TraceRecord::from);
        self
    }

    /// The command that repeats the run.
    #[must_use]
    pub fn command_line(&self) -> String {
        match self {
            Self::Net(record) => record.net.command_line(),
            Self::Blk(record) => record.blk.command_line(),
        }
    }

    /// The options every kind of run has.
    #[must_use]
    pub fn run(&self) -> &RunConfig {
        match self {
            Self::Net(record) => &record.net.run,
            Self::Blk(record) => &record.blk.run,
        }
    }
}

impl Results {
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

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::config::{ConsoleConfig, Mode, TraceMode};
    use crate::workload::console::Series;

    /// A finished stream run, with invented figures.
    pub(crate) fn invented(mode: Mode) -> Results {
        let config = NetConfig::of_mode(mode);
        let intervals = (0..20u32).map(|i| {
            let start = f64::from(i) * 0.25;
            let bytes = 1_000_000_000 + 40_000_000 * u64::from(i % 7);
            Interval::new(start, start + 0.25, bytes, Some(bytes / 1500), i < 2)
        });
        Results {
            start: Some(Start::now(&config)),
            intervals: intervals.collect(),
            end: Some(End::new(5.0, 22_000_000_000, 21_999_000_000)),
            jobs: Vec::new(),
            summary: Summary {
                throughput_bps: Some(35.2e9),
                pps: Some(18.4e6),
                transactions_per_s: Some(431e3),
                latency_us: Some(Latency { p50: 2.1, p90: 2.4, p99: 4.9, p999: 11.0, max: 153.0 }),
                bytes: Some(21_999_000_000),
                bytes_verified: Some(21_999_000_000),
                errors: Some(0),
                lost: Some(0),
                ops: Some(14_666_000),
                notifies_per_op: Some(0.0012),
                notifies_suppressed: Some(14_600_000),
                wakeups: Some(12),
                batch_mean: Some(27.4),
                ring_full: Some(120),
                cycles_per_op: Some(1830.0),
                spin_cycles_per_op: Some(120.0),
                allocs_per_op: Some(0.0),
                syscalls_per_op: Some(0.002),
                copies_per_byte: Some(2.0),
                grants: Some(Grants { copies: 14_666_000, maps: 0, unmaps: 0 }),
                cpu: Some(Cpu { front: 0.98, back: 0.93 }),
                rss_bytes: Some(31 << 20),
                seconds: 5.0,
                ..Summary::default()
            },
            config: config.into(),
            host: host_info(),
        }
    }

    /// A finished console run that wrote these lines.
    pub(crate) fn invented_console(series: Series) -> ConsoleResults {
        ConsoleResults {
            start: ConsoleStart::now(),
            intervals: Vec::new(),
            config: ConsoleConfig::default().into(),
            summary: Summary::default(),
            console: ConsoleFigures::default(),
            series,
            host: host_info(),
        }
    }

    #[test]
    fn the_names_are_the_contract() {
        let json = serde_json::to_value(invented(Mode::Stream)).expect("plain data");
        assert_eq!(json["config"]["command"], "net");
        assert_eq!(json["config"]["csum"], "on");
        assert_eq!(json["config"]["batch"], 32);
        assert_eq!(json["start"]["test_start"]["protocol"], "TCP");
        assert_eq!(json["start"]["test_start"]["blksize"], 128 << 10);
        assert_eq!(json["intervals"][0]["sum"]["bits_per_second"], 32e9);
        assert_eq!(json["intervals"][0]["sum"]["omitted"], true);
        assert_eq!(json["end"]["sum_received"]["bytes"], 21_999_000_000_u64);
        assert_eq!(json["summary"]["cpu"]["front"], 0.98);
        assert_eq!(json["summary"]["grants"]["unmaps"], 0);
        assert!(json["host"]["cpus"].as_u64() > Some(0));
        let summary = json["summary"].as_object().expect("an object");
        assert!(
            !summary.contains_key("iops") && !summary.contains_key("stalls"),
            "absent, not zero"
        );
    }

    #[test]
    fn what_is_written_can_be_read() {
        for mode in [Mode::Stream, Mode::Rr, Mode::Pktgen] {
            let mut results = invented(mode);
            if mode == Mode::Rr {
                let (mode, buffer) = (TraceMode::Overwrite, 1 << 20);
                let to = TraceTo { file: "out.json".into(), mode, buffer };
                results.config = results.config.traced(Some(&to));
                let json = serde_json::to_value(&results).expect("plain data");
                assert_eq!(json["config"]["trace_mode"], "overwrite");
            }
            let json = results.to_json().expect("plain data");
            assert_eq!(serde_json::from_str::<Results>(&json).expect("own output"), results);
        }
    }
}
