//! The options of a network run, and the defaults that depend on other options.

use std::path::PathBuf;
use std::time::Duration;

use backend::Timers;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::rate::Rate;
use super::run::{Amount, RunConfig};

/// Bytes of an Ethernet header.
const ETHERNET: usize = 14;

/// Datagrams that wait in a UDP socket.
pub(crate) const DATAGRAMS: usize = 64;
/// Connections a server of crr holds ready for each of the client's: the next one comes before the last
/// ACK of the one before has been dealt with.
pub(crate) const READY: usize = 4;

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// TCP, as much as fits through.
    Stream,
    /// Stream in the other direction. Only typed: a resolved configuration says `Stream` with `reverse`.
    Maerts,
    /// TCP requests and responses on a connection that stays open.
    Rr,
    /// A TCP connection for each request and response.
    Crr,
    /// UDP datagrams.
    Udp,
    /// Bare Ethernet frames, no TCP/IP stack.
    Pktgen,
}

/// Who the other end of a TCP connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NetPath {
    /// The same domain: frames go to netback and come back.
    Loopback,
    /// The backend domain.
    Backend,
    /// Another frontend domain, through netback's bridge.
    Bridge,
}

/// What netback is joined to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WireKind {
    /// Takes frames and counts them; with `-R` makes them.
    Sink,
    /// Sends every frame back where it came from.
    Reflect,
    /// A TCP/IP stack in the backend domain.
    Stack,
    /// A bridge between the frontends.
    Bridge,
}

/// How long netback waits for a guest without buffers. Seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RxTimers {
    /// How long frames are held before they are dropped.
    pub rx_drain_timeout: f64,
    /// How long until the queue counts as stalled.
    pub rx_stall_timeout: f64,
}

impl Default for RxTimers {
    fn default() -> Self {
        let Timers { drain, stall } = Timers::LINUX;
        Self { rx_drain_timeout: drain.as_secs_f64(), rx_stall_timeout: stall.as_secs_f64() }
    }
}

impl From<RxTimers> for Timers {
    fn from(timers: RxTimers) -> Self {
        Self {
            drain: Duration::from_secs_f64(timers.rx_drain_timeout),
            stall: Duration::from_secs_f64(timers.rx_stall_timeout),
        }
    }
}

/// The options of a network run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NetConfig {
    /// The options every run has.
    #[serde(flatten)]
    pub run: RunConfig,
    /// What is sent.
    pub mode: Mode,
    /// The backend's side sends.
    pub reverse: bool,
    /// Connections (or UDP flows) at once.
    pub parallel: u32,
    /// Bytes: of one write (stream), one payload (udp), one Ethernet frame without FCS (pktgen).
    pub len: usize,
    /// Bytes of a request (rr, crr).
    pub rr_req: usize,
    /// Bytes of a response (rr, crr).
    pub rr_resp: usize,
    /// Bytes of each TCP socket buffer.
    pub window: usize,
    /// What a stream sends, instead of the seeded payload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// Where a stream's receiver writes what arrived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out: Option<PathBuf>,
    /// The frontend leaves checksums of frames it sends to the other side.
    pub csum_tx: bool,
    /// The frontend accepts frames whose checksums are not filled in.
    pub csum_rx: bool,
    /// Most bytes of a TCP segment handed over whole; 0 is off.
    pub gso: u32,
    /// Frames may span several slots.
    pub sg: bool,
    /// Largest IP packet, bytes, segmentation offload apart.
    pub mtu: usize,
    /// IP version: 4 or 6.
    pub ip: u8,
    /// Queues (pairs of rings) of each vif.
    pub queues: u32,
    /// Frontend domains, one vif each.
    pub vifs: u32,
    /// Chance that a frame is lost on purpose: 0 to 1.
    pub drop: f64,
    /// Extra copies of each byte.
    pub copies: u32,
    /// Who the other end is.
    pub path: NetPath,
    /// What netback is joined to.
    pub wire: WireKind,
    /// How fast each queue's guest may send, if that is limited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// How long netback waits for a guest without buffers.
    #[serde(flatten, default)]
    pub timers: RxTimers,
}

/// A netback that is started by hand.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NetbackConfig {
    /// The options every run has.
    pub run: RunConfig,
    /// What its end of a stream sends, or what it is to receive.
    pub file: Option<PathBuf>,
    /// Where its end of a stream writes what arrived.
    pub out: Option<PathBuf>,
    /// Extra copies of each byte that it receives.
    pub copies: u32,
    /// How long it waits for a guest without buffers.
    pub timers: RxTimers,
}

impl Default for NetConfig {
    fn default() -> Self {
        Self::of_mode(Mode::Stream)
    }
}

impl NetConfig {
    /// Whether a counted amount is bytes, not frames or transactions.
    #[must_use]
    pub fn counts_bytes(&self) -> bool {
        matches!(self.mode, Mode::Stream | Mode::Maerts | Mode::Udp)
    }

