//! What is written: valid, whole, and the same as the report says; also of what is cut off or wrong.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tracer::format::{Ended, Event, Full, Record, Trace};
use tracer_view::fixture::{BEGIN, Maker, Plan};
use tracer_view::{
    Exported, Filter, Format, Paint, Pattern, Top, View, explain, iterations, tree, write,
};

fn written(maker: &Maker, filter: &Filter, format: Format) -> (Vec<u8>, Exported) {
    let bytes = maker.finish();
    let trace = Trace::parse(&bytes).expect("a trace");
    let mut to = Vec::new();
    let made = write(&View::new(&trace), filter, format, &mut to).expect("memory");
    (to, made)
}

fn events(maker: &Maker, filter: &Filter) -> (Vec<Value>, Exported) {
    let (text, made) = written(maker, filter, Format::Json);
    let json: Value = serde_json::from_slice(&text).expect("valid JSON");
    (json["traceEvents"].as_array().expect("events").clone(), made)
}

fn ns(value: &Value) -> i64 {
    // Three decimals, exactly.
    let text = value.to_string();
    let (sign, text) = text.strip_prefix('-').map_or((1, &*text), |text| (-1, text));
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let part: i64 = format!("{part:0<3}").parse().expect("digits");
    sign * (whole.parse::<i64>().expect("digits") * 1000 + part)
}

/// Begins and ends of the arrows of each category, name and id.
type Arrows = BTreeMap<(String, String, u64), (Vec<i64>, Vec<i64>)>;

/// What is wrong with a trace's events, as one who draws them would find.
fn faults(events: &[Value]) -> Vec<String> {
    let mut faults = Vec::new();
    let mut arrows = Arrows::new();
    let mut slices: BTreeMap<(u64, u64), Vec<(i64, i64)>> = BTreeMap::new();
    for event in events {
        let text = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
        let track = (event["pid"].as_u64().unwrap_or(0), event["tid"].as_u64().unwrap_or(0));
        match text("ph").as_str() {
            "X" => {
                let start = ns(&event["ts"]);
                slices.entry(track).or_default().push((start, start + ns(&event["dur"])));
            }
            end @ ("s" | "f") => {
                let key = (text("cat"), text("name"), event["id"].as_u64().expect("a number"));
                let ends = arrows.entry(key).or_default();
                if end == "s" {
                    ends.0.push(ns(&event["ts"]))
                } else {
                    ends.1.push(ns(&event["ts"]))
                }
            }
            _ => {}
        }
    }
    for (key, (from, to)) in arrows {
        match (from.as_slice(), to.as_slice()) {
            ([from], [to]) if from <= to => {}
            _ => faults.push(format!("arrow {key:?}: from {from:?} to {to:?}")),
        }
    }
    for (track, mut of) in slices {
        of.sort_by_key(|&(start, end)| (start, -end));
        let mut open: Vec<i64> = Vec::new();
        for (start, end) in of {
            open.retain(|&until| until > start);
            if open.last().is_some_and(|&until| end > until) {
                faults.push(format!("slices of {track:?} overlap at {start}"));
            }
            open.push(end);
        }
    }
    faults
}

fn count(events: &[Value], phase: &str, category: &str) -> u64 {
    events.iter().filter(|e| e["ph"] == phase && e["cat"] == category).count() as u64
}

#[test]
fn every_slot_has_its_arrows_and_every_slice_its_place() {
    let plan = Plan { wake: Some(900), ..Plan::default() };
    let (events, made) = events(&plan.make(), &Filter::default());
    let slots = u64::from(plan.batches * plan.batch);
    assert_eq!(faults(&events), Vec::<String>::new());
    for category in ["ring.req", "ring.rsp"] {
        assert_eq!(count(&events, "s", category), slots);
        assert_eq!(count(&events, "f", category), slots);
    }
    assert_eq!((made.arrows.requests, made.arrows.responses), (slots, slots));
    assert_eq!(made.arrows.wakes, u64::from(plan.batches));
    assert_eq!(count(&events, "b", "request"), slots, "a lane for each request");
}

