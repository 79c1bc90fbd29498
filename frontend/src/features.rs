//! What we ask for, what the backend offers, and what both make of it.

use rings::csum::Blank;

/// What the guest wants of its vif.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wanted {
    /// Leave TCP and UDP checksums of what we send to others.
    pub csum_tx: bool,
    /// Take frames whose checksum is not filled in.
    pub csum_rx: bool,
    /// Send and take TCPv4 frames that stand for many segments.
    pub gso: bool,
    /// Send and take frames of more than one page.
    pub sg: bool,
    /// Pairs of rings.
    pub queues: u32,
}

/// What was agreed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Features {
    /// We send frames whose checksum is not filled in.
    pub csum_tx: bool,
    /// Those of IPv6 too.
    pub csum6_tx: bool,
    /// We take frames whose checksum is not filled in.
    pub csum_rx: bool,
    /// We send TCPv4 frames that stand for many segments.
    pub gso_tx: bool,
    /// We take TCPv4 frames that stand for many segments.
    pub gso_rx: bool,
    /// We send frames of more than one slot.
    pub sg: bool,
    /// A port for each ring instead of one for both.
    pub split: bool,
    /// Pairs of rings.
    pub queues: u32,
    /// Largest IP packet. Bytes.
    pub mtu: usize,
    /// Our address.
    pub mac: [u8; 6],
}

impl Features {
    /// Of which packets we leave the checksum to others.
    pub(crate) fn blank(&self) -> Blank {
        Blank { v4: self.csum_tx, v6: self.csum6_tx }
    }
}
