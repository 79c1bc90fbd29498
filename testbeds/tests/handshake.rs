//! The handshake of a vif against a recording of a real Xen (`golden/`, Xen 4.17.7 with Linux 6.1):
//! who writes which keys in which order and transaction, which states both ends walk, what the store
//! holds in the end. Every difference is in a table here, with its reason.

mod common;

use std::sync::mpsc::channel;
use std::time::Duration;

use common::{Process, Scratch, WATCHDOG, within};
use nix::sys::signal::Signal;
use rings::DomId;
use rings::store::{Nodes, XsClient};
use rings_host::store::Record;
use rings_host::{Host, HostConfig, UnixTransport};

/// What Xen writes and we do not.
const LEFT_OUT: &[(&str, &str)] = &[
    ("xl TRANSACTION_START", "the toolstack is inside the store: nobody is served meanwhile"),
    ("xl TRANSACTION_END T", "as its start"),
    ("xl RM /libxl/1/device/vif/0", "nothing is there to be removed"),
    ("xl RM /local/domain/1/device/vif/0", "nothing is there to be removed"),
    ("xl RM /local/domain/0/backend/vif/1/0", "nothing is there to be removed"),
    ("cli WRITE /local/domain/1/device/vif/0/mtu 1500", "the toolstack has written it already"),
    ("d0-kernel WRITE backend/vif/1/0/feature-xdp-headroom 1", "no XDP program runs in netback"),
    ("d1-guest WRITE device/vif/0/xdp-headroom 0", "no XDP program runs in netfront"),
    (
        "d0-kernel WRITE backend/vif/1/0/feature-multicast-control 1",
        "no multicast filter: the wires here have no multicast to spare a guest",
    ),
    (
        "d0-kernel WRITE backend/vif/1/0/feature-dynamic-multicast-control 1",
        "as feature-multicast-control",
    ),
];

/// Keys whose value is another.
const OTHER_VALUE: &[(&str, &str, &str)] = &[
    ("script", "vif-pvlab", "no hotplug script is run; the toolstack plays its part"),
    ("bridge", "pvlab0", "the bridge is netback's own"),
    ("feature-gso-tcpv6", "0", "smoltcp has no segmentation offload for TCP over IPv6"),
    ("feature-ctrl-ring", "0", "no control ring: it sets the hash of receive queues only"),
    ("multi-queue-max-queues", "8", "Linux offers one for each CPU of the driver domain"),
    ("tx-ring-ref", "*", "whichever grant was free"),
    ("rx-ring-ref", "*", "whichever grant was free"),
    ("event-channel-tx", "*", "whichever port was free"),
    ("event-channel-rx", "*", "whichever port was free"),
];

/// Transactions around a single write of a state: one write is whole by itself.
const STATE_ALONE: &str = "Linux writes a state in a transaction of its own, to be sure that the \
    device is still there; here the node is read first, and a write to a node that went meanwhile \
    is undone with its device";

/// Nodes of ours that Xen does not have.
const OURS: &[(&str, &str)] =
    &[("pvlab-report", "netback leaves its end of the measurement where netfront finds it")];

fn golden(name: &str) -> Vec<String> {
    let path = format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).expect("a recording");
    text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
}

/// A line of the recording as we would have written it; `None` for what we leave out.
fn as_ours(line: &str) -> Option<String> {
    if LEFT_OUT.iter().any(|(left_out, _)| line == *left_out) {
        return None;
    }
    Some(other_values(line))
}

/// `PATH VALUE` with the values of [`OTHER_VALUE`].
fn other_values(line: &str) -> String {
    let Some((head, _)) = line.rsplit_once(' ') else { return line.to_owned() };
    let key = head.rsplit('/').next().unwrap_or_default();
    match OTHER_VALUE.iter().find(|(other, ..)| key == *other) {
        Some((_, value, _)) => format!("{head} {value}"),
        None => line.to_owned(),
    }
}

/// Takes the transactions around single writes of a state out ([`STATE_ALONE`]).
fn without_state_transactions(lines: Vec<String>) -> Vec<String> {
    assert!(!STATE_ALONE.is_empty());
    let mut out: Vec<String> = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let window = &lines[at..lines.len().min(at + 3)];
        let alone = window.len() == 3
            && window[0].ends_with("TRANSACTION_START")
            && window[1].contains("/state ")
            && window[2].ends_with("TRANSACTION_END T");
        if alone {
            out.push(window[1].clone());
            at += 3;
        } else {
            out.push(window[0].clone());
            at += 1;
        }
    }
    out
}

/// A record in the words of the recordings; `None` for what is no vif's.
fn in_words(record: &Record) -> Option<String> {
    let who = match record.by {
        // The toolstack plays the hotplug script too.
        None if record.args[0].ends_with("hotplug-status") && record.args[1] == "connected" => {
            "cli"
        }
        None => "xl",
        Some(DomId::DOM0) => "d0-kernel",
        Some(_) => "d1-guest",
    };
    let transaction = record.request.name().starts_with("TRANSACTION");
    if OURS.iter().any(|(key, _)| record.args.iter().any(|arg| arg.ends_with(key))) {
        return None;
    }
    if !transaction && !record.args[0].contains("/vif/") {
        return None;
    }
    // The script writes relative to its own domain, as does the kernel.
    let words = match (who, record.to_string()) {
        ("cli", words) => words.replacen("/local/domain/0/", "", 1),
        (_, words) => words,
    };
    Some(other_values(&format!("{who} {words}")))
}

