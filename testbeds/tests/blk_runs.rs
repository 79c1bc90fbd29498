//! `pvlab blk`: every disk, every switch, every way to reach pages: what is written is read again, and the
//! figures add up. Backends that are killed, disks that cannot be, a lab by hand. How fast it is is nobody's
//! business here.

mod common;

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::time::Duration;

use common::{Process, Scratch, within};
use nix::sys::signal::Signal;
use serde_json::Value;

/// A user who owns nothing.
const NOBODY: u32 = 65534;

/// Runs `pvlab blk ARGS -J`, which must succeed, and returns what it printed.
fn blk(scratch: &Scratch, typed: &str) -> Value {
    let _turn = common::turn();
    let mut args = vec!["blk"];
    args.extend(typed.split_whitespace());
    // Being slow is not being stalled.
    args.extend(["--stall-timeout", "100s", "-J"]);
    let ended = scratch.run(&args);
    assert!(ended.status.success(), "pvlab {}: {ended:?}", args.join(" "));
    serde_json::from_str(&ended.stdout).unwrap_or_else(|e| panic!("{typed}: {e}"))
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("no number: {value}"))
}

/// A file of so many bytes.
fn image(scratch: &Scratch, name: &str, bytes: u64) -> String {
    let path = scratch.path(name);
    std::fs::File::create(&path).and_then(|file| file.set_len(bytes)).expect("a file");
    path.display().to_string()
}

#[test]
fn requests_are_as_many_as_on_a_real_guest() {
    let scratch = Scratch::new();
    for (segments, requests) in [(11, 24.0), (32, 8.0), (256, 1.0)] {
        for split in ["serial", "parallel"] {
            let typed = format!(
                "--disk ram=8M --rw read --bs 1M --iodepth 2 -n 16 --segments {segments} --split {split}"
            );
            let results = blk(&scratch, &typed);
            let ring = &results["jobs"][0]["ring"];
            assert_eq!(ring["requests_per_io"], requests, "{typed}: {ring}");
            assert_eq!(results["summary"]["errors"], 0, "{typed}");
        }
    }
}

#[test]
fn without_indirect_requests_there_are_none() {
    let scratch = Scratch::new();
    for (indirect, requests) in [("off", 24.0), ("on", 8.0)] {
        let typed =
            format!("--disk ram=8M --rw read --bs 1M --iodepth 2 -n 16 --indirect {indirect}");
        let ring = &blk(&scratch, &typed)["jobs"][0]["ring"];
        assert_eq!(ring["requests_per_io"], requests, "{typed}: {ring}");
        assert_eq!(number(&ring["indirect"]) > 0, indirect == "on", "{typed}: {ring}");
    }
}

/// Flushes that turn out not to be there are given up, and so are the barriers in their place; the run goes on.
#[test]
fn a_disk_that_does_not_flush_is_used_without() {
    let scratch = Scratch::new();
    let typed = "--disk faulty:noflush:ram=8M --rw randrw -n 1000 --fsync 10";
    let results = blk(&scratch, typed);
    let job = &results["jobs"][0];
    assert_eq!(job["ring"]["downgrades"], 2, "{job:#}");
    assert_eq!(job["sync"]["total_ios"], 0, "{job:#}");
    assert_eq!(results["summary"]["errors"], 0, "{job:#}");
}

