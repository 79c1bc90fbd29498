//! Lines over time, as numbers and as a picture: under a limit, bursts are steps and waits are plateaus.

use std::fmt::Write as _;

use plotters::coord::Shift;
use plotters::prelude::*;

use super::numbers::{scale, thousands};
use super::palette::{Palette, inline, tick};
use crate::units::float;
use crate::workload::console::Series;

/// Pixels.
const SIZE: (u32, u32) = (900, 560);
/// Of them, the lines so far; the bursts are below.
const UPPER: u32 = 330;
/// Bars at most: more cannot be told apart.
const BARS: usize = 400;
/// Seconds of a bar at least: a tenth of xenconsoled's period.
const BAR: f64 = 0.02;

/// `seconds,messages`: how many lines had been written by then.
#[must_use]
pub fn csv(series: &Series) -> String {
    let mut text = String::from("seconds,messages\n");
    for (seconds, count) in series.so_far() {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{seconds:.6},{count}");
    }
    text
}

/// The same as a picture called `title`, for paper.
///
/// # Errors
/// If it cannot be drawn.
pub fn svg(series: &Series, title: &str) -> anyhow::Result<String> {
    draw(series, Some(title), Palette::PAPER)
}

/// The same for a page; none if there are no lines.
pub(super) fn lines_over_time(series: &Series) -> anyhow::Result<Option<String>> {
    if series.messages.is_empty() {
        return Ok(None);
    }
    let svg = draw(series, None, Palette::PAGE)?;
    Ok(Some(inline(&svg, SIZE, "lines over time")))
}

fn draw(series: &Series, title: Option<&str>, colours: Palette) -> anyhow::Result<String> {
    let mut text = String::new();
    let mut canvas = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
    if let Some(paper) = colours.paper {
        canvas.fill(&paper)?;
    }
    if let Some(title) = title {
        canvas = canvas.titled(title, ("sans-serif", 18).into_font().color(&colours.text))?;
    }
    let (upper, lower) = canvas.split_vertically(UPPER);
    draw_stairs(&upper, series, colours)?;
    draw_bursts(&lower, series, colours)?;
    canvas.present()?;
    drop((upper, lower, canvas));
    Ok(text)
}

type Panel<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// All lines so far: a burst is a step, a wait is a plateau.
fn draw_stairs(panel: &Panel<'_>, series: &Series, colours: Palette) -> anyhow::Result<()> {
    let points: Vec<(f64, u64)> = series.so_far().collect();
    let (_, lines) = points.last().copied().unwrap_or_default();
    let (divisor, prefix) = scale(float(lines));
    let what = format!("lines so far{}", thousands_of(prefix));
    let mut chart = axes(panel, series, float(lines) / divisor, &what, colours)?;
    let line = LineSeries::new(steps(&points, divisor), colours.curve.stroke_width(2));
    chart.draw_series(line)?;
    Ok(())
}

/// The lines of each short while: how high a burst is and how often one comes.
fn draw_bursts(panel: &Panel<'_>, series: &Series, colours: Palette) -> anyhow::Result<()> {
    let (seconds, counts) = bursts(series);
    let most = float(counts.iter().copied().max().unwrap_or(0));
    let (divisor, prefix) = scale(most);
    let ms = tick(seconds * 1e3);
    let what = format!("lines in {ms} ms{}", thousands_of(prefix));
    let mut chart = axes(panel, series, most / divisor, &what, colours)?;
    let bars = (0_u64..).zip(counts).filter(|(_, count)| *count > 0).map(|(at, count)| {
        let (from, to) = (float(at) * seconds, float(at + 1) * seconds);
        Rectangle::new([(from, 0.0), (to, float(count) / divisor)], colours.curve.filled())
    });
    chart.draw_series(bars)?;
    Ok(())
}

type Chart<'a, 'b> = ChartContext<
    'a,
    SVGBackend<'b>,
    Cartesian2d<plotters::coord::types::RangedCoordf64, plotters::coord::types::RangedCoordf64>,
>;

/// Time from left to right, and from nothing to `highest`.
fn axes<'a, 'b>(
    panel: &'a Panel<'b>,
    series: &Series,
    highest: f64,
    what: &str,
    colours: Palette,
) -> anyhow::Result<Chart<'a, 'b>> {
    let seconds = float(series.messages.len() as u64) * series.seconds_per_point;
    let mut chart = ChartBuilder::on(panel)
        .margin(10)
        .x_label_area_size(42)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..seconds.max(1e-9), 0.0..(highest * 1.05).max(1e-9))?;
    chart
        .configure_mesh()
        .x_desc("seconds")
        .y_desc(what)
        .y_labels(6)
        .x_label_formatter(&|x| tick(*x))
        .y_label_formatter(&|y| tick(*y))
        .label_style(("sans-serif", 14, &colours.text))
        .axis_desc_style(("sans-serif", 14, &colours.text))
        .axis_style(colours.grid)
        .bold_line_style(colours.grid)
        .light_line_style(TRANSPARENT)
        .draw()?;
    Ok(chart)
}

