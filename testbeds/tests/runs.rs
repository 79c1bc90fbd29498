//! Every mode, every switch: a run delivers what was sent, checked byte by byte, and its figures add
//! up. How fast it is is nobody's business here.

mod common;

use common::Scratch;
use serde_json::Value;

/// Bytes of a counted stream.
const STREAM: u64 = 1 << 20;

/// One run's summary.
fn summary(scratch: &Scratch, typed: &str) -> (Value, Value) {
    let args: Vec<&str> = typed.split_whitespace().collect();
    let mut results = scratch.net(&args);
    let summary = results["summary"].take();
    assert_eq!(summary["errors"], 0, "{typed}: {summary:#}");
    (summary, results["config"].take())
}

fn number(summary: &Value, key: &str) -> u64 {
    summary[key].as_u64().unwrap_or_else(|| panic!("no {key} in {summary:#}"))
}

fn ratio(summary: &Value, key: &str) -> f64 {
    summary[key].as_f64().unwrap_or_else(|| panic!("no {key} in {summary:#}"))
}

/// Each of them sends a counted stream, all of which must arrive and be right.
fn streams(all: &[&str]) {
    let scratch = Scratch::new();
    for typed in all {
        let (summary, config) = summary(&scratch, &format!("-n {STREAM} {typed}"));
        assert_eq!(number(&summary, "lost"), 0, "{typed}");
        // Flows share the amount; vifs have it each.
        let vifs = if typed.contains("bridge") { 1 } else { number(&config, "vifs") };
        let bytes = number(&summary, "bytes");
        assert_eq!(bytes, vifs * STREAM, "{typed}: {summary:#}");
        assert_eq!(bytes, number(&summary, "bytes_verified"), "{typed}");
        assert!(number(&summary, "ops") > 0 && ratio(&summary, "seconds") > 0.0, "{typed}");
        assert!(ratio(&summary, "copies_per_byte") >= 0.99, "{typed}: {summary:#}");
        assert!(number(&summary, "rss_bytes") < 256 << 20, "{typed}: {summary:#}");
    }
}

/// Of all its processes together: none has less than a megabyte, and buffers and pages are what they are.
#[test]
fn a_run_says_how_much_memory_it_took() {
    let scratch = Scratch::new();
    let (summary, _) = summary(&scratch, "-t 1");
    assert!((1 << 20..256 << 20).contains(&number(&summary, "rss_bytes")), "{summary:#}");
}

#[test]
fn a_count_is_met_to_the_last_one() {
    let scratch = Scratch::new();
    for (typed, key, count) in [
        ("-n 1000003 --queues 2 -P 3", "bytes", 1_000_003),
        ("-n 1000003 --queues 2 -P 3 -R", "bytes", 1_000_003),
        ("-n 1 --queues 2 -P 2", "bytes", 1),
        ("-n 1 --queues 2 -P 2 -R", "bytes", 1),
        ("-n 1 --queues 2 -P 2 --path loopback", "bytes", 1),
        ("--mode udp -n 100001", "bytes", 100_001),
        ("--mode udp -n 100001 -R --queues 2 -P 2", "bytes", 100_001),
        ("--mode udp -n 1473", "bytes", 1473),
        ("--mode pktgen -n 1001 --queues 2", "ops", 1001),
        ("--mode pktgen -n 1001 --queues 2 -R", "ops", 1001),
        ("--mode pktgen -n 1001 --queues 2 --wire reflect", "ops", 1001),
        ("--mode rr -n 101 -P 4", "ops", 101),
        ("--mode rr -n 101 -P 4 --queues 3", "ops", 101),
        ("--mode crr -n 51 -P 4", "ops", 51),
    ] {
        let (summary, _) = summary(&scratch, typed);
        assert_eq!(number(&summary, key), count, "{typed}: {summary:#}");
        assert_eq!(number(&summary, "lost"), 0, "{typed}");
    }
}

#[test]
fn a_count_begins_after_the_warm_up() {
    let scratch = Scratch::new();
    // What the end that decides has sent after its warm-up the other may have taken before the end of its own.
    for (typed, key, least) in [
        ("-n 64M", "bytes", 1),
        ("-n 64M -R", "bytes", 1),
        ("--mode udp -n 16M", "bytes", 1),
        ("--mode udp -n 1M -R", "bytes", 1 << 20),
        ("--mode pktgen -n 1M", "ops", 1),
        ("--mode pktgen -n 64K -R", "ops", 64 << 10),
        ("--mode pktgen -n 64K --wire reflect", "ops", 32 << 10),
        ("--mode rr -n 1000", "ops", 1000),
    ] {
        let (summary, _) = summary(&scratch, &format!("{typed} --warmup 0.2"));
        assert!(number(&summary, key) >= least, "{typed}: {summary:#}");
        assert!(ratio(&summary, "seconds") > 0.0, "{typed}: {summary:#}");
    }
}

