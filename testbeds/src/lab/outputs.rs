//! What a run leaves when it is over: text on stdout, results and pictures in files. Whether a file can be
//! written is asked before the run; should that change meanwhile, the text has been shown already.

use std::fs;
use std::path::Path;

use anyhow::Context as _;

use crate::cli::{JsonTo, try_to_write};

/// Whether the file that `option` names can be written, asked before the run and not after it. Leaves no
/// empty file.
///
/// # Errors
/// If it cannot.
pub(super) fn can_write(option: &str, path: &Path) -> anyhow::Result<()> {
    try_to_write(path).with_context(|| {
        format!("cannot write {option} {}; name a file that you may write", path.display())
    })
}

/// The same for the results, wherever they go.
///
/// # Errors
/// If they are to go into a file that cannot be written.
pub(super) fn can_write_results(json: Option<&JsonTo>) -> anyhow::Result<()> {
    match json {
        Some(JsonTo::File(path)) => can_write("-J", path),
        Some(JsonTo::Stdout) | None => Ok(()),
    }
}

/// Writes what `option` asked for into its file.
///
/// # Errors
/// If it cannot be written.
pub(super) fn write(option: &str, path: &Path, what: &str) -> anyhow::Result<()> {
    fs::write(path, what).with_context(|| format!("cannot write {option} {}", path.display()))
}

/// Shows what came of a run: `results` as JSON, where they are asked for, and `text`, unless stdout is JSON
/// alone.
///
/// # Errors
/// If stdout or the file does not take them.
pub(super) fn show(json: Option<&JsonTo>, results: &str, text: &str) -> anyhow::Result<()> {
    match json {
        Some(JsonTo::Stdout) => super::print(results),
        Some(JsonTo::File(path)) => {
            super::print(text)?;
            write("-J", path, results)
        }
        None => super::print(text),
    }
}
