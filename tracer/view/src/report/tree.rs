//! `pvlab trace tree`: the calls of all threads as indented text, in the order of time.
//!
//! A line is written when a call begins, and says already how long it lasts: a first pass has noted
//! that. What has nothing inside is one line, the same again and again is one line with a number.

use std::collections::VecDeque;
use std::io::{self, Write};

use tracer::format::{Sent, Slot};

use super::numbers::duration;
use super::paint::{Ink, Paint};
use super::top::side;
use crate::crossing::Batch;
use crate::export::Trouble;
use crate::name::NameId;
use crate::selection::{Filter, Selected, Selection};
use crate::stack::{How, Slice, Stack};
use crate::timeline::{At, Listener, play};
use crate::view::{Said, View};

/// Writes the tree of what `filter` selects.
///
/// # Errors
/// If the filter names what is not there, or as writing to `to`.
pub fn tree<W: Write>(
    view: &View<'_>,
    filter: &Filter,
    paint: Paint,
    to: &mut W,
) -> Result<(), Trouble> {
    let selection = Selection::new(view, filter)?;
    let threads = view.threads.len();
    let mut ends = Selected { selection: &selection, to: Ends::new(threads) };
    play(view, &mut ends);
    let mut bases = Bases(vec![None; view.rings.len()]);
    play(view, &mut bases);
    let mut tree = Tree::new(view, ends.to.all, paint, to);
    tree.bases = bases.0;
    tree.inside_calls = !filter.only.is_empty();
    if !tree.inside_calls {
        tree.notes = view.notes.iter().filter(|said| selection.shows_at(said.at)).collect();
    }
    tree.header();
    let mut tree = Selected { selection: &selection, to: tree };
    play(view, &mut tree);
    let mut tree = tree.to;
    tree.notes_until(i64::MAX);
    tree.flush();
    Ok(tree.failed.map_or(Ok(()), Err)?)
}

/// The index of each ring's first request, whether it is shown or not.
struct Bases(Vec<Option<u64>>);

impl Listener for Bases {
    fn batch(&mut self, _: At, batch: &Batch, _: &Stack) {
        self.0[batch.ring].get_or_insert(batch.first);
    }
}

/// What is to be known of a call when it begins.
#[derive(Debug, Clone, Copy)]
struct End {
    ns: i64,
    how: How,
    /// Lines stand inside.
    branches: bool,
}

/// The first pass: for each thread, the ends of its shown calls in the order of their beginnings.
struct Ends {
    all: Vec<Vec<End>>,
    open: Vec<Vec<usize>>,
}

impl Ends {
    fn new(threads: usize) -> Self {
        Self { all: vec![Vec::new(); threads], open: vec![Vec::new(); threads] }
    }

    fn branches(&mut self, thread: usize) {
        if let Some(&top) = self.open[thread].last() {
            self.all[thread][top].branches = true;
        }
    }
}

impl Listener for Ends {
    fn begin(&mut self, at: At, _: &Stack) {
        self.branches(at.thread);
        self.open[at.thread].push(self.all[at.thread].len());
        self.all[at.thread].push(End { ns: 0, how: How::Open, branches: false });
    }

    fn end(&mut self, at: At, slice: &Slice, _: &Stack) {
        if let Some(top) = self.open[at.thread].pop() {
            let end = &mut self.all[at.thread][top];
            (end.ns, end.how) = (slice.ns(), slice.how);
            end.branches |= slice.frame.hidden > 0;
        }
    }

    fn mark(&mut self, at: At, _: NameId, _: u32, _: bool) {
        self.branches(at.thread);
    }

    fn send(&mut self, at: At, _: Option<usize>, _: Sent, _: u64) {
        self.branches(at.thread);
    }

    fn receive(&mut self, at: At, _: Option<usize>) {
        self.branches(at.thread);
    }

    fn batch(&mut self, at: At, _: &Batch, _: &Stack) {
        self.branches(at.thread);
    }
}

/// A line that may yet become "the same, 32 times".
#[derive(Debug, Default)]
struct Waiting {
    at: i64,
    thread: usize,
    depth: usize,
    text: String,
    times: u32,
    ns: i64,
}

