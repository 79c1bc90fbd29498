//! What a person sees of a run over a disk, where it differs from other runs.

use super::levels::LEVELS;
use super::numbers::{thousands, three_digits};
use super::options::{Setting, amount, on_off, size};
use super::text::{cpus, grants};
use crate::config::{BlkConfig, Rw, word};
use crate::results::{FioDirection, FioJob, Results};
use crate::units::{float, format_size, round_u64};

/// Who runs where, the disk, and how grants are reached: the first line of a run.
#[must_use]
pub fn headline(config: &BlkConfig) -> String {
    let run = &config.run;
    let (back, front, disk) = (cpus(&run.back_cpus), cpus(&run.front_cpus), &config.disk.disk);
    let grants = grants(run);
    format!("pvlab: domain 0 (blkback) on {back}, domain 1 (blkfront) on {front}, {disk}, {grants}")
}

/// What a run does, in a few words: the name of its row.
#[must_use]
pub fn what(config: &BlkConfig) -> String {
    if config.nbd.is_some() {
        return "requests of NBD clients".to_owned();
    }
    let which = match config.rw {
        Rw::Read => "reads in order",
        Rw::Write => "writes in order",
        Rw::RandRead => "random reads",
        Rw::RandWrite => "random writes",
        Rw::RandRw => "random reads and writes",
    };
    let bs = format_size(config.bs as u64);
    format!("{bs} {which}, {} in flight", config.iodepth * config.numjobs)
}

/// What a run has done: the same, and how much of what it could check it has checked.
#[must_use]
pub fn done(config: &BlkConfig, results: &Results) -> String {
    let asked = |job: &FioJob| {
        let back = job.read_back.map_or(0, |back| back.all * config.bs as u64);
        job.read.io_bytes + back
    };
    let all: u64 = results.jobs.iter().map(asked).sum();
    let checked = match results.summary.bytes_verified.unwrap_or(0) {
        0 => String::new(),
        bytes if bytes == all => ", every block checked".to_owned(),
        bytes => format!(", {:.0} % checked", float(bytes) * 100.0 / float(all.max(bytes))),
    };
    what(config) + &checked
}

/// The options that only a disk has.
pub(super) fn settings(config: &BlkConfig) -> Vec<Setting> {
    let mut all = match &config.nbd {
        // What is done, and for how long, is left to the clients.
        Some(path) => vec![("nbd", format!("unix:{}", path.display()))],
        None => work(config),
    };
    all.extend([
        ("iodepth", config.iodepth.to_string()),
        ("disk", config.disk.disk.to_string()),
        ("size", config.disk.size.map_or("all".to_owned(), format_size)),
        ("read-only", on_off(config.disk.read_only)),
        ("sector-size", config.disk.sector_size.to_string()),
        ("in-flight", config.disk.in_flight.to_string()),
        ("split", word(&config.split)),
        ("segments", config.segments.to_string()),
        ("indirect", on_off(config.indirect)),
        ("ring-order", config.ring_order.to_string()),
        ("queues", config.queues.to_string()),
        ("dialect", format!("{},{}", word(&config.dialect), word(&config.disk.dialect_back))),
    ]);
    all.extend(config.kill_backend_every.map(|s| ("kill-backend-every", format!("{s}s"))));
    all
}

/// What of them says what is done, and for how long.
fn work(config: &BlkConfig) -> Vec<Setting> {
    let mut all = vec![
        ("rw", word(&config.rw)),
        ("bs", size(config.bs)),
        ("numjobs", config.numjobs.to_string()),
        amount(&config.run),
        ("warmup", format!("{}s", config.run.warmup)),
        ("fsync", config.fsync.to_string()),
    ];
    if config.rw == Rw::RandRw {
        all.push(("rwmixread", config.rwmixread.to_string()));
    }
    all.extend(config.rate_iops.map(|rate| ("rate-iops", rate.to_string())));
    all
}

/// What a job's row has no column for.
pub(super) fn remarks(job: &FioJob) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, direction) in [("read", &job.read), ("write", &job.write)] {
        if direction.total_ios + direction.failed_ios > 0 {
            lines.push(line(name, direction));
        }
    }
    if let Some(back) = &job.read_back {
        let (blocks, all) = (thousands(back.blocks), thousands(back.all));
        let of = if back.blocks == back.all { String::new() } else { format!(" of {all}") };
        let (size, seconds) = (format_size(back.bytes), back.seconds);
        lines.push(format!(
            "read back: {blocks}{of} blocks that were written ({size}), in {seconds:.2} s"
        ));
    }
    lines.extend(job.unchecked.iter().map(|why| format!("nothing was checked: {why}")));
    let ring = &job.ring;
    let mut text = format!(
        "requests: {}, {} for an operation, {} indirect",
        thousands(ring.requests),
        three_digits(ring.requests_per_io),
        thousands(ring.indirect)
    );
    if ring.reconnects > 0 {
        let (deaths, again) = (thousands(ring.reconnects), thousands(ring.requeued));
        text += &format!("; {deaths} backends replaced, {again} requests put again");
    }
    if ring.downgrades > 0 {
        text += &format!("; {} features given up", thousands(ring.downgrades));
    }
    if ring.out_of_requests > 0 {
        text += &format!("; the backend's limit was met {} times", thousands(ring.out_of_requests));
    }
    if job.sync.total_ios > 0 {
        text += &format!("; {} flushes", thousands(job.sync.total_ios));
    }
    lines.push(text);
    for (who, levels) in
        [("put", &job.iodepth_level), ("taken by the backend", &job.iodepth_level_backend)]
    {
        let shown: Vec<String> = LEVELS
            .iter()
            .filter_map(|(name, _)| Some((name, levels.get(*name).filter(|p| **p >= 0.05)?)))
            .map(|(name, percent)| format!("{name}: {percent:.1} %"))
            .collect();
        if !shown.is_empty() {
            lines.push(format!("in flight when {who}: {}", shown.join(", ")));
        }
    }
    lines
}

fn line(name: &str, d: &FioDirection) -> String {
    let (iops, mbs) = (thousands(round_u64(d.iops).unwrap_or(0)), float(d.bw_bytes) / 1e6);
    let mut rate = format!("{name}: {iops} IOPS, {} MB/s", three_digits(mbs));
    if d.failed_ios > 0 {
        rate += &format!(", {} failed", thousands(d.failed_ios));
    }
    if d.clat_ns.count == 0 {
        // An NBD client's requests are timed whole.
        return rate;
    }
    let us = |ns: f64| three_digits(ns / 1e3);
    let (slat, clat) = (us(d.slat_ns.mean), us(d.clat_ns.mean));
    let at = |key: &str| us(float(d.clat_ns.percentile.get(key).copied().unwrap_or(0)));
    let (p99, p999) = (at("99.000000"), at("99.900000"));
    format!("{rate}; slat {slat} us, clat {clat} us, p99 {p99} us, p99.9 {p999} us")
}
