//! What guests write to their consoles, and what becomes of it.
//!
//! | module | what |
//! |---|---|
//! | `lines` | numbered lines: made by the guest, checked by the daemon |
//! | `series` | lines over time, in few points however long it goes on |
//! | `clock` | when a writer writes, and when its time is over |
//! | `writer` | a guest that writes lines, as a job of a worker |
//! | `tally` | what a writer counts, and what it reports |
//! | `window` | when a daemon's figures begin and end |
//! | `served` | a console that the daemon serves, as a job of a worker |
//! | `shell` | a guest for people: a small shell on its console |
//! | `editor` | the line that is being typed in it |
//! | `last_words` | a panic told on the guest's console |
//! | `printer` | lines of many guests on one stderr, each with its guest's number |
//!
//! The ring and what a full one means is in `console`; the processes are in `domain`.

mod clock;
mod editor;
mod last_words;
mod lines;
mod printer;
mod series;
mod served;
mod shell;
mod tally;
mod window;
mod writer;

pub use last_words::say_last_words;
pub use lines::{Checked, Lines};
pub use series::{Series, Spread, Stalls};
pub use served::{ConsoleReport, Served};
pub use shell::shell;
pub use tally::WriterReport;
pub use window::Window;
pub use writer::Writer;
