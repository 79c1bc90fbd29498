//! What an event costs, beside other tracers and one reading of the clock: a table.
//!
//! ```sh
//! cargo bench -p tracer --bench beside
//! ```
//!
//! Everybody times the same function, which does next to nothing: a call is two events, its beginning and its
//! end. All take turns, round by round; shown are the fastest round, which is what it costs, and the
//! one in the middle, which is what this machine lets one see of it. uftrace times a program in C of its own,
//! built by gcc with calls of mcount; where one of the two is not installed its row says so.

use std::fmt::Write as _;
use std::hint::black_box;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use fastrace::collector::{Config, Reporter, SpanContext, SpanRecord};
use fastrace::local::LocalSpan;
use tracer::clock::cycles;
use tracer::format::journal::Process;
use tracer::keeper::{Keeper, Mode};
use tracing_subscriber::layer::SubscriberExt as _;

/// Rounds in which each has its turn.
const ROUNDS: usize = 21;
/// Calls in a turn.
const CALLS: u32 = 4000;
/// Events of a call.
const EVENTS: f64 = 2.0;

#[inline(never)]
fn plain(x: u32) -> u32 {
    black_box(x) + 1
}

#[inline(never)]
fn ours(x: u32) -> u32 {
    let _span = tracer::span!("leaf");
    black_box(x) + 1
}

#[inline(never)]
fn with_fastrace(x: u32) -> u32 {
    let _span = LocalSpan::enter_with_local_parent("leaf");
    black_box(x) + 1
}

#[inline(never)]
fn with_tracing(x: u32) -> u32 {
    let _span = tracing::info_span!("leaf").entered();
    black_box(x) + 1
}

/// Takes what fastrace has collected, and does nothing with it.
struct Nobody;

impl Reporter for Nobody {
    fn report(&mut self, spans: Vec<SpanRecord>) {
        black_box(spans);
    }
}

/// Nanoseconds that one of so many calls takes.
fn time(call: impl Fn(u32) -> u32) -> f64 {
    let begin = Instant::now();
    for n in 0..CALLS {
        black_box(call(n));
    }
    begin.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS)
}

fn clock_read() -> f64 {
    let begin = Instant::now();
    for _ in 0..CALLS {
        black_box(cycles());
    }
    begin.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS)
}

fn in_fastrace() -> f64 {
    let root = fastrace::Span::root("root", SpanContext::random());
    let _here = root.set_local_parent();
    time(with_fastrace)
}

/// A row: who, and what an event costs in nanoseconds, round by round.
struct Row(&'static str, Vec<f64>);

impl Row {
    fn new(who: &'static str) -> Self {
        Self(who, Vec::new())
    }

    /// The fastest, and the one in the middle.
    fn figures(&self) -> (f64, f64) {
        let mut all = self.1.clone();
        all.sort_by(f64::total_cmp);
        (all[0], all[all.len() / 2])
    }
}

fn rust_rows(chrome: &Path) -> Vec<Row> {
    let keeper = Arc::new(Keeper::new(Mode::Overwrite, 8 << 20).expect("memory"));
    let host = Arc::clone(&keeper);
    tracer::start(Process::default(), keeper.switch(), host).expect("started");
    keeper.set(true);
    tracer::attach();
    fastrace::set_reporter(Nobody, Config::default());
    let (layer, guard) = tracing_chrome::ChromeLayerBuilder::new().file(chrome).build();
    let dispatch = tracing::Dispatch::new(tracing_subscriber::registry().with(layer));

    let mut clock = Row::new("one reading of the clock");
    let mut event = Row::new("pvlab's tracer");
    let mut off = Row::new("pvlab's tracer, off");
    let mut fast = Row::new("fastrace, nobody reads it");
    let mut chrome = Row::new("tracing with tracing-chrome");
    for _ in 0..ROUNDS {
        clock.1.push(clock_read());
        let bare = time(plain);
        let own = |with: f64| (with - bare).max(0.0) / EVENTS;
        event.1.push(own(time(ours)));
        keeper.set(false);
        off.1.push(own(time(ours)));
        keeper.set(true);
        fast.1.push(own(in_fastrace()));
        let traced = || time(with_tracing);
        chrome.1.push(own(tracing::dispatcher::with_default(&dispatch, traced)));
    }
    keeper.set(false);
    drop(guard);
    vec![clock, event, off, fast, chrome]
}

/// The same for a program in C: prints what a call takes, round by round.
const IN_C: &str = r#"
#include <stdio.h>
#include <time.h>
__attribute__((noinline)) static int leaf(int x) { __asm__ volatile("" : "+r"(x)); return x + 1; }
static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e9 + t.tv_nsec;
}
int main(void) {
    for (int round = 0; round < ROUNDS; round++) {
        double begin = now();
        for (int n = 0; n < CALLS; n++) leaf(n);
        printf("%f\n", (now() - begin) / CALLS);
    }
    return 0;
}
"#;

/// What an event costs under uftrace; none if it, or gcc, is not here.
fn uftrace(folder: &Path) -> Option<Row> {
    let source = folder.join("leaf.c");
    std::fs::write(&source, IN_C).ok()?;
    let compile = |name: &str, more: &[&str]| {
        let mut gcc = Command::new("gcc");
        let constants = [format!("-DROUNDS={ROUNDS}"), format!("-DCALLS={CALLS}")];
        gcc.arg("-O1").args(more).args(constants).arg(&source).arg("-o").arg(folder.join(name));
        gcc.status().ok().filter(|status| status.success())
    };
    compile("bare", &[])?;
    compile("traced", &["-pg"])?;
    let figures = |mut command: Command| -> Option<Vec<f64>> {
        let output = command.output().ok().filter(|output| output.status.success())?;
        let text = String::from_utf8(output.stdout).ok()?;
        Some(text.lines().filter_map(|line| line.parse().ok()).collect())
    };
    let bare = Row("", figures(Command::new(folder.join("bare")))?).figures().1;
    let mut record = Command::new("uftrace");
    record.args(["record", "-d"]).arg(folder.join("data")).arg(folder.join("traced"));
    let traced = figures(record).filter(|figures| figures.len() == ROUNDS)?;
    let own = traced.iter().map(|with| (with - bare).max(0.0) / EVENTS).collect();
    Some(Row("uftrace (a program in C, -pg)", own))
}

fn main() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut rows = rust_rows(&folder.path().join("chrome.json"));
    let found = uftrace(folder.path());
    let missing = found.is_none();
    rows.extend(found);
    let (clock, _) = rows[0].figures();
    let mut table =
        format!("{:32}{:>12}{:>12}{:>16}\n", "an event", "fastest", "middle", "clock reads");
    for row in &rows {
        let (fastest, middle) = row.figures();
        let reads = fastest / clock;
        let who = row.0;
        // Writing to a String does not fail.
        let _ = writeln!(table, "{who:32}{fastest:>9.1} ns{middle:>9.1} ns{reads:>15.2}x");
    }
    if missing {
        table += "uftrace: it or gcc is not installed\n";
    }
    print!("{table}");
}
