//! The command line: what can be typed, what it means, and one clear line for what cannot be. The outcome is a
//! [`Task`] of plain, checked data; nothing here does the work.

mod blk_options;
mod console;
mod console_options;
mod files;
mod net_options;
mod refusal;
mod resolve;
mod rules;
mod run_options;
mod shown;
mod tools;
mod trace_options;
mod trace_verbs;
mod values;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::config::{
    AttachConfig, BlkConfig, BlkbackConfig, ConsoleConfig, ConsoledConfig, GuestConfig, HostConfig,
    NetConfig, NetbackConfig, Pictures, RunConfig, TraceTo,
};
use blk_options::{BLK_EXAMPLES, BlkArgs, BlkbackArgs};
use console_options::{
    CONSOLE_EXAMPLES, CONSOLED_EXAMPLES, ConsoleArgs, ConsoleGuestArgs, ConsoledArgs,
    GUEST_EXAMPLES,
};
use files::Files;
use net_options::{NET_EXAMPLES, NetArgs, NetbackArgs};
pub use refusal::Refusal;
pub(crate) use resolve::try_to_write;
use tools::{HOST_EXAMPLES, HostArgs, REPORT_EXAMPLES};
pub use tools::{LsArgs, ReportArgs, StoreArgs, StoreVerb};
use trace_options::TraceArgs;
use trace_verbs::TRACE_EXAMPLES;
pub use trace_verbs::{FilterArgs, Most, TraceCommand, TraceVerb};

/// Where the results go as JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JsonTo {
    /// To stdout, and nothing else there.
    Stdout,
    /// To a file, beside the text on stdout.
    File(PathBuf),
}

/// What the user asked for.
#[derive(Debug, Clone, PartialEq)]
pub enum Task {
    /// The tour.
    Tour {
        /// No progress on stderr.
        quiet: bool,
    },
    /// One network run, its results as JSON, and its trace.
    Net(NetConfig, Option<JsonTo>, Option<TraceTo>),
    /// One console run, its pictures, its results as JSON, and its trace.
    Console(Box<ConsoleConfig>, Pictures, Option<JsonTo>, Option<TraceTo>),
    /// A terminal on a guest's console.
    Attach(Box<AttachConfig>),
    /// One run over a disk.
    Blk(BlkConfig, Option<JsonTo>, Option<TraceTo>),
    /// The host alone, and the trace of all that join it.
    Host(HostConfig, Option<TraceTo>),
    /// A backend domain of the host in `run.dir` (which is set).
    Netback(NetbackConfig),
    /// A frontend domain of the host in `run.dir` (which is set).
    Netfront(NetConfig),
    /// A console daemon of the host in `run.dir` (which is set).
    Consoled(Box<ConsoledConfig>),
    /// A guest with a console, of the host in the run's `dir` (which is set): it writes lines, or is a shell.
    ConsoleGuest(Option<GuestConfig>, RunConfig),
    /// A backend domain with disks, of the host in `run.dir` (which is set).
    Blkback(BlkbackConfig),
    /// A frontend domain with a disk, of the host in `run.dir` (which is set).
    Blkfront(BlkConfig),
    /// The running labs.
    Ls(LsArgs),
    /// One store operation.
    Store(StoreArgs),
    /// Shows a trace.
    Trace(TraceCommand),
    /// A page about runs.
    Report(ReportArgs),
}

/// A task, and what the user should know about how it was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Parsed {
    /// What to do.
    pub task: Task,
    /// One line each, for stderr: options that were set to something else than their usual default.
    pub notes: Vec<String>,
}

/// Reads a command line, the program's name first.
///
/// # Errors
/// A [`Refusal`]: help that was asked for, a bad argument, or a file that cannot be read.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Parsed, Refusal> {
    let args: Vec<OsString> = args.into_iter().collect();
    let matches = command().try_get_matches_from(&args);
    let matches = matches.map_err(|error| Refusal::from(error).in_words_typed(&args, command()))?;
    let typed = Typed::from_arg_matches(&matches)?;
    let mut notes = Vec::new();
    let task = typed.resolve(&mut notes)?;
    Ok(Parsed { task, notes })
}

/// Looks at what is said in the environment and not in a command line.
///
/// # Errors
/// A [`Refusal`], if that cannot be.
pub fn environment() -> Result<(), Refusal> {
    crate::domain::log_filter().map(drop).map_err(Refusal::Argument)
}

/// All that can be typed, as the parser has it.
#[must_use]
pub fn command() -> clap::Command {
    shown::truthful(Typed::command().max_term_width(100))
}

