//! Phases, and what the requests of each kind of ring came to.

use std::collections::{BTreeMap, HashMap};

use hdrhistogram::Histogram;

use crate::name::NameId;
use crate::report::numbers::share;
use crate::view::{STARTING, View};

/// What a request's time is spent on, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Phase {
    /// The frontend makes it, until it is pushed.
    Submit,
    /// It lies on the ring; the backend is awake, or a limit keeps it from looking.
    RingWait,
    /// Who is to act has not started yet, on either side.
    StartUp,
    /// Somebody who sleeps is to be woken, on either side.
    WakeUp,
    /// The backend reaches the frontend's pages.
    Grant,
    /// The backend does what else there is to do.
    BackendWork,
    /// The backend waits, in the middle of it.
    BackendWait,
    /// What the cost model charges.
    Cost,
    /// The response lies on the ring; the frontend is awake.
    ResponseWait,
    /// The frontend takes the response.
    Completion,
    /// Nothing is recorded of who should act.
    Unattributed,
}

impl Phase {
    /// All of them, in order.
    pub const ALL: [Self; 11] = [
        Self::Submit,
        Self::RingWait,
        Self::StartUp,
        Self::WakeUp,
        Self::Grant,
        Self::BackendWork,
        Self::BackendWait,
        Self::Cost,
        Self::ResponseWait,
        Self::Completion,
        Self::Unattributed,
    ];

    /// As it is shown.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Submit => "submit",
            Self::RingWait => "ring wait",
            Self::StartUp => "start",
            Self::WakeUp => "notify and wake-up",
            Self::Grant => "grant",
            Self::BackendWork => "backend work",
            Self::BackendWait => "backend waits",
            Self::Cost => "modelled cost",
            Self::ResponseWait => "response wait",
            Self::Completion => "completion",
            Self::Unattributed => "unattributed",
        }
    }
}

/// Where a name's time goes to, by what it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Class {
    Work,
    Grant,
    Cost,
    Spin,
    Sleep,
    /// It sleeps because it may take no more, whatever there is.
    Limit,
    /// It is not there yet.
    Start,
}

impl Class {
    /// Whether nothing is done.
    pub(super) fn is_wait(self) -> bool {
        matches!(self, Self::Spin | Self::Sleep | Self::Limit)
    }
}

/// Names' classes.
pub(super) fn classes(view: &View<'_>) -> Vec<Class> {
    let class = |name: &crate::name::Name| match (name.category.as_str(), name.text.as_str()) {
        ("wait", "look" | "spin") => Class::Spin,
        ("wait", "limit") => Class::Limit,
        ("wait", _) => Class::Sleep,
        ("grant", _) => Class::Grant,
        ("cost", _) => Class::Cost,
        (STARTING, _) => Class::Start,
        _ => Class::Work,
    };
    view.names.iter().map(class).collect()
}

/// Time by who did what in which phase: process and name.
pub(super) type Blame = HashMap<(usize, NameId, Phase), i64>;

/// The same for requests that took about equally long: at least 2 to the power of the index, and less
/// than twice that. So that a few odd ones can be told from the rest.
pub(super) type Blames = [Blame; 64];

/// All requests of rings of one kind.
#[derive(Debug)]
pub(super) struct Kind {
    pub(super) requests: u64,
    pub(super) batches: u64,
    /// Nanoseconds of all requests.
    pub(super) whole: Sum,
    pub(super) phases: BTreeMap<Phase, Sum>,
    pub(super) blames: Box<Blames>,
    /// Nanoseconds, and requests, of each of the same.
    pub(super) by_length: [(i64, u64); 64],
}

/// A sum and how it is spread.
#[derive(Debug)]
pub(super) struct Sum {
    pub(super) ns: i64,
    pub(super) times: Histogram<u64>,
}

impl Sum {
    pub(super) fn new() -> Self {
        let times = Histogram::new_with_bounds(1, 3_600_000_000_000, 2);
        Self { ns: 0, times: times.unwrap_or_else(|_| unreachable!("the bounds are in order")) }
    }

    pub(super) fn add(&mut self, ns: i64, count: u32) {
        self.ns = self.ns.saturating_add(ns.saturating_mul(count.into()));
        self.times.saturating_record_n(ns.max(0).unsigned_abs(), count.into());
    }
}

impl Kind {
    pub(super) fn new() -> Self {
        let phases = Phase::ALL.map(|phase| (phase, Sum::new())).into();
        let blames = Box::new(std::array::from_fn(|_| Blame::new()));
        let (whole, by_length) = (Sum::new(), [(0, 0); 64]);
        Self { requests: 0, batches: 0, whole, phases, blames, by_length }
    }

    /// Whether requests of this length (an index of [`Blames`]) are typical: all but the odd ones, which
    /// took more than twice what 99 of 100 took. On a busy machine one that meets somebody else's time
    /// slice outweighs a thousand others.
    pub(super) fn is_typical(&self, length: usize) -> bool {
        length <= self.whole.times.value_at_quantile(0.99).max(1).ilog2() as usize
    }

    /// The part of typical requests that nothing is known of. Per cent.
    pub(super) fn typical_unattributed(&self) -> f64 {
        let (mut whole, mut known) = (0, 0);
        for length in (0..self.blames.len()).filter(|&length| self.is_typical(length)) {
            whole = self.by_length[length].0.saturating_add(whole);
            known =
                self.blames[length].values().fold(known, |sum: i64, ns| sum.saturating_add(*ns));
        }
        share(whole.saturating_sub(known), whole)
    }

    /// Who did what, in all requests.
    pub(super) fn blame(&self) -> Blame {
        let mut all = Blame::new();
        for (key, ns) in self.blames.iter().flatten() {
            let sum = all.entry(*key).or_default();
            *sum = i64::saturating_add(*sum, *ns);
        }
        all
    }
}
