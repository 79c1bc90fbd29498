//! A data directory for uftrace, read as uftrace reads it; that uftrace itself agrees is tested where it is
//! installed.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use tracer::format::{Ended, Event, Full, Trace};
use tracer_view::fixture::{BEGIN, Maker, Plan};
use tracer_view::{Filter, Pattern, Top, View, export};

fn exported(maker: &Maker, filter: &Filter, to: &Path) -> Counts {
    let bytes = maker.finish();
    let trace = Trace::parse(&bytes).expect("a trace");
    let view = View::new(&trace);
    let made = export(&view, filter, to).expect("written");
    let files = fs::read_dir(to).expect("a folder").map(|entry| entry.expect("an entry"));
    let octets: u64 = files.map(|entry| entry.metadata().expect("a file").len()).sum();
    assert_eq!(made.octets, octets);
    let mut calls: BTreeMap<String, u64> = BTreeMap::new();
    for row in Top::new(&view, filter, true).expect("no filter that fails").rows {
        *calls.entry(row.name).or_default() += row.calls;
    }
    calls.into_iter().filter(|(_, calls)| *calls > 0).collect()
}

/// One record: `struct uftrace_record`.
struct Record {
    ns: u64,
    kind: u64,
    depth: u64,
    address: u64,
}

fn records(file: &Path) -> Vec<Record> {
    let octets = fs::read(file).expect("a file");
    let (records, rest) = octets.as_chunks::<16>();
    assert!(rest.is_empty());
    let word = |octets: &[u8]| u64::from_le_bytes(octets.try_into().expect("8 octets"));
    let record = |octets: &[u8; 16]| {
        let (ns, rest) = (word(&octets[..8]), word(&octets[8..]));
        assert_eq!(rest >> 2 & 0b1111, 0b1010, "no arguments; the magic number");
        Record { ns, kind: rest & 3, depth: rest >> 6 & 0x3ff, address: rest >> 16 }
    };
    records.iter().map(record).collect()
}

/// How often, by name.
type Counts = Vec<(String, u64)>;

/// Ended calls, and events; what is wrong stops it.
fn read(folder: &Path) -> (Counts, Counts) {
    let text = |name: &str| fs::read_to_string(folder.join(name)).expect("a file");
    let symbols = text("pvlab.sym");
    let symbols: BTreeMap<u64, &str> = symbols
        .lines()
        .filter_map(|line| line.split_once(" T "))
        .map(|(at, name)| (u64::from_str_radix(at, 16).expect("a number"), name))
        .collect();
    let map = text("sid-0000000000000000.map");
    let base = u64::from_str_radix(map.split('-').next().expect("an address"), 16);
    let base = base.expect("a number");
    let events = text("events.txt");
    let events: BTreeMap<u64, &str> = events
        .lines()
        .map(|line| line.strip_prefix("EVENT: ").expect("an event"))
        .filter_map(|line| line.split_once(' '))
        .map(|(number, name)| (number.parse().expect("a number"), name))
        .collect();
    let mut calls: BTreeMap<String, u64> = BTreeMap::new();
    let mut seen: BTreeMap<String, u64> = BTreeMap::new();
    for task in text("task.txt").lines().filter(|line| line.starts_with("TASK")) {
        let tid = task.split("tid=").nth(1).and_then(|rest| rest.split(' ').next());
        let (mut open, mut last) = (Vec::new(), 0);
        for record in records(&folder.join(format!("{}.dat", tid.expect("a number")))) {
            assert!(record.ns >= last, "time goes forward");
            last = record.ns;
            match record.kind {
                0 => {
                    assert_eq!(record.depth, open.len() as u64);
                    open.push(record.address);
                }
                1 => {
                    assert_eq!(open.pop(), Some(record.address));
                    assert_eq!(record.depth, open.len() as u64);
                    *calls.entry(symbols[&(record.address - base)].to_owned()).or_default() += 1;
                }
                _ => *seen.entry(events[&record.address].to_owned()).or_default() += 1,
            }
        }
    }
    (calls.into_iter().collect(), seen.into_iter().collect())
}

