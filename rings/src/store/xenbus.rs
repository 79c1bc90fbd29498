//! The handshake of split drivers on top of the store: states, typed reads, the fatal error.
//!
//! A device is a directory on each side (`device/vif/0`, `backend/vif/1/0`); each side writes the
//! keys and the state in its own and watches the other's. Follows io/xenbus.h and Linux's
//! xenbus_client.c. Which keys and states a driver goes through is the driver's business; their
//! names are in [`keys`].

use std::fmt;
use std::str::FromStr;
use std::time::Instant;

use super::{Nodes, StoreError, Transport, XsClient, keys};
use tracer::traced;

use crate::DomId;
use crate::io::xs_wire::XsdError;

/// Most bytes a domain that is not privileged may write into a node.
const MAX_VALUE: usize = 2048;

/// `enum xenbus_state`: how far a side of a device has come. Kept as decimal text in `state`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum XenbusState {
    /// Absent, or not a state. After another state it means that the directory was removed.
    #[default]
    Unknown = 0,
    /// The directory exists; nothing has been done.
    Initialising = 1,
    /// The back has offered its features and waits for the front.
    InitWait = 2,
    /// The front has published its rings and waits for the back.
    Initialised = 3,
    /// Ready for data.
    Connected = 4,
    /// Going away: no more data.
    Closing = 5,
    /// Gone: nothing of the other side's is held any more.
    Closed = 6,
    /// The front wants to change a setting while connected.
    Reconfiguring = 7,
    /// The back has taken the changed setting.
    Reconfigured = 8,
}

impl XenbusState {
    /// All states in the order of their numbers.
    pub const ALL: [Self; 9] = [
        Self::Unknown,
        Self::Initialising,
        Self::InitWait,
        Self::Initialised,
        Self::Connected,
        Self::Closing,
        Self::Closed,
        Self::Reconfiguring,
        Self::Reconfigured,
    ];

    /// Reads the text of a `state` key. Whatever is not the number of a state is
    /// [`XenbusState::Unknown`].
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        decimal::<usize>(text).and_then(|number| Self::ALL.get(number)).copied().unwrap_or_default()
    }

    /// The number, as it stands in a `state` key.
    #[must_use]
    pub fn number(self) -> u8 {
        self as u8
    }
}

/// Xen's name, not the number.
impl fmt::Display for XenbusState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Why [`wait_for_state`] ended without one of the states it was to wait for.
#[derive(Debug, thiserror::Error)]
pub enum WaitError {
    /// The deadline passed.
    #[error("{path} is stuck in {found}, expected {}", Alternatives(expected))]
    Stuck {
        /// The `state` key.
        path: String,
        /// The state it showed last.
        found: XenbusState,
        /// The states that would have ended the wait.
        expected: Vec<XenbusState>,
    },
    /// The directory was removed meanwhile.
    #[error("{path} was removed while in {last}, expected {}", Alternatives(expected))]
    Removed {
        /// The `state` key.
        path: String,
        /// The state it showed before.
        last: XenbusState,
        /// The states that would have ended the wait.
        expected: Vec<XenbusState>,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// "Connected or Closed".
struct Alternatives<'a>(&'a [XenbusState]);

impl fmt::Display for Alternatives<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, state) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { " or " };
            write!(f, "{separator}{state}")?;
        }
        Ok(())
    }
}

/// The state of the device in directory `dir`; [`XenbusState::Unknown`] if it has none, or one
/// that may not be read.
///
/// # Errors
/// Any [`StoreError`] other than that the key is missing or unreadable.
pub fn read_state<N: Nodes>(store: &mut N, dir: &str) -> Result<XenbusState, StoreError> {
    match store.read(&format!("{dir}/{}", keys::STATE)) {
        Ok(value) => Ok(XenbusState::from_text(&String::from_utf8_lossy(&value))),
        Err(error) => match error.xsd_error() {
            Some(XsdError::ENOENT | XsdError::EACCES) => Ok(XenbusState::Unknown),
            _ => Err(error),
        },
    }
}

/// Writes the state of the device in directory `dir`, unless it is there already: a write fires
/// the other side's watch.
///
/// Writes nothing if the key is gone, in one transaction: a device the toolstack has removed must not
/// come back as an orphan.
///
/// # Errors
/// Any [`StoreError`].
#[traced]
pub fn switch_state<T: Transport>(
    store: &mut XsClient<T>,
    dir: &str,
    state: XenbusState,
) -> Result<(), StoreError> {
    store.transaction(|t| write_state(t, dir, state))
}

