//! A console's nodes against a recording of a real Xen (`golden/`, Xen 4.17.7). There is no handshake:
//! the toolstack writes them before the guest runs, xenconsoled adds the path of its terminal.

mod common;

use common::{Scratch, WATCHDOG, within};
use rings::store::Nodes as _;

/// Keys whose value is another, and why.
const OTHER_VALUE: &[(&str, &str)] = &[
    ("tty", "whichever terminal was free"),
    ("port", "xenstore's port is a guest's first on Xen; here it needs none"),
    ("ring-ref", "whichever frame the page is in"),
];

/// A node as `xenstore-ls -f -p` prints it, with `*` for a value that may be another.
fn any(line: &str) -> String {
    let (path, rest) = line.split_once(" = ").expect("a node");
    let key = path.rsplit('/').next().unwrap_or_default();
    if OTHER_VALUE.iter().any(|(other, _)| key == *other) {
        let perms = rest.rsplit_once("   ").expect("permissions").1;
        assert!(!rest.starts_with("\"\""), "{key} has no value");
        return format!("{path} = \"*\"   {perms}");
    }
    line.to_owned()
}

#[test]
fn the_nodes_of_a_console_are_xens() {
    let _turn = common::turn();
    let scratch = Scratch::new();
    let dir = scratch.text("lab");
    let host = scratch.host(&[]);
    let pid = host.pid();
    let daemon = scratch.start(&["consoled", "--dir", &dir]);
    let guest = scratch.start(&["console-guest", "--dir", &dir]);
    let mut store = scratch.store();
    let served = within(WATCHDOG, || {
        let tty = store.read_if_present("/local/domain/1/console/tty");
        tty.is_ok_and(|tty| tty.is_some_and(|tty| !tty.is_empty()))
    });
    assert!(served, "no terminal");

    let mut ours = Vec::new();
    for path in
        ["/local/domain/0/backend/console", "/local/domain/1/console", "/libxl/1/device/console"]
    {
        common::dump(&mut store, path, &mut ours);
    }
    let mut ours: Vec<String> = ours.iter().map(|line| any(line)).collect();
    let path = format!("{}/tests/golden/console-tree.txt", env!("CARGO_MANIFEST_DIR"));
    let golden = std::fs::read_to_string(path).expect("a recording");
    let lines = golden.lines().filter(|line| !line.starts_with('#'));
    let mut xens: Vec<String> = lines.map(any).collect();
    // Our store lists children sorted, Xen's does not.
    ours.sort();
    xens.sort();
    assert_eq!(ours, xens);

    for process in [guest, daemon, host] {
        process.leave();
    }
    scratch.assert_clean(&[pid], "a console");
}