/// What went on meanwhile is told of the whole run, its end included, and what was warm-up is called so.
#[test]
fn intervals_cover_the_run() {
    let scratch = Scratch::new();
    // The only one is one that did not last.
    let stream = scratch.net(&["-t", "2", "-i", "100"]);
    let all = stream["intervals"].as_array().expect("a list");
    let part = all[0]["sum"]["bytes"].as_u64().expect("counted");
    assert!(all.len() == 1 && 2 * part > number(&stream["summary"], "bytes"), "{all:#?}");
    assert!(all[0]["sum"].get("ops").is_none(), "a stream has none");
    assert_eq!(stream["summary"]["stalls"], 0);
    let frames = scratch.net(&["--mode", "pktgen", "-n", "1M", "-i", "100", "--drop", "0.1"]);
    assert!(frames["intervals"][0]["sum"]["ops"].as_u64() > Some(0), "{frames:#}");
    let (sent, received) = (&frames["end"]["sum_sent"], &frames["end"]["sum_received"]);
    assert_eq!(sent["bytes"], 64 << 20);
    assert!(received["bytes"].as_u64() < sent["bytes"].as_u64(), "a tenth is lost: {received}");
    let warm = scratch.net(&["-t", "1", "--warmup", "2", "-i", "1"]);
    let all = warm["intervals"].as_array().expect("a list");
    assert_eq!(all[0]["sum"]["omitted"], true);
    assert_eq!(all[all.len() - 1]["sum"]["omitted"], false);
    let moved: u64 = all.iter().filter_map(|one| one["sum"]["bytes"].as_u64()).sum();
    assert!(moved > number(&warm["summary"], "bytes"), "those of the warm-up too: {all:#?}");
    assert!(warm["summary"]["cpu"]["front"].as_f64() > Some(0.0), "{warm:#}");
}

#[test]
fn streams_arrive_in_both_directions() {
    streams(&[
        "",
        "-R",
        "-P 3",
        "--queues 2 -P 2",
        "-R --queues 2 -P 3",
        "--vifs 3",
        "-R --vifs 2",
    ]);
}

#[test]
fn streams_arrive_whatever_the_device_can_do() {
    streams(&[
        "--ip 6",
        "-R --ip 6",
        "--mtu 9000",
        "--mtu 9000 --gso off",
        "-R --mtu 9000 --gso off",
        "--gso off",
        "-R --gso off",
        "--gso 16K",
        "--sg off",
        "-R --sg off",
        "--csum on",
        "--csum off",
        "-R --csum off",
        "--csum tx",
        "-R --csum tx",
        "--csum rx",
        "-R --csum rx",
        "--ip 6 --csum off",
        "--mtu 576",
    ]);
}

#[test]
fn streams_arrive_whatever_the_mechanisms() {
    streams(&[
        "--index-base 0xfffffffc",
        "-R --index-base 0xfffffffc",
        "--grant copy",
        "--grant map",
        "-R --grant map",
        "--grant persistent",
        "-R --grant persistent",
        "--wait adaptive",
        "--wait event",
        "--wait poll",
        "--notify always",
        "--batch 1",
        "--batch 256",
        "-l 1000",
        "--window 4K",
        "--cost hypercall=1000,evtchn=500,gntmap=500,gntcopy=100,exit=1000",
        "-A 0,0 --wait adaptive",
        "-A 0,0 --wait event",
        "-A 0,0 --wait poll",
    ]);
}

#[test]
fn streams_arrive_over_every_path() {
    streams(&[
        "--path bridge",
        "--path bridge -R",
        "--path bridge --gso off -P 2",
        "--path loopback",
        "--path loopback -R",
        "--path loopback -P 3 --queues 2",
        "--path loopback --ip 6",
        "--path loopback --csum off",
    ]);
}

#[test]
fn what_was_negotiated_is_what_is_shown() {
    let scratch = Scratch::new();
    for (typed, key, value) in [
        ("", "gso", Value::from(64 << 10)),
        ("--csum off", "gso", Value::from(0)),
        ("--csum rx", "csum", Value::from("rx")),
        ("--sg off", "sg", Value::from(false)),
        ("--mtu 9000", "mtu", Value::from(9000)),
        ("--queues 2 -P 2", "queues", Value::from(2)),
    ] {
        let (_, config) = summary(&scratch, &format!("-n 64K {typed}"));
        assert_eq!(config[key], value, "{typed}: {key}");
    }
}

