//! `pvlab trace top`: what each function of each process cost in all.
//!
//! Recording takes time too, and lands in the figures: half an event in the slice that it begins or
//! ends, half in what is around it. It is subtracted from each call, and what was subtracted is told.

use std::collections::HashMap;

use hdrhistogram::Histogram;

use super::numbers::{duration, share, thousands};
use super::paint::{Ink, Paint};
use crate::error::Error;
use crate::name::NameId;
use crate::selection::{Filter, Selected, Selection};
use crate::stack::{Slice, Stack};
use crate::timeline::{At, Listener, play};
use crate::view::View;

/// What one function, span or wait of one process came to. Times are nanoseconds.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Of which process: `domain 1 netfront`.
    pub process: String,
    /// What it is called.
    pub name: String,
    /// What it is about.
    pub category: String,
    /// How often, those that never ended apart.
    pub calls: u64,
    /// How often it began and never ended.
    pub open: u64,
    /// Sum of all durations as recorded; where it calls itself the inner time counts again.
    pub sum_ns: i64,
    /// Time during which it was running, the cost of recording subtracted.
    pub total_ns: i64,
    /// The same without what it called.
    pub self_ns: i64,
    /// Of one call, the cost of recording subtracted.
    pub p50_ns: i64,
    /// The same.
    pub p99_ns: i64,
    /// The same.
    pub max_ns: i64,
    /// Its own time as a part of the time its process's threads were recorded. Per cent.
    pub share: f64,
    /// Frames around it at most.
    pub depth: usize,
}

impl Row {
    /// Mean time of a call. Nanoseconds.
    #[must_use]
    pub fn mean_ns(&self) -> i64 {
        self.total_ns / i64::try_from(self.calls + self.open).unwrap_or(1).max(1)
    }

    /// Mean time of a call without what it called. Nanoseconds.
    fn mean_self_ns(&self) -> i64 {
        self.self_ns / i64::try_from(self.calls + self.open).unwrap_or(1).max(1)
    }
}

/// All functions of a trace, those that cost most first.
#[derive(Debug, Clone, PartialEq)]
pub struct Top {
    /// One for each.
    pub rows: Vec<Row>,
    /// What recording cost. Nanoseconds.
    pub overhead_ns: i64,
    /// Time that all threads were recorded. Nanoseconds.
    pub recorded_ns: i64,
    /// What one event costs. Picoseconds.
    pub event_ps: u64,
    /// That is left in.
    pub raw: bool,
}

impl Top {
    /// Adds up what `filter` selects. With `raw`, the cost of recording is left in.
    ///
    /// # Errors
    /// If the filter names what is not there.
    pub fn new(view: &View<'_>, filter: &Filter, raw: bool) -> Result<Self, Error> {
        let selection = Selection::new(view, filter)?;
        let event_ps = view.clock.event_ps;
        let cost = Cost { event_ps: if raw { 0 } else { event_ps } };
        let mut sums = Selected { selection: &selection, to: Sums::new(view, cost) };
        let defects = play(view, &mut sums);
        Ok(Self {
            rows: sums.to.rows(),
            overhead_ns: Cost { event_ps }.of(defects.records),
            recorded_ns: sums.to.spans.iter().map(|span| span.1 - span.0).sum(),
            event_ps,
            raw,
        })
    }

    /// The table, at most `rows` of it.
    #[must_use]
    pub fn text(&self, rows: usize, paint: Paint) -> String {
        let head = "     calls      total       self       mean        p50        p99   share";
        let mut text = paint.paint(Ink::Bold, &format!("{head}  what")) + "\n";
        for row in self.rows.iter().take(rows) {
            let shared = format!("{:6.1} %", row.share);
            let hot = row.share >= 10.0 && row.category != "wait";
            text += &format!(
                "{:>10} {:>10} {:>10} {:>10} {:>10} {:>10} {}  {}",
                thousands(row.calls + row.open),
                duration(row.total_ns),
                duration(row.self_ns),
                duration(row.mean_ns()),
                duration(row.p50_ns),
                duration(row.p99_ns),
                if hot { paint.paint(Ink::Hot, &shared) } else { shared },
                paint.paint(side(&row.process), &row.process),
            );
            text += &format!(
                " {}{}\n",
                if row.category == "wait" {
                    paint.paint(Ink::Wait, &row.name)
                } else {
                    row.name.clone()
                },
                if row.open > 0 { format!("  ({} never ended)", row.open) } else { String::new() },
            );
        }
        if self.rows.len() > rows {
            text += &format!("           ... and {} more\n", self.rows.len() - rows);
        }
        let cost = format!(
            "recording took {} of {} ({:.1} %, {:.1} ns an event); all times are {} it\n",
            duration(self.overhead_ns),
            duration(self.recorded_ns),
            share(self.overhead_ns, self.recorded_ns),
            self.event_ps as f64 / 1000.0,
            if self.raw { "with" } else { "without" },
        );
        text + &paint.paint(Ink::Dim, &cost)
    }