/// The second pass: writes.
struct Tree<'v, 'a, 'w, W> {
    view: &'v View<'a>,
    ends: Vec<std::vec::IntoIter<End>>,
    /// For each thread: whether each open shown call has a closing line.
    open: Vec<Vec<bool>>,
    labels: Vec<String>,
    width: usize,
    paint: Paint,
    waiting: Option<Waiting>,
    /// Certain calls were asked for: what happens outside of them is not shown.
    inside_calls: bool,
    /// Those that are not written yet.
    notes: VecDeque<&'v Said>,
    /// Index of each ring's first request.
    bases: Vec<Option<u64>>,
    to: &'w mut W,
    failed: Option<io::Error>,
}

impl<'v, 'a, 'w, W: Write> Tree<'v, 'a, 'w, W> {
    fn new(view: &'v View<'a>, ends: Vec<Vec<End>>, paint: Paint, to: &'w mut W) -> Self {
        let labels: Vec<String> = view.labels();
        Self {
            view,
            open: vec![Vec::new(); ends.len()],
            ends: ends.into_iter().map(Vec::into_iter).collect(),
            width: labels.iter().map(|label| label.chars().count()).max().unwrap_or(0),
            labels,
            paint,
            waiting: None,
            inside_calls: false,
            notes: VecDeque::new(),
            bases: Vec::new(),
            to,
            failed: None,
        }
    }

    fn header(&mut self) {
        let width = self.width;
        let head =
            format!("{:>15} {:>9}  {:<width$} | {}", "start (us)", "duration", "thread", "call");
        self.write(&self.paint.paint(Ink::Bold, &head));
    }

    fn write(&mut self, line: &str) {
        if self.failed.is_none() {
            self.failed = writeln!(self.to, "{line}").err();
        }
    }

    /// One line; what takes long is to be seen.
    fn line(&mut self, at: At, ns: Option<i64>, depth: usize, text: &str) {
        self.flush();
        self.notes_until(at.ns);
        let took = ns.map(duration).unwrap_or_default();
        self.write_line(at, &took, ns, depth, text);
    }

    fn write_line(&mut self, at: At, took: &str, ns: Option<i64>, depth: usize, text: &str) {
        let thread = &self.view.threads[at.thread];
        let took = match ns {
            Some(1_000_000..) => self.paint.paint(Ink::Hot, &format!("{took:>9}")),
            Some(100_000..) => self.paint.paint(Ink::Wait, &format!("{took:>9}")),
            _ => format!("{took:>9}"),
        };
        let width = self.width;
        let label = format!("{:<width$}", self.labels[at.thread]);
        let ink = side(&self.view.processes[thread.process].title);
        let label = self.paint.paint(ink, &label);
        let start = format!(
            "{}{}.{:03}",
            if at.ns < 0 { "-" } else { "" },
            at.ns.abs() / 1000,
            at.ns.abs() % 1000
        );
        let line = format!("{start:>15} {took}  {label} | {}{text}", "  ".repeat(depth));
        self.write(&line);
    }

    /// Writes the line that waited to be repeated.
    fn flush(&mut self) {
        let Some(line) = self.waiting.take() else { return };
        self.notes_until(line.at);
        let at = At { thread: line.thread, ns: line.at };
        let text = match line.times {
            1 => line.text,
            times => {
                format!("{}  {}", line.text, self.paint.paint(Ink::Dim, &format!("x {times}")))
            }
        };
        self.write_line(at, &duration(line.ns), Some(line.ns), line.depth, &text);
    }

    fn leaf(&mut self, at: At, ns: i64, depth: usize, text: String) {
        if let Some(line) = &mut self.waiting
            && (line.thread, line.depth) == (at.thread, depth)
            && line.text == text
        {
            line.times += 1;
            line.ns += ns;
            return;
        }
        self.flush();
        self.waiting = Some(Waiting { at: at.ns, thread: at.thread, depth, text, times: 1, ns });
    }

    /// Words that were said before this.
    fn notes_until(&mut self, ns: i64) {
        while let Some(said) = self.notes.front().copied().filter(|said| said.at <= ns) {
            self.notes.pop_front();
            let fields: Vec<String> =
                said.note.fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let text = format!("{} {}", said.note.words, fields.join(" "));
            let process = &self.view.processes[said.process];
            let width = self.width;
            let label = format!("{:<width$}", process.name);
            let label = self.paint.paint(side(&process.title), &label);
            let start = format!("{}.{:03}", said.at / 1000, said.at.abs() % 1000);
            let text = self.paint.paint(Ink::Dim, text.trim_end());
            self.write(&format!("{start:>15} {:>9}  {label} | * {text}", ""));
        }
    }

