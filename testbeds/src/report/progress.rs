//! The progress of a run on stderr: a bar where that is a terminal, nothing elsewhere.

use std::io::{self, Write as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::config::Amount;
use crate::units::round_u64;

/// How far a run has come. Gone from the screen when it is dropped.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    amount: Amount,
}

impl Progress {
    /// A bar for a run of `amount` called `what`; a silent one if `quiet` or where stderr is no terminal.
    #[must_use]
    pub fn new(what: &str, amount: Amount, quiet: bool) -> Self {
        let target =
            if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(Some(length(amount)), target);
        // The template is a constant; the plain bar that stands in for a wrong one is good enough.
        let style = ProgressStyle::with_template("  {prefix} [{wide_bar}] {percent:>3} %  {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
        bar.set_prefix(what.to_owned());
        Self { bar, amount }
    }

    /// The run has gone on for `elapsed` and done `count` of what its amount counts; `rate` is for the reader.
    pub fn update(&self, elapsed: Duration, count: u64, rate: &str) {
        let done = match self.amount {
            Amount::Seconds(_) => milliseconds(elapsed.as_secs_f64()),
            Amount::Count(_) => count,
        };
        // More than all would be shown as such.
        self.bar.set_position(done.min(length(self.amount)));
        self.bar.set_message(rate.to_owned());
    }

    /// What was asked for is over; now `count` of `all` that it left is done, which is called `what`.
    pub fn afterwards(&self, what: &str, count: u64, all: u64) {
        self.bar.set_prefix(what.to_owned());
        self.bar.set_length(all);
        self.bar.set_position(count.min(all));
        self.bar.set_message(String::new());
    }

    /// Prints a line on stdout without tearing the bar.
    ///
    /// # Errors
    /// What stdout says.
    pub fn print(&self, line: &str) -> io::Result<()> {
        self.bar.suspend(|| writeln!(io::stdout(), "{line}"))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn length(amount: Amount) -> u64 {
    match amount {
        Amount::Seconds(seconds) => milliseconds(seconds),
        Amount::Count(count) => count,
    }
}

fn milliseconds(seconds: f64) -> u64 {
    round_u64(seconds * 1e3).unwrap_or(u64::MAX)
}
