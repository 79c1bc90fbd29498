//! The user's own terminal, raw while a guest's console has it, and as it was afterwards: however this
//! process ends, short of being killed.

use std::io::{self, IsTerminal as _};
use std::sync::{Mutex, PoisonError};

use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};

/// How it was. Kept here because some ends of a process leave no stack to drop it from.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// The terminal is raw for as long as this lives.
#[derive(Debug)]
pub(super) struct Raw(());

impl Raw {
    /// Makes it raw, if there is one on stdin: what is typed is the guest's to interpret.
    pub(super) fn enter() -> io::Result<Self> {
        let stdin = io::stdin();
        if stdin.is_terminal() {
            let before = tcgetattr(&stdin)?;
            let mut raw = before.clone();
            cfmakeraw(&mut raw);
            *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
            tcsetattr(&stdin, SetArg::TCSADRAIN, &raw)?;
        }
        Ok(Self(()))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        restore();
    }
}

/// Makes the terminal what it was, if it is raw.
pub(crate) fn restore() {
    let before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(before) = before {
        // A terminal that has gone needs no restoring. Not waiting for its output to drain: nobody may
        // be there to take it.
        let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, &before);
    }
}
