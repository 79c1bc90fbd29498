//! A guest's console on a real terminal: `pvlab console --attach` driven through a pty, and the daemon's
//! own pty opened, closed and opened again. Other people's programs at it are in `full_console`.

mod common;
mod terminal;

use std::fs::File;
use std::io::Write as _;
use std::process::Stdio;

use common::{Process, Scratch, WATCHDOG, within};
use nix::sys::signal::Signal;
use rings::store::Nodes as _;
use terminal::{ByHand, User, sees};

/// `Ctrl-]`.
const LEAVE: &str = "\x1d";

#[test]
fn an_interactive_session_from_the_first_prompt_to_quit() {
    let _turn = common::turn();
    let scratch = Scratch::new();
    let mut user = User::run(&scratch, &["console", "--attach"]);
    let host = user.process.pid();
    user.sees("Ctrl-] leaves").sees("guest1> ");
    assert!(user.is_raw());
    user.types("hepp\x7f\x7flp\r").sees("help").sees("flood [N [LEN]]").sees("guest1> ");
    user.types("stat\r").sees("somebody reads").sees("events sent").sees("guest1> ");
    user.types("nonsense\r").sees("nonsense: no such command").sees("guest1> ");
    user.types("flood 100\r").sees("00000").sees("00099").sees("100 lines of 6 bytes");
    user.types("top\r").sees("any key ends this").types("q").sees("guest1> ");
    // What would end a program at the terminal is the guest's to interpret.
    user.types("half\x03").sees("^C").sees("guest1> ");
    user.types("quit\r").sees("bye").sees("the console is gone");
    assert!(user.leaves().status.success());
    scratch.assert_clean(&[host], "quit");
}

#[test]
fn the_terminal_is_what_it_was_however_it_ends() {
    let _turn = common::turn();
    let scratch = Scratch::new();
    for signal in [None, Some(Signal::SIGTERM), Some(Signal::SIGHUP), Some(Signal::SIGINT)] {
        let mut user = User::run(&scratch, &["console", "--attach"]);
        let host = user.process.pid();
        user.sees("guest1> ");
        assert!(user.is_raw());
        match signal {
            None => drop(user.types(&format!("echo one{LEAVE}"))),
            Some(signal) => user.process.signal(signal),
        }
        let ended = user.leaves();
        assert_eq!(ended.status.success(), signal.is_none(), "{signal:?}: {ended:?}");
        scratch.assert_clean(&[host], "left");
    }
}

#[test]
fn a_guests_last_words_are_seen() {
    let _turn = common::turn();
    let scratch = Scratch::new();
    let mut user = User::run(&scratch, &["console", "--attach"]);
    user.sees("guest1> ").types("panic\r");
    user.sees("*** ").sees("the guest was told to").sees("the console is gone");
    user.leaves();
    scratch.assert_clean(&[], "panicked");
}

#[test]
fn the_daemons_pty_is_closed_and_reopened() {
    let _turn = common::turn();
    let lab = ByHand::new();
    for round in 0..3 {
        let mut terminal = lab.open();
        terminal.write_all(format!("echo round {round}\r").as_bytes()).expect("a keyboard");
        sees(&mut terminal, &format!("\nround {round}"));
    }
    // What is written while nobody looks waits for whoever looks next.
    lab.open().write_all(b"echo unseen\r").expect("a keyboard");
    let mut later = lab.open();
    sees(&mut later, "\nunseen");
    drop(later);
    lab.end();
}

#[test]
fn somebody_attaches_leaves_and_attaches_again() {
    let _turn = common::turn();
    let lab = ByHand::new();
    let dir = lab.scratch.text("lab");
    for round in 0..2 {
        let mut user = User::run(&lab.scratch, &["console", "--attach", "--dir", &dir]);
        user.sees("Ctrl-] leaves").types(&format!("echo round {round}\r"));
        user.sees(&format!("\nround {round}")).types(LEAVE).sees("left the console");
        assert!(user.leaves().status.success());
    }
    let other = lab.scratch.run(&["console", "--attach", "--dir", &dir, "--domain", "7"]);
    other.assert_one_line("unknown", 1, &["no console of domain 7", &dir, "one of: 1"]);
    let mut piped = lab.scratch.command(&["console", "--attach", "--dir", &dir]);
    piped.stdin(Stdio::from(input(&lab.scratch, "echo from a pipe\r")));
    let ended = Process::start(piped).end();
    assert!(ended.status.success() && ended.stdout.contains("\nfrom a pipe"), "{ended:?}");
    lab.end();
}

#[test]
fn where_there_is_nothing_to_attach_to_one_line_says_why() {
    let _turn = common::turn();
    let scratch = Scratch::new();
    let dir = scratch.text("lab");
    let attach = || scratch.run(&["console", "--attach", "--dir", &dir]);
    let host = scratch.host(&["--stall-timeout", "100s"]);
    let pid = host.pid();
    attach().assert_one_line("nobody", 1, &["no console of domain 1", &dir, "no guest runs there"]);
    let guest = scratch.start(&["console-guest", "--dir", &dir]);
    let mut store = scratch.store();
    assert!(within(WATCHDOG, || store.read("/local/domain/1/console/tty").is_ok()), "no guest");
    let parts = ["the console of domain 1 has no terminal", "pvlab consoled --dir", &dir];
    attach().assert_one_line("no daemon", 1, &parts);
    for process in [guest, host] {
        process.leave();
    }
    scratch.assert_clean(&[pid], "nothing to attach to");
}

/// A file with this in it, to be read.
fn input(scratch: &Scratch, text: &str) -> File {
    let path = scratch.path("input");
    std::fs::write(&path, text).expect("a file");
    File::open(path).expect("a file")
}
