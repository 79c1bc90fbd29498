//! Rate over time as an inline SVG.

use plotters::prelude::*;

use crate::results::{Config, Interval};
use crate::units::float;

use super::numbers::{Measure, scale};
use super::palette::{Palette, inline, tick};

/// Pixels, before the page scales the picture.
const SIZE: (u32, u32) = (900, 220);
/// It is for the page alone.
const COLOURS: Palette = Palette::PAGE;
/// Points of a curve at most: more cannot be seen and would only make the page large.
const POINTS: usize = 300;

/// A moment and the rate around it.
type Point = (f64, f64);

/// The intervals of a run as a curve; nothing where there are too few to make one.
pub(super) fn rate_over_time(
    config: &Config,
    intervals: &[Interval],
) -> anyhow::Result<Option<String>> {
    let measure = Measure::of(config);
    let points = |omitted: bool| -> Vec<Point> {
        let spans = intervals.iter().map(|interval| &interval.sum);
        let kept = spans.filter(|span| span.omitted == omitted);
        thinned(kept.map(|span| ((span.start + span.end) / 2.0, measure.of_span(span))).collect())
    };
    let (mut warmup, measured) = (points(true), points(false));
    // So that the curve does not break where the colour changes.
    warmup.extend(measured.first().filter(|_| !warmup.is_empty()));
    let Some(last) = intervals.last() else { return Ok(None) };
    if warmup.len().max(measured.len()) < 4 {
        return Ok(None);
    }
    let highest = warmup.iter().chain(&measured).map(|point| point.1).fold(0.0, f64::max);
    let axes = Axes { seconds: last.sum.end, highest, unit: measure.suffix() };
    let mut svg = String::new();
    draw(&mut svg, &axes, &[(&warmup, COLOURS.beside), (&measured, COLOURS.curve)])?;
    Ok(Some(inline(&svg, SIZE, "rate over time")))
}

/// What the two axes reach to.
struct Axes {
    seconds: f64,
    highest: f64,
    unit: &'static str,
}

fn draw(svg: &mut String, axes: &Axes, curves: &[(&[Point], RGBColor)]) -> anyhow::Result<()> {
    let (divisor, prefix) = scale(axes.highest);
    let (time, second) = if axes.seconds < 0.5 { ("milliseconds", 1e3) } else { ("seconds", 1.0) };
    let top = if axes.highest > 0.0 { axes.highest / divisor * 1.1 } else { 1.0 };
    let canvas = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    let mut chart = ChartBuilder::on(&canvas)
        .margin(8)
        .x_label_area_size(42)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..axes.seconds * second, 0.0..top)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_desc(time)
        .y_desc(format!("{prefix}{}", axes.unit))
        .x_labels(8)
        .y_labels(5)
        .x_label_formatter(&|x| tick(*x))
        .y_label_formatter(&|y| tick(*y))
        .label_style(("sans-serif", 16, &COLOURS.text))
        .axis_desc_style(("sans-serif", 16, &COLOURS.text))
        .axis_style(COLOURS.grid)
        .bold_line_style(COLOURS.grid)
        .light_line_style(TRANSPARENT)
        .draw()?;
    for (points, colour) in curves {
        let scaled = points.iter().map(|(x, y)| (*x * second, *y / divisor));
        chart.draw_series(LineSeries::new(scaled, colour.stroke_width(2)))?;
    }
    canvas.present()?;
    drop(chart);
    Ok(())
}

/// At most [`POINTS`] points, each the mean of its neighbours.
fn thinned(points: Vec<Point>) -> Vec<Point> {
    let group = points.len().div_ceil(POINTS).max(1);
    let mean = |group: &[Point]| {
        let count = float(group.len() as u64);
        let sum = group.iter().fold((0.0, 0.0), |sum, point| (sum.0 + point.0, sum.1 + point.1));
        (sum.0 / count, sum.1 / count)
    };
    points.chunks(group).map(mean).collect()
}
