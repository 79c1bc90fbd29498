//! A learning bridge between the queues of one worker.
//!
//! Where one source feeds several destinations, it is held at most [`HOLD`] for one that has no
//! buffers; then that one's frames are dropped and counted, and the others never wait longer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rings::frame::Meta;
use rings::weaken::{Check, skipped};
use rings::worker::Task;
use rings::{Domain, Port};
use tracer::traced;

use crate::queue::Queue;
use crate::vif::VifId;

/// How long a source is held for a destination without buffers.
pub(crate) const HOLD: Duration = Duration::from_millis(50);
/// Addresses learned of one vif: a guest that makes up more uses up nobody's share but its own.
const ADDRESSES: u32 = 64;

type Mac = [u8; 6];

/// A bridge.
#[derive(Debug)]
pub struct Bridge<D: Domain> {
    ports: Vec<Queue<D>>,
    /// Which vif an address was last seen on.
    learned: HashMap<Mac, VifId>,
    /// How many addresses are learned of each.
    shares: HashMap<VifId, u32>,
}

impl<D: Domain> Bridge<D> {
    /// A bridge without ports.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "an empty bridge is made on purpose")]
    pub fn new() -> Self {
        Self { ports: Vec::new(), learned: HashMap::new(), shares: HashMap::new() }
    }

    /// Where the queue with this port is.
    fn find(&self, port: Port) -> Option<usize> {
        self.ports.iter().position(|queue| queue.ports.tx().port() == port)
    }

    /// Takes a queue out. With the last one of its vif its addresses are forgotten.
    fn remove(&mut self, port: Port) -> Option<Queue<D>> {
        let queue = self.ports.remove(self.find(port)?);
        let vif = queue.vif();
        if self.ports.iter().all(|other| other.vif() != vif) {
            self.learned.retain(|_, at| *at != vif);
            self.shares.remove(&vif);
        }
        Some(queue)
    }

    /// Moves frames of one queue, and publishes what was moved.
    #[traced(quiet)]
    fn turn(&mut self, port: Port, now: &dyn Fn() -> Instant) -> Turn {
        let mut turn = Turn::default();
        if let Some(from) = self.find(port) {
            self.serve(from, now, &mut turn);
        }
        self.ports.iter_mut().for_each(Queue::flush);
        turn
    }

    /// Moves frames of one port until it has none, its budget is used up, or one is held.
    fn serve(&mut self, from: usize, now: &dyn Fn() -> Instant, turn: &mut Turn) {
        for _ in 0..self.ports[from].batch() {
            let Some((to, source, len, meta)) = self.ports[from].peek_frame() else { break };
            if source[0] & 1 == 0 {
                self.learn(source, self.ports[from].vif());
            }
            let known = self.learned.get(&to).filter(|_| to[0] & 1 == 0).copied();
            if !self.may_go(from, known, (len, meta), now) {
                turn.held = true;
                break;
            }
            self.deliver(from, known);
            turn.moved = true;
        }
    }

    fn learn(&mut self, address: Mac, at: VifId) {
        if self.learned.get(&address) == Some(&at) {
            return;
        }
        let share = self.shares.entry(at).or_default();
        if *share >= ADDRESSES && !skipped(Check::Addresses) {
            return;
        }
        *share += 1;
        if let Some(before) = self.learned.insert(address, at)
            && let Some(share) = self.shares.get_mut(&before)
        {
            *share -= 1;
        }
    }

    /// Whether every destination has buffers, or has been waited for long enough.
    fn may_go(
        &mut self,
        from: usize,
        known: Option<VifId>,
        (len, meta): (usize, Meta),
        clock: &dyn Fn() -> Instant,
    ) -> bool {
        let own = self.ports[from].vif();
        let mut now = None;
        let mut go = true;
        for port in &mut self.ports {
            if port.vif() == own || known.is_some_and(|vif| vif != port.vif()) {
                continue;
            }
            if port.broken().is_none() && !port.has_room(len, meta) {
                let now = *now.get_or_insert_with(clock);
                go &= port.starved(true, now) >= HOLD && !skipped(Check::Hold);
            } else if port.is_starved() {
                port.starved(false, *now.get_or_insert_with(clock));
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

/// What came of serving a queue.
#[derive(Clone, Copy, Debug, Default)]
struct Turn {
    /// Frames were moved.
    moved: bool,
    /// One waits for the buffers of another vif.
    held: bool,
}

/// One queue's place on a bridge: the task that serves it.
///
/// All ports of a bridge belong to one worker, so the lock is never waited for.
#[derive(Debug)]
pub struct BridgePort<D: Domain> {
    bridge: Arc<Mutex<Bridge<D>>>,
    /// The queue's own: no other of this domain has it.
    port: Port,
    /// A frame of this queue waits for the buffers of another.
    held: bool,
}

impl<D: Domain> BridgePort<D> {
    /// Joins a queue to a bridge.
    pub fn join(bridge: &Arc<Mutex<Bridge<D>>>, queue: Queue<D>) -> Self {
        let place = Self { bridge: Arc::clone(bridge), port: queue.ports.tx().port(), held: false };
        place.lock().ports.push(queue);
        place
    }

    /// A turn at `now`, which is asked for only when somebody has no buffers.
    pub fn work_at(&mut self, now: impl Fn() -> Instant) -> bool {
        let turn = self.lock().turn(self.port, &now);
        self.held = turn.held;
        turn.moved
    }

    /// Takes the queue off the bridge.
    #[must_use]
    pub fn leave(self) -> Option<Queue<D>> {
        self.lock().remove(self.port)
    }

    /// Looks at the queue.
    pub fn with<R>(&self, look: impl FnOnce(&Queue<D>) -> R) -> Option<R> {
        let bridge = self.lock();
        bridge.find(self.port).map(|at| look(&bridge.ports[at]))
    }

    fn lock(&self) -> MutexGuard<'_, Bridge<D>> {
        self.bridge.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with the queue.
    fn with_mut<R>(&self, act: impl FnOnce(&mut Queue<D>) -> R) -> Option<R> {
        let mut bridge = self.lock();
        bridge.find(self.port).map(|at| act(&mut bridge.ports[at]))
    }
}

impl<D: Domain> Task for BridgePort<D> {
    fn work(&mut self) -> bool {
        self.work_at(Instant::now)
    }

    fn arm(&mut self, now: Instant) -> bool {
        // Held frames wait for buffers of another vif, whose port knows that it is waited for.
        self.with_mut(|queue| queue.arm(false, now)).unwrap_or_default()
    }

    fn disarm(&mut self) -> bool {
        self.with_mut(Queue::disarm).unwrap_or_default()
    }

    fn settle(&mut self, worked: bool, now: Instant) {
        self.with_mut(|queue| {
            // Buffers that another vif waits for are worth an event, though they are no work of ours.
            let fed = queue.is_starved() && queue.has_room(1, Meta::default());
            queue.settle_event(worked || fed, now);
        });
    }

    fn patience(&self, now: Instant) -> Duration {
        let storm = self.with(|queue| queue.patience(now)).unwrap_or(Duration::MAX);
        if self.held { storm.min(HOLD / 8) } else { storm }
    }

    fn missed(&mut self) -> bool {
        self.with_mut(Queue::missed).unwrap_or_default()
    }

    fn finished(&self) -> bool {
        self.with(|queue| queue.broken().is_some()).unwrap_or(true)
    }
}