#[test]
fn counts_and_times_are_those_of_the_report() {
    let maker = Plan::default().make();
    let bytes = maker.finish();
    let trace = Trace::parse(&bytes).expect("a trace");
    let top = Top::new(&View::new(&trace), &Filter::default(), true).expect("no filter");
    let (events, _) = events(&maker, &Filter::default());
    let mut found: BTreeMap<(u64, String), (u64, i64)> = BTreeMap::new();
    for event in events.iter().filter(|event| event["ph"] == "X") {
        let key = (event["pid"].as_u64().expect("pid"), event["name"].as_str().unwrap().to_owned());
        let sum = found.entry(key).or_default();
        *sum = (sum.0 + 1, sum.1 + ns(&event["dur"]));
    }
    assert_eq!(found.len(), top.rows.len());
    for row in &top.rows {
        let pid = if row.process.contains("netfront") { 1000 } else { 1001 };
        assert_eq!(found[&(pid, row.name.clone())], (row.calls, row.sum_ns), "{row:?}");
    }
}

#[test]
fn a_deleted_exit_a_used_id_and_a_swapped_stamp_are_found() {
    let events = |maker: &Maker| events(maker, &Filter::default());
    let plan = Plan::default();
    // One exit deleted: the count of slices differs, and says so.
    let mut maker = plan.make();
    let is_exit = |record: &Record| matches!(record.event(), Event::Exit { .. });
    let at = maker.records(0).iter().position(is_exit).expect("an exit");
    maker.records(0).remove(at);
    let calls = |events: &[Value], name: &str| {
        let of = events.iter().filter(|e| e["ph"] == "X" && e["name"] == name);
        of.filter(|e| e["args"]["note"].is_null()).count()
    };
    assert_eq!(calls(&events(&plan.make()).0, "xmit"), 100);
    assert_eq!(calls(&events(&maker).0, "xmit"), 99);
    // One arrow's id used again.
    let (mut spoilt, _) = events(&plan.make());
    let arrow = spoilt.iter().find(|event| event["ph"] == "s").expect("an arrow").clone();
    spoilt.push(arrow);
    assert_ne!(faults(&spoilt), Vec::<String>::new());
    // Pushed after it was seen.
    let mut maker = plan.make();
    let is_push = |record: &Record| matches!(record.event(), Event::Push { .. });
    let at = maker.records(0).iter().rposition(is_push).expect("a push");
    let seen =
        maker.records(1).iter().rposition(|r| matches!(r.event(), Event::Pop(_))).expect("a pop");
    let later = maker.records(1)[seen].ticks + 1;
    for record in &mut maker.records(0)[at..] {
        record.ticks = record.ticks.max(later);
    }
    let (_, made) = events(&maker);
    assert_eq!(made.arrows.requests, 99 * 8, "what was seen first has no arrow");
    assert_eq!((made.backwards, made.furthest_ns, made.unsent), (8, 1, 0));
}

