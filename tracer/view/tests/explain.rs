//! Does `explain` find what was planted, and nothing where nothing was?

use tracer::format::journal::Function;
use tracer::format::{Entry, Event, Record, Sent, Trace, category};
use tracer::keeper::PAUSED;
use tracer_view::fixture::{Maker, Plan};
use tracer_view::{Cause, Explained, Filter, Format, Phase, View, Way, explain, write};

fn explained(maker: &Maker) -> Explained {
    let bytes = maker.finish();
    let trace = Trace::parse(&bytes).expect("a trace");
    explain(&View::new(&trace))
}

fn tx(explained: &Explained) -> &Way {
    explained.ways.iter().find(|way| way.kind == "vif tx").expect("requests on tx")
}

fn mean(way: &Way, phase: Phase) -> i64 {
    way.parts.iter().find(|part| part.phase == phase).map_or(0, |part| part.mean_ns)
}

/// A batch is served by many frames' worth of work, so that no single thing stands out.
fn calm() -> Plan {
    Plan::default()
}

#[test]
fn the_phases_are_those_that_were_planned() {
    let plan = Plan { submit: 400, serve: 500, grant: 200, complete: 300, ..calm() };
    let found = explained(&plan.make());
    let way = tx(&found);
    assert_eq!(way.requests, u64::from(plan.batches * plan.batch));
    assert_eq!(mean(way, Phase::Submit), 400);
    assert_eq!(mean(way, Phase::Grant), 200);
    assert_eq!(mean(way, Phase::BackendWork), 510, "10 between seeing and granting");
    assert_eq!(mean(way, Phase::Completion), 300);
    assert_eq!(mean(way, Phase::WakeUp), 0);
    assert!(way.unattributed() < 2.0, "{way:?}");
    let sum: i64 = way.parts.iter().map(|part| part.mean_ns).sum();
    assert_eq!(sum, way.mean_ns, "the parts are the whole");
}

#[test]
fn a_sleeping_backend_is_named() {
    let plan = Plan { wake: Some(30_000), ..calm() };
    let found = explained(&plan.make());
    assert!(found.blames(&Cause::Sleep), "{:?}", found.verdict);
    let way = tx(&found);
    let wake = mean(way, Phase::WakeUp);
    assert!((30_000..31_500).contains(&wake), "{wake}");
    assert!(way.unattributed() < 2.0, "{way:?}");
    assert!(!explained(&calm().make()).blames(&Cause::Sleep));
}

/// What waits calls functions, and so does what copies: in an instrumented program they are seen, and are part of
/// that.
#[test]
fn functions_that_are_called_to_sleep_or_to_copy_are_no_work() {
    let plan = Plan { wake: Some(30_000), grant: 5_000, ..calm() };
    let mut maker = plan.make();
    let plain = explained(&maker);
    for (process, thread) in [(0, 0), (1, 1)] {
        let function = Function { id: 1, address: 0x1000, name: "inner".into() };
        maker.entry(process, &Entry::Function(function));
        let records = std::mem::take(maker.records(thread));
        let mut called = 0;
        for (at, record) in records.iter().enumerate() {
            let next = records.get(at + 1);
            maker.records(thread).push(*record);
            let Some(next) = next.filter(|next| next.ticks >= record.ticks + 4_000) else {
                continue;
            };
            let (Event::Enter { site, .. }, Event::Exit { site: left, .. }) =
                (record.event(), next.event())
            else {
                continue;
            };
            assert_eq!(site, left);
            called += 1;
            let middle = |ns, event| Record::new(record.ticks + ns, event);
            maker.records(thread).push(middle(100, Event::FunctionEnter(1)));
            maker.records(thread).push(middle(3_900, Event::FunctionExit(1)));
        }
        assert!(called > 0 || thread == 0, "thread {thread} sleeps or copies");
    }
    let seen = explained(&maker);
    assert_eq!(seen.ways, plain.ways);
    assert_eq!(seen.threads, plain.threads);
}

