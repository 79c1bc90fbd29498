//! Looking on: who holds what in a lab, without being one of its domains.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use rings::DomainError;

use crate::domain::ConnectError;
use crate::proto::{Held, Kind, Message};
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
