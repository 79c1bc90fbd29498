//! The phases of requests, taken from what the threads on both sides were doing meanwhile.
//!
//! A request's time is cut at its four stamps. Between two of them somebody is to act: the thread that
//! sees it, or that answers it. What that thread is recorded to do meanwhile says where the time goes;
//! time in which nothing is recorded of it is unattributed, and so is all that lies beside a stamp that
//! is missing. Nothing else collects what is left.
//!
//! Of frames that stand in one another the innermost has the time. So what is taken out of a trace
//! becomes unattributed where it stood alone, as waits and a worker's outermost functions do; where it
//! stood in another frame, that one did last as long and has the time. For the same reason no frame may
//! stand around all that a thread does: it would have whatever is left over.

use std::collections::VecDeque;

use tracer::format::Sent;

use super::kinds::{Class, Kind, Phase, classes};
use super::ledger::{Ledger, Snapshot, Spent};
use crate::crossing::{Batch, Requests};
use crate::name::NameId;
use crate::stack::{Slice, Stack};
use crate::timeline::{At, Listener};
use crate::view::View;

/// Notifications and full rings, counted.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Bells {
    pub(super) rung: u64,
    pub(super) merged: u64,
    /// Pushes after which nobody had to be told.
    pub(super) suppressed: u64,
    pub(super) pushes: u64,
    /// From a push to the end of the sending that came of it, by frontends and by backends: nanoseconds;
    /// and how often.
    pub(super) sending: [(i64, u64); 2],
    /// How long frontends found no room: nanoseconds.
    pub(super) full: i64,
    pub(super) fulls: u64,
}

/// A part of a request's time: phase, process and name if known, nanoseconds.
type Share = (Phase, Option<(usize, NameId)>, i64);

/// A moment on a ring, kept until its slots are through.
#[derive(Debug)]
struct Mark {
    batch: u64,
    accounts: Snapshot,
    /// What was done for it before it was pushed, and how long.
    before: Spent,
    before_ns: i64,
}

/// Requests whose responses have come and are being taken.
#[derive(Debug)]
struct Completing {
    kind: usize,
    count: u32,
    ns: i64,
    parts: Vec<Share>,
    from: i64,
    /// Frames around.
    depth: usize,
}

/// Listens, and adds up.
pub(super) struct Phases<'v, 'a> {
    view: &'v View<'a>,
    pub(super) ledger: Ledger,
    classes: Vec<Class>,
    /// For each ring: the threads that touch it.
    threads: Vec<Vec<usize>>,
    /// For each ring: its kind in `kinds`.
    kind_of: Vec<usize>,
    pub(super) kinds: Vec<(String, Kind)>,
    marks: Vec<VecDeque<Mark>>,
    completing: Vec<Vec<Completing>>,
    /// For each thread: when it first and last touched a ring.
    times: Vec<Option<(i64, i64)>>,
    /// For each thread: when it last pushed, and has neither sent nor waited since.
    pushed: Vec<Option<i64>>,
    pub(super) bells: Bells,
    depth: usize,
}

/// First pass: which threads touch which ring, and when each first and last touched any.
pub(super) struct Touches {
    pub(super) threads: Vec<Vec<usize>>,
    pub(super) times: Vec<Option<(i64, i64)>>,
}

impl Touches {
    pub(super) fn new(view: &View<'_>) -> Self {
        Self { threads: vec![Vec::new(); view.rings.len()], times: vec![None; view.threads.len()] }
    }
}

impl Listener for Touches {
    fn batch(&mut self, at: At, batch: &Batch, _: &Stack) {
        let threads = &mut self.threads[batch.ring];
        if !threads.contains(&at.thread) {
            threads.push(at.thread);
        }
        self.times[at.thread].get_or_insert((at.ns, at.ns)).1 = at.ns;
    }
}

impl<'v, 'a> Phases<'v, 'a> {
    pub(super) fn new(view: &'v View<'a>, touches: &Touches) -> Self {
        let mut kinds: Vec<(String, Kind)> = Vec::new();
        let kind_of = view.rings.iter().map(|ring| {
            let name = kind(&ring.name);
            let found = kinds.iter().position(|(of, _)| *of == name);
            found.unwrap_or_else(|| {
                kinds.push((name, Kind::new()));
                kinds.len() - 1
            })
        });
        let kind_of = kind_of.collect();
        Self {
            view,
            ledger: Ledger::new(view),
            classes: classes(view),
            threads: touches.threads.clone(),
            kind_of,
            kinds,
            marks: view.rings.iter().map(|_| VecDeque::new()).collect(),
            completing: view.threads.iter().map(|_| Vec::new()).collect(),
            times: touches.times.clone(),
            pushed: vec![None; view.threads.len()],
            bells: Bells::default(),
            depth: 0,
        }
    }

