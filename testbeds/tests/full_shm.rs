//! A /dev/shm without space: one clear line, and nothing left behind. What else can be wrong with the
//! surroundings needs no root, and is in `bad_input`.

mod common;

use std::process::Command;

use common::{Process, Scratch, full};

/// Needs root, for a mount namespace in which /dev/shm is tiny.
#[test]
fn full_no_space_in_dev_shm() {
    if !full("a full /dev/shm needs root and unshare(1) of the Debian package util-linux") {
        return;
    }
    let _turn = common::turn();
    assert!(nix::unistd::geteuid().is_root(), "a full /dev/shm needs root: run this as root");
    let scratch = Scratch::new();
    let script = "mount -t tmpfs -o size=16k none /dev/shm && exec \"$0\" net -n 64K --quiet";
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", script, env!("CARGO_BIN_EXE_pvlab")]);
    command.env("XDG_RUNTIME_DIR", scratch.path(""));
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let ended = Process::start(command).end();
    ended.assert_one_line("full /dev/shm", 1, &["no space in /dev/shm", "free some"]);
    scratch.assert_clean(&[], "full /dev/shm");
}