#[test]
fn it_has_the_calls_of_the_report_and_what_happens_on_the_rings() {
    let scratch = tempfile::tempdir().expect("a folder");
    let to = scratch.path().join("out.uftrace");
    let plan = Plan { wake: Some(700), full: 100, takes: true, ..Plan::default() };
    let reported = exported(&plan.make(), &Filter::default(), &to);
    let (calls, events) = read(&to);
    assert_eq!(calls, reported);
    let batches = u64::from(plan.batches);
    for name in [
        "evtchn:notified:vif1.0-q0-tx",
        "evtchn:notify:vif1.0-q0-tx",
        "iteration:round",
        "ring.req:push-requests:vif1.0-q0-tx",
        "ring.req:see-requests:vif1.0-q0-tx",
        "ring.rsp:push-responses:vif1.0-q0-tx",
        "ring.rsp:see-responses:vif1.0-q0-tx",
        "ring:room-again:vif1.0-q0-tx",
    ] {
        assert!(events.contains(&(name.to_owned(), batches)), "{name}: {events:?}");
    }
    let takes = ("ring.req:take:vif1.0-q0-tx".to_owned(), batches * u64::from(plan.batch));
    assert!(events.contains(&takes), "{events:?}");
    let task = fs::read_to_string(to.join("task.txt")).expect("a file");
    let first = format!("{}.{:09}", BEGIN / 1_000_000_000, BEGIN % 1_000_000_000 + 90);
    assert!(
        task.contains(&format!(
            "SESS timestamp={first} pid=1001 sid=0000000000000001 exename=\"netback\""
        )),
        "{task}"
    );
    assert!(task.contains(&format!("TASK timestamp={first} tid=2001 pid=1001")), "{task}");
    let said = fs::read_to_string(to.join("extern.dat")).expect("a file");
    assert!(said.contains("netfront: connected"), "{said}");
    let info = fs::read(to.join("info")).expect("a file");
    let lines = String::from_utf8_lossy(&info[40..]).into_owned();
    let wanted = "exename:pvlab\ncmdline:pvlab net --made by-hand\ntaskinfo:lines=2\n\
                  taskinfo:nr_tid=2\ntaskinfo:tids=2000,2001\n";
    assert_eq!(lines, wanted);
}

#[test]
fn what_is_left_out_leaves_no_hole_and_what_never_ended_has_no_end() {
    let scratch = tempfile::tempdir().expect("a folder");
    let to = scratch.path().join("out.uftrace");
    let without = Filter { without: vec![Pattern::new("serve")], ..Filter::default() };
    let reported = exported(&Plan::default().make(), &without, &to);
    assert!(!reported.iter().any(|(name, _)| name == "serve"), "{reported:?}");
    assert_eq!(read(&to).0, reported);

    let mut maker = Plan::default().make();
    let exit = maker.records(0).iter().rposition(|r| matches!(r.event(), Event::Exit { .. }));
    maker.records(0).truncate(exit.expect("an exit"));
    maker.thread_mut(0).info.full = Full::Stop;
    maker.ended(0, Ended::Died);
    let reported = exported(&maker, &Filter::default(), &to);
    assert_eq!(read(&to).0, reported);
}

#[test]
fn a_folder_is_replaced_if_it_is_such_a_one_and_refused_if_it_is_not() {
    let scratch = tempfile::tempdir().expect("a folder");
    let to = scratch.path().join("out.uftrace");
    let few = Plan { batches: 3, ..Plan::default() };
    let reported = exported(&few.make(), &Filter::default(), &to);
    fs::write(to.join("99.dat"), "of a task that is gone").expect("written");
    let again = exported(&few.make(), &Filter::default(), &to);
    assert!(!to.join("99.dat").exists());
    assert_eq!((read(&to).0, again), (reported.clone(), reported));

    let full = scratch.path().join("photographs.uftrace");
    fs::create_dir(&full).expect("a folder");
    fs::write(full.join("1.dat"), "dear to somebody").expect("written");
    let bytes = few.make().finish();
    let trace = Trace::parse(&bytes).expect("a trace");
    let refused = export(&View::new(&trace), &Filter::default(), &full).expect_err("refused");
    let words = refused.to_string();
    assert!(words.contains("photographs.uftrace") && words.contains("something else"), "{words}");
    assert_eq!(fs::read_dir(&full).expect("a folder").count(), 1);
}
