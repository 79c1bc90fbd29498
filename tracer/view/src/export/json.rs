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

use std::io::{self, Write};

use tracer::format::{Event, NoteKind, Sent, Slot};

use super::Arrows;
use super::in_flight::InFlight;
use super::text::{Text, json};
use super::words::{level, names_of};
use crate::crossing::{Batch, Crossing, Requests};
use crate::name::NameId;
use crate::report::numbers::duration;
use crate::selection::Selection;
use crate::stack::{How, Slice, Stack};
use crate::timeline::{At, Listener, Wake};
use crate::view::View;

/// Writes a trace as JSON while it is played.
pub(crate) struct Json<'v, 'a, W> {
    view: &'v View<'a>,
    out: Text<W>,
    /// `"name":"xmit","cat":"function"`, for each name.
    names: Vec<Vec<u8>>,
    /// `,"pid":7,"tid":8,"ts":`, for each thread.
    threads: Vec<Vec<u8>>,
    /// Quoted, for each ring.
    rings: Vec<Vec<u8>>,
    in_flight: InFlight,
    lanes: u64,
    /// Arrows written.
    pub(crate) arrows: Arrows,
}

impl<'v, 'a, W: Write> Json<'v, 'a, W> {
    /// Begins with who is who.
    pub(crate) fn new(view: &'v View<'a>, to: W, selection: &Selection) -> Self {
        let name = |name: &crate::name::Name| {
            let (text, category) = (json(&name.text), json(&name.category));
            [b"\"name\":".as_slice(), &text, b",\"cat\":", &category].concat()
        };
        let thread = |thread: &crate::view::Thread<'_>| {
            format!(",\"pid\":{},\"tid\":{},\"ts\":", thread.pid, thread.tid).into_bytes()
        };
        let mut made = Self {
            view,
            out: Text::new(to),
            names: view.names.iter().map(name).collect(),
            threads: view.threads.iter().map(thread).collect(),
            rings: view.rings.iter().map(|ring| json(&ring.name)).collect(),
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
        out.flush_if_full();
    }

    /// `{"ph":"?",<name and category>,"pid":..,"tid":..,"ts":..`
    #[inline]
    fn begin_event(&mut self, phase: &[u8], name: NameId, thread: usize, ns: i64) {
        self.out.raw(b"{\"ph\":\"").raw(phase).raw(b"\",").raw(&self.names[name.index()]);
        self.out.raw(&self.threads[thread]).micros(ns);
    }

    /// An instant of the thread's own: what an arrow hangs on.
    fn instant(&mut self, name: &str, category: &str, of: &[u8], at: At) -> &mut Text<W> {
        let out = &mut self.out;
        out.raw(b"{\"ph\":\"i\",\"s\":\"t\",\"name\":\"").raw(name).raw(b"\",\"cat\":\"");
        out.raw(category).raw(b"\"").raw(&self.threads[at.thread]).micros(at.ns);
        out.raw(b",\"args\":{\"of\":").raw(of)
    }

    /// One end of an arrow.
    #[inline]
    fn arrow_end(&mut self, phase: &[u8], arrow: &Arrow<'_>, at: At) {
        let out = &mut self.out;
        out.raw(b"{\"ph\":\"").raw(phase).raw(b"\",\"cat\":\"").raw(arrow.category);
        out.raw(b"\",\"name\":").raw(arrow.name).raw(b",\"id\":").number(arrow.id);
        out.raw(&self.threads[at.thread]).micros(at.ns).raw(b"},\n");
    }

    /// How many requests of a ring are under way, as a track of its own.
    fn occupancy(&mut self, batch: &Batch) {
        let Some(count) = self.in_flight.after(batch) else { return };
        let Some(process) = self.view.rings[batch.ring].front else { return };
        let out = &mut self.out;
        out.raw(b"{\"ph\":\"C\",\"name\":").raw(&self.rings[batch.ring]).raw(b",\"pid\":");
        out.number(self.view.processes[process].pid.into()).raw(b",\"ts\":").micros(batch.stamp.at);
        out.raw(b",\"args\":{\"in flight\":").number(count).raw(b"}},\n");
    }
}

