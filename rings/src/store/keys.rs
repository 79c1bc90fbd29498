//! The keys of the vif and vbd handshakes, spelled as Linux and libxl spell them (netif.h, blkif.h,
//! libxl).
//!
//! Only names. Who writes which and when is told by the drivers; generic keys of every split
//! driver are at the end. A frontend with more than one queue puts the keys of a queue below
//! [`queue`].

/// Both: packets of more than one slot.
pub const FEATURE_SG: &str = "feature-sg";
/// Both: TCPv4 segmentation offload.
pub const FEATURE_GSO_TCPV4: &str = "feature-gso-tcpv4";
/// Both: TCPv6 segmentation offload.
pub const FEATURE_GSO_TCPV6: &str = "feature-gso-tcpv6";
/// Front: "1" if it does *not* take packets with a blank IPv4 checksum.
pub const FEATURE_NO_CSUM_OFFLOAD: &str = "feature-no-csum-offload";
/// Both: packets with a blank IPv6 checksum are taken.
pub const FEATURE_IPV6_CSUM_OFFLOAD: &str = "feature-ipv6-csum-offload";
/// Back: copies into the guest's pages; needed today.
pub const FEATURE_RX_COPY: &str = "feature-rx-copy";
/// Back: page flipping; dead, "0".
pub const FEATURE_RX_FLIP: &str = "feature-rx-flip";
/// Front: wants copying; needed today.
pub const REQUEST_RX_COPY: &str = "request-rx-copy";
/// Front: notifies when it posts rx buffers.
pub const FEATURE_RX_NOTIFY: &str = "feature-rx-notify";
/// Back: one port per direction is possible.
pub const FEATURE_SPLIT_EVENT_CHANNELS: &str = "feature-split-event-channels";
/// Back: MCAST_ADD and MCAST_DEL extras are understood.
pub const FEATURE_MULTICAST_CONTROL: &str = "feature-multicast-control";
/// Back: `request-multicast-control` may change while connected.
pub const FEATURE_DYNAMIC_MULTICAST_CONTROL: &str = "feature-dynamic-multicast-control";
/// Front: wants multicast filtered.
pub const REQUEST_MULTICAST_CONTROL: &str = "request-multicast-control";
/// Back: a control ring is possible.
pub const FEATURE_CTRL_RING: &str = "feature-ctrl-ring";
/// Front: gref of the control ring.
pub const CTRL_RING_REF: &str = "ctrl-ring-ref";
/// Front: port of the control ring.
pub const EVENT_CHANNEL_CTRL: &str = "event-channel-ctrl";
/// Back: room before a received packet is possible.
pub const FEATURE_XDP_HEADROOM: &str = "feature-xdp-headroom";
/// Front: bytes of room it wants before a received packet.
pub const XDP_HEADROOM: &str = "xdp-headroom";
/// Back: most queues it can serve.
pub const MULTI_QUEUE_MAX_QUEUES: &str = "multi-queue-max-queues";
/// Front: queues it uses.
pub const MULTI_QUEUE_NUM_QUEUES: &str = "multi-queue-num-queues";
/// Front: gref of a transmit ring.
pub const TX_RING_REF: &str = "tx-ring-ref";
/// Front: gref of a receive ring.
pub const RX_RING_REF: &str = "rx-ring-ref";
/// Front: the port for both directions.
pub const EVENT_CHANNEL: &str = "event-channel";
/// Front: the port for transmitting.
pub const EVENT_CHANNEL_TX: &str = "event-channel-tx";
/// Front: the port for receiving.
pub const EVENT_CHANNEL_RX: &str = "event-channel-rx";
/// Toolstack: MAC address, six hex bytes with colons.
pub const MAC: &str = "mac";
/// Toolstack: bytes of the largest IP packet.
pub const MTU: &str = "mtu";
/// Toolstack: "bytes,usec" of credit for transmission.
pub const RATE: &str = "rate";
/// Toolstack: number of the vif.
pub const HANDLE: &str = "handle";
/// Toolstack: "0" if the front shall bounce every buffer.
pub const TRUSTED: &str = "trusted";
/// Hotplug script: "connected" lets the back connect.
pub const HOTPLUG_STATUS: &str = "hotplug-status";
/// Back: link state, "0" or "1".
pub const CARRIER: &str = "carrier";

