//! What one queue has done so far: plain counters, counted where the thing happens.

/// Counters of one queue; all only grow.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stats {
    /// Frames taken from the guest.
    pub tx_frames: u64,
    /// Their bytes.
    pub tx_bytes: u64,
    /// Of them, frames that stood for many segments.
    pub tx_gso: u64,
    /// Slots they took.
    pub tx_slots: u64,
    /// Frames answered with an error.
    pub tx_errors: u64,
    /// Frames given to the guest.
    pub rx_frames: u64,
    /// Their bytes.
    pub rx_bytes: u64,
    /// Of them, frames that stand for many segments.
    pub rx_gso: u64,
    /// Frames whose copy into the guest's pages failed.
    pub rx_errors: u64,
    /// Frames dropped because the guest had no buffers for too long.
    pub rx_dropped: u64,
    /// Frames of the guest lost on purpose.
    pub tx_lost: u64,
    /// Times responses were published, on either ring.
    pub pushes: u64,
    /// Responses published.
    pub pushed: u64,
    /// Pushes for which the guest asked to be woken.
    pub notifies: u64,
    /// Pushes for which it did not.
    pub suppressed: u64,
    /// Times a frame for the guest had to wait for buffers.
    pub ring_full: u64,
    /// Checksums completed in software.
    pub completed: u64,
    /// Frames cut into segments in software.
    pub segmented: u64,
}
