//! A last word: written while everything else is broken.

use std::time::{Duration, Instant};

use rings::Domain;
use rings::bytes::ConsolePage;
use rings::evtchn::Channel;

/// Writes to a console whatever its owner is doing: for a panic, after which nobody else will write.
///
/// It takes no lock, allocates nothing, makes no system call but the doorbell, and does not wait for
/// ever. It begins where the page says that the last byte was written, so that a write that was
/// interrupted half-way is overwritten, never left as garbage.
#[derive(Debug)]
pub struct Emergency<D: Domain> {
    page: ConsolePage,
    channel: Channel<D::Doorbell>,
}

impl<D: Domain> Emergency<D> {
    /// How long somebody may take to read a full ring: a period of xenconsoled's limit, and some.
    pub const PATIENCE: Duration = Duration::from_millis(300);

    pub(super) fn new(page: ConsolePage, channel: Channel<D::Doorbell>) -> Self {
        Self { page, channel }
    }

    /// Writes what can be written of `bytes`; says how much that was.
    pub fn write(&mut self, bytes: &[u8]) -> usize {
        let mut writer = self.page.front().writer;
        let (mut left, deadline) = (bytes, Instant::now() + Self::PATIENCE);
        while !left.is_empty() {
            match writer.write(left) {
                Ok(0) if !self.page.connected() || Instant::now() >= deadline => break,
                Ok(0) => std::hint::spin_loop(),
                Ok(put) => {
                    left = &left[put..];
                    self.channel.send();
                }
                Err(_) => break,
            }
        }
        bytes.len() - left.len()
    }
}
