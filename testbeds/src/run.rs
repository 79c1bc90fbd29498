//! What each command does. Nothing of it is here yet.

use anyhow::bail;

use crate::cli::Task;

/// Does what the user asked for.
///
/// # Errors
/// Whatever went wrong, for one line on stderr and exit 1.
pub fn start(task: &Task) -> anyhow::Result<()> {
    let name = match task {
        Task::Tour { .. } => "the tour",
        Task::Net(..) => "net",
        Task::Host(..) => "host",
        Task::Netback(..) => "netback",
        Task::Netfront(..) => "netfront",
        Task::Ls(..) => "ls",
        Task::Store(..) => "store",
    };
    bail!("{name}: not built yet")
}
