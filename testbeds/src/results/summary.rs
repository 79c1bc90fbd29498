//! The figures of a run that are compared. Who fills them in counts where the thing happens.

use serde::{Deserialize, Serialize};

use super::latency::Latency;
use crate::units::float;

/// The figures of a run. An `op` is a frame for stream, udp and pktgen and a transaction for rr and crr.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Summary {
    /// Payload bits per second at the receiver.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throughput_bps: Option<f64>,
    /// Bits per second a real line would carry: 24 bytes more for each frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line_bps: Option<f64>,
    /// Frames per second at the receiver.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pps: Option<f64>,
    /// Requests per second of a disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iops: Option<f64>,
    /// Transactions per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transactions_per_s: Option<f64>,
    /// Latency of an op, microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_us: Option<Latency>,
    /// Payload bytes at the receiver.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Payload bytes that were compared with what was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_verified: Option<u64>,
    /// Ops that failed, wrong payload included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errors: Option<u64>,
    /// Frames that did not arrive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost: Option<u64>,
    /// Ops done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ops: Option<u64>,
    /// Notifications sent by both sides, per op.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notifies_per_op: Option<f64>,
    /// Pushes whose notification the event index made unnecessary.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notifies_suppressed: Option<u64>,
    /// Times a side was woken from sleep.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wakeups: Option<u64>,
    /// Work found after a long sleep of which no event had told: 0, unless an event was stolen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost_wakeups: Option<u64>,
    /// Times a port was kept masked because its events brought no work.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storm_delays: Option<u64>,
    /// Mean slots per push.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_mean: Option<f64>,
    /// Times a sender found no free slot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ring_full: Option<u64>,
    /// Times a queue was declared stalled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stalls: Option<u64>,
    /// Busy TSC cycles of both sides per op, spinning apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cycles_per_op: Option<f64>,
    /// TSC cycles both sides spent looking for work in vain, per op.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spin_cycles_per_op: Option<f64>,
    /// Heap allocations per op.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allocs_per_op: Option<f64>,
    /// System calls per op.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub syscalls_per_op: Option<f64>,
    /// Times each payload byte was copied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copies_per_byte: Option<f64>,
    /// Grant operations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grants: Option<Grants>,
    /// CPU time, in cores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Cpu>,
    /// Resident memory of all domains, bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rss_bytes: Option<u64>,
    /// Seconds measured, warm-up apart.
    pub seconds: f64,
}

/// Grant operations of the backend.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grants {
    /// Checked copies.
    pub copies: u64,
    /// Pages mapped.
    pub maps: u64,
    /// Pages unmapped.
    pub unmaps: u64,
}

/// CPU time of each side as the kernel counts it, in cores.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Cpu {
    /// All frontends.
    pub front: f64,
    /// The backend.
    pub back: f64,
}

/// A total per op; nothing where there was no op.
#[must_use]
pub fn per(total: u64, ops: u64) -> Option<f64> {
    (ops > 0).then(|| float(total) / float(ops))
}