    fn event(&mut self, at: At, ink: Ink, text: &str) {
        let depth = self.open[at.thread].len();
        if self.inside_calls && depth == 0 {
            return;
        }
        let text = self.paint.paint(ink, text);
        self.line(at, None, depth, &text);
    }

    fn channel(&self, channel: Option<usize>) -> &'v str {
        channel.map_or("", |channel| &self.view.channel_names[channel])
    }
}

impl<W: Write> Listener for Tree<'_, '_, '_, W> {
    fn begin(&mut self, at: At, stack: &Stack) {
        let Some(frame) = stack.top() else { return };
        let Some(end) = self.ends[at.thread].next() else { return };
        let depth = self.open[at.thread].len();
        let name = self.view.names.get(frame.name);
        let mut text = name.text.clone();
        if name.category == "wait" {
            text = self.paint.paint(Ink::Wait, &text);
        }
        if !name.arg.is_empty() && !frame.older {
            text += &format!("({} {})", name.arg, frame.arg);
        }
        let open = end.how == How::Open;
        if end.branches {
            text += " {";
            self.line(at, (!open).then_some(end.ns), depth, &text);
        } else if open {
            text += &self.paint.paint(Ink::Hot, "  never ended");
            self.line(at, None, depth, &text);
        } else {
            self.leaf(at, end.ns, depth, text);
        }
        self.open[at.thread].push(end.branches);
    }

    fn end(&mut self, at: At, slice: &Slice, _: &Stack) {
        let frame = &slice.frame;
        if self.open[at.thread].pop() != Some(true) {
            return;
        }
        let depth = self.open[at.thread].len();
        if frame.hidden > 0 {
            let calls = if frame.hidden == 1 { "call" } else { "calls" };
            let text = format!("... {} {calls}, {}", frame.hidden, duration(frame.hidden_ns));
            let text = self.paint.paint(Ink::Dim, &text);
            self.line(at, None, depth + 1, &text);
        }
        let name = self.view.names.get(frame.name);
        let how = match slice.how {
            How::Open => "  never ended".to_owned(),
            How::Unwound => "  unwound".to_owned(),
            _ if !name.result.is_empty() => format!(" = {} {}", slice.result, name.result),
            _ => String::new(),
        };
        let text =
            format!("}}{how}  {}", self.paint.paint(Ink::Dim, &format!("/* {} */", name.text)));
        self.line(at, None, depth, &text);
    }

    fn mark(&mut self, at: At, name: NameId, arg: u32, counter: bool) {
        let name = self.view.names.get(name);
        let sign = if counter { " =" } else { "" };
        self.event(at, Ink::Bold, &format!("* {}{sign} {arg}", name.text));
    }

    fn full(&mut self, at: At, ring: usize, since: i64) {
        let took = duration(at.ns - since);
        let text = format!("! {} was full for {took}", self.view.rings[ring].name);
        self.event(at, Ink::Hot, &text);
    }

    fn send(&mut self, at: At, channel: Option<usize>, sent: Sent, _: u64) {
        let what = match sent {
            Sent::Rung => "rings the doorbell of",
            Sent::Pending => "finds pending:",
            Sent::Masked => "finds masked:",
        };
        self.event(at, Ink::Wait, &format!("~ {what} {}", self.channel(channel)));
    }

    fn receive(&mut self, at: At, channel: Option<usize>) {
        self.event(at, Ink::Wait, &format!("~ heard {}", self.channel(channel)));
    }

    fn batch(&mut self, at: At, batch: &Batch, _: &Stack) {
        let base = self.bases[batch.ring].unwrap_or(batch.first);
        let first = batch.first.wrapping_sub(base).cast_signed();
        let what = match (batch.slot, batch.count) {
            (Slot::Request, 1) => "request",
            (Slot::Request, _) => "requests",
            (Slot::Response, 1) => "response",
            (Slot::Response, _) => "responses",
        };
        let range = match batch.count {
            1 => format!("#{first}"),
            count => format!("#{first}-{}", first + i64::from(count) - 1),
        };
        let (sign, verb) = if batch.push { ("->", "pushes") } else { ("<-", "sees") };
        let ring = &self.view.rings[batch.ring].name;
        let notify = if batch.notify { ", to be told" } else { "" };
        let text = format!("{sign} {verb} {} {what} {range} on {ring}{notify}", batch.count);
        self.event(at, Ink::Ring, &text);
    }
}