#[test]
fn mechanisms_show_in_their_counters() {
    let scratch = Scratch::new();
    let (plain, _) = summary(&scratch, &format!("-n {STREAM}"));
    assert!(number(&plain, "notifies_suppressed") > 0);
    assert!(number(&plain["grants"], "copies") > 0 && number(&plain["grants"], "maps") == 0);
    // An event for each push, be it one that needs no doorbell because its port is pending or masked.
    let (always, config) = summary(&scratch, "-n 256K --gso off --notify always --wait event");
    assert_eq!(config["notify"], "always");
    assert_eq!(number(&always, "notifies_suppressed"), 0, "{always:#}");
    // A frame is asked for and answered: on either side there is a push for each batch of them.
    assert!(ratio(&always, "notifies_per_op") > 2.0 / ratio(&always, "batch_mean"), "{always:#}");
    let (map, _) = summary(&scratch, "-n 256K --grant map");
    let grants = &map["grants"];
    assert!(number(grants, "maps") > 0 && number(grants, "unmaps") > 0, "{map:#}");
    let (kept, _) = summary(&scratch, "-n 256K --grant persistent");
    assert!(number(&kept["grants"], "maps") > number(&kept["grants"], "unmaps"), "{kept:#}");
    let (event, _) = summary(&scratch, "--mode rr -n 200 --wait event");
    assert!(number(&event, "wakeups") > 0, "{event:#}");
    let (copies, _) = summary(&scratch, &format!("-n {STREAM} --copies 3"));
    let extra = ratio(&copies, "copies_per_byte") - ratio(&plain, "copies_per_byte");
    assert!((2.9..3.1).contains(&extra), "{copies:#}");
}

#[test]
fn files_arrive_as_they_are() {
    let scratch = Scratch::new();
    for len in [1_usize, 2, 1447, 1448, 1449, 4096, 65_537, 1_000_003] {
        let bytes: Vec<u8> = (0..len).map(|n| (n.wrapping_mul(31) >> 3).to_le_bytes()[0]).collect();
        let (from, to) = (scratch.text("from"), scratch.text("to"));
        std::fs::write(&from, &bytes).expect("a file");
        for way in ["", "-R", "--path bridge", "--path loopback"] {
            if !way.is_empty() && len != 65_537 {
                continue;
            }
            let (summary, _) = summary(&scratch, &format!("--file {from} --out {to} {way}"));
            assert_eq!(number(&summary, "bytes_verified"), len as u64, "{len} {way}");
            assert!(std::fs::read(&to).expect("a file") == bytes, "{len} {way}: the file differs");
            std::fs::remove_file(&to).expect("a file");
        }
    }
    let file = scratch.text("from");
    let (unchecked, _) = summary(&scratch, &format!("--file {file} --verify off"));
    assert_eq!((number(&unchecked, "bytes"), number(&unchecked, "bytes_verified")), (1_000_003, 0));
}

#[test]
fn round_trips_come_back() {
    let scratch = Scratch::new();
    for typed in [
        "--mode rr",
        "--mode rr -P 3",
        "--mode rr -r 100,30000",
        "--mode rr --ip 6",
        "--mode rr --queues 2 -P 2",
        "--mode rr --path bridge",
        "--mode rr --path loopback",
        "--mode rr --grant map",
        "--mode rr --wait event",
        "--mode rr -A 0,0",
        "--mode crr",
        "--mode crr -P 2",
        "--mode crr -r 100,3000",
        "--mode crr --path bridge",
        "--mode crr --path loopback",
    ] {
        let (summary, _) = summary(&scratch, &format!("-n 100 {typed}"));
        assert_eq!(number(&summary, "ops"), 100, "{typed}: {summary:#}");
        assert!(ratio(&summary["latency_us"], "p50") > 0.0, "{typed}: {summary:#}");
        assert!(summary.get("bytes_verified").is_none_or(Value::is_null), "{typed}");
    }
}

