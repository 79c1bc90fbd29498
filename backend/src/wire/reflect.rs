//! Sends every frame back to the guest it came from, with its Ethernet addresses exchanged.
//!
//! One source, one destination: a guest without buffers holds its own frames back, nothing is lost.

use std::time::{Duration, Instant};

use rings::Domain;
use rings::worker::Task;

use crate::queue::Queue;

/// A queue whose frames go back.
#[derive(Debug)]
pub struct Reflect<D: Domain> {
    /// The queue.
    pub queue: Queue<D>,
    /// A frame waits for the guest's buffers.
    held: bool,
}

impl<D: Domain> Reflect<D> {
    /// Reflects the frames of `queue`.
    pub fn new(queue: Queue<D>) -> Self {
        Self { queue, held: false }
    }

    fn reflect(&mut self) -> bool {
        let Some((mut frame, meta)) = self.queue.take_frame() else { return false };
        if !self.queue.has_room(frame.len(), meta) {
            self.queue.give_back(frame);
            self.queue.put_back();
            self.held = true;
            return false;
        }
        if let Some((to, from)) = frame.get_mut(..12).and_then(|a| a.split_at_mut_checked(6)) {
            to.swap_with_slice(from);
        }
        self.queue.send(&mut frame, meta);
        self.queue.give_back(frame);
        true
    }
}

impl<D: Domain> Task for Reflect<D> {
    fn work(&mut self) -> bool {
        self.held = false;
        let mut any = false;
        for _ in 0..self.queue.batch {
            if !self.reflect() {
                break;
            }
            any = true;
        }
        self.queue.flush();
        any
    }

    fn arm(&mut self, now: Instant) -> bool {
        let held = self.held;
        // Frames held back are no reason to stay awake: only buffers are.
        self.queue.arm(held, now) && !held || self.queue.has_full_room() && held
    }

    fn disarm(&mut self) -> bool {
        self.queue.disarm()
    }

    fn settle(&mut self, worked: bool, now: Instant) {
        self.queue.settle_event(worked, now);
    }

    fn patience(&self, now: Instant) -> Duration {
        self.queue.masked_until(now).map_or(Duration::MAX, |until| until - now)
    }

    fn finished(&self) -> bool {
        self.queue.broken().is_some()
    }
}
