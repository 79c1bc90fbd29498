//! Builds a program with instrumented functions, on the stable toolchain: with sleds in them or, with
//! `--mcount`, calls.
//!
//! ```sh
//! cargo run -p tracer --features sleds --bin sleds -- [--mcount] -p testbeds --bin pvlab --profile quick
//! ```
//!
//! What follows is handed on to `cargo build`; the packages must have the feature `sleds`. The program is found in
//! `target/sleds`, or `target/mcount`.
//!
//! cargo is given this very program to call in the place of rustc: it has each crate compiled twice, once
//! as far as it takes to see which functions it comes to, and again with those instrumented.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use tracer::sleds::plan::{self, Call, Instrument};

/// Tells this program, when cargo calls it, where everything goes. That folder is called as what is put
/// into functions.
const FOLDER: &str = "TRACER_SLEDS";
const SLEDS: &str = "sleds";
const MCOUNT: &str = "mcount";

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    let outcome = match std::env::var_os(FOLDER) {
        Some(folder) => compile(Path::new(&folder), &args),
        None => build(args.iter().map(|arg| arg.to_string_lossy().into_owned()).collect()),
    };
    outcome.unwrap_or_else(|why| {
        eprintln!("error: {why}");
        ExitCode::FAILURE
    })
}

/// What cargo calls: `rustc ARGS`, twice where functions are to be instrumented.
fn compile(folder: &Path, args: &[OsString]) -> io::Result<ExitCode> {
    let (rustc, args) = args.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut last = Command::new(rustc);
    match Call::of(args) {
        Some(call) => match list(folder, rustc, &call)? {
            Some(list) => last.args(call.with_list(&list)),
            None => last.args(args),
        },
        None => last.args(args),
    };
    Ok(if last.status()?.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The list of a crate's functions; none if it cannot be compiled, which is complained of when that is
/// tried again.
fn list(folder: &Path, rustc: &OsString, call: &Call) -> io::Result<Option<PathBuf>> {
    let how = if folder.ends_with(MCOUNT) { Instrument::Mcount } else { Instrument::Sleds };
    let ir = folder.join(format!("{}.ll", call.name()));
    let mut first = Command::new(rustc);
    first.args(call.to_ir(&ir)).stdout(Stdio::null()).stderr(Stdio::null());
    if !first.status()?.success() {
        return Ok(None);
    }
    let list = ir.with_extension("csv");
    std::fs::write(&list, plan::list(BufReader::new(File::open(&ir)?), how)?)?;
    std::fs::remove_file(&ir)?;
    Ok(Some(list))
}

fn build(mut args: Vec<String>) -> io::Result<ExitCode> {
    let mcount = args.iter().any(|arg| arg == "--mcount");
    args.retain(|arg| arg != "--mcount");
    let target = std::env::current_dir()?.join("target");
    let folder = target.join(if mcount { MCOUNT } else { SLEDS });
    std::fs::create_dir_all(&folder)?;
    let program = cargo(&folder, &args)?;
    let sleds = plan::sleds_in(&program)?;
    if !mcount && sleds == 0 {
        return Err(io::Error::other(toolchain(
            "its LLVM has taken the list of functions and put no sleds into them",
        )));
    }
    let what = if mcount { "calls of mcount".to_owned() } else { format!("{sleds} sleds") };
    println!("{}: {what}", program.display());
    Ok(ExitCode::SUCCESS)
}

/// The compiler that cargo will call.
fn rustc() -> Command {
    Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
}

/// A sentence about a toolchain that cannot.
fn toolchain(why: &str) -> String {
    let version = rustc().arg("--version").output();
    let version = version.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned());
    let version = version.unwrap_or_else(|_| "this rustc".into());
    format!(
        "{version} cannot instrument functions: {why}; traces of #[traced] functions need none of this"
    )
}

/// The target that this machine is, by the name that makes cargo tell apart what goes into a program and what
/// only helps to build it.
fn this_machine() -> io::Result<String> {
    let output = rustc().arg("-vV").output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| io::Error::other("rustc -vV names no host"))
}

/// Runs `cargo build`. Returns the program it made.
fn cargo(folder: &Path, args: &[String]) -> io::Result<PathBuf> {
    let mut args = args.to_vec();
    if !args.iter().any(|arg| arg == "--target" || arg.starts_with("--target=")) {
        args.extend(["--target".to_owned(), this_machine()?]);
    }
    let profile = |key: &str| format!("CARGO_PROFILE_{}_{key}", plan::profile(&args));
    let mut child = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--features", "sleds", "--message-format=json-render-diagnostics"])
        .args(&args)
        .arg("--target-dir")
        .arg(folder)
        .env(FOLDER, folder)
        .env("RUSTC_WRAPPER", std::env::current_exe()?)
        .env("RUSTFLAGS", plan::RUSTFLAGS)
        // A crate is one part: its functions are those of one object file, and none is looked for in
        // many.
        .env("CARGO_INCREMENTAL", "0")
        .env(profile("CODEGEN_UNITS"), "1")
        .env(profile("LTO"), "off")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut lines = BufReader::new(child.stderr.take().ok_or(io::ErrorKind::BrokenPipe)?).lines();
    let out = BufReader::new(child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?);
    let programs = std::thread::spawn(move || {
        out.lines().map_while(Result::ok).filter_map(|line| executable(&line)).last()
    });
    let mut refused = false;
    while let Some(Ok(line)) = lines.next() {
        refused |= line.contains("Unknown command line argument");
        if !plan::is_noise(&line) {
            eprintln!("{line}");
        }
    }
    let status = child.wait()?;
    let program = programs.join().ok().flatten();
    if refused {
        return Err(io::Error::other(toolchain("its LLVM has no -forceattrs-csv-path")));
    }
    match program.filter(|_| status.success()) {
        Some(program) => Ok(program),
        None => Err(io::Error::other(format!("cargo build: {status}, or it makes no program"))),
    }
}

/// The program that a line of cargo's messages tells of: `"executable":"..."`.
fn executable(line: &str) -> Option<PathBuf> {
    let (_, tail) = line.split_once("\"executable\":\"")?;
    tail.split_once('"').map(|(path, _)| path.into())
}