/// What a job did, how fast that was, and how long it took say the same.
#[test]
fn the_figures_of_a_job_agree_with_each_other() {
    let scratch = Scratch::new();
    for rw in ["randread", "write", "randrw"] {
        let results = blk(&scratch, &format!("--disk ram=8M --rw {rw} --bs 8k -n 20000"));
        let job = &results["jobs"][0];
        let mut ops = 0;
        for direction in [&job["read"], &job["write"]] {
            let float = |key: &str| direction[key].as_f64().expect("a number");
            let about = |a: f64, b: f64| (a - b).abs() <= 0.01 * a.max(b) + 1.0;
            let (ios, seconds) = (float("total_ios"), float("runtime") / 1e3);
            // The time is rounded to a millisecond.
            let slack = float("iops") * 1e-3;
            assert!((float("iops") * seconds - ios).abs() <= slack + 1.0, "{rw}: {direction:#}");
            assert!(about(float("bw_bytes"), float("iops") * 8192.0), "{rw}: {direction:#}");
            assert!(about(float("bw"), float("bw_bytes") / 1024.0), "{rw}: {direction:#}");
            assert_eq!(float("io_bytes"), ios * 8192.0, "{rw}: {direction:#}");
            assert!(about(float("io_kbytes"), ios * 8.0), "{rw}: {direction:#}");
            ops += number(&direction["total_ios"]);
            let (times, parts) =
                (&direction["lat_ns"], [&direction["slat_ns"], &direction["clat_ns"]]);
            let mean = |times: &Value| times["mean"].as_f64().expect("a number");
            if ios > 0.0 {
                let percentile = direction["clat_ns"]["percentile"].as_object().expect("some");
                for key in ["1.000000", "50.000000", "99.000000", "99.990000"] {
                    assert!(percentile.contains_key(key), "{rw}: no {key} in {percentile:?}");
                }
                assert!(parts.iter().all(|part| mean(part) <= mean(times)), "{rw}: {direction:#}");
            }
        }
        assert_eq!(number(&results["summary"]["ops"]), ops, "{rw}");
    }
}

#[test]
fn notifications_are_as_few_as_on_a_real_guest() {
    let scratch = Scratch::new();
    let per_op = |typed: &str| {
        let results = blk(&scratch, typed);
        let per_op = results["summary"]["notifies_per_op"].as_f64().expect("counted");
        (per_op, results)
    };
    let (one, _) = per_op("--wait event --iodepth 1 -n 2000");
    assert!(one <= 2.05, "one each way for one at a time: {one}");
    // Whoever loses its CPU in the middle of a batch is woken once more.
    let some = (0..3).map(|_| per_op("--wait event --iodepth 32 -n 6400").0 * 32.0);
    let many = some.fold(f64::MAX, f64::min);
    assert!(many <= 4.1, "two each way for 32 together: {many}");
}

#[test]
fn what_is_written_is_read_again_whatever_the_way() {
    let scratch = Scratch::new();
    let file = image(&scratch, "disk.img", 8 << 20);
    for disk in [
        "ram=8M".to_owned(),
        format!("file={file}"),
        "model=read:1G,write:1G,latency:10us --size 8M".to_owned(),
        "faulty:cache,delay=0.05/200us:ram=8M".to_owned(),
    ] {
        for switches in [
            "",
            "--grant map",
            "--grant persistent --bs 64k --iodepth 8",
            "--bs 512 --iodepth 5 --wait event",
            "--bs 20k --iodepth 64 --ring-order 3 --split serial --indirect off",
            "--bs 256k --iodepth 3 --segments 64 --queues 2 --ring-order 1",
            "--numjobs 3 --iodepth 7 --batch 1 --notify always --index-base 0xfffffff8",
            "--in-flight 3 --fsync 10 --wait poll",
            "--sector-size 4096 --dialect qemu,qemu",
            "--ring-order 4 --queues 8 --iodepth 4",
        ] {
            let typed = format!("--disk {disk} --rw randrw -n 1500 {switches}");
            let results = blk(&scratch, &typed);
            let summary = &results["summary"];
            assert_eq!(summary["errors"], 0, "{typed}: {summary:#}");
            let job = &results["jobs"][0];
            let ios = number(&job["read"]["total_ios"]) + number(&job["write"]["total_ios"]);
            assert_eq!(ios, number(&summary["ops"]), "{typed}");
            assert!(ios >= 1500, "{typed}: {ios}");
            if !disk.starts_with("file") {
                // A disk that begins with zeros leaves nothing that could not be checked.
                let read = number(&job["read"]["io_bytes"]) + number(&job["read_back"]["bytes"]);
                assert_eq!(number(&summary["bytes_verified"]), read, "{typed}: {summary:#}");
            }
            let levels = job["iodepth_level"].as_object().expect("levels");
            let percent: f64 = levels.values().filter_map(Value::as_f64).sum();
            assert!((percent - 100.0).abs() < 0.1, "{typed}: {levels:?}");
        }
    }
}

