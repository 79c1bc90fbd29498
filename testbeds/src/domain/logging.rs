//! What a process says about itself: log lines on stderr, and with `PVLAB_TRACE_DIR` a trace file of its handshakes,
//! state changes and warnings. Nothing of the data path is said here; the trace of a run (`--trace`) has these events
//! too, see `notes`.

use std::fmt;
use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use tracing::Subscriber;
use tracing::field::{Field, Visit};
use tracing_chrome::{ChromeLayerBuilder, EventOrSpan, FlushGuard};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::prelude::*;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Layer, fmt as lines};

use super::log_console::LogLines;

/// Which lines go to stderr; warnings by default.
const LOG: &str = "PVLAB_LOG";
/// Where each process leaves its trace file.
const TRACE_DIR: &str = "PVLAB_TRACE_DIR";

/// What writes the trace file. Kept here because some ends of a process leave no stack to drop it from.
static TRACE: Mutex<Option<FlushGuard>> = Mutex::new(None);

/// The log, as long as it lives; dropping it ends the trace file.
#[derive(Debug)]
pub struct Logging(());

/// What `PVLAB_LOG` asks for.
///
/// # Errors
/// What it says, and what it may say, in one line.
pub fn log_filter() -> Result<EnvFilter, String> {
    let Some(text) = std::env::var_os(LOG).filter(|text| !text.is_empty()) else {
        return Ok(EnvFilter::new("warn"));
    };
    let text = text.to_string_lossy();
    // A word that is no level would be taken for the name of a module, and silence all others.
    let level = text.parse::<LevelFilter>().is_ok() || text.contains('=');
    let filter = level.then(|| EnvFilter::try_new(&*text).ok()).flatten();
    filter.ok_or_else(|| format!("{LOG} {text}: no such level; use error, warn, info or debug"))
}

/// Begins to log. `name` is what this process is: it names the trace file. Signals must be blocked already: the
/// trace file has a thread of its own, which inherits that.
#[must_use = "the trace file ends when this is dropped"]
pub fn init_logging(name: &str) -> Logging {
    let filter = log_filter().unwrap_or_else(|_| EnvFilter::new("warn"));
    let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let stderr = lines::layer().with_writer(|| LogLines).with_ansi(colour).with_target(false);
    let stderr = stderr.with_filter(filter);
    let trace = std::env::var_os(TRACE_DIR).and_then(|dir| trace_layer(&dir.into(), name));
    // Somebody else's subscriber is as good.
    let all = tracing_subscriber::registry().with(stderr).with(trace).with(super::notes::layer());
    let _ = all.try_init();
    Logging(())
}

impl Drop for Logging {
    fn drop(&mut self) {
        end_trace();
    }
}

/// Ends the process at once, with its trace file whole. A lab that it is host of leaves nothing.
pub(super) fn exit(status: i32) -> ! {
    end_trace();
    crate::lab::restore_terminal();
    rings_host::leave_nothing();
    std::process::exit(status)
}

fn end_trace() {
    drop(TRACE.lock().unwrap_or_else(PoisonError::into_inner).take());
}

/// Writes `DIR/NAME-PID.json`; without a place to write it to, says so and does without.
fn trace_layer<S>(dir: &PathBuf, name: &str) -> Option<impl Layer<S> + use<S>>
where
    S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
{
    let path = dir.join(format!("{name}-{}.json", std::process::id()));
    let file = match std::fs::create_dir_all(dir).and_then(|()| std::fs::File::create(&path)) {
        Ok(file) => file,
        Err(error) => {
            eprintln!("note: cannot write {} ({TRACE_DIR}): {error}", path.display());
            return None;
        }
    };
    let (layer, guard) = ChromeLayerBuilder::new()
        .writer(io::BufWriter::new(file))
        .include_args(true)
        .name_fn(Box::new(|what| match what {
            EventOrSpan::Event(event) => {
                let mut message = Message(String::new());
                event.record(&mut message);
                message.0
            }
            EventOrSpan::Span(span) => span.name().into(),
        }))
        .build();
    *TRACE.lock().unwrap_or_else(PoisonError::into_inner) = Some(guard);
    Some(layer.with_filter(LevelFilter::DEBUG))
}

/// The words of an event, without its fields.
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}
