//! What one kind of device does in its own way: the keys it offers, what it reads of its guest's to make
//! queues, what it keeps of each device. The handshake, which is the same for all, asks for it.

use std::fmt;

use super::{ConnectError, Device};
use crate::Domain;
use crate::store::{StoreError, XenbusState, XsClient};

/// The store connection of a backend.
pub type Store<K> = XsClient<<<K as Kind>::Domain as Domain>::Transport>;

/// A kind of device, with what its backend has at hand: domain, store connection, configuration.
///
/// # Errors
/// Whatever is asked of it fails with the store. What is an answer all the same
/// ([`StoreError::is_answer`]) costs this device its guest, and no other.
pub trait Kind: fmt::Debug + Sized + 'static {
    /// As it is called in paths, and in what is told: `vif`.
    const NAME: &'static str;
    /// One of the keys that are offered: a device without it has not seen us yet.
    const OFFERED: &'static str;
    /// Whether no state is left out, as in Linux' netback: `Closing` comes before `Closed`, and a guest
    /// that begins again is taken leave of first. Linux' blkback goes wherever its guest goes.
    const STEPWISE: bool;

    /// What we live in.
    type Domain: Domain;
    /// What we offer, and how we work.
    type Config;
    /// The unit of work of a worker.
    type Queue;
    /// What is kept of one device and its guest.
    type Own: fmt::Debug + Default;

    /// A backend that serves nothing yet.
    fn new(domain: &Self::Domain, config: Self::Config) -> Result<Self, ConnectError>;

    /// The store connection.
    fn store(&mut self) -> &mut Store<Self>;

    /// What is kept of a device that is new to us, though its frontend in `front` need not be.
    fn probe(&mut self, _front: &str) -> Result<Self::Own, StoreError> {
        Ok(Self::Own::default())
    }

    /// Writes what we offer into the device's directory `back`.
    fn offer(&mut self, back: &str) -> Result<(), StoreError>;

    /// Whether a guest that was invited, and is in the state `front` now, has written all its keys.
    fn is_ready(&mut self, _: &mut Device<Self>, front: XenbusState) -> Result<bool, StoreError>;

    /// Reads the guest's keys, maps its rings, binds its ports, and tells it the rest. Nothing of it
    /// stays if one of that fails.
    fn connect(&mut self, device: &mut Device<Self>) -> Result<Vec<Self::Queue>, ConnectError>;

    /// The device's queues have been given back.
    fn disconnected(&mut self, _: &mut Device<Self>) -> Result<(), StoreError> {
        Ok(())
    }

    /// One of the device's queues has stalled, or has not any more.
    fn stalled(&mut self, _: &mut Device<Self>, _stalled: bool) -> Result<(), StoreError> {
        Ok(())
    }

    /// Tells guests that are connected what has become of what is behind their devices.
    fn tell<'a>(
        &mut self,
        _connected: impl Iterator<Item = &'a mut Device<Self>>,
    ) -> Result<(), StoreError> {
        Ok(())
    }
}
