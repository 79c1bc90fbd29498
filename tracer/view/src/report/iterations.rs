//! `pvlab trace iterations`: how long each round of a workload took, over time; where a workload says
//! nothing of rounds, each request.

use super::numbers::{duration, thousands};
use super::paint::{Ink, Paint};
use crate::crossing::Requests;
use crate::error::Error;
use crate::name::NameId;
use crate::timeline::{At, Listener, play};
use crate::view::View;

/// Iterations that a rolling figure is made of.
const ROLLING: usize = 200;
/// Points of a rolling figure at most.
const POINTS: usize = 500;
/// How many of the slowest are named.
const SLOWEST: usize = 10;

/// One iteration. Nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Iteration {
    /// After the start of the trace.
    pub start_ns: i64,
    /// Until the next one began, or it was over.
    pub duration_ns: i64,
}

/// All iterations of a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Iterations {
    /// What one is: `round trip`, `request`.
    pub what: String,
    /// In the order of their beginnings.
    pub all: Vec<Iteration>,
    /// Places in `all`, the slowest first.
    pub slowest: Vec<usize>,
    /// Time, and the median of those around. Nanoseconds.
    pub rolling_p50: Vec<(i64, i64)>,
    /// Time, and what 99 of 100 around keep below. Nanoseconds.
    pub rolling_p99: Vec<(i64, i64)>,
    /// Where the median changed for good: when, from what, to what. Nanoseconds.
    pub steps: Vec<(i64, i64, i64)>,
}

/// Finds the iterations of a trace.
///
/// # Errors
/// If there are none.
pub fn iterations(view: &View<'_>) -> Result<Iterations, Error> {
    let mut found = Found { view, marks: Vec::new(), requests: Vec::new() };
    play(view, &mut found);
    let (what, mut all) = found.choose();
    all.sort_by_key(|one| one.start_ns);
    if all.is_empty() {
        return Err(Error::Absent("this trace has no iterations, and no complete request".into()));
    }
    let mut slowest: Vec<usize> = (0..all.len()).collect();
    slowest.sort_by_key(|&at| std::cmp::Reverse(all[at].duration_ns));
    slowest.truncate(SLOWEST);
    let rolling = |q| rolling(&all, q);
    let (rolling_p50, rolling_p99) = (rolling(50), rolling(99));
    let steps = steps(&all);
    Ok(Iterations { what, all, slowest, rolling_p50, rolling_p99, steps })
}

struct Found<'v, 'a> {
    view: &'v View<'a>,
    /// Thread, name, when.
    marks: Vec<(usize, NameId, i64)>,
    requests: Vec<Iteration>,
}

impl Listener for Found<'_, '_> {
    fn mark(&mut self, at: At, name: NameId, _: u32, counter: bool) {
        if !counter && self.view.names.get(name).category == "iteration" {
            self.marks.push((at.thread, name, at.ns));
        }
    }

    fn requests(&mut self, requests: &Requests) {
        if !self.view.rings[requests.ring].posts_buffers() {
            let start_ns = requests.stamps[0].at;
            self.requests.push(Iteration { start_ns, duration_ns: requests.ns() });
        }
    }
}

impl Found<'_, '_> {
    fn choose(mut self) -> (String, Vec<Iteration>) {
        self.marks.sort_unstable();
        let pairs =
            self.marks.windows(2).filter(|two| two[0].0 == two[1].0 && two[0].1 == two[1].1);
        let pairs = pairs.filter(|two| !self.view.pauses_between(two[0].2, two[1].2));
        let all: Vec<Iteration> = pairs
            .map(|two| Iteration { start_ns: two[0].2, duration_ns: two[1].2 - two[0].2 })
            .collect();
        match self.marks.first() {
            Some((_, name, _)) if all.len() > 1 => (self.view.names.get(*name).text.clone(), all),
            _ => ("request".to_owned(), self.requests),
        }
    }
}

fn quantile(sorted: &[i64], percent: usize) -> i64 {
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or(0)
}

fn rolling(all: &[Iteration], percent: usize) -> Vec<(i64, i64)> {
    let width = ROLLING.min(all.len());
    let every = (all.len() - width).div_ceil(POINTS).max(1);
    let groups = all.windows(width).step_by(every).map(|group| {
        let mut times: Vec<i64> = group.iter().map(|one| one.duration_ns).collect();
        times.sort_unstable();
        (group[width / 2].start_ns, quantile(&times, percent))
    });
    groups.collect()
}

/// Where the medians of two neighbouring twentieths differ by a third or more.
fn steps(all: &[Iteration]) -> Vec<(i64, i64, i64)> {
    let size = all.len() / 20;
    if size < 20 {
        return Vec::new();
    }
    let medians: Vec<(i64, i64)> = all
        .chunks_exact(size)
        .map(|group| {
            let mut times: Vec<i64> = group.iter().map(|one| one.duration_ns).collect();
            times.sort_unstable();
            (group[0].start_ns, quantile(&times, 50))
        })
        .collect();
    let pairs = medians.windows(2).filter(|two| {
        let (low, high) = (two[0].1.min(two[1].1), two[0].1.max(two[1].1));
        high > low + low / 3
    });
    pairs.map(|two| (two[1].0, two[0].1, two[1].1)).collect()
}

impl Iterations {
    /// What there is to say.
    #[must_use]
    pub fn text(&self, paint: Paint) -> String {
        let mut times: Vec<i64> = self.all.iter().map(|one| one.duration_ns).collect();
        times.sort_unstable();
        let head = format!(
            "{} of {}: p50 {}, p99 {}, the shortest {}, the longest {}",
            self.what,
            thousands(self.all.len() as u64),
            duration(quantile(&times, 50)),
            duration(quantile(&times, 99)),
            duration(quantile(&times, 0)),
            duration(quantile(&times, 100)),
        );
        let mut text = format!("{}\n", paint.paint(Ink::Bold, &head));
        text += &self.strip();
        for &(at, from, to) in self.steps.iter().take(SLOWEST) {
            let (at, from, to) = (duration(at), duration(from), duration(to));
            text += &format!("at {at} the median goes from {from} to {to}\n");
        }
        text += "the slowest:\n";
        for &at in &self.slowest {
            let one = self.all[at];
            let end = one.start_ns + one.duration_ns;
            text += &format!(
                "  {:>9}  {} {at}  --window {}ns,{}ns\n",
                duration(one.duration_ns),
                self.what,
                one.start_ns.max(0),
                end.max(0)
            );
        }
        text
    }

    /// A line of bars: the median over time.
    fn strip(&self) -> String {
        const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
        let most = self.rolling_p50.iter().map(|point| point.1).max().unwrap_or(0).max(1);
        let every = self.rolling_p50.len().div_ceil(80).max(1);
        let bars = self.rolling_p50.chunks(every).map(|group| {
            let highest = group.iter().map(|point| point.1).max().unwrap_or(0);
            BARS[usize::try_from(highest * 7 / most).unwrap_or(0).min(7)]
        });
        format!("p50 over time, up to {}: {}\n", duration(most), bars.collect::<String>())
    }
}
