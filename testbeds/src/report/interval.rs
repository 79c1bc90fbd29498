//! The lines a run prints while it goes on: iperf3's, to the character, so that eyes and scripts find their way.

use crate::results::{Config, Span};
use crate::units::float;

use super::numbers::Measure;

/// The line above the intervals of a run.
#[must_use]
pub fn interval_header(config: &Config) -> &'static str {
    match Measure::of(config) {
        Measure::Bits => "[ ID] Interval           Transfer     Bitrate",
        Measure::Ops => "[ ID] Interval           Operations   Rate",
    }
}

/// One interval: of stream `id`, or of all of them together.
#[must_use]
pub fn interval_line(config: &Config, id: Option<u32>, span: &Span) -> String {
    let id = id.map_or_else(|| "SUM".to_owned(), |id| format!("{id:>3}"));
    let (amount, rate) = match Measure::of(config) {
        Measure::Bits => (transfer(span.bytes), scaled(span.bits_per_second, 1000.0, "bits/sec")),
        Measure::Ops => {
            let ops = float(span.ops.unwrap_or(0));
            let rate = span.ops_per_second().unwrap_or(0.0);
            (scaled(ops, 1000.0, "ops"), scaled(rate, 1000.0, "ops/sec"))
        }
    };
    let omitted = if span.omitted { "  (omitted)" } else { "" };
    format!("[{id}] {:>6.2}-{:<6.2} sec  {amount}  {rate}{omitted}", span.start, span.end)
}

fn transfer(bytes: u64) -> String {
    scaled(float(bytes), 1024.0, "Bytes")
}

/// iperf3's numbers: four characters wide, in steps of 1000 for rates and 1024 for bytes.
fn scaled(value: f64, step: f64, unit: &str) -> String {
    let mut value = value;
    let mut prefix = "";
    for next in ["K", "M", "G", "T"] {
        if value < step {
            break;
        }
        value /= step;
        prefix = next;
    }
    let decimals = match value {
        small if small < 9.995 => 2,
        medium if medium < 99.95 => 1,
        _ => 0,
    };
    format!("{value:>4.decimals$} {prefix}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Mode, NetConfig};
    use crate::results::Interval;

    #[test]
    fn a_stream_looks_like_iperf3() {
        let config = Config::from(NetConfig::default());
        let span = Span::new(0.0, 1.0, 5_003_640_000);
        let line = "[  5]   0.00-1.00   sec  4.66 GBytes  40.0 Gbits/sec";
        assert_eq!(interval_line(&config, Some(5), &span), line);
        let short = Interval::new(9.0, 10.0, 0, None, true).sum;
        let line = "[SUM]   9.00-10.00  sec  0.00 Bytes  0.00 bits/sec  (omitted)";
        assert_eq!(interval_line(&config, None, &short), line);
    }

    #[test]
    fn frames_are_counted() {
        let config = Config::from(NetConfig::of_mode(Mode::Pktgen));
        let span = Interval::new(0.0, 0.5, 64_000_000, Some(1_000_000), false).sum;
        let line = "[  1]   0.00-0.50   sec  1.00 Mops  2.00 Mops/sec";
        assert_eq!(interval_line(&config, Some(1), &span), line);
    }
}
