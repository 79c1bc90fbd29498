//! `PVLAB_TRACE_DIR`: each process of a lab leaves a Chrome trace of its control plane, whole and readable.

use std::fs;
use std::process::Command;

use serde_json::Value;

#[test]
fn each_process_traces_its_handshakes_and_state_changes() {
    let dir = tempfile::tempdir().expect("a folder");
    let traces = dir.path().join("made/by/pvlab");
    let output = Command::new(env!("CARGO_BIN_EXE_pvlab"))
        .args(["net", "--mode", "rr", "-n", "20", "--quiet"])
        .env("PVLAB_TRACE_DIR", &traces)
        .output()
        .expect("the binary starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let mut seen = Vec::new();
    for entry in fs::read_dir(&traces).expect("the folder was made") {
        let path = entry.expect("an entry").path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).expect("a trace is text");
        let events: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{name}: {e}"));
        let events = events.as_array().expect("an array of events").clone();
        assert!(!events.is_empty(), "{name} is empty");
        seen.push((name, events));
    }
    let of = |kind: &str| {
        let mut found = seen.iter().filter(|(name, _)| name.split('-').next() == Some(kind));
        let (_, events) = found.next().unwrap_or_else(|| panic!("no trace of {kind}: {seen:?}"));
        assert!(found.next().is_none(), "two traces of one {kind}");
        events
    };
    let states: Vec<&str> =
        of("netback").iter().filter_map(|event| event["args"]["to"].as_str()).collect();
    assert_eq!(states[..2], ["InitWait", "Connected"], "{states:?}");
    assert_eq!(states.last(), Some(&"Closed"), "{states:?}");
    assert!(of("netfront").iter().any(|event| event["name"] == "connected"));
    assert!(of("host").iter().any(|event| event["name"] == "domain registered"));
}

#[test]
fn a_trace_folder_that_cannot_be_is_named_and_no_reason_to_fail() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("file");
    fs::write(&file, "").expect("a file");
    let output = Command::new(env!("CARGO_BIN_EXE_pvlab"))
        .args(["ls", "--dir", "/nonexistent"])
        .env("PVLAB_TRACE_DIR", &file)
        .output()
        .expect("the binary starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("PVLAB_TRACE_DIR") && stderr.contains("file"), "{stderr}");
}
