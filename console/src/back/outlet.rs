//! Where a console's output goes, in xenconsoled's order: its log, the buffer, its terminal.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};

use rings::DomId;

use super::buffer::{Buffer, Overflow};
use super::log::{Log, LogConfig};
use super::terminal::Terminal;

/// What shows a console's output.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Sink {
    /// A pty.
    #[default]
    Terminal,
    /// Nothing.
    Null,
}

/// One console's outlet.
#[derive(Debug, Default)]
pub struct Outlet {
    log: Option<Log>,
    terminal: Option<(Terminal, Buffer)>,
    /// The terminal has no room; it is asked again when something has changed.
    blocked: bool,
}

impl Outlet {
    /// The outlet of `front`'s console, of which the terminal may leave `limit` bytes waiting.
    ///
    /// # Errors
    /// If there is no pty to be had, or the log cannot be written.
    pub fn open(
        front: DomId,
        sink: Sink,
        log: Option<&LogConfig>,
        (limit, overflow): (usize, Overflow),
    ) -> io::Result<Self> {
        let log = log.map(|config| Log::open(config, front)).transpose()?;
        let terminal = match sink {
            Sink::Terminal => Some((Terminal::open()?, Buffer::new(limit, overflow))),
            Sink::Null => None,
        };
        Ok(Self { log, terminal, blocked: false })
    }

    /// Takes what the guest wrote.
    pub fn take(&mut self, bytes: &[u8]) {
        if let Some(log) = &mut self.log {
            log.write(bytes);
        }
        if let Some((terminal, buffer)) = &mut self.terminal {
            let before = buffer.discarded();
            buffer.append(bytes);
            if before == 0 && buffer.discarded() > 0 {
                let tty = terminal.path();
                tracing::warn!(tty, "nobody reads a console: its output loses its middle");
            }
        }
        self.show();
    }

    /// Shows what waits, as far as there is room; `true` if some of it was.
    pub fn show(&mut self) -> bool {
        let Some((terminal, buffer)) = &mut self.terminal else { return false };
        if self.blocked || buffer.is_empty() {
            return false;
        }
        let shown = buffer.give(|parts| terminal.write(parts)).unwrap_or(0);
        self.blocked = !buffer.is_empty();
        shown > 0
    }

    /// What was typed, at most `to.len()` bytes.
    pub fn typed(&self, to: &mut [u8]) -> usize {
        self.terminal.as_ref().map_or(0, |(terminal, _)| terminal.read(to))
    }

    /// Something may have changed at the terminal.
    pub fn changed(&mut self) {
        if let Some((terminal, _)) = &self.terminal {
            terminal.seen();
            self.blocked = false;
        }
    }

    /// Whether the guest has to wait until the terminal has taken some.
    #[inline]
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.terminal.as_ref().is_some_and(|(_, buffer)| buffer.is_full())
    }

    /// Bytes that nobody will see any more.
    #[must_use]
    pub fn lost(&self) -> u64 {
        let log = self.log.as_ref().map_or(0, Log::lost);
        log + self.terminal.as_ref().map_or(0, |(_, buffer)| buffer.discarded())
    }

    /// Bytes that wait for the terminal to take them.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.terminal.as_ref().map_or(0, |(_, buffer)| buffer.len())
    }

    /// The terminal's path.
    #[must_use]
    pub fn path(&self) -> Option<&str> {
        self.terminal.as_ref().map(|(terminal, _)| terminal.path())
    }

    /// What to wait on for the terminal.
    #[must_use]
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.terminal.as_ref().map(|(terminal, _)| terminal.as_fd())
    }
}
