//! One sentence: what most of the time goes to, and what would take it away.

use std::collections::HashMap;

use super::kinds::{Class, Phase};
use super::phases::Bells;
use super::{Explained, Typical};
use crate::name::NameId;
use crate::report::numbers::{duration, share};
use crate::view::View;

/// What is to blame, and what is said of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// Which cause.
    pub cause: Cause,
    /// Its part of the time of requests, or of the time that frontends were recorded. Per cent.
    pub share: f64,
    /// The sentence.
    pub sentence: String,
}

/// Why requests take as long as they do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// No request of the trace is complete.
    Nothing,
    /// Somebody sleeps, and must be woken.
    Sleep,
    /// A limit on its events keeps the backend from looking.
    EventLimit,
    /// Somebody who is awake does not see what is there: it has no CPU.
    NoCpu,
    /// Too many notifications are sent.
    Notifications,
    /// Frontends find no room.
    FullRing,
    /// Grant operations: which.
    Grant(String),
    /// A modelled cost: which.
    Cost(String),
    /// A function: of which process, and which.
    Function(String, String),
    /// Slots take their time from one CPU to the other, and nothing takes more.
    Ring,
}

/// What a thread that spins may take to see a slot, if it has a CPU. Nanoseconds.
const SEES: i64 = 10_000;

/// What is known when it is judged.
pub(super) struct Evidence<'e, 'a> {
    pub(super) view: &'e View<'a>,
    pub(super) classes: &'e [Class],
    pub(super) typical: &'e Typical,
    pub(super) bells: Bells,
    /// From each thread's first touch of a ring to its last, all frontends' together, and all backends'.
    /// Nanoseconds.
    pub(super) times: [i64; 2],
}

/// What computing and checking a checksum in software is called.
const CHECKSUM: &str = "checksum";
/// What the cost model charges for a notification.
const COST_OF_SENDING: &str = "cost.send";

struct Candidate {
    cause: Cause,
    ns: i64,
    whole: i64,
    sentence: String,
}

impl Candidate {
    fn share(&self) -> f64 {
        if self.whole == 0 { 0.0 } else { self.ns as f64 / self.whole as f64 }
    }

    /// Where frontends mostly stand before a full ring, requests wait in it for whatever the backend does:
    /// that is the consequence. Of a ring that is full because a limit keeps the backend away it is the limit.
    fn weight(&self) -> f64 {
        let rank = match self.cause {
            _ if self.share() <= 0.5 => 0,
            Cause::EventLimit => 2,
            Cause::FullRing => 1,
            _ => 0,
        };
        self.share() + f64::from(rank)
    }
}

/// Names the greatest of all causes.
pub(super) fn judge(evidence: &Evidence<'_, '_>) -> Verdict {
    if evidence.typical.requests == 0 {
        let sentence = "no request of this trace went all the way, so there is nothing to explain";
        return Verdict { cause: Cause::Nothing, share: 0.0, sentence: sentence.into() };
    }
    let mut candidates = Vec::new();
    candidates.extend(evidence.waits());
    candidates.extend(evidence.notifications());
    candidates.extend(evidence.full());
    candidates.extend(evidence.work());
    candidates.sort_by(|a, b| b.weight().total_cmp(&a.weight()));
    let Some(first) = candidates.into_iter().next() else {
        let sentence = "nothing was recorded of what the threads do, so nobody is to blame";
        return Verdict { cause: Cause::Nothing, share: 0.0, sentence: sentence.into() };
    };
    let share = 100.0 * first.share();
    let odd = evidence.odd();
    Verdict { cause: first.cause, share, sentence: format!("{share:.0} % {}{odd}", first.sentence) }
}

impl Evidence<'_, '_> {
    fn each(&self, ns: i64) -> i64 {
        ns / i64::try_from(self.typical.requests).unwrap_or(i64::MAX).max(1)
    }

    /// What is left aside, if it is much.
    fn odd(&self) -> String {
        let (requests, ns) = self.typical.odd;
        let all = self.typical.whole.saturating_add(ns);
        if ns < all / 5 {
            return String::new();
        }
        format!(
            " (the slowest {requests} of {} requests, which took {:.0} % of all time, are left aside: see \
             pvlab trace iterations)",
            requests + self.typical.requests,
            share(ns, all)
        )
    }