#[derive(Parser)]
#[command(name = "pvlab", version, about = ABOUT, after_help = EXAMPLES)]
#[command(
    override_usage = "pvlab [COMMAND] [OPTIONS]      with no command: the tour, under 20 seconds"
)]
#[command(args_conflicts_with_subcommands = true)]
#[command(args_override_self = true)]
struct Typed {
    #[command(subcommand)]
    command: Option<Command>,
    /// No progress on stderr
    #[arg(long)]
    quiet: bool,
}

const ABOUT: &str =
    "pvlab: a laboratory for paravirtual I/O. Xen's split drivers as ordinary processes.";

const EXAMPLES: &str = "\
Examples:
  pvlab                                  see what this machine does; writes ./pvlab-out/
  pvlab net --mode stream -n 128M        one run: TCP, every byte checked
  pvlab net --mode pktgen -l 64          64-byte frames, as many as go through
  pvlab blk --disk ram=1G --rw randrw    a disk, every block checked
  pvlab net --help                       all options of a run

Environment:
  PVLAB_LOG=debug    what domains say of themselves, on stderr: error, warn, info, debug
  NO_COLOR=1         no colours";

#[derive(Subcommand)]
enum Command {
    /// One run of netfront and netback
    #[command(after_help = NET_EXAMPLES, args_override_self = true, disable_help_flag = true)]
    #[command(override_usage = "pvlab net [OPTIONS]")]
    Net(NetCommand),
    /// One run of blkfront and blkback
    #[command(after_help = BLK_EXAMPLES, args_override_self = true, disable_help_flag = true)]
    #[command(override_usage = "pvlab blk [OPTIONS]")]
    Blk(BlkCommand),
    /// One run of a guest's console and its daemon, or a terminal on one
    #[command(after_help = CONSOLE_EXAMPLES, args_override_self = true, disable_help_flag = true)]
    #[command(override_usage = "pvlab console [OPTIONS]")]
    Console(ConsoleCommand),
    /// The host alone: memory, event channels, store; domains join it by hand
    #[command(after_help = HOST_EXAMPLES, args_override_self = true)]
    #[command(override_usage = "pvlab host --dir DIR [OPTIONS]")]
    Host(HostArgs),
    /// The backend domain of a host started by hand
    #[command(args_override_self = true, disable_help_flag = true)]
    #[command(override_usage = "pvlab netback --dir DIR [OPTIONS]")]
    Netback(Box<NetbackArgs>),
    /// A frontend domain of a host started by hand
    #[command(args_override_self = true, disable_help_flag = true)]
    #[command(override_usage = "pvlab netfront --dir DIR [OPTIONS]")]
    Netfront(Box<NetArgs>),
    /// The backend domain with disks of a host started by hand
    #[command(args_override_self = true, disable_help_flag = true)]
    #[command(override_usage = "pvlab blkback --dir DIR [OPTIONS]")]
    Blkback(Box<BlkbackArgs>),
    /// A frontend domain with a disk of a host started by hand
    #[command(args_override_self = true, disable_help_flag = true)]
    #[command(override_usage = "pvlab blkfront --dir DIR [OPTIONS]")]
    Blkfront(Box<BlkArgs>),
    /// The console daemon of a host started by hand
    #[command(after_help = CONSOLED_EXAMPLES, args_override_self = true, disable_help_flag = true)]
    #[command(override_usage = "pvlab consoled --dir DIR [OPTIONS]")]
    Consoled(Box<ConsoledArgs>),
    /// A guest with a console, of a host started by hand: a shell, or a writer of lines
    #[command(after_help = GUEST_EXAMPLES, args_override_self = true, disable_help_flag = true)]
    #[command(override_usage = "pvlab console-guest --dir DIR [OPTIONS]")]
    ConsoleGuest(Box<ConsoleGuestArgs>),
    /// Running labs: their domains and what goes over their rings
    #[command(args_override_self = true, override_usage = "pvlab ls [OPTIONS]")]
    Ls(LsArgs),
    /// The store of a running lab
    #[command(arg_required_else_help = false)]
    Store(StoreArgs),
    /// A page for the browser, from the results of one run or several
    #[command(after_help = REPORT_EXAMPLES, args_override_self = true)]
    #[command(override_usage = "pvlab report FILE... [-o OUT]")]
    Report(ReportArgs),
    /// Read a trace: tree, top, explain, iterations, export, open; pause a running one: on, off
    #[command(after_help = TRACE_EXAMPLES, arg_required_else_help = false)]
    Trace(TraceCommand),
}

#[derive(clap::Args)]
#[command(next_help_heading = "Output")]
struct NetCommand {
    #[command(flatten)]
    net: Box<NetArgs>,
    /// Results as JSON: into FILE, or alone on stdout
    #[arg(short = 'J', value_name = "FILE", num_args = 0..=1, value_parser = values::path)]
    json: Option<Option<PathBuf>>,
    #[command(flatten)]
    trace: TraceArgs,
}

