//! The page for the browser: one file without anything from elsewhere, in the reader's light or dark theme.

use askama::Template;

use crate::results::Host;

use super::Row;
use super::options::{Setting, cost_sentence, settings};
use super::plot::rate_over_time;
use super::table::{HEAD, cells};
use super::text::{first_line, remarks};

#[derive(Template)]
#[template(path = "report.html")]
struct Page<'a> {
    title: &'a str,
    headline: String,
    cost: String,
    head: [&'static str; 6],
    rows: Vec<Section<'a>>,
    host: &'a Host,
    version: &'static str,
}

/// One row of the table and what stands below it.
struct Section<'a> {
    what: &'a str,
    cells: [String; 5],
    command: String,
    remarks: Vec<String>,
    settings: Vec<Setting>,
    plot: Option<String>,
    warmed_up: bool,
}

/// A page about `rows`, which are one or more.
///
/// # Errors
/// No rows, or a plot that cannot be drawn.
pub fn html(title: &str, rows: &[Row<'_>]) -> anyhow::Result<String> {
    let first = rows.first().ok_or_else(|| anyhow::anyhow!("a report needs at least one run"))?;
    let config = &first.results.config;
    let page = Page {
        title,
        headline: first_line(config).trim_start_matches("pvlab: ").to_owned(),
        cost: cost_sentence(config.run()),
        head: HEAD,
        rows: rows.iter().map(section).collect::<anyhow::Result<_>>()?,
        host: &first.results.host,
        version: env!("CARGO_PKG_VERSION"),
    };
    Ok(page.render()?)
}

fn section<'a>(row: &Row<'a>) -> anyhow::Result<Section<'a>> {
    let results = row.results;
    Ok(Section {
        what: row.what,
        cells: cells(results),
        command: results.config.command_line(),
        remarks: remarks(results),
        settings: settings(&results.config),
        plot: rate_over_time(&results.config, &results.intervals)?,
        warmed_up: results.intervals.iter().any(|interval| interval.sum.omitted),
    })
}

#[cfg(test)]
mod tests {
    use super::super::invented;
    use super::*;

    /// With `PVLAB_KEEP=DIR` the page stays there, to be looked at.
    #[test]
    fn the_page_stands_alone() {
        let runs = invented();
        let rows: Vec<_> = runs.iter().map(|(what, results)| Row { what, results }).collect();
        let page = html("pvlab: the tour", &rows).expect("a page");
        assert!(page.len() < 200_000, "{} bytes", page.len());
        for foreign in ["http://", "https://", "src=", "<script", "<link", "@import", "url("] {
            let found = page.replace("http://www.w3.org/2000/svg", "").contains(foreign);
            assert!(!found, "{foreign}");
        }
        assert_eq!(page.matches("<svg").count(), 4);
        for (what, results) in &runs {
            assert!(page.contains(what) && page.contains(&results.config.command_line()));
        }
        if let Ok(dir) = std::env::var("PVLAB_KEEP") {
            std::fs::write(format!("{dir}/report.html"), page).expect("a file");
        }
    }

    #[test]
    fn what_users_name_is_text() {
        let (_, results) = &invented()[0];
        let page = html("<b>&", &[Row { what: "<script>x</script>", results }]).expect("a page");
        assert!(!page.contains("<script>") && !page.contains("<b>"), "escaped");
    }

    #[test]
    fn a_long_run_makes_no_large_page() {
        let (what, mut results) = invented().remove(0);
        results.intervals = results.intervals.repeat(1000);
        let page = html("long", &[Row { what, results: &results }]).expect("a page");
        assert!(page.len() < 50_000, "{} bytes", page.len());
    }
}
