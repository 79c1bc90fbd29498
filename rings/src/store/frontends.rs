//! The frontends that a backend serves, as the store tells of them: who is there, whether anything
//! has changed, whether a device was made anew. What is done about it is [`backend`](super::backend)'s
//! business.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::backend::{ConnectError, DeviceId};
use super::{Nodes, StoreError, Transport, XsClient, keys, xenbus};
use crate::DomId;

/// Watch events thrown away before one look at everything: a guest that writes without end must not
/// keep us from looking.
const FLOOD: u32 = 1024;
/// What a driver domain's hotplug script says when the device's other side is there.
const HOTPLUG_DONE: &str = "connected";

/// Waits at most `timeout` for a watch to fire; whether one has. Watch events are only hints: however
/// many have come, one look at everything will do, so that a flood of them costs no more than the
/// looks (XSA-349).
///
/// # Errors
/// If the store is gone.
pub fn changed<T: Transport>(
    store: &mut XsClient<T>,
    timeout: Duration,
) -> Result<bool, StoreError> {
    if store.next_event(Some(timeout))?.is_none() {
        return Ok(false);
    }
    for _ in 0..FLOOD {
        if store.next_event(Some(Duration::ZERO))?.is_none() {
            break;
        }
    }
    Ok(true)
}

/// The devices below `backends` (`backend/vif`), and their directories.
pub(super) fn list<N: Nodes>(
    store: &mut N,
    backends: &str,
) -> Result<Vec<(DeviceId, String)>, StoreError> {
    let mut all = Vec::new();
    for front in xenbus::list(store, backends)? {
        for handle in xenbus::list(store, &format!("{backends}/{front}"))? {
            // What is no number is no device.
            if let (Ok(domid), Ok(number)) = (front.parse(), handle.parse()) {
                let id = DeviceId { front: DomId(domid), handle: number };
                all.push((id, format!("{backends}/{front}/{handle}")));
            }
        }
    }
    Ok(all)
}

/// Has the store tell when the state of the frontend in `front` changes.
pub(super) fn watch<T: Transport>(
    store: &mut XsClient<T>,
    front: &str,
    domid: DomId,
) -> Result<(), StoreError> {
    store.watch(&format!("{front}/{}", keys::STATE), &format!("front-{domid}"))
}

/// Ends what [`watch`] began. The watch may have gone with the guest: that is no error.
pub(super) fn unwatch<T: Transport>(store: &mut XsClient<T>, front: &str, domid: DomId) {
    let _ = store.unwatch(&format!("{front}/{}", keys::STATE), &format!("front-{domid}"));
}

/// Whether the hotplug script has joined the device in `back` to what is behind it.
pub(super) fn is_plugged<N: Nodes>(store: &mut N, back: &str) -> Result<bool, StoreError> {
    let status = store.read_if_present(&format!("{back}/{}", keys::HOTPLUG_STATUS))?;
    Ok(status.as_deref() == Some(HOTPLUG_DONE))
}

/// Whether the toolstack has removed the device in `back`.
pub(super) fn is_removed<N: Nodes>(store: &mut N, back: &str) -> Result<bool, StoreError> {
    Ok(store.read_if_present(&format!("{back}/{}", keys::FRONTEND))?.is_none())
}

/// Whether the device in `back` has not seen what we offer, of which `offered` is one key: the
/// toolstack has made it, or made it anew.
///
/// # Errors
/// Any [`StoreError`].
pub fn is_new<N: Nodes>(store: &mut N, back: &str, offered: &str) -> Result<bool, StoreError> {
    let seen = store.read_if_present(&format!("{back}/{offered}"))?.is_some();
    Ok(!seen && !is_removed(store, back)?)
}

/// A number that the frontend in `front` has written; `default` if it has not.
///
/// # Errors
/// If it is not in `range`, or as [`xenbus::read_u32`].
pub fn number<N: Nodes>(
    store: &mut N,
    front: &str,
    key: &'static str,
    default: u32,
    range: RangeInclusive<u32>,
) -> Result<u32, ConnectError> {
    let value = xenbus::read_u32_if_present(store, &format!("{front}/{key}"))?.unwrap_or(default);
    if range.contains(&value) {
        return Ok(value);
    }
    let range = format!("{} to {}", range.start(), range.end());
    Err(ConnectError::Range { key, value, range })
}
