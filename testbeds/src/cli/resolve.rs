//! From what was typed to what it means: defaults filled in, one spelling for one thing, files looked at.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;

use nix::unistd::{AccessFlags, access};

use super::net_options::{DeviceArgs, FileArgs, NetArgs, NetbackArgs, TimerArgs, TrafficArgs};
use super::refusal::Refusal;
use super::rules;
use super::run_options::{LengthArgs, MechanismArgs, PlaceArgs, RunArgs};
use crate::config::{
    Amount, Mode, NetConfig, NetPath, NetbackConfig, RunConfig, RxTimers, WireKind, default_vifs,
    default_wire,
};

/// Puts the value an option was given in the place of the default.
fn set<T: Clone>(place: &mut T, given: Option<&T>) {
    if let Some(value) = given {
        *place = value.clone();
    }
}

/// A process started by hand has to know which host it belongs to.
pub(super) fn needs_dir(command: &str, dir: Option<&Path>) -> Result<(), Refusal> {
    let why =
        format!("{command} belongs to a host; use the DIR of a running 'pvlab host --dir DIR'");
    dir.map(|_| ()).ok_or_else(|| Refusal::of_option("--dir", &why))
}

/// Whoever serves guests has nothing to do of its own that could end.
pub(super) fn no_amount(command: &str, typed: &RunArgs) -> Result<(), Refusal> {
    for (option, given) in [("-t", typed.length.time.is_some()), ("-n", typed.length.num.is_some())]
    {
        if given {
            let why = format!("{command} serves until it is ended; drop {option}");
            return Err(Refusal::of_option(option, &why));
        }
    }
    Ok(())
}

/// A netfront that nobody else looks after is one guest, and says itself when it is done.
pub(super) fn alone(typed: &NetArgs, config: &NetConfig) -> Result<(), Refusal> {
    if typed.run.mechanisms.grant.is_some() {
        let why = "netback reaches the pages, not netfront; give it to pvlab netback";
        return Err(Refusal::of_option("--grant", why));
    }
    if typed.device.copies.is_some() && only_sends(config) {
        let why = "netback receives what netfront sends; give it to pvlab netback, or use -R";
        return Err(Refusal::of_option("--copies", why));
    }
    if config.run.interval.is_some() {
        let why =
            "by hand nobody watches the run; drop it, or use pvlab ls meanwhile, or pvlab net";
        return Err(Refusal::of_option("-i", why));
    }
    if config.path == NetPath::Bridge {
        let why =
            "by hand nobody tells the guest that answers when the other is done; use pvlab net";
        return Err(Refusal::of("--path", "bridge", why));
    }
    if config.vifs > 1 {
        let why = "netfront is one guest; start one for each, with pvlab host --vifs N";
        return Err(Refusal::of("--vifs", config.vifs, why));
    }
    Ok(())
}

/// Whether the guest gets no payload: what it sends is neither answered nor sent back.
fn only_sends(config: &NetConfig) -> bool {
    let one_way = matches!(config.mode, Mode::Stream | Mode::Maerts | Mode::Udp | Mode::Pktgen);
    let comes_back = config.path == NetPath::Loopback || config.wire == WireKind::Reflect;
    one_way && !config.reverse && !comes_back
}

pub(super) fn run(typed: &RunArgs) -> RunConfig {
    let mut config = RunConfig::default();
    length(&mut config, &typed.length);
    mechanisms(&mut config, &typed.mechanisms);
    place(&mut config, &typed.place);
    config.quiet = typed.output.quiet;
    config.console = typed.output.console;
    config
}

fn length(config: &mut RunConfig, typed: &LengthArgs) {
    set(&mut config.amount, typed.time.map(Amount::Seconds).as_ref());
    set(&mut config.amount, typed.num.map(Amount::Count).as_ref());
    config.interval = typed.interval.filter(|seconds| *seconds > 0.0);
    set(&mut config.warmup, typed.warmup.as_ref());
    set(&mut config.verify, typed.verify.map(|switch| switch.is_on()).as_ref());
    set(&mut config.seed, typed.seed.as_ref());
}