#[test]
fn what_is_only_written_is_read_at_the_end() {
    let scratch = Scratch::new();
    let file = image(&scratch, "disk.img", 4 << 20);
    // 1,000 blocks of a disk of 1,024; then all of it more than once.
    for (how, blocks) in [("--rw write -n 1000", 1000), ("--rw write --bs 8k -n 2000", 512)] {
        for disk in ["ram=4M".to_owned(), format!("file={file}")] {
            for switches in
                ["", "--wait event --queues 2 --fsync 7", "--warmup 0.1 --rate-iops 5000"]
            {
                let typed = format!("--disk {disk} {how} {switches}");
                let results = blk(&scratch, &typed);
                let (summary, job) = (&results["summary"], &results["jobs"][0]);
                let back = &job["read_back"];
                if switches.starts_with("--warmup") {
                    assert!(number(&back["blocks"]) >= blocks.min(512), "{typed}: {back}");
                } else {
                    assert_eq!(number(&back["blocks"]), blocks, "{typed}: {back}");
                }
                assert_eq!(back["blocks"], back["all"], "{typed}: {back}");
                assert_eq!(summary["bytes_verified"], back["bytes"], "{typed}: {summary:#}");
                // It is no part of what is measured.
                assert_eq!(job["read"]["total_ios"], 0, "{typed}: {job:#}");
                assert_eq!(job["write"]["total_ios"], summary["ops"], "{typed}: {job:#}");
                assert_eq!(summary["errors"], 0, "{typed}: {summary:#}");
            }
        }
    }
    let results = blk(&scratch, "--disk ram=4M --rw randwrite -n 1000 --verify off");
    assert_eq!(results["jobs"][0]["read_back"], Value::Null, "nothing is checked");
    assert_eq!(results["jobs"][0]["unchecked"], "--verify is off");
    let results = blk(&scratch, "-n 1000");
    assert_eq!(results["jobs"][0]["unchecked"], "null keeps nothing");
    let results = blk(&scratch, "--disk ram=4M -n 1000");
    assert_eq!(results["jobs"][0]["unchecked"], Value::Null, "zeros are looked at");
    let _turn = common::turn();
    let ended = scratch.run(&["blk", "--disk", "ram=4M", "--rw", "write", "-n", "1000"]);
    assert!(ended.stdout.contains("4K writes in order, 32 in flight, every block"), "{ended:?}");
    assert!(ended.stdout.contains("read back: 1,000 blocks that were written"), "{ended:?}");
}

#[test]
fn a_disk_that_loses_writes_is_found_out() {
    let scratch = Scratch::new();
    let _turn = common::turn();
    for rw in ["write", "randwrite", "randrw"] {
        let switches = ["--disk", "faulty:lose=0.1:ram=4M", "--rw", rw, "-n", "500"];
        let ended = scratch.run(&[&["blk"], &switches[..]].concat());
        ended.assert_one_line(rw, 1, &["errors, the first: byte", "instead of write"]);
    }
}

#[test]
fn in_flight_is_what_was_asked_for_and_what_the_backend_allows() {
    let scratch = Scratch::new();
    let depth = |typed: &str, side: &str| {
        let results = blk(&scratch, typed);
        let job = &results["jobs"][0];
        let levels = job[side].as_object().expect("levels").clone();
        let names = ["1", "2", "4", "8", "16", "32", ">=64"];
        let most = names.iter().rfind(|n| levels[**n].as_f64() > Some(0.0)).copied();
        (most.expect("some").to_owned(), number(&job["ring"]["out_of_requests"]))
    };
    let slow = "--disk model=latency:100us,read:1G,write:1G --size 8M -n 400";
    // An operation of 32 pages is three requests, together or one after the other: 2 is 2 and 3.
    for (split, together) in [("parallel", "2"), ("serial", "1")] {
        let typed =
            format!("{slow} --rw read --bs 128k --iodepth 1 --indirect off --split {split}");
        assert_eq!(depth(&typed, "iodepth_level").0, together, "{split}");
    }
    assert_eq!(depth(&format!("{slow} --iodepth 1"), "iodepth_level").0, "1");
    assert_eq!(depth(&format!("{slow} --iodepth 32"), "iodepth_level").0, "32");
    let limited = format!("{slow} --iodepth 32 --in-flight 4");
    let (most, out) = depth(&limited, "iodepth_level_backend");
    assert!(most == "4" && out > 0, "the backend takes no more than 4: {most}, {out}");
    // For each page of a ring.
    let limited = format!("{slow} --iodepth 64 --in-flight 4 --ring-order 1");
    let (most, out) = depth(&limited, "iodepth_level_backend");
    assert!(most == "8" && out > 0, "nor more than 8 of two pages: {most}, {out}");
    assert_eq!(depth(&format!("{slow} --iodepth 200 --ring-order 3"), "iodepth_level").0, ">=64");
}

