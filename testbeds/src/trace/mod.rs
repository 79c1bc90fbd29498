//! The command `trace`: shows traces that were recorded. What is in them is `tracer-view`'s business; here are
//! files, the terminal, and what is said around it.

mod iterations;
mod serve;

use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;

use anyhow::Context as _;
use tracer_view::{
    Arrows, Exported, File, Filter, Format, Paint, Top, Trouble, View, explain, export, thousands,
    tree,
};

use crate::cli::{TraceCommand, TraceVerb};

/// Events an export has at most, unless something else is asked for: what Perfetto shows without effort.
pub const MOST: u64 = 1_000_000;
/// Rows of `top`.
const ROWS: usize = 25;

/// Does what the verb says.
///
/// # Errors
/// If a file cannot be read or written, or has not what is asked for.
pub fn run(command: &TraceCommand) -> anyhow::Result<()> {
    match &command.verb {
        TraceVerb::Tree { file, what } => show_tree(file, &what.filter()),
        TraceVerb::Top { file, diff, rows, raw, what } => {
            let rows = rows.map_or(ROWS, |rows| usize::try_from(rows).unwrap_or(usize::MAX));
            let top = |file: &Path| -> anyhow::Result<Top> {
                let (file, filter) = (File::open(file)?, what.filter());
                let view = file.view()?;
                missing(&view, &filter);
                Ok(Top::new(&view, &filter, *raw)?)
            };
            let text = match (file, diff.as_deref()) {
                (_, Some([a, b])) => top(b)?.diff(&top(a)?, rows, paint()),
                (Some(file), _) => top(file)?.text(rows, paint()),
                _ => unreachable!("the parser wants one of them"),
            };
            print(&text)
        }
        TraceVerb::Explain { file } => print(&explain(&File::open(file)?.view()?).text(paint())),
        TraceVerb::Iterations { file, out } => iterations::show(file, out),
        TraceVerb::Export { file, out, max_events, what } => {
            let timeline = Format::of(out).is_none_or(Format::is_timeline);
            let most = max_events.map_or(timeline.then_some(MOST), |most| most.0);
            let filter = Filter { most, ..what.filter() };
            let file = File::open(file)?;
            let view = file.view()?;
            missing(&view, &filter);
            let made = export(&view, &filter, out)?;
            print(&told(out, &made, most))
        }
        TraceVerb::Open { file, port } => serve::open(file, *port),
    }
}

/// Colours where a person looks who has not said no.
fn paint() -> Paint {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    Paint::new(io::stdout().is_terminal() && !refused)
}

/// Text to stdout; who has seen enough and closes it is no error.
fn print(text: &str) -> anyhow::Result<()> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error).context("stdout"),
        _ => Ok(()),
    }
}

/// Nothing is shown of what a trace has not: that it is not there is said, or it would seem not to have run.
fn missing(view: &View<'_>, filter: &Filter) {
    for name in filter.only.iter().filter(|name| !view.has(name)) {
        let name = name.as_str();
        let _ = writeln!(io::stderr(), "note: --only {name}: nothing in this trace is called that");
    }
}

fn show_tree(file: &Path, filter: &Filter) -> anyhow::Result<()> {
    let file = File::open(file)?;
    let view = file.view()?;
    missing(&view, filter);
    let mut out = io::BufWriter::new(io::stdout().lock());
    let shown = tree(&view, filter, paint(), &mut out);
    let flushed = out.flush();
    match shown.and_then(|()| flushed.map_err(Trouble::Writing)) {
        Err(Trouble::Writing(error)) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("stdout")
        }
        Err(Trouble::Asked(error)) => Err(error.into()),
        _ => Ok(()),
    }
}

/// Makes `out`, of the kind that its name says, of the lossless file. Says in a few lines what is in it.
///
/// # Errors
/// If the one cannot be read or the other not be written.
pub fn export_run(lossless: &Path, out: &Path) -> anyhow::Result<String> {
    let filter = Filter { most: Some(MOST), ..Filter::default() };
    let made = export(&File::open(lossless)?.view()?, &filter, out)?;
    Ok(told(out, &made, Some(MOST)))
}

/// What is worth knowing of an export of this kind.
fn what(out: &Path, arrows: Arrows) -> String {
    match Format::of(out) {
        Some(Format::Uftrace) => {
            let dir = out.display();
            format!("; look at it with uftrace replay -d {dir}, or report, or graph")
        }
        Some(Format::Folded) => ", for flamegraph.pl, inferno-flamegraph or speedscope".into(),
        Some(Format::Csv) => ", a line for each call".into(),
        _ => format!(
            ", arrows of {} requests, {} responses and {} doorbells",
            thousands(arrows.requests),
            thousands(arrows.responses),
            thousands(arrows.wakes)
        ),
    }
}

/// What an export holds, and what it does not.
fn told(out: &Path, made: &Exported, most: Option<u64>) -> String {
    let Exported { octets, arrows, thinned, .. } = *made;
    // What lies there now, which for what is compressed is less than what was written.
    let file = std::fs::metadata(out).ok().filter(std::fs::Metadata::is_file);
    let size = thousands(file.map_or(octets, |file| file.len()));
    let mut text = format!("  {}: {size} bytes{}\n", out.display(), what(out, arrows));
    if thinned.slices + thinned.lanes + thinned.values > 0 {
        text += &format!(
            "  note: thinned to about {} events: {} calls (the longest of them {} ns), {} lanes of requests and {} \
             values of counters are left out; pvlab trace export --max-events all leaves nothing out\n",
            thousands(most.unwrap_or(0)),
            thousands(thinned.slices),
            thousands(thinned.shorter_ns.unsigned_abs()),
            thousands(thinned.lanes),
            thousands(thinned.values)
        );
    }
    if let Some(fixed) = thinned.over {
        text += &format!(
            "  note: arrows alone are {fixed} events, and none is left out; pvlab trace export --window FROM,TO or \
             --slowest 10 makes a smaller file\n"
        );
    }
    if arrows.backwards > 0 {
        text += &format!(
            "  warning: {} slots were seen before they were pushed: the clocks differ, or the file is damaged\n",
            arrows.backwards
        );
    }
    text
}
