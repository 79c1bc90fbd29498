//! Functions that the compiler instruments: every function of the program that is not inlined, dependencies
//! and instances of generic std code included. Only with the feature `sleds`, and only in a program that was
//! built for it; `src/bin/sleds.rs` does that, in one command:
//!
//! ```sh
//! cargo run -p tracer --features sleds --bin sleds -- -p testbeds --bin pvlab --profile quick
//! ```
//!
//! | module | what |
//! |---|---|
//! | `map` | LLVM's XRay sleds: where they are, and how they are switched |
//! | `handler` | what they call; and `mcount`, for a program built with that in their place |
//! | `symbols` | names of functions |
//! | [`plan`] | which functions are to be instrumented, and how LLVM is told |
//!
//! Sleds cost nothing until they are patched, which is when the process records for the first time; switched
//! off again they cost a call and a test. What a thread enters and leaves is recorded from its first record of
//! another kind on, each time recording is switched on. Where a function unwinds, its exit is missing.

mod handler;
mod map;
pub mod plan;
mod symbols;

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::format::{Entry, Level, Note, journal};
use crate::recorder::{Source, switch};
use handler::set_seen;

pub(crate) use handler::{base, set_base, set_limits};

/// Whether it was tried to patch them.
static PATCHED: AtomicBool = AtomicBool::new(false);

/// Makes the functions known to the journal: those that have sleds, or, where there are none, all (what
/// calls `mcount` is found by its address).
pub(crate) fn entries() -> Vec<Entry> {
    let (sleds, base) = (map::Sleds::find(), handler::program());
    let symbols = symbols::Symbols::of_this_program();
    let path = std::env::current_exe().unwrap_or_default().display().to_string();
    let build_id = symbols.build_id.clone();
    let mut all = vec![Entry::Module(journal::Module { base, path, build_id })];
    if sleds.len() == 0 {
        all.extend(symbols.all().map(|(address, name)| function(0, address, name)));
        return all;
    }
    for (id, function_at) in (1..).zip(&sleds.functions) {
        let address = (*function_at as u64).wrapping_sub(base);
        all.push(function(id, address, symbols.at(address)));
    }
    all
}

fn function(id: u32, address: u64, name: &str) -> Entry {
    let name = format!("{:#}", rustc_demangle::demangle(name));
    Entry::Function(journal::Function { id, address, name })
}

/// From now on the calling thread's functions are recorded, until the switch's word is another one than `on`.
pub(crate) fn resumed(on: u32) {
    patch();
    set_seen(on);
}

/// Makes calls of the sleds, once. What keeps it from that is said in the trace.
fn patch() {
    if PATCHED.swap(true, Ordering::Relaxed) {
        return;
    }
    let outcome = match switch::source() {
        Source::Cycles => map::Sleds::find().patch(),
        // Which is the only clock they can read.
        Source::Monotonic => Err(io::Error::other("this machine's cycle counter is not steady")),
    };
    if let Err(why) = outcome {
        let words = format!("the sleds of this program cannot be patched: {why}");
        crate::recorder::note(Note { level: Level::Warn, words, ..Note::default() });
    }
}
