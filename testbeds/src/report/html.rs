//! The page for the browser: one file without anything from elsewhere, in the reader's light or dark theme.

use askama::Template;

use crate::config::RunConfig;
use crate::results::{AnyResults, ConsoleResults, Host, Results};

use super::Row;
use super::levels::{self, in_flight};
use super::options::{Setting, cost_sentence, settings};
use super::plot::rate_over_time;
use super::stairs::lines_over_time;
use super::table::{HEAD, cells};
use super::text::{first_line, remarks};
use super::{console, text};

#[derive(Template)]
#[template(path = "report.html")]
struct Page<'a> {
    title: &'a str,
    /// Who ran where, if that is the same for all rows.
    headline: Option<String>,
    cost: String,
    head: [&'static str; 6],
    rows: Vec<Section>,
    host: &'a Host,
    version: &'static str,
}

/// One row of the table and what stands below it.
struct Section {
    what: String,
    headline: String,
    cells: [String; 5],
    command: String,
    remarks: Vec<String>,
    settings: Vec<Setting>,
    pictures: Vec<Picture>,
}

/// A picture, and what is to be said below it.
struct Picture {
    svg: String,
    caption: &'static str,
}

/// What all rows of a page have in common is told once, of the first of them.
struct First<'a> {
    run: &'a RunConfig,
    host: &'a Host,
}

/// A page about `rows`, which are one or more.
///
/// # Errors
/// No rows, or a plot that cannot be drawn.
pub fn html(title: &str, rows: &[Row<'_>]) -> anyhow::Result<String> {
    let first = rows.first().map(|row| of_run(row.results));
    let sections = rows.iter().map(|row| section(row.what.to_owned(), row.results));
    page(title, first, sections.collect::<anyhow::Result<_>>()?)
}

/// The same about runs of any kind, which are named by what they did.
///
/// # Errors
/// As [`html`].
pub fn html_of_any(title: &str, runs: &[AnyResults]) -> anyhow::Result<String> {
    let first = runs.first().map(|run| match run {
        AnyResults::Run(results) => of_run(results),
        AnyResults::Console(results) => of_console(results),
    });
    let sections = runs.iter().map(|run| match run {
        AnyResults::Run(results) => section(text::what_of(results), results),
        AnyResults::Console(results) => console_section(results),
    });
    page(title, first, sections.collect::<anyhow::Result<_>>()?)
}

fn of_run(results: &Results) -> First<'_> {
    First { run: results.config.run(), host: &results.host }
}

fn of_console(results: &ConsoleResults) -> First<'_> {
    First { run: &results.config.console.run, host: &results.host }
}

fn page(title: &str, first: Option<First<'_>>, rows: Vec<Section>) -> anyhow::Result<String> {
    let first = first.ok_or_else(|| anyhow::anyhow!("a report needs at least one run"))?;
    let alike = rows.windows(2).all(|pair| pair[0].headline == pair[1].headline);
    let page = Page {
        title,
        headline: rows.first().filter(|_| alike).map(|row| row.headline.clone()),
        cost: cost_sentence(first.run),
        head: HEAD,
        rows,
        host: first.host,
        version: env!("CARGO_PKG_VERSION"),
    };
    Ok(page.render()?)
}

/// A first line as it stands below a title.
fn bare(first_line: String) -> String {
    first_line.trim_start_matches("pvlab: ").to_owned()
}

fn section(what: String, results: &Results) -> anyhow::Result<Section> {
    let warmed_up = results.intervals.iter().any(|interval| interval.sum.omitted);
    let caption = if warmed_up { "grey: warm-up, not counted" } else { "" };
    let rate = rate_over_time(&results.config, &results.intervals)?;
    let mut pictures: Vec<_> = rate.map(|svg| Picture { svg, caption }).into_iter().collect();
    for job in &results.jobs {
        let caption = levels::CAPTION;
        pictures.extend(in_flight(job)?.map(|svg| Picture { svg, caption }));
    }
    Ok(Section {
        what,
        headline: bare(first_line(&results.config)),
        cells: cells(results),
        command: results.config.command_line(),
        remarks: remarks(results),
        settings: settings(&results.config),
        pictures,
    })
}

fn console_section(results: &ConsoleResults) -> anyhow::Result<Section> {
    let config = &results.config.console;
    let lines = lines_over_time(&results.series)?;
    Ok(Section {
        what: console::console_what(config),
        headline: bare(console::console_headline(config)),
        cells: console::cells(results),
        command: config.command_line(),
        remarks: console::remarks(results),
        settings: console::settings(config),
        pictures: lines.map(|svg| Picture { svg, caption: "" }).into_iter().collect(),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::invented;
    use super::*;
    use crate::results::FioJob;
    use crate::results::tests::invented_console;
    use crate::workload::blk::BlkReport;
    use crate::workload::console::Series;

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
    fn runs_of_every_kind_stand_on_one_page() {
        use crate::config::BlkConfig;
        let (_, mut disk) = invented().remove(2);
        disk.config = BlkConfig::default().into();
        let (front, back) = (
            BlkReport { depth: [0, 0, 1, 2, 3, 4, 0], ..BlkReport::default() },
            BlkReport::default(),
        );
        disk.jobs = vec![FioJob::new(BTreeMap::new(), &front, &back, 1.0, false)];
        let mut series = Series::new();
        (0..900).for_each(|line| series.add(line * 1000));
        let console = invented_console(series);
        let runs = [AnyResults::Run(Box::new(disk)), AnyResults::Console(Box::new(console))];
        let page = html_of_any("pvlab", &runs).expect("a page");
        assert_eq!(page.matches("<svg").count(), 3, "rate, requests in flight, lines");
        for part in ["put by blkfront", "16-31", "lines so far", "(blkback)", "(consoled)"] {
            assert!(page.contains(part), "{part}");
        }
        assert!(html_of_any("pvlab", &[]).is_err());
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