/// The backend's clock is behind, so that what it sees seems not to have been pushed yet.
#[test]
fn arrows_that_would_run_backwards_are_counted_and_not_drawn() {
    let plan = Plan::default();
    let slots = u64::from(plan.batches * plan.batch);
    let with = |offset: i64, format| {
        let mut maker = plan.make();
        maker.clock_offset(1, offset);
        written(&maker, &Filter::default(), format)
    };
    for format in [Format::Json, Format::Perfetto] {
        // A batch is seen 100 ns after it was pushed, and its responses 90 ns after theirs.
        let (_, right) = with(-80, format);
        assert_eq!((right.backwards, right.furthest_ns, right.unsent), (0, 0, 0), "{format:?}");
        assert_eq!((right.arrows.requests, right.arrows.responses), (slots, slots));
        let (_, made) = with(-1000, format);
        assert_eq!((made.backwards, made.furthest_ns, made.unsent), (slots, 900, 0), "{format:?}");
        assert_eq!((made.arrows.requests, made.arrows.responses), (0, slots), "{format:?}");
        let (_, ahead) = with(1000, format);
        assert_eq!((ahead.backwards, ahead.furthest_ns, ahead.unsent), (slots, 910, 0));
        assert_eq!((ahead.arrows.requests, ahead.arrows.responses), (slots, 0), "{format:?}");
    }
    let (text, _) = with(-1000, Format::Json);
    let json: Value = serde_json::from_slice(&text).expect("valid JSON");
    let events = json["traceEvents"].as_array().expect("events");
    assert_eq!(faults(events), Vec::<String>::new());
    assert_eq!(count(events, "s", "ring.req"), 0);
    // A push that is missing is another matter.
    let mut maker = plan.make();
    let push = maker.records(0).iter().position(|r| matches!(r.event(), Event::Push { .. }));
    maker.records(0).remove(push.expect("a push"));
    let (_, made) = written(&maker, &Filter::default(), Format::Perfetto);
    assert_eq!((made.backwards, made.unsent), (0, u64::from(plan.batch)));
}

#[test]
fn thinning_leaves_out_the_short_and_never_an_arrow() {
    let plan = Plan { batches: 2000, ..Plan::default() };
    let maker = plan.make();
    let (all, _) = events(&maker, &Filter::default());
    let filter = Filter { most: Some(50_000), ..Filter::default() };
    let (thin, made) = events(&maker, &filter);
    assert!(thin.len() < all.len() * 2 / 3, "{} of {}", thin.len(), all.len());
    assert_eq!(faults(&thin), Vec::<String>::new());
    for category in ["ring.req", "ring.rsp"] {
        assert_eq!(count(&thin, "s", category), count(&all, "s", category));
    }
    assert!(made.thinned.slices > 0 && made.thinned.over.is_some(), "{made:?}");
    let left: u64 = thin.iter().filter(|event| event["ph"] == "X").count() as u64;
    let before: u64 = all.iter().filter(|event| event["ph"] == "X").count() as u64;
    assert_eq!(left + made.thinned.slices, before, "what is left out is told");
    // Enough room: nothing is left out.
    let filter = Filter { most: Some(1_000_000), ..Filter::default() };
    assert_eq!(events(&maker, &filter).0, all);
}

/// Every kind of event counts, whether it can be left out or not.
#[test]
fn where_the_arrows_fit_there_are_no_more_events_than_asked_for() {
    let plan = Plan { batches: 500, wake: Some(700), full: 100, takes: true, ..Plan::default() };
    let mut maker = plan.make();
    maker.note(0, 700, 2000, "said in between");
    let count = |events: &[Value]| events.iter().filter(|event| event["ph"] != "M").count() as u64;
    let all = count(&events(&maker, &Filter::default()).0);
    for most in [all * 8 / 10, all * 9 / 10, all - 1] {
        let (some, made) = events(&maker, &Filter { most: Some(most), ..Filter::default() });
        assert_eq!((made.thinned.over, faults(&some)), (None, Vec::new()), "the arrows fit");
        assert!(made.thinned.slices + made.thinned.lanes + made.thinned.values > 0, "{made:?}");
        assert!(count(&some) <= most, "{} of {most}: {made:?}", count(&some));
    }
}

