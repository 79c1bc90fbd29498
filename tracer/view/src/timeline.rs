//! A trace played from beginning to end: whoever wants to know what happened is told, in the order of
//! time, by methods of [`Listener`]. One pass, and memory for what is open or under way alone.

mod listener;
mod older;

use std::collections::VecDeque;

use tracer::format::{Ended, Event, Sent};

use crate::crossing::{Backwards, Batch, Came, Traffic};
use crate::merge::{self, Merged};
use crate::stack::{Frame, How, Opener, Stack};
use crate::view::{Thread, View};
pub(crate) use listener::{At, Listener, Wake};

/// What could not be understood, or was not there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Defects {
    /// Exits without entries.
    pub(crate) orphans: u64,
    /// Slots seen that nobody pushed, as far as is recorded.
    pub(crate) unsent: u64,
    /// Slots that were pushed after they had been seen.
    pub(crate) backwards: Backwards,
    /// Records of kinds or numbers that nothing is known of.
    pub(crate) unknown: u64,
    /// All records.
    pub(crate) records: u64,
}

/// Plays a trace to a listener.
pub(crate) fn play(view: &View<'_>, listener: &mut impl Listener) -> Defects {
    let mut player = Player::new(view, listener);
    player.begin_older();
    merge::in_order(view, |merged| player.record(merged));
    player.finish()
}

/// One thread, as far as it has been played.
#[derive(Debug, Default)]
struct Playing {
    stack: Stack,
    now: i64,
    spins: bool,
    /// The function that is just ending with a call, by which the span in it has yet to say that it ends.
    leaving: Option<u32>,
    /// What is begun at the next switching on, and those after it: what turns out to have begun before.
    older: VecDeque<Vec<Opener>>,
    /// The number of the next of them: they go on behind the records.
    next_older: usize,
    /// Rings it found no room in, and since when.
    full: Vec<(usize, i64)>,
}

impl Playing {
    fn new(thread: &Thread<'_>) -> Self {
        Self { next_older: thread.records().len(), ..Self::default() }
    }
}

struct Player<'p, 'a, L> {
    view: &'p View<'a>,
    listener: &'p mut L,
    threads: Vec<Playing>,
    traffic: Traffic,
    came: Came,
    /// The last doorbell from each end of each channel that nobody has heard yet.
    rung: Vec<Vec<(At, u64)>>,
    sends: u64,
    /// Pauses that are behind.
    paused: usize,
    defects: Defects,
}

impl<'p, 'a, L: Listener> Player<'p, 'a, L> {
    fn new(view: &'p View<'a>, listener: &'p mut L) -> Self {
        Self {
            view,
            listener,
            threads: view.threads.iter().map(Playing::new).collect(),
            traffic: Traffic::new(view),
            came: Came::default(),
            rung: vec![Vec::new(); view.channels],
            sends: 0,
            paused: 0,
            defects: Defects::default(),
        }
    }

    /// Where the oldest records were overwritten, what had begun by then has its exits only: it is
    /// begun at the first record.
    fn begin_older(&mut self) {
        for thread in 0..self.threads.len() {
            let of = &self.view.threads[thread];
            let process = &self.view.processes[of.process];
            if of.overwritten == 0 && !process.instrumented {
                continue;
            }
            let Some(first) = of.records().next() else { continue };
            let ns = self.view.ns(process, first.ticks);
            self.threads[thread].now = ns;
            self.threads[thread].older =
                older::frames(of.records().map(|record| record.event())).into();
            self.open_older(At { thread, ns });
        }
    }

    fn open_older(&mut self, at: At) {
        for opener in self.threads[at.thread].older.pop_front().unwrap_or_default() {
            let number = self.threads[at.thread].next_older;
            self.threads[at.thread].next_older += 1;
            self.open(at, number, opener, 0);
        }
    }

    /// Recording was off for a while. Which functions were left in it nobody has told, nor what went over rings
    /// and channels.
    fn pause(&mut self, (off, on): (i64, i64)) {
        self.paused += 1;
        for thread in 0..self.threads.len() {
            let ns = self.threads[thread].now.max(off);
            self.suspend(At { thread, ns });
            self.threads[thread].full.clear();
        }
        self.traffic.forget(on - off);
        self.rung.iter_mut().for_each(Vec::clear);
        self.listener.pause(off, on);
    }

    /// Ends what need not be open any more when recording goes on.
    fn suspend(&mut self, at: At) {
        if std::mem::take(&mut self.threads[at.thread].spins) {
            self.close_top(at, 0, How::Returned);
        }
        let frames = self.threads[at.thread].stack.frames();
        let sure = older::sure(frames.iter().map(|frame| frame.opener));
        for _ in sure..frames.len() {
            self.close_top(at, 0, How::Inferred);
        }
    }