#[test]
fn a_request_allocates_nothing() {
    let scratch = Scratch::new();
    let file = image(&scratch, "disk.img", 8 << 20);
    for switches in [
        "",
        "--grant persistent",
        "--disk ram=8M --warmup 0.3 -t 1",
        &format!("--disk file={file} --warmup 0.3 -t 1"),
    ] {
        let results = blk(&scratch, &format!("-t 0.5 --warmup 0.2 {switches}"));
        let summary = &results["summary"];
        let per_op = summary["allocs_per_op"].as_f64().expect("counted");
        let ops = summary["ops"].as_f64().expect("counted");
        assert!(per_op < 1e-3 || per_op * ops <= 8.0, "{switches}: {per_op} each of {ops}");
    }
}

#[test]
fn different_dialects_see_another_disk_and_other_places_on_it() {
    let scratch = Scratch::new();
    let sees = |dialect: &str| {
        let _turn = common::turn();
        let typed = format!("blk --disk ram=8M -n 100 --sector-size 4096 --dialect {dialect} -J");
        let args: Vec<&str> = typed.split(' ').collect();
        // Two ends that count differently may well fail; how large the disk is they say all the same.
        let ended = scratch.run(&args);
        let results: Value = serde_json::from_str(&ended.stdout).expect("results");
        results["jobs"][0]["job options"]["size"].clone()
    };
    assert_eq!(sees("xen,xen"), "8388608");
    assert_eq!(sees("mini-os,freebsd"), "8388608", "both count the disk in its own sectors");
    assert_eq!(sees("xen,mini-os"), "1048576", "an eighth");
    let _turn = common::turn();
    let args = "blk --disk ram=8M --rw randrw -n 2000 --sector-size 4096 --dialect freebsd,xen";
    let args: Vec<&str> = args.split(' ').collect();
    let ended = scratch.run(&args);
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
}

/// Runs over `disk` live on when their backend is killed: a few times, or with `PVLAB_SOAK=1` 200 times, at
/// other moments each time, in the middle of connecting too.
fn kill(disk: &str) {
    let scratch = Scratch::new();
    let file = image(&scratch, "disk.img", 4 << 20);
    let disk = format!("{disk}{file}");
    let (seconds, wanted) = if common::soak() { (10, 200) } else { (2, 4) };
    let mut killed = 0;
    for seed in 1..60 {
        for switches in ["", "--bs 64k --iodepth 8 --grant persistent --queues 2 --ring-order 1"] {
            let typed = format!(
                "--disk {disk} --rw randrw --fsync 16 -t {seconds} --seed {seed} --kill-backend-every 120ms {switches}"
            );
            let results = blk(&scratch, &typed);
            let (summary, ring) = (&results["summary"], &results["jobs"][0]["ring"]);
            assert_eq!(summary["errors"], 0, "{typed}");
            assert!(number(&summary["bytes_verified"]) > 0, "{typed}");
            assert!(number(&ring["requeued"]) > 0, "{typed}: {ring}");
            // What was written and may still be there was read again at the very end.
            let back = &results["jobs"][0]["read_back"];
            assert_eq!(back["blocks"], back["all"], "{typed}: {back}");
            if disk.starts_with("file") {
                assert!(summary["bytes_verified"].as_u64() >= back["bytes"].as_u64(), "{typed}");
            }
            // What blkfront counts is exact: it lives on. A backend publishes its counters every
            // millisecond, and what it did after that dies with it: of all its lives together there is,
            // where much was done in each, a rough lower bound.
            let (ops, deaths) = (number(&summary["ops"]), number(&ring["reconnects"]));
            let (put, taken) = (number(&ring["requests"]), number(&ring["taken"]));
            if ops > 200 * deaths {
                // Each request was a copy or a page that was kept mapped, whoever served it.
                let copied = &summary["copies_per_byte"];
                assert!(copied.as_f64() > Some(0.9), "of {ops}: {copied}");
                // The last life alone had a tenth of the time, or less.
                assert!(taken > put / 2, "{typed}: {ring}");
            }
            killed += number(&ring["reconnects"]);
        }
        if killed >= wanted {
            break;
        }
    }
    assert!(killed >= wanted, "{killed} backends were killed, not {wanted}");
}

