//! Cycles: the time-stamp counter and its rate.
//!
//! Used to account busy and spinning time, to spin for a modelled cost, and to stop a spin after
//! its budget. Wall-clock time of results comes from `std::time::Instant`, not from here.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Reads the cycle counter. Not serialising: neighbouring instructions may move across it.
#[inline(always)]
#[must_use]
pub fn cycles() -> u64 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: RDTSC has no memory effects; it exists on every x86_64 CPU and Linux leaves it
    // enabled for user space (PR_SET_TSC is opt-in).
    unsafe {
        core::arch::x86_64::_rdtsc()
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        u64::try_from(origin().elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Cycles per microsecond of this machine, measured once (takes 5 ms the first time).
#[must_use]
pub fn cycles_per_us() -> u64 {
    static RATE: OnceLock<u64> = OnceLock::new();
    *RATE.get_or_init(|| {
        if cfg!(not(target_arch = "x86_64")) {
            return 1000;
        }
        let (t0, c0) = (Instant::now(), cycles());
        while t0.elapsed() < Duration::from_millis(5) {
            std::hint::spin_loop();
        }
        let (elapsed, spent) = (t0.elapsed(), cycles().wrapping_sub(c0));
        let ns = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
        (spent.saturating_mul(1000) / ns.max(1)).max(1)
    })
}

/// Converts nanoseconds to cycles of [`cycles`].
#[must_use]
pub fn ns_to_cycles(ns: u64) -> u64 {
    ns.saturating_mul(cycles_per_us()) / 1000
}

#[cfg(not(target_arch = "x86_64"))]
fn origin() -> &'static Instant {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    ORIGIN.get_or_init(Instant::now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_moves_forward_and_has_a_rate() {
        let a = cycles();
        assert!(cycles_per_us() >= 100, "slower than 100 MHz is not a CPU of this century");
        assert!(cycles() > a);
        assert_eq!(ns_to_cycles(1000), cycles_per_us());
    }
}
