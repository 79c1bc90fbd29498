//! Are the figures right? Traces in which each duration is known, and what the reports and tables make of them.

use std::collections::BTreeMap;
use std::io::Read as _;

use tracer::format::{Event, Trace};
use tracer_view::fixture::{BEGIN, Maker, Plan};
use tracer_view::{
    Busy, Filter, Format, Iterations, Paint, Row, Top, View, explain, iterations, write,
};

/// Looks at a made trace; an event costs so much to record.
fn viewed<R>(maker: &Maker, event_ps: u64, look: impl FnOnce(&View<'_>) -> R) -> R {
    let bytes = maker.finish();
    let mut trace = Trace::parse(&bytes).expect("a trace");
    trace.clock.event_ps = event_ps;
    look(&View::new(&trace))
}

fn top(maker: &Maker, event_ps: u64, raw: bool) -> Top {
    viewed(maker, event_ps, |view| Top::new(view, &Filter::default(), raw).expect("no filter"))
}

fn row<'t>(top: &'t Top, name: &str) -> &'t Row {
    top.rows.iter().find(|row| row.name == name).unwrap_or_else(|| panic!("no {name}"))
}

fn written(maker: &Maker, format: Format) -> Vec<u8> {
    let mut to = Vec::new();
    viewed(maker, 0, |view| write(view, &Filter::default(), format, &mut to).expect("memory"));
    to
}

/// 100 calls in 100 us: of `outer` each takes 600 ns, and in each of them `inner` takes 100, but 250 in
/// the last two.
fn calls() -> Maker {
    let mut maker = Maker::new();
    let process = maker.process(1, "netfront");
    let outer = maker.site(process, "function", "outer", "");
    let inner = maker.site(process, "function", "inner", "");
    let thread = maker.thread(process, "worker");
    for n in 0..100 {
        let (at, takes) = (n * 1000, if n < 98 { 100 } else { 250 });
        maker.record(thread, at, Event::Enter { site: outer, arg: 0 });
        maker.record(thread, at + 50, Event::Enter { site: inner, arg: 0 });
        maker.record(thread, at + 50 + takes, Event::Exit { site: inner, arg: 0 });
        maker.record(thread, at + 600, Event::Exit { site: outer, arg: 0 });
    }
    let end = maker.site(process, "iteration", "end", "");
    maker.record(thread, 100_000, Event::Mark { site: end, arg: 0 });
    maker
}

#[test]
fn top_adds_up() {
    let found = top(&calls(), 0, false);
    let (outer, inner) = (row(&found, "outer"), row(&found, "inner"));
    assert_eq!((outer.calls, outer.open, inner.calls, inner.open), (100, 0, 100, 0));
    assert_eq!((outer.total_ns, inner.total_ns), (60_000, 98 * 100 + 2 * 250));
    assert_eq!((outer.self_ns, inner.self_ns), (60_000 - inner.total_ns, inner.total_ns));
    assert_eq!((outer.mean_ns(), inner.mean_ns()), (600, 103));
    assert_eq!((inner.p50_ns, inner.p99_ns, inner.max_ns), (100, 250, 250));
    assert_eq!((outer.depth, inner.depth), (0, 1));
    assert_eq!(found.recorded_ns, 100_000);
    assert!((inner.share - 10.3).abs() < 1e-9 && (outer.share - 49.7).abs() < 1e-9, "{found:?}");
    assert_eq!(found.rows[0].name, "outer", "what costs most stands first");
}

#[test]
fn what_recording_took_is_subtracted_and_told() {
    // 10 ns an event: a slice's two, of which it has half each, and as much in what is around it.
    let (raw, found) = (top(&calls(), 10_000, true), top(&calls(), 10_000, false));
    let own = |top: &Top, name: &str| row(top, name).self_ns;
    assert_eq!(own(&raw, "inner"), 98 * 100 + 2 * 250);
    assert_eq!(own(&raw, "inner") - own(&found, "inner"), 100 * 10);
    assert_eq!(own(&raw, "outer") - own(&found, "outer"), 100 * 20);
    let total = |top: &Top| row(top, "outer").total_ns;
    assert_eq!((total(&raw), total(&raw) - total(&found)), (60_000, 100 * 30));
    // Of each call the same is subtracted as of their mean.
    let times = |top: &Top| {
        let (outer, inner) = (row(top, "outer"), row(top, "inner"));
        [outer.mean_ns(), outer.p50_ns, inner.mean_ns(), inner.p50_ns, inner.p99_ns, inner.max_ns]
    };
    // Two digits are kept of what is longer than 255.
    assert_eq!(times(&raw), [600, 603, 103, 100, 250, 250]);
    assert_eq!(times(&found), [570, 571, 93, 90, 240, 240]);
    let dear = top(&calls(), 300_000, false);
    assert_eq!(times(&dear), [0; 6], "it cost more than all of it");
    assert_eq!((raw.overhead_ns, found.overhead_ns), (4010, 4010), "401 events");
    let said = |top: &Top| top.text(10, Paint::default());
    let told = "recording took 4.01 us of 100 us (4.0 %, 10.0 ns an event)";
    for (top, how) in [(&found, "all times are without it"), (&raw, "all times are with it")] {
        let text = said(top);
        assert!(text.contains(told) && text.contains(how), "{text}");
    }
}

