//! Which functions are to be instrumented, and how LLVM is told.
//!
//! rustc has no stable option for it. But it hands options on to LLVM (`-C llvm-args`), and LLVM can be
//! given a list of functions with attributes to attach to them (`-forceattrs-csv-path`): the attribute
//! `function-instrument=xray-always` has sleds put into a function, `instrument-function-entry-inlined=mcount`
//! a call. The list is of the names that a build without it has. That option is meant for those who work on
//! LLVM: a later toolchain may not have it, which `tests/sleds.rs` tells.

use std::io;
use std::path::Path;

use object::{Object, ObjectSection};

use super::symbols::Symbols;

/// What is put into functions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Instrument {
    /// Sleds where they begin and where they end.
    Sleds,
    /// A call of `mcount` where they begin.
    Mcount,
}

impl Instrument {
    fn attribute(self) -> &'static str {
        match self {
            Self::Sleds => "function-instrument=xray-always",
            Self::Mcount => "instrument-function-entry-inlined=mcount",
        }
    }
}

/// Crates that are never instrumented: what records must not be recorded.
const LEFT_OUT: [&str; 2] = ["tracer::", "<tracer::"];
/// The section in which LLVM lists the sleds.
const SECTION: &str = "xray_instr_map";

/// The list for LLVM: all functions of the program at `path` that were compiled from Rust, ours apart.
///
/// # Errors
/// If that is no program with symbols.
pub fn list(path: &Path, how: Instrument) -> io::Result<String> {
    let symbols = Symbols::of(path).ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidData, format!("{} has no symbols", path.display()))
    })?;
    let mut list = String::new();
    for (_, name) in symbols.all().filter(|(_, name)| name.starts_with("_R")) {
        let shown = format!("{:#}", rustc_demangle::demangle(name));
        if !LEFT_OUT.iter().any(|left_out| shown.starts_with(left_out)) {
            list += &format!("{name},{}\n", how.attribute());
        }
    }
    Ok(list)
}

/// The arguments by which rustc hands the list in `path` (absolute, without spaces) on to LLVM. The first is
/// needed without a list too, so that both builds have the same names.
#[must_use]
pub fn rustflags(path: Option<&Path>) -> String {
    let mut flags = "-Csymbol-mangling-version=v0".to_owned();
    if let Some(path) = path {
        flags += &format!(" -Cllvm-args=-forceattrs-csv-path={}", path.display());
    }
    flags
}

/// How many sleds the program at `path` has.
///
/// # Errors
/// If that is no program.
pub fn sleds_in(path: &Path) -> io::Result<u64> {
    let file = std::fs::read(path)?;
    let file = object::File::parse(&*file)
        .map_err(|why| io::Error::new(io::ErrorKind::InvalidData, why.to_string()))?;
    Ok(file.section_by_name(SECTION).map_or(0, |section| section.size() / 32))
}

/// What LLVM says of each name in the list that a part of the program does not have: all the others, for
/// each part.
#[must_use]
pub fn is_noise(line: &str) -> bool {
    line.starts_with("Function in CSV file at line ") && line.ends_with(" does not exist.")
}
