//! The handshake of a vbd against a recording of a real Xen (`golden/vbd-connect.txt`, Xen 4.17.7 with
//! Linux 6.1): who writes which keys in which order. Every difference is in a table here, with its reason.

mod common;

use std::sync::mpsc::channel;

use common::{Process, Scratch, WATCHDOG, within};
use nix::sys::signal::Signal;
use rings::DomId;
use rings_host::store::Record;
use rings_host::{Device, Host, HostConfig};

/// What Xen writes and we do not.
const LEFT_OUT: &[(&str, &str)] = &[(
    "cli WRITE backend/vbd/1/51712/physical-device 1:0",
    "there need not be a block device behind it",
)];

/// What we write and Xen did not, there.
const OURS: &[(&str, &str)] = &[
    ("discard-granularity", "the RAM disk of the recording could not discard"),
    ("discard-alignment", "as discard-granularity"),
    ("discard-secure", "as discard-granularity"),
    ("pvlab-report", "blkback leaves its end of the measurement where blkfront finds it"),
];

/// Keys whose value is another.
const OTHER_VALUE: &[(&str, &str, &str)] = &[
    ("params", "ram=128M", "another disk"),
    ("physical-device-path", "ram=128M", "another disk"),
    ("script", "block-pvlab", "no hotplug script is run; the toolstack plays its part"),
    ("multi-queue-max-queues", "8", "Linux offers one for each CPU of the driver domain"),
    ("ring-ref", "*", "whichever grant was free"),
    ("event-channel", "*", "whichever port was free"),
    ("feature-flush-cache", "1", "the RAM disk of the recording could not flush"),
    ("feature-barrier", "1", "as feature-flush-cache"),
    ("feature-discard", "1", "the RAM disk of the recording could not discard"),
];

fn other_values(line: &str) -> String {
    let Some((head, _)) = line.rsplit_once(' ') else { return line.to_owned() };
    let key = head.rsplit('/').next().unwrap_or_default();
    match OTHER_VALUE.iter().find(|(other, ..)| key == *other) {
        Some((_, value, _)) => format!("{head} {value}"),
        None => line.to_owned(),
    }
}

/// A record in the words of the recordings; `None` for what is no vbd's.
fn in_words(record: &Record) -> Option<String> {
    let path = record.args.first()?;
    let script = ["physical-device-path", "hotplug-status"];
    let who = match record.by {
        // The toolstack plays the hotplug script too.
        None if script.iter().any(|key| path.ends_with(key)) => "cli",
        None => "xl",
        Some(DomId::DOM0) => "d0-kernel",
        Some(_) => "d1-guest",
    };
    let ours = OURS.iter().any(|(key, _)| path.ends_with(key));
    if !path.contains("/vbd/") || ours || record.request.name().starts_with("TRANSACTION") {
        return None;
    }
    // The script writes relative to its own domain, as does the kernel.
    let words = match (who, record.to_string()) {
        ("cli", words) => words.replacen("/local/domain/0/", "", 1),
        (_, words) => words,
    };
    Some(other_values(&format!("{who} {words}")))
}

fn record() -> Vec<String> {
    let scratch = Scratch::new();
    let (recorder, records) = channel();
    let device = Device::Vbd { params: "ram=128M".into(), read_only: false, discard: true };
    let host = Host::start(HostConfig {
        dir: Some(scratch.path("lab")),
        device,
        stall_timeout: WATCHDOG,
        record: Some(recorder),
        ..HostConfig::default()
    })
    .expect("a host");
    let dir = scratch.text("lab");
    let with_dir = |args: &[&str]| -> Process {
        let common = ["--dir", &dir, "--stall-timeout", "90s", "--grant", "persistent"];
        scratch.start(&[args, &common].concat())
    };
    let blkback = with_dir(&["blkback", "--disk", "ram=128M"]);
    // In Xen the backend is there before the guest is made; so it is here.
    let told = || host.news(std::time::Duration::from_millis(10)).is_some();
    assert!(within(WATCHDOG, told), "blkback does not register");
    let front = with_dir(&["blkfront", "--disk", "ram=128M", "-n", "100"]).end();
    assert!(front.status.success(), "{front:?}");
    blkback.signal(Signal::SIGTERM);
    assert!(blkback.end().status.success());
    drop(host);
    records.try_iter().filter_map(|record| in_words(&record)).collect()
}

fn of(lines: &[String], who: &str) -> Vec<String> {
    lines.iter().filter(|line| line.split(' ').next() == Some(who)).cloned().collect()
}

#[test]
fn the_handshake_of_a_disk_is_xens() {
    let path = format!("{}/tests/golden/vbd-connect.txt", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).expect("a recording");
    let expected: Vec<String> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter(|line| LEFT_OUT.iter().all(|(left_out, _)| line != left_out))
        .map(other_values)
        .collect();
    let writes = record();
    for who in ["xl", "cli", "d0-kernel", "d1-guest"] {
        let (expected, got) = (of(&expected, who), of(&writes, who));
        assert!(got.len() >= expected.len(), "{who}: {got:#?}");
        assert_eq!(got[..expected.len()], expected, "{who}");
    }
    // The frontend leaves with 6 and never 5, and the backend follows it there.
    let left: Vec<&String> =
        writes.iter().rev().filter(|l| l.contains("/state ")).take(2).collect();
    assert_eq!(left[1], "d1-guest WRITE device/vbd/51712/state 6");
    assert_eq!(left[0], "d0-kernel WRITE backend/vbd/1/51712/state 6");
}