#[test]
fn filters_select() {
    let maker = Plan::default().make();
    let names = |filter: &Filter| -> BTreeSet<String> {
        let (events, _) = events(&maker, filter);
        let slices = events.iter().filter(|event| event["ph"] == "X");
        slices.map(|event| event["name"].as_str().unwrap_or_default().to_owned()).collect()
    };
    let set = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<BTreeSet<_>>();
    let only = Filter { only: vec![Pattern::new("serve")], ..Filter::default() };
    assert_eq!(names(&only), set(&["serve", "grant.copy"]));
    let without = Filter { without: vec![Pattern::new("s*")], ..Filter::default() };
    assert_eq!(names(&without), set(&["xmit", "complete"]));
    let depth = Filter { depth: Some(1), ..only };
    assert_eq!(names(&depth), set(&["serve"]));
    let longer = Filter { longer_ns: 700, ..Filter::default() };
    assert_eq!(names(&longer), set(&["serve", "spin"]));
    // One request: one arrow each way, and what was going on.
    let request = Some(("vif1.0-q0-tx".to_owned(), 17));
    let filter = Filter { request, ..Filter::default() };
    let (events, made) = events(&maker, &filter);
    assert_eq!((made.arrows.requests, made.arrows.responses), (1, 1));
    assert!(events.iter().filter(|event| event["ph"] == "X").count() < 12);
    let slowest = Filter { slowest: Some(2), ..Filter::default() };
    let (_, made) = self::events(&maker, &slowest);
    assert!((1..=2).contains(&made.arrows.requests), "{made:?}");
}

/// Of a window there is what overlaps it, whole, and nothing else.
#[test]
fn a_window_shows_what_overlaps_it_as_it_was() {
    let maker = Plan { batches: 30, ..Plan::default() }.make();
    let (from, to) = (5_003, 11_007);
    let (all, _) = events(&maker, &Filter::default());
    let window = Filter { window: Some((from, to)), ..Filter::default() };
    let (some, _) = events(&maker, &window);
    let within = |event: &&Value| {
        let start = ns(&event["ts"]);
        let end = if event["ph"] == "X" { start + ns(&event["dur"]) } else { start };
        start <= to && end >= from
    };
    for phase in ["X", "i"] {
        let of = |events: &[Value]| -> Vec<Value> {
            events.iter().filter(|event| event["ph"] == phase).cloned().collect()
        };
        let (found, expected) = (of(&some), of(&all));
        let expected: Vec<Value> = expected.iter().filter(within).cloned().collect();
        assert!(!found.is_empty() && found == expected, "{phase}: {found:?} {expected:?}");
        assert!(found.len() < of(&all).len());
    }
}

/// Where a window cuts an arrow in two, neither half of it is there.
#[test]
fn arrows_of_a_window_hang_on_both_their_ends() {
    let maker = Plan { batches: 30, ..Plan::default() }.make();
    for to in (10_000..11_000).step_by(7) {
        let window = Filter { window: Some((5_000, to)), ..Filter::default() };
        let (events, _) = events(&maker, &window);
        assert_eq!(faults(&events), Vec::<String>::new());
        let at = |event: &Value| (event["tid"].as_u64(), ns(&event["ts"]));
        let carriers: BTreeSet<_> = events.iter().filter(|e| e["ph"] == "i").map(at).collect();
        let ends =
            events.iter().filter(|e| e["cat"].as_str().is_some_and(|c| c.starts_with("ring.")));
        let ends = ends.filter(|e| e["ph"] == "s" || e["ph"] == "f");
        for end in ends {
            assert!(carriers.contains(&at(end)), "{end} hangs on nothing");
        }
    }
}

#[test]
fn what_asks_for_what_is_not_there_is_told_so() {
    let bytes = Plan::default().make().finish();
    let trace = Trace::parse(&bytes).expect("a trace");
    let view = View::new(&trace);
    let why = |ring: &str, index| {
        let filter = Filter { request: Some((ring.into(), index)), ..Filter::default() };
        Top::new(&view, &filter, false).expect_err("not there").to_string()
    };
    assert!(
        why("vif9.0-q0-tx", 0).contains("there are vif1.0-q0-tx"),
        "{}",
        why("vif9.0-q0-tx", 0)
    );
    assert!(why("vif1.0-q0-tx", 5000).contains("0 to 799"), "{}", why("vif1.0-q0-tx", 5000));
}