#[test]
fn a_killed_backend_loses_nothing_that_was_acknowledged() {
    kill("file=");
}

#[test]
fn a_killed_cache_loses_nothing_that_was_flushed() {
    kill("faulty:cache:file=");
}

/// The same disk, but its flushes do nothing: then it does lose, and that is seen.
#[test]
fn a_flush_that_is_a_lie_is_found_out() {
    let scratch = Scratch::new();
    let _turn = common::turn();
    let file = image(&scratch, "disk.img", 4 << 20);
    let disk = format!("faulty:cache,liar:file={file}");
    let kills = ["--fsync", "16", "-t", "3", "--kill-backend-every", "200ms"];
    let args = [&["blk", "--disk", &disk, "--rw", "randrw", "--stall-timeout", "100s"], &kills[..]];
    let ended = scratch.run(&args.concat());
    ended.assert_one_line("a liar", 1, &["errors, the first: byte", "instead of write"]);
}

#[test]
fn a_disk_that_cannot_be_is_one_clear_line() {
    let scratch = Scratch::new();
    let _turn = common::turn();
    let odd = image(&scratch, "odd.img", 1_000_001);
    let empty = image(&scratch, "empty.img", 0);
    let small = image(&scratch, "small.img", 1 << 20);
    let none = scratch.text("none.img");
    let run = |typed: &str, code, parts: &[&str]| {
        let mut args = vec!["blk"];
        args.extend(typed.split_whitespace());
        scratch.run(&args).assert_one_line(typed, code, parts);
    };
    run(&format!("--disk file={odd}"), 1, &["odd.img", "1000001 bytes", "truncate -s 1000448"]);
    run(&format!("--disk file={empty}"), 1, &["empty.img", "empty", "truncate"]);
    run(&format!("--disk file={none}"), 1, &["none.img", "No such file", "truncate"]);
    run(&format!("--disk file={}", scratch.text("")), 1, &["neither a file nor a block device"]);
    run(&format!("--disk file={small} --size 2M"), 1, &["--size", "1M", "smaller"]);
    for memory in ["--disk ram=1000T", "--disk model --size 2T"] {
        run(memory, 1, &["--disk", "too long for a disk in memory", "1T"]);
    }
    run("--disk floppy", 2, &["--disk floppy", "null, void"]);
    run("--disk ram=1M --bs 2M", 1, &["--bs", "use less"]);
    run("--bs 1000", 2, &["--bs 1000", "multiple of 512"]);
    run("--verify on", 2, &["--verify", "--disk ram"]);
    run("--read-only --rw write", 2, &["--rw write", "--read-only"]);
    run("--kill-backend-every 1s --disk ram=1M", 2, &["--kill-backend-every", "file=PATH"]);
    run("--nbd /tmp/x", 2, &["--nbd", "unix:PATH"]);
    for amount in ["-t 3", "-n 100"] {
        let parts = ["--nbd serves until it is ended", &format!("drop {}", &amount[..2])];
        run(&format!("--nbd unix:/tmp/x {amount}"), 2, &parts);
    }
    scratch.assert_clean(&[], "disks that cannot be");
}

#[test]
fn a_file_without_rights_is_one_clear_line() {
    let scratch = Scratch::new();
    let _turn = common::turn();
    let file = image(&scratch, "disk.img", 1 << 20);
    let disk = format!("file={file}");
    let mode = |mode| {
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).expect("ours");
    };
    // Root may do anything: then it is somebody else who comes.
    let root = nix::unistd::geteuid().is_root();
    // Somebody else may not get to where this was built.
    let pvlab = scratch.path("copy-of-pvlab");
    std::fs::copy(env!("CARGO_BIN_EXE_pvlab"), &pvlab).expect("room for a copy");
    let run = |args: &[&str]| {
        let args = [&["blk", "--disk", &disk, "-n", "10"], args].concat();
        let mut command = scratch.command_at(&pvlab, &args);
        if root {
            let home = scratch.path(".");
            std::os::unix::fs::chown(&home, Some(NOBODY), Some(NOBODY)).expect("root");
            command.uid(NOBODY).gid(NOBODY);
        }
        Process::start(command).end()
    };
    mode(if root { 0o600 } else { 0o000 });
    run(&[]).assert_one_line("no rights", 1, &["disk.img", "Permission denied", "--read-only"]);
    run(&["--read-only"]).assert_one_line("no rights to read", 1, &["disk.img", "chmod u+r"]);
    mode(0o444);
    run(&[]).assert_one_line("no right to write", 1, &["disk.img", "--read-only"]);
    let ended = run(&["--read-only"]);
    assert!(ended.status.success(), "{ended:?}");
}

