//! Bad input gets one clear line: the value, the reason, the remedy. Runs the real binary over a table of it.

use std::collections::BTreeSet;
use std::process::{Command, Output};

fn pvlab(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pvlab"));
    command.args(args).output().expect("the binary starts")
}

/// What is typed, what the line must contain (the value first, the remedy last).
const BAD_ARGUMENTS: &[(&str, &[&str])] = &[
    // What does not exist, later work included.
    ("--batches", &["--batches", "see pvlab --help"]),
    ("nett", &["nett", "did you mean net?"]),
    ("sweep --vary batch=1", &["sweep", "see pvlab --help"]),
    ("net --btach 1", &["--btach", "did you mean --batch?"]),
    ("blk --rate 100", &["--rate", "did you mean --rate-iops?"]),
    ("net stream", &["stream", "see pvlab net --help"]),
    ("net --path router", &["--path router", "use loopback, backend or bridge"]),
    ("net --wire tap=tap0", &["--wire tap=tap0", "use sink, reflect, stack or bridge"]),
    ("store", &["pvlab store", "use ls, read, write, rm, chmod or watch"]),
    ("store mv /a /b", &["mv", "see pvlab store --help"]),
    ("store write /a", &["<VALUE>", "use pvlab store write"]),
    ("trace top x.json -n y", &["-n y", "not a size"]),
    ("trace top x.json --rows y", &["--rows y", "not a size"]),
    ("store chmod /a x1", &["x1", "as in r1"]),
    ("--quiet net", &["--quiet", "write it after"]),
    // Values.
    ("net --mode tcp", &["--mode tcp", "use stream, maerts, rr, crr, udp or pktgen"]),
    ("net --mode", &["--mode", "use stream"]),
    ("net --batch", &["--batch", "write one"]),
    ("net --batch 0", &["--batch 0", "use 1 to 256"]),
    ("net --batch 257", &["--batch 257", "use 1 to 256"]),
    ("net --batch -1", &["--batch -1", "use 1 to 256"]),
    ("net --batch 1.5", &["--batch 1.5", "use 1 to 256"]),
    ("net -t 0", &["-t 0", "use a time above 0"]),
    ("net -t -1", &["-t -1", "use seconds"]),
    ("net -t inf", &["-t inf", "use seconds"]),
    ("net -t 1e9", &["-t 1e9", "use seconds"]),
    ("net -t 9999999", &["-t 9999999", "use 0 to 604800"]),
    ("net -n 0", &["-n 0", "use 1 or more"]),
    ("net -n 12X", &["-n 12X", "64K"]),
    ("net -n 99999999999999999999", &["-n 99999999999999999999", "smaller"]),
    ("net -i 0.001", &["-i 0.001", "use 0.01"]),
    ("net --seed x", &["--seed x", "0x2a"]),
    ("net --spin 50", &["--spin 50", "write ns, us, ms or s"]),
    ("net --spin 2s", &["--spin 2s", "use 0 to 1s"]),
    ("net --think never", &["--think never", "use a number with ns"]),
    ("net --index-base 0x100000000", &["--index-base 0x100000000", "0xffffffff"]),
    ("net --cost vmexit=1", &["--cost vmexit=1", "use hypercall"]),
    ("net --cost hypercall=1,hypercall=2", &["--cost hypercall=1,hypercall=2", "give it once"]),
    ("net --cost exit", &["--cost exit", "use as in hypercall=400"]),
    ("net -A 0", &["-A 0", "use FRONT,BACK"]),
    ("net -A 0-,0", &["-A 0-,0", "use FRONT,BACK"]),
    ("net -A 0,9999999", &["-A 0,9999999", "use FRONT,BACK"]),
    ("net -A 1023,0", &["-A 1023,0", "CPU 1023", "use"]),
    ("net --nice -21,0", &["--nice -21,0", "use -20 to 19"]),
    ("net --stall-timeout 0", &["--stall-timeout 0", "use 0.1 to 3600"]),
    ("net --rate 1000", &["--rate 1000", "use BYTES,USEC"]),
    ("net --rate 0,1000", &["--rate 0,1000", "use 1 byte"]),
    ("net --rate 1000,0", &["--rate 1000,0", "use 10 to 60000000"]),
    ("net --rate 1000,-1", &["--rate 1000,-1", "use 10 to 60000000"]),
    ("net --rate fast,1", &["--rate fast,1", "64K"]),
    ("host --dir /nowhere --device vbd --rate 1M,1000", &["--rate 1048576,1000", "--device vif"]),
    ("net --mode pktgen -R --rate 1M,1000", &["--rate 1048576,1000", "drop -R"]),
    ("netfront --dir /nowhere --rate 1,1000", &["--rate", "pvlab host"]),
    ("net --rx-drain-timeout 0", &["--rx-drain-timeout 0", "use 0.001 to 3600"]),
    ("net --rx-stall-timeout never", &["--rx-stall-timeout never", "use seconds"]),
    ("netfront --dir /nowhere --rx-stall-timeout 1", &["--rx-stall-timeout", "pvlab netback"]),
    ("net --queues 0", &["--queues 0", "use 1 to 8"]),
    ("net --queues 9", &["--queues 9", "use 1 to 8"]),
    ("net --vifs 65", &["--vifs 65", "use 1 to 64"]),
    ("net --vifs 0", &["--vifs 0", "use 1 to 64"]),
    ("net --drop 1", &["--drop 1", "use 0 to below 1"]),
    ("net --drop -0.1", &["--drop -0.1", "use 0 to below 1"]),
    ("net --drop NaN", &["--drop NaN", "use 0 to below 1"]),
    ("net --ip 5", &["--ip 5", "use 4 or 6"]),
    ("net --mtu 65522", &["--mtu 65522", "use 68 to 65521"]),
    ("net --gso 65K", &["--gso 65K", "use up to 64K"]),
    ("net --window 1", &["--window 1", "use 4K to 64M"]),
    ("net -l 0", &["-l 0", "use 1 to 64M"]),
    ("net -r 1", &["-r 1", "use REQ,RESP"]),
    ("net -P 0", &["-P 0", "use 1 to 128"]),
    ("net --csum yes", &["--csum yes", "use on, off, tx or rx"]),
    ("net --dir=", &["--dir ''", "name a file or directory"]),
    // Combinations.
    ("net -t 1 -n 1", &["-t", "-n", "give one"]),
    ("net --csum off --gso 64K", &["--gso 64K", "use --csum on or --gso off"]),
    ("net --csum rx --gso 32K", &["--gso 32K", "use --csum on or --gso off"]),
    ("net --sg off --gso 64K", &["--gso 64K", "use --sg on or --gso off"]),
    ("net --ip 6 --gso 64K", &["--gso 64K", "use --ip 4 or --gso off"]),
    ("net --mode pktgen --gso 64K", &["--gso 64K", "drop --gso"]),
    ("net --gso 1500", &["--gso 1500", "use --gso off"]),
    ("net --sg off --mtu 9000", &["--sg off", "use --sg on or --mtu 4082"]),
    ("net --mode pktgen --sg off -l 5000", &["--sg off", "-l 4096"]),
    ("net --ip 6 --mtu 576", &["--mtu 576", "use --mtu 1280"]),
    ("net --mode udp -l 1473", &["-l 1473", "use up to 1472"]),
    ("net --mode udp --ip 6 -l 1472", &["-l 1472", "use up to 1452"]),
    ("net --mode udp -l 1", &["-l 1", "its number of 8 bytes", "use 16"]),
    ("net --mode pktgen -l 59", &["-l 59", "use 60 to 65535"]),
    ("net --mode pktgen -l 64K", &["-l 64K", "use 60 to 65535"]),
    ("net --mode pktgen -P 2", &["-P 2", "drop -P"]),
    ("net --mode pktgen --file /dev/null", &["--file /dev/null", "use --mode stream"]),
    ("net --mode rr --out x", &["--out x", "use --mode stream"]),
    ("net --mode rr -R", &["-R", "drop -R"]),
    ("net --mode maerts -R", &["-R", "drop one"]),
    ("net --mode rr -l 64", &["-l 64", "use -r"]),
    ("net -r 1,1", &["-r 1,1", "use --mode rr"]),
    ("net --mode udp -R --drop 0.1", &["--drop 0.1", "drop -R"]),
    ("net --mode udp -n 15", &["-n 15", "use 16 or more"]),
    ("net --mode udp -n 63 --queues 4 -P 4", &["-n 63", "use 64 or more"]),
    ("net --mode udp --window 64K", &["--window 64K", "drop --window"]),
    ("net -P 128 --window 64M", &["-P 128", "256M at most", "use -P 4 or a smaller --window"]),
    ("net --mode rr -P 65 --window 4M", &["-P 65", "use -P 64"]),
    ("net --mode crr -P 128 -r 1,1M", &["-P 128", "use -P 64 or a smaller -r"]),
    ("net --mode udp -P 128 --mtu 65000", &["-P 128", "a smaller -l"]),
    ("net --out x --verify off", &["--out x", "use --verify on"]),
    ("net --out x -P 2", &["--out x", "use -P 1"]),
    ("net --path bridge --wire sink", &["--wire sink", "use --wire bridge"]),
    ("net --path backend --wire reflect", &["--wire reflect", "use --wire stack"]),
    ("net --mode pktgen --wire stack", &["--wire stack", "use --wire sink or reflect"]),
    ("net --mode pktgen --path loopback", &["--path loopback", "--wire reflect alone"]),
    ("net --mode pktgen -R --wire reflect", &["--wire reflect", "drop -R"]),
    ("net --path bridge --queues 2", &["--queues 2", "use --queues 1"]),
    ("net --path bridge --vifs 1", &["--vifs 1", "use --vifs 2"]),
    // What a command by hand needs.
    ("host", &["--dir", "use pvlab host --dir DIR"]),
    ("netback", &["--dir", "pvlab host --dir DIR"]),
    ("netback --dir /nonexistent -t 1", &["-t", "netback serves until it is ended"]),
    ("blkback --dir /nonexistent -n 1", &["-n", "blkback serves until it is ended"]),
    ("console --domain 3", &["--domain 3", "add --attach"]),
    ("netfront --mode rr", &["--dir", "pvlab host --dir DIR"]),
    ("netfront --dir /nonexistent --path bridge", &["--path bridge", "use pvlab net"]),
    ("netfront --dir /nonexistent --vifs 2", &["--vifs 2", "start one for each"]),
    ("netfront --dir /nonexistent --grant map", &["--grant", "give it to pvlab netback"]),
    ("netfront --dir /nonexistent --copies 2", &["--copies", "give it to pvlab netback"]),
    ("netfront --dir /nonexistent --mode udp --copies 2", &["--copies", "use -R"]),
    ("netfront --dir /nonexistent -i 1", &["-i", "drop it"]),
    ("net --file /etc/passwd --warmup 0.5", &["--warmup 0.5", "use -t"]),
];

