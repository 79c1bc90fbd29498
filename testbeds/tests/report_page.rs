//! `pvlab report`: a page for the browser from what runs of every kind have written, and one line about
//! files that are something else. How the page is made has tests of its own beside `report/html`.

mod common;

use std::fs;

use common::Scratch;

#[test]
fn runs_of_every_kind_become_one_page() {
    let scratch = Scratch::new();
    let _turn = common::turn();
    let files = ["net.json", "blk.json", "console.json"].map(|name| scratch.text(name));
    let runs = [
        "net --mode rr -n 500",
        "blk --disk ram=8M --rw randrw -n 2000",
        "console --messages 2000",
    ];
    for (file, typed) in files.iter().zip(runs) {
        let mut args: Vec<&str> = typed.split(' ').collect();
        args.extend(["-J", file, "--stall-timeout", "100s"]);
        let ended = scratch.run(&args);
        assert!(ended.status.success(), "{typed}: {ended:?}");
    }
    let out = scratch.text("page.html");
    let [net, blk, console] = &files;
    let ended = scratch.run(&["report", net, blk, console, "-o", &out]);
    assert!(ended.status.success(), "{ended:?}");
    assert_eq!(ended.stdout, format!("wrote {out}\n"));
    let page = fs::read_to_string(out).expect("a page");
    for part in ["TCP round trip", "random reads and writes", "6-byte lines", "lines so far"] {
        assert!(page.contains(part), "{part} in {page}");
    }
    assert!(page.contains("taken by blkback"), "requests in flight");
}

#[test]
fn a_file_that_is_no_result_is_one_clear_line() {
    let scratch = Scratch::new();
    let out = scratch.text("page.html");
    let run = |name: &str, content: Option<&str>, why: &str| {
        let file = scratch.text(name);
        if let Some(content) = content {
            fs::write(&file, content).expect("ours");
        }
        let ended = scratch.run(&["report", &file, "-o", &out]);
        ended.assert_one_line(name, 1, &[name, why, "-J"]);
    };
    run("other.json", Some("{\"name\": 1}"), "not the results of a run");
    run("torn.json", Some("{\"config\": "), "not JSON");
    run("none.json", None, "No such file");
    scratch.run(&["report"]).assert_one_line("no file", 2, &["FILE", "pvlab report"]);
    assert!(!scratch.path("page.html").exists());
}