    #[inline]
    fn record(&mut self, merged: Merged) {
        let Merged { thread, number, ticks, record } = merged;
        let ns = self.view.time(ticks);
        while let Some(pause) = self.view.pauses.get(self.paused).filter(|pause| pause.1 <= ns) {
            self.pause(*pause);
        }
        let at = At { thread, ns };
        self.defects.records += 1;
        let playing = &mut self.threads[thread];
        let before = std::mem::replace(&mut playing.now, ns);
        if playing.spins && record.event() != Event::Resume {
            playing.spins = false;
            self.close_top(at, 0, How::Returned);
        }
        let (event, leaving) = (record.event(), self.threads[thread].leaving.take());
        if let Event::Exit { site, arg } = event {
            self.close(at, Opener::Site(site), arg, How::Returned);
        }
        if let Some(id) = leaving {
            self.close(at, Opener::Function(id), 0, How::Tail);
        }
        match event {
            Event::Exit { .. } => {}
            Event::Enter { site, arg } => self.open(at, number, Opener::Site(site), arg),
            Event::Spin { site } => {
                self.open(at, number, Opener::Spin, site);
                self.threads[thread].spins = true;
            }
            Event::FunctionEnter(id) => self.open(at, number, Opener::Function(id), 0),
            Event::FunctionExit(id) => self.close(at, Opener::Function(id), 0, How::Returned),
            Event::FunctionTail(id) => self.leave(at, id),
            Event::Resume => {
                self.suspend(At { ns: before, ..at });
                self.open_older(at);
            }
            Event::Called { stack, address } => self.called(at, number, stack, address),
            other => self.event(at, other),
        }
    }

    /// A function ends with a call. If that is the one by which a span in it says that it ends, that comes first.
    fn leave(&mut self, at: At, id: u32) {
        match self.threads[at.thread].stack.frames() {
            [
                ..,
                Frame { opener: Opener::Function(around), .. },
                Frame { opener: Opener::Site(_), .. },
            ] if *around == id => {
                self.threads[at.thread].leaving = Some(id);
            }
            _ => self.close(at, Opener::Function(id), 0, How::Tail),
        }
    }

    /// What is neither the beginning nor the end of a frame.
    #[inline]
    fn event(&mut self, at: At, event: Event) {
        self.threads[at.thread].stack.count_event();
        let process = &self.view.processes[self.view.threads[at.thread].process];
        let ring = |number| process.ring(number).map(|end| end.ring);
        match event {
            Event::Mark { site, arg } => {
                self.listener.mark(at, process.sites.get(site), arg, false);
            }
            Event::Counter { site, value } => {
                self.listener.mark(at, process.sites.get(site), value, true);
            }
            Event::Push { slots, notify } => match ring(slots.ring) {
                Some(ring) => {
                    let batch = self.traffic.batch(ring, slots, true, notify);
                    self.batch(at, batch);
                }
                None => self.defects.unknown += 1,
            },
            Event::Pop(slots) => match ring(slots.ring) {
                Some(ring) => {
                    let batch = self.traffic.batch(ring, slots, false, false);
                    self.batch(at, batch);
                }
                None => self.defects.unknown += 1,
            },
            Event::Id { ring: number, slot, index, id } => {
                if let Some(ring) = ring(number) {
                    self.traffic.id(ring, slot, index, id);
                }
            }
            Event::Take { ring: number, .. } => {
                if let Some(ring) = ring(number) {
                    self.listener.take(at, ring, &event);
                }
            }
            Event::Full { ring: number } => {
                if let Some(ring) = ring(number) {
                    self.threads[at.thread].full.push((ring, at.ns));
                }
            }
            Event::Room { ring: number } => {
                let full = &mut self.threads[at.thread].full;
                let found = full.iter().position(|&(of, _)| Some(of) == ring(number));
                if let Some((ring, since)) = found.map(|found| full.swap_remove(found)) {
                    self.listener.full(at, ring, since);
                }
            }
            Event::Send { port, sent } => {
                let channel = process.channel(port);
                self.listener.send(at, channel, sent, self.sends);
                if let (Some(channel), Sent::Rung) = (channel, sent) {
                    self.rung(channel, at);
                }
                self.sends += 1;
            }
            Event::Receive { port } => self.receive(at, process.channel(port)),
            _ => self.defects.unknown += 1,
        }
    }

