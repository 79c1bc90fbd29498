//! Numbers made to be looked at: three digits and a unit. Numbers to be typed again are `units`' business.

pub(super) use tracer_view::{thousands, three_digits};

use crate::config::Mode;
use crate::results::{Config, Results, Span, Summary};
use crate::units::round_u64;

/// A rate, its number and its unit apart so that a column can align them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rate {
    pub(super) number: String,
    pub(super) unit: String,
}

impl std::fmt::Display for Rate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.number, self.unit)
    }
}

/// What a mode's speed is measured in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Measure {
    /// Payload bits per second.
    Bits,
    /// Frames or transactions per second.
    Ops,
}

impl Measure {
    pub(super) fn of(config: &Config) -> Self {
        let Config::Net(record) = config else { return Self::Ops };
        match record.net.mode {
            Mode::Stream | Mode::Maerts | Mode::Udp => Self::Bits,
            Mode::Rr | Mode::Crr | Mode::Pktgen => Self::Ops,
        }
    }

    /// The word after the prefix: `Gbit/s`, `M/s`.
    pub(super) fn suffix(self) -> &'static str {
        match self {
            Self::Bits => "bit/s",
            Self::Ops => "/s",
        }
    }

    pub(super) fn of_span(self, span: &Span) -> f64 {
        match self {
            Self::Bits => span.bits_per_second,
            Self::Ops => span.ops_per_second().unwrap_or(0.0),
        }
    }

    fn of_summary(self, summary: &Summary, config: &Config) -> Option<f64> {
        match (self, config) {
            (Self::Bits, _) => summary.throughput_bps,
            (Self::Ops, Config::Net(record)) if record.net.mode == Mode::Pktgen => summary.pps,
            (Self::Ops, Config::Net(_)) => summary.transactions_per_s,
            (Self::Ops, Config::Blk(_)) => summary.iops,
        }
    }
}

/// The rate of a run in its mode's own measure, if it has one.
pub(super) fn rate(results: &Results) -> Option<Rate> {
    let measure = Measure::of(&results.config);
    let value = measure.of_summary(&results.summary, &results.config)?;
    let (number, prefix) = scaled(value);
    Some(Rate { number, unit: format!("{prefix}{}", measure.suffix()) })
}

/// Three digits and the prefix that goes with them, in steps of 1000.
pub(super) fn scaled(value: f64) -> (String, &'static str) {
    let (divisor, prefix) = scale(value);
    (three_digits(value / divisor), prefix)
}

/// What to divide by, and the prefix for it.
pub(super) fn scale(value: f64) -> (f64, &'static str) {
    // A hair below the step already rounds up to it.
    let steps = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    steps.into_iter().find(|(step, _)| value >= step * 0.9995).unwrap_or((1.0, ""))
}

/// How many there are, in words that fit one too: `1 byte`, `1,000 bytes`.
pub(super) fn counted(count: u64, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {what}{plural}", thousands(count))
}

/// A figure per op: whole, with commas, where it is large; else with enough decimals to show it is not zero.
pub(super) fn per_op(value: f64) -> String {
    match round_u64(value) {
        Some(whole) if value >= 100.0 => thousands(whole),
        _ if value > 0.0 && value < 0.01 => format!("{value:.4}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_and_a_prefix() {
        let shown = |value| {
            let (number, prefix) = scaled(value);
            format!("{number} {prefix}")
        };
        assert_eq!(shown(0.0), "0.00 ");
        assert_eq!(shown(35.24e9), "35.2 G");
        assert_eq!(shown(999_940.0), "1.00 M", "not 1000 k");
        assert_eq!(shown(431_200.0), "431 k");
        assert_eq!(shown(9.996), "10.0 ");
    }

    #[test]
    fn commas_and_small_figures() {
        assert_eq!(thousands(0), "0");
        assert_eq!((counted(1, "byte"), counted(0, "op")), ("1 byte".into(), "0 ops".into()));
        assert_eq!(counted(1000, "byte"), "1,000 bytes");
        assert_eq!(thousands(1_234_567), "1,234,567");
        assert_eq!(thousands(123_456), "123,456");
        assert_eq!(per_op(1830.4), "1,830");
        assert_eq!(per_op(0.0012), "0.0012");
        assert_eq!(per_op(0.0), "0.00");
        assert_eq!(per_op(f64::NAN), "NaN");
    }
}