/// What an arrow is known by.
struct Arrow<'n> {
    category: &'n [u8],
    /// Quoted.
    name: &'n [u8],
    id: u64,
}

impl<W: Write> Listener for Json<'_, '_, W> {
    #[inline]
    fn end(&mut self, at: At, slice: &Slice, _: &Stack) {
        let frame = &slice.frame;
        let open = slice.is_open();
        self.begin_event(if open { b"B" } else { b"X" }, frame.name, at.thread, frame.start);
        if !open {
            self.out.raw(b",\"dur\":").micros(slice.ns());
        }
        arguments(&mut self.out, slice, self.view);
        self.out.raw(b"},\n");
        self.out.flush_if_full();
    }

    fn mark(&mut self, at: At, name: NameId, arg: u32, counter: bool) {
        if counter {
            self.begin_event(b"C", name, at.thread, at.ns);
            self.out.raw(b",\"args\":{\"value\":").number(arg.into()).raw(b"}},\n");
        } else {
            self.begin_event(b"i", name, at.thread, at.ns);
            let what = match self.view.names.get(name).arg.as_str() {
                "" => "arg",
                what => what,
            };
            self.out.raw(b",\"s\":\"t\",\"args\":{").string(what).raw(b":").number(arg.into());
            self.out.raw(b"}},\n");
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
            out.raw(b",\"ts\":").micros(ns).raw(b",\"args\":{\"ring\":").raw(&self.rings[ring]);
            out.raw(b"}},\n");
        }
    }

    fn send(&mut self, at: At, channel: Option<usize>, sent: Sent, _: u64) {
        let what = match sent {
            Sent::Rung => "\"rung\"",
            Sent::Pending => "\"pending already\"",
            Sent::Masked => "\"masked\"",
        };
        let of = self.channel(channel);
        self.instant("notify", "evtchn", &of, at).raw(b",\"sent\":").raw(what).raw(b"}},\n");
    }

    fn receive(&mut self, at: At, channel: Option<usize>) {
        let of = self.channel(channel);
        self.instant("notified", "evtchn", &of, at).raw(b"}},\n");
    }

    fn wake(&mut self, wake: &Wake) {
        let arrow = Arrow { category: b"evtchn", name: b"\"doorbell\"", id: wake.number };
        self.arrow_end(b"s", &arrow, wake.rung);
        self.arrow_end(b"f\",\"bp\":\"e", &arrow, wake.received);
        self.arrows.wakes += 1;
    }

    #[inline]
    fn batch(&mut self, at: At, batch: &Batch, _: &Stack) {
        let (category, what) = names_of(batch.slot, batch.push);
        let ring = std::mem::take(&mut self.rings[batch.ring]);
        let out = self.instant(what, category, &ring, at);
        out.raw(b",\"first\":").number(batch.first & 0xffff_ffff);
        out.raw(b",\"count\":").number(batch.count.into());
        if batch.push {
            out.raw(if batch.notify { ",\"notify\":true" } else { ",\"notify\":false" });
        }
        out.raw(b"}},\n");
        self.rings[batch.ring] = ring;
        self.occupancy(batch);
        self.out.flush_if_full();
    }

