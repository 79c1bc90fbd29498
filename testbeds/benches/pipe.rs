//! How fast a console without a limit is, beside a Unix pipe with the same writes between two processes.
//!
//! ```sh
//! cargo bench -p testbeds --bench pipe
//! ```
//!
//! Both have a writer on one CPU and a reader on another, as `pvlab console` has. The writes are 64 bytes
//! long: on the ring each is published by itself; in the pipe each is one write(2), and its reader takes up
//! to 64 KiB with each read(2). They take turns, round by round. What was read is what counts. The pipe's
//! reader looks at none of it, nor does the daemon in the first column; in the second it checks every line.

use std::fs::File;
use std::io::{self, PipeReader, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use serde_json::Value;

/// Rounds in which each has its turn.
const ROUNDS: usize = 7;
/// How long a turn is.
const TURN: Duration = Duration::from_secs(1);
/// Bytes of a write.
const LEN: usize = 64;
/// Bytes a pipe holds, and its reader asks for.
const PIPE: usize = 64 << 10;
/// Makes this program the pipe's writer, on the CPU that follows.
const WRITER: &str = "--writer";
/// This very process, to the scheduler.
const SELF: Pid = Pid::from_raw(0);

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().collect();
    if let [_, writer, cpu] = &args[..]
        && writer == WRITER
    {
        stay_on(cpu.parse()?)?;
        return write_lines();
    }
    let cpus = cpus()?;
    println!("{LEN}-byte writes in MB/s, writer on CPU {}, reader on CPU {}", cpus.0, cpus.1);
    println!("   round  console  checked     pipe  console : pipe");
    let mut ratios = Vec::new();
    for round in 1..=ROUNDS {
        let (bare, checked, pipe) = (console(cpus, "off")?, console(cpus, "on")?, pipe(cpus)?);
        ratios.push(bare / pipe);
        println!("{round:8} {bare:8.1} {checked:8.1} {pipe:8.1} {:15.2}", bare / pipe);
    }
    ratios.sort_by(f64::total_cmp);
    println!("  in the middle {:35.2}", ratios[ROUNDS / 2]);
    Ok(())
}

/// Two CPUs that we may use; one of them twice if there are no two.
fn cpus() -> anyhow::Result<(usize, usize)> {
    let ours = sched_getaffinity(SELF)?;
    let mut all = (0..CpuSet::count()).filter(|&cpu| ours.is_set(cpu).unwrap_or(false));
    let first = all.next().context("no CPU")?;
    Ok((first, all.next().unwrap_or(first)))
}

fn stay_on(cpu: usize) -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu)?;
    Ok(sched_setaffinity(SELF, &set)?)
}

/// What the daemon read of a guest that writes as fast as it can.
fn console((front, back): (usize, usize), verify: &str) -> anyhow::Result<f64> {
    let (len, turn) = (LEN.to_string(), TURN.as_secs().to_string());
    let cpus = format!("{front},{back}");
    let output = Command::new(env!("CARGO_BIN_EXE_pvlab"))
        .args(["console", "--limit", "off", "--sink", "null", "-J", "--quiet"])
        .args(["--len", &len, "-t", &turn, "--verify", verify, "-A", &cpus])
        .output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let results: Value = serde_json::from_slice(&output.stdout)?;
    let kb_per_s = results["console"]["kb_per_s"].as_f64().context("no rate")?;
    Ok(kb_per_s / 1e3)
}

/// The same through a pipe.
fn pipe((front, back): (usize, usize)) -> anyhow::Result<f64> {
    let before = sched_getaffinity(SELF)?;
    let (reader, writer) = io::pipe()?;
    let mut child = Command::new(std::env::current_exe()?)
        .args([WRITER, &front.to_string()])
        .stdout(writer)
        .spawn()?;
    stay_on(back)?;
    let rate = read_lines(reader);
    child.wait()?;
    sched_setaffinity(SELF, &before)?;
    rate
}

/// Writes to stdout until nobody reads any more.
fn write_lines() -> anyhow::Result<()> {
    // Without the buffer that `Stdout` has.
    let mut pipe = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let mut line = [b'x'; LEN];
    line[LEN - 1] = b'\n';
    while pipe.write(&line).is_ok_and(|put| put == LEN) {}
    Ok(())
}

/// Reads for a turn, which begins with the first byte. Megabytes a second.
fn read_lines(mut pipe: PipeReader) -> anyhow::Result<f64> {
    let mut room = vec![0; PIPE];
    ensure!(pipe.read(&mut room)? > 0, "the writer has ended");
    let (begin, mut bytes) = (Instant::now(), 0_u64);
    while begin.elapsed() < TURN {
        bytes += pipe.read(&mut room)? as u64;
    }
    Ok(bytes as f64 / 1e6 / begin.elapsed().as_secs_f64())
}