/// While recording is off nothing is known: that is nobody's time.
#[test]
fn a_pause_is_in_no_account() {
    let mut maker = calm().make();
    let plain = explained(&maker);
    let last = (0..2).map(|at| maker.records(at).last().expect("records").ticks).max();
    let (off, on) = (last.expect("two") + 100, last.expect("two") + 5_000_000_000);
    let spin = maker.site(1, category::WAIT, "spin", "");
    maker.records(1).push(Record::new(off - 50, Event::Spin { site: spin }));
    maker.records(1).push(Record::new(on + 10, Event::Resume));
    maker.records(1).push(Record::new(on + 20, Event::Mark { site: spin, arg: 0 }));
    maker.run(PAUSED, &format!("{off}-{on}"));
    let paused = explained(&maker);
    assert_eq!(paused.ways, plain.ways);
    for (one, other) in plain.threads.iter().zip(&paused.threads) {
        assert!(other.recorded_ns - one.recorded_ns < 1000, "{one:?} {other:?}");
    }
}

/// Both ends ring at once: each hears the other's, and not its own.
#[test]
fn doorbells_that_cross_wake_both() {
    let mut maker = Maker::new();
    let ends = ["netfront", "netback"].map(|name| {
        let process = maker.process(u32::from(name == "netfront"), name);
        let port = maker.port(process, 7, "vif1.0-q0");
        (maker.thread(process, "worker"), port)
    });
    for (thread, port) in ends {
        maker.record(thread, 10, Event::Send { port, sent: Sent::Rung });
        maker.record(thread, 50, Event::Receive { port });
    }
    let bytes = maker.finish();
    let trace = Trace::parse(&bytes).expect("a trace");
    let mut json = Vec::new();
    write(&View::new(&trace), &Filter::default(), Format::Json, &mut json).expect("memory");
    let json = String::from_utf8(json).expect("text");
    let arrows = |phase: &str| json.matches(&format!("\"ph\":\"{phase}\"")).count();
    assert_eq!((arrows("s"), arrows("f")), (2, 2), "{json}");
}

#[test]
fn a_limit_on_events_is_named_and_not_the_ring_that_is_full_of_it() {
    let held = Plan { wake: Some(30_000), limited: true, full: 60_000, ..calm() };
    let found = explained(&held.make());
    assert!(found.blames(&Cause::EventLimit), "{:?}", found.verdict);
    for word in ["port masked", "--limit off", "--len"] {
        assert!(found.verdict.sentence.contains(word), "{:?}", found.verdict);
    }
    assert!(mean(tx(&found), Phase::RingWait) >= 29_000, "{:?}", tx(&found));
    // The same sleep without the limit, and a limit that holds up little.
    let slept = explained(&Plan { limited: false, full: 0, ..held.clone() }.make());
    assert!(slept.blames(&Cause::Sleep), "{:?}", slept.verdict);
    let slow = Some(("look_up", 9_000));
    let little = Plan { wake: Some(300), full: 0, back_function: slow, ..held };
    let little = explained(&little.make());
    assert!(!little.blames(&Cause::EventLimit), "{:?}", little.verdict);
}

#[test]
fn a_slow_function_is_named_on_either_side() {
    let slow = |name| Some((name, 5_000));
    let back = explained(&Plan { back_function: slow("look_up"), ..calm() }.make());
    assert!(back.blames(&Cause::Function("netback".into(), "look_up".into())), "{back:?}");
    let front = explained(&Plan { front_function: slow("compose"), ..calm() }.make());
    assert!(front.blames(&Cause::Function("netfront".into(), "compose".into())), "{front:?}");
    let calm = explained(&calm().make()).verdict;
    assert!(!calm.sentence.contains("look_up") && !calm.sentence.contains("compose"), "{calm:?}");
}

#[test]
fn a_software_checksum_is_named_with_its_remedy() {
    let plan = Plan { front_function: Some(("tcp_checksum", 4_000)), ..calm() };
    let found = explained(&plan.make());
    assert!(found.verdict.sentence.contains("tcp_checksum"), "{:?}", found.verdict);
    assert!(found.verdict.sentence.contains("--csum on"), "{:?}", found.verdict);
}