/// One line on stderr that starts with `error: ` and holds all of `parts`, and nothing on stdout.
fn assert_one_line(typed: &str, output: &Output, status: i32, parts: &[&str]) {
    let line = String::from_utf8(output.stderr.clone()).expect("UTF-8");
    assert_eq!(output.status.code(), Some(status), "{typed}: {line}");
    assert_eq!(line.lines().count(), 1, "{typed}: {line}");
    assert!(line.starts_with("error: ") && line.len() < 160, "{typed}: {line}");
    for part in parts {
        assert!(line.contains(part), "{typed}: no '{part}' in: {line}");
    }
    assert!(output.stdout.is_empty(), "{typed}");
}

#[test]
fn a_bad_argument_is_one_line_and_exit_2() {
    for (typed, parts) in BAD_ARGUMENTS {
        let args: Vec<_> = typed.split(' ').collect();
        assert_one_line(typed, &pvlab(&args), 2, parts);
    }
}

#[test]
fn a_file_that_is_not_to_be_had_is_one_line_and_exit_1() {
    let dir = tempfile::tempdir().expect("a directory");
    let empty = dir.path().join("empty");
    std::fs::write(&empty, "").expect("a file");
    // Nobody writes to it: whoever opened it would wait for ever.
    let fifo = dir.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("a FIFO");
    let readable = "name a file that can be read";
    let cases = [
        ("/nonexistent/file", "No such file or directory", readable),
        (dir.path().to_str().expect("UTF-8"), "not a regular file", readable),
        (fifo.to_str().expect("UTF-8"), "not a regular file", readable),
        (empty.to_str().expect("UTF-8"), "empty", "name a file with something in it"),
    ];
    for (path, why, remedy) in cases {
        let parts = [path, why, remedy];
        assert_one_line(path, &pvlab(&["net", "--file", path]), 1, &parts);
    }
    for (path, why) in [("/nonexistent/file", "no such directory"), ("/", "a directory")] {
        let parts = [path, why, "name a file in a directory that exists"];
        assert_one_line(path, &pvlab(&["net", "--out", path]), 1, &parts);
    }
}

