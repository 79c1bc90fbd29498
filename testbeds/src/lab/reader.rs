//! Somebody who looks at the terminals of a console run: reads all that they show, and throws it away.

use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::fcntl::OFlag;
use rings::store::{Nodes, XsClient, keys};
use rings_host::UnixTransport;

/// Between two looks for a terminal.
const LOOK: Duration = Duration::from_millis(5);

/// Readers of the terminals of a lab's guests.
#[derive(Debug)]
pub(super) struct Readers {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Readers {
    /// Nobody looks.
    pub(super) fn none() -> Self {
        Self { stop: Arc::default(), threads: Vec::new() }
    }

    /// One reader for each of so many guests of the lab in `dir`.
    pub(super) fn start(dir: &Path, guests: u32) -> io::Result<Self> {
        let mut readers = Self::none();
        for domid in 1..=guests {
            let (dir, stop) = (dir.to_owned(), Arc::clone(&readers.stop));
            let thread = std::thread::Builder::new().name("reader".into());
            readers.threads.push(thread.spawn(move || {
                if let Some(tty) = find(&dir, domid, &stop) {
                    read_all(&tty);
                }
            })?);
        }
        Ok(readers)
    }

    /// Ends them. The daemon must have: a reader ends when its terminal does.
    pub(super) fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A panic there has been printed.
            let _ = thread.join();
        }
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        // Not waited for: after a failure the daemon may still be there.
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Waits for the path of a guest's terminal.
fn find(dir: &Path, domid: u32, stop: &AtomicBool) -> Option<String> {
    let mut store = XsClient::new(UnixTransport::connect(&dir.join("xenstored.sock")).ok()?);
    let path = format!("/local/domain/{domid}/console/{}", keys::TTY);
    while !stop.load(Ordering::Relaxed) {
        match store.read_if_present(&path).ok()? {
            Some(tty) if !tty.is_empty() => return Some(tty),
            _ => std::thread::sleep(LOOK),
        }
    }
    None
}

/// Reads until the other side is closed.
fn read_all(tty: &str) {
    let noctty = OFlag::O_NOCTTY.bits();
    let Ok(mut tty) = OpenOptions::new().read(true).custom_flags(noctty).open(tty) else { return };
    let mut seen = vec![0; 64 << 10];
    while tty.read(&mut seen).is_ok_and(|len| len > 0) {}
}