#[test]
fn datagrams_arrive() {
    let scratch = Scratch::new();
    for typed in [
        "",
        "-R",
        "-l 16",
        "-P 3",
        "--ip 6",
        "--ip 6 -R",
        "--mtu 9000",
        "--queues 2 -P 2",
        "--csum off",
        "-R --csum off",
        "--grant persistent",
        "--path loopback",
        // More than both rings hold, to oneself: neither half may wait for the other for good.
        "--path loopback -n 16M",
        "--path bridge",
    ] {
        let amount = if typed.contains("-n") { "" } else { "-n 64K" };
        let (summary, config) = summary(&scratch, &format!("--mode udp {amount} {typed}"));
        assert_eq!(number(&summary, "lost"), 0, "{typed}: {summary:#}");
        let bytes = number(&summary, "bytes");
        // The last one is as short as it has to be.
        assert_eq!(config["amount"]["count"], bytes, "{typed}: {summary:#}");
        assert_eq!(bytes, number(&summary, "bytes_verified"), "{typed}");
    }
}

#[test]
fn bare_frames_arrive() {
    let scratch = Scratch::new();
    for typed in [
        "-l 60 -n 20000",
        "-l 64 -n 20000",
        "-l 1514 -n 5000",
        "-l 9000 -n 1000",
        "-l 65535 -n 200",
        "-R -l 60 -n 20000",
        "-R -l 64 -n 20000",
        "-R -l 1514 -n 5000",
        "-R -l 65535 -n 200",
        "-l 64 -n 2000 --sg off",
        "-l 64 -n 5000 --queues 2",
        "-l 64 -n 2000 --batch 1",
        "-l 64 -n 2000 --grant map",
        "-R -l 64 -n 2000 --grant map",
        "-l 1514 -n 2000 --grant persistent",
        "-l 64 -n 2000 --verify off",
        "-l 64 -n 2000 --index-base 0xfffffffc",
        "-l 64 -n 2000 -A 0,0",
        "-l 64 -n 2000 --wait event",
        "--wire reflect -l 64 -n 20000",
        "--wire reflect -l 1514 -n 5000",
        "--wire reflect -l 65535 -n 200",
        "--path bridge -l 64 -n 2000",
        // What the one pair says, the other hears too.
        "--path bridge --vifs 4 -l 64 -n 2000",
    ] {
        let (summary, config) = summary(&scratch, &format!("--mode pktgen {typed}"));
        let count = config["amount"]["count"].as_u64().expect("a count");
        let (bytes, len) = (number(&summary, "bytes"), number(&config, "len"));
        // Over a bridge the server is told to end when the client is done: no frame is waited for.
        if !typed.contains("bridge") {
            assert_eq!(number(&summary, "lost"), 0, "{typed}: {summary:#}");
            let decided_by_receiver = typed.contains("-R");
            let exact = bytes == count * len;
            assert!(exact || (decided_by_receiver && bytes > count * len), "{typed}: {summary:#}");
            let ops = number(&summary, "ops");
            assert_eq!(ops * len, bytes, "{typed}: {summary:#}");
        }
        let verified = if typed.contains("verify off") { 0 } else { bytes };
        assert_eq!(number(&summary, "bytes_verified"), verified, "{typed}: {summary:#}");
    }
}

#[test]
fn what_is_lost_on_purpose_is_counted_and_a_stream_survives_it() {
    let scratch = Scratch::new();
    let (tcp, _) = summary(&scratch, "-n 256K --gso off --drop 0.01 --seed 7");
    assert!(number(&tcp, "lost") > 0, "{tcp:#}");
    assert_eq!(number(&tcp, "bytes_verified"), 256 << 10);
    let (frames, _) = summary(&scratch, "--mode pktgen -l 64 -n 5000 --drop 0.1 --seed 7");
    let (lost, bytes) = (number(&frames, "lost"), number(&frames, "bytes"));
    assert_eq!(lost + bytes / 64, 5000, "{frames:#}");
    assert!((300..700).contains(&lost), "{frames:#}");
    let (again, _) = summary(&scratch, "--mode pktgen -l 64 -n 5000 --drop 0.1 --seed 7");
    assert_eq!(number(&again, "lost"), lost, "the same seed loses the same frames");
    let (back, _) = summary(&scratch, "--mode pktgen -l 64 -n 2000 --wire reflect --drop 0.1");
    assert_eq!(number(&back, "lost") + number(&back, "bytes") / 64, 2000, "{back:#}");
}

/// Neither what a guest thinks for long nor what the hypervisor charges is a standstill.
#[test]
fn time_that_is_burnt_on_purpose_is_no_stall() {
    let scratch = Scratch::new();
    let _turn = common::turn();
    for (typed, ops) in [
        // A batch takes as long as it takes to be called stalled, and so do many of its turns.
        ("--mode pktgen -n 250 --batch 256 --think 16ms", "250 ops"),
        ("--mode pktgen -n 100 --batch 256 --cost gntcopy=40000000", "100 ops"),
    ] {
        let args: Vec<&str> = typed.split_whitespace().collect();
        let ended =
            scratch.run(&[&["net", "--quiet", "--stall-timeout", "3s"], &args[..]].concat());
        assert!(ended.status.success(), "{typed}: {ended:?}");
        assert!(ended.stdout.contains(ops), "{typed}: {ended:?}");
    }
}

