//! The options of a run over a disk, as they are typed, and what they mean together.

use std::path::PathBuf;

use clap::Args;

use super::refusal::Refusal;
use super::resolve;
use super::run_options::{RunArgs, Switch};
use super::values::{self, Pair};
use crate::config::{
    BlkConfig, BlkbackConfig, DialectName, DiskConfig, DiskText, RunConfig, Rw, Split,
    interrupted_cpu,
};
use crate::units::format_size;

pub(super) const BLK_EXAMPLES: &str = "\
Sizes take K, M, G (powers of 1024); times take ns, us, ms, s; [ ] is the default.

Disks: null (reads are zeros), void (nothing is moved), ram=SIZE, file=PATH,
  model=read:20M,write:10M,latency:1.3ms,write-unit:32K (storage as slow as that),
  faulty:WHAT:DISK (around any other: errors=SHARE, delay=SHARE/TIME, lose=SHARE (writes that
  are answered and not done), cache (writes that no flush saved die with the backend),
  liar (flushes do nothing), noflush (there are none))

Examples:
  pvlab blk                                            4 KiB reads anywhere, what the driver can do
  pvlab blk --disk ram=1G --rw randrw                  every block checked when it is read
  pvlab blk --disk file=disk.img --rw write --bs 1M    through io_uring
  pvlab blk --grant persistent --iodepth 1             what a grant costs
  pvlab blk --disk model --rw read --bs 128k --split serial --iodepth 2
  pvlab blk --disk file=disk.img --rw randrw --kill-backend-every 2s
  pvlab blk --disk file=disk.img --nbd unix:/tmp/pv.sock";

#[derive(Args)]
pub(super) struct BlkArgs {
    #[command(flatten)]
    job: JobArgs,
    #[command(flatten)]
    disk: DiskArgs,
    #[command(flatten)]
    device: DeviceArgs,
    #[command(flatten)]
    run: RunArgs,
}

#[derive(Args)]
pub(super) struct BlkbackArgs {
    #[command(flatten)]
    disk: DiskArgs,
    /// Units of both ends, for what the other end is to be taken for [xen,xen]
    #[arg(long, value_name = "FRONT,BACK", value_parser = values::dialects)]
    dialect: Option<Pair<DialectName>>,
    #[command(flatten)]
    run: RunArgs,
}

#[derive(Args)]
#[command(next_help_heading = "What is done")]
struct JobArgs {
    /// read, write, randread, randwrite, randrw [randread]
    #[arg(long, value_name = "HOW", hide_possible_values = true)]
    rw: Option<Rw>,
    /// Bytes of an operation, 512 to 16M [4K]
    #[arg(long, value_name = "SIZE", value_parser = values::block_size)]
    #[arg(allow_hyphen_values = true)]
    bs: Option<usize>,
    /// Operations in flight, of each job, 1-1024 [32]
    #[arg(long, value_name = "N", value_parser = values::iodepth, allow_hyphen_values = true)]
    iodepth: Option<u32>,
    /// Jobs, each with its own part of the disk, 1-64 [one for each queue]
    #[arg(long, value_name = "N", value_parser = values::numjobs, allow_hyphen_values = true)]
    numjobs: Option<u32>,
    /// Percent of reads (randrw) [50]
    #[arg(long, value_name = "PERCENT", value_parser = values::percent)]
    #[arg(allow_hyphen_values = true)]
    rwmixread: Option<u32>,
    /// Operations per second at most, of each job [no limit]
    #[arg(long, value_name = "N", value_parser = values::rate_iops, allow_hyphen_values = true)]
    rate_iops: Option<f64>,
    /// A flush after so many writes [0: none]
    #[arg(long, value_name = "N", value_parser = values::fsync, allow_hyphen_values = true)]
    fsync: Option<u32>,
    /// Serve the disk to NBD clients on this socket, instead of a workload
    #[arg(long, value_name = "unix:PATH", value_parser = values::unix_socket)]
    nbd: Option<PathBuf>,
    /// Kill the backend at random moments, so far apart on average, and start another one
    #[arg(long, value_name = "TIME", value_parser = values::kill_every)]
    #[arg(allow_hyphen_values = true)]
    kill_backend_every: Option<f64>,
}

