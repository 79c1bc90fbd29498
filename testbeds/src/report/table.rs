//! The table of a tour or a run: one row each, at most [`WIDTH`] columns.

use comfy_table::presets::NOTHING;
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table};

use super::Row;
use super::numbers::{per_op, rate, three_digits};
use crate::results::Results;

/// Columns a table may take.
const WIDTH: u16 = 110;

/// The heads of the columns.
pub(super) const HEAD: [&str; 6] =
    ["what", "rate", "latency p50 / p99", "notify/op", "cycles/op", "CPU f / b"];

/// The rows as text, with a line of heads, each line indented by two.
#[must_use]
pub fn table(rows: &[Row<'_>]) -> String {
    let texts = rows.iter().map(|row| [row.what.to_owned()].into_iter().chain(cells(row.results)));
    grid(HEAD, texts)
}

/// Rows of texts below a line of heads.
pub(super) fn grid<R>(head: [&str; 6], rows: impl Iterator<Item = R>) -> String
where
    R: Iterator<Item = String>,
{
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_width(WIDTH);
    table
        .set_header(head.iter().enumerate().map(|(column, head)| cell(column, (*head).to_owned())));
    for texts in rows {
        table.add_row(texts.enumerate().map(|(column, text)| cell(column, text)));
    }
    // The style pads each cell by one column.
    table.lines().map(|line| format!(" {}\n", line.trim_end())).collect()
}

/// Words to the left, figures to the right.
fn cell(column: usize, text: String) -> Cell {
    let side = if column < 2 { CellAlignment::Left } else { CellAlignment::Right };
    Cell::new(text).set_alignment(side)
}

/// Every column but the first; empty where the run has no such figure.
pub(super) fn cells(results: &Results) -> [String; 5] {
    let summary = &results.summary;
    let rate = rate(results).map(|rate| format!("{:>5} {}", rate.number, rate.unit));
    let latency = summary
        .latency_us
        .map(|us| format!("{:>5} / {:>5} us", three_digits(us.p50), three_digits(us.p99)));
    let cpu = summary.cpu.map(|cpu| format!("{:.1} / {:.1}", cpu.front, cpu.back));
    [
        rate.unwrap_or_default(),
        latency.unwrap_or_default(),
        summary.notifies_per_op.map(|value| format!("{value:.2}")).unwrap_or_default(),
        summary.cycles_per_op.map(per_op).unwrap_or_default(),
        cpu.unwrap_or_default(),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::invented;
    use super::*;

    #[test]
    fn columns_line_up_and_fit() {
        let rows = invented();
        let rows: Vec<_> = rows.iter().map(|(what, results)| Row { what, results }).collect();
        let text = table(&rows);
        println!("{text}");
        assert_eq!(text.lines().count(), 5);
        let ends = |line: &str| line.chars().count();
        let width = text.lines().map(ends).max().expect("lines");
        assert!(width <= usize::from(WIDTH), "{text}");
        assert!(text.lines().all(|line| ends(line) == width), "the last column is flush: {text}");
        for word in ["35.2 Gbit/s", "18.4 M/s", "431 k/s", "2.10 /  4.90 us", "1,830", "1.0 / 0.9"]
        {
            assert!(text.contains(word), "{word} in {text}");
        }
    }

    #[test]
    fn a_long_name_is_folded_and_a_missing_figure_is_empty() {
        let mut rows = invented();
        let results = &mut rows[0].1;
        results.summary = crate::results::Summary::default();
        let what = "word ".repeat(40);
        let text = table(&[Row { what: &what, results }]);
        assert!(text.lines().all(|line| line.chars().count() <= usize::from(WIDTH)), "{text}");
        assert!(!text.contains("0.0"), "{text}");
    }
}