#[test]
fn of_two_traces_the_greatest_change_comes_first() {
    let before = top(&Plan::default().make(), 0, false);
    let after = top(&Plan { serve: 1000, ..Plan::default() }.make(), 0, false);
    let text = after.diff(&before, 10, Paint::default());
    // `serve` alone was changed; who waits for it spins longer.
    let line = text.lines().find(|line| line.ends_with(" serve")).expect("serve");
    let words: Vec<&str> = line.split_whitespace().collect();
    let own = |top: &Top| row(top, "serve").self_ns / 100;
    assert_eq!((own(&before), own(&after)), (540, 1040));
    assert_eq!(&words[..7], ["100", "100", "540", "ns", "1.04", "us", "54.0"], "{line}");
    assert!(line.contains("+92.6 %"), "{line}");
    let first: Vec<&str> = text.lines().skip(1).take(2).collect();
    assert!(first.iter().all(|l| l.ends_with(" serve") || l.ends_with(" spin")), "{text}");
    let same = after.diff(&after, 10, Paint::default());
    assert!(same.lines().skip(1).all(|line| line.contains("+0.0 %")), "{same}");
}

fn busy(maker: &Maker) -> Vec<Busy> {
    viewed(maker, 10_000, |view| explain(view).threads)
}

/// Per cent of a thread's time in which it slept, and in which it spun, from its records.
fn waited(maker: &mut Maker, thread: usize) -> (f64, f64) {
    const SPIN: u32 = 5;
    const SLEEP: u32 = 6;
    let last = |maker: &mut Maker, thread| maker.records(thread).last().expect("some").ticks;
    let end = last(maker, 0).max(last(maker, 1)) + 1000;
    let records = maker.records(thread);
    let (mut slept, mut spun) = (0, 0);
    for (n, record) in records.iter().enumerate() {
        let next = records.get(n + 1).map_or(end, |next| next.ticks);
        match record.event() {
            Event::Enter { site: SLEEP, .. } => slept += next - record.ticks,
            Event::Spin { site: SPIN } => spun += next - record.ticks,
            _ => {}
        }
    }
    let share = |ns: u64| 100.0 * ns as f64 / (end - records[0].ticks.max(BEGIN)) as f64;
    (share(slept), share(spun))
}

#[test]
fn each_threads_time_is_busy_spun_slept_or_unknown() {
    for plan in [Plan::default(), Plan { wake: Some(5_000), ..Plan::default() }] {
        let mut maker = plan.make();
        let found = busy(&maker);
        assert_eq!(found.len(), 2, "{found:?}");
        for (thread, name) in [(0, "netfront"), (1, "netback")] {
            let of = found.iter().find(|busy| busy.thread == name).expect("one each");
            let all = of.busy + of.spin + of.blocked + of.unknown;
            assert!((all - 100.0).abs() < 1e-6, "{of:?}");
            let (slept, spun) = waited(&mut maker, thread);
            assert!((of.blocked - slept).abs() < 0.01, "{slept} % planned: {of:?}");
            // And the time without a record that a look in vain ended.
            assert!(of.spin >= spun - 0.01 && of.spin < spun + 3.0, "{spun} % planned: {of:?}");
            assert_eq!(slept > 0.0, thread == 1 && plan.wake.is_some());
            let events = maker.records(thread).len() as f64;
            let tracing = 100.0 * events * 10.0 / of.recorded_ns as f64;
            assert!((of.tracing - tracing).abs() < 0.01, "{tracing} %: {of:?}");
        }
    }
}

/// Rounds that last so long each.
fn rounds(durations: &[u64]) -> Iterations {
    let mut maker = Maker::new();
    let process = maker.process(1, "netfront");
    let round = maker.site(process, "iteration", "round", "number");
    let thread = maker.thread(process, "worker");
    let mut now = 0;
    for (n, takes) in durations.iter().chain([&1]).enumerate() {
        let arg = u32::try_from(n).expect("few");
        maker.record(thread, now, Event::Mark { site: round, arg });
        now += takes;
    }
    viewed(&maker, 0, |view| iterations(view).expect("rounds"))
}

