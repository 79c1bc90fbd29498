//! A trace for other programs: one file, or folder, of the kind that its name says.

mod csv;
mod folded;
mod in_flight;
mod json;
mod perfetto;
mod proto;
mod text;
mod uftrace;
mod words;

use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use crate::error::Error;
use crate::selection::{Filter, Selected, Selection, Thinned};
use crate::timeline::{Listener, play};
use crate::view::View;
use csv::Csv;
use flate2::{Compression, write::GzEncoder};
use folded::Folded;
use json::Json;
use perfetto::Perfetto;
use uftrace::Uftrace;

/// Arrows, by where they go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Arrows {
    /// Requests, each from its push to where it was seen.
    pub requests: u64,
    /// Responses.
    pub responses: u64,
    /// Doorbells.
    pub wakes: u64,
}

/// What an export holds. What is wrong with the trace is told of all of it, whatever is selected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Exported {
    /// Octets, before they were compressed.
    pub octets: u64,
    /// Arrows in it.
    pub arrows: Arrows,
    /// What was left out to keep to the size.
    pub thinned: Thinned,
    /// Records that could not be understood.
    pub unknown: u64,
    /// Slots seen whose push is not in the trace: they have no arrow.
    pub unsent: u64,
    /// Slots that were seen before they were pushed, which cannot be: the clocks differ, or the trace
    /// is damaged. They have no arrow either.
    pub backwards: u64,
    /// How long before at most. Nanoseconds.
    pub furthest_ns: i64,
}

/// Kinds of exports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Chrome's JSON, which Perfetto opens.
    Json,
    /// The same, compressed.
    JsonGz,
    /// Perfetto's own.
    Perfetto,
    /// Folded stacks, for flame graphs.
    Folded,
    /// A table of all slices.
    Csv,
    /// A data directory of uftrace.
    Uftrace,
}

impl Format {
    /// All of them, with what names of files end with.
    pub const ALL: [(&'static str, Self); 6] = [
        (".json", Self::Json),
        (".json.gz", Self::JsonGz),
        (".pftrace", Self::Perfetto),
        (".folded", Self::Folded),
        (".csv", Self::Csv),
        (".uftrace", Self::Uftrace),
    ];

    /// The kind that a file's name says.
    #[must_use]
    pub fn of(file: &Path) -> Option<Self> {
        let name = file.file_name()?.to_string_lossy();
        let is = |(end, _): &&(&str, Self)| name.strip_suffix(end).is_some_and(|s| !s.is_empty());
        Self::ALL.iter().find(is).map(|(_, format)| *format)
    }

    /// Whether it is for a timeline with arrows, which has its limits; else any size will do.
    #[must_use]
    pub fn is_timeline(self) -> bool {
        matches!(self, Self::Json | Self::JsonGz | Self::Perfetto)
    }
}

/// Why an export was not written: what was asked for, or the writer.
#[derive(Debug)]
pub enum Trouble {
    /// What was asked for is not there.
    Asked(Error),
    /// It cannot be written.
    Writing(io::Error),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Asked(error)
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Writing(error)
    }
}

/// Writes what `filter` selects to `to`.
///
/// # Errors
/// If the filter names what is not there, or as writing to `to`; always for what is a folder, see
/// [`export`].
pub fn write<W: Write>(
    view: &View<'_>,
    filter: &Filter,
    format: Format,
    mut to: W,
) -> Result<Exported, Trouble> {
    let selection = match format.is_timeline() {
        true => Selection::new(view, filter)?,
        false => Selection::of_calls(view, filter)?,
    };
    let mut made = Exported { thinned: selection.thinned, ..Exported::default() };
    match format {
        Format::Json => {
            let json = told(view, Json::new(view, to, &selection), &selection, &mut made);
            (_, made.octets, made.arrows) = json.finish(&selection)?;
        }
        Format::JsonGz => {
            let packed = GzEncoder::new(BufWriter::with_capacity(1 << 16, to), Compression::fast());
            let json = told(view, Json::new(view, packed, &selection), &selection, &mut made);
            let (packed, octets, arrows) = json.finish(&selection)?;
            packed.finish()?.flush()?;
            (made.octets, made.arrows) = (octets, arrows);
        }
        Format::Perfetto => {
            let perfetto = Perfetto::new(view, to, &selection);
            let perfetto = told(view, perfetto, &selection, &mut made);
            (_, made.octets, made.arrows) = perfetto.finish(&selection)?;
        }
        Format::Folded => {
            let folded = told(view, Folded::new(view), &selection, &mut made);
            made.octets = folded.finish(&mut to)?;
        }
        Format::Csv => {
            let csv = told(view, Csv::new(view, to), &selection, &mut made);
            (_, made.octets) = csv.finish()?;
        }
        Format::Uftrace => return Err(Trouble::Writing(io::ErrorKind::IsADirectory.into())),
    }
    Ok(made)
}

/// Tells a listener of what is selected; gives it back.
fn told<L: Listener>(view: &View<'_>, to: L, selection: &Selection, made: &mut Exported) -> L {
    let mut selected = Selected { selection, to };
    let defects = play(view, &mut selected);
    (made.unknown, made.unsent) = (defects.unknown, defects.unsent);
    (made.backwards, made.furthest_ns) = (defects.backwards.slots, defects.backwards.furthest_ns);
    selected.to
}

/// Writes a folder of many files.
fn write_folder(view: &View<'_>, filter: &Filter, to: &Path) -> Result<Exported, Trouble> {
    let selection = Selection::of_calls(view, filter)?;
    let mut made = Exported { thinned: selection.thinned, ..Exported::default() };
    let uftrace = told(view, Uftrace::new(view, to)?, &selection, &mut made);
    made.octets = uftrace.finish(&selection)?;
    Ok(made)
}

/// Writes what `filter` selects to `out`, of the kind that its name says; of no kind that is known, JSON.
///
/// # Errors
/// If the filter names what is not there, or if the file cannot be written.
pub fn export(view: &View<'_>, filter: &Filter, out: &Path) -> Result<Exported, Error> {
    let failed = |why| Error::Write { file: out.into(), why };
    let made = match Format::of(out).unwrap_or(Format::Json) {
        Format::Uftrace => write_folder(view, filter, out),
        format => write(view, filter, format, fs::File::create(out).map_err(failed)?),
    };
    made.map_err(|trouble| match trouble {
        Trouble::Asked(error) => error,
        Trouble::Writing(why) => failed(why),
    })
}
