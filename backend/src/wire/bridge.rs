//! A learning bridge between the queues of one worker.
//!
//! Where one source feeds several destinations, it is held at most [`HOLD`] for one that has no
//! buffers; then that one's frames are dropped and counted, and the others never wait longer.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rings::Domain;
use rings::frame::Meta;
use rings::worker::Task;

use crate::connect::VifId;
use crate::queue::Queue;

/// How long a source is held for a destination without buffers.
pub(crate) const HOLD: Duration = Duration::from_millis(50);
/// Addresses learned at most: a guest that makes up addresses fills this table and nothing more.
const ADDRESSES: usize = 1024;

type Mac = [u8; 6];

/// A bridge.
#[derive(Debug)]
pub struct Bridge<D: Domain> {
    ports: Vec<Queue<D>>,
    /// Which vif an address was last seen on.
    learned: HashMap<Mac, VifId>,
    /// The port served first in the next turn, so that none is always last.
    turn: usize,
    /// Some frame waits for buffers.
    held: bool,
}

impl<D: Domain> Bridge<D> {
    /// A bridge without ports.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "an empty bridge is made on purpose")]
    pub fn new() -> Self {
        let (ports, learned) = (Vec::new(), HashMap::new());
        Self { ports, learned, turn: 0, held: false }
    }

    /// Joins a queue to the bridge.
    pub fn add(&mut self, queue: Queue<D>) {
        self.ports.push(queue);
    }

    /// Takes the queues of a vif out, and forgets its addresses.
    pub fn remove(&mut self, vif: VifId) -> Vec<Queue<D>> {
        self.learned.retain(|_, at| *at != vif);
        let (gone, stay) = self.ports.drain(..).partition(|q| q.vif() == vif);
        self.ports = stay;
        gone
    }

    /// The queues.
    pub fn ports(&self) -> &[Queue<D>] {
        &self.ports
    }

    /// Moves frames of one port until it has none, its budget is used up, or one is held.
    fn serve(&mut self, from: usize) -> bool {
        let mut any = false;
        for _ in 0..self.ports[from].batch() {
            let Some((to, source, len, meta)) = self.ports[from].peek_frame() else { break };
            if source[0] & 1 == 0 {
                self.learn(source, self.ports[from].vif());
            }
            let known = self.learned.get(&to).filter(|_| to[0] & 1 == 0).copied();
            if !self.may_go(from, known, len, meta) {
                self.held = true;
                break;
            }
            self.deliver(from, known);
            any = true;
        }
        any
    }

    fn learn(&mut self, address: Mac, at: VifId) {
        if self.learned.len() < ADDRESSES || self.learned.contains_key(&address) {
            self.learned.insert(address, at);
        }
    }

    /// Whether every destination has buffers, or has been waited for long enough.
    fn may_go(&mut self, from: usize, known: Option<VifId>, len: usize, meta: Meta) -> bool {
        let own = self.ports[from].vif();
        let mut now = None;
        let mut go = true;
        for port in &mut self.ports {
            if port.vif() == own || known.is_some_and(|vif| vif != port.vif()) {
                continue;
            }
            if port.broken().is_none() && !port.has_room(len, meta) {
                let now = *now.get_or_insert_with(Instant::now);
                go &= port.starved(true, now) >= HOLD;
            } else if port.is_starved() {
                port.starved(false, *now.get_or_insert_with(Instant::now));
            }
        }
        go
    }

    /// Gives the next frame of `from` to whom it is for: one vif, or all others.
    fn deliver(&mut self, from: usize, known: Option<VifId>) {
        let (before, rest) = self.ports.split_at_mut(from);
        let Some((source, after)) = rest.split_first_mut() else { return };
        let own = source.vif();
        let Some((frame, meta)) = source.next_frame() else { return };
        let mut reached = None;
        for port in before.iter_mut().chain(after) {
            let meant = known.is_none_or(|vif| vif == port.vif());
            // A vif of several queues gets the frame on its first.
            if port.vif() == own || !meant || reached == Some(port.vif()) {
                continue;
            }
            reached = Some(port.vif());
            if port.has_room(frame.len(), meta) {
                port.send(frame, meta);
            } else {
                port.drop_frame();
            }
        }
    }
}

impl<D: Domain> Task for Bridge<D> {
    fn work(&mut self) -> bool {
        self.held = false;
        let mut any = false;
        let count = self.ports.len();
        for n in 0..count {
            any |= self.serve((self.turn + n) % count);
        }
        self.turn = self.turn.wrapping_add(1);
        self.ports.iter_mut().for_each(Queue::flush);
        any
    }

    fn arm(&mut self, now: Instant) -> bool {
        let held = self.held;
        // Every port is armed, even when the first already has work.
        self.ports.iter_mut().fold(false, |work, port| port.arm(held, now) | work)
    }

    fn disarm(&mut self) -> bool {
        self.ports.iter_mut().fold(false, |came, port| port.disarm() | came)
    }

    fn settle(&mut self, worked: bool, now: Instant) {
        self.ports.iter_mut().for_each(|port| port.settle_event(worked, now));
    }

    fn patience(&self, now: Instant) -> Duration {
        let storms = self.ports.iter().map(|port| port.patience(now)).min();
        let storms = storms.unwrap_or(Duration::MAX);
        if self.held { storms.min(HOLD / 8) } else { storms }
    }

    fn finished(&self) -> bool {
        false
    }
}
