//! Chrome's JSON, as Perfetto reads it.
//!
//! What its importer wants, and what is done for it:
//!
//! * Times are microseconds since the start of the trace with exactly three decimals: a double keeps them.
//! * Closed slices are one `X`, written when they end; those that never ended are a `B` without an `E`.
//! * An arrow goes from the slice that is innermost at an `s` to the one at its `f`: each batch is an
//!   instant of its own, which is both, so that arrows hang on nothing else.
//! * An arrow's identity is category, name and id: `ring.req`, the ring's name, and the slot's index,
//!   which both sides know and which never comes again.
//! * An arrow is written when both its ends are known, sender first; never one without the other.

mod pieces;

use std::io::{self, Write};

use tracer::format::{Event, NoteKind, Sent, Slot};

use super::Arrows;
use super::in_flight::InFlight;
use super::text::{Piece, Text, json};
use super::words::level;
use crate::crossing::{Batch, Crossing, Requests};
use crate::name::NameId;
use crate::report::numbers::duration;
use crate::selection::Selection;
use crate::stack::{How, Slice, Stack};
use crate::timeline::{At, Listener, Wake};
use crate::view::View;
use pieces::OnRing;

/// Writes a trace as JSON while it is played.
pub(crate) struct Json<'v, 'a, W> {
    view: &'v View<'a>,
    out: Text<W>,
    /// Of each name, thread and ring.
    names: Vec<pieces::Name>,
    threads: Vec<Piece>,
    rings: Vec<OnRing>,
    /// `,"args":{"of":"vif1.0-q0-tx"`, of each event channel.
    channels: Vec<Piece>,
    /// Of the event channel that nobody knows.
    no_channel: Piece,
    notify: Piece,
    notified: Piece,
    in_flight: InFlight,
    lanes: u64,
    /// Arrows written.
    pub(crate) arrows: Arrows,
}

impl<'v, 'a, W: Write> Json<'v, 'a, W> {
    /// Begins with who is who.
    pub(crate) fn new(view: &'v View<'a>, to: W, selection: &Selection) -> Self {
        let of = |channel: &str| Piece::new(&[b",\"args\":{\"of\":", &json(channel)]);
        let mut made = Self {
            view,
            out: Text::new(to),
            names: view.names.iter().map(pieces::Name::new).collect(),
            threads: view.threads.iter().map(pieces::thread).collect(),
            rings: view.rings.iter().map(|ring| OnRing::new(view, ring)).collect(),
            channels: view.channel_names.iter().map(|name| of(name)).collect(),
            no_channel: of(""),
            notify: pieces::instant("notify", "evtchn"),
            notified: pieces::instant("notified", "evtchn"),
            in_flight: InFlight::new(view.rings.len(), selection.values_every),
            lanes: 0,
            arrows: Arrows::default(),
        };
        made.header();
        made
    }

    fn header(&mut self) {
        self.out.raw(b"{\"displayTimeUnit\":\"ns\",\"otherData\":{");
        for (n, (name, value)) in self.view.run.iter().enumerate() {
            self.out.raw(if n == 0 { "" } else { "," }).string(name).raw(b":").string(value);
        }
        self.out.raw(b"},\"traceEvents\":[\n");
        for (order, process) in self.view.processes.iter().enumerate() {
            let pid = process.pid;
            self.meta("process_name", pid, pid).raw(b"\"name\":").string(&process.title);
            self.out.raw(b"}},\n");
            self.meta("process_sort_index", pid, pid).raw(b"\"sort_index\":").number(order as u64);
            self.out.raw(b"}},\n");
        }
        for (order, thread) in self.view.threads.iter().enumerate() {
            let (pid, tid) = (thread.pid, thread.tid);
            self.meta("thread_name", pid, tid).raw(b"\"name\":").string(&thread.name);
            self.out.raw(b"}},\n");
            self.meta("thread_sort_index", pid, tid).raw(b"\"sort_index\":").number(order as u64);
            self.out.raw(b"}},\n");
        }
    }

    fn meta(&mut self, what: &str, pid: u32, tid: u32) -> &mut Text<W> {
        self.out.raw(b"{\"ph\":\"M\",\"name\":\"").raw(what).raw(b"\",\"pid\":").number(pid.into());
        self.out.raw(b",\"tid\":").number(tid.into()).raw(b",\"args\":{")
    }

    /// Ends with the words of the journals.
    pub(crate) fn finish(mut self, selection: &Selection) -> io::Result<(W, u64, Arrows)> {
        for at in 0..self.view.notes.len() {
            if selection.shows_at(self.view.notes[at].at) {
                self.note(at);
            }
        }
        // So that there is no comma before the bracket.
        self.out.raw(b"{\"ph\":\"M\",\"name\":\"trace\",\"pid\":0,\"tid\":0,\"args\":{}}\n]}\n");
        let arrows = self.arrows;
        let (to, octets) = self.out.finish()?;
        Ok((to, octets, arrows))
    }

