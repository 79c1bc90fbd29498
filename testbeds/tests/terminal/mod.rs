//! Terminals for the tests of consoles: somebody at one in which a command runs, and a lab by hand
//! whose guest is a shell. What is typed and seen is the tests' business.
#![allow(dead_code, reason = "each test target uses its own part of this")]

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::Stdio;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::pty::openpty;
use nix::sys::signal::Signal;
use nix::sys::termios::{LocalFlags, Termios, tcgetattr};
use rings::store::Nodes as _;

use crate::common::{Ended, Process, Scratch, WATCHDOG, within};

/// Somebody at a terminal, in which a command runs.
pub(crate) struct User {
    pub(crate) process: Process,
    screen: File,
    /// The terminal's other side, which the command has.
    terminal: OwnedFd,
    before: Termios,
    seen: String,
}

impl User {
    /// Runs `pvlab ARGS` in a terminal.
    pub(crate) fn run(scratch: &Scratch, args: &[&str]) -> Self {
        Self::at(scratch.command(args))
    }

    /// Runs a command in a terminal.
    pub(crate) fn at(mut command: std::process::Command) -> Self {
        let pty = openpty(None, None).expect("a pty");
        let end = || Stdio::from(pty.slave.try_clone().expect("a descriptor"));
        let before = tcgetattr(&pty.slave).expect("a terminal");
        command.stdin(end()).stdout(end()).stderr(end());
        // What is not read must not hold us.
        fcntl(&pty.master, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("a descriptor");
        let process = Process::start(command);
        let (screen, terminal) = (File::from(pty.master), pty.slave);
        Self { process, screen, terminal, before, seen: String::new() }
    }

    /// Waits until this is seen, after what was seen before.
    pub(crate) fn sees(&mut self, text: &str) -> &mut Self {
        let found = within(WATCHDOG, || {
            self.look();
            self.seen.contains(text)
        });
        assert!(found, "no {text:?} in {:?}", self.seen);
        let at = self.seen.find(text).expect("found") + text.len();
        self.seen.drain(..at);
        self
    }

    pub(crate) fn types(&mut self, keys: &str) -> &mut Self {
        self.screen.write_all(keys.as_bytes()).expect("a keyboard");
        self
    }

    /// Types until it has an effect.
    pub(crate) fn types_until_seen(&mut self, keys: &str, text: &str) -> &mut Self {
        let mut tries = 0;
        let found = within(WATCHDOG, || {
            if tries % 500 == 0 {
                self.types(keys);
            }
            tries += 1;
            self.look();
            self.seen.contains(text)
        });
        assert!(found, "no {text:?} in {:?}", self.seen);
        self
    }

    /// Takes what is on the screen.
    fn look(&mut self) {
        let mut room = [0; 4096];
        if let Ok(len) = self.screen.read(&mut room) {
            self.seen += &String::from_utf8_lossy(&room[..len]);
        }
    }

    /// The command is told to end, if it does not by itself.
    pub(crate) fn ends(&mut self) {
        let by_itself = within(std::time::Duration::from_secs(3), || {
            self.look();
            self.process.has_ended()
        });
        if !by_itself {
            self.process.signal(Signal::SIGTERM);
            within(WATCHDOG, || self.process.has_ended());
        }
    }

    pub(crate) fn is_raw(&self) -> bool {
        let now = tcgetattr(&self.terminal).expect("a terminal");
        !now.local_flags.intersects(LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG)
    }

    /// The command ends, and the terminal is what it was.
    pub(crate) fn leaves(self) -> Ended {
        let Self { process, terminal, before, .. } = self;
        let ended = process.end();
        let after = tcgetattr(&terminal).expect("a terminal");
        assert_eq!(after.local_flags, before.local_flags, "raw mode is left behind");
        assert_eq!(after.input_flags, before.input_flags, "raw mode is left behind");
        assert_eq!(after.output_flags, before.output_flags, "raw mode is left behind");
        ended
    }
}

/// A lab by hand: a host, a daemon, and a guest that is a shell.
pub(crate) struct ByHand {
    pub(crate) scratch: Scratch,
    processes: Vec<Process>,
    pub(crate) tty: String,
}

impl ByHand {
    pub(crate) fn new() -> Self {
        let scratch = Scratch::new();
        let dir = scratch.text("lab");
        let host = scratch.host(&["--stall-timeout", "100s"]);
        let daemon = scratch.start(&["consoled", "--dir", &dir]);
        let guest = scratch.start(&["console-guest", "--dir", &dir]);
        let mut store = scratch.store();
        let mut tty = String::new();
        let found = within(WATCHDOG, || {
            tty = store.read_string("/local/domain/1/console/tty").unwrap_or_default();
            tty.starts_with("/dev/pts/")
        });
        assert!(found, "no terminal");
        Self { scratch, processes: vec![guest, daemon, host], tty }
    }

    pub(crate) fn open(&self) -> File {
        let flags = (OFlag::O_NOCTTY | OFlag::O_NONBLOCK).bits();
        let file = OpenOptions::new().read(true).write(true).custom_flags(flags).open(&self.tty);
        file.expect("a terminal")
    }

    pub(crate) fn end(self) {
        let host = self.processes[2].pid();
        for process in self.processes {
            process.leave();
        }
        self.scratch.assert_clean(&[host], "by hand");
    }
}

/// Waits until this comes out of a terminal.
pub(crate) fn sees(terminal: &mut File, text: &str) {
    let mut seen = String::new();
    let found = within(WATCHDOG, || {
        let mut room = [0; 4096];
        if let Ok(len) = terminal.read(&mut room) {
            seen += &String::from_utf8_lossy(&room[..len]);
        }
        seen.contains(text)
    });
    assert!(found, "no {text:?} in {seen:?}");
}