    fn receive(&mut self, at: At, channel: Option<usize>) {
        self.listener.receive(at, channel);
        let Some(bells) = channel.map(|channel| &mut self.rung[channel]) else { return };
        let process = |at: At| self.view.threads[at.thread].process;
        let other = bells.iter().position(|(rung, _)| process(*rung) != process(at));
        if let Some((rung, number)) = other.map(|other| bells.swap_remove(other)) {
            self.listener.wake(&Wake { rung, received: at, number });
        }
    }

    fn rung(&mut self, channel: usize, at: At) {
        let process = |at: At| self.view.threads[at.thread].process;
        let bells = &mut self.rung[channel];
        bells.retain(|(rung, _)| process(*rung) != process(at));
        bells.push((at, self.sends));
    }

    fn batch(&mut self, at: At, mut batch: Batch) {
        batch.stamp.thread = at.thread;
        batch.stamp.at = at.ns;
        self.listener.batch(at, &batch, &self.threads[at.thread].stack);
        self.traffic.take(&batch, &mut self.came);
        for crossing in self.came.crossings.drain(..) {
            self.listener.crossing(&crossing);
        }
        for requests in self.came.requests.drain(..) {
            self.listener.requests(&requests);
        }
    }

    fn called(&mut self, at: At, number: usize, stack: u32, address: u32) {
        while self.threads[at.thread].stack.is_over(stack) {
            self.close_top(at, 0, How::Inferred);
        }
        self.open(at, number, Opener::Called(stack), address);
    }

    #[inline]
    fn open(&mut self, at: At, number: usize, opener: Opener, arg: u32) {
        let process = &self.view.processes[self.view.threads[at.thread].process];
        let (name, arg) = match opener {
            Opener::Site(site) => (process.sites.get(site), arg),
            Opener::Spin => (process.sites.get(arg), 0),
            Opener::Function(id) => (process.functions.get(id), 0),
            Opener::Called(_) => match process.function_at(arg) {
                Some(name) => (name, 0),
                None => (process.functions.get(0), 0),
            },
        };
        let older = number >= self.view.threads[at.thread].records().len();
        let shown = self.listener.shows(at.thread, number);
        let stack = &mut self.threads[at.thread].stack;
        stack.open(Frame {
            opener,
            name,
            start: at.ns,
            arg,
            record: number,
            shown,
            older,
            inner_ns: 0,
            inner: 0,
            own: 0,
            hidden: 0,
            hidden_ns: 0,
        });
        self.listener.begin(at, stack);
    }

    /// Ends the innermost frame of this opener, and before it those inside it, whose ends are missing.
    #[inline]
    fn close(&mut self, at: At, opener: Opener, result: u32, how: How) {
        let stack = &mut self.threads[at.thread].stack;
        let Some(depth) = stack.up_to(opener) else { return };
        while let Some(top) =
            self.threads[at.thread].stack.frames().get(depth..).and_then(<[_]>::last)
        {
            let how = match top.opener {
                Opener::Called(_) => How::Inferred,
                _ => How::Unwound,
            };
            self.close_top(at, 0, how);
        }
        self.close_top(at, result, how);
    }

    #[inline]
    fn close_top(&mut self, at: At, result: u32, how: How) {
        let stack = &mut self.threads[at.thread].stack;
        if let Some(slice) = stack.close_top(at.ns, result, how) {
            self.listener.end(at, &slice, stack);
        }
    }

    /// What is open when the records end stays open.
    fn finish(mut self) -> Defects {
        while let Some(pause) = self.view.pauses.get(self.paused) {
            self.pause(*pause);
        }
        for thread in 0..self.threads.len() {
            let of = &self.view.threads[thread];
            let process = &self.view.processes[of.process];
            let playing = &mut self.threads[thread];
            if of.has_end() {
                playing.now = playing.now.max(self.view.ns(process, of.ended));
            }
            let at = At { thread, ns: playing.now };
            let whole = process.ended == Ended::Well && of.has_end();
            while let Some(top) = self.threads[thread].stack.top() {
                // A spin ends with its thread, if with nothing before.
                let how = match top.opener {
                    Opener::Spin if whole => How::Returned,
                    Opener::Called(_) if whole => How::Inferred,
                    _ => How::Open,
                };
                self.close_top(at, 0, how);
            }
            for (ring, since) in std::mem::take(&mut self.threads[thread].full) {
                self.listener.full(at, ring, since);
            }
            self.defects.orphans += self.threads[thread].stack.orphans;
        }
        (self.defects.unsent, self.defects.backwards) =
            (self.traffic.unsent, self.traffic.backwards);
        self.defects
    }
}
