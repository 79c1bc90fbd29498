//! A learning bridge between the queues of one worker.
//!
//! Where one source feeds several destinations, it is held at most [`HOLD`] for one that has no
//! buffers; then that one's frames are dropped and counted, and the others never wait longer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rings::Domain;
use rings::frame::Meta;
use rings::worker::Task;
use tracer::traced;

use crate::queue::Queue;
use crate::vif::VifId;

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
}

impl<D: Domain> Bridge<D> {
    /// A bridge without ports.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "an empty bridge is made on purpose")]
    pub fn new() -> Self {
        let (ports, learned) = (Vec::new(), HashMap::new());
        Self { ports, learned }
    }

    /// Takes the queues of a vif out, and forgets its addresses.
    fn remove(&mut self, vif: VifId) -> Vec<Queue<D>> {
        self.learned.retain(|_, at| *at != vif);
        let (gone, stay) = self.ports.drain(..).partition(|q| q.vif() == vif);
        self.ports = stay;
        gone
    }

    /// Moves frames of this vif, and publishes what was moved.
    #[traced(quiet)]
    fn turn(&mut self, vif: VifId) -> Turn {
        let mut turn = Turn::default();
        for from in 0..self.ports.len() {
            if self.ports[from].vif() == vif {
                self.serve(from, &mut turn);
            }
        }
        self.ports.iter_mut().for_each(Queue::flush);
        turn
    }

    /// Moves frames of one port until it has none, its budget is used up, or one is held.
    fn serve(&mut self, from: usize, turn: &mut Turn) {
        for _ in 0..self.ports[from].batch() {
            let Some((to, source, len, meta)) = self.ports[from].peek_frame() else { break };
            if source[0] & 1 == 0 {
                self.learn(source, self.ports[from].vif());
            }
            let known = self.learned.get(&to).filter(|_| to[0] & 1 == 0).copied();
            if !self.may_go(from, known, len, meta) {
                turn.held = true;
                break;
            }
            self.deliver(from, known);
            turn.moved = true;
        }
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

/// What came of serving a vif.
#[derive(Clone, Copy, Debug, Default)]
struct Turn {
    /// Frames were moved.
    moved: bool,
    /// One waits for the buffers of another vif.
    held: bool,
}

/// One vif's place on a bridge: the task that serves it.
///
/// All ports of a bridge belong to one worker, so the lock is never waited for.
#[derive(Debug)]
pub struct BridgePort<D: Domain> {
    bridge: Arc<Mutex<Bridge<D>>>,
    vif: VifId,
    /// A frame of this vif waits for the buffers of another.
    held: bool,
}

impl<D: Domain> BridgePort<D> {
    /// Joins a queue to a bridge.
    pub fn join(bridge: &Arc<Mutex<Bridge<D>>>, queue: Queue<D>) -> Self {
        let vif = queue.vif();
        let port = Self { bridge: Arc::clone(bridge), vif, held: false };
        port.lock().ports.push(queue);
        port
    }

    /// Takes the queues of this vif off the bridge.
    #[must_use]
    pub fn leave(self) -> Vec<Queue<D>> {
        self.lock().remove(self.vif)
    }

    /// Looks at this vif's queue.
    pub fn with<R>(&self, look: impl FnOnce(&Queue<D>) -> R) -> Option<R> {
        self.lock().ports.iter().find(|q| q.vif() == self.vif).map(look)
    }

    fn lock(&self) -> MutexGuard<'_, Bridge<D>> {
        self.bridge.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This vif's queues, as far as they are on the bridge.
    fn each(&self, mut f: impl FnMut(&mut Queue<D>)) {
        self.lock().ports.iter_mut().filter(|q| q.vif() == self.vif).for_each(&mut f);
    }
}

impl<D: Domain> Task for BridgePort<D> {
    fn work(&mut self) -> bool {
        let turn = self.lock().turn(self.vif);
        self.held = turn.held;
        turn.moved
    }

    fn arm(&mut self, now: Instant) -> bool {
        // Held frames wait for buffers of another vif, whose port knows that it is waited for.
        let mut work = false;
        self.each(|queue| work |= queue.arm(false, now));
        work
    }

    fn disarm(&mut self) -> bool {
        let mut came = false;
        self.each(|queue| came |= queue.disarm());
        came
    }

    fn settle(&mut self, worked: bool, now: Instant) {
        self.each(|queue| queue.settle_event(worked, now));
    }

    fn patience(&self, now: Instant) -> Duration {
        let storm = self.with(|queue| queue.patience(now)).unwrap_or(Duration::MAX);
        if self.held { storm.min(HOLD / 8) } else { storm }
    }

    fn missed(&mut self) -> bool {
        let mut any = false;
        self.each(|queue| any |= queue.missed());
        any
    }

    fn finished(&self) -> bool {
        self.with(|queue| queue.broken().is_some()).unwrap_or(true)
    }
}
