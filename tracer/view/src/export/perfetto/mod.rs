//! Perfetto's own format: a sequence of packets, each thread a sequence of its own with its names said
//! once and its times told as differences.
//!
//! Arrows are ids on the batches themselves: a push has one for each of its slots, and what sees the
//! slots ends them. Requests' lanes are on a sequence of their own with whole times, because they are
//! known only when they end.

mod events;
mod field;

use std::collections::HashMap;
use std::io::{self, Write};

use tracer::format::{NoteKind, Slot};

use field::{event, packet, track};

use super::in_flight::InFlight;
use super::proto::Message;
use super::text::Text;
use super::words::{level, names_of};
use crate::crossing::Batch;
use crate::name::NameId;
use crate::selection::Selection;
use crate::timeline::At;
use crate::view::View;

/// The time that is called 0 everywhere else: what happened before is to be seen too. Nanoseconds.
const ORIGIN: u64 = 10_000_000_000;
/// A clock of the sequence's own that counts in differences, and Perfetto's BOOTTIME.
const DIFFERENCES: u64 = 64;
const BOOTTIME: u64 = 6;

/// `TrackEvent.Type`.
const BEGIN: u64 = 1;
const END: u64 = 2;
const INSTANT: u64 = 3;
const COUNTER: u64 = 4;

/// Writes a trace as packets while it is played.
pub(crate) struct Perfetto<'v, 'a, W> {
    view: &'v View<'a>,
    out: Text<W>,
    /// For each thread: the time of its last packet.
    last: Vec<u64>,
    /// What is seen waits for the arrows that end there.
    seen: Option<(At, Batch, Vec<u64>)>,
    /// For each ring: tracks of lanes, and until when each is taken.
    lanes: Vec<Vec<(u64, i64)>>,
    tracks: u64,
    in_flight: InFlight,
    /// Tracks of counters, by process and name.
    counters: HashMap<(usize, NameId), u64>,
    /// One packet, reused.
    packet: Message,
    pub(crate) arrows: super::Arrows,
}

/// The track above all others: nothing happens on it.
const ROOT: u64 = 0;

/// Numbers of tracks.
fn process_track(process: usize) -> u64 {
    1 + process as u64
}

fn thread_track(thread: usize) -> u64 {
    (1 << 20) + thread as u64
}

fn ring_track(ring: usize) -> u64 {
    (2 << 20) + ring as u64
}

/// What the lanes of a ring's requests are under: Perfetto shows it as one row, until it is opened.
fn requests_track(ring: usize) -> u64 {
    (3 << 20) + ring as u64
}

fn note_track(tid: u32) -> u64 {
    (1 << 40) + u64::from(tid)
}

/// The first track of a counter.
const COUNTERS: u64 = 1 << 41;

/// The sequence of what has whole times.
const WHOLE_TIMES: u64 = 1 << 20;

fn boottime(ns: i64) -> u64 {
    ORIGIN.saturating_add_signed(ns)
}

impl<'v, 'a, W: Write> Perfetto<'v, 'a, W> {
    pub(crate) fn new(view: &'v View<'a>, to: W, selection: &Selection) -> Self {
        let mut made = Self {
            view,
            out: Text::new(to),
            last: vec![ORIGIN; view.threads.len()],
            seen: None,
            lanes: vec![Vec::new(); view.rings.len()],
            tracks: 0,
            in_flight: InFlight::new(view.rings.len(), selection.values_every),
            counters: HashMap::new(),
            packet: Message::default(),
            arrows: super::Arrows::default(),
        };
        made.describe();
        made
    }

    fn write(&mut self, fill: impl FnOnce(&mut Message)) {
        let mut packet = std::mem::take(&mut self.packet);
        packet.0.clear();
        fill(&mut packet);
        let mut head = Message::default();
        head.octets(field::PACKET, []);
        // The tag, then the length in place of the empty one.
        self.out.raw(&head.0[..1]);
        let mut length = packet.0.len();
        while length > 0x7f {
            self.out.raw([0x80 | u8::try_from(length & 0x7f).unwrap_or(0)]);
            length >>= 7;
        }
        self.out.raw([u8::try_from(length).unwrap_or(0)]).raw(&packet.0);
        self.packet = packet;
    }