#[derive(Args)]
#[command(next_help_heading = "The disk")]
struct DiskArgs {
    /// null, void, ram=SIZE, file=PATH, model=..., faulty:WHAT:DISK [null]
    #[arg(long, value_name = "DISK", value_parser = values::disk)]
    disk: Option<DiskText>,
    /// Bytes of a disk that does not say its own; of others the part that is used [1G; all]
    #[arg(long, value_name = "SIZE", value_parser = values::disk_size)]
    #[arg(allow_hyphen_values = true)]
    size: Option<u64>,
    /// Nothing may be written
    #[arg(long)]
    read_only: bool,
    /// Bytes of the disk's own sectors: 512, 4096 [512]
    #[arg(long, value_name = "BYTES", value_parser = values::sector_size)]
    #[arg(allow_hyphen_values = true)]
    sector_size: Option<u32>,
    /// Requests the backend has in flight, for each page of a ring, 1-32 [32]
    #[arg(long, value_name = "N", value_parser = values::in_flight, allow_hyphen_values = true)]
    in_flight: Option<u32>,
}

#[derive(Args)]
#[command(next_help_heading = "Device")]
struct DeviceArgs {
    /// Requests of one operation: parallel, serial [parallel]
    #[arg(long, value_name = "HOW", hide_possible_values = true)]
    split: Option<Split>,
    /// Segments (pages) of a request, 1-256 [32]
    #[arg(long, value_name = "N", value_parser = values::segments, allow_hyphen_values = true)]
    segments: Option<u32>,
    /// Requests of more than 11 segments: on, off [on]
    #[arg(long, value_name = "SWITCH", hide_possible_values = true)]
    indirect: Option<Switch>,
    /// Pages of a ring, as a power of two, 0-4 [0]
    #[arg(long, value_name = "N", value_parser = values::ring_order, allow_hyphen_values = true)]
    ring_order: Option<u32>,
    /// Rings, 1-8 [1]
    #[arg(long, value_name = "N", value_parser = values::queues, allow_hyphen_values = true)]
    queues: Option<u32>,
    /// Units of sectors: xen, freebsd, qemu, mini-os, of each end [xen,xen]
    #[arg(long, value_name = "FRONT,BACK", value_parser = values::dialects)]
    dialect: Option<Pair<DialectName>>,
}

impl DiskArgs {
    fn resolve(&self) -> DiskConfig {
        let mut config = DiskConfig::default();
        if let Some(disk) = &self.disk {
            config.disk = disk.clone();
        }
        config.size = self.size.or_else(|| config.default_size());
        config.read_only = self.read_only;
        config.sector_size = self.sector_size.unwrap_or(config.sector_size);
        config.in_flight = self.in_flight.unwrap_or(config.in_flight);
        config
    }
}

/// A backend alone.
pub(super) fn blkback(typed: &BlkbackArgs) -> Result<BlkbackConfig, Refusal> {
    resolve::no_amount("blkback", &typed.run)?;
    let mut disk = typed.disk.resolve();
    disk.dialect_back = typed.dialect.unwrap_or_default().1;
    Ok(BlkbackConfig { run: resolve::run(&typed.run), disk })
}

/// A frontend by itself: what its disk is made of, the backend says.
pub(super) fn blkfront(typed: &BlkArgs, notes: &mut Vec<String>) -> Result<BlkConfig, Refusal> {
    if crate::lab::is_child() {
        return blk(typed, notes);
    }
    if typed.job.kill_backend_every.is_some() {
        let why = "the backend is somebody else's; use pvlab blk";
        return Err(Refusal::of_option("--kill-backend-every", why));
    }
    let mut config = resolved(typed)?;
    config.disk.size = typed.disk.size;
    if typed.disk.disk.is_none() {
        config.disk.disk = DiskText::called(None);
    }
    config.doubts = typed.run.length.verify.is_some_and(Switch::is_on);
    sound(typed, config, notes)
}

/// A whole run. What the user should know about it goes to `notes`.
pub(super) fn blk(typed: &BlkArgs, notes: &mut Vec<String>) -> Result<BlkConfig, Refusal> {
    let mut config = resolved(typed)?;
    place(&mut config.run, &config.disk, &typed.run);
    sound(typed, config, notes)
}

