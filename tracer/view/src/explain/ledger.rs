//! What each thread has spent its time on so far, by the innermost thing that was recorded of it. What a function
//! does that the compiler instrumented belongs to the wait, grant operation or modelled cost that it is called for.

use tracer::format::category;

use crate::name::NameId;
use crate::stack::{Frame, Opener, Slice, Stack};
use crate::timeline::At;
use crate::view::{Thread, View};

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
    /// Of the time without a name, what it had looked for work in vain, as it turned out; and what that
    /// is called.
    looked: i64,
    spin: Option<NameId>,
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
    /// What the functions called for it are part of.
    covers: Vec<bool>,
    starting: NameId,
}

/// Accounts of some threads at one moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Snapshot(Vec<(usize, Sums)>);

/// One account at one moment: each name's sum, and [`Account::looked`].
#[derive(Debug, Clone, Default)]
struct Sums {
    by_name: Vec<i64>,
    looked: i64,
}

impl Ledger {
    pub(super) fn new(view: &View<'_>) -> Self {
        let began = |thread: &Thread<'_>| {
            let first = thread.records().next();
            first.map_or(0, |record| view.ns(&view.processes[thread.process], record.ticks))
        };
        let account = |thread: &Thread<'_>| {
            let local = vec![0; view.names.len() + 1];
            // A thread that records nothing while others of its process do is not there yet. One whose
            // oldest records were overwritten may have been.
            let others = view.threads.iter().filter(|other| other.process == thread.process);
            let process = others.map(began).min().filter(|_| thread.overwritten == 0);
            let (began, top) = (began(thread), Some(view.starting));
            let until = process.unwrap_or(began);
            Account { until, began, top, local, fresh: began, ..Account::default() }
        };
        let is = |words: &[&str]| {
            view.names.iter().map(|name| words.contains(&name.category.as_str())).collect()
        };
        Self {
            accounts: view.threads.iter().map(account).collect(),
            waits: is(&[category::WAIT]),
            covers: is(&[category::WAIT, category::GRANT, category::COST]),
            starting: view.starting,
        }
    }

    /// What a thread with this stack does.
    pub(super) fn doing(&self, stack: &Stack) -> Option<NameId> {
        let top = stack.top()?;
        let site = match top.opener {
            Opener::Site(_) | Opener::Spin => None,
            Opener::Function(_) | Opener::Called(_) => stack.innermost_site(),
        };
        let around = site.map(|site| site.name).filter(|name| self.covers[name.index()]);
        Some(around.unwrap_or(top.name))
    }

    /// A frame begins.
    pub(super) fn begin(&mut self, at: At, stack: &Stack) {
        let doing = self.doing(stack);
        let account = &mut self.accounts[at.thread];
        let before = account.until;
        account.until(at.ns);
        if let Some(top) = stack.top() {
            if top.opener == Opener::Spin && account.top.is_none() {
                account.looked(before, top.name);
            }
            account.top = doing;
        }
    }

    /// A frame has ended.
    pub(super) fn end(&mut self, at: At, slice: &Slice, stack: &Stack) {
        let doing = self.doing(stack);
        let account = &mut self.accounts[at.thread];
        account.until(at.ns);
        account.top = doing;
        if self.waits[slice.frame.name.index()] {
            account.fresh = at.ns;
        }
    }

    /// Brings a thread up to date in the middle of what it does.
    pub(super) fn now(&mut self, at: At) {
        let account = &mut self.accounts[at.thread];
        account.until(at.ns);
        // It is there.
        account.top = account.top.filter(|top| *top != self.starting);
    }

    /// Recording was off: what was done then is in no account.
    pub(super) fn pause(&mut self, off: i64, on: i64) {
        for account in self.accounts.iter_mut().filter(|account| account.until < on) {
            account.until(off);
            account.began += on - account.until;
            account.until = on;
            account.log.clear();
            account.fresh = on;
        }
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
        let account = &self.accounts[thread];
        let difference = to.by_name.iter().enumerate().map(|(at, &sum)| {
            let name = account.names.get(at).copied().flatten();
            (name, sum - from.by_name.get(at).copied().unwrap_or(0))
        });
        account.told_apart(difference, to.looked - from.looked)
    }

    /// All that a thread did, and how long it was recorded.
    pub(super) fn whole(&self, thread: usize) -> (Spent, i64) {
        let account = &self.accounts[thread];
        let all = account.names.iter().copied().zip(account.sums.iter().copied());
        (account.told_apart(all, account.looked), account.until - account.began)
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

    /// A look for work begins of which it is known that it was in vain, and with it the time since
    /// `from`, of which nothing is recorded: the first look goes before the record of it.
    fn looked(&mut self, from: i64, spin: NameId) {
        self.looked += self.until - from;
        self.spin = Some(spin);
        if let Some(last @ (None, ..)) = self.log.last_mut() {
            last.0 = Some(spin);
        }
    }

    /// Time by name, with what it had looked in vain taken from the time without a name.
    fn told_apart(&self, sums: impl Iterator<Item = (Option<NameId>, i64)>, looked: i64) -> Spent {
        let mut told = Spent::new();
        for (name, ns) in sums.filter(|&(_, ns)| ns > 0) {
            let vain = if name.is_none() { looked.clamp(0, ns) } else { 0 };
            told.push((name, ns - vain));
            told.extend(self.spin.filter(|_| vain > 0).map(|spin| (Some(spin), vain)));
        }
        told
    }

    fn at(&self, ns: i64) -> Sums {
        let mut sums = self.sums.clone();
        let key = self.top.map_or(self.local.len() - 1, NameId::index);
        let took = (ns - self.until).max(0);
        match self.local[key] {
            // It will have the next place.
            0 => sums.push(took),
            place => sums[place as usize - 1] += took,
        }
        Sums { by_name: sums, looked: self.looked }
    }

    fn spent(&self, from: i64) -> Spent {
        let begin = self.log.partition_point(|&(_, _, to)| to <= from);
        self.log[begin..].iter().map(|&(name, since, to)| (name, to - since.max(from))).collect()
    }
}
