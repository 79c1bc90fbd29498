//! Looking on, without being one of a lab's domains: who holds what in it, and whether it is recorded.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use rings::DomainError;

use crate::domain::ConnectError;
use crate::proto::{Held, Kind, Message, Recorded};
use crate::socket::HostSocket;

/// What the domains of the lab in `dir` hold, as [`Held`] says.
///
/// # Errors
/// If no lab runs there.
pub fn inspect(dir: &Path, what: Held) -> Result<String, ConnectError> {
    let mut host = HostSocket::open(dir)?;
    let (answer, fds) = host.call(Message::request(Kind::Inspect, &[what as u32]))?;
    let mut text = vec![0; answer.arg[0] as usize];
    for fd in fds {
        File::from(fd).read_exact_at(&mut text, 0).map_err(DomainError::from)?;
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Switches recording on or off, in all domains of the lab in `dir` at once. Returns what it is now.
///
/// # Errors
/// If no lab runs there.
pub fn record(dir: &Path, on: bool) -> Result<Recorded, ConnectError> {
    let (answer, _) = HostSocket::open(dir)?.call(Message::request(Kind::Record, &[on.into()]))?;
    let strange = || DomainError::HostGone("it answers something else".into());
    Ok(Recorded::from_number(answer.arg[0]).ok_or_else(strange)?)
}
