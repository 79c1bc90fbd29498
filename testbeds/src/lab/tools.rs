//! `pvlab ls`, `pvlab store` and `pvlab trace on` and `off`: looking into labs that run.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use rings::store::{Nodes, Perm, StoreError, XsClient};
use rings_host::proto::{Held, Recorded};
use rings_host::{Block, BlockKind, Segment, UnixTransport, inspect, labs, runs};

use super::holdings;
use crate::cli::{LsArgs, StoreArgs, StoreVerb};
use crate::counters::Counters;

/// Lists the workers of running labs, with what they have done so far.
///
/// # Errors
/// If there is no lab where one was named.
pub fn ls(args: &LsArgs) -> anyhow::Result<()> {
    unless_nobody_reads(list_labs(args))
}

fn list_labs(args: &LsArgs) -> anyhow::Result<()> {
    let dirs = args.dir.clone().map_or_else(labs, |dir| vec![dir]);
    let mut out = io::stdout().lock();
    if dirs.is_empty() {
        writeln!(out, "no lab runs; start one, as with pvlab net or pvlab host --dir DIR")?;
    }
    for dir in dirs {
        let segment = match Segment::open(&dir) {
            Ok(segment) if runs(&dir) => segment,
            // It has ended since it was found.
            _ if args.dir.is_none() => continue,
            Ok(segment) => {
                let (dir, pid) = (dir.display(), segment.host_pid());
                bail!("no lab runs in {dir} any more: its host, process {pid}, died");
            }
            Err(why) => return Err(why.into()),
        };
        writeln!(out, "{} (host: process {})", dir.display(), segment.host_pid())?;
        writeln!(
            out,
            "  dom  worker    pid       frames out   frames in   notify   wake-ups  ring full  errors  dropped  stalls"
        )?;
        for block in segment.blocks() {
            writeln!(out, "  {}", line(&block))?;
        }
        if args.ports {
            out.write_all(holdings::ports(&inspect(&dir, Held::Ports)?).as_bytes())?;
        }
        if args.grants {
            out.write_all(holdings::grants(&inspect(&dir, Held::Grants)?).as_bytes())?;
        }
    }
    Ok(())
}

/// Not to be read to the end, as by `head`, is no failure.
fn unless_nobody_reads(outcome: anyhow::Result<()>) -> anyhow::Result<()> {
    match outcome {
        Err(why)
            if why
                .downcast_ref()
                .is_some_and(|error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe) =>
        {
            Ok(())
        }
        outcome => outcome,
    }
}

fn line(block: &Block) -> String {
    let c = Counters::read(block);
    let kind = match block.kind() {
        BlockKind::Front => "front",
        BlockKind::Back => "back",
        BlockKind::Other => "other",
    };
    let dom = block.owner().map_or(0, |d| d.0);
    let (worker, pid) = (block.worker(), block.pid());
    format!(
        "{dom:>3}  {kind:<5} {worker:<2}  {pid:<8} {:>11} {:>11} {:>8} {:>10} {:>10} {:>7} {:>8} {:>7}",
        c.frames_out,
        c.frames_in,
        c.notifies,
        c.wakeups,
        c.ring_full,
        c.errors,
        c.dropped,
        c.stalls,
    )
}

/// One operation on the store of a running lab, as domain 0.
///
/// # Errors
/// If there is no lab, or the store refuses.
pub fn store(args: &StoreArgs) -> anyhow::Result<()> {
    unless_nobody_reads(operate(args))
}

fn operate(args: &StoreArgs) -> anyhow::Result<()> {
    let dir = this_or_the_only_lab(args.dir.as_deref())?;
    let mut store = connect(&dir)?;
    let mut out = io::stdout().lock();
    match &args.verb {
        StoreVerb::Ls { path, perms } => {
            named(store.directory(path), path)?;
            list(&mut store, path, 0, *perms, &mut out)?;
        }
        StoreVerb::Read { path } => {
            out.write_all(&named(store.read(path), path)?)?;
            writeln!(out)?;
        }
        StoreVerb::Write { path, value } => store.write(path, value)?,
        StoreVerb::Rm { path } => named(store.rm(path), path)?,
        StoreVerb::Chmod { path, perms } => {
            let perms: Result<Vec<Perm>, _> = perms.iter().map(|text| text.parse()).collect();
            let perms = perms.context("a permission is a letter and a domid: n0, r1")?;
            named(store.set_perms(path, &perms), path)?;
        }
        StoreVerb::Watch { path, num } => {
            store.watch(path, "pvlab")?;
            let mut left = num.unwrap_or(u64::MAX);
            while left > 0 {
                let Some(event) = store.next_event(None)? else { continue };
                writeln!(out, "{}", event.path)?;
                left -= 1;
            }
        }
    }
    Ok(())
}

/// The store's own word for a node that is not there says little to people.
fn named<T>(outcome: Result<T, StoreError>, path: &str) -> anyhow::Result<T> {
    match outcome {
        Err(error) if error.is_not_found() => {
            bail!("{path}: no such node; pvlab store ls shows all there are")
        }
        other => Ok(other?),
    }
}

/// Switches the recording of a running lab on or off, and says what it is then.
///
/// # Errors
/// If there is no lab, or its trace can no longer be what is asked for.
pub fn record(dir: Option<&Path>, on: bool) -> anyhow::Result<()> {
    let dir = this_or_the_only_lab(dir)?;
    let recorded = rings_host::record(&dir, on)?;
    let dir = dir.display();
    let now = match recorded {
        Recorded::On => "on",
        Recorded::Off => "off",
        Recorded::Over if !on => "over",
        Recorded::Over => {
            bail!("{dir}: its recording is over: the run has ended, or a request was slow")
        }
        Recorded::Never => bail!("{dir} writes no trace; start it with --trace FILE"),
    };
    let mut out = io::stdout().lock();
    unless_nobody_reads(writeln!(out, "{dir}: recording is {now}").map_err(Into::into))
}

fn this_or_the_only_lab(dir: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(dir) = dir {
        return Ok(dir.to_owned());
    }
    let mut all = labs();
    match (all.pop(), all.is_empty()) {
        (Some(dir), true) => Ok(dir),
        (Some(_), false) => bail!("{} labs run; name one with --dir", all.len() + 1),
        (None, _) => bail!("no lab runs; start one, as with pvlab host --dir DIR"),
    }
}

fn connect(dir: &Path) -> anyhow::Result<XsClient<UnixTransport>> {
    let socket = dir.join("xenstored.sock");
    let transport =
        UnixTransport::connect(&socket).with_context(|| format!("no lab in {}", dir.display()))?;
    Ok(XsClient::new(transport))
}

/// The nodes below `path`, indented as xenstore-ls indents them. Depth is bounded by the length of
/// a path.
fn list(
    store: &mut XsClient<UnixTransport>,
    path: &str,
    depth: usize,
    perms: bool,
    out: &mut impl io::Write,
) -> anyhow::Result<()> {
    for name in store.directory(path)? {
        let child = if path == "/" { format!("/{name}") } else { format!("{path}/{name}") };
        // A node may go between the listing and the reading.
        let Ok(value) = store.read(&child) else { continue };
        let value = value.escape_ascii().to_string();
        write!(out, "{:indent$}{name} = \"{value}\"", "", indent = depth)?;
        if perms {
            let all: Vec<String> =
                store.get_perms(&child)?.iter().map(ToString::to_string).collect();
            write!(out, "   ({})", all.join(","))?;
        }
        writeln!(out)?;
        list(store, &child, depth + 1, perms, out)?;
    }
    Ok(())
}
