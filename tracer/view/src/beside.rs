//! The lossless file beside an export. An export of another name than its trace's would lead back to
//! nothing, or to another trace: so its trace gets that name too.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use tracer::format::Mapped;

use crate::error::Error;
use crate::file::{File, lossless};

/// What is to be done so that a trace lies beside its export.
#[derive(Debug)]
pub struct Beside {
    trace: PathBuf,
    /// Where it should lie, under the name of the export.
    to: PathBuf,
    found: Found,
}

/// What lies there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// This trace.
    Same,
    Nothing,
    /// Another trace, which is not younger.
    Older,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Laid {
    /// The trace under the export's name.
    pub file: PathBuf,
    /// There was an older one of that name.
    pub replaced: bool,
}

impl Beside {
    /// Looks what lies beside `export`, before that is written.
    ///
    /// # Errors
    /// If it is another trace, and a younger one: that is nothing to be lost for an export.
    pub fn find(trace: &File, export: &Path) -> Result<Self, Error> {
        let to = lossless(export);
        let failed = |why| Error::Write { file: to.clone(), why };
        // What a symbolic link leads to.
        let trace = fs::canonicalize(trace.path()).map_err(failed)?;
        match look(&trace, &to).map_err(failed)? {
            Some(found) => Ok(Self { trace, to, found }),
            None => Err(Error::Younger { file: export.into(), lossless: to }),
        }
    }

    /// Does it, once the export is there; `None` if nothing was to be done.
    ///
    /// # Errors
    /// If no file can be made there.
    pub fn lay(self) -> Result<Option<Laid>, Error> {
        if self.found == Found::Same {
            return Ok(None);
        }
        let failed = |why| Error::Write { file: self.to.clone(), why };
        let name = self.to.file_name().unwrap_or_default().to_string_lossy();
        // There is always one of them: what was there, or what comes.
        let coming = self.to.with_file_name(format!(".{name}.{}", std::process::id()));
        let linked = fs::hard_link(&self.trace, &coming);
        let made = linked.or_else(|_| fs::copy(&self.trace, &coming).map(drop));
        if let Err(why) = made.and_then(|()| fs::rename(&coming, &self.to)) {
            let _ = fs::remove_file(&coming);
            return Err(failed(why));
        }
        Ok(Some(Laid { replaced: self.found == Found::Older, file: self.to }))
    }
}

/// What lies at `to`, unless it is a younger trace than `trace`.
fn look(trace: &Path, to: &Path) -> io::Result<Option<Found>> {
    let there = match fs::metadata(to) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(Some(Found::Nothing)),
        there => there?,
    };
    let mine = fs::metadata(trace)?;
    let one = (there.dev(), there.ino()) == (mine.dev(), mine.ino());
    if one || (there.len() == mine.len() && alike(trace, to)) {
        return Ok(Some(Found::Same));
    }
    let younger = there.modified()? > mine.modified()?;
    Ok((!younger).then_some(Found::Older))
}

/// Whether two files have the same content.
fn alike(one: &Path, other: &Path) -> bool {
    match (Mapped::open(one), Mapped::open(other)) {
        (Ok(one), Ok(other)) => *one == *other,
        _ => false,
    }
}
