//! The main job: four runs, a table, a report; and a fifth, short one as a timeline.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, bail};

use super::net::{self, Show};
use crate::config::{Amount, Mode, NetConfig, TraceMode, TraceTo};
use crate::domain::StopFlag;
use crate::report::{self, Row};
use crate::results::Results;

/// Where the tour writes.
const OUT: &str = "pvlab-out";

/// Shows what this machine does, in well under 20 seconds.
///
/// # Errors
/// If a run could not take place, or was not good, or nothing can be written here.
pub fn tour(quiet: bool, stop: &StopFlag) -> anyhow::Result<()> {
    let dir = Path::new(OUT);
    // Asked before the runs and not after them.
    fs::create_dir_all(dir).with_context(|| cannot(dir))?;
    let mut done: Vec<(String, Results)> = Vec::new();
    let mut failures = Vec::new();
    for (config, points) in stops(quiet) {
        let what = report::what(&config);
        let show = Show { quiet, text: true, headline: false, points: Some(points) };
        let (results, failure) = net::run(&config, &what, show, None, stop)?;
        if stop.is_set() {
            bail!("interrupted");
        }
        failures.extend(failure.map(|why| format!("{what}: {why}")));
        done.push((what, results));
    }
    let rows: Vec<Row<'_>> = done.iter().map(|(what, results)| Row { what, results }).collect();
    let wrote = write(&rows, dir)?;
    let timeline = timeline(dir, stop)?;
    super::print(&report::tour_text(&rows, &wrote, &timeline))?;
    if failures.is_empty() { Ok(()) } else { bail!(failures.join("; ")) }
}

/// A copy so short that one can read all of it in its trace. It is apart from the rows of the table:
/// they are measured with nobody looking.
fn timeline(dir: &Path, stop: &StopFlag) -> anyhow::Result<String> {
    let [(mut config, _), ..] = stops(true);
    config.run.amount = Amount::Count(4 << 20);
    let file = dir.join("trace.json");
    let trace = TraceTo { file, mode: TraceMode::Stop, buffer: TraceTo::BUFFER };
    let show = Show { quiet: true, text: false, headline: false, points: None };
    let (_, failure) = net::run(&config, &report::what(&config), show, Some(&trace), stop)?;
    failure.map_or_else(|| Ok(trace.file.display().to_string()), |why| bail!("timeline: {why}"))
}

/// The runs of the tour, and for each the seconds between two points of its plot.
fn stops(quiet: bool) -> [(NetConfig, f64); 4] {
    let of = |mode, amount| {
        let mut config = NetConfig::of_mode(mode);
        config.run.amount = amount;
        config.run.quiet = quiet;
        config
    };
    let mut frames = of(Mode::Pktgen, Amount::Seconds(2.0));
    frames.run.verify = false;
    [
        (of(Mode::Stream, Amount::Count(128 << 20)), 0.002),
        (frames, 0.1),
        (of(Mode::Rr, Amount::Seconds(2.0)), 0.1),
        (of(Mode::Crr, Amount::Seconds(2.0)), 0.1),
    ]
}

fn cannot(dir: &Path) -> String {
    format!("cannot write {}; go to a directory that you may write", dir.display())
}

/// Writes the results and the page. Says what was written.
fn write(rows: &[Row<'_>], dir: &Path) -> anyhow::Result<Vec<String>> {
    let results: Vec<&Results> = rows.iter().map(|row| row.results).collect();
    let json = dir.join("tour.json");
    let text = serde_json::to_string_pretty(&results)? + "\n";
    fs::write(&json, text).with_context(|| cannot(dir))?;
    let page = dir.join("report.html");
    fs::write(&page, report::html("pvlab: the tour", rows)?).with_context(|| cannot(dir))?;
    Ok([json, page].iter().map(|path| path.display().to_string()).collect())
}
