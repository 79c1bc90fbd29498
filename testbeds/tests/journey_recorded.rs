//! The journey of a packet, as the README draws it, against what a frame really goes through: one frame is sent with
//! the tracer on, and each stop must have been recorded, in the file that the README names, in the order it tells.
//!
//! Needs the feature `trace-fine`: most stops are functions that run for every frame.

mod rig;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use backend::wire::Reflect;
use rig::WATCHDOG;
use rig::pair::{Ends, Pair};
use rings::frame::Meta;
use rings::worker::Task as _;
use rings_host::HostDomain;
use tracer::format::{Entry, Event, Mapped, Trace};

/// Stops in the order of time: the guest's buffers are found (17) before it takes its answers (15) and the frame (18),
/// and posted again (16) after that.
const ORDER: [u32; 18] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 17, 15, 18, 16];

/// The README's list: of each stop the function and the file.
fn drawing() -> BTreeMap<u32, (String, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let readme = std::fs::read_to_string(path).expect("there is one");
    let journey = readme.split("\n## ").find(|part| part.starts_with("The journey of a packet"));
    let lines = journey.expect("it tells the journey").lines();
    let stop = |line: &str| {
        let (number, tail) = line.split_once(". ")?;
        let function = tail.split('`').nth(1)?.rsplit("::").next()?;
        let file = tail.split_once("](")?.1.split_once(')')?.0;
        Some((number.parse().ok()?, (function.to_owned(), file.to_owned())))
    };
    lines.filter_map(stop).collect()
}

/// One frame, there and back, both ends asleep before.
fn travel(front: &mut frontend::Queue<HostDomain>, back: &mut Reflect<HostDomain>) {
    let _ = (front.disarm(), back.disarm());
    assert!(!front.arm(true, Instant::now()) && !back.arm(Instant::now()), "all is quiet");
    let mut frame = [7_u8; 1514];
    frame[12..14].copy_from_slice(&[0x88, 0xb5]);
    front.xmit(frame.len(), Meta::default(), |page| page.copy_from_slice(&frame)).expect("room");
    front.flush();
    assert!(back.disarm() && back.work(), "it came");
    assert!(front.disarm() && front.poll(), "it came back");
    assert!(front.receive(|bytes, _| assert!(bytes == frame)).is_some());
    front.flush();
}

#[test]
fn every_stop_of_the_drawing_is_passed_in_its_order() {
    let ends = Ends::new();
    // Both are in this process, which is one to the tracer.
    rings_host::trace(&ends.front, "both").expect("traced");
    let Pair { netfront: _netfront, mut front, netback: _netback, back: mut reflect } =
        ends.connect(0);
    // What was pending since they were bound, and the buffers.
    let _ = (front.disarm(), reflect.disarm(), front.poll(), reflect.work());
    ends.host.tracer().set(true);
    travel(&mut front, &mut reflect);
    ends.host.tracer().set(false);

    let path = ends.dir.path().join("journey.pvtrace");
    let deadline = Instant::now() + WATCHDOG;
    let passed = loop {
        ends.host.tracer().write(&path, &[]).expect("written");
        let passed = passed(&Mapped::open(&path).expect("there"));
        // The host is told of a thread's buffer; it may not have heard of it yet.
        if !passed.is_empty() || Instant::now() > deadline {
            break passed;
        }
    };
    let drawing = drawing();
    assert_eq!(drawing.keys().copied().collect::<Vec<_>>(), (1..=18).collect::<Vec<_>>());
    let at = |stop: u32| {
        let (function, file) = &drawing[&stop];
        let spans = passed.get(&(function.clone(), file.clone()));
        *spans.unwrap_or_else(|| {
            panic!("stop {stop}: {function} in {file} was not passed: {passed:?}")
        })
    };
    for pair in ORDER.windows(2) {
        let (before, after) = (at(pair[0]), at(pair[1]));
        assert!(before.0 < after.1, "stop {} begins before stop {} has ended", pair[0], pair[1]);
    }
    drop((reflect, front));
    ends.goodbye();
}

/// When each function was first entered, and when it was left then: as places in the record.
type Passed = BTreeMap<(String, String), (usize, usize)>;

fn passed(file: &[u8]) -> Passed {
    let trace = Trace::parse(file).expect("a trace");
    let mut sites = BTreeMap::new();
    for entry in trace.processes[0].journal() {
        if let Entry::Site(site) = entry {
            sites.insert(site.id, (site.name, site.file));
        }
    }
    let mut passed = Passed::new();
    let thread = trace.threads().max_by_key(|thread| thread.records().len());
    let mut open = Vec::new();
    for (n, record) in thread.into_iter().flat_map(tracer::format::Thread::records).enumerate() {
        match record.event() {
            Event::Enter { site, .. } => open.push((site, n)),
            Event::Exit { site, .. } => {
                let (entered, begin) = open.pop().expect("it was entered");
                assert_eq!(entered, site, "frames are nested");
                let first = passed.entry(sites[&site].clone()).or_insert((begin, n));
                if begin < first.0 {
                    *first = (begin, n);
                }
            }
            _ => {}
        }
    }
    passed
}
