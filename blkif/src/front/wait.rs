//! Waiting for the backend: for one that is to come, and for one that has come to connect.

use std::time::{Duration, Instant};

use rings::Domain;
use rings::store::xenbus::{self, WaitError};
use rings::store::{Nodes, StoreError, XenbusState, keys, missing};

use super::connect::Blkfront;
use super::error::ConnectError;

/// Token of the watch on the backend that is to connect.
const TOKEN: &str = "blkfront-connecting";

impl<D: Domain> Blkfront<D> {
    /// Waits for a backend that says what it takes. The directory of one that has died comes back with
    /// the next one.
    pub(super) fn wait_for_backend(
        &mut self,
        step: &'static str,
        timeout: Duration,
    ) -> Result<(), ConnectError> {
        let deadline = Instant::now() + timeout;
        loop {
            let states = [XenbusState::InitWait];
            match xenbus::wait_for_state(&mut self.store, &self.back, &states, deadline) {
                Ok(_) => return Ok(()),
                Err(WaitError::Removed { .. }) if Instant::now() < deadline => {}
                Err(WaitError::Store(error))
                    if error.is_not_found() && Instant::now() < deadline => {}
                Err(why) => return Err(self.stuck(step, why)),
            }
        }
    }

    /// Begins to watch the backend at hand. Before anything is published for it: whatever it writes of
    /// its state afterwards is an event.
    pub(super) fn watch_backend(&mut self, timeout: Duration) -> Result<(), StoreError> {
        self.unwatch_backend();
        self.store.watch(&format!("{}/{}", self.back, keys::STATE), TOKEN)?;
        // The watch's own first event tells of no change.
        self.store.next_event_where(Some(timeout), |event| event.token == TOKEN).map(drop)
    }

    fn unwatch_backend(&mut self) {
        // The watch of a directory that was removed is as good as gone.
        let _ = self.store.unwatch(&format!("{}/{}", self.back, keys::STATE), TOKEN);
        self.store.drop_events(|event| event.token == TOKEN);
    }

    /// Waits for the backend that is watched to connect to the rings that are published. If it dies first,
    /// no other one will: those rings are its forerunner's, and it waits for new ones.
    pub(super) fn wait_connected(&mut self, timeout: Duration) -> Result<(), ConnectError> {
        let path = format!("{}/{}", self.back, keys::STATE);
        let connected = self.watch_until_connected(&path, Instant::now() + timeout);
        self.unwatch_backend();
        connected.map_err(|why| self.stuck("waiting for the backend to connect", why))
    }

    fn watch_until_connected(&mut self, path: &str, deadline: Instant) -> Result<(), WaitError> {
        let (path, expected) = (path.to_owned(), vec![XenbusState::Connected]);
        // Whoever writes that it waits for us is not the one that we have seen waiting.
        for events in 0.. {
            let found = xenbus::read_state(&mut self.store, &self.back)?;
            match found {
                XenbusState::Connected => return Ok(()),
                XenbusState::Initialising | XenbusState::InitWait if events < 1 => {}
                XenbusState::Unknown | XenbusState::Initialising | XenbusState::InitWait => {
                    return Err(WaitError::Removed { path, last: found, expected });
                }
                _ => return Err(WaitError::Stuck { path, found, expected }),
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if self.store.next_event_where(Some(left), |event| event.token == TOKEN)?.is_none() {
                return Err(WaitError::Stuck { path, found, expected });
            }
        }
        Ok(())
    }

    fn stuck(&mut self, step: &'static str, why: WaitError) -> ConnectError {
        let mut said = self.said();
        if matches!(why, WaitError::Stuck { .. }) {
            said += &missing(&mut self.store, &self.back, keys::MAX_RING_PAGE_ORDER, "blkback");
        }
        ConnectError::Stuck { handle: self.config.handle, step, why, said }
    }

    /// What the backend's error node says.
    fn said(&mut self) -> String {
        let home = format!("/local/domain/{}/", self.backend);
        let node = self.back.strip_prefix(&home).unwrap_or(&self.back).to_owned();
        let path = format!("{home}error/{node}/error");
        match self.store.read_string(&path) {
            Ok(text) => format!(" ({text})"),
            // Usually it says nothing, or not to us.
            Err(_) => String::new(),
        }
    }
}