#[test]
fn a_file_that_is_cut_while_in_use_is_one_clear_line() {
    let scratch = Scratch::new();
    let _turn = common::turn();
    let file = image(&scratch, "disk.img", 8 << 20);
    let disk = format!("file={file}");
    let switches = ["--rw", "randrw", "-t", "10", "--quiet", "-i", "0.2"];
    let running = scratch.start(&[&["blk", "--disk", &disk], &switches[..]].concat());
    let written = || std::fs::metadata(&file).is_ok_and(|file| file.blocks() > 0);
    assert!(within(common::WATCHDOG, written), "nothing is written");
    let cut = std::fs::OpenOptions::new().write(true).open(&file).and_then(|f| f.set_len(1 << 20));
    cut.expect("ours");
    let parts = ["errors, the first: the ", "disk.img: cut to ", "while in use"];
    running.end().assert_one_line("cut", 1, &parts);
}

#[test]
fn a_disk_with_faults_fails_the_run_and_says_where() {
    let scratch = Scratch::new();
    let _turn = common::turn();
    let args = ["blk", "--disk", "faulty:errors=0.05:ram=1M", "--rw", "randrw", "-n", "500"];
    let ended = scratch.run(&args);
    ended.assert_one_line("faults", 1, &["errors, the first: the ", "of 4096 bytes at byte"]);
}

#[test]
fn an_operation_that_failed_is_an_error_and_no_operation() {
    let scratch = Scratch::new();
    let _turn = common::turn();
    for (rw, direction) in [("randread", "read"), ("write", "write")] {
        let switches = ["--disk", "faulty:errors=0.2:ram=4M", "--rw", rw, "-n", "1000"];
        let ended = scratch.run(&[&["blk", "-J", "--verify", "off"], &switches[..]].concat());
        assert_eq!(ended.status.code(), Some(1), "{ended:?}");
        let results: Value = serde_json::from_str(&ended.stdout).expect("results");
        let (summary, done) = (&results["summary"], &results["jobs"][0][direction]);
        let failed = number(&done["failed_ios"]);
        assert!((100..400).contains(&failed), "{done:#}");
        assert_eq!(number(&summary["errors"]), failed, "{summary:#}");
        assert_eq!(number(&summary["ops"]), 1000 - failed, "{summary:#}");
        assert_eq!(number(&summary["bytes"]), (1000 - failed) * 4096, "{summary:#}");
        assert_eq!(number(&done["total_ios"]), 1000 - failed, "{done:#}");
        for times in ["slat_ns", "clat_ns", "lat_ns"] {
            let count = number(&done[times]["N"]);
            assert!(count == 1000 - failed || times == "slat_ns", "{times} {done:#}");
        }
    }
}

/// Nobody waits for the other end longer than anybody wants it to.
#[test]
fn a_guest_that_waits_for_its_backend_ends_when_it_is_told_to() {
    let scratch = Scratch::new();
    let _turn = common::turn();
    let dir = scratch.text("lab");
    let host = scratch.host(&["--device", "vbd"]);
    let front = ["blkfront", "--dir", &dir, "--stall-timeout", "1000s"];
    let front = scratch.start(&front);
    // Wherever it is by then.
    std::thread::sleep(Duration::from_millis(500));
    front.signal(Signal::SIGTERM);
    assert!(!front.end().status.success());
    host.leave();
}

