//! Builds a program with instrumented functions, on the stable toolchain: once to see which functions it
//! has, and again with sleds in them (or, with `--mcount`, calls).
//!
//! ```sh
//! cargo run -p tracer --features sleds --bin sleds -- [--mcount] -p testbeds --bin pvlab --profile quick
//! ```
//!
//! What follows is handed on to `cargo build`; the packages must have the feature `sleds`. The program is found in
//! `target/sleds`.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use tracer::sleds::plan::{self, Instrument};

/// Where both builds go.
const TARGET: &str = "target/sleds";

fn main() -> ExitCode {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let mut how = Instrument::Sleds;
    args.retain(|arg| {
        let mcount = arg == "--mcount";
        if mcount {
            how = Instrument::Mcount;
        }
        !mcount
    });
    match build(how, &args) {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

fn build(how: Instrument, args: &[String]) -> io::Result<String> {
    let folder = std::env::current_dir()?.join(TARGET);
    std::fs::create_dir_all(&folder)?;
    let plain = cargo(&folder.join("plain"), None, args)?;
    let list = plan::list(&plain, how)?;
    let path = folder.join(format!("{:016x}.csv", hash(&list)));
    std::fs::write(&path, &list)?;
    let program = cargo(&folder.join("built"), Some(&path), args)?;
    let (sleds, functions) = (plan::sleds_in(&program)?, list.lines().count());
    if how == Instrument::Sleds && sleds == 0 {
        return Err(io::Error::other(toolchain(
            "its LLVM has taken the list of functions and put no sleds into them",
        )));
    }
    let what = match how {
        Instrument::Sleds => format!("{sleds} sleds"),
        Instrument::Mcount => format!("calls of mcount in up to {functions} functions"),
    };
    Ok(format!("{}: {what}", program.display()))
}

/// A sentence about a toolchain that cannot.
fn toolchain(why: &str) -> String {
    let version = Command::new("rustc").arg("--version").output();
    let version = version.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned());
    let version = version.unwrap_or_else(|_| "this rustc".into());
    format!(
        "{version} cannot instrument functions: {why}; traces of #[traced] functions need none of this"
    )
}

/// Runs `cargo build`. Returns the program it made.
fn cargo(target: &Path, list: Option<&Path>, args: &[String]) -> io::Result<PathBuf> {
    let mut child = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--features", "sleds", "--message-format=json-render-diagnostics"])
        .args(args)
        .arg("--target-dir")
        .arg(target)
        .env("RUSTFLAGS", plan::rustflags(list))
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

fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}
