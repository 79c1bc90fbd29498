//! `pvlab trace explain`: where the time of a request went, phase by phase and side by side, what is
//! unattributed, and one sentence that names the bottleneck.

mod kinds;
mod ledger;
mod notes;
mod phases;
mod verdict;

pub use kinds::Phase;
pub use verdict::{Cause, Verdict};

use kinds::{Blame, Class, Kind, Sum, classes};
use notes::notes;
use phases::{Phases, Touches};
use verdict::{Evidence, judge};

use crate::name::NameId;
use crate::report::numbers::{duration, share, thousands};
use crate::report::{Ink, Paint, side};
use crate::timeline::play;
use crate::view::View;

/// One phase of the requests of one kind of ring. Times are nanoseconds.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// Which.
    pub phase: Phase,
    /// Of all requests together.
    pub sum_ns: i64,
    /// Of one request.
    pub mean_ns: i64,
    /// Of one request.
    pub p50_ns: i64,
    /// Of one request.
    pub p99_ns: i64,
    /// Its part of the whole. Per cent.
    pub share: f64,
    /// What was done most meanwhile, and by whom; empty if there is nothing to say.
    pub mostly: String,
}

/// The requests of one kind of ring.
#[derive(Debug, Clone, PartialEq)]
pub struct Way {
    /// `vif tx`.
    pub kind: String,
    /// Requests that went all the way.
    pub requests: u64,
    /// Groups of requests that went together.
    pub batches: u64,
    /// All of it, as a phase would be.
    pub mean_ns: i64,
    /// Of one request.
    pub p50_ns: i64,
    /// Of one request.
    pub p99_ns: i64,
    /// Its phases, in order; those that take no time are not there.
    pub parts: Vec<Part>,
    /// The part that nothing is known of, of all requests but the odd ones. Per cent.
    pub typical_unattributed: f64,
    /// The requests are buffers: their time begins when the backend fills one.
    pub posts_buffers: bool,
}

impl Way {
    /// The part that nothing is known of. Per cent.
    #[must_use]
    pub fn unattributed(&self) -> f64 {
        let found = self.parts.iter().find(|part| part.phase == Phase::Unattributed);
        found.map_or(0.0, |part| part.share)
    }
}

/// What a thread did with its time. Per cent.
#[derive(Debug, Clone, PartialEq)]
pub struct Busy {
    /// Process and thread.
    pub thread: String,
    process: String,
    /// How long it was recorded. Nanoseconds.
    pub recorded_ns: i64,
    /// It worked.
    pub busy: f64,
    /// It looked for work and found none.
    pub spin: f64,
    /// It slept.
    pub blocked: f64,
    /// Nothing is known.
    pub unknown: f64,
    /// Of the time it worked, what recording took.
    pub tracing: f64,
}

/// Everything that `explain` tells.
#[derive(Debug, Clone, PartialEq)]
pub struct Explained {
    /// One for each kind of ring that has complete requests, the busiest first.
    pub ways: Vec<Way>,
    /// One for each thread that did something.
    pub threads: Vec<Busy>,
    /// The sentence.
    pub verdict: Verdict,
    notes: Vec<String>,
}

/// Explains a trace.
#[must_use]
pub fn explain(view: &View<'_>) -> Explained {
    let mut touches = Touches::new(view);
    play(view, &mut touches);
    let on_rings = touches.threads.concat();
    let mut phases = Phases::new(view, &touches);
    let defects = play(view, &mut phases);
    let typical = Typical::of(&phases);
    let on_rings_for = |front| {
        let mine = view.threads.iter().zip(&touches.times);
        let mine = mine.filter(|(of, _)| view.has_front(of.process) == front);
        mine.filter_map(|(_, times)| times.map(|(first, last)| last - first)).sum()
    };
    let classes = classes(view);
    let evidence = Evidence {
        view,
        classes: &classes,
        typical: &typical,
        bells: phases.bells,
        times: [on_rings_for(true), on_rings_for(false)],
    };
    let verdict = judge(&evidence);
    let mut ways: Vec<Way> = phases
        .kinds
        .iter()
        .filter(|(_, kind)| kind.requests > 0)
        .map(|(name, kind)| way(view, name, kind))
        .collect();
    ways.sort_by_key(|way| std::cmp::Reverse(way.requests));
    let on_ring = (0..view.threads.len()).filter(|at| on_rings.contains(at));
    let threads = on_ring.filter_map(|at| busy(view, &phases, &classes, at)).collect();
    let requests = ways.iter().map(|way| way.requests).sum();
    Explained { ways, threads, verdict, notes: notes(view, phases.bells, requests, defects) }
}

/// What is judged: all requests but the odd ones.
#[derive(Debug, Default)]
struct Typical {
    blame: Blame,
    requests: u64,
    whole: i64,
    /// What the others came to. Requests, and nanoseconds.
    odd: (u64, i64),
}

impl Typical {
    fn of(phases: &Phases<'_, '_>) -> Self {
        let mut all = Self::default();
        for (_, kind) in &phases.kinds {
            for (length, (blame, (ns, requests))) in
                kind.blames.iter().zip(kind.by_length).enumerate()
            {
                if !kind.is_typical(length) {
                    all.odd = (all.odd.0 + requests, all.odd.1.saturating_add(ns));
                    continue;
                }
                all.requests += requests;
                all.whole = all.whole.saturating_add(ns);
                for (key, ns) in blame {
                    // Nothing is the bottleneck while one side is not there.
                    if key.2 == Phase::StartUp {
                        all.whole = all.whole.saturating_sub(*ns);
                    }
                    let sum = all.blame.entry(*key).or_default();
                    *sum = sum.saturating_add(*ns);
                }
            }
        }
        all
    }
}