#[test]
fn rounds_have_a_plateau_a_step_and_a_slowest() {
    let mut durations = vec![1000; 200];
    durations.extend(vec![2000; 200]);
    durations[300] = 50_000;
    let found = rounds(&durations);
    assert_eq!((found.what.as_str(), found.all.len()), ("round", 400));
    assert!(found.all.iter().map(|one| one.duration_ns.unsigned_abs()).eq(durations));
    assert_eq!(found.steps, [(200_000, 1000, 2000)], "when, from what, to what");
    assert_eq!((found.slowest[0], found.slowest.len()), (300, 10));
    let (first, last) = (found.rolling_p50[0], found.rolling_p50[found.rolling_p50.len() - 1]);
    assert_eq!((first.1, last.1), (1000, 2000));
    let text = found.text(Paint::default());
    assert!(text.contains("at 200 us the median goes from 1.00 us to 2.00 us"), "{text}");
    assert!(text.contains("50.0 us  round 300  --window 400000ns,450000ns"), "{text}");
}

#[test]
fn a_burst_is_in_the_rolling_p99_and_no_step() {
    let mut durations = vec![1000; 600];
    durations[400..405].fill(30_000);
    let found = rounds(&durations);
    assert_eq!(found.steps, []);
    assert_eq!(found.slowest[..5], [400, 401, 402, 403, 404]);
    assert!(found.rolling_p50.iter().all(|&(_, ns)| ns == 1000));
    let high = found.rolling_p99.iter().filter(|&&(_, ns)| ns == 30_000).count();
    let calm = found.rolling_p99.iter().filter(|&&(_, ns)| ns == 1000).count();
    assert!(high > 100 && calm > 100 && high + calm == found.rolling_p99.len(), "{high} {calm}");
    assert_eq!(rounds(&[1000; 100]).steps, [], "too few to tell");
}

#[test]
fn what_is_packed_is_what_is_not() {
    let maker = Plan { batches: 50, ..Plan::default() }.make();
    let (packed, plain) = (written(&maker, Format::JsonGz), written(&maker, Format::Json));
    let mut text = Vec::new();
    flate2::read::GzDecoder::new(packed.as_slice()).read_to_end(&mut text).expect("gzip");
    assert!(text == plain && packed.len() * 4 < plain.len(), "{} {}", packed.len(), plain.len());
}

/// By process and name: its own nanoseconds, and calls.
type Sums = BTreeMap<(String, String), (i64, u64)>;

fn reported(maker: &Maker) -> (Sums, Top) {
    let top = top(maker, 10_000, true);
    let of = |row: &Row| ((row.process.clone(), row.name.clone()), (row.self_ns, row.calls));
    (top.rows.iter().map(of).collect(), top)
}

#[test]
fn folded_stacks_hold_each_functions_own_time() {
    let maker =
        Plan { wake: Some(700), back_function: Some(("look", 90)), ..Plan::default() }.make();
    let text = String::from_utf8(written(&maker, Format::Folded)).expect("text");
    let (mut sums, mut stacks) = (BTreeMap::<_, i64>::new(), Vec::new());
    for line in text.lines() {
        let (stack, ns) = line.rsplit_once(' ').expect("a stack and a number");
        let frames: Vec<&str> = stack.split(';').collect();
        let title = if frames[0] == "netfront" { "domain 1 netfront" } else { "domain 0 netback" };
        let key = (title.to_owned(), frames[frames.len() - 1].to_owned());
        *sums.entry(key).or_default() += ns.parse::<i64>().expect("a number");
        stacks.push(stack);
    }
    let own = reported(&maker).0.into_iter().map(|(key, (ns, _))| (key, ns));
    assert!(own.eq(sums), "{text}");
    assert!(stacks.contains(&"netback;serve;grant.copy") && stacks.is_sorted(), "{stacks:?}");
}

#[test]
fn the_table_has_a_line_for_each_call() {
    let maker = Plan { wake: Some(700), ..Plan::default() }.make();
    let text = String::from_utf8(written(&maker, Format::Csv)).expect("text");
    let (reported, top) = reported(&maker);
    let mut lines = text.lines();
    let head = "process,thread,name,category,start_ns,duration_ns,self_ns,depth,arg,result,end";
    assert_eq!(lines.next(), Some(head));
    let (mut sums, mut whole, mut depths) = (Sums::new(), BTreeMap::new(), BTreeMap::new());
    for line in lines {
        let row: Vec<&str> = line.split(',').collect();
        assert_eq!(row.len(), 11, "{line}");
        let number = |at: usize| row[at].parse::<i64>().expect("a number");
        let key = (row[0].to_owned(), row[2].to_owned());
        let (own, calls) = sums.entry(key.clone()).or_default();
        let closed = row[10] != "open";
        (*own, *calls) = (*own + number(6), *calls + u64::from(closed));
        *whole.entry(key.clone()).or_insert(0) += if closed { number(5) } else { 0 };
        let depth = depths.entry(key).or_insert(0);
        *depth = number(7).max(*depth);
    }
    assert_eq!(sums, reported);
    for row in &top.rows {
        let key = (row.process.clone(), row.name.clone());
        assert_eq!((whole[&key], usize::try_from(depths[&key])), (row.sum_ns, Ok(row.depth)));
    }
    let first = text.lines().find(|line| line.contains(",serve,")).expect("serve");
    assert!(first.starts_with("domain 0 netback,worker-0,serve,function,"), "{first}");
}
