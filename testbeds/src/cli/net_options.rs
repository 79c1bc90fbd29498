//! The options of a network run, as they are typed. What they mean together is `resolve`'s business.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::run_options::{RunArgs, Switch};
use super::values::{self, Pair};
use crate::config::{Mode, NetPath, Rate, WireKind};

pub(super) const NET_EXAMPLES: &str = "\
Sizes take K, M, G (powers of 1024); times take ns, us, ms, s; [ ] is the default.

Examples:
  pvlab net -n 128M                             copy 128 MiB over TCP, every byte checked
  pvlab net -R -P 4 -t 10 -i 1                  four streams the other way, a line each second
  pvlab net --csum off                          what checksum offload is worth
  pvlab net --mode pktgen -l 64 --batch 1       what batching is worth
  pvlab net --mode rr --wait event              round trips when both sides sleep
  pvlab net --mode crr -n 10K -J crr.json       10,240 connections; figures as JSON too
  pvlab net --path bridge --cost hypercall=400  frontend to frontend, hypercalls charged";

/// Which checksums are left to the other side.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum Csum {
    On,
    Off,
    Tx,
    Rx,
}

impl Csum {
    pub(super) fn tx(self) -> bool {
        matches!(self, Self::On | Self::Tx)
    }

    pub(super) fn rx(self) -> bool {
        matches!(self, Self::On | Self::Rx)
    }
}

#[derive(Args)]
pub(super) struct NetArgs {
    #[command(flatten)]
    pub(super) traffic: TrafficArgs,
    #[command(flatten)]
    pub(super) device: DeviceArgs,
    #[command(flatten)]
    pub(super) timers: TimerArgs,
    #[command(flatten)]
    pub(super) run: RunArgs,
}

#[derive(Args)]
#[command(next_help_heading = "What is sent")]
pub(super) struct TrafficArgs {
    /// stream, maerts, rr, crr, udp, pktgen [stream]
    #[arg(long, value_name = "MODE", hide_possible_values = true)]
    pub(super) mode: Option<Mode>,
    /// The backend's side sends (stream, udp, pktgen)
    #[arg(short = 'R')]
    pub(super) reverse: bool,
    /// Connections or flows at once, 1-128 [1]
    #[arg(short = 'P', value_name = "N", value_parser = values::parallel)]
    #[arg(allow_hyphen_values = true)]
    pub(super) parallel: Option<u32>,
    /// Bytes of a write, datagram or frame [128K; udp: fits MTU; pktgen: 64]
    #[arg(short = 'l', value_name = "SIZE", value_parser = values::len)]
    #[arg(allow_hyphen_values = true)]
    pub(super) len: Option<usize>,
    /// Bytes of a request and a response (rr, crr) [1,1]
    #[arg(short = 'r', value_name = "REQ,RESP", value_parser = values::rr_sizes)]
    #[arg(allow_hyphen_values = true)]
    pub(super) rr: Option<Pair<usize>>,
    /// TCP buffer of each end [512K]
    #[arg(long, value_name = "SIZE", value_parser = values::window, allow_hyphen_values = true)]
    pub(super) window: Option<usize>,
    #[command(flatten)]
    pub(super) files: FileArgs,
}

#[derive(Args)]
pub(super) struct FileArgs {
    /// Send this file, once unless a time or an amount is asked for (stream)
    #[arg(long, value_name = "PATH", value_parser = values::path)]
    pub(super) file: Option<PathBuf>,
    /// Write what arrives to this file (stream)
    #[arg(long, value_name = "PATH", value_parser = values::path)]
    pub(super) out: Option<PathBuf>,
}

#[derive(Args)]
pub(super) struct NetbackArgs {
    #[command(flatten)]
    pub(super) files: FileArgs,
    /// Extra copies of every byte that it receives, 0-64 [0]
    #[arg(long, value_name = "N", value_parser = values::copies, allow_hyphen_values = true)]
    pub(super) copies: Option<u32>,
    #[command(flatten)]
    pub(super) timers: TimerArgs,
    #[command(flatten)]
    pub(super) run: RunArgs,
}

#[derive(Args)]
#[command(next_help_heading = "Guests without buffers")]
pub(super) struct TimerArgs {
    /// netback holds frames for a guest without buffers this long, then drops them [10s]
    #[arg(long, value_name = "TIME", value_parser = values::rx_timeout)]
    #[arg(allow_hyphen_values = true)]
    pub(super) rx_drain_timeout: Option<f64>,
    /// A queue without buffers this long has stalled: carrier off, frames dropped [60s]
    #[arg(long, value_name = "TIME", value_parser = values::rx_timeout)]
    #[arg(allow_hyphen_values = true)]
    pub(super) rx_stall_timeout: Option<f64>,
}

impl TimerArgs {
    /// The first of them that was typed.
    pub(super) fn first(&self) -> Option<&'static str> {
        let drain = self.rx_drain_timeout.map(|_| "--rx-drain-timeout");
        drain.or(self.rx_stall_timeout.map(|_| "--rx-stall-timeout"))
    }
}

#[derive(Args)]
#[command(next_help_heading = "Device and path")]
pub(super) struct DeviceArgs {
    /// Checksum offload: on, off, tx, rx [on]
    #[arg(long, value_name = "WHICH", hide_possible_values = true)]
    pub(super) csum: Option<Csum>,
    /// TCP segmentation offload: largest segment, or off [64K]
    #[arg(long, value_name = "SIZE|off", value_parser = values::gso, allow_hyphen_values = true)]
    pub(super) gso: Option<u32>,
    /// Frames may span several slots: on, off [on]
    #[arg(long, value_name = "SWITCH", hide_possible_values = true)]
    pub(super) sg: Option<Switch>,
    /// Largest IP packet [1500]
    #[arg(long, value_name = "BYTES", value_parser = values::mtu, allow_hyphen_values = true)]
    pub(super) mtu: Option<usize>,
    /// IP version: 4 or 6 [4]
    #[arg(long, value_name = "VERSION", value_parser = values::ip, allow_hyphen_values = true)]
    pub(super) ip: Option<u8>,
    /// Queues of each vif, 1-8 [1]
    #[arg(long, value_name = "N", value_parser = values::queues, allow_hyphen_values = true)]
    pub(super) queues: Option<u32>,
    /// Frontend domains, 1-64 [1; bridge: 2]
    #[arg(long, value_name = "N", value_parser = values::vifs, allow_hyphen_values = true)]
    pub(super) vifs: Option<u32>,
    /// Bytes that a guest may send in each window of USEC, each queue for itself [no limit]
    #[arg(long, value_name = "BYTES,USEC", value_parser = values::rate)]
    #[arg(allow_hyphen_values = true)]
    pub(super) rate: Option<Rate>,
    /// Lose this share of the frames that guests send, 0 to below 1 [0]
    #[arg(long, value_name = "RATE", value_parser = values::drop_rate)]
    #[arg(allow_hyphen_values = true)]
    pub(super) drop: Option<f64>,
    /// Extra copies of every byte that is received, 0-64 [0]
    #[arg(long, value_name = "N", value_parser = values::copies, allow_hyphen_values = true)]
    pub(super) copies: Option<u32>,
    /// Other end: loopback (same domain), backend, bridge [backend]
    #[arg(long, value_name = "WHERE", hide_possible_values = true)]
    pub(super) path: Option<NetPath>,
    /// Behind netback: sink, reflect, stack, bridge [what mode and path need]
    #[arg(long, value_name = "WHAT", hide_possible_values = true)]
    pub(super) wire: Option<WireKind>,
}
