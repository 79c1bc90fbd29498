//! A lab: the host in this process, the domains as its children, one run from start to results.
//!
//! | module | what |
//! |---|---|
//! | `net` | one network run |
//! | `console` | one console run |
//! | `console_summary` | reports of a console's both ends made into figures |
//! | `reader` | somebody who looks at the terminals of a run |
//! | `attach` | a terminal on a guest's console |
//! | `raw` | the user's own terminal while that goes on |
//! | `blk` | one run over a disk |
//! | `children` | the domains' processes: started, watched, never left behind |
//! | `domains` | the domains of a run, and what becomes of them while it goes on |
//! | `sample` | what is looked at from outside meanwhile: rate, CPU, memory |
//! | `summary` | reports of both ends made into figures |
//! | `outputs` | what a run leaves: text, JSON, pictures |
//! | `trace` | the trace of a run |
//! | `tour` | the main job |
//! | `page` | a page about runs that are over |
//! | `hand` | a host, a netback, a netfront in terminals of their own |
//! | `holdings` | the ports and grants of a lab, as people read them |
//! | `tools` | `pvlab ls` and `pvlab store` |

mod attach;
mod blk;
mod children;
mod console;
mod console_summary;
mod domains;
mod hand;
mod holdings;
mod net;
mod outputs;
mod page;
mod raw;
mod reader;
mod sample;
mod summary;
mod tools;
mod tour;
mod trace;

use std::io::{self, Write as _};

use anyhow::Context as _;

pub use attach::attach;
pub use blk::{blk, blkback, blkfront};
pub(crate) use children::is_child;
pub use console::console;
pub use hand::{console_guest, consoled, host, netback, netfront};
pub use net::net;
pub use page::report;
pub(crate) use raw::restore as restore_terminal;
pub use tools::{ls, record, store};
pub use tour::tour;

/// Writes results to stdout. A reader that has gone away wants no more of them, which is fine.
fn print(text: &str) -> anyhow::Result<()> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to stdout")
        }
        _ => Ok(()),
    }
}
