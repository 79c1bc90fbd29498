//! A store connection over a Unix socket.

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rings::store::Transport;

/// The byte stream to the store, as a socket.
#[derive(Debug)]
pub struct UnixTransport(UnixStream);

impl UnixTransport {
    /// Connects to a store socket: whoever can is domain 0.
    ///
    /// # Errors
    /// As connect(2).
    pub fn connect(path: &Path) -> io::Result<Self> {
        UnixStream::connect(path).map(Self)
    }
}

impl From<OwnedFd> for UnixTransport {
    fn from(fd: OwnedFd) -> Self {
        Self(UnixStream::from(fd))
    }
}

impl Transport for UnixTransport {
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn recv(&mut self, buf: &mut [u8], timeout: Option<Duration>) -> io::Result<usize> {
        // A socket has no zero time-out: zero means for ever there, and only a look here.
        let timeout = timeout.map(|t| t.max(Duration::from_micros(1)));
        self.0.set_read_timeout(timeout)?;
        let _span = tracer::span!(WAIT, "wait_for_store");
        loop {
            match self.0.read(buf) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                other => return other,
            }
        }
    }
}