/// What one run of a vif wrote, and what the store held while it was connected.
struct Recorded {
    writes: Vec<String>,
    tree: Vec<String>,
}

fn record() -> Recorded {
    let scratch = Scratch::new();
    let (recorder, records) = channel();
    let host = Host::start(HostConfig {
        dir: Some(scratch.path("lab")),
        stall_timeout: WATCHDOG,
        record: Some(recorder),
        ..HostConfig::default()
    })
    .expect("a host");
    let dir = scratch.text("lab");
    let with_dir = |args: &[&str]| -> Process {
        scratch.start(&[args, &["--dir", &dir, "--stall-timeout", "90s"]].concat())
    };
    let netback = with_dir(&["netback"]);
    let transport = UnixTransport::connect(&host.dir().join("xenstored.sock")).expect("a store");
    let mut store = XsClient::new(transport);
    // In Xen the backend is there before the guest is made; so it is here.
    let told = || host.news(Duration::from_millis(10)).is_some();
    assert!(within(WATCHDOG, told), "netback does not register");
    let mut netfront = with_dir(&["netfront", "-t", "5"]);
    let connected = within(WATCHDOG, || {
        let state = store.read_if_present("/local/domain/0/backend/vif/1/0/state");
        state.is_ok_and(|state| state.as_deref() == Some("4")) || netfront.has_ended()
    });
    assert!(connected && !netfront.has_ended(), "no vif");
    let mut tree = Vec::new();
    for path in ["/local/domain/0/backend/vif", "/local/domain/1/device/vif", "/libxl/1/device/vif"]
    {
        common::dump(&mut store, path, &mut tree);
    }
    let front = netfront.end();
    assert!(front.status.success(), "{front:?}");
    netback.signal(Signal::SIGTERM);
    assert!(netback.end().status.success());
    drop(host);
    // A transaction that is given up has not happened.
    Recorded { writes: records.try_iter().filter_map(|record| in_words(&record)).collect(), tree }
}

/// Transactions with nothing in them that is a vif's are somebody else's business.
fn without_empty_transactions(mut lines: Vec<String>) -> Vec<String> {
    let empty = |pair: &[String]| {
        pair[0].ends_with("TRANSACTION_START") && pair[1].contains("TRANSACTION_END")
    };
    while let Some(at) = lines.windows(2).position(empty) {
        lines.drain(at..at + 2);
    }
    lines
}

fn of(lines: &[String], who: &str) -> Vec<String> {
    lines.iter().filter(|line| line.split(' ').next() == Some(who)).cloned().collect()
}

#[test]
fn the_handshake_is_xens() {
    let Recorded { writes, tree } = record();
    let expected: Vec<String> =
        golden("vif-connect.txt").iter().filter_map(|l| as_ours(l)).collect();

    // Keys, values, order and transactions of each who writes.
    for who in ["xl", "cli", "d0-kernel", "d1-guest"] {
        let expected = without_state_transactions(of(&expected, who));
        let got = without_state_transactions(without_empty_transactions(of(&writes, who)));
        assert!(got.len() >= expected.len(), "{who}: {got:#?}");
        assert_eq!(got[..expected.len()], expected, "{who}");
    }

    // States, in the order in which both ends walk them.
    let states = |lines: &[String]| -> Vec<String> {
        let of_kernels = lines.iter().filter(|l| l.starts_with('d') && l.contains("/state "));
        let short = |l: &String| {
            let who = l.split(' ').next().unwrap_or_default();
            format!("{who} {}", l.rsplit(' ').next().unwrap_or_default())
        };
        of_kernels.map(short).collect()
    };
    let walked = states(&writes);
    let wanted = [states(&expected), golden("vif-close.txt")].concat();
    assert_eq!(walked, wanted);

    // What the store holds, and who may do what to it.
    assert_eq!(in_one_order(&tree), in_one_order(&expected_tree()));
}

/// The tree of the recording without what we leave out, and with our values.
fn expected_tree() -> Vec<String> {
    let left_out = |path: &str| {
        LEFT_OUT.iter().any(|(line, _)| {
            let mut words = line.split(' ').skip(1);
            let (request, node) = (words.next(), words.next().unwrap_or_default());
            // The second write of a key is left out, not the key.
            request == Some("WRITE") && !node.ends_with("/mtu") && path.ends_with(node)
        })
    };
    let ours = |line: String| {
        let (path, rest) = line.split_once(" = ").expect("a node");
        let perms = rest.rsplit_once("   ").expect("permissions").1;
        let key = path.rsplit('/').next().unwrap_or_default();
        match OTHER_VALUE.iter().find(|(other, ..)| key == *other) {
            Some((_, value, _)) => format!("{path} = \"{value}\"   {perms}"),
            None => line.clone(),
        }
    };
    let all = golden("vif-tree.txt").into_iter();
    all.filter(|line| !left_out(line.split(' ').next().unwrap_or_default())).map(ours).collect()
}

/// Sorted, since our store lists children so and Xen's does not; with `*` for what is whichever was
/// free.
fn in_one_order(tree: &[String]) -> Vec<String> {
    let any = |line: &String| {
        let (path, rest) = line.split_once(" = ").expect("a node");
        let key = path.rsplit('/').next().unwrap_or_default();
        let free = OTHER_VALUE.iter().any(|(other, value, _)| key == *other && *value == "*");
        let perms = rest.rsplit_once("   ").expect("permissions").1;
        if free { format!("{path} = \"*\"   {perms}") } else { line.clone() }
    };
    let mut lines: Vec<String> = tree.iter().map(any).collect();
    lines.sort();
    lines
}