    #[inline]
    fn crossing(&mut self, crossing: &Crossing) {
        let name = std::mem::take(&mut self.rings[crossing.ring]);
        let count = u64::from(crossing.count);
        let (category, _) = names_of(crossing.slot, true);
        match crossing.slot {
            Slot::Request => self.arrows.requests += count,
            Slot::Response => self.arrows.responses += count,
        }
        let (sent, seen) = (crossing.sent, crossing.seen);
        let to = At { thread: seen.thread, ns: seen.at };
        let mut from = At { thread: sent.thread, ns: sent.at };
        if to.ns < from.ns {
            self.arrows.backwards += count;
            from.ns = to.ns;
        }
        let mut ends = [from, to].map(|at| {
            let mut tail = Text::new(io::sink());
            tail.raw(&self.threads[at.thread]).micros(at.ns).raw(b"},\n");
            tail.into_octets()
        });
        let head = |phase: &str| {
            let head =
                format!("{{\"ph\":\"{phase}\",\"cat\":\"{category}\",\"name\":").into_bytes();
            [&head, name.as_slice(), b",\"id\":"].concat()
        };
        let heads = [head("s"), head("f\",\"bp\":\"e")];
        for id in crossing.first..crossing.first + count {
            for (head, tail) in heads.iter().zip(&mut ends) {
                self.out.raw(head).number(id).raw(tail);
            }
            self.out.flush_if_full();
        }
        self.rings[crossing.ring] = name;
    }

    fn requests(&mut self, requests: &Requests) {
        let [pushed, seen, answered, done] = requests.stamps;
        let front = self.view.rings[requests.ring].front.unwrap_or_default();
        let pid = self.view.processes[front].pid;
        for index in requests.first..requests.first + u64::from(requests.count) {
            self.lanes += 1;
            for (phase, ns) in [(b"b", pushed.at), (b"e", done.at)] {
                let out = &mut self.out;
                out.raw(b"{\"ph\":\"").raw(phase).raw(b"\",\"cat\":\"request\",\"name\":");
                out.raw(&self.rings[requests.ring]).raw(b",\"id\":").number(self.lanes);
                out.raw(b",\"pid\":").number(pid.into()).raw(b",\"ts\":").micros(ns);
                if phase == b"b" {
                    out.raw(b",\"args\":{\"index\":").number(index & 0xffff_ffff);
                    for (what, from, to) in [
                        ("request on the ring", pushed, seen),
                        ("at the backend", seen, answered),
                        ("response on the ring", answered, done),
                    ] {
                        out.raw(b",\"").raw(what).raw(b" (us)\":").micros(to.at - from.at);
                    }
                    out.raw(b"}");
                }
                out.raw(b"},\n");
            }
            self.out.flush_if_full();
        }
    }

    fn take(&mut self, at: At, ring: usize, event: &Event) {
        let Event::Take { slot, index, .. } = *event else { return };
        let name = std::mem::take(&mut self.rings[ring]);
        let (category, _) = names_of(slot, false);
        let out = self.instant("take", category, &name, at);
        out.raw(b",\"index\":").number(index.into()).raw(b"}},\n");
        self.rings[ring] = name;
    }
}

impl<W: Write> Json<'_, '_, W> {
    /// Quoted.
    fn channel(&self, channel: Option<usize>) -> Vec<u8> {
        json(channel.map_or("", |channel| &self.view.channel_names[channel]))
    }
}

/// What is to be known of a slice beside its name and its time.
#[inline]
fn arguments<W: Write>(out: &mut Text<W>, slice: &Slice, view: &View<'_>) {
    let frame = &slice.frame;
    let name = view.names.get(frame.name);
    let mut before: &[u8] = b",\"args\":{";
    if !name.arg.is_empty() && !frame.older {
        out.raw(before).string(&name.arg).raw(b":").number(frame.arg.into());
        before = b",";
    }
    if !name.result.is_empty() && !slice.is_open() {
        out.raw(before).string(&name.result).raw(b":").number(slice.result.into());
        before = b",";
    }
    if frame.hidden > 0 {
        let text = format!("{} calls, {}", frame.hidden, duration(frame.hidden_ns));
        out.raw(before).raw(b"\"left out\":\"").raw(text).raw(b"\"");
        before = b",";
    }
    let note = match slice.how {
        _ if frame.older => "began before the first record",
        How::Unwound => "unwound",
        How::Inferred => "end inferred",
        How::Open => "never ended",
        How::Returned | How::Tail => "",
    };
    if !note.is_empty() {
        out.raw(before).raw(b"\"note\":\"").raw(note).raw(b"\"");
        before = b",";
    }
    if before == b"," {
        out.raw(b"}");
    }
}
