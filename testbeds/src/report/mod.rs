//! What a person sees of a run: tables and interval lines as text, a progress bar, a page for the browser. All of it
//! is made of `results` alone, so a report can be made again from a JSON file. Text is plain, without colours, as
//! `NO_COLOR` asks.

mod blk;
mod console;
mod html;
mod interval;
mod levels;
mod numbers;
mod options;
mod palette;
mod plot;
mod progress;
mod stairs;
mod table;
mod text;

pub use blk::{done as blk_done, headline as blk_headline, what as blk_what};
pub use console::{console_headline, console_text, console_title, console_what};
pub use html::{html, html_of_any};
pub use interval::{interval_header, interval_line};
pub use progress::Progress;
pub use stairs::{csv, svg};
pub use table::table;
pub use text::{headline, headline_by_hand, run_text, run_text_by_hand, tour_text, what};

use crate::results::Results;

/// One run in a report, with a name for it.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    /// What was run, in a few words.
    pub what: &'a str,
    /// What it found.
    pub results: &'a Results,
}

/// A row for each mode, with invented figures.
#[cfg(test)]
fn invented() -> Vec<(&'static str, Results)> {
    use crate::config::{Amount, Mode};
    use crate::results::tests::invented;
    let mut all = vec![
        ("TCP copy of 128 MiB, every byte checked", invented(Mode::Stream)),
        ("64-byte frames", invented(Mode::Pktgen)),
        ("TCP round trip", invented(Mode::Rr)),
        ("TCP connect ... close", invented(Mode::Crr)),
    ];
    for (_, results) in &mut all {
        let crate::results::Config::Net(record) = &mut results.config else { continue };
        if record.net.mode == Mode::Stream {
            record.net.run.amount = Amount::Count(128 << 20);
        }
        if !matches!(record.net.mode, Mode::Rr | Mode::Crr) {
            results.summary.latency_us = None;
        }
    }
    all
}