/// What was typed, with defaults for the rest.
fn resolved(typed: &BlkArgs) -> Result<BlkConfig, Refusal> {
    let plain = BlkConfig::default();
    let (job, device) = (&typed.job, &typed.device);
    let queues = device.queues.unwrap_or(plain.queues);
    let (dialect, dialect_back) = device.dialect.unwrap_or_default();
    let indirect = device.indirect.is_none_or(Switch::is_on);
    let segments = device.segments.unwrap_or(if indirect { plain.segments } else { 11 });
    if job.nbd.is_some() {
        resolve::no_amount("--nbd", &typed.run)?;
    }
    Ok(BlkConfig {
        run: resolve::run(&typed.run),
        disk: DiskConfig { dialect_back, ..typed.disk.resolve() },
        rw: job.rw.unwrap_or(plain.rw),
        bs: job.bs.unwrap_or(plain.bs),
        iodepth: job.iodepth.unwrap_or(plain.iodepth),
        numjobs: job.numjobs.unwrap_or(queues),
        rwmixread: job.rwmixread.unwrap_or(plain.rwmixread),
        rate_iops: job.rate_iops,
        fsync: job.fsync.unwrap_or(0),
        split: device.split.unwrap_or_default(),
        segments: if indirect { segments } else { segments.min(11) },
        indirect,
        ring_order: device.ring_order.unwrap_or(plain.ring_order),
        queues,
        dialect,
        kill_backend_every: job.kill_backend_every,
        nbd: job.nbd.clone(),
        doubts: false,
    })
}

/// Unless somebody says where they are to run, blkback runs where the storage of its file interrupts: it is
/// the one that waits for that.
fn place(run: &mut RunConfig, disk: &DiskConfig, typed: &RunArgs) {
    let interrupted = disk.disk.file().and_then(|path| interrupted_cpu(path));
    let (front, back) = (&mut run.front_cpus, &mut run.back_cpus);
    if typed.place.affinity.is_none() && front.len() == 1 && interrupted == front.first().copied() {
        std::mem::swap(front, back);
    }
}

/// Refuses what cannot be together. What is not checked needs nothing that checks do.
fn sound(
    typed: &BlkArgs,
    mut config: BlkConfig,
    notes: &mut Vec<String>,
) -> Result<BlkConfig, Refusal> {
    if config.run.verify && !config.disk.disk.keeps() {
        config.run.verify = false;
        if typed.run.length.verify.is_some() {
            let disk = &config.disk.disk;
            let why = format!("{disk} keeps nothing that could be checked; use --disk ram=1G");
            return Err(Refusal::of("--verify", "on", &why));
        }
    }
    check(typed, &config)?;
    if config.nbd.is_some() && typed.job.rw.is_some() && !config.run.quiet {
        notes.push("--rw is left to the NBD clients".to_owned());
    }
    Ok(config)
}

fn check(typed: &BlkArgs, config: &BlkConfig) -> Result<(), Refusal> {
    let own = config.disk.sector_size as usize;
    if !config.bs.is_multiple_of(own) {
        let why = format!("not in whole sectors of {own} bytes; use a multiple of {own}");
        return Err(Refusal::of("--bs", format_size(config.bs as u64), &why));
    }
    if config.disk.read_only && config.rw.writes() && config.nbd.is_none() {
        let rw = crate::config::word(&config.rw);
        return Err(Refusal::of("--rw", rw, "the disk is --read-only; use --rw randread"));
    }
    if let Some(segments) = typed.device.segments
        && !config.indirect
        && segments > 11
    {
        let why = "a direct request has 11 at most; use --indirect on or up to 11";
        return Err(Refusal::of("--segments", segments, why));
    }
    if config.numjobs < config.queues {
        let why =
            format!("fewer than queues; use {} or --queues {}", config.queues, config.numjobs);
        return Err(Refusal::of("--numjobs", config.numjobs, &why));
    }
    if typed.job.rwmixread.is_some() && config.rw != Rw::RandRw {
        let why = "there is one direction only; use --rw randrw";
        return Err(Refusal::of("--rwmixread", config.rwmixread, why));
    }
    if typed.job.kill_backend_every.is_some() && config.run.verify && !config.disk.disk.outlives() {
        let why = format!(
            "what is on {} does not outlive its backend; use --disk file=PATH or --verify off",
            config.disk.disk
        );
        return Err(Refusal::of_option("--kill-backend-every", &why));
    }
    memory(config)
}

/// What is in flight must fit into the guest's memory and grant table.
fn memory(config: &BlkConfig) -> Result<(), Refusal> {
    /// Grants of a domain, those of rings and lists of segments apart.
    const MOST: usize = 24_000;
    let pages = config.pages() * config.queues as usize;
    if pages > MOST {
        let why = format!(
            "{} operations of {} need {pages} pages, {MOST} can be granted; use a smaller --bs or --iodepth",
            config.iodepth * config.numjobs,
            format_size(config.bs as u64)
        );
        return Err(Refusal::of("--iodepth", config.iodepth, &why));
    }
    Ok(())
}
