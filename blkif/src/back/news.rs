//! What a connected guest is told of its disk: another length, and what the disk turned out not to do. When
//! to look for it is the handshake's business.

use std::sync::atomic::Ordering;

use rings::store::{Nodes, StoreError, Transport, XenbusState, XsClient, frontends, keys};

use super::queue::Live;
use super::vbd::Config;

/// A node of the vbd's directory, and what it is to hold.
type Node = (&'static str, String);

/// The features that were offered and turned out not to be there, each once; `told` of flushes and of
/// discards.
pub(super) fn withdrawn(live: &Live, told: &mut (bool, bool)) -> Vec<Node> {
    // A barrier is a flush too.
    let flushes = [keys::FEATURE_FLUSH_CACHE, keys::FEATURE_BARRIER];
    let mut all = Vec::new();
    for (names, lacks, told) in [
        (&flushes[..], &live.no_flush, &mut told.0),
        (&[keys::FEATURE_DISCARD], &live.no_discard, &mut told.1),
    ] {
        if lacks.load(Ordering::Relaxed) && !std::mem::replace(told, true) {
            all.extend(names.iter().map(|&key| (key, "0".to_owned())));
        }
    }
    all
}

/// The length of the disk now. Our own state, written again, fires the guest's watch.
pub(super) fn length(config: &Config, state: XenbusState) -> [Node; 2] {
    let state = state.number().to_string();
    [(keys::SECTORS, super::keys::sectors(config)), (keys::STATE, state)]
}

/// Tells it, all at once. Nothing where the toolstack has made the device anew meanwhile: that is another
/// guest's, of which we have not heard.
pub(super) fn tell<T: Transport>(
    store: &mut XsClient<T>,
    back: &str,
    all: &[Node],
) -> Result<(), StoreError> {
    store.transaction(|t| {
        if frontends::is_new(t, back, keys::MAX_RING_PAGE_ORDER)? {
            return Ok(());
        }
        all.iter().try_for_each(|(key, value)| t.write(&format!("{back}/{key}"), value))
    })
}
