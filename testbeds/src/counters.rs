//! The counters of a worker, by name: what goes into its block of the statistics segment, into
//! reports and into `summary`.

use rings_host::Block;
use serde::{Deserialize, Serialize};

/// Most are: a report leaves them out, and has room in a node of the store.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counters of one worker; all only grow.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default)]
        pub struct Counters {
            $($(#[$doc])* #[serde(skip_serializing_if = "is_zero")] pub $name: u64,)*
        }

        impl Counters {
            /// Names, in the order of the block.
            pub const NAMES: &[&str] = &[$(stringify!($name)),*];

            fn values(&self) -> [u64; Self::NAMES.len()] {
                [$(self.$name),*]
            }

            fn from_values(values: [u64; Self::NAMES.len()]) -> Self {
                let [$($name),*] = values;
                Self { $($name),* }
            }
        }
    };
}

counters! {
    /// Frames handed to the other domain.
    frames_out,
    /// Their bytes.
    bytes_out,
    /// Of them, frames that stand for many segments.
    gso_out,
    /// Frames taken from the other domain.
    frames_in,
    /// Their bytes.
    bytes_in,
    /// Of them, frames that stand for many segments.
    gso_in,
    /// Payload bytes the workload took.
    payload,
    /// Operations the workload finished.
    ops,
    /// Frames that failed.
    errors,
    /// Frames dropped for want of buffers.
    dropped,
    /// Times a queue stalled: its guest had no buffers for too long.
    stalls,
    /// Frames of a guest that had to wait for credit.
    rate_limited,
    /// Frames lost on purpose.
    lost,
    /// Times slots were published.
    pushes,
    /// Slots published.
    pushed,
    /// Events sent. Those that found their port pending or masked rang no doorbell: `syscalls` has those that did.
    notifies,
    /// Pushes for which the other end had not asked to be woken.
    suppressed,
    /// Times a sleep ended.
    wakeups,
    /// Times a frame waited for slots or pages.
    ring_full,
    /// Copies through grants.
    copies,
    /// Bytes copied: through grants, and out of granted pages.
    copied_bytes,
    /// Grants mapped.
    maps,
    /// Grants unmapped.
    unmaps,
    /// System calls: doorbells, sleeps, mappings.
    syscalls,
    /// Times a port was kept masked because its events brought no work.
    storm_delays,
    /// Work found after a long sleep of which no event had told.
    lost_wakeups,
    /// Cycles doing something.
    busy_cycles,
    /// Cycles looking and finding nothing.
    spin_cycles,
    /// Cycles asleep.
    sleep_cycles,
    /// Allocations of the process.
    allocs,
    /// Nanoseconds the cost model charged.
    cost_ns,
    /// Checksums completed in software.
    completed,
    /// Frames cut into segments in software.
    segmented,
    /// Events of consoles taken against a limit.
    events,
    /// Times a console's port was left masked until a period was over.
    limited,
    /// Flushes of a disk that were begun.
    flushes,
    /// Requests of a disk with their segments in pages of their own.
    indirect,
    /// Segments of all requests of a disk.
    segments,
    /// Times all requests that a disk's backend allows in flight were.
    out_of_requests,
    /// Requests that were taken while so many were in flight, themselves included: this one alone.
    depth_1,
    /// Two or three.
    depth_2,
    /// 4 to 7.
    depth_4,
    /// 8 to 15.
    depth_8,
    /// 16 to 31.
    depth_16,
    /// 32 to 63.
    depth_32,
    /// 64 and more.
    depth_64,
    /// Blocks that were written and read again at the end.
    read_back,
    /// Blocks that are to be, so far as that is known.
    to_read_back,
}

impl Counters {
    /// What was added since `then`.
    #[must_use]
    pub fn since(&self, then: &Self) -> Self {
        self.zip(then, u64::saturating_sub)
    }

    /// Whichever is more, of two views of the same.
    #[must_use]
    pub fn most(&self, other: &Self) -> Self {
        self.zip(other, u64::max)
    }

    /// A disk's requests by how many were in flight, from `depth_1` on.
    #[must_use]
    pub fn depth(&self) -> [u64; 7] {
        let c = self;
        [c.depth_1, c.depth_2, c.depth_4, c.depth_8, c.depth_16, c.depth_32, c.depth_64]
    }

    /// The same counters with this for [`depth`](Self::depth).
    #[must_use]
    pub fn with_depth(self, depth: [u64; 7]) -> Self {
        let [depth_1, depth_2, depth_4, depth_8, depth_16, depth_32, depth_64] = depth;
        Self { depth_1, depth_2, depth_4, depth_8, depth_16, depth_32, depth_64, ..self }
    }

    /// Both together.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        self.zip(other, u64::saturating_add)
    }

    fn zip(&self, other: &Self, f: impl Fn(u64, u64) -> u64) -> Self {
        let (mut a, b) = (self.values(), other.values());
        a.iter_mut().zip(b).for_each(|(a, b)| *a = f(*a, b));
        Self::from_values(a)
    }

    /// Writes all into a block of ours.
    pub fn publish(&self, block: &Block) {
        for (counter, value) in self.values().into_iter().enumerate() {
            block.set(counter, value);
        }
    }

    /// Reads a block, ours or another's.
    #[must_use]
    pub fn read(block: &Block) -> Self {
        Self::from_values(std::array::from_fn(|counter| block.get(counter)))
    }
}

const _: () = assert!(Counters::NAMES.len() <= Block::COUNTERS);