    /// Adds what a thread did meanwhile.
    fn add(
        &self,
        parts: &mut Vec<Share>,
        thread: usize,
        spent: &Spent,
        whole: i64,
        phase: impl Fn(Class) -> Phase,
    ) {
        let process = self.view.threads[thread].process;
        let mut left = whole;
        for &(name, ns) in spent {
            let Some(name) = name else { continue };
            let ns = ns.min(left);
            left -= ns;
            let phase = match self.classes[name.index()] {
                Class::Start => Phase::StartUp,
                class => phase(class),
            };
            parts.push((phase, Some((process, name)), ns));
        }
        if left > 0 {
            parts.push((Phase::Unattributed, None, left));
        }
    }

    fn mark(&self, requests: &Requests, at: usize) -> Option<&Mark> {
        let marks = &self.marks[requests.ring];
        let batch = requests.stamps[at].batch;
        let found = marks.partition_point(|mark| mark.batch < batch);
        marks.get(found).filter(|mark| mark.batch == batch)
    }

    /// Cuts the time of requests into parts, from the beginning to the response's arrival.
    fn cut(&self, requests: &Requests) -> Option<Completing> {
        let [s0, s1, s2, s3] = requests.stamps;
        let buffers = self.view.rings[requests.ring].posts_buffers();
        let (m2, m3) = (self.mark(requests, 2)?, self.mark(requests, 3)?);
        let mut parts = Vec::new();
        let backend = |class| match class {
            Class::Grant => Phase::Grant,
            Class::Cost => Phase::Cost,
            Class::Spin | Class::Sleep | Class::Limit => Phase::BackendWait,
            Class::Work | Class::Start => Phase::BackendWork,
        };
        let mut begin = s2.at - m2.before_ns;
        if buffers {
            // An empty buffer that waits for something to come is nobody's loss: its time begins when
            // the backend turns to filling it.
            self.add(&mut parts, s2.thread, &m2.before, m2.before_ns, backend);
        } else {
            let (m0, m1) = (self.mark(requests, 0)?, self.mark(requests, 1)?);
            begin = s0.at - m0.before_ns;
            self.add(&mut parts, s0.thread, &m0.before, m0.before_ns, |class| match class {
                Class::Cost => Phase::Cost,
                _ => Phase::Submit,
            });
            let spent = self.ledger.between(s1.thread, &m0.accounts, &m1.accounts);
            self.add(&mut parts, s1.thread, &spent, s1.at - s0.at, |class| match class {
                Class::Sleep => Phase::WakeUp,
                _ => Phase::RingWait,
            });
            let spent = self.ledger.between(s2.thread, &m1.accounts, &m2.accounts);
            self.add(&mut parts, s2.thread, &spent, s2.at - s1.at, backend);
        }
        let spent = self.ledger.between(s3.thread, &m2.accounts, &m3.accounts);
        self.add(&mut parts, s3.thread, &spent, s3.at - s2.at, |class| match class {
            Class::Sleep => Phase::WakeUp,
            _ => Phase::ResponseWait,
        });
        let kind = self.kind_of[requests.ring];
        let (count, ns) = (requests.count, s3.at - begin);
        Some(Completing { kind, count, ns, parts, from: s3.at, depth: self.depth })
    }

    /// The thread is through with the responses it was taking.
    fn complete(&mut self, at: At, deeper_than: usize) {
        let mut at_end = std::mem::take(&mut self.completing[at.thread]);
        at_end.retain_mut(|done| {
            if done.depth <= deeper_than {
                return true;
            }
            let spent = self.ledger.spent(at.thread, done.from);
            let mut parts = std::mem::take(&mut done.parts);
            self.add(&mut parts, at.thread, &spent, at.ns - done.from, |class| match class {
                Class::Cost => Phase::Cost,
                _ => Phase::Completion,
            });
            self.sum(done, &parts, at.ns - done.from);
            false
        });
        self.completing[at.thread] = at_end;
    }

