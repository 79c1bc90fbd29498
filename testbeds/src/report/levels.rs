//! How many requests of a disk were in flight, as a picture: a pair of bars for each level, what the
//! frontend found when it put a request and what the backend found when it took one.

use std::collections::BTreeMap;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::palette::{Palette, inline, tick};
use crate::results::FioJob;

/// Pixels, before the page scales the picture.
const SIZE: (u32, u32) = (900, 220);
/// It is for the page alone.
const COLOURS: Palette = Palette::PAGE;
/// The levels under fio's keys, and as people read them.
pub(super) const LEVELS: [(&str, &str); 7] = [
    ("1", "1"),
    ("2", "2-3"),
    ("4", "4-7"),
    ("8", "8-15"),
    ("16", "16-31"),
    ("32", "32-63"),
    (">=64", "64 and more"),
];

/// What the two colours are.
pub(super) const CAPTION: &str = "percent of requests that found so many in flight, themselves included: put by blkfront; grey: taken by blkback";

/// The picture; none if nothing was put.
pub(super) fn in_flight(job: &FioJob) -> anyhow::Result<Option<String>> {
    let sides = [&job.iodepth_level, &job.iodepth_level_backend];
    let percent = |side: &BTreeMap<String, f64>, key: &str| side.get(key).copied().unwrap_or(0.0);
    let all = sides.iter().flat_map(|side| LEVELS.map(|(key, _)| percent(side, key)));
    let highest = all.fold(0.0, f64::max);
    if highest <= 0.0 {
        return Ok(None);
    }
    let mut svg = String::new();
    let canvas = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
    let mut chart = ChartBuilder::on(&canvas)
        .margin(8)
        .x_label_area_size(42)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..7.0, 0.0..highest * 1.1)?;
    let words = ("sans-serif", 16, &COLOURS.text);
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_desc("requests in flight")
        .y_desc("percent")
        // The levels stand between the ticks, so they are written below.
        .x_labels(0)
        .y_labels(5)
        .y_label_formatter(&|y| tick(*y))
        .label_style(words)
        .axis_desc_style(words)
        .axis_style(COLOURS.grid)
        .bold_line_style(COLOURS.grid)
        .light_line_style(TRANSPARENT)
        .draw()?;
    let centre = Pos::new(HPos::Center, VPos::Top);
    let style = ("sans-serif", 16).into_font().color(&COLOURS.text).pos(centre);
    for (at, (key, name)) in (0_u32..).zip(LEVELS) {
        let left = f64::from(at);
        for (side, colour) in (0_u32..).zip([COLOURS.curve, COLOURS.beside]) {
            let from = left + 0.12 + 0.38 * f64::from(side);
            let high = percent(sides[side as usize], key);
            let bar = [(from, 0.0), (from + 0.38, high)];
            chart.draw_series([Rectangle::new(bar, colour.filled())])?;
        }
        let name = EmptyElement::at((left + 0.5, 0.0)) + Text::new(name, (0, 6), style.clone());
        chart.draw_series([name])?;
    }
    canvas.present()?;
    drop(chart);
    drop(canvas);
    Ok(Some(inline(&svg, SIZE, "requests in flight")))
}
