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
    /// How long it spins at first. Cycles.
    least: u64,
    /// How long it spins now.
    budget: u64,
    /// When the clock was last read while spinning.
    clock: u64,
    /// Until when it is known that others want this CPU too.
    wary_until: u64,
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

    /// Times its first budget that it spins at most, where that spares it short sleeps.
    const GROWTH: u64 = 10;
    /// So long between two reads of the clock, which are a few looks or one yield apart: somebody has
    /// had the CPU who is not of the lab.
    const PREEMPTED_NS: u64 = 500_000;
    /// How long that is remembered.
    const WARY_NS: u64 = 200_000_000;

    /// An idle loop that spins for `budget` before it sleeps; where sleeps turn out to be short, for
    /// longer. With `shared_cpu` it does not spin at all, since what it waits for can only happen once
    /// it has left the CPU: it yields.
    #[must_use]
    pub fn new(policy: WaitPolicy, budget: Duration, shared_cpu: bool) -> Self {
        let ns = u64::try_from(budget.as_nanos()).unwrap_or(u64::MAX);
        let budget = ns_to_cycles(ns);
        Self {
            policy,
            least: budget,
            budget,
            clock: 0,
            wary_until: 0,
            shared_cpu,
            idle_since: None,
            looked: 0,
            looks: 0,
            spun: 0,
        }
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
        // Whoever sleeps at once does not spin.
        if self.policy != WaitPolicy::Event {
            tracer::spinning!("spin");
        }
        let since = match self.idle_since {
            Some(since) => since,
            None => self.begin_idle(cycles()),
        };
        self.looks = self.looks.wrapping_add(1);
        match self.policy {
            WaitPolicy::Event => Next::Sleep,
            WaitPolicy::Adaptive if self.shared_cpu => {
                if self.looks > Self::YIELDS || since < self.wary_until {
                    return Next::Sleep;
                }
                self.clock = cycles();
                std::thread::yield_now();
                self.clock_read(cycles());
                Next::Look
            }
            WaitPolicy::Adaptive => {
                std::hint::spin_loop();
                if !self.looks.is_multiple_of(Self::LOOKS_PER_CLOCK) {
                    return Next::Look;
                }
                let now = cycles();
                self.clock_read(now);
                if now.wrapping_sub(since) > self.budget { Next::Sleep } else { Next::Look }
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

    fn begin_idle(&mut self, now: u64) -> u64 {
        (self.idle_since, self.clock) = (Some(now), now);
        now
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

    /// It slept for so many cycles, until `now`. If a little more patience would have spared it that,
    /// the next time is worth twice as much of it; after a long sleep it has as much as at first. KVM's
    /// halt polling learns so too: being woken costs more than a short sleep saves.
    pub fn slept(&mut self, cycles: u64, now: u64) {
        let most = self.least.saturating_mul(Self::GROWTH);
        let short = self.budget.saturating_add(cycles) <= most;
        let grown = self.budget.saturating_mul(2).min(most);
        self.budget = if short && now >= self.wary_until { grown } else { self.least };
    }

    /// The clock was read while spinning or after a yield. If that is long after the last time, others
    /// want this CPU: who spins or yields gets it back later than a sleeper that is woken.
    #[inline]
    fn clock_read(&mut self, now: u64) {
        let last = std::mem::replace(&mut self.clock, now);
        if now.wrapping_sub(last) > ns_to_cycles(Self::PREEMPTED_NS) {
            (self.budget, self.wary_until) = (self.least, now + ns_to_cycles(Self::WARY_NS));
        }
    }

    /// Cycles spent looking without finding anything, so far.
    #[must_use]
    pub fn spun(&self) -> u64 {
        self.spun
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: Duration = Duration::from_micros(50);
    /// Somewhen.
    const NOW: u64 = 1 << 40;

    fn spin() -> (Spin, u64) {
        (Spin::new(WaitPolicy::Adaptive, LEAST, false), ns_to_cycles(50_000))
    }

    fn sleeps(spin: &mut Spin, cycles: u64, now: u64) {
        (0..9).for_each(|_| spin.slept(cycles, now));
    }

    #[test]
    fn short_sleeps_are_spared_and_long_ones_are_slept() {
        let (mut spin, least) = spin();
        assert_eq!(spin.budget, least);
        sleeps(&mut spin, least, NOW);
        assert!(spin.budget > 8 * least && spin.budget <= 10 * least, "{}", spin.budget);
        spin.slept(20 * least, NOW);
        assert_eq!(spin.budget, least, "as at first");
        sleeps(&mut spin, 11 * least, NOW);
        assert_eq!(spin.budget, least);
    }

    #[test]
    fn whoever_may_not_spin_never_begins_to() {
        let mut spin = Spin::new(WaitPolicy::Adaptive, Duration::ZERO, false);
        sleeps(&mut spin, 0, NOW);
        assert_eq!(spin.budget, 0);
    }

    #[test]
    fn a_cpu_that_others_want_is_not_spun_on_for_longer() {
        let (mut spin, least) = spin();
        sleeps(&mut spin, least, NOW);
        spin.begin_idle(NOW);
        spin.clock_read(NOW + 100);
        assert!(spin.budget > 8 * least);
        let later = NOW + 100 + ns_to_cycles(Spin::PREEMPTED_NS) + 1;
        spin.clock_read(later);
        assert_eq!(spin.budget, least);
        sleeps(&mut spin, least, later);
        assert_eq!(spin.budget, least, "not so soon");
        sleeps(&mut spin, least, later + ns_to_cycles(Spin::WARY_NS));
        assert!(spin.budget > 8 * least, "later again");
    }

    #[test]
    fn who_shares_a_cpu_with_strangers_sleeps_at_once() {
        let mut spin = Spin::new(WaitPolicy::Adaptive, LEAST, true);
        assert_eq!(spin.idle(), Next::Look, "a yield first");
        spin.wary_until = u64::MAX;
        assert_eq!(spin.idle(), Next::Sleep);
    }
}