    /// A rate for the progress bar: what people watch in this mode.
    #[must_use]
    pub fn rate_text(&self, bytes: u64, ops: u64, seconds: f64) -> String {
        let (bytes, ops) = (crate::units::float(bytes), crate::units::float(ops));
        match self.mode {
            Mode::Stream | Mode::Maerts | Mode::Udp => {
                format!("{:.1} Gbit/s", bytes * 8.0 / seconds / 1e9)
            }
            Mode::Pktgen => format!("{:.1} M/s", ops / seconds / 1e6),
            Mode::Rr | Mode::Crr => format!("{:.0} k/s", ops / seconds / 1e3),
        }
    }

    /// `pvlab net --mode MODE` with nothing else said.
    #[must_use]
    pub fn of_mode(mode: Mode) -> Self {
        let path = NetPath::Backend;
        let (mode, reverse) =
            if mode == Mode::Maerts { (Mode::Stream, true) } else { (mode, false) };
        let mut config = Self {
            run: RunConfig::default(),
            mode,
            reverse,
            parallel: 1,
            len: 0,
            rr_req: 1,
            rr_resp: 1,
            window: 512 << 10,
            file: None,
            out: None,
            csum_tx: true,
            csum_rx: true,
            gso: 0,
            sg: true,
            mtu: 1500,
            ip: 4,
            queues: 1,
            vifs: default_vifs(path),
            drop: 0.0,
            copies: 0,
            path,
            wire: default_wire(mode, path),
            rate: None,
            timers: RxTimers::default(),
        };
        config.len = config.default_len();
        config.gso = config.default_gso();
        config
    }

    /// `-l` where it is not given: depends on mode, MTU and IP version.
    #[must_use]
    pub fn default_len(&self) -> usize {
        match self.mode {
            Mode::Udp => self.udp_room(),
            Mode::Pktgen => 64,
            Mode::Stream | Mode::Maerts | Mode::Rr | Mode::Crr => 128 << 10,
        }
    }

    /// `--gso` where it is not given: 64K where the rest of the configuration allows any, else off.
    #[must_use]
    pub fn default_gso(&self) -> u32 {
        if self.gso_obstacle().is_some() { 0 } else { 64 << 10 }
    }

    /// Why there cannot be segmentation offload here, and what to change; absent where there can.
    #[must_use]
    pub fn gso_obstacle(&self) -> Option<&'static str> {
        match self.mode {
            Mode::Pktgen => {
                return Some("pktgen has no TCP to segment; drop --gso or use --mode stream");
            }
            Mode::Udp => return Some("udp has no TCP to segment; drop --gso or use --mode stream"),
            Mode::Stream | Mode::Maerts | Mode::Rr | Mode::Crr => {}
        }
        if !self.csum_tx {
            Some("segmentation offload needs tx checksum offload; use --csum on or --gso off")
        } else if !self.sg {
            Some("segmentation offload needs scatter-gather; use --sg on or --gso off")
        } else if self.ip == 6 {
            Some("the TCP/IP stack cannot segment TCP over IPv6; use --ip 4 or --gso off")
        } else {
            None
        }
    }

    /// Most payload bytes of a UDP datagram that fits the MTU.
    #[must_use]
    pub fn udp_room(&self) -> usize {
        let headers = if self.ip == 6 { 48 } else { 28 };
        self.mtu.saturating_sub(headers)
    }

    /// Bytes of the buffers of one connection or flow, in one direction.
    #[must_use]
    pub fn flow_room(&self) -> usize {
        match self.mode {
            Mode::Stream | Mode::Maerts | Mode::Rr => self.window,
            Mode::Crr => self.rr_req.max(self.rr_resp) * READY,
            Mode::Udp => self.len * DATAGRAMS,
            Mode::Pktgen => 0,
        }
    }

    /// The largest Ethernet frame without segmentation offload, FCS apart.
    #[must_use]
    pub fn frame_room(&self) -> usize {
        if self.mode == Mode::Pktgen { self.len } else { self.mtu + ETHERNET }
    }

    /// `-t` or `-n` where neither is given and no file says how much there is.
    #[must_use]
    pub fn default_amount() -> Amount {
        Amount::Seconds(5.0)
    }
}

/// `--vifs` where it is not given: a bridge needs two.
#[must_use]
pub fn default_vifs(path: NetPath) -> u32 {
    if path == NetPath::Bridge { 2 } else { 1 }
}

/// `--wire` where it is not given.
#[must_use]
pub fn default_wire(mode: Mode, path: NetPath) -> WireKind {
    match (path, mode) {
        (NetPath::Bridge, _) => WireKind::Bridge,
        (NetPath::Loopback, _) => WireKind::Reflect,
        (NetPath::Backend, Mode::Pktgen) => WireKind::Sink,
        (NetPath::Backend, _) => WireKind::Stack,
    }
}