    fn note(&mut self, at: usize) {
        let said = &self.view.notes[at];
        let note = &said.note;
        let kind = match note.kind {
            NoteKind::Event => b"i",
            NoteKind::Begin => b"B",
            NoteKind::End => b"E",
        };
        let out = &mut self.out;
        out.raw(b"{\"ph\":\"").raw(kind).raw(b"\",\"s\":\"t\",\"name\":").string(&note.words);
        out.raw(b",\"cat\":\"").raw(level(note.level)).raw(b"\",\"pid\":");
        out.number(self.view.processes[said.process].pid.into());
        out.raw(b",\"tid\":").number(note.tid.into()).raw(b",\"ts\":").micros(said.at);
        out.raw(b",\"args\":{\"target\":").string(&note.target);
        for (name, value) in &note.fields {
            out.raw(b",").string(name).raw(b":").string(value);
        }
        out.raw(b"}},\n");
    }

    /// `{"ph":"?",<name and category>,"pid":..,"tid":..,"ts":..`
    #[inline]
    fn begin_event(&mut self, phase: &[u8; 1], name: NameId, at: At) {
        self.out.raw(b"{\"ph\":\"").raw(phase).raw(b"\",").piece(&self.names[name.index()].what);
        self.out.piece(&self.threads[at.thread]).micros(at.ns);
    }

    /// How many requests of a ring are under way, as a track of its own.
    #[inline]
    fn occupancy(&mut self, batch: &Batch) {
        let Some(count) = self.in_flight.after(batch) else { return };
        let of = &self.rings[batch.ring];
        if !of.in_flight.is_empty() {
            self.out.piece(&of.in_flight).micros(batch.stamp.at);
            self.out.raw(b",\"args\":{\"in flight\":").number(count).raw(b"}},\n");
        }
    }
}

impl<W: Write> Listener for Json<'_, '_, W> {
    #[inline]
    fn end(&mut self, at: At, slice: &Slice, _: &Stack) {
        let frame = &slice.frame;
        if slice.is_open() {
            self.begin_event(b"B", frame.name, At { ns: frame.start, ..at });
        } else {
            let out = self.out.piece(&self.names[frame.name.index()].slice);
            out.piece(&self.threads[at.thread]).micros(frame.start);
            out.raw(b",\"dur\":").micros(slice.ns());
        }
        arguments(&mut self.out, slice, &self.names[frame.name.index()]);
        self.out.raw(b"},\n");
    }

    fn mark(&mut self, at: At, name: NameId, arg: u32, counter: bool) {
        if counter {
            self.begin_event(b"C", name, at);
            self.out.raw(b",\"args\":{\"value\":").number(arg.into()).raw(b"}},\n");
        } else {
            self.begin_event(b"i", name, at);
            self.out.raw(b",\"s\":\"t\"");
            let what = &self.names[name.index()].arg;
            match what.is_empty() {
                true => self.out.raw(b",\"args\":{\"arg\":"),
                false => self.out.piece(what),
            };
            self.out.number(arg.into()).raw(b"}},\n");
        }
    }

    fn full(&mut self, at: At, ring: usize, since: i64) {
        self.lanes += 1;
        let pid = self.view.threads[at.thread].pid;
        for (phase, ns) in [(b"b", since), (b"e", at.ns)] {
            let out = &mut self.out;
            out.raw(b"{\"ph\":\"")
                .raw(phase)
                .raw(b"\",\"cat\":\"ring.full\",\"name\":\"ring full\"");
            out.raw(b",\"id\":").number(self.lanes).raw(b",\"pid\":").number(pid.into());
            out.raw(b",\"ts\":")
                .micros(ns)
                .raw(b",\"args\":{\"ring\":")
                .raw(&self.rings[ring].name);
            out.raw(b"}},\n");
        }
    }

    fn send(&mut self, at: At, channel: Option<usize>, sent: Sent, _: u64) {
        let what = match sent {
            Sent::Rung => "\"rung\"",
            Sent::Pending => "\"pending already\"",
            Sent::Masked => "\"masked\"",
        };
        self.out.piece(&self.notify).piece(&self.threads[at.thread]).micros(at.ns);
        let of = channel.map_or(&self.no_channel, |channel| &self.channels[channel]);
        self.out.piece(of).raw(b",\"sent\":").raw(what).raw(b"}},\n");
    }

    fn receive(&mut self, at: At, channel: Option<usize>) {
        self.out.piece(&self.notified).piece(&self.threads[at.thread]).micros(at.ns);
        let of = channel.map_or(&self.no_channel, |channel| &self.channels[channel]);
        self.out.piece(of).raw(b"}},\n");
    }