#[test]
fn an_expensive_grant_map_is_named() {
    let plan = Plan { grant: 6_000, grant_kind: "grant.map", ..calm() };
    let found = explained(&plan.make());
    assert!(found.blames(&Cause::Grant("grant.map".into())), "{:?}", found.verdict);
    assert!(found.verdict.sentence.contains("--grant persistent"), "{:?}", found.verdict);
}

#[test]
fn a_full_ring_is_named() {
    let found = explained(&Plan { full: 8_000, ..calm() }.make());
    assert!(found.blames(&Cause::FullRing), "{:?}", found.verdict);
    assert!(!explained(&calm().make()).blames(&Cause::FullRing));
}

#[test]
fn a_notification_for_each_packet_is_named() {
    let plan = Plan { batch: 1, ring_bell: Some(2_500), ..calm() };
    let found = explained(&plan.make());
    assert!(found.blames(&Cause::Notifications), "{:?}", found.verdict);
    let without = explained(&Plan { batch: 1, ..calm() }.make());
    assert!(!without.blames(&Cause::Notifications), "{:?}", without.verdict);
}

/// The backend looks for work all the time, and does not see what is there: it does not run.
#[test]
fn two_domains_on_one_cpu_are_named() {
    let found = explained(&shared_cpu(&calm()));
    assert!(found.blames(&Cause::NoCpu), "{:?}", found.verdict);
    assert!(!explained(&calm().make()).blames(&Cause::NoCpu));
    // Where there is one CPU nobody has to say so.
    let crosses = Plan { batch: 1, submit: 10, serve: 10, grant: 10, complete: 10, ..calm() };
    let mut maker = crosses.make();
    assert!(explained(&maker).blames(&Cause::Ring), "{:?}", explained(&maker).verdict);
    maker.thread_mut(0).info.name = "worker-0".into();
    maker.thread_mut(1).info.name = "worker-0".into();
    assert!(explained(&maker).blames(&Cause::NoCpu), "{:?}", explained(&maker).verdict);
}

/// Whoever has looked for work finds it a time slice later.
fn shared_cpu(plan: &Plan) -> Maker {
    const SLICE: u64 = 50_000;
    let mut maker = plan.make();
    for thread in 0..2 {
        let (mut moved, mut spun) = (0, false);
        for record in maker.records(thread) {
            moved += if spun { SLICE } else { 0 };
            spun = matches!(record.event(), Event::Spin { .. });
            record.ticks += moved;
        }
    }
    maker
}

/// Which records to take out of a thread.
type Kind = fn(Event, &[u32]) -> bool;
/// What, of which plan and thread, which records of which sites, and which phases that was.
type Taken<'p> = (&'p str, &'p Plan, usize, Kind, &'p [u32], &'p [Phase]);

fn frames(event: Event, sites: &[u32]) -> bool {
    matches!(event, Event::Enter { site, .. } | Event::Exit { site, .. } if sites.contains(&site))
}

fn spins(event: Event, _: &[u32]) -> bool {
    matches!(event, Event::Spin { .. })
}

