//! Does `explain` find what was planted, and nothing where nothing was?

use tracer::format::{Event, Trace};
use tracer_view::fixture::{Maker, Plan};
use tracer_view::{Cause, Explained, Phase, View, Way, explain};

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

fn share(way: &Way, phase: Phase) -> f64 {
    way.parts.iter().find(|part| part.phase == phase).map_or(0.0, |part| part.share)
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

#[test]
fn what_is_taken_out_of_a_trace_becomes_unattributed() {
    let plan = Plan { wake: Some(3_000), ..calm() };
    let whole = explained(&plan.make());
    let way = tx(&whole);
    let before = way.unattributed();
    let without =
        |maker: &mut Maker, thread: usize, kind: fn(Event, &[u32]) -> bool, sites: &[u32]| {
            maker.records(thread).retain(|record| !kind(record.event(), sites));
        };
    // Sleeps of the backend: its wake-up time, and nothing else, is nobody's now.
    let mut maker = plan.make();
    without(
        &mut maker,
        1,
        |event, sites| matches!(event, Event::Enter { site, .. } | Event::Exit { site, .. } if sites.contains(&site)),
        &[sleep_site()],
    );
    // A spin would reach to the next record.
    without(&mut maker, 1, |event, _| matches!(event, Event::Spin { .. }), &[]);
    let found = explained(&maker);
    let rise = tx(&found).unattributed() - before;
    let was = share(way, Phase::WakeUp);
    assert!((rise - was).abs() < 1.0, "{rise} instead of {was}");
    // What the frontend's functions were: submit and completion.
    let mut maker = plan.make();
    without(
        &mut maker,
        0,
        |event, _| matches!(event, Event::Enter { .. } | Event::Exit { .. }),
        &[],
    );
    let found = explained(&maker);
    assert_eq!(mean(tx(&found), Phase::Submit) + mean(tx(&found), Phase::Completion), 0);
    // Without the moment at which requests were seen none is complete, and nothing is made up.
    let mut maker = plan.make();
    without(&mut maker, 1, |event, _| matches!(event, Event::Pop(_)), &[]);
    let found = explained(&maker);
    assert!(found.ways.is_empty() && found.blames(&Cause::Nothing), "{found:?}");
}

/// The number of the backend's site `sleep`, as the plan makes them.
fn sleep_site() -> u32 {
    6
}

#[test]
fn a_trace_of_nothing_is_explained_as_such() {
    let found = explained(&Maker::new());
    assert!(found.blames(&Cause::Nothing));
    assert!(found.text(tracer_view::Paint::default()).contains("nothing to explain"));
}