/// What is in the file afterwards is what was in it before.
#[test]
fn two_options_never_write_one_file_nor_what_another_reads() {
    let dir = tempfile::tempdir().expect("a directory");
    let at = |name: &str| dir.path().join(name).to_str().expect("UTF-8").to_owned();
    let (data, link, new) = (at("data"), at("link"), at("new.json"));
    std::fs::write(&data, [7; 1000]).expect("a file");
    std::os::unix::fs::symlink("data", &link).expect("a link");
    let (beside, disk) = (at("new.pvtrace"), format!("file={data}"));
    let sink = format!("file={new}");
    let cases: [(&[&str], &str); 12] = [
        (&["net", "--file", &data, "--out", &data], "--file"),
        (&["net", "--file", &data, "--out", &link], "--file"),
        (&["netback", "--dir", "/nonexistent", "--file", &data, "--out", &link], "--file"),
        (&["net", "--file", &data, "-J", &data], "--file"),
        (&["net", "--trace", &new, "-J", &new], "-J"),
        (&["net", "--trace", &new, "-J", &beside], "-J"),
        (&["net", "--out", &new, "-J", &new], "--out"),
        (&["console", "--csv", &new, "--svg", &new], "--csv"),
        (&["console", "--sink", &sink, "--csv", &new], "--sink"),
        (&["console", "--log", &link, "-J", &data], "--log"),
        (&["blk", "--disk", &disk, "-J", &link], "--disk"),
        (&["report", &new, &data, "-o", &link], "-o"),
    ];
    for (args, first) in cases {
        assert_one_line(&args.join(" "), &pvlab(args), 2, &[first, "name another file"]);
        assert_eq!(std::fs::read(&data).expect("still there"), [7; 1000]);
    }
    assert!(!dir.path().join("new.json").exists());
}

