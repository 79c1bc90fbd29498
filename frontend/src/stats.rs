//! What one queue has done so far: plain counters, counted where the thing happens.

/// Counters of one queue; all only grow.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stats {
    /// Frames put on the tx ring.
    pub tx_frames: u64,
    /// Their bytes.
    pub tx_bytes: u64,
    /// Of them, frames that stand for many segments.
    pub tx_gso: u64,
    /// Slots they took.
    pub tx_slots: u64,
    /// Frames the backend answered with an error.
    pub tx_errors: u64,
    /// Frames taken from the rx ring.
    pub rx_frames: u64,
    /// Their bytes.
    pub rx_bytes: u64,
    /// Of them, frames that stood for many segments.
    pub rx_gso: u64,
    /// Frames the backend delivered with an error, or whose checksum was wrong.
    pub rx_errors: u64,
    /// Times requests were published, on either ring.
    pub pushes: u64,
    /// Requests published.
    pub pushed: u64,
    /// Pushes for which the backend asked to be woken.
    pub notifies: u64,
    /// Pushes for which it did not.
    pub suppressed: u64,
    /// Times a frame had to wait because the tx ring or its pages were all taken.
    pub ring_full: u64,
    /// Bytes copied out of granted pages.
    pub copied: u64,
}
