//! Writing all of something, and what to do meanwhile if the ring is full.

use std::time::Duration;

use rings::bytes::IllegalIndex;
use rings::{Domain, Waiter};

use super::Console;

/// What a guest does that finds the ring full.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OnFull {
    /// Sleeps until xenconsoled sends an event (Mirage).
    #[default]
    Block,
    /// Looks until there is room (Linux' hvc_xen, Unikraft).
    Spin,
    /// Throws away what does not fit, whole writes at a time (mini-os).
    Drop,
}

/// What became of a write.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Written {
    /// Bytes in the ring.
    pub put: usize,
    /// Bytes thrown away.
    pub dropped: usize,
}

/// Between two looks whether to go on waiting.
const LOOK: Duration = Duration::from_millis(100);

impl<D: Domain> Console<D> {
    /// Writes all of `bytes`. While the ring is full it does what `on_full` says, for as long as
    /// `patient` is true; what is left then is dropped. Nobody is waited for who has said that he does
    /// not read: a guest without a console must not hang.
    ///
    /// # Errors
    /// If xenconsoled's index cannot be.
    pub fn write(
        &mut self,
        waiter: &mut impl Waiter<D::Doorbell>,
        bytes: &[u8],
        on_full: OnFull,
        mut patient: impl FnMut() -> bool,
    ) -> Result<Written, IllegalIndex> {
        if on_full == OnFull::Drop && self.room()? < bytes.len() {
            return Ok(Written { put: 0, dropped: bytes.len() });
        }
        let mut put = 0;
        loop {
            put += self.put(&bytes[put..])?;
            if put == bytes.len() || !self.connected() || !patient() {
                return Ok(Written { put, dropped: bytes.len() - put });
            }
            match on_full {
                OnFull::Spin => std::hint::spin_loop(),
                OnFull::Block | OnFull::Drop => self.wait(waiter, LOOK),
            }
        }
    }
}
