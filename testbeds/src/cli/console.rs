//! What the console's options mean together, and which of them do not go together.

use std::path::{Path, PathBuf};

use super::console_options::{
    ConsoleArgs, ConsoleGuestArgs, ConsoledArgs, DaemonArgs, GuestArgs, PictureArgs,
};
use super::refusal::Refusal;
use super::resolve::{needs_dir, no_amount, run};
use super::run_options::RunArgs;
use crate::config::{
    Amount, AttachConfig, ConsoleConfig, ConsoledConfig, DaemonConfig, GuestConfig, OnFull,
    Overflow, Pictures, RunConfig, SinkKind,
};

/// Bytes of the ring from the guest.
const RING: usize = rings::io::console::OUT_SIZE;

/// What `pvlab console` is to do.
pub(super) enum Console {
    /// A run.
    Run(Box<ConsoleConfig>, Pictures),
    /// A terminal.
    Attach(Box<AttachConfig>),
}

pub(super) fn console(typed: &ConsoleArgs) -> Result<Console, Refusal> {
    let mut config = ConsoleConfig { run: console_run(&typed.run)?, ..ConsoleConfig::default() };
    config.guest = guest(&typed.guest, &mut config.run)?;
    config.daemon = daemon(&typed.daemon, config.daemon)?;
    config.buffer = typed.lab.buffer.unwrap_or(config.buffer);
    config.neighbours = typed.lab.neighbours.unwrap_or(config.neighbours);
    if config.run.verify {
        config.daemon.check = Some(config.guest.len);
    }
    several(&config)?;
    if typed.attach.attach {
        attach_alone(typed)?;
        let domain = typed.attach.domain;
        if typed.daemon.sink.is_none() {
            config.daemon.sink = SinkKind::Pty;
        }
        config.daemon.check = None;
        return Ok(Console::Attach(Box::new(AttachConfig { domain, lab: config })));
    }
    if let Some(domain) = typed.attach.domain {
        let why = "whose terminal this is to be; add --attach";
        return Err(Refusal::of("--domain", domain, why));
    }
    let pictures = pictures(&typed.output)?;
    Ok(Console::Run(Box::new(config), pictures))
}

pub(super) fn consoled(typed: &ConsoledArgs) -> Result<ConsoledConfig, Refusal> {
    let run = console_run(&typed.run)?;
    needs_dir("consoled", run.dir.as_deref())?;
    no_amount("consoled", &typed.run)?;
    let mut daemon = daemon(&typed.daemon, DaemonConfig::of_sink(SinkKind::Pty))?;
    daemon.check = typed.check;
    Ok(ConsoledConfig { daemon, measure: typed.measure, run })
}

/// What `pvlab console-guest` is to do; without an amount it is a shell.
pub(super) fn console_guest(
    typed: &ConsoleGuestArgs,
) -> Result<(Option<GuestConfig>, RunConfig), Refusal> {
    let mut run = console_run(&typed.run)?;
    needs_dir("console-guest", run.dir.as_deref())?;
    let config = guest(&typed.guest, &mut run)?;
    let length = &typed.run.length;
    let writes = typed.guest.messages.is_some() || length.time.is_some() || length.num.is_some();
    if !writes {
        for (option, given) in [
            ("--len", typed.guest.len.is_some()),
            ("--on-full", typed.guest.on_full.is_some()),
            ("--pace", typed.guest.pace.is_some()),
        ] {
            if given {
                let why = "a shell writes no lines; give an amount too (-t or --messages)";
                return Err(Refusal::of_option(option, why));
            }
        }
    }
    Ok((writes.then_some(config), run))
}

/// The options every run has, those that a console does not have apart.
fn console_run(typed: &RunArgs) -> Result<RunConfig, Refusal> {
    let mechanisms = &typed.mechanisms;
    for (option, given, why) in [
        (
            "--batch",
            mechanisms.batch.is_some(),
            "every write to a console is published by itself; drop it, or use a larger --len",
        ),
        (
            "--notify",
            mechanisms.notify.is_some(),
            "a console has no event index, every write is told; drop it, or see --limit",
        ),
        (
            "--grant",
            mechanisms.grant.is_some(),
            "a console's page is mapped once and for all; drop it",
        ),
    ] {
        if given {
            return Err(Refusal::of_option(option, why));
        }
    }
    if typed.output.console {
        let why = "this is about consoles already; drop it";
        return Err(Refusal::of_option("--console", why));
    }
    Ok(run(typed))
}

fn guest(typed: &GuestArgs, run: &mut RunConfig) -> Result<GuestConfig, Refusal> {
    if let Some(count) = typed.messages {
        run.amount = Amount::Count(count);
    }
    let plain = GuestConfig::default();
    let config = GuestConfig {
        len: typed.len.unwrap_or(plain.len),
        on_full: typed.on_full.unwrap_or(plain.on_full),
        pace_ns: typed.pace.unwrap_or(plain.pace_ns),
    };
    if config.on_full == OnFull::Drop && config.len > RING {
        let why =
            format!("never fits a ring of {RING}; use --len {RING} or less, or another --on-full");
        return Err(Refusal::of("--len", config.len, &why));
    }
    Ok(config)
}