fn thousands_of(prefix: &str) -> &'static str {
    match prefix {
        "k" => ", thousands",
        "M" => ", millions",
        "G" => ", billions",
        _ => "",
    }
}

/// Seconds of each bar, and the lines in it.
fn bursts(series: &Series) -> (f64, Vec<u64>) {
    let points = series.messages.len();
    // As many points as fill the shortest bar, or more where there would be too many bars.
    let wanted = (BAR / series.seconds_per_point).round().max(1.0);
    let group = (1..points).find(|n| *n as f64 >= wanted && points.div_ceil(*n) <= BARS);
    let group = group.unwrap_or(points.max(1));
    let counts = series.messages.chunks(group).map(|points| points.iter().sum()).collect();
    (float(group as u64) * series.seconds_per_point, counts)
}

/// Only where something changes, so that a long run makes no large picture.
fn steps(points: &[(f64, u64)], divisor: f64) -> Vec<(f64, f64)> {
    let mut out: Vec<(f64, f64)> = Vec::new();
    for (at, (seconds, count)) in points.iter().enumerate() {
        let before = at.checked_sub(1).map(|at| points[at].1);
        let after = points.get(at + 1).map(|next| next.1);
        if before != Some(*count) || after != Some(*count) {
            out.push((*seconds, float(*count) / divisor));
        }
    }
    out
}

/// The first second in cells of 20 ms, each as dark as many lines were written in it.
pub(super) fn first_second(series: &Series) -> Option<String> {
    const CELLS: usize = 50;
    const SHADES: [char; 5] = ['\u{b7}', '\u{2591}', '\u{2592}', '\u{2593}', '\u{2588}'];
    let per_cell = 1.0 / series.seconds_per_point / CELLS as f64;
    if series.messages.len() < 2 || per_cell < 1.0 {
        return None;
    }
    let cell = |n: usize| -> u64 {
        let from = (n as f64 * per_cell).round();
        let to = ((n + 1) as f64 * per_cell).round();
        let points = series.messages.iter().enumerate();
        points.filter(|(at, _)| (*at as f64) >= from && (*at as f64) < to).map(|(_, n)| n).sum()
    };
    let cells: Vec<u64> = (0..CELLS).map(cell).collect();
    let most = cells.iter().copied().max().filter(|most| *most > 0)?;
    let shade = |count: u64| match count {
        0 => SHADES[0],
        some => SHADES[1 + (some * 3).div_ceil(most).min(3) as usize],
    };
    let drawn: String = cells.iter().map(|count| shade(*count)).collect();
    Some(format!("first second, 20 ms a cell: |{drawn}|  {} lines at most", thousands(most)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bursts of 400 lines in 20 ms, every 200 ms.
    fn bursts_of_a_limit() -> Series {
        let mut series = Series::new();
        for period in 0..25 {
            (0..400).for_each(|line| series.add(period * 200_000 + line * 50));
        }
        series
    }

    #[test]
    fn numbers_can_be_plotted_by_anybody() {
        let text = csv(&bursts_of_a_limit());
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("seconds,messages"));
        assert_eq!(lines.next(), Some("0.000000,0"));
        assert_eq!(lines.next(), Some("0.002000,40"), "5 s are more than 4,096 ms");
        assert!(text.ends_with(",10000\n"));
    }

    #[test]
    fn the_picture_has_a_step_for_each_burst() {
        let series = bursts_of_a_limit();
        let text = svg(&series, "6-byte lines").expect("a picture");
        assert!(text.starts_with("<svg") && text.contains("6-byte lines"), "{text}");
        assert!(text.len() < 50_000, "{} bytes", text.len());
        let points: Vec<_> = series.so_far().collect();
        let steps = steps(&points, 1.0);
        let flat = steps.windows(2).filter(|w| w[0].1 == w[1].1 && w[1].0 - w[0].0 > 0.15).count();
        assert_eq!(flat, 24, "plateaus between 25 bursts");
    }

    #[test]
    fn every_burst_is_a_bar_and_every_line_is_in_one() {
        let (seconds, counts) = bursts(&bursts_of_a_limit());
        assert_eq!(seconds, 0.02);
        assert_eq!(counts.iter().sum::<u64>(), 10_000);
        assert_eq!(counts.iter().filter(|count| **count > 0).count(), 25);
    }

    #[test]
    fn the_first_second_shows_five_bursts() {
        let text = first_second(&bursts_of_a_limit()).expect("a second");
        assert_eq!(text.matches('\u{2588}').count(), 5, "{text}");
        assert_eq!(text.matches('\u{b7}').count(), 45, "{text}");
        assert_eq!(first_second(&Series::new()), None);
    }
}
