//! Functions that the compiler instrumented: with sleds each has its end, but for one left by unwinding; `mcount`
//! tells where one begins and nothing else.

use serde_json::Value;
use tracer::format::journal::Function;
use tracer::format::{Ended, Entry, Event, Trace};
use tracer_view::fixture::Maker;
use tracer_view::{Filter, Format, Paint, Pattern, Row, Top, View, tree, write};

/// Name, when it began, how long it took, how deep it stood, how it ended.
type Call<'c> = (&'c str, i64, i64, usize, &'c str);

/// What `look` makes of a trace.
fn viewed<R>(maker: &Maker, look: impl FnOnce(&View<'_>) -> R) -> R {
    let bytes = maker.finish();
    let trace = Trace::parse(&bytes).expect("a trace");
    look(&View::new(&trace))
}

fn written(maker: &Maker, format: Format) -> String {
    let mut to = Vec::new();
    viewed(maker, |view| write(view, &Filter::default(), format, &mut to).expect("memory"));
    String::from_utf8(to).expect("text")
}

/// All calls, in the order of their beginnings, against the table and the report.
fn assert_calls(maker: &Maker, expected: &[Call<'_>]) {
    let table = written(maker, Format::Csv);
    let mut calls: Vec<Call<'_>> = table
        .lines()
        .skip(1)
        .map(|line| {
            let row: Vec<&str> = line.split(',').collect();
            let number = |at: usize| row[at].parse::<i64>().expect("a number");
            let depth = usize::try_from(number(7)).expect("a depth");
            (row[2], number(4), number(5), depth, row[10])
        })
        .collect();
    calls.sort_by_key(|&(_, start, _, depth, _)| (start, depth));
    assert_eq!(calls, expected);
    let top = viewed(maker, |view| Top::new(view, &Filter::default(), true).expect("no filter"));
    for row in &top.rows {
        let mine = || expected.iter().filter(|call| call.0 == row.name);
        let ended = || mine().filter(|call| call.4 != "open");
        assert_eq!(row.calls, ended().count() as u64, "{row:?}");
        assert_eq!(row.open, (mine().count() - ended().count()) as u64, "{row:?}");
        assert_eq!(row.sum_ns, ended().map(|call| call.2).sum::<i64>(), "{row:?}");
    }
    assert_eq!(top.rows.iter().map(|row| row.calls + row.open).sum::<u64>(), calls.len() as u64);
}

/// What stands in the tree behind times and thread.
fn shown(maker: &Maker) -> Vec<String> {
    let mut text = Vec::new();
    viewed(maker, |view| {
        tree(view, &Filter::default(), Paint::default(), &mut text).expect("memory");
    });
    let text = String::from_utf8(text).expect("text");
    let calls = text.lines().skip(1).filter_map(|line| line.split_once(" | "));
    calls.map(|(_, call)| call.to_owned()).collect()
}

/// A process with one thread and these functions, numbered from 1, each 0x1000 behind the one before it.
fn program(numbered: bool, names: &[&str]) -> Maker {
    let mut maker = Maker::new();
    let process = maker.process(1, "program");
    for (id, name) in (1..).zip(names) {
        let function = Function {
            id: if numbered { id } else { 0 },
            address: u64::from(id) * 0x1000,
            name: (*name).to_owned(),
        };
        maker.entry(process, &Entry::Function(function));
    }
    maker.thread(process, "main");
    maker
}

const MAIN: u32 = 1;

/// A function that ends with a call, and one that a panic passes on its way out.
fn sleds() -> Maker {
    let mut maker = program(true, &["main", "parse", "run", "finish", "attempt", "middle", "deep"]);
    let (parse, run, finish, attempt, middle, deep) = (2, 3, 4, 5, 6, 7);
    let events = [
        (0, Event::FunctionEnter(MAIN)),
        (100, Event::FunctionEnter(parse)),
        (150, Event::FunctionExit(parse)),
        (200, Event::FunctionEnter(run)),
        (260, Event::FunctionTail(run)),
        (260, Event::FunctionEnter(finish)),
        (300, Event::FunctionExit(finish)),
        (400, Event::FunctionEnter(attempt)),
        (410, Event::FunctionEnter(middle)),
        (430, Event::FunctionEnter(deep)),
        (500, Event::FunctionExit(attempt)),
        (600, Event::FunctionExit(MAIN)),
    ];
    maker.happens(0, events);
    maker
}

#[test]
fn sleds_have_their_ends_tail_calls_and_what_was_unwound() {
    let maker = sleds();
    assert_calls(
        &maker,
        &[
            ("main", 0, 600, 0, "returned"),
            ("parse", 100, 50, 1, "returned"),
            ("run", 200, 60, 1, "tail call"),
            ("finish", 260, 40, 1, "returned"),
            ("attempt", 400, 100, 1, "returned"),
            ("middle", 410, 90, 2, "unwound"),
            ("deep", 430, 70, 3, "unwound"),
        ],
    );
    let lines = [
        "main {",
        "  parse",
        "  run",
        "  finish",
        "  attempt {",
        "    middle {",
        "      deep",
        "    }  unwound  /* middle */",
        "  }  /* attempt */",
        "}  /* main */",
    ];
    assert_eq!(shown(&maker), lines);
    let json: Value = serde_json::from_str(&written(&maker, Format::Json)).expect("JSON");
    let events = json["traceEvents"].as_array().expect("events");
    let noted = events.iter().filter(|event| event["args"]["note"] == "unwound");
    let noted: Vec<&str> = noted.filter_map(|event| event["name"].as_str()).collect();
    assert_eq!(noted, ["deep", "middle"]);
}

/// A site's end is never missing: what a function that it called left open was unwound with it.
#[test]
fn the_end_of_a_site_ends_the_functions_in_it() {
    let mut maker = program(true, &["main", "called"]);
    let site = maker.site(0, "function", "marked", "");
    let events = [
        (0, Event::FunctionEnter(MAIN)),
        (10, Event::Enter { site, arg: 0 }),
        (20, Event::FunctionEnter(2)),
        (50, Event::Exit { site, arg: 0 }),
    ];
    maker.happens(0, events);
    maker.ended(0, Ended::Died);
    assert_calls(
        &maker,
        &[
            ("main", 0, 50, 0, "open"),
            ("marked", 10, 40, 1, "returned"),
            ("called", 20, 30, 2, "unwound"),
        ],
    );
    assert_eq!(shown(&maker)[0], "main {");
    assert_eq!(shown(&maker).last().map(String::as_str), Some("}  never ended  /* main */"));
}

/// The tracer's own functions have no sleds: one that a function ends with a call of is the call by which the span
/// in it says that it ends.
#[test]
fn a_function_that_ends_with_the_end_of_its_span_lasts_as_long() {
    let mut maker = program(true, &["main", "marked"]);
    let site = maker.site(0, "function", "span", "");
    let events = [
        (0, Event::FunctionEnter(MAIN)),
        (10, Event::FunctionEnter(2)),
        (20, Event::Enter { site, arg: 0 }),
        (50, Event::FunctionTail(2)),
        (53, Event::Exit { site, arg: 4 }),
        (60, Event::FunctionEnter(2)),
        (70, Event::Enter { site, arg: 0 }),
        // What comes is not the span's end: there is none in the trace.
        (80, Event::FunctionTail(2)),
        (90, Event::FunctionExit(MAIN)),
    ];
    maker.happens(0, events);
    let expected = [
        ("main", 0, 90, 0, "returned"),
        ("marked", 10, 43, 1, "tail call"),
        ("span", 20, 33, 2, "returned"),
        ("marked", 60, 30, 1, "tail call"),
        ("span", 70, 20, 2, "unwound"),
    ];
    assert_calls(&maker, &expected);
}

/// What had begun before recording did has an exit and no entry; and while recording is off, functions are left and
/// entered that nobody hears of.
#[test]
fn what_is_entered_or_left_while_recording_is_off_is_told_from_what_goes_on() {
    let mut maker = program(true, &["main", "round", "leaf", "before", "between"]);
    let (round, leaf, before, between) = (2, 3, 4, 5);
    let site = maker.site(0, "function", "span", "");
    let events = [
        (0, Event::Resume),
        (5, Event::FunctionEnter(leaf)),
        (10, Event::FunctionExit(leaf)),
        (20, Event::FunctionExit(before)),
        (30, Event::Enter { site, arg: 0 }),
        (40, Event::FunctionEnter(round)),
        (50, Event::FunctionEnter(leaf)),
        // Off and on: in a later round, not in that leaf, and still in the span.
        (200, Event::Resume),
        (210, Event::FunctionEnter(leaf)),
        (220, Event::FunctionExit(leaf)),
        (230, Event::FunctionExit(round)),
        (240, Event::Exit { site, arg: 0 }),
        // Off and on, and in nothing that was known.
        (300, Event::Resume),
        (310, Event::FunctionExit(between)),
        (320, Event::FunctionExit(MAIN)),
    ];
    maker.happens(0, events);
    let expected = [
        ("before", 0, 20, 0, "returned"),
        ("leaf", 5, 5, 1, "returned"),
        ("span", 30, 210, 0, "returned"),
        ("round", 40, 10, 1, "inferred"),
        ("leaf", 50, 0, 2, "inferred"),
        ("round", 200, 30, 1, "returned"),
        ("leaf", 210, 10, 2, "returned"),
        ("main", 300, 20, 0, "returned"),
        ("between", 300, 10, 1, "returned"),
    ];
    assert_calls(&maker, &expected);
}

/// While a span was open recording can have been off, but nothing around it was left.
#[test]
fn what_ends_after_a_span_had_begun_before_it() {
    let mut maker = program(true, &["main", "called", "marked"]);
    let site = maker.site(0, "function", "span", "");
    let (called, marked) = (2, 3);
    let events = [
        (0, Event::Resume),
        (10, Event::Enter { site, arg: 0 }),
        (100, Event::Resume),
        (110, Event::FunctionExit(called)),
        (130, Event::Exit { site, arg: 0 }),
        (140, Event::Enter { site, arg: 0 }),
        (150, Event::FunctionTail(marked)),
        (153, Event::Exit { site, arg: 0 }),
        (160, Event::FunctionExit(MAIN)),
    ];
    maker.happens(0, events);
    let expected = [
        ("main", 0, 160, 0, "returned"),
        ("marked", 0, 153, 1, "tail call"),
        ("span", 10, 120, 2, "returned"),
        ("called", 100, 10, 3, "returned"),
        ("span", 140, 13, 2, "returned"),
    ];
    assert_calls(&maker, &expected);
}

/// What had begun before the first record is no more to be shown than anything else.
#[test]
fn filters_hold_for_what_had_begun_before() {
    let mut maker = program(true, &["main", "called"]);
    let events =
        [(0, Event::Resume), (20, Event::FunctionExit(2)), (900, Event::FunctionExit(MAIN))];
    maker.happens(0, events);
    let names = |filter: Filter| -> Vec<String> {
        let rows = viewed(&maker, |view| Top::new(view, &filter, true).expect("a filter").rows);
        let mut names: Vec<String> = rows.into_iter().map(|row| row.name).collect();
        names.sort_unstable();
        names
    };
    let all = Filter::default();
    assert_eq!(names(all.clone()), ["called", "main"]);
    assert_eq!(names(Filter { longer_ns: 100, ..all.clone() }), ["main"]);
    assert_eq!(names(Filter { depth: Some(1), ..all.clone() }), ["main"]);
    assert_eq!(names(Filter { only: vec![Pattern::new("called")], ..all.clone() }), ["called"]);
    assert_eq!(names(Filter { without: vec![Pattern::new("called")], ..all.clone() }), ["main"]);
    assert_eq!(names(Filter { window: Some((500, 600)), ..all }), ["main"]);
}

/// Calls at these stack pointers / 16; the thread lives for 1000 ns more.
fn called() -> Maker {
    let mut maker = program(false, &["main", "read", "write"]);
    let calls = [
        (0, 0x100, 0x1000),
        // Somewhat behind the beginning of the function, as it is called from there.
        (100, 0xf0, 0x2004),
        (200, 0xf0, 0x3004),
        // Before all that has a name.
        (250, 0xe0, 0x500),
        (400, 0xf0, 0x2004),
        (500, 0x100, 0x1000),
        (600, 0x80, 0x3004),
    ];
    let call = |(ns, stack, address)| (ns, Event::Called { stack, address });
    maker.happens(0, calls.map(call));
    maker
}

#[test]
fn of_what_mcount_saw_the_ends_are_inferred() {
    let mut maker = called();
    let whole = [
        ("main", 0, 500, 0, "inferred"),
        ("read", 100, 100, 1, "inferred"),
        ("write", 200, 200, 1, "inferred"),
        ("function at 0x500", 250, 150, 2, "inferred"),
        ("read", 400, 100, 1, "inferred"),
        ("main", 500, 1100, 0, "inferred"),
        ("write", 600, 1000, 1, "inferred"),
    ];
    assert_calls(&maker, &whole);
    let lines = [
        "main {",
        "  read",
        "  write {",
        "    function at 0x500",
        "  }  /* write */",
        "  read",
        "}  /* main */",
        "main {",
        "  write",
        "}  /* main */",
    ];
    assert_eq!(shown(&maker), lines);
    // Of a process that was killed nobody knows when the last ones ended.
    maker.ended(0, Ended::Died);
    let mut killed = whole;
    (killed[5], killed[6]) = (("main", 500, 100, 0, "open"), ("write", 600, 0, 1, "open"));
    assert_calls(&maker, &killed);
    let top = viewed(&maker, |view| Top::new(view, &Filter::default(), true).expect("no filter"));
    let main: &Row = top.rows.iter().find(|row| row.name == "main").expect("main");
    assert_eq!((main.calls, main.open, main.sum_ns, main.total_ns), (1, 1, 500, 600));
    assert!(top.text(9, Paint::default()).contains("main  (1 never ended)"));
}