    /// Who is who.
    fn describe(&mut self) {
        let view = self.view;
        // A Perfetto that knows nothing of this (the order came in June 2026) puts first what has most events.
        self.track(ROOT, None, |root| {
            root.number(track::RANKED_PROCESSES, 1).number(track::RANKED_THREADS, 1);
        });
        for (at, process) in view.processes.iter().enumerate() {
            self.track(process_track(at), None, |to| {
                to.message(3, |of| {
                    of.number(1, process.pid.into()).octets(6, &process.title);
                });
                to.number(track::RANK, at as u64);
            });
        }
        for (at, thread) in view.threads.iter().enumerate() {
            let parent = process_track(thread.process);
            self.track(thread_track(at), Some(parent), |to| {
                to.message(4, |of| {
                    of.number(1, thread.pid.into()).number(2, thread.tid.into());
                    of.octets(5, &thread.name);
                });
                to.number(track::RANK, at as u64);
            });
            self.sequence(at as u64 + 1, thread_track(at));
        }
        for (at, ring) in view.rings.iter().enumerate() {
            let parent = ring.front.map(process_track);
            self.track(ring_track(at), parent, |track| {
                track.octets(2, format!("{} in flight", ring.name)).message(8, |_| {});
            });
            self.track(requests_track(at), parent, |track| {
                track.octets(2, format!("{} requests", ring.name));
            });
        }
    }

    fn track(&mut self, uuid: u64, parent: Option<u64>, fill: impl FnOnce(&mut Message)) {
        self.write(|packet| {
            packet.number(packet::SEQUENCE, WHOLE_TIMES).message(packet::TRACK, |track| {
                track.number(1, uuid);
                if let Some(parent) = parent {
                    track.number(5, parent);
                }
                fill(track);
            });
        });
    }

    /// A thread's sequence: its clock, its track, all names.
    fn sequence(&mut self, sequence: u64, track: u64) {
        let names = &self.view.names;
        self.write(|packet| {
            packet.number(packet::SEQUENCE, sequence).number(packet::FLAGS, 1);
            packet.message(packet::CLOCK_SNAPSHOT, |snapshot| {
                snapshot.message(1, |clock| {
                    clock.number(1, DIFFERENCES).number(2, ORIGIN).number(3, 1);
                });
                snapshot.message(1, |clock| {
                    clock.number(1, BOOTTIME).number(2, ORIGIN);
                });
            });
            packet.message(packet::DEFAULTS, |defaults| {
                defaults.number(packet::CLOCK, DIFFERENCES);
                defaults.message(event::TRACK, |event| {
                    event.number(event::TRACK, track);
                });
            });
            packet.message(packet::INTERNED, |interned| {
                for (n, name) in names.iter().enumerate() {
                    let mut intern = |field, text: &str| {
                        interned.message(field, |entry| {
                            entry.number(1, n as u64 + 1).octets(2, text);
                        });
                    };
                    intern(1, &name.category);
                    intern(2, &name.text);
                    intern(3, if name.arg.is_empty() { "arg" } else { &name.arg });
                }
            });
        });
    }

    /// An event of a thread, at its time.
    #[inline]
    fn event(&mut self, at: At, fill: impl FnOnce(&mut Message)) {
        let now = boottime(at.ns).max(self.last[at.thread]);
        let since = now - self.last[at.thread];
        self.last[at.thread] = now;
        self.write(|packet| {
            packet.number(packet::TIMESTAMP, since);
            packet.number(packet::SEQUENCE, at.thread as u64 + 1);
            packet.number(packet::FLAGS, 2).message(packet::EVENT, fill);
        });
    }

    /// An event with a whole time, on a track of its own.
    fn whole_event(&mut self, ns: i64, track: u64, fill: impl FnOnce(&mut Message)) {
        self.write(|packet| {
            packet.number(packet::TIMESTAMP, boottime(ns)).number(packet::CLOCK, BOOTTIME);
            packet.number(packet::SEQUENCE, WHOLE_TIMES).message(packet::EVENT, |event| {
                event.number(event::TRACK, track);
                fill(event);
            });
        });
    }

    fn batch_event(&mut self, at: At, batch: &Batch, flows: &[u64]) {
        let ring = &self.view.rings[batch.ring].name;
        let (category, name) = names_of(batch.slot, batch.push);
        self.event(at, |event| {
            event.number(event::TYPE, INSTANT).octets(event::NAME_TEXT, name);
            event.octets(event::CATEGORY_TEXT, category);
            for &flow in flows {
                event.fixed(if batch.push { event::FLOW } else { event::FLOW_END }, flow);
            }
            annotate_text(event, "of", ring);
            annotate(event, "first", batch.first & 0xffff_ffff);
            annotate(event, "count", batch.count.into());
        });
    }

