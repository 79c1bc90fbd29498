//! A data directory of uftrace: its `replay`, `report`, `graph` and `dump` work on it.
//!
//! A process is a session, a thread a task with a file of 16-byte records, and a name is a symbol of one
//! module that no program is behind. What happens on rings and event channels are user events, which have
//! a name and nothing else; words are external data. uftrace has no arrows and no requests.

mod folder;

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::Path;

use tracer::format::{Event, Sent};

use super::text::Text;
use super::words::names_of;
use crate::crossing::Batch;
use crate::name::NameId;
use crate::selection::Selection;
use crate::stack::{Slice, Stack};
use crate::timeline::{At, Listener, Wake};
use crate::view::View;
use folder::{FIRST_EVENT, Folder};

/// Frames of a stack that a record's ten bits can tell apart.
const DEEPEST: u64 = 1024;

/// `enum uftrace_record_type`.
const ENTRY: u64 = 0;
const EXIT: u64 = 1;
const EVENT: u64 = 3;
/// Every record has it.
const MAGIC: u64 = 0b101;

/// Writes a trace while it is played.
pub(crate) struct Uftrace<'v, 'a> {
    view: &'v View<'a>,
    folder: Folder<'v, 'a>,
    /// For each thread: its file, and how deep it is in what is shown.
    tasks: Vec<(Text<File>, u64)>,
    /// By what they are called.
    events: HashMap<String, u64>,
}

impl<'v, 'a> Uftrace<'v, 'a> {
    /// Begins a folder, in place of one of this kind that is there.
    pub(crate) fn new(view: &'v View<'a>, to: &Path) -> io::Result<Self> {
        let folder = Folder::new(view, to)?;
        let files = (0..view.threads.len()).map(|thread| folder.task(thread));
        let tasks = files.map(|file| Ok((Text::new(file?), 0))).collect::<io::Result<_>>()?;
        Ok(Self { view, folder, tasks, events: HashMap::new() })
    }

    fn record(&mut self, at: At, kind: u64, address: u64, depth: u64) {
        // Bit 2 would say that arguments follow.
        let word = kind | MAGIC << 3 | depth.min(DEEPEST - 1) << 6 | address << 16;
        let out = &mut self.tasks[at.thread].0;
        out.raw(folder::time(self.view, at.ns).to_le_bytes()).raw(word.to_le_bytes());
    }

    /// Something without a duration; `of` may be nothing.
    fn event(&mut self, at: At, kind: &str, what: &str, of: &str) {
        let join = if of.is_empty() { "" } else { ":" };
        let name = format!("{kind}:{what}{join}{of}").replace(char::is_whitespace, "-");
        let next = FIRST_EVENT + self.events.len() as u64;
        let number = *self.events.entry(name).or_insert(next);
        self.record(at, EVENT, number, self.tasks[at.thread].1);
    }

    fn channel(&self, channel: Option<usize>) -> &'v str {
        channel.map_or("", |channel| &self.view.channel_names[channel])
    }

    /// Writes what is left, and what the records mean. Gives the octets of all files.
    pub(crate) fn finish(self, selection: &Selection) -> io::Result<u64> {
        let mut octets = 0;
        for (task, _) in self.tasks {
            octets += task.finish()?.1;
        }
        let mut events: Vec<(u64, String)> =
            self.events.into_iter().map(|(name, number)| (number, name)).collect();
        events.sort_unstable();
        Ok(octets + self.folder.finish(&events, selection)?)
    }
}

impl Listener for Uftrace<'_, '_> {
    fn begin(&mut self, at: At, stack: &Stack) {
        let Some(frame) = stack.top() else { return };
        let depth = self.tasks[at.thread].1;
        self.tasks[at.thread].1 += 1;
        if depth < DEEPEST {
            self.record(at, ENTRY, folder::address(frame.name), depth);
        }
    }

    /// What never ended has no end here either.
    fn end(&mut self, at: At, slice: &Slice, _: &Stack) {
        let depth = self.tasks[at.thread].1.saturating_sub(1);
        self.tasks[at.thread].1 = depth;
        if depth < DEEPEST && !slice.is_open() {
            self.record(at, EXIT, folder::address(slice.frame.name), depth);
        }
    }

    fn mark(&mut self, at: At, name: NameId, _: u32, _: bool) {
        let name = self.view.names.get(name);
        self.event(at, &name.category, &name.text, "");
    }

    fn full(&mut self, at: At, ring: usize, _: i64) {
        self.event(at, "ring", "room again", &self.view.rings[ring].name);
    }

    fn send(&mut self, at: At, channel: Option<usize>, sent: Sent, _: u64) {
        let what = match sent {
            Sent::Rung => "notify",
            Sent::Pending => "notify (pending already)",
            Sent::Masked => "notify (masked)",
        };
        self.event(at, "evtchn", what, self.channel(channel));
    }

    fn receive(&mut self, at: At, channel: Option<usize>) {
        self.event(at, "evtchn", "notified", self.channel(channel));
    }

    fn wake(&mut self, _: &Wake) {}

    fn batch(&mut self, at: At, batch: &Batch, _: &Stack) {
        let (category, what) = names_of(batch.slot, batch.push);
        self.event(at, category, what, &self.view.rings[batch.ring].name);
    }

    fn take(&mut self, at: At, ring: usize, event: &Event) {
        let Event::Take { slot, .. } = *event else { return };
        self.event(at, names_of(slot, true).0, "take", &self.view.rings[ring].name);
    }
}
