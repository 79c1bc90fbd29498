//! A listener told of what is selected alone.

use tracer::format::{Event, Sent};

use super::Selection;
use crate::crossing::{Batch, Crossing, Requests};
use crate::name::NameId;
use crate::stack::{Slice, Stack};
use crate::timeline::{At, Listener, Wake};

/// Tells another listener of what is selected, and of nothing else.
pub(crate) struct Selected<'s, L> {
    pub(crate) selection: &'s Selection,
    pub(crate) to: L,
}

impl<L: Listener> Listener for Selected<'_, L> {
    #[inline]
    fn shows(&self, thread: usize, record: usize) -> bool {
        self.selection.shows(thread, record)
    }

    #[inline]
    fn begin(&mut self, at: At, stack: &Stack) {
        if stack.top().is_some_and(|top| top.shown) {
            self.to.begin(at, stack);
        }
    }

    #[inline]
    fn end(&mut self, at: At, slice: &Slice, stack: &Stack) {
        if slice.frame.shown {
            self.to.end(at, slice, stack);
        }
    }

    fn mark(&mut self, at: At, name: NameId, arg: u32, counter: bool) {
        if self.selection.shows_at(at.ns) {
            self.to.mark(at, name, arg, counter);
        }
    }

    fn full(&mut self, at: At, ring: usize, since: i64) {
        if self.selection.overlaps(since, at.ns) {
            self.to.full(at, ring, since);
        }
    }

    fn send(&mut self, at: At, channel: Option<usize>, sent: Sent, number: u64) {
        if self.selection.shows_at(at.ns) {
            self.to.send(at, channel, sent, number);
        }
    }

    fn receive(&mut self, at: At, channel: Option<usize>) {
        if self.selection.shows_at(at.ns) {
            self.to.receive(at, channel);
        }
    }

    fn wake(&mut self, wake: &Wake) {
        if self.selection.shows_at(wake.rung.ns) && self.selection.shows_at(wake.received.ns) {
            self.to.wake(wake);
        }
    }

    #[inline]
    fn batch(&mut self, at: At, batch: &Batch, stack: &Stack) {
        if self.selection.shows_at(at.ns) {
            self.to.batch(at, batch, stack);
        }
    }

    #[inline]
    fn crossing(&mut self, crossing: &Crossing) {
        if !self.selection.shows_crossing(crossing) {
            return;
        }
        if self.selection.requests.is_empty() {
            return self.to.crossing(crossing);
        }
        let Crossing { ring, first, count, .. } = *crossing;
        for first in self.selection.chosen(ring, first, count) {
            self.to.crossing(&Crossing { first, count: 1, ..*crossing });
        }
    }

    #[inline]
    fn requests(&mut self, requests: &Requests) {
        if !self.selection.shows_lane(requests) {
            return;
        }
        if self.selection.requests.is_empty() {
            return self.to.requests(requests);
        }
        let Requests { ring, first, count, .. } = *requests;
        for first in self.selection.chosen(ring, first, count) {
            self.to.requests(&Requests { first, count: 1, ..*requests });
        }
    }

    fn pause(&mut self, off: i64, on: i64) {
        self.to.pause(off, on);
    }

    fn take(&mut self, at: At, ring: usize, event: &Event) {
        if self.selection.shows_at(at.ns) {
            self.to.take(at, ring, event);
        }
    }
}