fn mechanisms(config: &mut RunConfig, typed: &MechanismArgs) {
    set(&mut config.batch, typed.batch.as_ref());
    set(&mut config.wait, typed.wait.as_ref());
    set(&mut config.spin_us, typed.spin.as_ref());
    set(&mut config.notify, typed.notify.as_ref());
    set(&mut config.grant, typed.grant.as_ref());
    set(&mut config.cost, typed.cost.as_ref());
    set(&mut config.think_ns, typed.think.as_ref());
    set(&mut config.index_base, typed.index_base.as_ref());
}

fn place(config: &mut RunConfig, typed: &PlaceArgs) {
    if let Some((front, back)) = &typed.affinity {
        config.front_cpus.clone_from(front);
        config.back_cpus.clone_from(back);
    }
    if let Some((front, back)) = typed.nice {
        config.nice_front = front;
        config.nice_back = back;
    }
    set(&mut config.stall_timeout, typed.stall_timeout.as_ref());
    config.dir.clone_from(&typed.dir);
}

/// The backend of one.
pub(super) fn netback(typed: &NetbackArgs) -> Result<NetbackConfig, Refusal> {
    let FileArgs { file, out: to } = &typed.files;
    if let Some(path) = file {
        file_bytes(path)?;
    }
    out(to.as_deref())?;
    let (run, timers, copies) = (run(&typed.run), timers(&typed.timers), typed.copies.unwrap_or(0));
    Ok(NetbackConfig { run, file: file.clone(), out: to.clone(), copies, timers })
}

fn timers(typed: &TimerArgs) -> RxTimers {
    let mut timers = RxTimers::default();
    set(&mut timers.rx_drain_timeout, typed.rx_drain_timeout.as_ref());
    set(&mut timers.rx_stall_timeout, typed.rx_stall_timeout.as_ref());
    timers
}

/// A frontend by itself: without what others decide.
pub(super) fn netfront(typed: &NetArgs, notes: &mut Vec<String>) -> Result<NetConfig, Refusal> {
    if typed.device.rate.is_some() {
        let why = "the toolstack tells netback, not netfront; give it to pvlab host";
        return Err(Refusal::of_option("--rate", why));
    }
    if let Some(option) = typed.timers.first() {
        let why = "netback waits for guests, not netfront; give it to pvlab netback";
        return Err(Refusal::of_option(option, why));
    }
    net(typed, notes)
}

/// A whole network run. What the user should know about it goes to `notes`.
pub(super) fn net(typed: &NetArgs, notes: &mut Vec<String>) -> Result<NetConfig, Refusal> {
    let mut config = NetConfig::of_mode(typed.traffic.mode.unwrap_or(Mode::Stream));
    config.run = run(&typed.run);
    traffic(&mut config, &typed.traffic);
    device(&mut config, &typed.device);
    config.timers = timers(&typed.timers);
    config.len = typed.traffic.len.unwrap_or_else(|| config.default_len());
    config.gso = typed.device.gso.unwrap_or_else(|| config.default_gso());
    rules::check(typed, &config)?;
    file(&mut config, &typed.run.length)?;
    out(config.out.as_deref())?;
    if typed.device.gso.is_none() && !config.run.quiet {
        notes.extend(gso_note(&config));
    }
    Ok(config)
}

fn traffic(config: &mut NetConfig, typed: &TrafficArgs) {
    config.reverse |= typed.reverse;
    set(&mut config.parallel, typed.parallel.as_ref());
    if let Some((req, resp)) = typed.rr {
        config.rr_req = req;
        config.rr_resp = resp;
    }
    set(&mut config.window, typed.window.as_ref());
    config.file.clone_from(&typed.files.file);
    config.out.clone_from(&typed.files.out);
}

