//! One device, seen from the control side: where it is in the handshake, and where it goes from there.

use tracer::traced;

use super::{ConnectError, DeviceId, Event, Kind};
use crate::store::{StoreError, XenbusState, frontends, xenbus};

/// What workers are to be told.
type Events<K> = Vec<Event<<K as Kind>::Queue>>;

/// One device.
#[derive(Debug)]
pub struct Device<K: Kind> {
    /// Which.
    pub id: DeviceId,
    /// Its directory.
    pub back: String,
    /// The directory of its frontend.
    pub front: String,
    /// Our state.
    pub state: XenbusState,
    /// What its kind keeps of it.
    pub own: K::Own,
    /// Workers have its queues.
    pub(super) connected: bool,
    /// The state to go to once they have given them back.
    leaving: Option<XenbusState>,
    /// The guest has lied: the queues are to be given back, whatever it does now.
    broken: bool,
    /// The toolstack has removed it.
    pub(super) removed: bool,
}

impl<K: Kind> Device<K> {
    pub(super) fn new(id: DeviceId, back: String, front: String, own: K::Own) -> Self {
        let state = XenbusState::Initialising;
        let (connected, leaving, broken, removed) = Default::default();
        Self { id, back, front, state, own, connected, leaving, broken, removed }
    }

    /// Workers have been asked to give its queues back.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.leaving.is_some()
    }

    /// Looks at the frontend, and follows it.
    #[traced]
    pub(super) fn look(&mut self, kind: &mut K, events: &mut Events<K>) -> Result<(), StoreError> {
        use XenbusState::{Closed, Closing, Connected, InitWait, Initialising, Unknown};
        if self.leaving.is_some() {
            return Ok(());
        }
        if self.broken {
            return self.bring_down(kind, Closing, events);
        }
        if frontends::is_new(kind.store(), &self.back, K::OFFERED)? {
            return self.begin_again(kind, events);
        }
        let otherend = xenbus::read_state(kind.store(), &self.front)?;
        match (otherend, self.state) {
            (Initialising, Closed) => self.invite(kind),
            // Its driver begins again, without a word of goodbye.
            (Initialising, Connected | Closing) if K::STEPWISE => {
                self.bring_down(kind, Closed, events)
            }
            (Closing | Closed, state) if state != Closed => self.bring_down(kind, otherend, events),
            (Unknown, state) => {
                if state != Closed {
                    self.bring_down(kind, Closed, events)?;
                }
                self.forget_if_removed(kind)
            }
            (_, InitWait) => {
                let ready = kind.is_ready(self, otherend)?;
                if ready && frontends::is_plugged(kind.store(), &self.back)? {
                    self.bring_up(kind, events)?;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Lets the guest come, unless the device is another meanwhile: then the next look begins again.
    pub(super) fn invite(&mut self, kind: &mut K) -> Result<(), StoreError> {
        if xenbus::invite(kind.store(), &self.back, K::OFFERED)? {
            self.is_now(XenbusState::InitWait);
        }
        Ok(())
    }

    /// The toolstack made the device anew: another guest has taken the place of the one we knew.
    fn begin_again(&mut self, kind: &mut K, events: &mut Events<K>) -> Result<(), StoreError> {
        if self.connected {
            return self.bring_down(kind, XenbusState::Closed, events);
        }
        self.own = K::Own::default();
        kind.offer(&self.back)?;
        self.invite(kind)
    }

    /// The guest is ready: makes the queues and hands them to the workers.
    #[traced]
    fn bring_up(&mut self, kind: &mut K, events: &mut Events<K>) -> Result<(), StoreError> {
        match kind.connect(self) {
            Ok(queues) => {
                self.connected = true;
                events.push(Event::Connected(self.id, queues));
                self.switch(kind, XenbusState::Connected)
            }
            // It is not the guest's doing, and there is no store left to tell it to.
            Err(ConnectError::Store(why)) if !why.is_answer() => Err(why),
            Err(why) => {
                let DeviceId { front, handle } = self.id;
                if why.is_guest_gone() {
                    tracing::debug!(%front, handle, %why, "its guest went");
                } else {
                    tracing::warn!(%front, handle, %why, "{} refused", K::NAME);
                }
                self.fail(kind, &why.to_string())
            }
        }
    }

    /// The guest leaves: asks for the queues, or goes at once if there are none.
    #[traced]
    fn bring_down(
        &mut self,
        kind: &mut K,
        to: XenbusState,
        events: &mut Events<K>,
    ) -> Result<(), StoreError> {
        if self.connected {
            self.leaving = Some(to);
            events.push(Event::Disconnect(self.id));
            return Ok(());
        }
        self.leave(kind, to)
    }

    /// The queues are there no more.
    pub(super) fn disconnected(&mut self, kind: &mut K) -> Result<(), StoreError> {
        (self.connected, self.broken) = (false, false);
        kind.disconnected(self)?;
        match self.leaving.take() {
            Some(to) => self.leave(kind, to),
            None => Ok(()),
        }
    }

    /// Goes to `Closing` or `Closed`.
    fn leave(&mut self, kind: &mut K, to: XenbusState) -> Result<(), StoreError> {
        if K::STEPWISE && to == XenbusState::Closed && self.state != XenbusState::Closing {
            self.switch(kind, XenbusState::Closing)?;
        }
        self.switch(kind, to)
    }

    /// The guest has lied.
    pub(super) fn rogue(&mut self, kind: &mut K, lie: &str) -> Result<(), StoreError> {
        let DeviceId { front, handle } = self.id;
        tracing::warn!(%front, handle, lie, "{} broken", K::NAME);
        // The write of our own state below brings the next look here.
        self.broken = self.connected;
        self.fail(kind, lie)
    }

    /// Error node and Closing, as Linux' xenbus_dev_fatal leaves it.
    fn fail(&mut self, kind: &mut K, text: &str) -> Result<(), StoreError> {
        const EINVAL: u32 = 22;
        self.state = XenbusState::Closing;
        xenbus::fatal(kind.store(), &self.back, EINVAL, text)
    }

    fn switch(&mut self, kind: &mut K, to: XenbusState) -> Result<(), StoreError> {
        if self.state != to {
            self.is_now(to);
        }
        // The node may lack even the state that we know: the device may have been made anew.
        xenbus::switch_state(kind.store(), &self.back, to)
    }

    fn is_now(&mut self, to: XenbusState) {
        let DeviceId { front, handle } = self.id;
        tracing::info!(%front, handle, from = %self.state, %to, "{}", K::NAME);
        self.state = to;
    }

    /// The toolstack may have removed the device.
    fn forget_if_removed(&mut self, kind: &mut K) -> Result<(), StoreError> {
        self.removed = !self.connected && frontends::is_removed(kind.store(), &self.back)?;
        if self.removed {
            frontends::unwatch(kind.store(), &self.front, self.id.front);
        }
        Ok(())
    }
}
