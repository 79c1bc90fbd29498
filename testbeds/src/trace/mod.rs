//! The command `trace`: shows traces that were recorded. What is in them is `tracer-view`'s business; here are
//! files, the terminal, and what is said around it.

mod iterations;
mod serve;

use std::fs;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;

use anyhow::Context as _;
use tracer_view::{
    Arrows, Beside, Exported, File, Filter, Format, Laid, Paint, Top, Trouble, View, duration,
    explain, export, thousands, three_digits, tree,
};

use crate::cli::{TraceCommand, TraceVerb};
use crate::lab;
use crate::units::float;

/// Events an export has at most, unless something else is asked for: what Perfetto shows without effort.
pub const MOST: u64 = 1_000_000;
/// Rows of `top`.
const ROWS: usize = 25;

/// Does what the verb says.
///
/// # Errors
/// If a file cannot be read or written, or has not what is asked for; also, once that is shown, if it has
/// not all that it had.
pub fn run(command: &TraceCommand) -> anyhow::Result<()> {
    match &command.verb {
        TraceVerb::Tree { file, what } => {
            let filter = what.filter();
            shown(file, |_, view| show_tree(view, &filter))
        }
        TraceVerb::Top { file, diff, rows, raw, what } => {
            let rows = rows.map_or(ROWS, |rows| usize::try_from(rows).unwrap_or(usize::MAX));
            let filter = what.filter();
            let top = |view: &View<'_>| Top::new(view, &filter, *raw);
            match (file, diff.as_deref()) {
                // What one of them has and the other has not is what is looked for.
                (_, Some([a, b])) => shown(b, |_, after| {
                    let after = top(after)?;
                    shown(a, |_, before| print(&after.diff(&top(before)?, rows, paint())))
                }),
                (Some(file), _) => shown(file, |_, view| {
                    view.knows(&filter)?;
                    print(&top(view)?.text(rows, paint()))
                }),
                _ => unreachable!("the parser wants one of them"),
            }
        }
        TraceVerb::Explain { file } => shown(file, |_, view| print(&explain(view).text(paint()))),
        TraceVerb::Iterations { file, out } => shown(file, |_, view| iterations::show(view, out)),
        TraceVerb::Export { file, out, max_events, what } => {
            let timeline = Format::of(out).is_none_or(Format::is_timeline);
            let most = max_events.map_or(timeline.then_some(MOST), |most| most.0);
            let filter = Filter { most, ..what.filter() };
            shown(file, |file, view| {
                view.knows(&filter)?;
                let beside = Beside::find(file, out)?;
                let text = told(out, &export(view, &filter, out)?, most);
                print(&(text + &beside.lay()?.map_or_else(String::new, |laid| lies(file, &laid))))
            })
        }
        TraceVerb::On { dir } => lab::record(dir.as_deref(), true),
        TraceVerb::Off { dir } => lab::record(dir.as_deref(), false),
        TraceVerb::Open { file, port } => serve::open(file, *port),
    }
}

/// Shows what there is of a trace, and complains if that is not all there was.
fn shown(
    file: &Path,
    show: impl FnOnce(&File, &View<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let file = File::open(file)?;
    let view = file.view()?;
    match (show(&file, &view), file.is_whole(&view)) {
        (shown, Ok(())) => shown,
        (Ok(()), Err(cut)) => Err(cut.into()),
        (Err(why), Err(cut)) => Err(why.context(cut)),
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

fn show_tree(view: &View<'_>, filter: &Filter) -> anyhow::Result<()> {
    view.knows(filter)?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    let shown = tree(view, filter, paint(), &mut out);
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

/// A file's size for people, in units of 1000 as `ls -h --si` has them.
fn human_size(octets: u64) -> String {
    let units = [(1e9, "GB"), (1e6, "MB"), (1e3, "kB")];
    let octets = float(octets);
    match units.into_iter().find(|(unit, _)| octets >= *unit) {
        Some((unit, name)) => format!("{} {name}", three_digits(octets / unit)),
        None => format!("{octets} bytes"),
    }
}

/// What an export holds, and what it does not.
fn told(out: &Path, made: &Exported, most: Option<u64>) -> String {
    let Exported { octets, arrows, thinned, .. } = *made;
    // Of a compressed file its own size, of a folder that of what is in it.
    let size =
        fs::metadata(out).ok().filter(fs::Metadata::is_file).map_or(octets, |file| file.len());
    let mut text = format!("  {}: {}{}\n", out.display(), human_size(size), what(out, arrows));
    let most = thousands(most.unwrap_or(0));
    let apart = if thinned.over.is_some() { ", arrows apart" } else { "" };
    let mut left_out = vec![format!(
        "{} calls (the longest of them {})",
        thousands(thinned.slices),
        duration(thinned.shorter_ns)
    )];
    if thinned.lanes + thinned.values > 0 {
        left_out.push(format!("{} lanes of requests", thousands(thinned.lanes)));
        left_out.push(format!("{} values of counters", thousands(thinned.values)));
    }
    if thinned.slices + thinned.lanes + thinned.values > 0 {
        text += &format!(
            "  note: thinned to {most} events{apart}: {} are left out; pvlab trace export --max-events all \
             leaves nothing out\n",
            left_out.join(", ")
        );
    }
    if let Some(fixed) = thinned.over {
        text += &format!(
            "  note: arrows and what they hang on are {} events, and none is left out; pvlab trace export --window \
             FROM,TO or --slowest 10 makes a smaller file\n",
            thousands(fixed)
        );
    }
    text + &wrong(made, Format::of(out).is_none_or(Format::is_timeline))
}

/// Where else the trace is now.
fn lies(trace: &File, laid: &Laid) -> String {
    let gone = if laid.replaced { "; the older trace of that name is gone" } else { "" };
    let (name, trace) = (laid.file.display(), trace.path().display());
    format!("  {name}: {trace} once more, for what is asked of this export{gone}\n")
}

/// What is wrong with the trace itself; `arrows` are of interest.
fn wrong(made: &Exported, arrows: bool) -> String {
    let Exported { unknown, unsent, backwards, furthest_ns, .. } = *made;
    let mut text = String::new();
    if backwards > 0 {
        text += &format!(
            "  warning: {} slots were seen before they were pushed, by up to {}, and have no arrow: the clocks of two \
             processes differ, or the file is damaged\n",
            thousands(backwards),
            duration(furthest_ns)
        );
    }
    if unsent > 0 && arrows {
        let unsent = thousands(unsent);
        text += &format!(
            "  note: {unsent} slots were seen whose push is not recorded, and have no arrow\n"
        );
    }
    if unknown > 0 {
        let unknown = thousands(unknown);
        text +=
            &format!("  warning: {unknown} records could not be understood, and are left out\n");
    }
    text
}