    /// What became of each function from `before` to this, the greatest change of time first.
    #[must_use]
    pub fn diff(&self, before: &Self, rows: usize, paint: Paint) -> String {
        let mut changes = self.changes(before);
        changes.sort_by_key(|change| std::cmp::Reverse(change.self_ns().unsigned_abs()));
        let head = "       calls A -> B      mean self A -> B       self A -> B    change";
        let mut text = paint.paint(Ink::Bold, &format!("{head}  what")) + "\n";
        for change in changes.iter().take(rows) {
            text += &change.text(paint);
        }
        text
    }

    fn changes<'r>(&'r self, before: &'r Self) -> Vec<Change<'r>> {
        let key = |row: &'r Row| (row.process.as_str(), row.name.as_str());
        let mut all: HashMap<_, Change<'r>> = HashMap::new();
        for row in &before.rows {
            all.entry(key(row)).or_default().before = Some(row);
        }
        for row in &self.rows {
            all.entry(key(row)).or_default().after = Some(row);
        }
        all.into_values().collect()
    }
}

/// One function in two traces.
#[derive(Debug, Default)]
struct Change<'r> {
    before: Option<&'r Row>,
    after: Option<&'r Row>,
}

impl Change<'_> {
    fn self_ns(&self) -> i64 {
        self.after.map_or(0, |row| row.self_ns) - self.before.map_or(0, |row| row.self_ns)
    }

    fn text(&self, paint: Paint) -> String {
        let calls = |row: Option<&Row>| row.map_or(0, |row| row.calls + row.open);
        let mean =
            |row: Option<&Row>| row.map_or_else(|| "-".into(), |r| duration(r.mean_self_ns()));
        let own = |row: Option<&Row>| row.map_or_else(|| "-".into(), |row| duration(row.self_ns));
        let change = match (self.before, self.after) {
            (None, _) => "new".to_owned(),
            (_, None) => "gone".to_owned(),
            (Some(before), Some(after)) if after.self_ns / 10 >= before.self_ns.max(1) => {
                format!("x {}", after.self_ns / before.self_ns.max(1))
            }
            (Some(before), Some(_)) => {
                format!("{:+.1} %", share(self.self_ns(), before.self_ns.max(1)))
            }
        };
        let row = self.after.or(self.before);
        let (process, name) = row.map_or(("", ""), |row| (&row.process, &row.name));
        let change = format!("{change:>9}");
        let ink = if self.self_ns() > 0 { Ink::Hot } else { Ink::Ring };
        format!(
            "{:>9} {:>9}  {:>10} {:>10}  {:>10} {:>10} {}  {} {name}\n",
            thousands(calls(self.before)),
            thousands(calls(self.after)),
            mean(self.before),
            mean(self.after),
            own(self.before),
            own(self.after),
            paint.paint(ink, &change),
            paint.paint(side(process), process),
        )
    }
}

/// The colour of a process.
pub(crate) fn side(title: &str) -> Ink {
    match title.strip_prefix("domain ") {
        Some(domain) if domain.starts_with("0 ") => Ink::Back,
        Some(_) => Ink::Front,
        None => Ink::Dim,
    }
}

/// What recording costs.
#[derive(Debug, Clone, Copy)]
struct Cost {
    event_ps: u64,
}

impl Cost {
    /// Nanoseconds that so many events take.
    fn of(self, events: u64) -> i64 {
        let ps = u128::from(events) * u128::from(self.event_ps);
        i64::try_from(ps / 1000).unwrap_or(i64::MAX)
    }
}

