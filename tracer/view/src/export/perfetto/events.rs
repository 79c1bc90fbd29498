//! What is written when something happens.

use std::io::Write;

use tracer::format::{Event, Sent, Slot};

use super::super::words::names_of;
use super::field::event;
use super::{BEGIN, END, INSTANT, Perfetto, annotate, annotate_text, bell, flow};
use crate::crossing::{Batch, Crossing, Requests};
use crate::name::NameId;
use crate::stack::{Slice, Stack};
use crate::timeline::{At, Listener, Wake};

impl<W: Write> Listener for Perfetto<'_, '_, W> {
    #[inline]
    fn begin(&mut self, at: At, stack: &Stack) {
        self.flush_seen();
        let Some(frame) = stack.top() else { return };
        let number = frame.name.index() as u64 + 1;
        let arg = !self.view.names.get(frame.name).arg.is_empty() && !frame.older;
        self.event(at, |event| {
            event.number(event::CATEGORY, number);
            event.number(event::TYPE, BEGIN).number(event::NAME, number);
            if arg {
                event.message(event::ANNOTATION, |note| {
                    note.number(1, number).number(3, frame.arg.into());
                });
            }
        });
    }

    #[inline]
    fn end(&mut self, at: At, slice: &Slice, _: &Stack) {
        self.flush_seen();
        if slice.is_open() {
            return;
        }
        self.event(at, |event| {
            event.number(event::TYPE, END);
        });
    }

    fn mark(&mut self, at: At, name: NameId, arg: u32, counter: bool) {
        self.flush_seen();
        let number = name.index() as u64 + 1;
        if counter {
            let track = self.counter(self.view.threads[at.thread].process, name);
            return self.value(at.ns, track, arg.into());
        }
        self.event(at, |event| {
            event.number(event::CATEGORY, number);
            event.number(event::TYPE, INSTANT).number(event::NAME, number);
            event.message(event::ANNOTATION, |note| {
                note.number(1, number).number(3, arg.into());
            });
        });
    }

    fn full(&mut self, at: At, ring: usize, since: i64) {
        let track = self.lane(ring, since, at.ns);
        self.whole_event(since, track, |event| {
            event.number(event::TYPE, BEGIN).octets(event::NAME_TEXT, "ring full");
            event.octets(event::CATEGORY_TEXT, "ring.full");
        });
        self.whole_event(at.ns, track, |event| {
            event.number(event::TYPE, END);
        });
    }

    fn send(&mut self, at: At, channel: Option<usize>, sent: Sent, number: u64) {
        self.flush_seen();
        let of = channel.map_or("", |channel| &self.view.channel_names[channel]);
        self.event(at, |event| {
            event.number(event::TYPE, INSTANT).octets(event::NAME_TEXT, "notify");
            event.octets(event::CATEGORY_TEXT, "evtchn");
            if sent == Sent::Rung {
                event.fixed(event::FLOW, bell(number));
            }
            annotate_text(event, "of", of);
            annotate_text(
                event,
                "sent",
                match sent {
                    Sent::Rung => "rung",
                    Sent::Pending => "pending already",
                    Sent::Masked => "masked",
                },
            );
        });
    }

    fn receive(&mut self, at: At, channel: Option<usize>) {
        self.flush_seen();
        let of = channel.map_or("", |channel| &self.view.channel_names[channel]);
        // Its arrow, if there is one, is told next.
        self.event(at, |event| {
            event.number(event::TYPE, INSTANT).octets(event::NAME_TEXT, "notified");
            event.octets(event::CATEGORY_TEXT, "evtchn");
            annotate_text(event, "of", of);
        });
    }

    fn wake(&mut self, wake: &Wake) {
        self.arrows.wakes += 1;
        self.event(wake.received, |event| {
            event.number(event::TYPE, INSTANT).octets(event::NAME_TEXT, "woken");
            event.octets(event::CATEGORY_TEXT, "evtchn");
            event.fixed(event::FLOW_END, bell(wake.number));
        });
    }

    #[inline]
    fn batch(&mut self, at: At, batch: &Batch, _: &Stack) {
        self.flush_seen();
        self.occupancy(batch);
        if batch.push {
            let indices = batch.first..batch.first + u64::from(batch.count);
            let flows: Vec<u64> =
                indices.map(|index| flow(batch.ring, batch.slot, index)).collect();
            self.batch_event(at, batch, &flows);
        } else {
            self.seen = Some((at, *batch, Vec::with_capacity(batch.count as usize)));
        }
    }

    fn crossing(&mut self, crossing: &Crossing) {
        let count = u64::from(crossing.count);
        match crossing.slot {
            Slot::Request => self.arrows.requests += count,
            Slot::Response => self.arrows.responses += count,
        }
        if let Some((_, _, flows)) = &mut self.seen {
            let indices = crossing.first..crossing.first + count;
            flows.extend(indices.map(|index| flow(crossing.ring, crossing.slot, index)));
        }
    }

    fn requests(&mut self, requests: &Requests) {
        let (from, to) = (requests.stamps[0].at, requests.stamps[3].at);
        for index in requests.first..requests.first + u64::from(requests.count) {
            let track = self.lane(requests.ring, from, to);
            let name = &self.view.rings[requests.ring].name;
            self.whole_event(from, track, |event| {
                event.number(event::TYPE, BEGIN).octets(event::NAME_TEXT, name);
                event.octets(event::CATEGORY_TEXT, "request");
                annotate(event, "index", index & 0xffff_ffff);
            });
            self.whole_event(to, track, |event| {
                event.number(event::TYPE, END);
            });
        }
    }

    fn take(&mut self, at: At, ring: usize, taken: &Event) {
        let Event::Take { slot, index, .. } = *taken else { return };
        self.flush_seen();
        let of = &self.view.rings[ring].name;
        self.event(at, |event| {
            event.number(event::TYPE, INSTANT).octets(event::NAME_TEXT, "take");
            event.octets(event::CATEGORY_TEXT, names_of(slot, true).0);
            annotate_text(event, "of", of);
            annotate(event, "index", index.into());
        });
    }
}
