//! A guest's console: the ring that the toolstack made for it, and its port.

use std::time::{Duration, Instant};

use rings::bytes::{ConsolePage, Half, IllegalIndex};
use rings::evtchn::{Channel, EventCounters};
use rings::store::{keys, xenbus};
use rings::{Domain, DomainError, Pfn, Port, Waiter};
use tracer::traced;

use super::emergency::Emergency;
use super::error::OpenError;

/// The console of this domain.
#[derive(Debug)]
pub struct Console<D: Domain> {
    domain: D,
    page: ConsolePage,
    half: Half,
    channel: Channel<D::Doorbell>,
}

impl<D: Domain> Console<D> {
    /// Takes over the console that was made before we ran. Nothing has to be said to anybody: what
    /// is written is read as soon as somebody does.
    ///
    /// # Errors
    /// If the toolstack made none.
    #[traced]
    pub fn open(domain: &D) -> Result<Self, OpenError> {
        let memory = domain.memory();
        let page = memory.page(Pfn(memory.layout().console)).ok_or(OpenError::NoPage)?;
        let page = ConsolePage::new(page);
        let path = format!("console/{}", keys::PORT);
        let port = Port(xenbus::read_u32(&mut domain.store()?, &path)?);
        let (mut channel, mut half) = (domain.open_port(port)?, page.front());
        channel.set_name(&format!("console{}", domain.domid()));
        half.set_name(domain.domid());
        Ok(Self { domain: domain.clone(), half, page, channel })
    }

    /// Puts as many of `bytes` as there is room for, and says how many. xenconsoled is told at once:
    /// this ring has no way of asking for less.
    ///
    /// # Errors
    /// If xenconsoled's index cannot be; nothing is written then.
    #[traced(fine, bytes = bytes.len())]
    #[inline]
    pub fn put(&mut self, bytes: &[u8]) -> Result<usize, IllegalIndex> {
        let put = self.half.writer.write(bytes)?;
        if put > 0 {
            self.channel.send();
        }
        Ok(put)
    }

    /// Gets what was typed, at most `to.len()` bytes.
    ///
    /// # Errors
    /// If xenconsoled's index cannot be; nothing is read then.
    pub fn get(&mut self, to: &mut [u8]) -> Result<usize, IllegalIndex> {
        let got = self.half.reader.read(to)?;
        if got > 0 {
            self.channel.send();
        }
        Ok(got)
    }

    /// Bytes that could be put now.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    #[inline]
    pub fn room(&mut self) -> Result<usize, IllegalIndex> {
        self.half.writer.look()
    }

    /// Bytes put that nobody has read yet.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn unread(&mut self) -> Result<usize, IllegalIndex> {
        Ok(rings::io::console::OUT_SIZE - self.half.writer.look()?)
    }

    /// Whether somebody reads what we write, or will again: not if xenconsoled has said that it does
    /// not. Waiting for room is waiting for that.
    #[must_use]
    pub fn connected(&self) -> bool {
        self.page.connected()
    }

    /// Whether xenconsoled has closed its end of the port, or died.
    #[must_use]
    pub fn closed(&self) -> bool {
        self.channel.closed()
    }

    /// What happened on the port.
    #[must_use]
    pub fn events(&self) -> EventCounters {
        self.channel.counters()
    }

    /// Before sleeping: unmasks the port. `true` if an event has come: look, do not sleep.
    #[must_use = "an unmasked port that is pending brings no further doorbell"]
    pub fn arm(&self) -> bool {
        self.channel.unmask()
    }

    /// After sleeping: masks the port, and clears what is pending before the rings are looked at.
    /// `true` if an event had come.
    pub fn disarm(&self) -> bool {
        self.channel.mask();
        self.channel.clear()
    }

    /// Sleeps on the port from now on.
    ///
    /// # Errors
    /// If the operating system refuses.
    pub fn watch(&self, waiter: &mut impl Waiter<D::Doorbell>) -> Result<(), DomainError> {
        waiter.add(&self.channel)
    }

    /// Stops sleeping on it.
    pub fn unwatch(&self, waiter: &mut impl Waiter<D::Doorbell>) {
        waiter.remove(&self.channel);
    }

    /// Sleeps until something has happened on the port, at most for `timeout`. Whoever calls this has
    /// looked at the rings since it last returned.
    pub fn wait(&mut self, waiter: &mut impl Waiter<D::Doorbell>, timeout: Duration) {
        if !self.arm() {
            waiter.wait(timeout);
        }
        self.disarm();
    }

    /// Waits until all that was put has been read. `false` if it has not been when `timeout` is over,
    /// or nobody reads.
    pub fn flush(&mut self, waiter: &mut impl Waiter<D::Doorbell>, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        loop {
            if self.unread() == Ok(0) {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || !self.connected() || self.closed() {
                return false;
            }
            self.wait(waiter, left);
        }
    }

    /// A handle for a last word, which works whatever this one is doing.
    ///
    /// # Errors
    /// If the host refuses.
    pub fn emergency(&self) -> Result<Emergency<D>, DomainError> {
        let channel = self.domain.open_port(self.channel.port())?;
        Ok(Emergency::new(self.page.clone(), channel))
    }
}