    /// Writes what was seen, once its arrows are known.
    #[inline]
    fn flush_seen(&mut self) {
        if let Some((at, batch, flows)) = self.seen.take() {
            self.batch_event(at, &batch, &flows);
        }
    }

    fn occupancy(&mut self, batch: &Batch) {
        if let Some(count) = self.in_flight.after(batch) {
            self.value(batch.stamp.at, ring_track(batch.ring), count);
        }
    }

    /// What a counter is from now on.
    fn value(&mut self, ns: i64, track: u64, value: u64) {
        self.whole_event(ns, track, |event| {
            event.number(event::TYPE, COUNTER).number(event::VALUE, value);
        });
    }

    /// The track of a process's counter, called as it is in JSON.
    fn counter(&mut self, process: usize, name: NameId) -> u64 {
        let next = COUNTERS + self.counters.len() as u64;
        let track = *self.counters.entry((process, name)).or_insert(next);
        if track == next {
            let text = format!("{} value", self.view.names.get(name).text);
            self.track(track, Some(process_track(process)), |track| {
                track.octets(2, text).message(8, |_| {});
            });
        }
        track
    }

    /// A track on which nothing is at that time.
    fn lane(&mut self, ring: usize, from: i64, to: i64) -> u64 {
        if let Some(free) = self.lanes[ring].iter_mut().find(|(_, until)| *until <= from) {
            free.1 = to;
            return free.0;
        }
        self.tracks += 1;
        let uuid = (1 << 50) + self.tracks;
        self.lanes[ring].push((uuid, to));
        let name = &self.view.rings[ring].name;
        self.track(uuid, Some(requests_track(ring)), |track| {
            track.octets(2, name);
        });
        uuid
    }

    pub(crate) fn finish(mut self, selection: &Selection) -> io::Result<(W, u64, super::Arrows)> {
        self.flush_seen();
        self.notes(selection);
        let arrows = self.arrows;
        let (to, octets) = self.out.finish()?;
        Ok((to, octets, arrows))
    }

    /// Words. Who speaks may be a thread that recorded nothing else.
    fn notes(&mut self, selection: &Selection) {
        let mut described = Vec::new();
        for at in 0..self.view.notes.len() {
            let said = &self.view.notes[at];
            let (note, process) = (&said.note, &self.view.processes[said.process]);
            if !selection.shows_at(said.at) {
                continue;
            }
            let known = self
                .view
                .threads
                .iter()
                .position(|thread| thread.tid == note.tid && thread.process == said.process);
            let track = known.map_or_else(|| note_track(note.tid), thread_track);
            if known.is_none() && !described.contains(&track) {
                described.push(track);
                self.track(track, Some(process_track(said.process)), |track| {
                    track.message(4, |of| {
                        of.number(1, process.pid.into()).number(2, note.tid.into());
                    });
                });
            }
            let kind = match note.kind {
                NoteKind::Event => INSTANT,
                NoteKind::Begin => BEGIN,
                NoteKind::End => END,
            };
            self.whole_event(said.at, track, |event| {
                event.number(event::TYPE, kind).octets(event::NAME_TEXT, &note.words);
                event.octets(event::CATEGORY_TEXT, level(note.level));
                annotate_text(event, "target", &note.target);
                for (name, value) in &note.fields {
                    annotate_text(event, name, value);
                }
            });
        }
    }
}

fn annotate(event: &mut Message, name: &str, value: u64) {
    event.message(event::ANNOTATION, |note| {
        note.octets(10, name).number(3, value);
    });
}

fn annotate_text(event: &mut Message, name: &str, value: &str) {
    event.message(event::ANNOTATION, |note| {
        note.octets(10, name).octets(6, value);
    });
}

/// An arrow's id: the same on both sides, and nowhere else.
fn flow(ring: usize, slot: Slot, index: u64) -> u64 {
    let kind = u64::from(slot == Slot::Response);
    ((ring as u64 + 1) << 1 | kind) << 44 | index & ((1 << 44) - 1)
}

/// The id of a doorbell's arrow.
fn bell(number: u64) -> u64 {
    1 << 63 | number
}
