//! Other people's terminal programs on a console's pty: what is typed in them reaches the guest, what it
//! answers is seen. Needs socat, picocom, screen and setsid; without `PVLAB_FULL=1` it says so and does
//! nothing.

mod common;
mod terminal;

use std::process::Command;

use common::full;
use terminal::{ByHand, User};

#[test]
fn socat_picocom_and_screen_work_on_a_consoles_pty() {
    if !full("socat, picocom and screen on a console's pty") {
        return;
    }
    let _turn = common::turn();
    let lab = ByHand::new();
    let raw = format!("{},raw,echo=0", lab.tty);
    for (program, ready, leave) in [
        (&["socat", "-", &raw][..], "", ""),
        (&["picocom", "--noreset", &lab.tty], "Terminal ready", "\x01\x18"),
        (&["screen", &lab.tty], "\x1b[", "\x01\\y"),
    ] {
        let mut command = Command::new("setsid");
        command.arg("--ctty").arg("--wait").args(program).env("TERM", "vt100");
        let mut user = User::at(command);
        user.sees(ready);
        // A program that has just begun may throw away what was typed before.
        let text = format!("seen by {}", program[0]);
        user.types_until_seen(&format!("echo {text}\r"), &format!("\n{text}"));
        user.types(leave).ends();
    }
    lab.end();
}