#[test]
fn what_is_taken_out_of_a_trace_becomes_unattributed() {
    let sleeping = Plan { wake: Some(3_000), ..calm() };
    let spinning = Plan { front_function: Some(("compose", 4_000)), ..calm() };
    // Numbers of sites as the plan makes them.
    let cases: [Taken<'_>; 5] = [
        ("sleeps", &sleeping, 1, frames, &[6], &[Phase::WakeUp]),
        ("looks in vain", &spinning, 1, spins, &[], &[Phase::RingWait]),
        ("looks in vain", &calm(), 0, spins, &[], &[Phase::ResponseWait]),
        ("the serving function", &calm(), 1, frames, &[1], &[Phase::BackendWork]),
        ("all functions", &calm(), 0, frames, &[1, 2], &[Phase::Submit, Phase::Completion]),
    ];
    for (what, plan, thread, kind, sites, phases) in cases {
        let mut maker = plan.make();
        // A spin would reach to the next record.
        if thread == 1 && what == "sleeps" {
            maker.records(1).retain(|record| !spins(record.event(), &[]));
        }
        let before = explained(&maker);
        let was: i64 = phases.iter().map(|&phase| sum(tx(&before), phase)).sum();
        assert!(was > 0, "{what}: {before:?}");
        maker.records(thread).retain(|record| !kind(record.event(), sites));
        let after = explained(&maker);
        let left: i64 = phases.iter().map(|&phase| sum(tx(&after), phase)).sum();
        let rise = sum(tx(&after), Phase::Unattributed) - sum(tx(&before), Phase::Unattributed);
        // When nothing encloses the taking of a response it is over at once: that time is not there.
        let gone = tx(&before).mean_ns - tx(&after).mean_ns;
        let requests = i64::try_from(tx(&after).requests).expect("a count");
        assert!(gone == 0 || what == "all functions", "{what}: the whole is the same");
        assert!(left <= was / 8, "{what}: {left} of {was} is still there");
        let difference = (was - left - rise - gone * requests).abs();
        assert!(difference < was / 50, "{what}: {rise} more, and it was {was}");
    }
    // Without the moment at which requests were seen none is complete, and nothing is made up.
    let mut maker = calm().make();
    maker.records(1).retain(|record| !matches!(record.event(), Event::Pop(_)));
    let found = explained(&maker);
    assert!(found.ways.is_empty() && found.blames(&Cause::Nothing), "{found:?}");
}

fn sum(way: &Way, phase: Phase) -> i64 {
    way.parts.iter().find(|part| part.phase == phase).map_or(0, |part| part.sum_ns)
}

/// The backend's worker starts when requests have long been there: that is told apart from what is not
/// known, and no bottleneck.
#[test]
fn a_worker_that_starts_late_is_told_apart() {
    const LATE: u64 = 700_000;
    let late = |said: bool| {
        let mut maker = calm().make();
        // All but the first push, and what goes before it, is later.
        let push = maker.records(0).iter().position(|r| matches!(r.event(), Event::Push { .. }));
        let early = push.expect("a push") + 1;
        maker.records(0).iter_mut().skip(early).for_each(|record| record.ticks += LATE);
        maker.records(1).iter_mut().for_each(|record| record.ticks += LATE);
        if said {
            // Its process is there: another thread of it has recorded something.
            let main = maker.thread(1, "main");
            let site = maker.site(1, "function", "bring_up", "");
            maker.record(main, 0, Event::Enter { site, arg: 0 });
            maker.record(main, LATE, Event::Exit { site, arg: 0 });
        }
        explained(&maker)
    };
    let (found, unsaid) = (late(true), late(false));
    let way = tx(&found);
    let start = sum(way, Phase::StartUp);
    assert!(start > 7 * i64::try_from(LATE).expect("small"), "{start} of eight requests");
    assert!(way.unattributed() < 2.0, "{way:?}");
    assert!(!found.verdict.sentence.contains("not started"), "{:?}", found.verdict);
    assert_eq!(sum(tx(&unsaid), Phase::StartUp), 0);
    assert!(tx(&unsaid).unattributed() > 20.0, "nothing is known of it");
}

#[test]
fn all_that_is_missing_is_noted() {
    let text = |maker: &Maker| explained(maker).text(tracer_view::Paint::default());
    assert!(!text(&calm().make()).contains("missing"));
    let mut maker = calm().make();
    maker.thread_mut(0).info.lost = 1100;
    maker.thread_mut(1).info.lost_busy = 1200;
    maker.run(tracer::keeper::REFUSED, "1300");
    maker.lost(0, 900);
    maker.lost(1, 500);
    let info = &mut maker.thread_mut(1).info;
    (info.full, info.written) = (tracer::format::Full::Overwrite, 100_000);
    let text = text(&maker);
    for part in [
        "1,100 events",
        "1,200 events",
        "1,300 threads",
        "1,400 names",
        "events are missing at the beginning",
    ] {
        assert!(text.contains(part), "no {part} in {text}");
    }
}

#[test]
fn a_trace_of_nothing_is_explained_as_such() {
    let found = explained(&Maker::new());
    assert!(found.blames(&Cause::Nothing));
    assert!(found.text(tracer_view::Paint::default()).contains("nothing to explain"));
}