/// [`switch_state`], within a transaction.
fn write_state<N: Nodes>(store: &mut N, dir: &str, state: XenbusState) -> Result<(), StoreError> {
    let path = format!("{dir}/{}", keys::STATE);
    let text = state.number().to_string();
    match store.read(&path) {
        Ok(old) if old == text.as_bytes() => Ok(()),
        Ok(_) => store.write(&path, text),
        Err(error) if error.is_not_found() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Directory and domain of the backend of the device in directory `dir`, as the toolstack has written
/// them there. A number that no domain can have is that of none.
///
/// # Errors
/// As [`Nodes::read_string`] and [`read_u32`].
pub fn backend_of<N: Nodes>(store: &mut N, dir: &str) -> Result<(String, DomId), StoreError> {
    let back = store.read_string(&format!("{dir}/{}", keys::BACKEND))?;
    let domid = read_u32(store, &format!("{dir}/{}", keys::BACKEND_ID))?;
    Ok((back, DomId(u16::try_from(domid).unwrap_or(u16::MAX))))
}

/// Names of the children of `path`; none if the node is not there.
///
/// # Errors
/// Any other [`StoreError`].
pub fn list<N: Nodes>(store: &mut N, path: &str) -> Result<Vec<String>, StoreError> {
    match store.directory(path) {
        Err(error) if error.is_not_found() => Ok(Vec::new()),
        other => other,
    }
}

/// Says `InitWait` in directory `dir` if it has the key `offered`, in one transaction: whoever reads
/// that state finds what is offered. `false` in a directory that the toolstack has made anew
/// meanwhile.
pub(super) fn invite<T: Transport>(
    store: &mut XsClient<T>,
    dir: &str,
    offered: &str,
) -> Result<bool, StoreError> {
    store.transaction(|t| {
        if t.read_if_present(&format!("{dir}/{offered}"))?.is_none() {
            return Ok(false);
        }
        write_state(t, dir, XenbusState::InitWait).map(|()| true)
    })
}

/// Waits until the device in directory `dir` is in one of the states `expected`, and says which.
///
/// List `Closing` and `Closed` among them if the other side's giving up shall end the wait. Watch
/// events of the caller's own watches that arrive meanwhile stay queued for it.
///
/// # Errors
/// [`WaitError::Stuck`] at `deadline`, [`WaitError::Removed`] once a state was there and is no
/// more, [`WaitError::Store`] for the rest.
#[traced]
pub fn wait_for_state<T: Transport>(
    client: &mut XsClient<T>,
    dir: &str,
    expected: &[XenbusState],
    deadline: Instant,
) -> Result<XenbusState, WaitError> {
    let path = format!("{dir}/{}", keys::STATE);
    let token = client.fresh_token("wait_for_state-");
    client.watch(&path, &token)?;
    let outcome = wait_watching(client, dir, &path, &token, expected, deadline);
    let unwatched = client.unwatch(&path, &token);
    client.drop_events(|event| event.token == token);
    let state = outcome?;
    unwatched?;
    Ok(state)
}

/// The loop of [`wait_for_state`]: look, then sleep until the watch `token` fires.
fn wait_watching<T: Transport>(
    client: &mut XsClient<T>,
    dir: &str,
    path: &str,
    token: &str,
    expected: &[XenbusState],
    deadline: Instant,
) -> Result<XenbusState, WaitError> {
    let mut last = XenbusState::Unknown;
    loop {
        let found = read_state(client, dir)?;
        if expected.contains(&found) {
            return Ok(found);
        }
        let (path, expected) = (path.to_owned(), expected.to_vec());
        if found == XenbusState::Unknown && last != XenbusState::Unknown {
            return Err(WaitError::Removed { path, last, expected });
        }
        last = found;
        let left = deadline.saturating_duration_since(Instant::now());
        if client.next_event_where(Some(left), |event| event.token == token)?.is_none() {
            return Err(WaitError::Stuck { path, found, expected });
        }
    }
}

/// Reads a number: decimal digits and nothing else.
///
/// # Errors
/// [`StoreError::Value`] naming key and value, or as [`Nodes`] (`ENOENT` if it is missing).
pub fn read_u32<N: Nodes>(store: &mut N, path: &str) -> Result<u32, StoreError> {
    let value = store.read(path)?;
    let text = String::from_utf8_lossy(&value);
    decimal(&text).ok_or_else(|| bad_value(path, &text, "a decimal number below 2^32"))
}

/// Reads a number that may be missing.
///
/// # Errors
/// As [`read_u32`], except that a missing key is `None`.
pub fn read_u32_if_present<N: Nodes>(store: &mut N, path: &str) -> Result<Option<u32>, StoreError> {
    match read_u32(store, path) {
        Ok(number) => Ok(Some(number)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads a switch (`feature-...`, `request-...`): missing or "0" is off, any other number is on.
///
/// # Errors
/// As [`read_u32`], except that a missing key is `false`.
pub fn read_flag<N: Nodes>(store: &mut N, path: &str) -> Result<bool, StoreError> {
    Ok(read_u32_if_present(store, path)?.is_some_and(|number| number != 0))
}

/// Reads an Ethernet address.
///
/// # Errors
/// As [`read_u32`], if it is not six octets in hex, with colons between.
pub fn read_mac<N: Nodes>(store: &mut N, path: &str) -> Result<[u8; 6], StoreError> {
    let text = store.read_string(path)?;
    parse_mac(&text).ok_or_else(|| bad_value(path, &text, "six octets in hex, with colons between"))
}

fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let mut mac = [0; 6];
    let mut parts = text.trim().split(':');
    for octet in &mut mac {
        let part = parts.next().filter(|p| p.len() == 2)?;
        *octet = u8::from_str_radix(part, 16).ok()?;
    }
    parts.next().is_none().then_some(mac)
}

/// Gives a device up: writes "`errno` `text`" into its error node and switches it to `Closing`
/// (`xenbus_dev_fatal`).
///
/// `dir` is the device's directory, the error node `error/<dir>/error` in the home of the domain
/// that owns it. `errno` is positive. A text too long for a node is cut. The state is switched
/// even if the text cannot be written: the other side must learn of it.
///
/// # Errors
/// Any [`StoreError`].
#[traced]
pub fn fatal<T: Transport>(
    store: &mut XsClient<T>,
    dir: &str,
    errno: u32,
    text: &str,
) -> Result<(), StoreError> {
    let (home, nodename) = split_home(dir);
    let mut message = format!("{errno} {text}");
    message.truncate(message.floor_char_boundary(MAX_VALUE));
    let told = store.write(&format!("{home}error/{nodename}/error"), message);
    switch_state(store, dir, XenbusState::Closing)?;
    told
}

/// Splits `/local/domain/1/device/vif/0` into the domain's home with its `/`, and the nodename. A
/// relative path has an empty home.
fn split_home(dir: &str) -> (&str, &str) {
    let below = dir.strip_prefix("/local/domain/").and_then(|rest| rest.split_once('/'));
    match below {
        Some((_, nodename)) => dir.split_at(dir.len() - nodename.len()),
        None => ("", dir.trim_start_matches('/')),
    }
}

/// Strict: `parse` alone would take a sign.
fn decimal<N: FromStr>(text: &str) -> Option<N> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

fn bad_value(path: &str, value: &str, expected: &'static str) -> StoreError {
    StoreError::Value { path: path.to_owned(), value: value.to_owned(), expected }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_strict_decimal_text() {
        for (number, state) in XenbusState::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(state.number()), number);
            assert_eq!(XenbusState::from_text(&number.to_string()), state);
        }
        for text in ["", "9", "-1", "+4", " 4", "4 ", "4\n", "Connected", "99999999999999999999"] {
            assert_eq!(XenbusState::from_text(text), XenbusState::Unknown, "{text:?}");
        }
        assert_eq!(XenbusState::InitWait.to_string(), "InitWait");
    }

    #[test]
    fn the_error_node_lies_in_the_home_of_the_devices_owner() {
        assert_eq!(
            split_home("/local/domain/12/device/vif/0"),
            ("/local/domain/12/", "device/vif/0")
        );
        assert_eq!(split_home("device/vif/0"), ("", "device/vif/0"));
        assert_eq!(split_home("/local/domain/"), ("", "local/domain/"));
    }

    #[test]
    fn wait_errors_name_path_and_states() {
        let error = WaitError::Stuck {
            path: "/local/domain/0/backend/vif/1/0/state".into(),
            found: XenbusState::InitWait,
            expected: vec![XenbusState::Connected, XenbusState::Closed],
        };
        assert_eq!(
            error.to_string(),
            "/local/domain/0/backend/vif/1/0/state is stuck in InitWait, expected Connected or Closed"
        );
    }

    #[test]
    fn a_mac_is_six_pairs_of_hex_digits() {
        assert_eq!(parse_mac("00:16:3e:00:00:01"), Some([0, 0x16, 0x3e, 0, 0, 1]));
        for bad in
            ["", "00:16:3e:00:00", "00:16:3e:00:00:01:02", "0:16:3e:00:00:01", "zz:16:3e:00:00:01"]
        {
            assert_eq!(parse_mac(bad), None, "{bad}");
        }
    }
}