#[test]
fn a_value_with_line_ends_stays_on_one_line() {
    for args in [["net", "--mode", "a\nb"], ["net", "--batch", "1\n2"], ["net", "--cost", "a\rb=1"]]
    {
        assert_one_line(args[2], &pvlab(&args), 2, &["use"]);
    }
    assert_one_line("path", &pvlab(&["net", "--file", "a\nb"]), 1, &["a\\nb"]);
    assert_one_line("word", &pvlab(&["net", "a\n\nb"]), 2, &["a\\n\\nb"]);
}

#[test]
fn bytes_that_are_no_text_are_refused() {
    use std::os::unix::ffi::OsStrExt as _;
    let path = std::ffi::OsStr::from_bytes(b"\xff\xfe");
    let mut command = Command::new(env!("CARGO_BIN_EXE_pvlab"));
    let output = command.args(["net", "--file"]).arg(path).output().expect("the binary starts");
    assert_one_line("bytes", &output, 2, &["UTF-8"]);
}

#[test]
fn help_goes_to_stdout_and_fits() {
    let commands: [&[&str]; 16] = [
        &["--help"],
        &["help"],
        &["help", "net"],
        &["console", "--help"],
        &["consoled", "-h"],
        &["console-guest", "-h"],
        &["blk", "-h"],
        &["blkback", "-h"],
        &["blkfront", "-h"],
        &["net", "--help"],
        &["netback", "-h"],
        &["netfront", "-h"],
        &["host", "-h"],
        &["ls", "-h"],
        &["store", "-h"],
        &["store", "ls", "-h"],
    ];
    for args in commands {
        let output = pvlab(args);
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        assert!(output.status.success() && output.stderr.is_empty(), "{args:?}");
        assert!(text.contains("Usage:") && text.contains("--help"), "{args:?}: {text}");
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{args:?}: {text}");
        assert!(!text.contains('\x1b'), "no colour where no terminal is");
    }
}