/// Sums in the making, for each thread's process and each name.
#[derive(Debug)]
struct Sum {
    calls: u64,
    open: u64,
    sum_ns: i64,
    /// Where it is not inside itself.
    outermost_ns: i64,
    self_ns: i64,
    /// Events in `outermost_ns`, and in `self_ns`.
    inner: u64,
    own: u64,
    depth: usize,
    times: Histogram<u64>,
}

impl Sum {
    fn new() -> Self {
        // Two digits, up to an hour: never refused.
        let times = Histogram::new_with_bounds(1, 3_600_000_000_000, 2);
        let times = times.unwrap_or_else(|_| unreachable!("the bounds are in order"));
        Self {
            calls: 0,
            open: 0,
            sum_ns: 0,
            outermost_ns: 0,
            self_ns: 0,
            inner: 0,
            own: 0,
            depth: 0,
            times,
        }
    }
}

struct Sums<'v, 'a> {
    view: &'v View<'a>,
    /// For each process, for each name.
    sums: Vec<Vec<Option<Sum>>>,
    /// For each thread: first and last time.
    spans: Vec<(i64, i64)>,
    cost: Cost,
}

impl<'v, 'a> Sums<'v, 'a> {
    fn new(view: &'v View<'a>, cost: Cost) -> Self {
        let none = || (0..view.names.len()).map(|_| None).collect();
        let spans = view.threads.iter().map(|thread| {
            let process = &view.processes[thread.process];
            let mut records = thread.records();
            let first = records.next().map_or(0, |record| view.ns(process, record.ticks));
            let last = records.next_back().map_or(first, |record| view.ns(process, record.ticks));
            (first, last.max(first))
        });
        let spans = spans.collect();
        Self { view, sums: view.processes.iter().map(|_| none()).collect(), spans, cost }
    }

    fn rows(&self) -> Vec<Row> {
        let cost = self.cost;
        let mut rows = Vec::new();
        for (at, (process, sums)) in self.view.processes.iter().zip(&self.sums).enumerate() {
            let threads = self.view.threads.iter().zip(&self.spans);
            let mine = threads.filter(|(thread, _)| thread.process == at);
            let recorded: i64 = mine.map(|(_, span)| span.1 - span.0).sum();
            for (name, sum) in self.view.names.iter().zip(sums) {
                let Some(sum) = sum else { continue };
                let self_ns = (sum.self_ns - cost.of(sum.own)).max(0);
                let quantile =
                    |q| i64::try_from(sum.times.value_at_quantile(q)).unwrap_or(i64::MAX);
                rows.push(Row {
                    process: process.title.clone(),
                    name: name.text.clone(),
                    category: name.category.clone(),
                    calls: sum.calls,
                    open: sum.open,
                    sum_ns: sum.sum_ns,
                    total_ns: (sum.outermost_ns - cost.of(sum.inner)).max(0),
                    self_ns,
                    p50_ns: quantile(0.5),
                    p99_ns: quantile(0.99),
                    max_ns: quantile(1.0),
                    share: share(self_ns, recorded),
                    depth: sum.depth,
                });
            }
        }
        rows.sort_by(|a, b| b.self_ns.cmp(&a.self_ns).then_with(|| a.name.cmp(&b.name)));
        rows
    }

    fn sum(&mut self, thread: usize, name: NameId) -> &mut Sum {
        let process = self.view.threads[thread].process;
        self.sums[process][name.index()].get_or_insert_with(Sum::new)
    }
}

impl Listener for Sums<'_, '_> {
    fn end(&mut self, at: At, slice: &Slice, stack: &Stack) {
        let frame = &slice.frame;
        let inside_itself = stack.frames().iter().any(|around| around.name == frame.name);
        let alone = slice.ns() - self.cost.of(frame.inner + 1);
        let sum = self.sum(at.thread, frame.name);
        if slice.is_open() {
            sum.open += 1;
        } else {
            sum.calls += 1;
            sum.sum_ns += slice.ns();
        }
        sum.self_ns += slice.self_ns();
        sum.own += frame.own + 1;
        sum.depth = sum.depth.max(slice.depth);
        if !inside_itself {
            sum.outermost_ns += slice.ns();
            sum.inner += frame.inner + 1;
        }
        sum.times.saturating_record(u64::try_from(alone).unwrap_or(0));
    }
}
