//! What a process says of its control plane, carried into the trace: events of the crate `tracing` as notes in
//! the process's journal. Only while a trace is being recorded.

use std::fmt::{self, Write as _};

use tracer::format::{Level, Note, NoteKind};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::dynamic_filter_fn;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

/// What takes the events.
pub(super) fn layer<S>() -> impl Layer<S>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    Notes.with_filter(dynamic_filter_fn(|what, _| {
        tracer::on() && *what.level() <= tracing::Level::DEBUG
    }))
}

struct Notes;

impl<S: Subscriber> Layer<S> for Notes {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let (ticks, about) = (tracer::now(), event.metadata());
        let mut said = Said::default();
        event.record(&mut said);
        tracer::note(Note {
            ticks,
            tid: u32::try_from(nix::unistd::gettid().as_raw()).unwrap_or(0),
            level: level(*about.level()),
            kind: NoteKind::Event,
            target: about.target().into(),
            words: said.words,
            fields: said.fields,
        });
    }
}

fn level(level: tracing::Level) -> Level {
    match level {
        tracing::Level::ERROR => Level::Error,
        tracing::Level::WARN => Level::Warn,
        tracing::Level::INFO => Level::Info,
        tracing::Level::DEBUG => Level::Debug,
        tracing::Level::TRACE => Level::Trace,
    }
}

/// An event's words and fields.
#[derive(Default)]
struct Said {
    words: String,
    fields: Vec<(String, String)>,
}

impl Visit for Said {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            // Writing to a String does not fail.
            let _ = write!(self.words, "{value:?}");
        } else {
            self.fields.push((field.name().into(), format!("{value:?}")));
        }
    }
}
