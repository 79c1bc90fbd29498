//! Log lines of a guest over its own console, as a kernel's are (`--console`).
//!
//! A log line never waits: what the ring has no room for is dropped, and the next line that fits says
//! how many were.

use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use console::front::Console;
use rings::Domain;
use rings_host::{EpollWaiter, HostDomain};

use crate::workload::console::say_last_words;

/// How long the last lines may take to be read.
const FAREWELL: Duration = Duration::from_millis(500);

/// The console that log lines go to, while there is one.
static ROUTE: Mutex<Option<Route>> = Mutex::new(None);

struct Route {
    console: Console<HostDomain>,
    waiter: EpollWaiter,
    dropped: u64,
}

/// Where log lines go: the console, or stderr as long as there is none.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct LogLines;

impl Write for LogLines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut route = ROUTE.lock().unwrap_or_else(PoisonError::into_inner);
        match route.as_mut() {
            Some(route) => route.put(line),
            None => io::stderr().write_all(line)?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Route {
    fn put(&mut self, line: &[u8]) {
        let mut text = Vec::with_capacity(line.len() + 2);
        if self.dropped > 0 {
            text.extend_from_slice(format!("({} lines dropped)\r\n", self.dropped).as_bytes());
        }
        for &byte in line {
            // The terminal behind it is raw.
            if byte == b'\n' {
                text.push(b'\r');
            }
            text.push(byte);
        }
        // A half line is worse than none; a ring that lies takes none.
        let fits = self.console.room().is_ok_and(|room| room >= text.len());
        let put = fits && self.console.put(&text).is_ok();
        self.dropped = if put { 0 } else { self.dropped + 1 };
    }
}

/// From now on the log lines of this process, and its last words, go over its domain's console.
///
/// # Errors
/// If it has none.
pub(super) fn log_to_console(domain: &HostDomain) -> anyhow::Result<LogRoute> {
    let console = Console::open(domain).context("--console: the guest has no console")?;
    say_last_words(console.emergency()?);
    let mut waiter = domain.waiter()?;
    console.watch(&mut waiter)?;
    let route = Route { console, waiter, dropped: 0 };
    *ROUTE.lock().unwrap_or_else(PoisonError::into_inner) = Some(route);
    Ok(LogRoute(()))
}

/// As long as it lives, log lines go over the console.
#[derive(Debug)]
pub(super) struct LogRoute(());

impl Drop for LogRoute {
    fn drop(&mut self) {
        let route = ROUTE.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Only where somebody reads is there anything to wait for.
        if let Some(Route { mut console, mut waiter, .. }) = route
            && console.connected()
        {
            console.flush(&mut waiter, FAREWELL);
        }
    }
}
