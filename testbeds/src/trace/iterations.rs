//! `pvlab trace iterations`: how long each iteration took, over time; as words, as a picture, as a table.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use anyhow::Context as _;
use plotters::prelude::*;
use tracer_view::{Iterations, View, iterations};

use super::{paint, print};

/// Pixels.
const SIZE: (u32, u32) = (1100, 420);
/// Points drawn at most, so that the picture can be looked at.
const POINTS: usize = 20_000;

/// Shows the iterations of a trace, and writes them to `out`.
pub(super) fn show(view: &View<'_>, out: &[PathBuf]) -> anyhow::Result<()> {
    let found = iterations(view)?;
    for out in out {
        let text = match out.extension().and_then(|end| end.to_str()) {
            Some("svg") => picture(&found)?,
            _ => table(&found),
        };
        fs::write(out, text).with_context(|| format!("cannot write {}", out.display()))?;
    }
    print(&found.text(paint()))
}

fn table(found: &Iterations) -> String {
    let mut text = String::from("iteration,start_ns,duration_ns\n");
    for (n, one) in found.all.iter().enumerate() {
        let _ = writeln!(text, "{n},{},{}", one.start_ns, one.duration_ns);
    }
    text
}

#[expect(clippy::cast_precision_loss, reason = "pixels")]
fn picture(found: &Iterations) -> anyhow::Result<String> {
    let every = found.all.len().div_ceil(POINTS).max(1);
    let us = |ns: i64| (ns.max(1)) as f64 / 1e3;
    let ms = |ns: i64| ns as f64 / 1e6;
    let (Some(first), Some(last)) = (found.all.first(), found.all.last()) else {
        anyhow::bail!("there are no iterations to draw");
    };
    let least = found.all.iter().map(|one| us(one.duration_ns)).fold(f64::MAX, f64::min);
    let most = found.all.iter().map(|one| us(one.duration_ns)).fold(0.0, f64::max);
    let mut svg = String::new();
    let canvas = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
    canvas.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&canvas)
        .caption(format!("each {} over time", found.what), ("sans-serif", 18))
        .margin(10)
        .x_label_area_size(40)
        .y_label_area_size(70)
        .build_cartesian_2d(
            ms(first.start_ns)..ms(last.start_ns).max(ms(first.start_ns) + 1e-6),
            (least * 0.9..most * 1.2).log_scale(),
        )?;
    let mesh = &mut chart.configure_mesh();
    mesh.x_desc("milliseconds since the start of the trace").y_desc("microseconds").draw()?;
    // The slowest are always there, of the others as many as can be told apart.
    let slow = found.slowest.iter().filter_map(|&at| found.all.get(at));
    let shown = found.all.iter().step_by(every).chain(slow);
    let points = shown.map(|one| (ms(one.start_ns), us(one.duration_ns)));
    let grey = RGBColor(110, 120, 140);
    let which = match every {
        1 => format!("each {}", found.what),
        every => format!("one in {every}, and the slowest"),
    };
    chart
        .draw_series(points.map(|at| Circle::new(at, 1, grey.filled())))?
        .label(which)
        .legend(move |(x, y)| Circle::new((x + 9, y), 2, grey.filled()));
    for (line, colour, name) in
        [(&found.rolling_p50, BLUE, "p50"), (&found.rolling_p99, RED, "p99")]
    {
        let line = line.iter().map(|&(at, ns)| (ms(at), us(ns)));
        chart
            .draw_series(LineSeries::new(line, colour.stroke_width(2)))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour));
    }
    chart.configure_series_labels().border_style(BLACK).background_style(WHITE).draw()?;
    canvas.present()?;
    drop(chart);
    drop(canvas);
    Ok(svg)
}
