//! What each thread has spent its time on so far, by the innermost thing that was recorded of it.

use crate::name::NameId;
use crate::stack::{Frame, Slice, Stack};
use crate::timeline::At;
use crate::view::View;

/// Time by name. Nanoseconds; `None` is the time of which nothing is recorded.
pub(super) type Spent = Vec<(Option<NameId>, i64)>;

/// Segments a thread's log holds before it is given up: whoever did so much since it last touched a
/// ring is not about to push one request.
const LONGEST_LOG: usize = 1 << 14;

/// One thread's account.
#[derive(Debug, Default, Clone)]
struct Account {
    /// When it was last brought up to date.
    until: i64,
    began: i64,
    /// What it is in the middle of.
    top: Option<NameId>,
    /// What each name it ever did came to; `local` has the place of each.
    sums: Vec<i64>,
    names: Vec<Option<NameId>>,
    /// By name: place in `sums` and one; 0 for none. The last is for the time without a name.
    local: Vec<u32>,
    /// What it did since it last touched a ring.
    log: Vec<(Option<NameId>, i64, i64)>,
    /// When it last stopped waiting or touched a ring.
    fresh: i64,
}

/// The accounts of all threads.
#[derive(Debug)]
pub(super) struct Ledger {
    accounts: Vec<Account>,
    waits: Vec<bool>,
}

/// Accounts of some threads at one moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Snapshot(Vec<(usize, Vec<i64>)>);

impl Ledger {
    pub(super) fn new(view: &View<'_>) -> Self {
        let account = |thread: &crate::view::Thread<'_>| {
            let process = &view.processes[thread.process];
            let first = thread.records().next();
            let began = first.map_or(0, |record| view.ns(process, record.ticks));
            let local = vec![0; view.names.len() + 1];
            Account { until: began, began, local, fresh: began, ..Account::default() }
        };
        Self {
            accounts: view.threads.iter().map(account).collect(),
            waits: view.names.iter().map(|name| name.category == "wait").collect(),
        }
    }

    /// A frame begins.
    pub(super) fn begin(&mut self, at: At, stack: &Stack) {
        let account = &mut self.accounts[at.thread];
        account.until(at.ns);
        account.top = stack.top().map(|top| top.name);
    }

    /// A frame has ended.
    pub(super) fn end(&mut self, at: At, slice: &Slice, stack: &Stack) {
        let account = &mut self.accounts[at.thread];
        account.until(at.ns);
        account.top = stack.top().map(|top| top.name);
        if self.waits[slice.frame.name.index()] {
            account.fresh = at.ns;
        }
    }

    /// Brings a thread up to date in the middle of what it does.
    pub(super) fn now(&mut self, at: At) {
        self.accounts[at.thread].until(at.ns);
    }

    /// Since when a thread has been at what it does: since it last waited or touched a ring, or
    /// entered its outermost function. And what it did since.
    pub(super) fn since(&self, at: At, stack: &Stack) -> (i64, Spent) {
        let account = &self.accounts[at.thread];
        let outermost = stack.frames().first().map_or(at.ns, |frame: &Frame| frame.start);
        let from = account.fresh.max(outermost).min(at.ns);
        (from, account.spent(from))
    }

    /// What a thread did since it last touched a ring, from `from` on.
    pub(super) fn spent(&self, thread: usize, from: i64) -> Spent {
        self.accounts[thread].spent(from)
    }

    /// It touches a ring.
    pub(super) fn touched(&mut self, at: At) {
        let account = &mut self.accounts[at.thread];
        account.log.clear();
        account.fresh = at.ns;
    }

    /// The accounts of these threads at this moment. What they are in the middle of is counted.
    pub(super) fn snapshot(&self, threads: &[usize], ns: i64) -> Snapshot {
        Snapshot(threads.iter().map(|&thread| (thread, self.accounts[thread].at(ns))).collect())
    }

    /// What a thread did between two moments.
    pub(super) fn between(&self, thread: usize, from: &Snapshot, to: &Snapshot) -> Spent {
        let of = |snapshot: &Snapshot| {
            let found = snapshot.0.iter().position(|(of, _)| *of == thread);
            found.map(|found| snapshot.0[found].1.clone()).unwrap_or_default()
        };
        let (from, to) = (of(from), of(to));
        let names = &self.accounts[thread].names;
        let difference = to.iter().enumerate().map(|(at, &sum)| {
            (names.get(at).copied().flatten(), sum - from.get(at).copied().unwrap_or(0))
        });
        difference.filter(|&(_, ns)| ns > 0).collect()
    }

    /// All that a thread did, and how long it was recorded.
    pub(super) fn whole(&self, thread: usize) -> (Spent, i64) {
        let account = &self.accounts[thread];
        let all = account.names.iter().copied().zip(account.sums.iter().copied());
        (all.collect(), account.until - account.began)
    }
}

impl Account {
    fn until(&mut self, ns: i64) {
        let (from, name) = (self.until, self.top);
        let took = ns - from;
        if took <= 0 {
            return;
        }
        self.until = ns;
        let place = self.place(name);
        self.sums[place] += took;
        if self.log.len() >= LONGEST_LOG {
            self.log.clear();
            self.fresh = from;
        }
        self.log.push((name, from, ns));
    }

    fn place(&mut self, name: Option<NameId>) -> usize {
        let key = name.map_or(self.local.len() - 1, NameId::index);
        if self.local[key] == 0 {
            self.sums.push(0);
            self.names.push(name);
            self.local[key] = u32::try_from(self.sums.len()).unwrap_or(u32::MAX);
        }
        self.local[key] as usize - 1
    }

    fn at(&self, ns: i64) -> Vec<i64> {
        let mut sums = self.sums.clone();
        let key = self.top.map_or(self.local.len() - 1, NameId::index);
        let took = (ns - self.until).max(0);
        match self.local[key] {
            // It will have the next place.
            0 => sums.push(took),
            place => sums[place as usize - 1] += took,
        }
        sums
    }

    fn spent(&self, from: i64) -> Spent {
        let begin = self.log.partition_point(|&(_, _, to)| to <= from);
        self.log[begin..].iter().map(|&(name, since, to)| (name, to - since.max(from))).collect()
    }
}
