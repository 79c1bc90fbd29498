//! Lines over time, as numbers and as a picture: under a limit, bursts are steps and waits are plateaus.

use std::fmt::Write as _;

use plotters::prelude::*;

use super::numbers::{scale, thousands, three_digits};
use crate::units::float;
use crate::workload::console::Series;

/// Pixels.
const SIZE: (u32, u32) = (900, 420);
/// Blue that can be seen on white, and on paper.
const CURVE: RGBColor = RGBColor(0x0b, 0x6b, 0xcb);
const GRID: RGBColor = RGBColor(0xdf, 0xe2, 0xe6);

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

/// The same as a picture called `title`.
///
/// # Errors
/// If it cannot be drawn.
pub fn svg(series: &Series, title: &str) -> anyhow::Result<String> {
    let points: Vec<(f64, u64)> = series.so_far().collect();
    let (seconds, lines) = points.last().copied().unwrap_or_default();
    let (divisor, prefix) = scale(float(lines));
    let top = (float(lines) / divisor * 1.05).max(1e-9);
    let mut text = String::new();
    let canvas = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
    canvas.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&canvas)
        .caption(title, ("sans-serif", 18))
        .margin(10)
        .x_label_area_size(42)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..seconds.max(1e-9), 0.0..top)?;
    chart
        .configure_mesh()
        .x_desc("seconds")
        .y_desc(format!("{prefix}lines written"))
        .x_label_formatter(&|x| three_digits(*x))
        .y_label_formatter(&|y| three_digits(*y))
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .label_style(("sans-serif", 14))
        .draw()?;
    chart.draw_series(LineSeries::new(steps(&points, divisor), CURVE.stroke_width(2)))?;
    canvas.present()?;
    drop(chart);
    drop(canvas);
    Ok(text)
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
    fn bursts() -> Series {
        let mut series = Series::new();
        for period in 0..25 {
            (0..400).for_each(|line| series.add(period * 200_000 + line * 50));
        }
        series
    }

    #[test]
    fn numbers_can_be_plotted_by_anybody() {
        let text = csv(&bursts());
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("seconds,messages"));
        assert_eq!(lines.next(), Some("0.000000,0"));
        assert_eq!(lines.next(), Some("0.002000,40"), "5 s are more than 4,096 ms");
        assert!(text.ends_with(",10000\n"));
    }

    #[test]
    fn the_picture_has_a_step_for_each_burst() {
        let series = bursts();
        let text = svg(&series, "6-byte lines").expect("a picture");
        assert!(text.starts_with("<svg") && text.contains("6-byte lines"), "{text}");
        assert!(text.len() < 50_000, "{} bytes", text.len());
        let points: Vec<_> = series.so_far().collect();
        let steps = steps(&points, 1.0);
        let flat = steps.windows(2).filter(|w| w[0].1 == w[1].1 && w[1].0 - w[0].0 > 0.15).count();
        assert_eq!(flat, 24, "plateaus between 25 bursts");
    }

    #[test]
    fn the_first_second_shows_five_bursts() {
        let text = first_second(&bursts()).expect("a second");
        assert_eq!(text.matches('\u{2588}').count(), 5, "{text}");
        assert_eq!(text.matches('\u{b7}').count(), 45, "{text}");
        assert_eq!(first_second(&Series::new()), None);
    }
}
