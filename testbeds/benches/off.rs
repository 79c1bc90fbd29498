//! What the tracer costs that is compiled in and switched off: 64-byte frames through a program that has it and
//! through one that has not, in turn.
//!
//! ```sh
//! cargo bench -p testbeds --bench off
//! ```
//!
//! The program without a tracer is built first, by the same compiler with the same profile, which takes as long as any
//! build for release. Says both medians, the ratio of each pair in the middle, how far pairs are from one another, and
//! whether chance would do as much.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use serde_json::Value;

/// Pairs of runs.
const PAIRS: usize = 10;
/// So many pairs in which one is the slower come about by chance in one case of a hundred (a sign test).
const MORE_THAN_NOISE: usize = 9;
/// One run.
const RUN: [&str; 10] = ["net", "--mode", "pktgen", "-l", "64", "-t", "1", "--verify", "off", "-J"];

fn main() -> anyhow::Result<()> {
    let (with, without) = (PathBuf::from(env!("CARGO_BIN_EXE_pvlab")), without_tracer()?);
    println!("million 64-byte frames a second");
    println!("    pair    without       with   with : without");
    let (mut all_with, mut all_without, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for pair in 1..=PAIRS {
        // Whoever comes first has the colder caches.
        let (first, second) = if pair % 2 == 0 { (&with, &without) } else { (&without, &with) };
        let (one, other) = (frames(first)?, frames(second)?);
        let (on, off) = if pair % 2 == 0 { (one, other) } else { (other, one) };
        println!("{pair:8} {off:10.2} {on:10.2} {:16.3}", on / off);
        all_with.push(on);
        all_without.push(off);
        ratios.push(on / off);
    }
    let (on, off) = (median(&mut all_with), median(&mut all_without));
    println!("  median {off:10.2} {on:10.2} {:16.3}", median(&mut ratios));
    println!("  ratios from {:.3} to {:.3}", ratios[0], ratios[PAIRS - 1]);
    let slower = ratios.iter().filter(|ratio| **ratio < 1.0).count();
    let noise = if slower < MORE_THAN_NOISE { "within noise" } else { "more than noise" };
    println!("  slower with it in {slower} of {PAIRS} pairs: {noise}");
    Ok(())
}

/// Builds the program that has no tracer.
fn without_tracer() -> anyhow::Result<PathBuf> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("no-trace");
    let status = Command::new(env!("CARGO"))
        .args(["build", "--release", "-p", "testbeds", "--bin", "pvlab", "--features", "no-trace"])
        .arg("--target-dir")
        .arg(&target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()?;
    ensure!(status.success(), "cargo build: {status}");
    Ok(target.join("release/pvlab"))
}

/// Millions of frames a second.
fn frames(pvlab: &Path) -> anyhow::Result<f64> {
    let output = Command::new(pvlab).args(RUN).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let results: Value = serde_json::from_slice(&output.stdout)?;
    Ok(results["summary"]["pps"].as_f64().context("no rate")? / 1e6)
}

/// The one in the middle, and all in order.
fn median(all: &mut [f64]) -> f64 {
    all.sort_by(f64::total_cmp);
    f64::midpoint(all[(all.len() - 1) / 2], all[all.len() / 2])
}