    fn sum(&mut self, done: &Completing, parts: &[Share], completion: i64) {
        let kind = &mut self.kinds[done.kind].1;
        kind.requests += u64::from(done.count);
        kind.batches += 1;
        let whole = done.ns + completion;
        kind.whole.add(whole, done.count);
        let length = whole.max(1).ilog2() as usize;
        let all = whole.saturating_mul(done.count.into());
        kind.by_length[length].0 = kind.by_length[length].0.saturating_add(all);
        kind.by_length[length].1 += u64::from(done.count);
        for (phase, sum) in &mut kind.phases {
            let mine = parts.iter().filter(|(of, ..)| of == phase);
            sum.add(mine.map(|(.., ns)| ns).sum(), done.count);
        }
        for &(phase, who, ns) in parts {
            if let Some((process, name)) = who {
                let blame = kind.blames[length].entry((process, name, phase)).or_default();
                *blame = blame.saturating_add(ns.saturating_mul(done.count.into()));
            }
        }
    }
}

/// What kind of ring this is: `vif1.0-q0-tx` is `vif tx`.
fn kind(name: &str) -> String {
    let name = name.split(' ').next().unwrap_or(name);
    let device = name.split(|c: char| c.is_ascii_digit()).next().unwrap_or(name);
    match name.rsplit('-').next() {
        Some(way @ ("tx" | "rx" | "ctrl")) => format!("{device} {way}"),
        _ => device.to_owned(),
    }
}

impl Listener for Phases<'_, '_> {
    fn begin(&mut self, at: At, stack: &Stack) {
        self.ledger.begin(at, stack);
        if stack.top().is_some_and(|top| self.classes[top.name.index()].is_wait()) {
            self.pushed[at.thread] = None;
        }
    }

    fn end(&mut self, at: At, slice: &Slice, stack: &Stack) {
        self.ledger.end(at, slice, stack);
        if !self.completing[at.thread].is_empty() {
            self.complete(at, stack.frames().len());
        }
    }

    fn send(&mut self, at: At, _: Option<usize>, sent: Sent, _: u64) {
        match sent {
            Sent::Rung => self.bells.rung += 1,
            Sent::Pending | Sent::Masked => self.bells.merged += 1,
        }
        // The main thread posts buffers and sends when its device is connected: no request waits for that.
        let serves = self.times[at.thread].is_some_and(|(_, last)| at.ns <= last);
        if let Some(since) = self.pushed[at.thread].take().filter(|_| serves) {
            let process = self.view.threads[at.thread].process;
            let (ns, sends) = &mut self.bells.sending[usize::from(!self.view.has_front(process))];
            (*ns, *sends) = (ns.saturating_add(at.ns - since), *sends + 1);
        }
    }

    fn full(&mut self, at: At, ring: usize, since: i64) {
        if Some(self.view.threads[at.thread].process) == self.view.rings[ring].front {
            self.bells.full = self.bells.full.saturating_add(at.ns - since);
            self.bells.fulls += 1;
        }
    }

    fn batch(&mut self, at: At, batch: &Batch, stack: &Stack) {
        self.ledger.now(at);
        self.complete(at, 0);
        let (mut before, mut before_ns) = (Spent::new(), 0);
        if batch.push {
            let (from, spent) = self.ledger.since(at, stack);
            (before, before_ns) = (spent, at.ns - from);
            self.bells.pushes += 1;
            self.bells.suppressed += u64::from(!batch.notify);
            self.pushed[at.thread] = Some(at.ns);
        }
        self.ledger.touched(at);
        let accounts = self.ledger.snapshot(&self.threads[batch.ring], at.ns);
        let marks = &mut self.marks[batch.ring];
        marks.push_back(Mark { batch: batch.stamp.batch, accounts, before, before_ns });
        let most = 8 * self.view.rings[batch.ring].size.clamp(32, 4096) as usize;
        if marks.len() > most {
            marks.pop_front();
        }
        self.depth = stack.frames().len();
    }

    /// Whose completion had not ended by then has no end.
    fn pause(&mut self, off: i64, on: i64) {
        self.ledger.pause(off, on);
        self.completing.iter_mut().for_each(Vec::clear);
        self.pushed.fill(None);
    }

    fn requests(&mut self, requests: &Requests) {
        let Some(cut) = self.cut(requests) else { return };
        let at = At { thread: requests.stamps[3].thread, ns: cut.from };
        let whole = cut.depth == 0;
        self.completing[at.thread].push(cut);
        // Nothing encloses it: it is over.
        if whole {
            self.complete_now(at);
        }
    }
}

impl Phases<'_, '_> {
    fn complete_now(&mut self, at: At) {
        for done in &mut self.completing[at.thread] {
            done.depth = done.depth.max(1);
        }
        self.complete(at, 0);
    }
}