/// A frontend killed in the middle, a backend whose buffer was full, a thread that went round.
#[test]
fn a_trace_with_holes_is_shown_as_far_as_it_goes() {
    let mut maker = Plan::default().make();
    maker.ended(0, Ended::Died);
    let half = maker.records(0).len() / 2;
    let inside =
        maker.records(0)[half..].iter().position(|r| matches!(r.event(), Event::Push { .. }));
    let cut = half + inside.expect("a push") + 1;
    maker.records(0).truncate(cut);
    maker.thread_mut(1).info.lost = 1000;
    let (events, _) = events(&maker, &Filter::default());
    assert_eq!(faults(&events), Vec::<String>::new());
    let open = events.iter().filter(|event| event["ph"] == "B");
    let open: Vec<_> = open.map(|event| event["name"].as_str().unwrap_or_default()).collect();
    assert_eq!(open, ["xmit", "spin"], "what never ended, on either side");

    let mut maker = Plan::default().make();
    let info = &mut maker.thread_mut(1).info;
    (info.full, info.written) = (Full::Overwrite, 1_000_000);
    let within = maker.records(1).iter().position(|r| matches!(r.event(), Event::Pop(_)));
    maker.records(1).drain(..within.expect("a pop") + 2);
    let (events, made) = self::events(&maker, &Filter::default());
    assert_eq!(faults(&events), Vec::<String>::new());
    let older = events.iter().filter(|e| e["args"]["note"] == "began before the first record");
    let older: Vec<_> = older.map(|e| e["name"].as_str().unwrap_or_default()).collect();
    assert_eq!(older, ["grant.copy", "serve"]);
    assert_eq!(made.arrows.requests, 99 * 8);
}

#[test]
fn the_tree_reads_as_it_should() {
    let maker = Plan { batches: 2, ..Plan::default() }.make();
    let bytes = maker.finish();
    let trace = Trace::parse(&bytes).expect("a trace");
    let mut text = Vec::new();
    tree(&View::new(&trace), &Filter::default(), Paint::default(), &mut text).expect("memory");
    let text = String::from_utf8(text).expect("text");
    let expected = "\
          0.110    420 ns  netfront | xmit(frames 8) {
          0.510            netfront |   -> pushes 8 requests #0-7 on vif1.0-q0-tx
          0.530            netfront | }  /* xmit */
          0.540    860 ns  netfront | spin
          0.600    740 ns  netback  | serve(frames 8) {
          0.610            netback  |   <- sees 8 requests #0-7 on vif1.0-q0-tx
          0.620    200 ns  netback  |   grant.copy(ops 8)
          1.320            netback  |   -> pushes 8 responses #0-7 on vif1.0-q0-tx
          1.340            netback  | }  /* serve */
";
    assert!(text.contains(expected), "{text}");
}

#[test]
fn a_request_has_one_number_whatever_is_shown_and_words_are_told_in_their_time() {
    let bytes = Plan { batch: 1, ..Plan::default() }.make().finish();
    let trace = Trace::parse(&bytes).expect("a trace");
    let filter = Filter { request: Some(("vif1.0-q0-tx".into(), 17)), ..Filter::default() };
    let mut text = Vec::new();
    tree(&View::new(&trace), &filter, Paint::default(), &mut text).expect("memory");
    let text = String::from_utf8(text).expect("text");
    assert!(text.contains("pushes 1 request #17 on vif1.0-q0-tx"), "{text}");
    assert!(text.contains("sees 1 response #17") && !text.contains("#0"), "{text}");
    assert!(!text.contains("connected"), "that was long before: {text}");
}

