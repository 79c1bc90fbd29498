//! Labs with a directory of their own choice (`--dir`): a file in the base directory says where each of them is, so
//! that `pvlab ls` finds them among the others. Run directories themselves are `rundir`'s.
//!
//! ```text
//! BASE/DEVICE-INODE.lab    0600: the path of the run directory with these numbers
//! ```

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::rundir::runs;

/// What the names of these files end with.
const ENTRY: &str = "lab";

/// The file for the lab in `dir`. One directory is one lab, whoever its host is.
fn entry(base: &Path, dir: &Path) -> Option<PathBuf> {
    let found = fs::metadata(dir).ok()?;
    Some(base.join(format!("{:x}-{:x}.{ENTRY}", found.dev(), found.ino())))
}

/// Notes that a lab is in `dir`, which is locked. A lab that cannot be noted runs all the same.
pub(crate) fn note(base: &Path, dir: &Path) {
    let Some(entry) = entry(base, dir) else { return };
    let Ok(dir) = fs::canonicalize(dir) else { return };
    let Some(text) = dir.to_str() else { return };
    // Whole when it is there: others look at any time, and remove what names no lab.
    let fresh = entry.with_extension(std::process::id().to_string());
    let _ = fs::remove_file(&fresh);
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(&fresh);
    if file.and_then(|mut file| file.write_all(text.as_bytes())).is_ok() {
        let _ = fs::rename(&fresh, entry);
    }
}

/// The lab in `dir` is over.
pub(crate) fn forget(base: &Path, dir: &Path) {
    if let Some(entry) = entry(base, dir) {
        let _ = fs::remove_file(entry);
    }
}

/// Where the labs are that run in directories of their own. What labs that are gone have left is removed.
pub(crate) fn labs(base: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(base) else { return Vec::new() };
    let entries = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut found = Vec::new();
    for entry in entries.filter(|path| path.extension().is_some_and(|end| end == ENTRY)) {
        match fs::read_to_string(&entry).map(PathBuf::from) {
            Ok(dir) if runs(&dir) => found.push(dir),
            _ => drop(fs::remove_file(entry)),
        }
    }
    found
}