/// Whoever sleeps is woken by the event it waits for, and by no guard against storms or timer.
#[test]
fn sleepers_are_woken_by_events() {
    let scratch = Scratch::new();
    for typed in [
        "--mode rr -n 2000 --wait event",
        "--mode rr -n 2000 -A 0,0",
        "--mode crr -n 500 --wait event",
        "--mode crr -n 500 -A 0,0",
        "--mode udp -n 8M -A 0,0",
        "--mode udp -n 8M --path bridge",
        "--mode rr -n 2000 --path bridge",
        "-n 8M -A 0,0 --path bridge",
    ] {
        let (summary, _) = summary(&scratch, typed);
        assert_eq!(number(&summary, "lost_wakeups"), 0, "{typed}: {summary:#}");
        assert_eq!(number(&summary, "storm_delays"), 0, "{typed}: {summary:#}");
        assert!(number(&summary, "wakeups") > 0, "{typed}: {summary:#}");
    }
}

/// Both ends on one CPU: each has to let the other have it, whatever it waits by.
#[test]
fn one_cpu_is_enough_for_every_mode_under_every_policy() {
    let scratch = Scratch::new();
    for (typed, key, count) in [
        ("-n 256K", "bytes", 256 << 10),
        ("-n 256K -R", "bytes", 256 << 10),
        ("-n 256K --path loopback", "bytes", 256 << 10),
        ("-n 256K --path bridge", "bytes", 256 << 10),
        ("--mode rr -n 50", "ops", 50),
        ("--mode crr -n 20", "ops", 20),
        ("--mode udp -n 100000", "bytes", 100_000),
        ("--mode udp -n 100000 -R", "bytes", 100_000),
        ("--mode pktgen -n 1000", "ops", 1000),
        ("--mode pktgen -n 1000 -R", "ops", 1000),
        ("--mode pktgen -n 1000 --wire reflect", "ops", 1000),
    ] {
        for wait in ["adaptive", "event", "poll"] {
            let typed = format!("{typed} -A 0,0 --wait {wait}");
            let (summary, _) = summary(&scratch, &typed);
            assert_eq!(number(&summary, key), count, "{typed}: {summary:#}");
            assert_eq!(number(&summary, "lost"), 0, "{typed}: {summary:#}");
            assert_eq!(number(&summary, "lost_wakeups"), 0, "{typed}: {summary:#}");
        }
    }
}

/// As many guests as a lab takes, each a process of its own.
#[test]
fn sixty_four_guests_are_served() {
    let scratch = Scratch::new();
    let (round_trips, config) = summary(&scratch, "--vifs 64 --mode rr -n 3");
    assert_eq!((number(&config, "vifs"), number(&round_trips, "ops")), (64, 64 * 3));
}

/// With segmentation offload a frame stands for many segments, both ways.
#[test]
fn a_stream_crosses_the_ring_in_frames_of_many_segments() {
    let scratch = Scratch::new();
    for way in ["", "-R"] {
        let bytes_of_a_frame = |typed: &str| {
            let (summary, _) = summary(&scratch, typed);
            number(&summary, "bytes") / number(&summary, "ops")
        };
        assert!(bytes_of_a_frame(&format!("-n 8M {way}")) > 10_000, "{way}");
        assert!(bytes_of_a_frame(&format!("-n 2M --gso off {way}")) <= 1460, "{way}");
    }
}

/// What is allocated when a run begins and ends is a handful, whatever its length: the loop itself
/// allocates nothing.
#[test]
fn nothing_is_allocated_per_operation() {
    const HANDFUL: f64 = 8.0;
    let scratch = Scratch::new();
    for typed in [
        "--mode pktgen -l 64 -n 100000",
        "--mode pktgen -R -l 64 -n 100000",
        "--mode pktgen -l 1514 -n 20000",
        "-n 8M",
        "-n 8M --gso off",
        "-R -n 8M",
        "--mode rr -n 2000",
        "--mode pktgen --wire reflect -n 20000",
    ] {
        let (summary, _) = summary(&scratch, typed);
        let (per_op, ops) = (ratio(&summary, "allocs_per_op"), ratio(&summary, "ops"));
        assert!(per_op * ops <= HANDFUL, "{typed}: {} allocations", per_op * ops);
    }
}