    fn process(&self, process: usize) -> &str {
        &self.view.processes[process].name
    }

    fn class(&self, name: NameId) -> Class {
        self.classes[name.index()]
    }

    /// Time in which somebody who should act waits, by process and how.
    fn waits(&self) -> Vec<Candidate> {
        let mut waits: HashMap<(usize, Class), i64> = HashMap::new();
        for (&(process, name, phase), &ns) in &self.typical.blame {
            let class = self.class(name);
            if class.is_wait() && phase != Phase::Completion && phase != Phase::Submit {
                let sum: &mut i64 = waits.entry((process, class)).or_default();
                *sum = sum.saturating_add(ns);
            }
        }
        let made = waits.into_iter().map(|((process, class), ns)| {
            let (who, each) = (self.process(process), self.each(ns));
            let time = duration(each);
            let (cause, sentence) = match class {
                Class::Limit => (Cause::EventLimit, format!(
                    "of a request's time {who} leaves the guest's port masked, {time} a request: its event \
                     limit ({}) is reached; --limit off would take that wait away, longer writes (--len) \
                     would move more with each event",
                    self.limit()
                )),
                Class::Sleep => (Cause::Sleep, format!(
                    "of a request's time {who} sleeps and is to be woken: polling (--wait poll) or \
                     spinning longer (--spin) would save up to {time} a request"
                )),
                _ if each > SEES || self.on_one_cpu() => (Cause::NoCpu, format!(
                    "of a request's time {who} is looking for work and does not see what is there, \
                     {time} a request: it has no CPU; give each side one of its own (-A 0,1){}",
                    self.affinity()
                )),
                _ => (Cause::Ring, format!(
                    "of a request's time is its way from one CPU to the other ({time}): {} would share it \
                     among more requests",
                    self.more_at_once()
                )),
            };
            Candidate { cause, ns, whole: self.typical.whole, sentence }
        });
        made.collect()
    }

    /// What was typed for an option.
    fn typed(&self, option: &str) -> Option<&str> {
        let mut words = self.view.command().unwrap_or_default().split_whitespace();
        words.find(|word| *word == option).and_then(|_| words.next())
    }

    /// The option that is the limit, as it was typed.
    fn limit(&self) -> String {
        self.typed("--limit").map_or("--limit".to_owned(), |limit| format!("--limit {limit}"))
    }

