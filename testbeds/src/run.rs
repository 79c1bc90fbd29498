//! What each command does: which module does it.

use crate::cli::Task;
use crate::domain::{StopFlag, init_logging};
use crate::lab;

/// Does what the user asked for.
///
/// # Errors
/// Whatever went wrong, for one line on stderr and exit 1.
pub fn start(task: &Task) -> anyhow::Result<()> {
    init_logging();
    let stop = StopFlag::default();
    match task {
        Task::Ls(args) => return lab::ls(args),
        Task::Store(args) => return lab::store(args),
        _ => stop.on_signals()?,
    }
    match task {
        Task::Tour { quiet } => lab::tour(*quiet, &stop),
        Task::Net(config, json) => lab::net(config, json.as_ref(), &stop),
        Task::Host(config) => lab::host(config, &stop),
        Task::Netback(run) => lab::netback(run, &stop),
        Task::Netfront(config) => lab::netfront(config, &stop),
        Task::Ls(_) | Task::Store(_) => Ok(()),
    }
}