fn way(view: &View<'_>, name: &str, kind: &Kind) -> Way {
    let blame = kind.blame();
    let requests = i64::try_from(kind.requests).unwrap_or(i64::MAX).max(1);
    let quantile = |sum: &Sum, q| i64::try_from(sum.times.value_at_quantile(q)).unwrap_or(i64::MAX);
    let part = |(&phase, sum): (&Phase, &Sum)| Part {
        phase,
        sum_ns: sum.ns,
        mean_ns: sum.ns / requests,
        p50_ns: quantile(sum, 0.5),
        p99_ns: quantile(sum, 0.99),
        share: share(sum.ns, kind.whole.ns),
        mostly: mostly(view, &blame, phase, sum.ns),
    };
    Way {
        kind: name.to_owned(),
        requests: kind.requests,
        batches: kind.batches,
        mean_ns: kind.whole.ns / requests,
        p50_ns: quantile(&kind.whole, 0.5),
        p99_ns: quantile(&kind.whole, 0.99),
        parts: kind.phases.iter().filter(|(_, sum)| sum.ns > 0).map(part).collect(),
        typical_unattributed: kind.typical_unattributed(),
        posts_buffers: name.ends_with(" rx"),
    }
}

/// The two things that were done most in a phase.
fn mostly(view: &View<'_>, blame: &Blame, phase: Phase, whole: i64) -> String {
    let mine = blame.iter().filter(|((_, _, of), _)| *of == phase);
    let mut mine: Vec<(usize, NameId, i64)> =
        mine.map(|(&(process, name, _), &ns)| (process, name, ns)).collect();
    mine.sort_by_key(|&(process, name, ns)| (std::cmp::Reverse(ns), process, name));
    let told = mine.iter().take(2).filter(|(.., ns)| share(*ns, whole) >= 5.0);
    let told = told.map(|&(process, name, ns)| {
        let (process, name) = (&view.processes[process].name, &view.names.get(name).text);
        format!("{process} {name} {:.0} %", share(ns, whole))
    });
    told.collect::<Vec<_>>().join(", ")
}

fn busy(view: &View<'_>, phases: &Phases<'_, '_>, classes: &[Class], at: usize) -> Option<Busy> {
    let (spent, recorded) = phases.ledger.whole(at);
    if recorded <= 0 {
        return None;
    }
    let of = |wanted: &[Class]| {
        let mine = spent
            .iter()
            .filter(|(name, _)| name.is_some_and(|name| wanted.contains(&classes[name.index()])));
        mine.map(|(_, ns)| ns).sum::<i64>()
    };
    let work = of(&[Class::Work, Class::Grant, Class::Cost]);
    let (spin, sleep) = (of(&[Class::Spin]), of(&[Class::Sleep, Class::Limit]));
    let thread = &view.threads[at];
    let events = (thread.records().len() as u64).saturating_mul(view.clock.event_ps) / 1000;
    Some(Busy {
        thread: view.labels()[at].clone(),
        process: view.processes[thread.process].title.clone(),
        recorded_ns: recorded,
        busy: share(work, recorded),
        spin: share(spin, recorded),
        blocked: share(sleep, recorded),
        unknown: share(recorded - work - spin - sleep, recorded),
        tracing: share(i64::try_from(events).unwrap_or(i64::MAX), recorded),
    })
}

impl Explained {
    /// All of it as text.
    #[must_use]
    pub fn text(&self, paint: Paint) -> String {
        let mut text = String::new();
        for way in &self.ways {
            text += &way.text(paint);
            text.push('\n');
        }
        if !self.threads.is_empty() {
            let head = "thread                          recorded     busy     spin  blocked  unknown  tracing";
            text += &format!("{}\n", paint.paint(Ink::Bold, head));
        }
        for thread in &self.threads {
            let label = format!("{:<28}", thread.thread);
            text += &format!(
                "{} {:>11} {:>6.1} % {:>6.1} % {:>6.1} % {:>6.1} % {:>6.1} %\n",
                paint.paint(side(&thread.process), &label),
                duration(thread.recorded_ns),
                thread.busy,
                thread.spin,
                thread.blocked,
                thread.unknown,
                thread.tracing,
            );
        }
        for note in &self.notes {
            text += &format!("{}\n", paint.paint(Ink::Dim, note));
        }
        text += &format!("\n{} {}\n", paint.paint(Ink::Bold, "verdict:"), self.verdict.sentence);
        text
    }
}

impl Way {
    fn text(&self, paint: Paint) -> String {
        let requests = if self.posts_buffers { "buffers filled" } else { "requests" };
        let head = format!(
            "{}: {} {requests} in {} batches; one takes {} on the average, p50 {}, p99 {}",
            self.kind,
            thousands(self.requests),
            thousands(self.batches),
            duration(self.mean_ns),
            duration(self.p50_ns),
            duration(self.p99_ns),
        );
        let mut text = format!("{}\n", paint.paint(Ink::Bold, &head));
        text += "  phase                     mean        p50        p99    share  mostly\n";
        for part in &self.parts {
            let note = match part.phase {
                Phase::Unattributed => {
                    format!("{:.1} % without the few longest", self.typical_unattributed)
                }
                _ => part.mostly.clone(),
            };
            let line = format!(
                "  {:<19} {:>10} {:>10} {:>10} {:>6.1} %  {}",
                part.phase.name(),
                duration(part.mean_ns),
                duration(part.p50_ns),
                duration(part.p99_ns),
                part.share,
                note,
            );
            let hot = part.share >= 25.0;
            let line = line.trim_end();
            let line = if hot { paint.paint(Ink::Hot, line) } else { line.to_owned() };
            text += &format!("{line}\n");
        }
        text
    }
}
