//! Which of the options that every kind of run has a command's help shows: those that change what it does. The others
//! are still read, as the domains of a run are started with the options of the whole run; where they would
//! mislead they are refused when they are resolved.

use clap::Command;

/// The length of a run: whoever serves others serves until it is ended.
const LENGTH: [&str; 5] = ["time", "num", "interval", "warmup", "verify"];
/// What is a guest's affair.
const GUEST: [&str; 2] = ["index_base", "stall_timeout"];
/// The work of those who have something to send.
const WORK: [&str; 1] = ["think"];
/// What netback does, or the toolstack tells it.
const NETBACK: [&str; 3] = ["rate", "rx_drain_timeout", "rx_stall_timeout"];
/// What a console has none of.
const RING: [&str; 5] = ["batch", "notify", "grant", "console", "seed"];
/// What has a name of its own there: `--messages`.
const LINES: [&str; 1] = ["num"];

/// What does nothing in which command, by the names of the fields: clap panics, and with it every test of the
/// command line, on a name that is gone.
const IDLE: [(&str, &[&[&str]]); 7] = [
    ("console", &[&RING, &LINES]),
    ("netback", &[&LENGTH, &GUEST, &["seed"]]),
    ("netfront", &[&["interval", "grant", "vifs"], &NETBACK]),
    ("consoled", &[&LENGTH, &GUEST, &WORK, &RING]),
    ("console-guest", &[&RING, &LINES, &["interval"]]),
    ("blkback", &[&LENGTH, &GUEST, &WORK]),
    ("blkfront", &[&["interval", "kill_backend_every"]]),
];

/// Those that are part of a lab by hand, and find it by its directory.
const DOMAINS: [&str; 6] =
    ["netback", "netfront", "consoled", "console-guest", "blkback", "blkfront"];

/// The same commands, with the help that is true of each.
pub(super) fn truthful(mut command: Command) -> Command {
    for (name, idle) in IDLE {
        let fields = idle.iter().copied().flatten();
        command = command.mut_subcommand(name, |command| {
            fields.fold(command, |command, field| command.mut_arg(field, |arg| arg.hide(true)))
        });
    }
    command = command.mut_subcommand("netback", |command| {
        command.mut_arg("think", |arg| arg.help("Its own work per operation where it sends [0]"))
    });
    for name in DOMAINS {
        command = command.mut_subcommand(name, |command| {
            command
                .mut_arg("dir", |arg| arg.help("Run directory of the host, pvlab host --dir DIR"))
        });
    }
    command
}