fn daemon(typed: &DaemonArgs, plain: DaemonConfig) -> Result<DaemonConfig, Refusal> {
    let config = DaemonConfig {
        limit: typed.limit.unwrap_or(plain.limit),
        sink: typed.sink.clone().unwrap_or(plain.sink),
        log: typed.log.clone(),
        timestamps: typed.timestamps,
        replace_escape: typed.replace_escape,
        log_limit: typed.log_limit.unwrap_or(plain.log_limit),
        overflow: typed.overflow.unwrap_or(plain.overflow),
        daemon_think_ns: typed.daemon_think.unwrap_or(plain.daemon_think_ns),
        check: plain.check,
    };
    let file = file_of(&config);
    if config.log.is_some() && matches!(config.sink, SinkKind::File(_)) {
        let why = "output goes to a file already; use --sink pty or null, or drop --log";
        return Err(Refusal::of_option("--log", why));
    }
    if let Some((option, path)) = &file {
        writable(option, path)?;
    }
    for (option, given) in [
        ("--timestamps", config.timestamps),
        ("--replace-escape", config.replace_escape),
        ("--log-limit", typed.log_limit.is_some()),
    ] {
        if given && file.is_none() {
            let why = "there is no file for that; give --log PATH or --sink file=PATH";
            return Err(Refusal::of_option(option, why));
        }
    }
    if config.overflow == Overflow::Keep && config.sink != SinkKind::Pty {
        let why = "only a pty leaves output waiting; use --sink pty";
        return Err(Refusal::of("--overflow", "keep", why));
    }
    Ok(config)
}

/// One file is for one console.
fn several(config: &ConsoleConfig) -> Result<(), Refusal> {
    match file_of(&config.daemon) {
        Some((option, path)) if config.neighbours > 0 && !path.is_dir() => {
            let why = "several consoles would be mixed in one file; name a directory that exists";
            Err(Refusal::of_option(&option, why))
        }
        _ => Ok(()),
    }
}

/// The file that output goes to, if it goes to one, after the option and the value that say so.
fn file_of(config: &DaemonConfig) -> Option<(String, &Path)> {
    match (&config.sink, &config.log) {
        (sink @ SinkKind::File(path), _) => Some((format!("--sink {sink}"), path)),
        (_, Some(path)) => Some((format!("--log {}", path.display()), path)),
        _ => None,
    }
}

/// A file can be appended to, or a directory have files made in it.
fn writable(option: &str, path: &Path) -> Result<(), Refusal> {
    if path.is_dir() {
        return Ok(());
    }
    super::resolve::try_to_write(path).map_err(|error| {
        let error = error.to_string();
        let why = super::resolve::system_reason(&error);
        let remedy = "name a file that can be written, or a directory";
        Refusal::Unusable(format!("{option}: {why}; {remedy}"))
    })
}

/// A terminal measures nothing.
fn attach_alone(typed: &ConsoleArgs) -> Result<(), Refusal> {
    let length = &typed.run.length;
    for (option, given) in [
        ("--messages", typed.guest.messages.is_some()),
        ("-t", length.time.is_some()),
        ("-n", length.num.is_some()),
        ("--len", typed.guest.len.is_some()),
        ("--on-full", typed.guest.on_full.is_some()),
        ("--pace", typed.guest.pace.is_some()),
        ("--csv", typed.output.csv.is_some()),
        ("--svg", typed.output.svg.is_some()),
        ("--neighbours", typed.lab.neighbours.is_some()),
    ] {
        if given {
            let why = "a terminal measures nothing; drop it, or drop --attach";
            return Err(Refusal::of_option(option, why));
        }
    }
    match &typed.daemon.sink {
        Some(sink) if *sink != SinkKind::Pty => {
            let why = "there is no terminal to attach to; use --sink pty, and --log for a file";
            Err(Refusal::of("--sink", sink, why))
        }
        _ => Ok(()),
    }
}

/// Where pictures go can be seen before the run.
fn pictures(typed: &PictureArgs) -> Result<Pictures, Refusal> {
    for (option, path) in [("--csv", &typed.csv), ("--svg", &typed.svg)] {
        let Some(path) = path else { continue };
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
        let dir = dir.map_or_else(|| PathBuf::from("."), Path::to_owned);
        if path.is_dir() || !dir.is_dir() {
            let why = if path.is_dir() { "a directory" } else { "no such directory" };
            let remedy = "name a file in a directory that exists";
            return Err(Refusal::Unusable(format!("{option} {}: {why}; {remedy}", path.display())));
        }
    }
    Ok(Pictures { csv: typed.csv.clone(), svg: typed.svg.clone() })
}
