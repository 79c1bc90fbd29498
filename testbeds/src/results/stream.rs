//! `start`, `intervals` and `end` with the names and meanings iperf3 gives them.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::config::{Amount, Mode, NetConfig};
use crate::units::float;

/// When a run started and what it was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Start {
    /// Wall-clock time.
    pub timestamp: Timestamp,
    /// Program and version.
    pub version: String,
    /// What was run.
    pub test_start: TestStart,
}

/// A point in wall-clock time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timestamp {
    /// Seconds since 1970.
    pub timesecs: u64,
}

/// What was run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TestStart {
    /// `TCP`, `UDP` or `Ethernet`.
    pub protocol: String,
    /// Connections or flows at once.
    pub num_streams: u32,
    /// Bytes of a write, datagram or frame.
    pub blksize: usize,
    /// Seconds of warm-up.
    pub omit: f64,
    /// Seconds asked for; 0 where a count ends the run.
    pub duration: f64,
    /// Bytes asked for; 0 where the time ends the run.
    pub bytes: u64,
    /// 1 if the backend's side sends.
    pub reverse: u8,
}

/// One interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// All streams together.
    pub sum: Span,
}

/// What each end counted over the whole run, warm-up apart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct End {
    /// By the sender.
    pub sum_sent: Span,
    /// By the receiver.
    pub sum_received: Span,
}

/// What happened in a span of time. Times are seconds since the run started.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Span {
    /// First moment.
    pub start: f64,
    /// Last moment.
    pub end: f64,
    /// Length.
    pub seconds: f64,
    /// Payload bytes.
    pub bytes: u64,
    /// Payload bits per second.
    pub bits_per_second: f64,
    /// Frames or transactions, where those are what is counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ops: Option<u64>,
    /// Whether this was warm-up.
    #[serde(default)]
    pub omitted: bool,
}

impl Start {
    /// A run of `config` that starts now.
    #[must_use]
    pub fn now(config: &NetConfig) -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            timestamp: Timestamp { timesecs: since_epoch.as_secs() },
            version: format!("pvlab {}", env!("CARGO_PKG_VERSION")),
            test_start: TestStart::of(config),
        }
    }
}

impl TestStart {
    fn of(config: &NetConfig) -> Self {
        let protocol = match config.mode {
            Mode::Udp => "UDP",
            Mode::Pktgen => "Ethernet",
            Mode::Stream | Mode::Maerts | Mode::Rr | Mode::Crr => "TCP",
        };
        let (duration, count) = match config.run.amount {
            Amount::Seconds(seconds) => (seconds, 0),
            Amount::Count(count) => (0.0, count),
        };
        let counts_bytes = matches!(config.mode, Mode::Stream | Mode::Udp);
        let round_trips = matches!(config.mode, Mode::Rr | Mode::Crr);
        Self {
            protocol: protocol.to_owned(),
            num_streams: config.parallel,
            blksize: if round_trips { config.rr_req } else { config.len },
            omit: config.run.warmup,
            duration,
            bytes: if counts_bytes { count } else { 0 },
            reverse: config.reverse.into(),
        }
    }
}

impl Span {
    /// What was counted between two moments, in seconds since the start.
    #[must_use]
    pub fn new(start: f64, end: f64, bytes: u64) -> Self {
        let seconds = end - start;
        let bits_per_second = if seconds > 0.0 { float(bytes) * 8.0 / seconds } else { 0.0 };
        Self { start, end, seconds, bytes, bits_per_second, ops: None, omitted: false }
    }

    /// Frames or transactions per second, where those are counted.
    #[must_use]
    pub fn ops_per_second(&self) -> Option<f64> {
        let ops = self.ops.filter(|_| self.seconds > 0.0)?;
        Some(float(ops) / self.seconds)
    }
}

impl Interval {
    /// What was counted between two moments, in seconds since the start; `ops` where those are counted.
    #[must_use]
    pub fn new(start: f64, end: f64, bytes: u64, ops: Option<u64>, omitted: bool) -> Self {
        Self { sum: Span { ops, omitted, ..Span::new(start, end, bytes) } }
    }
}

impl End {
    /// Both counts of a run of `seconds`.
    #[must_use]
    pub fn new(seconds: f64, sent: u64, received: u64) -> Self {
        let over = |bytes| Span::new(0.0, seconds, bytes);
        Self { sum_sent: over(sent), sum_received: over(received) }
    }
}
