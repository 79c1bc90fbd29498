//! The command `pvlab`: reads the command line, starts what it asks for, turns the outcome into an exit status.

#![forbid(unsafe_code)]

use std::io::{self, Write as _};
use std::process::ExitCode;

use testbeds::{cli, run};

/// Counts allocations, so that runs can report them.
#[global_allocator]
static ALLOCATOR: tracer::alloc::Counting = tracer::alloc::Counting;

fn main() -> ExitCode {
    let typed = cli::parse(std::env::args_os());
    let parsed = match typed.and_then(|parsed| cli::environment().map(|()| parsed)) {
        Ok(parsed) => parsed,
        Err(refusal) => return refusal.tell(),
    };
    // Not eprintln!, which panics where stderr is closed.
    for note in &parsed.notes {
        let _ = writeln!(io::stderr(), "note: {note}");
    }
    match run::start(&parsed.task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
