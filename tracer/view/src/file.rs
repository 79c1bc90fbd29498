//! Opening a trace by any of its names: `out.pvtrace`, or an export beside which it lies.

use std::io;
use std::path::{Path, PathBuf};

use tracer::format::{EXTENSION, Mapped, Trace};

use crate::error::Error;
use crate::view::View;

/// What names of exports end with, for which the lossless file beside them is read.
pub const EXPORTS: [&str; 8] =
    [".json.gz", ".json", ".pftrace", ".uftrace", ".folded", ".csv", ".svg", ".gz"];

/// A trace's file, in memory as far as it is looked at.
#[derive(Debug)]
pub struct File {
    path: PathBuf,
    bytes: Mapped,
}

impl File {
    /// Opens a trace by its own name or that of an export.
    ///
    /// # Errors
    /// If there is no such file.
    pub fn open(named: &Path) -> Result<Self, Error> {
        let path = lossless(named);
        if path != named && !path.exists() && named.exists() {
            return Err(Error::NoLossless { file: named.into(), lossless: path });
        }
        match Mapped::open(&path) {
            Ok(bytes) => Ok(Self { path, bytes }),
            // Where neither is there, what was asked for is what is missing.
            Err(why) if !path.exists() => Err(Error::Read { file: named.into(), why }),
            Err(_) if path.is_dir() => {
                let why = io::Error::other("it is a folder; name a .pvtrace file");
                Err(Error::Read { file: path, why })
            }
            Err(why) => Err(Error::Read { file: path, why }),
        }
    }

    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its content, as far as it goes; see [`is_whole`](Self::is_whole).
    ///
    /// # Errors
    /// If it is no trace, or a damaged one.
    pub fn view(&self) -> Result<View<'_>, Error> {
        match Trace::parse(&self.bytes) {
            Ok(trace) => Ok(View::new(&trace)),
            Err(why) => Err(Error::Unreadable { file: self.path.clone(), why }),
        }
    }

    /// Whether this view of it shows all that was ever written.
    ///
    /// # Errors
    /// If the file was cut off.
    pub fn is_whole(&self, view: &View<'_>) -> Result<(), Error> {
        match view.cut_off {
            None => Ok(()),
            Some(what) => Err(Error::CutOff { file: self.path.clone(), what }),
        }
    }
}

/// The lossless file of an export; every other name is its own.
#[must_use]
pub fn lossless(named: &Path) -> PathBuf {
    let name = named.file_name().unwrap_or_default().to_string_lossy();
    let stem = EXPORTS.iter().find_map(|kind| name.strip_suffix(kind));
    match stem.filter(|stem| !stem.is_empty()) {
        Some(stem) => named.with_file_name(format!("{stem}.{EXTENSION}")),
        None => named.to_owned(),
    }
}
