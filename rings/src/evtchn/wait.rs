//! How long to look before sleeping: the three wait policies.

use std::time::Duration;

use tracer::clock::{cycles, ns_to_cycles};

/// What a worker does when it finds nothing to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum WaitPolicy {
    /// Spin for a budget, then arm the event, look again, and sleep.
    #[default]
    Adaptive,
    /// Arm the event, look again, and sleep at once.
    Event,
    /// Never arm, never sleep; but let others have the CPU after some empty looks.
    Poll,
}

/// What to do now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// Look again.
    Look,
    /// Arm the events and sleep.
    Sleep,
}

/// One worker's idle loop.
#[derive(Debug)]
pub struct Spin {
    policy: WaitPolicy,
    budget: u64,
    /// Whether the other domain runs on this very CPU: then spinning only keeps it from working.
    shared_cpu: bool,
    idle_since: Option<u64>,
    /// When the last look began. Only kept while idle.
    looked: u64,
    looks: u32,
    spun: u64,
}

impl Spin {
    /// Empty looks between two reads of the clock: a read costs as much as several looks.
    const LOOKS_PER_CLOCK: u32 = 16;
    /// Empty looks before a polling worker lets others run.
    const LOOKS_PER_YIELD: u32 = 256;

    /// Times a worker on a shared CPU lets others run before it sleeps: when it is its turn again,
    /// what it waits for has often come, without an event and a wake-up.
    const YIELDS: u32 = 2;

    /// An idle loop that spins at most `budget` before it sleeps. With `shared_cpu` it does not
    /// spin at all, since what it waits for can only happen once it has left the CPU: it yields.
    #[must_use]
    pub fn new(policy: WaitPolicy, budget: Duration, shared_cpu: bool) -> Self {
        let ns = u64::try_from(budget.as_nanos()).unwrap_or(u64::MAX);
        let budget = ns_to_cycles(ns);
        Self { policy, budget, shared_cpu, idle_since: None, looked: 0, looks: 0, spun: 0 }
    }

    /// A look begins. While idle this is where spinning ends, if the look finds something: what it
    /// does then is work.
    #[inline(always)]
    pub fn look(&mut self) {
        if self.idle_since.is_some() {
            self.looked = cycles();
        }
    }

    /// There was work.
    #[inline(always)]
    pub fn busy(&mut self) {
        if let Some(since) = self.idle_since.take() {
            self.spun += self.looked.wrapping_sub(since);
        }
        self.looks = 0;
    }

    /// There was none: look again, or sleep?
    #[inline]
    pub fn idle(&mut self) -> Next {
        // Whoever sleeps at once does not spin, but has looked.
        if self.policy == WaitPolicy::Event {
            tracer::spinning!("look");
        } else {
            tracer::spinning!("spin");
        }
        let since = *self.idle_since.get_or_insert_with(cycles);
        self.looks = self.looks.wrapping_add(1);
        match self.policy {
            WaitPolicy::Event => Next::Sleep,
            WaitPolicy::Adaptive if self.shared_cpu => {
                if self.looks > Self::YIELDS {
                    Next::Sleep
                } else {
                    std::thread::yield_now();
                    Next::Look
                }
            }
            WaitPolicy::Adaptive => {
                std::hint::spin_loop();
                let due = self.looks.is_multiple_of(Self::LOOKS_PER_CLOCK);
                if due && cycles().wrapping_sub(since) > self.budget {
                    Next::Sleep
                } else {
                    Next::Look
                }
            }
            WaitPolicy::Poll => {
                if self.shared_cpu || self.looks.is_multiple_of(Self::LOOKS_PER_YIELD) {
                    std::thread::yield_now();
                } else {
                    std::hint::spin_loop();
                }
                Next::Look
            }
        }
    }

    /// Whether this policy sleeps at all.
    #[must_use]
    pub fn sleeps(&self) -> bool {
        self.policy != WaitPolicy::Poll
    }

    /// Going to sleep: what was spun until here counts as spinning, the sleep does not.
    pub fn sleeping(&mut self) {
        self.look();
        self.busy();
    }

    /// Cycles spent looking without finding anything, so far.
    #[must_use]
    pub fn spun(&self) -> u64 {
        self.spun
    }
}
