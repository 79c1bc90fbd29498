//! What each command does: which module does it.

use crate::cli::Task;
use crate::domain::{StopFlag, init_logging};
use crate::{lab, trace};

/// Does what the user asked for.
///
/// # Errors
/// Whatever went wrong, for one line on stderr and exit 1.
pub fn start(task: &Task) -> anyhow::Result<()> {
    let stop = StopFlag::default();
    let name = match task {
        Task::Ls(_) | Task::Store(_) | Task::Trace(_) | Task::Report(_) => "tool",
        Task::Tour { .. } | Task::Net(..) | Task::Blk(..) | Task::Host(..) => "host",
        Task::Console(..) | Task::Attach(_) => "host",
        Task::Consoled(_) => "consoled",
        Task::ConsoleGuest(..) => "console-guest",
        Task::Netback(_) => "netback",
        Task::Netfront(_) => "netfront",
        Task::Blkback(_) => "blkback",
        Task::Blkfront(_) => "blkfront",
    };
    if name != "tool" {
        stop.on_signals()?;
    }
    let _logging = init_logging(name);
    match task {
        Task::Tour { quiet } => lab::tour(*quiet, &stop),
        Task::Blk(config, json, trace) => lab::blk(config, json.as_ref(), trace.as_ref(), &stop),
        Task::Blkback(config) => lab::blkback(config, &stop),
        Task::Blkfront(config) => lab::blkfront(config, &stop),
        Task::Net(config, json, trace) => lab::net(config, json.as_ref(), trace.as_ref(), &stop),
        Task::Console(config, pictures, json, trace) => {
            lab::console(config, pictures, json.as_ref(), trace.as_ref(), &stop)
        }
        Task::Attach(config) => lab::attach(config, &stop),
        Task::Consoled(config) => lab::consoled(config, &stop),
        Task::ConsoleGuest(config, run) => lab::console_guest(config.as_ref(), run, &stop),
        Task::Host(config, trace) => lab::host(config, trace.as_ref(), &stop),
        Task::Netback(config) => lab::netback(config, &stop),
        Task::Netfront(config) => lab::netfront(config, &stop),
        Task::Ls(args) => lab::ls(args),
        Task::Store(args) => lab::store(args),
        Task::Report(args) => lab::report(args),
        Task::Trace(command) => trace::run(command),
    }
}