/// What help shows does something there, and what has to be given is not called optional.
#[test]
fn help_shows_what_a_command_heeds() {
    let help = |command: &str| {
        let text = String::from_utf8(pvlab(&[command, "--help"]).stdout).expect("UTF-8");
        assert!(text.contains("Usage:"), "{command}: {text}");
        text
    };
    for (command, idle) in [
        ("netback", &["-t <", "-n <", "--warmup", "--seed", "--index-base", "--stall"][..]),
        ("blkback", &["-t <", "-n <", "--verify"]),
        ("console", &["--grant", "--batch", "--notify", " --console "]),
        ("consoled", &["-t <", "--batch", " --think <"]),
        ("console-guest", &["--grant", "--batch"]),
        ("netfront", &["--vifs", "-i <", "--grant", "--rate", "--rx-drain"]),
    ] {
        let text = help(command);
        for option in idle {
            assert!(!text.contains(option), "{command} {option}: {text}");
        }
        assert!(command == "console" || !text.contains("a temporary one"), "{command}: {text}");
    }
    assert!(help("net").contains("a temporary one") && help("net").contains("--grant"));
}

/// Names of options in backticks.
fn named(text: &str) -> BTreeSet<String> {
    let quoted = text.split('`').skip(1).step_by(2);
    let words = quoted.filter_map(|quoted| quoted.split([' ', '[']).next());
    words.filter(|word| word.starts_with('-')).map(str::to_owned).collect()
}

/// The tables of the README say of each process by hand what its help says.
#[test]
fn the_readme_knows_which_process_has_which_options() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");
    let readme = std::fs::read_to_string(path).expect("a README");
    // The first column of the table below a line that begins like this.
    let table = |title: &str| {
        let (_, rest) = readme.split_once(&format!("\n{title}")).expect(title);
        let rows = rest.lines().skip_while(|line| !line.starts_with('|'));
        let rows = rows.take_while(|line| line.starts_with('|')).skip(2);
        rows.map(|row| row.replace("\\|", "/")).collect::<Vec<_>>()
    };
    let first = |row: &String| named(row.split('|').nth(1).expect("a column"));
    let common: BTreeSet<String> = table("How long and how (").iter().flat_map(first).collect();
    let device: BTreeSet<String> = table("Device and path (").iter().flat_map(first).collect();
    let runs: BTreeSet<String> =
        ["-J", "--trace", "--trace-mode", "--trace-buffer"].map(str::to_owned).into();
    let without = table("Whoever serves others serves");
    assert!(common.len() > 20 && device.len() > 10 && without.len() == 6, "{common:?} {device:?}");
    for row in without {
        let process = row.split('`').nth(1).expect("a name");
        let all = if process == "netfront" { &common | &device } else { common.clone() };
        let expected = &(&all - &runs) - &named(row.split('|').nth(2).expect("a column"));
        let help = String::from_utf8(pvlab(&[process, "--help"]).stdout).expect("UTF-8");
        // What comes after two spaces are words about it.
        let lines = help.lines().filter_map(|line| line.trim_start().split("  ").next());
        let lines = lines.filter(|line| line.starts_with('-'));
        let shown: BTreeSet<String> =
            lines.flat_map(|line| line.split([' ', ','])).map(str::to_owned).collect();
        assert_eq!(&shown & &all, expected, "{process}");
    }
}

#[test]
fn a_log_level_that_is_none_is_one_line() {
    for level in ["foo", "loud,quiet", "pvlab=loud"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pvlab"));
        let output = command.args(["net", "-n", "1"]).env("PVLAB_LOG", level).output();
        let output = output.expect("the binary starts");
        assert_one_line(level, &output, 2, &["PVLAB_LOG", level, "use error, warn, info or debug"]);
    }
}
