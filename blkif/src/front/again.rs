//! Going on with another backend when one has died: what it had is put again, and what it cannot have
//! saved fails; and the disk having another length. How the other one is found is in `connect`.

use std::sync::atomic::Ordering;

use rings::Domain;
use tracer::traced;

use super::disk::DiskInfo;
use super::link::Link;
use super::queue::Queue;

impl<D: Domain> Queue<D> {
    /// Goes on with another backend: over another ring, on which everything that was in flight is put
    /// again in the same order. But where a write was answered, flushes and barriers that were not end
    /// as [`Outcome::Error`](super::Outcome::Error), with the next [`reap`](Self::reap): what they were to save may have died
    /// in the backend's cache, and no other backend can save it.
    #[traced]
    pub fn relink(&mut self, link: Link<D>, disk: DiskInfo) {
        let old = std::mem::replace(&mut self.link, link);
        self.disk = disk;
        self.put = 0;
        if self.written.load(Ordering::Relaxed) {
            self.fail_flushes();
        }
        self.again = self.shadow.in_order().into();
        self.stats.reconnects += 1;
        self.flush();
        self.kick();
        // Its backend is dead, and the host has unmapped what it had: the pages come back.
        old.close(&self.domain);
    }

    /// Ends the flushes and barriers that are not over.
    fn fail_flushes(&mut self) {
        self.ops.end_flushes(&mut self.failed);
        let ops = &self.ops;
        self.shadow.retain(|op| ops.get(op).is_some());
        self.todo.retain(|&op| ops.get(op).is_some());
    }

    /// Puts again what a dead backend had, in the same order, as far as the ring has room.
    #[inline]
    pub(super) fn put_again(&mut self) {
        while self.link.ring.free_requests() > 0
            && let Some(id) = self.again.pop_front()
        {
            let Some(found) = self.shadow.get(id) else { continue };
            let Some(op) = self.ops.get(found.op).map(|running| running.op) else { continue };
            self.put_request(id, &op, found.piece);
            self.stats.requeued += 1;
        }
    }

    /// Wakes the backend once, as a frontend does when it has connected.
    pub fn kick(&mut self) {
        self.link.port.send();
    }

    /// The disk has another length.
    pub fn resize(&mut self, sectors: u64) {
        self.disk.sectors = sectors;
    }
}
