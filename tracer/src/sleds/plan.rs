//! Which functions are to be instrumented, and how LLVM is told.
//!
//! rustc has no stable option for it. But it hands options on to LLVM (`-C llvm-args`), and LLVM can be
//! given a list of functions with attributes to attach to them (`-forceattrs-csv-path`): the attribute
//! `function-instrument=xray-always` has sleds put into a function, `instrument-function-entry-inlined=mcount`
//! a call. Each crate has a list of its own, of the functions that rustc hands to LLVM, before any of them is
//! inlined: LLVM looks for all of a list in every part of a crate, and writes a line about each that is not
//! there. (One list for a whole program of many crates is some hundred million lines.) That option is meant
//! for those who work on LLVM: a later toolchain may not have it, which `tests/toolchain.rs` tells.

use std::ffi::OsString;
use std::io::{self, BufRead};
use std::path::Path;

use object::{Object, ObjectSection};

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

/// What is never instrumented: what records must not be recorded.
const LEFT_OUT: [&str; 2] = ["tracer::", "<tracer::"];
const CRATE_LEFT_OUT: &str = "tracer";
/// The section in which LLVM lists the sleds.
const SECTION: &str = "xray_instr_map";

/// The arguments that every crate is compiled with, with a list and without: names of functions must be the
/// same.
pub const RUSTFLAGS: &str = "-Csymbol-mangling-version=v0";

/// One call of rustc, as cargo makes it.
#[derive(Debug)]
pub struct Call {
    args: Vec<OsString>,
    name: String,
}

impl Call {
    /// The call with these arguments, if it compiles a crate whose functions are to be instrumented: one
    /// that ends up in a program. What is needed to build others (procedural macros, build scripts) is
    /// compiled for no particular target.
    #[must_use]
    pub fn of(args: &[OsString]) -> Option<Self> {
        let args = args.to_vec();
        let name = value(&args, "--crate-name")?;
        let kind = value(&args, "--crate-type").unwrap_or_else(|| "bin".into());
        let links = value(&args, "--emit").is_some_and(|all| all.split(',').any(|e| e == "link"));
        let program = matches!(kind.as_str(), "lib" | "rlib" | "bin");
        let target = value(&args, "--target").is_some();
        let good = links && program && target && name != CRATE_LEFT_OUT;
        good.then_some(Self { args, name })
    }

    /// The crate, and what tells it from others of its name.
    #[must_use]
    pub fn name(&self) -> String {
        let extra = self.args.iter().find_map(|arg| arg.to_str()?.strip_prefix("extra-filename="));
        format!("{}{}", self.name, extra.unwrap_or_default())
    }

    /// Arguments that translate the same for LLVM and go no further: most of the time goes into what LLVM does
    /// then.
    #[must_use]
    pub fn to_ir(&self, ir: &Path) -> Vec<OsString> {
        let mut args = self.args.iter();
        let mut all = Vec::new();
        while let Some(arg) = args.next() {
            match arg.to_str() {
                Some("--out-dir" | "--emit") => drop(args.next()),
                Some(arg) if arg.starts_with("--out-dir=") || arg.starts_with("--emit=") => {}
                _ => all.push(arg.clone()),
            }
        }
        let mut emit = OsString::from("--emit=llvm-ir=");
        emit.push(ir);
        // What rustc needs in between goes there too.
        let folder = ir.parent().unwrap_or(Path::new("."));
        all.extend([emit, "--out-dir".into(), folder.into()]);
        all.extend(["-Cdebuginfo=0", "-Cno-prepopulate-passes"].map(OsString::from));
        all
    }

    /// Arguments that compile it with the functions in the file `list` instrumented; its path is absolute and
    /// has no spaces.
    #[must_use]
    pub fn with_list(&self, list: &Path) -> Vec<OsString> {
        let mut flag = OsString::from("-Cllvm-args=-forceattrs-csv-path=");
        flag.push(list);
        self.args.iter().cloned().chain([flag]).collect()
    }
}

/// What stands behind `name`, or behind `name=`.
fn value(args: &[OsString], name: &str) -> Option<String> {
    let at = |n: usize| args.get(n).and_then(|arg| arg.to_str());
    (0..args.len()).find_map(|n| match at(n)?.strip_prefix(name)? {
        "" => at(n + 1).map(str::to_owned),
        rest => rest.strip_prefix('=').map(str::to_owned),
    })
}

/// The list for LLVM: all functions that a file of its language defines and that were compiled from Rust, ours
/// apart.
///
/// # Errors
/// As reading does.
pub fn list(ir: impl BufRead, how: Instrument) -> io::Result<String> {
    let mut list = String::new();
    for line in ir.split(b'\n') {
        let line = line?;
        if !line.starts_with(b"define ") {
            continue;
        }
        let line = String::from_utf8_lossy(&line);
        let Some(name) = defined(&line).filter(|name| is_rust(name)) else { continue };
        let shown = format!("{:#}", rustc_demangle::demangle(name));
        if !LEFT_OUT.iter().any(|left_out| shown.starts_with(left_out)) {
            list += &format!("{name},{}\n", how.attribute());
        }
    }
    Ok(list)
}

/// The function of a line `define ... @NAME(...) ... {`.
fn defined(line: &str) -> Option<&str> {
    let (_, tail) = line.split_once('@')?;
    Some(tail.split_once('(')?.0.trim_matches('"'))
}

fn parse(octets: &[u8]) -> io::Result<object::File<'_>> {
    object::File::parse(octets)
        .map_err(|why| io::Error::new(io::ErrorKind::InvalidData, why.to_string()))
}

/// Not what LLVM has made of a function (`_R....cold`).
fn is_rust(name: &str) -> bool {
    name.starts_with("_R") && !name.contains('.')
}

/// How many sleds the program at `path` has.
///
/// # Errors
/// If that is no program.
pub fn sleds_in(path: &Path) -> io::Result<u64> {
    let file = std::fs::read(path)?;
    Ok(parse(&file)?.section_by_name(SECTION).map_or(0, |section| section.size() / 32))
}

/// What LLVM says of each name in the list that it does not find: a function that a crate came to twice is
/// there once.
#[must_use]
pub fn is_noise(line: &str) -> bool {
    line.starts_with("Function in CSV file at line ") && line.ends_with(" does not exist.")
}

/// Which of cargo's profiles the arguments of `cargo build` ask for, as its environment variables spell it.
#[must_use]
pub fn profile(args: &[String]) -> String {
    let release = args.iter().any(|arg| arg == "--release" || arg == "-r");
    let args: Vec<OsString> = args.iter().map(OsString::from).collect();
    let named = value(&args, "--profile");
    let name = named.unwrap_or_else(|| if release { "release" } else { "dev" }.into());
    name.to_uppercase().replace('-', "_")
}
