//! When to wake the other end: the inequality of `RING_PUSH_*_AND_CHECK_NOTIFY`, as a pure function.

/// Whether the event index lies in `(old, new]`, modulo 2^32: the other end asked to be woken when the
/// producer passes `event`, and this push, from `old` to `new`, passes it.
#[inline(always)]
#[must_use]
pub const fn must_notify(old: u32, new: u32, event: u32) -> bool {
    new.wrapping_sub(event) < new.wrapping_sub(old)
}

/// The answer of a push: whether the other end asked to be woken for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use = "a push that says notify and is not followed by a send leaves the other end asleep"]
pub enum Notify {
    /// Send on the event channel.
    Yes,
    /// The other end will look by itself.
    No,
}

impl Notify {
    #[inline(always)]
    pub(super) fn when(must: bool) -> Self {
        if must { Self::Yes } else { Self::No }
    }

    /// Counts this answer as one or the other; with `always` every push notifies.
    #[inline(always)]
    pub fn counted(self, always: bool, notifies: &mut u64, suppressed: &mut u64) -> Self {
        let notify = if always { Self::Yes } else { self };
        match notify {
            Self::Yes => *notifies += 1,
            Self::No => *suppressed += 1,
        }
        notify
    }
}

#[cfg(test)]
mod tests {
    use super::must_notify;

    #[test]
    fn exactly_the_events_in_the_window_notify() {
        const MAX: u32 = u32::MAX;
        for (old, new, event, expected) in [
            (0, 1, 1, true),
            (0, 1, 0, false),
            (0, 1, 2, false),
            (0, 32, 1, true),
            (0, 32, 32, true),
            (0, 32, 33, false),
            (5, 5, 5, false),
            (MAX - 1, 1, MAX, true),
            (MAX - 1, 1, 0, true),
            (MAX - 1, 1, 1, true),
            (MAX - 1, 1, MAX - 1, false),
            (MAX - 1, 1, 2, false),
            (MAX, 0, 0, true),
        ] {
            assert_eq!(must_notify(old, new, event), expected, "({old}, {new}] and {event}");
        }
    }
}
