//! A trace for other programs: one file of the kind that its name says.

mod json;
mod text;

pub use json::Arrows;

use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use crate::error::Error;
use crate::selection::{Filter, Selected, Selection, Thinned};
use crate::timeline::{Defects, play};
use crate::view::View;
use json::Json;

/// What an export holds.
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
}

/// Writes what `filter` selects to `to`, as Chrome JSON.
///
/// # Errors
/// If the filter names what is not there, or as writing to `to`.
pub fn json<W: Write>(view: &View<'_>, filter: &Filter, to: W) -> Result<(W, Exported), Trouble> {
    let selection = Selection::new(view, filter)?;
    let mut out = Selected { selection: &selection, to: Json::new(view, to, &selection) };
    let defects = play(view, &mut out);
    let (to, octets, arrows) = out.to.finish(&selection)?;
    Ok((to, exported(octets, arrows, &selection, defects)))
}

fn exported(octets: u64, arrows: Arrows, selection: &Selection, defects: Defects) -> Exported {
    Exported { octets, arrows, thinned: selection.thinned, unknown: defects.unknown }
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

/// Writes what `filter` selects to the file `out`, of the kind that its name says.
///
/// # Errors
/// If the filter names what is not there, or if the file cannot be written.
pub fn export(view: &View<'_>, filter: &Filter, out: &Path) -> Result<Exported, Error> {
    let failed = |why| Error::Write { file: out.into(), why };
    let file = fs::File::create(out).map_err(failed)?;
    let name = out.to_string_lossy();
    let done = if name.ends_with(".gz") {
        let packed = flate2::write::GzEncoder::new(BufWriter::new(file), flate2::Compression::fast());
        json(view, filter, packed).and_then(|(packed, exported)| {
            packed.finish()?.flush()?;
            Ok(exported)
        })
    } else {
        json(view, filter, file).map(|(_, exported)| exported)
    };
    done.map_err(|trouble| match trouble {
        Trouble::Asked(error) => error,
        Trouble::Writing(why) => failed(why),
    })
}