/// Toolstack, console: bytes that xenconsoled keeps of what nobody takes.
pub const LIMIT: &str = "limit";
/// Toolstack, console: who serves it, `xenconsoled`.
pub const TYPE: &str = "type";
/// Toolstack, console: what its output becomes, `pty`.
pub const OUTPUT: &str = "output";
/// Back of a console: path of its terminal, empty while there is none.
pub const TTY: &str = "tty";
/// Toolstack, console: the guest's port.
pub const PORT: &str = "port";
/// Front of a vbd: gref of its ring, if that is one page. Toolstack, console: number of the ring's frame.
pub const RING_REF: &str = "ring-ref";
/// Front of a vbd: the ring has 2 to this power pages; absent for one.
pub const RING_PAGE_ORDER: &str = "ring-page-order";
/// Back of a vbd: the most of [`RING_PAGE_ORDER`].
pub const MAX_RING_PAGE_ORDER: &str = "max-ring-page-order";
/// Front of a vbd: which layout its requests have (`protocols.h`). Toolstack, console: what the terminal
/// speaks.
pub const PROTOCOL: &str = "protocol";
/// Both ends of a vbd: the back may keep pages mapped.
pub const FEATURE_PERSISTENT: &str = "feature-persistent";
/// Back of a vbd: segments of an indirect request; absent or 0 for none.
pub const FEATURE_MAX_INDIRECT_SEGMENTS: &str = "feature-max-indirect-segments";
/// Back of a vbd: FLUSH_DISKCACHE is understood.
pub const FEATURE_FLUSH_CACHE: &str = "feature-flush-cache";
/// Back of a vbd: WRITE_BARRIER is understood.
pub const FEATURE_BARRIER: &str = "feature-barrier";
/// Back of a vbd: DISCARD is understood.
pub const FEATURE_DISCARD: &str = "feature-discard";
/// Back of a vbd: bytes of which a discard has whole multiples.
pub const DISCARD_GRANULARITY: &str = "discard-granularity";
/// Back of a vbd: bytes from the start of the disk to where those begin.
pub const DISCARD_ALIGNMENT: &str = "discard-alignment";
/// Back of a vbd: a discard can promise that no copy survives.
pub const DISCARD_SECURE: &str = "discard-secure";
/// Back of a vbd: its length in sectors of 512 bytes.
pub const SECTORS: &str = "sectors";
/// Back of a vbd: decimal bits of `io::blkif::VdiskInfo`.
pub const INFO: &str = "info";
/// Back of a vbd: bytes of the disk's own sectors.
pub const SECTOR_SIZE: &str = "sector-size";
/// Back of a vbd: bytes that the disk itself writes at once.
pub const PHYSICAL_SECTOR_SIZE: &str = "physical-sector-size";
/// Toolstack: number of the vbd.
pub const VIRTUAL_DEVICE: &str = "virtual-device";
/// Toolstack: `disk` or `cdrom`.
pub const DEVICE_TYPE: &str = "device-type";
/// Toolstack: what the disk is made of.
pub const PARAMS: &str = "params";
/// Toolstack: `r` or `w`.
pub const MODE: &str = "mode";
/// Toolstack: "0" forbids discards.
pub const DISCARD_ENABLE: &str = "discard-enable";
/// Hotplug script: what it found at `params`.
pub const PHYSICAL_DEVICE_PATH: &str = "physical-device-path";

/// Every device: decimal number of the [`XenbusState`](super::XenbusState).
pub const STATE: &str = "state";
/// Front: path of the back's directory.
pub const BACKEND: &str = "backend";
/// Front: domid of the back.
pub const BACKEND_ID: &str = "backend-id";
/// Back: path of the front's directory.
pub const FRONTEND: &str = "frontend";
/// Back: domid of the front.
pub const FRONTEND_ID: &str = "frontend-id";
/// Back: "0" once the toolstack wants the device gone for good.
pub const ONLINE: &str = "online";
/// Watch path that fires when a domain appears.
pub const INTRODUCE_DOMAIN: &str = "@introduceDomain";
/// Watch path that fires when a domain is gone.
pub const RELEASE_DOMAIN: &str = "@releaseDomain";

/// Directory, below the front's, of one queue's keys when there are several: `queue-N`.
#[must_use]
pub fn queue(index: u32) -> String {
    format!("queue-{index}")
}

/// Gref of the `index`-th page of a vbd's ring that has several: `ring-refN`.
#[must_use]
pub fn ring_ref(index: usize) -> String {
    format!("ring-ref{index}")
}
