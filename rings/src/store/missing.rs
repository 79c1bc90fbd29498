//! What is missing where a handshake is stuck: one look at the store, for the words of a frontend that has given up.

use super::{Nodes, StoreError, XenbusState, frontends, keys, xenbus};

/// Which key a frontend has waited for in vain, in words to be put behind others, with a remedy; nothing if there
/// is none. The backend, in `back`, is a `driver`, which offers the key `offered` before all else.
pub fn missing<N: Nodes>(store: &mut N, back: &str, offered: &str, driver: &str) -> String {
    // It is only said why something failed: a second failure is nobody's news.
    look(store, back, offered, driver)
        .ok()
        .flatten()
        .map_or(String::new(), |key| format!("; {key}"))
}

fn look<N: Nodes>(
    store: &mut N,
    back: &str,
    offered: &str,
    driver: &str,
) -> Result<Option<String>, StoreError> {
    let offered = format!("{back}/{offered}");
    if store.read_if_present(&offered)?.is_none() {
        let why = format!("{offered} is missing: no {driver} serves it; start pvlab {driver}");
        return Ok(Some(why));
    }
    if xenbus::read_state(store, back)? != XenbusState::InitWait
        || frontends::is_plugged(store, back)?
    {
        return Ok(None);
    }
    let path = format!("{back}/{}", keys::HOTPLUG_STATUS);
    let found = match store.read_if_present(&path)? {
        Some(found) => format!("is '{found}'"),
        None => "is missing".to_owned(),
    };
    let remedy = format!("pvlab store write {path} connected");
    Ok(Some(format!("{path} {found} and not 'connected', which {driver} waits for; {remedy}")))
}