#[test]
fn the_same_again_is_one_line() {
    let mut maker = Maker::new();
    let process = maker.process(1, "netfront");
    let (outer, inner) = (
        maker.site(process, "function", "outer", ""),
        maker.site(process, "function", "inner", ""),
    );
    let thread = maker.thread(process, "worker");
    maker.record(thread, 0, Event::Enter { site: outer, arg: 0 });
    for n in 0..32 {
        maker.record(thread, 10 + n * 10, Event::Enter { site: inner, arg: 0 });
        maker.record(thread, 15 + n * 10, Event::Exit { site: inner, arg: 0 });
    }
    maker.record(thread, 1000, Event::Exit { site: outer, arg: 0 });
    let bytes = maker.finish();
    let trace = Trace::parse(&bytes).expect("a trace");
    let shown = |filter: &Filter| {
        let mut text = Vec::new();
        tree(&View::new(&trace), filter, Paint::default(), &mut text).expect("memory");
        String::from_utf8(text).expect("text")
    };
    let text = shown(&Filter::default());
    assert!(text.contains("   160 ns  netfront |   inner  x 32\n"), "{text}");
    let text = shown(&Filter { longer_ns: 100, ..Filter::default() });
    assert!(text.contains("|   ... 32 calls, 160 ns\n"), "{text}");
}

/// Nothing that reads may panic, whatever the bytes are.
fn read_all(bytes: &[u8]) {
    let Ok(trace) = Trace::parse(bytes) else { return };
    let view = View::new(&trace);
    let filter = Filter { most: Some(100), ..Filter::default() };
    for (_, format) in Format::ALL {
        let _ = write(&view, &filter, format, std::io::sink());
    }
    for filter in [
        Filter { only: vec![Pattern::new("s*")], depth: Some(1), ..Filter::default() },
        Filter { without: vec![Pattern::new("serve")], longer_ns: 50, ..Filter::default() },
        Filter { window: Some((100, 2_000)), ..Filter::default() },
        Filter { request: Some(("vif1.0-q0-tx".into(), 3)), ..Filter::default() },
        Filter { slowest: Some(2), ..Filter::default() },
    ] {
        for format in [Format::Json, Format::Perfetto, Format::Csv] {
            let _ = write(&view, &filter, format, std::io::sink());
        }
    }
    let (json, _) = {
        let mut to = Vec::new();
        let made = write(&view, &Filter::default(), Format::Json, &mut to).expect("memory");
        (to, made)
    };
    serde_json::from_slice::<Value>(&json).expect("valid JSON, whatever was read");
    let top = Top::new(&view, &Filter::default(), false).expect("no filter");
    let _ = (top.text(10, Paint::new(true)), top.diff(&top, 10, Paint::new(true)));
    let _ = tree(&view, &Filter::default(), Paint::default(), &mut std::io::sink());
    let _ = explain(&view).text(Paint::default());
    let _ = iterations(&view).map(|found| found.text(Paint::default()));
}

#[test]
fn a_file_cut_off_anywhere_is_read_or_refused() {
    let bytes = Plan { batches: 3, ..Plan::default() }.make().finish();
    for len in (0..bytes.len()).step_by(7) {
        read_all(&bytes[..len]);
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig {
        cases: if std::env::var_os("PVLAB_SOAK").is_some() { 20_000 } else { 300 },
        failure_persistence: None,
        ..Default::default()
    })]

    #[test]
    fn damaged_files_make_nothing_panic(
        flips in proptest::collection::vec((0..usize::MAX, 1..=255_u8), 1..24)
    ) {
        let plan = Plan { batches: 4, wake: Some(500), full: 50, ..Plan::default() };
        let mut bytes = plan.make().finish();
        for (at, bits) in flips {
            let len = bytes.len();
            bytes[at % len] ^= bits;
        }
        read_all(&bytes);
    }

    #[test]
    fn any_records_make_nothing_panic(
        records in proptest::collection::vec((0..40_u64, 0..32_u32, 0..5_u32, 0..9_u32, 0..8_u32), 0..200)
    ) {
        let mut maker = Plan { batches: 0, ..Plan::default() }.make();
        let mut now = BEGIN;
        for (n, (step, kind, ring, low, arg)) in records.into_iter().enumerate() {
            now += step;
            let tag = kind << 24 | (ring << 12) | low;
            maker.records(n % 2).push(Record { ticks: now, tag, arg });
        }
        read_all(&maker.finish());
    }
}
