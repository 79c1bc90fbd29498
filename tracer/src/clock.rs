//! Cycles: the time-stamp counter and its rate.
//!
//! Used to stamp what is recorded, to account busy and spinning time, to spin for a modelled cost, and to
//! stop a spin after its budget. Wall-clock time of results comes from `std::time::Instant`, not from
//! here.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

use crate::format::Anchor;

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
        monotonic_ns()
    }
}

/// Reads the cycle counter once everything before has been read from memory. Without that a CPU may
/// read it while it still waits for the value that tells what another CPU did: the effect would come
/// before its cause.
#[inline(always)]
#[must_use]
pub fn cycles_after_loads() -> u64 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: LFENCE is part of SSE2, which every x86_64 CPU has.
    unsafe {
        core::arch::x86_64::_mm_lfence();
    }
    cycles()
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

/// Reads both clocks at one moment, as nearly as they can be: the closest of some attempts.
#[must_use]
pub fn anchor() -> Anchor {
    let attempt = |_| {
        let before = cycles_after_loads();
        let monotonic_ns = system_ns(ClockId::CLOCK_MONOTONIC);
        let width = cycles_after_loads().wrapping_sub(before);
        Anchor { ticks: before.wrapping_add(width / 2), monotonic_ns, realtime_ns: 0, width }
    };
    let best = (0..64).map(attempt).min_by_key(|anchor| anchor.width).unwrap_or_default();
    Anchor { realtime_ns: system_ns(ClockId::CLOCK_REALTIME), ..best }
}

/// Whether the counter runs at one rate in all states of the CPU and is the same on all of them, as the
/// kernel says: a counter that it has found to be unstable is none of its clocks any more. Where there is no
/// such counter [`cycles`] are nanoseconds.
pub(crate) fn is_steady() -> bool {
    const CLOCKS: &str = "/sys/devices/system/clocksource/clocksource0/available_clocksource";
    if cfg!(not(target_arch = "x86_64")) {
        return true;
    }
    let clocks = std::fs::read_to_string(CLOCKS);
    if clocks.is_ok_and(|all| !all.split_whitespace().any(|clock| clock == "tsc")) {
        return false;
    }
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let flags = text.lines().find(|line| line.starts_with("flags")).unwrap_or_default();
    ["constant_tsc", "nonstop_tsc"].iter().all(|flag| flags.split(' ').any(|word| word == *flag))
}

fn system_ns(clock: ClockId) -> u64 {
    // These clocks cannot fail.
    let time = clock_gettime(clock).map(Duration::from).unwrap_or_default();
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// `CLOCK_MONOTONIC`.
pub(crate) fn monotonic_ns() -> u64 {
    system_ns(ClockId::CLOCK_MONOTONIC)
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

    #[test]
    fn two_anchors_give_the_rate() {
        let (a, start) = (anchor(), Instant::now());
        while start.elapsed() < Duration::from_millis(20) {
            std::hint::spin_loop();
        }
        let b = anchor();
        assert!(b.realtime_ns > a.realtime_ns && b.monotonic_ns > a.monotonic_ns);
        let per_us = (b.ticks - a.ticks) * 1000 / (b.monotonic_ns - a.monotonic_ns);
        let ratio = f64::from(u32::try_from(per_us).expect("a rate"))
            / f64::from(u32::try_from(cycles_per_us()).expect("a rate"));
        // Both are measured; other programs may have come in between.
        assert!((0.8..1.25).contains(&ratio), "{ratio}");
    }
}
