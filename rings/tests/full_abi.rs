//! Are our bytes Xen's, by the headers on this machine?
//!
//! Compiles `c/abi.c` with the system's C compiler against libxen-dev, runs it, and compares what
//! it prints with `rings::io`, item by item and in both directions. Needs `PVLAB_FULL=1`; what can
//! be told without a C compiler is in `abi_layout`.

mod abi;

use abi::Headers;
use std::io::Write;
use std::path::Path;
use std::process::Command;

/// Says it to whoever runs the tests. `println!` would keep it to itself unless a test fails.
fn tell(line: &str) {
    // A closed terminal is no reason to fail.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Whether to run, from `PVLAB_FULL`; says what is skipped and why if not.
fn full() -> bool {
    let full = std::env::var_os("PVLAB_FULL").is_some_and(|value| value == "1");
    if !full {
        tell(
            "skipped: Xen's headers against rings::io. It needs cc (Debian: gcc) and xen/io/netif.h",
        );
        tell("  (Debian: libxen-dev); PVLAB_FULL=1 runs it and makes a missing one a failure.");
    }
    full
}

/// What `abi.c` prints on this machine.
fn headers_say() -> String {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/c/abi.c");
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("abi");
    let cc = Command::new("cc")
        .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-o"])
        .args([&program, &source])
        .output()
        .expect("cannot run cc: install a C compiler (Debian: apt install gcc libc6-dev)");
    let complaint = String::from_utf8_lossy(&cc.stderr);
    assert!(
        cc.status.success(),
        "cc refused tests/c/abi.c. If a xen/ header is missing: apt install libxen-dev\n{complaint}"
    );
    let run = Command::new(&program).output().expect("what cc made can be run");
    assert!(run.status.success(), "{} failed: {}", program.display(), run.status);
    String::from_utf8(run.stdout).expect("abi.c prints ASCII")
}

#[test]
fn xen_headers_and_rings_io_say_the_same() {
    if !full() {
        return;
    }
    let xen = abi::parse(&headers_say());
    // Debian 12 and 13 ship Xen 4.17 and 4.20, whose console has no `connection`: only a newer
    // header can confirm ours.
    let headers = if xen.0.contains_key("XENCONSOLE_CONNECTED") {
        Headers::SinceXen4_21
    } else {
        tell("not compared: the console's `connection`, which these headers do not have");
        Headers::BeforeXen4_21
    };
    let ours = abi::ours(headers);
    let found = abi::differences(&ours, &xen);
    assert!(found.is_empty(), "{}", found.join("\n"));
    tell(&format!("compared: {} items", ours.0.len()));
}