/// `null` keeps nothing, so that there is nothing to check: but who says that it is `null`?
#[test]
fn somebody_elses_backend_cannot_talk_a_user_out_of_checks() {
    let scratch = Scratch::new();
    let _turn = common::turn();
    let dir = scratch.text("lab");
    let host = scratch.host(&["--device", "vbd"]);
    let pids = [host.pid()];
    let blkback = scratch.start(&["blkback", "--dir", &dir, "-A", "0,0"]);
    let front = ["blkfront", "--dir", &dir, "--rw", "write", "-n", "500", "-A", "0,0"];
    let ended = scratch.run(&front);
    assert!(ended.status.success(), "{ended:?}");
    let why = "nothing was checked: the backend calls its disk null, which keeps nothing";
    assert!(ended.stdout.contains(why) && ended.stdout.contains("verify=off"), "{ended:?}");
    let ended = scratch.run(&[&front[..], &["--verify", "on"]].concat());
    ended.assert_one_line("checked all the same", 1, &["domain 1", "500 errors"]);
    assert!(!ended.stdout.contains("nothing was checked"), "{ended:?}");
    assert!(ended.stdout.contains("disk=null") && ended.stdout.contains("verify=on"), "{ended:?}");
    let repeat = ended.stdout.lines().find(|line| line.contains("repeat:  pvlab blkfront"));
    assert!(repeat.is_some_and(|line| line.contains("--verify on")), "{ended:?}");
    blkback.leave();
    host.leave();
    scratch.assert_clean(&pids, "a backend that keeps nothing");
}

#[test]
fn a_disk_for_reading_is_not_written_by_hand() {
    let scratch = Scratch::new();
    let _turn = common::turn();
    let dir = scratch.text("lab");
    let host = scratch.host(&["--device", "vbd"]);
    let pids = [host.pid()];
    let blkback = ["blkback", "--dir", &dir, "--disk", "ram=8M", "--read-only", "-A", "0,0"];
    let blkback = scratch.start(&blkback);
    let front = |rw| {
        let args = ["--rw", rw, "-n", "100", "-A", "0,0"];
        scratch.run(&[&["blkfront", "--dir", &dir], &args[..]].concat())
    };
    for rw in ["write", "randrw"] {
        front(rw).assert_one_line(rw, 1, &[&format!("--rw {rw}"), "for reading only", "randread"]);
    }
    let ended = front("randread");
    assert!(ended.status.success(), "{ended:?}");
    blkback.leave();
    host.leave();
    scratch.assert_clean(&pids, "a lab by hand");
}

#[test]
fn a_lab_by_hand_outlives_its_backend() {
    let scratch = Scratch::new();
    let _turn = common::turn();
    let dir = scratch.text("lab");
    let file = image(&scratch, "disk.img", 8 << 20);
    let disk = format!("file={file}");
    let host = scratch.host(&["--device", "vbd"]);
    let pids = [host.pid()];
    let back = ["blkback", "--dir", &dir, "--disk", &disk, "-A", "0,0"];
    let mut blkback = scratch.start(&back);
    // What the disk is made of the backend says, and nobody else.
    let front = ["blkfront", "--dir", &dir, "--rw", "randrw", "-A", "0,0"];
    for (guest, told) in [&[][..], &["--disk", "ram=8M"], &[]].into_iter().enumerate() {
        let ended = scratch.run(&[&front[..], &["-n", "500"], told].concat());
        assert!(ended.status.success(), "guest {guest}: {ended:?}");
        assert!(ended.stdout.contains("500 ops"), "guest {guest}: {ended:?}");
        assert!(ended.stdout.contains(&format!("disk={disk}")), "guest {guest}: {ended:?}");
        assert!(ended.stdout.contains(" checked"), "guest {guest}: {ended:?}");
    }
    let mut long = scratch.start(&[&front[..], &["-t", "15"]].concat());
    let guest = long.pid();
    for _ in 0..3 {
        // One that has not served this guest yet is not missed.
        let both = || {
            let counted = common::counted(&scratch);
            let works = |pid: i32| {
                counted.iter().any(|(of, it)| u64::try_from(pid) == Ok(*of) && it.pushed > 0)
            };
            (works(guest) && works(blkback.pid())) || long.has_ended()
        };
        assert!(within(common::WATCHDOG, both), "no traffic");
        blkback.signal(Signal::SIGKILL);
        assert!(!blkback.end().status.success());
        blkback = scratch.start(&back);
    }
    let ended = long.end();
    assert!(ended.status.success(), "{ended:?}");
    assert!(ended.stdout.contains("3 backends replaced"), "{ended:?}");
    assert!(ended.stdout.contains(" 0 errors"), "{ended:?}");
    blkback.leave();
    host.leave();
    scratch.assert_clean(&pids, "a lab by hand");
}