#[derive(clap::Args)]
#[command(next_help_heading = "Output")]
struct ConsoleCommand {
    #[command(flatten)]
    console: Box<ConsoleArgs>,
    /// Results as JSON: into FILE, or alone on stdout
    #[arg(short = 'J', value_name = "FILE", num_args = 0..=1, value_parser = values::path)]
    #[arg(conflicts_with = "attach")]
    json: Option<Option<PathBuf>>,
    #[command(flatten)]
    trace: TraceArgs,
}

#[derive(clap::Args)]
#[command(next_help_heading = "Output")]
struct BlkCommand {
    #[command(flatten)]
    blk: Box<BlkArgs>,
    /// Results as JSON: into FILE, or alone on stdout
    #[arg(short = 'J', value_name = "FILE", num_args = 0..=1, value_parser = values::path)]
    json: Option<Option<PathBuf>>,
    #[command(flatten)]
    trace: TraceArgs,
}

/// Where `-J` sends the results.
fn json_to(json: Option<Option<PathBuf>>) -> Option<JsonTo> {
    json.map(|file| file.map_or(JsonTo::Stdout, JsonTo::File))
}

impl Typed {
    fn resolve(self, notes: &mut Vec<String>) -> Result<Task, Refusal> {
        Ok(match self.command {
            None => Task::Tour { quiet: self.quiet },
            Some(Command::Net(NetCommand { net, json, trace })) => {
                let (json, trace) = (json_to(json), trace.resolve()?);
                let config = resolve::net(&net, notes)?;
                let files = Files::of_stream(config.file.as_ref(), config.out.as_ref());
                files.results(json.as_ref(), trace.as_ref()).check()?;
                Task::Net(config, json, trace)
            }
            Some(Command::Console(ConsoleCommand { console: typed, json, trace })) => {
                let json = json_to(json);
                let trace = trace.resolve()?;
                match console::console(&typed)? {
                    console::Console::Run(config, pictures) => {
                        let files = Files::of_console(&config.daemon, &pictures);
                        files.results(json.as_ref(), trace.as_ref()).check()?;
                        Task::Console(config, pictures, json, trace)
                    }
                    console::Console::Attach(_) if trace.is_some() => {
                        let why = "a terminal measures nothing; drop it, or drop --attach";
                        return Err(Refusal::of_option("--trace", why));
                    }
                    console::Console::Attach(config) => Task::Attach(config),
                }
            }
            Some(Command::Consoled(typed)) => Task::Consoled(Box::new(console::consoled(&typed)?)),
            Some(Command::ConsoleGuest(typed)) => {
                let (guest, run) = console::console_guest(&typed)?;
                Task::ConsoleGuest(guest, run)
            }
            Some(Command::Blk(BlkCommand { blk, json, trace })) => {
                let (json, trace) = (json_to(json), trace.resolve()?);
                let config = blk_options::blk(&blk, notes)?;
                let files = Files::of_disk(&config.disk);
                files.results(json.as_ref(), trace.as_ref()).check()?;
                Task::Blk(config, json, trace)
            }
            Some(Command::Host(host)) => {
                let (config, trace) = host.resolve()?;
                Task::Host(config, trace)
            }
            Some(Command::Netback(back)) => {
                let config = resolve::netback(&back)?;
                resolve::needs_dir("netback", config.run.dir.as_deref())?;
                resolve::no_amount("netback", &back.run)?;
                Files::of_stream(config.file.as_ref(), config.out.as_ref()).check()?;
                Task::Netback(config)
            }
            Some(Command::Netfront(net)) => {
                let config = resolve::netfront(&net, notes)?;
                resolve::needs_dir("netfront", config.run.dir.as_deref())?;
                if !crate::lab::is_child() {
                    resolve::alone(&net, &config)?;
                }
                Files::of_stream(config.file.as_ref(), config.out.as_ref()).check()?;
                Task::Netfront(config)
            }
            Some(Command::Blkback(back)) => {
                let config = blk_options::blkback(&back)?;
                resolve::needs_dir("blkback", config.run.dir.as_deref())?;
                Task::Blkback(config)
            }
            Some(Command::Blkfront(blk)) => {
                let config = blk_options::blkfront(&blk, notes)?;
                resolve::needs_dir("blkfront", config.run.dir.as_deref())?;
                Task::Blkfront(config)
            }
            Some(Command::Ls(ls)) => Task::Ls(ls),
            Some(Command::Store(store)) => Task::Store(store),
            Some(Command::Report(report)) => {
                let runs = report.files.iter().map(PathBuf::as_path);
                let files = runs.fold(Files::default(), |files, run| files.read("FILE", Some(run)));
                files.written("-o", Some(&report.out)).check()?;
                Task::Report(report)
            }
            Some(Command::Trace(trace)) => Task::Trace(trace.resolve()?),
        })
    }
}
