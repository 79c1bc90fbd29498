//! Sends every frame back to the guest it came from, with its Ethernet addresses exchanged.
//!
//! One source, one destination: a guest without buffers holds its own frames back, and nothing is
//! lost until netback's drain time is over.

use std::time::{Duration, Instant};

use rings::Domain;
use rings::worker::Task;
use tracer::traced;

use crate::queue::{Forward, Queue};

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
}

impl<D: Domain> Reflect<D> {
    /// A turn at `now`, which is asked for only when a frame is held.
    #[traced(quiet)]
    pub fn work_at(&mut self, now: impl Fn() -> Instant) -> bool {
        let mut any = false;
        for _ in 0..self.queue.batch() {
            let outcome = self.queue.reflect(exchange_addresses);
            self.held = outcome == Forward::Held;
            match outcome {
                Forward::Done => self.queue.fed(),
                Forward::Held if self.queue.starved.gives_up(now()) => {
                    let _ = self.queue.next_frame();
                    self.queue.drop_frame();
                }
                Forward::Held | Forward::Nothing => break,
            }
            any = true;
        }
        self.queue.flush();
        any
    }
}

impl<D: Domain> Task for Reflect<D> {
    fn work(&mut self) -> bool {
        self.work_at(Instant::now)
    }

    fn arm(&mut self, now: Instant) -> bool {
        self.queue.arm(self.held, now)
    }

    fn disarm(&mut self) -> bool {
        self.queue.disarm()
    }

    fn settle(&mut self, worked: bool, now: Instant) {
        self.queue.settle_event(worked, now);
    }

    fn patience(&self, now: Instant) -> Duration {
        self.queue.patience(now)
    }

    fn missed(&mut self) -> bool {
        self.queue.missed()
    }

    fn finished(&self) -> bool {
        self.queue.broken().is_some()
    }
}

fn exchange_addresses(frame: &mut [u8]) {
    if let Some((to, from)) = frame.get_mut(..12).and_then(|a| a.split_at_mut_checked(6)) {
        to.swap_with_slice(from);
    }
}