    fn wake(&mut self, wake: &Wake) {
        for (phase, at) in [("s", wake.rung), ("f\",\"bp\":\"e", wake.received)] {
            let out = &mut self.out;
            out.raw(b"{\"ph\":\"").raw(phase).raw(b"\",\"cat\":\"evtchn\",\"name\":\"doorbell\"");
            out.raw(b",\"id\":").number(wake.number).piece(&self.threads[at.thread]).micros(at.ns);
            out.raw(b"},\n");
        }
        self.arrows.wakes += 1;
    }

    #[inline]
    fn batch(&mut self, at: At, batch: &Batch, _: &Stack) {
        let ring = &self.rings[batch.ring];
        let head = &ring.side(batch.slot).batch[usize::from(batch.push)];
        let out = self.out.piece(head).piece(&self.threads[at.thread]).micros(at.ns);
        out.piece(&ring.of).raw(b",\"first\":").number(batch.first & 0xffff_ffff);
        out.raw(b",\"count\":").number(batch.count.into());
        if batch.push {
            out.raw(b",\"notify\":").raw(if batch.notify { "true" } else { "false" });
        }
        out.raw(b"}},\n");
        self.occupancy(batch);
    }

    #[inline]
    fn crossing(&mut self, crossing: &Crossing) {
        let count = u64::from(crossing.count);
        match crossing.slot {
            Slot::Request => self.arrows.requests += count,
            Slot::Response => self.arrows.responses += count,
        }
        let ends = [crossing.sent, crossing.seen].map(|stamp| (stamp.thread, stamp.at));
        let heads = &self.rings[crossing.ring].side(crossing.slot).arrow;
        for id in crossing.first..crossing.first + count {
            for (head, (thread, ns)) in heads.iter().zip(ends) {
                let out = self.out.piece(head).number(id);
                out.piece(&self.threads[thread]).micros(ns).raw(b"},\n");
            }
        }
    }

    fn requests(&mut self, requests: &Requests) {
        let [pushed, seen, answered, done] = requests.stamps;
        let ring = &self.rings[requests.ring];
        for index in requests.first..requests.first + u64::from(requests.count) {
            self.lanes += 1;
            let out = self.out.piece(&ring.lane[0]).number(self.lanes);
            out.piece(&ring.front).micros(pushed.at);
            out.raw(b",\"args\":{\"index\":").number(index & 0xffff_ffff);
            out.raw(b",\"request on the ring (us)\":").micros(seen.at - pushed.at);
            out.raw(b",\"at the backend (us)\":").micros(answered.at - seen.at);
            out.raw(b",\"response on the ring (us)\":").micros(done.at - answered.at).raw(b"}},\n");
            let out = self.out.piece(&ring.lane[1]).number(self.lanes);
            out.piece(&ring.front).micros(done.at).raw(b"},\n");
        }
    }

    fn take(&mut self, at: At, ring: usize, event: &Event) {
        let Event::Take { slot, index, .. } = *event else { return };
        let ring = &self.rings[ring];
        let out = self.out.piece(&ring.side(slot).take).piece(&self.threads[at.thread]);
        out.micros(at.ns).piece(&ring.of).raw(b",\"index\":").number(index.into()).raw(b"}},\n");
    }
}

/// What is to be known of a slice beside its name and its time.
#[inline]
fn arguments<W: Write>(out: &mut Text<W>, slice: &Slice, name: &pieces::Name) {
    let frame = &slice.frame;
    let has_arg = !name.arg.is_empty() && !frame.older;
    let has_result = !name.result.is_empty() && !slice.is_open();
    let strange = frame.older || !matches!(slice.how, How::Returned | How::Tail);
    if has_arg {
        out.piece(&name.arg).number(frame.arg.into());
    }
    if has_result {
        separate(out, !has_arg).piece(&name.result).number(slice.result.into());
    }
    if frame.hidden > 0 || strange {
        notes(out, slice, !(has_arg || has_result));
    } else if has_arg || has_result {
        out.raw(b"}");
    }
}

/// What stands before an argument.
#[inline]
fn separate<W: Write>(out: &mut Text<W>, first: bool) -> &mut Text<W> {
    if first { out.raw(b",\"args\":{") } else { out.raw(b",") }
}

/// What is said of few slices, and the bracket after it.
#[cold]
fn notes<W: Write>(out: &mut Text<W>, slice: &Slice, mut first: bool) {
    let frame = &slice.frame;
    if frame.hidden > 0 {
        let text = format!("{} calls, {}", frame.hidden, duration(frame.hidden_ns));
        separate(out, first).raw(b"\"left out\":\"").raw(text).raw(b"\"");
        first = false;
    }
    let note = match slice.how {
        _ if frame.older => "began before the first record",
        How::Unwound => "unwound",
        How::Inferred => "end inferred",
        How::Open => "never ended",
        How::Returned | How::Tail => "",
    };
    if !note.is_empty() {
        separate(out, first).raw(b"\"note\":\"").raw(note).raw(b"\"");
    }
    out.raw(b"}");
}