fn device(config: &mut NetConfig, typed: &DeviceArgs) {
    if let Some(csum) = typed.csum {
        config.csum_tx = csum.tx();
        config.csum_rx = csum.rx();
    }
    set(&mut config.sg, typed.sg.map(|switch| switch.is_on()).as_ref());
    set(&mut config.mtu, typed.mtu.as_ref());
    set(&mut config.ip, typed.ip.as_ref());
    set(&mut config.queues, typed.queues.as_ref());
    config.rate = typed.rate;
    set(&mut config.drop, typed.drop.as_ref());
    set(&mut config.copies, typed.copies.as_ref());
    config.path = typed.path.unwrap_or_else(|| implied_path(config.mode, typed.wire));
    config.wire = typed.wire.unwrap_or_else(|| default_wire(config.mode, config.path));
    config.vifs = typed.vifs.unwrap_or_else(|| default_vifs(config.path));
}

/// A wire that leaves one path only need not be told the path.
fn implied_path(mode: Mode, wire: Option<WireKind>) -> NetPath {
    match wire {
        Some(WireKind::Bridge) => NetPath::Bridge,
        Some(WireKind::Reflect) if mode != Mode::Pktgen => NetPath::Loopback,
        _ => NetPath::Backend,
    }
}

/// A file can be read, has something in it, and ends the run unless `-t` or `-n` does.
fn file(config: &mut NetConfig, typed: &LengthArgs) -> Result<(), Refusal> {
    let Some(path) = &config.file else { return Ok(()) };
    let bytes = file_bytes(path)?;
    if typed.time.is_none() && typed.num.is_none() {
        config.run.amount = Amount::Count(bytes);
    }
    Ok(())
}

/// The length of a file that is to be read, which is not empty.
fn file_bytes(path: &Path) -> Result<u64, Refusal> {
    let unusable = |why: &str, remedy: &str| {
        Refusal::Unusable(format!("--file {}: {why}; {remedy}", path.display()))
    };
    let remedy = "name a file that can be read";
    let refused = |error: io::Error| unusable(system_reason(&error.to_string()), remedy);
    // Looked at before it is opened: opening a FIFO waits for somebody who writes to it.
    let found = fs::metadata(path).map_err(refused)?;
    if !found.is_file() {
        return Err(unusable("not a regular file", remedy));
    }
    File::open(path).map_err(refused)?;
    if found.len() == 0 {
        return Err(unusable("empty", "name a file with something in it"));
    }
    Ok(found.len())
}

/// A file can be made where it shall be; that it may is seen when it is made.
fn out(path: Option<&Path>) -> Result<(), Refusal> {
    let Some(path) = path else { return Ok(()) };
    if path.is_dir() || !directory(path).is_dir() {
        let remedy = "name a file in a directory that exists";
        let why = if path.is_dir() { "a directory" } else { "no such directory" };
        return Err(Refusal::Unusable(format!("--out {}: {why}; {remedy}", path.display())));
    }
    Ok(())
}

/// The directory that a file is in.
pub(super) fn directory(file: &Path) -> &Path {
    let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty());
    dir.unwrap_or(Path::new("."))
}

/// Whether a file could be written, or appended to. Leaves no empty file.
///
/// # Errors
/// If it cannot.
pub(crate) fn try_to_write(path: &Path) -> io::Result<()> {
    let found = path.metadata();
    if found.as_ref().is_ok_and(|found| !found.is_file() && !found.is_dir()) {
        // To open a pipe and close it again would be the end for whoever reads it.
        return Ok(access(path, AccessFlags::W_OK)?);
    }
    OpenOptions::new().append(true).create(true).open(path)?;
    // A link that led nowhere is to do so again.
    if found.is_ok() { Ok(()) } else { fs::remove_file(path.canonicalize()?) }
}

/// The system's words without its number for them.
pub(super) fn system_reason(message: &str) -> &str {
    message.split(" (os error").next().unwrap_or(message)
}

/// Said where segmentation offload would be on, were it not for another switch.
fn gso_note(config: &NetConfig) -> Option<String> {
    if matches!(config.mode, Mode::Udp | Mode::Pktgen) {
        return None;
    }
    let why = config.gso_obstacle()?;
    let reason = why.split(';').next().unwrap_or(why);
    Some(format!("--gso is off: {reason}"))
}