    /// How more goes over a ring at once. The requests of a console are bytes, of which a write publishes some.
    fn more_at_once(&self) -> &'static str {
        if self.is_console() { "longer writes (--len)" } else { "larger batches (--batch)" }
    }

    /// Whether it is a console's run, and not one whose guest logs to its console beside.
    fn is_console(&self) -> bool {
        let rings = &self.view.rings;
        !rings.is_empty() && rings.iter().all(|ring| ring.name.starts_with("console"))
    }

    /// Whether all workers have the same CPU, which their names tell.
    fn on_one_cpu(&self) -> bool {
        let names = self.view.threads.iter().map(|thread| thread.name.as_str());
        let mut workers = names.filter(|name| name.starts_with("worker-"));
        let first = workers.next();
        let second = workers.next();
        second.is_some() && second == first && workers.all(|name| Some(name) == first)
    }

    /// What was typed about CPUs, if both sides got the same.
    fn affinity(&self) -> String {
        match self.typed("-A").and_then(|cpus| cpus.split_once(',')) {
            Some((front, back)) if front == back => format!(", not -A {front},{back}"),
            _ => String::new(),
        }
    }

    /// Sending, on the side that has more of it.
    fn notifications(&self) -> Option<Candidate> {
        let all = self.bells.sending.into_iter().zip(self.times).zip(["frontends", "backends"]);
        let most = all.max_by(|a, b| share(a.0.0.0, a.0.1).total_cmp(&share(b.0.0.0, b.0.1)));
        let (((ns, sends), whole), who) = most?;
        let often = sends as f64 / self.typical.requests as f64;
        if often < 0.25 {
            return None;
        }
        let remedy = match self.more_at_once() {
            // It has no event index, by which one could be left out.
            writes if self.is_console() => writes.to_owned(),
            batches => format!(
                "leaving out those that nobody waits for (--notify suppressed) and {batches}"
            ),
        };
        let sentence = format!(
            "of the time of {who} goes to sending notifications, {often:.2} for each request: {remedy} would \
             save up to {} a request",
            duration(self.each(ns))
        );
        Some(Candidate { cause: Cause::Notifications, ns, whole, sentence })
    }

    fn full(&self) -> Option<Candidate> {
        let Bells { full, fulls, .. } = self.bells;
        if full == 0 {
            return None;
        }
        let busy = self.busiest();
        let sentence = format!(
            "of the frontend's time it finds the ring full ({fulls} times, {} each): the backend does \
             not keep up{busy}",
            duration(full / i64::try_from(fulls).unwrap_or(1).max(1))
        );
        Some(Candidate { cause: Cause::FullRing, ns: full, whole: self.times[0], sentence })
    }

    /// What the backend does most.
    fn busiest(&self) -> String {
        let work = self.by_name().into_iter().filter(|((process, _), _)| {
            self.view.rings.iter().any(|ring| ring.back == Some(*process))
        });
        match work.max_by_key(|(_, ns)| *ns) {
            Some(((process, name), _)) => {
                let text = &self.view.names.get(name).text;
                let remedy = self.remedy(name).map(|remedy| format!(": {remedy}"));
                let who = self.process(process);
                format!("; most of its time is {text} of {who}{}", remedy.unwrap_or_default())
            }
            None => String::new(),
        }
    }

    /// Time by process and name, waits apart.
    fn by_name(&self) -> HashMap<(usize, NameId), i64> {
        let mut all = HashMap::new();
        for (&(process, name, _), &ns) in &self.typical.blame {
            let class = self.class(name);
            if !class.is_wait() && class != Class::Start {
                let sum: &mut i64 = all.entry((process, name)).or_default();
                *sum = sum.saturating_add(ns);
            }
        }
        all
    }

    /// Whether the other end checks checksums in software, and is busy with it: then ours computes them so.
    fn sums_in_software(&self) -> bool {
        let sums = self.by_name().into_iter();
        let mut sums = sums.filter(|((_, name), _)| self.view.names.get(*name).text == CHECKSUM);
        sums.any(|(_, ns)| share(ns, self.typical.whole) >= 2.0)
    }

    /// What would take the time of this away.
    fn remedy(&self, name: NameId) -> Option<&'static str> {
        let text = self.view.names.get(name).text.as_str();
        match self.class(name) {
            Class::Grant if text.contains("map") => {
                Some("--grant persistent or --grant copy would avoid it")
            }
            Class::Grant => {
                Some("larger batches (--batch) and fewer bytes a request would shorten it")
            }
            Class::Cost if text.contains("map") => {
                Some("it is what --cost charges; --grant persistent or --grant copy would avoid it")
            }
            Class::Cost => Some("it is what --cost charges"),
            _ if text.contains(CHECKSUM) => {
                Some("leaving checksums to the other end (--csum on) would avoid it")
            }
            _ if matches!(text, "stack_egress" | "stack_ingress") && self.sums_in_software() => {
                Some(
                    "it computes each checksum there, and the other end checks it; leaving checksums \
                     out (--csum on) would avoid both",
                )
            }
            _ => None,
        }
    }

    fn work(&self) -> Vec<Candidate> {
        // What sending costs is in the candidate of the notifications.
        let others = |((_, name), _): &((usize, NameId), i64)| {
            self.view.names.get(*name).text != COST_OF_SENDING
        };
        let made = self.by_name().into_iter().filter(others).map(|((process, name), ns)| {
            let text = &self.view.names.get(name).text;
            let who = self.process(process);
            let (cause, does) = match self.class(name) {
                Class::Grant => (Cause::Grant(text.clone()), format!("is busy with {text}")),
                Class::Cost => (Cause::Cost(text.clone()), format!("pays the modelled {text}")),
                _ => (Cause::Function(who.to_owned(), text.clone()), format!("is in {text}()")),
            };
            let remedy = self.remedy(name).unwrap_or("a faster one would save as much");
            let time = duration(self.each(ns));
            let sentence = format!("of a request's time {who} {does}, {time} a request: {remedy}");
            Candidate { cause, ns, whole: self.typical.whole, sentence }
        });
        made.collect()
    }
}

impl Explained {
    /// Whether the verdict blames this.
    #[must_use]
    pub fn blames(&self, cause: &Cause) -> bool {
        self.verdict.cause == *cause
    }
}
