//! Which application runs on a queue: a `NetConfig` and a [`Place`] made into a [`Job`].

use std::time::Duration;

use smoltcp::iface::{Interface, SocketHandle, SocketSet};
use smoltcp::socket::udp;
use smoltcp::wire::{IpAddress, Ipv4Address, Ipv6Address};

use super::announce::announce;
use super::both::Both;
use super::echo::Echo;
use super::exchange::Exchange;
use super::source::{Out, Source};
use super::stack::{App, Identity, Stack, tcp_socket};
use super::{Job, Meter, Nic, Role, crr, frames, pktgen, rr, stream, udp as datagrams};
use crate::config::{DATAGRAMS, Mode, NetConfig, NetPath, READY, WireKind};
use crate::payload::Payload;

/// Where servers listen; UDP's first port.
const PORT: u16 = 5201;
/// Where clients of stream and rr begin.
const CLIENT_PORT: u16 = 49_152;

/// Where in the lab a queue is.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Which end of the workload.
    pub role: Role,
    /// Number of the domain at this end.
    pub own: u16,
    /// Number of the domain at the other end.
    pub other: u16,
    /// Ethernet address of this end.
    pub mac: [u8; 6],
    /// Ethernet address of the other end, for bare frames.
    pub other_mac: [u8; 6],
    /// Which queue of its vif, and how many there are.
    pub queue: (u32, u32),
}

impl Place {
    fn identity(&self, config: &NetConfig) -> Identity {
        let ip = address(config.ip, self.own);
        let seed = config.run.seed ^ (u64::from(self.own) << 32) ^ u64::from(self.queue.0);
        Identity { mac: self.mac, ip, also: None, seed }
    }

    /// The flows of the run that go through this queue.
    fn flows(&self, config: &NetConfig) -> Vec<u32> {
        (0..config.parallel).filter(|flow| flow % self.queue.1 == self.queue.0).collect()
    }

    /// Whether this end sends.
    fn sends(&self, config: &NetConfig) -> bool {
        (self.role == Role::Client) != config.reverse
    }
}

/// The address of a domain: its number, or for the backend 254.
fn address(version: u8, domid: u16) -> IpAddress {
    let host = if domid == 0 { 254 } else { domid };
    if version == 6 {
        return Ipv6Address::new(0xfd00, 0, 0, 0, 0, 0, 0, host).into();
    }
    Ipv4Address::new(10, 0, 0, u8::try_from(host).unwrap_or(253)).into()
}

/// The job for one queue; `None` if no flow goes through it.
///
/// # Errors
/// If a file cannot be opened.
pub fn build<N: Nic + 'static>(
    mut nic: N,
    config: &NetConfig,
    place: &Place,
) -> anyhow::Result<Option<Box<dyn Job>>> {
    if config.mode == Mode::Pktgen {
        return Ok(Some(bare_frames(nic, config, place)));
    }
    let flows = place.flows(config);
    if flows.is_empty() {
        return Ok(None);
    }
    // Flows go round the queues, so the first queues are those that have any.
    let busy_queues = config.parallel.min(place.queue.1);
    let share = (u64::from(place.queue.0), u64::from(busy_queues));
    let meter = || Meter::new(&config.run, share.0, share.1).with_copies(config.copies);
    if config.path == NetPath::Loopback {
        return both_ends(nic, config, place, &flows, [meter(), meter()]).map(Some);
    }
    if config.path == NetPath::Bridge && place.role == Role::Server {
        let other = address(config.ip, place.other);
        announce(&mut nic, place.mac, address(config.ip, place.own), other);
    }
    let (identity, open) = (place.identity(config), parts(config, place, &flows)?);
    let stack = Stack::new(nic, identity, budget(config), meter(), open);
    Ok(Some(Box::new(match place.role {
        Role::Client => stack.answered_within(patience(config)),
        Role::Server => stack,
    })))
}

/// How long the other end may take to answer at all: it has a host, a backend and a stack to start.
fn patience(config: &NetConfig) -> Duration {
    Duration::from_secs_f64(config.run.stall_timeout * 2.0).max(Duration::from_secs(10))
}

/// Client and server on one stack with two addresses.
fn both_ends<N: Nic + 'static>(
    nic: N,
    config: &NetConfig,
    place: &Place,
    flows: &[u32],
    [meter, other]: [Meter; 2],
) -> anyhow::Result<Box<dyn Job>> {
    let answering = Place { role: Role::Server, own: place.other, other: place.own, ..*place };
    let identity =
        Identity { also: Some(address(config.ip, place.other)), ..place.identity(config) };
    let client = parts(config, place, flows)?;
    let server = parts(config, &answering, flows)?;
    let round_trips = matches!(config.mode, Mode::Rr | Mode::Crr);
    let server_counts = !round_trips && !config.reverse;
    let trails = config.mode == Mode::Udp && !config.reverse;
    Ok(Box::new(Stack::new(nic, identity, budget(config), meter, |i, s| {
        let server = server(i, s);
        Both::new(client(i, s), server, other, server_counts, trails)
    })))
}

fn bare_frames<N: Nic + 'static>(nic: N, config: &NetConfig, place: &Place) -> Box<dyn Job> {
    let run = &config.run;
    let meter =
        Meter::new(run, place.queue.0.into(), place.queue.1.into()).with_copies(config.copies);
    let seed = run.seed.wrapping_add(place.queue.0.into());
    let payload = || run.verify.then(|| Payload::new(seed));
    let batch = run.batch as usize;
    let decides = place.role == Role::Client;
    let (own, other) = (place.mac, place.other_mac);
    let maker = || frames::Maker::new(payload(), (own, other), config.len, run.think_ns);
    // The reflector exchanges the addresses, so that what comes back is as what another one sends.
    let taker = frames::Taker::new(payload(), (other, own), config.len);
    if config.wire == WireKind::Reflect {
        return Box::new(Echo::new(nic, meter, maker(), taker, batch));
    }
    if place.sends(config) {
        return Box::new(pktgen::Sender::new(nic, meter, maker(), batch, decides));
    }
    // What the ring holds is looked at in one turn: four batches of the usual size.
    Box::new(pktgen::Receiver::new(nic, meter, taker, batch * 4, decides))
}

/// What makes an application on a stack, once there is one.
type Open<'a> = Box<dyn FnOnce(&mut Interface, &mut SocketSet<'static>) -> Box<dyn App> + 'a>;

/// One end's application: its files opened, its sockets yet to be.
fn parts<'a>(
    config: &'a NetConfig,
    place: &'a Place,
    flows: &'a [u32],
) -> anyhow::Result<Open<'a>> {
    Ok(match config.mode {
        Mode::Stream | Mode::Maerts => stream_end(config, place, flows)?,
        Mode::Rr => rr_end(config, place, flows),
        Mode::Crr => crr_end(config, place, flows),
        Mode::Udp | Mode::Pktgen => udp_end(config, place, flows),
    })
}

fn stream_end<'a>(
    config: &'a NetConfig,
    place: &'a Place,
    flows: &'a [u32],
) -> anyhow::Result<Open<'a>> {
    let sends = place.sends(config);
    let sources = flows.iter().map(|&flow| Source::of(config, flow.into(), sends));
    let sources: Vec<Source> = sources.collect::<anyhow::Result<_>>()?;
    let out = Out::of(config.out.as_deref().filter(|_| !sends))?;
    let (chunk, think) = (config.len, config.run.think_ns);
    Ok(Box::new(move |i, s| {
        let flows = open_tcp(i, s, config, place, flows).into_iter().zip(sources).collect();
        match sends {
            true => Box::new(stream::Sender::new(flows, chunk, think)),
            false => Box::new(stream::Receiver::new(flows, out)),
        }
    }))
}

fn rr_end<'a>(config: &'a NetConfig, place: &'a Place, flows: &'a [u32]) -> Open<'a> {
    let (sizes, think) = ((config.rr_req, config.rr_resp), config.run.think_ns);
    let exchange = Exchange::of(&config.run);
    Box::new(move |i, s| {
        let sockets = open_tcp(i, s, config, place, flows).into_iter().zip(flows.iter().copied());
        match place.role {
            Role::Client => Box::new(rr::Client::new(sockets.collect(), sizes, think, exchange)),
            Role::Server => Box::new(rr::Server::new(sockets.collect(), sizes, exchange)),
        }
    })
}

fn crr_end<'a>(config: &'a NetConfig, place: &'a Place, flows: &'a [u32]) -> Open<'a> {
    let (sizes, think) = ((config.rr_req, config.rr_resp), config.run.think_ns);
    let (window, exchange) = (crr::window(sizes), Exchange::of(&config.run));
    Box::new(move |_, s| {
        if place.role == Role::Client {
            let remote = (address(config.ip, place.other), PORT);
            let sockets = flows.iter().map(|_| s.add(tcp_socket(window))).collect();
            return Box::new(crr::Client::new(sockets, sizes, remote, think, exchange));
        }
        let sockets = (0..flows.len() * READY).map(|_| {
            let mut socket = tcp_socket(window);
            // Before the first frame is looked at, which may be the first SYN.
            socket.listen(PORT).expect("it is new");
            s.add(socket)
        });
        Box::new(crr::Server::new(sockets.collect(), sizes, PORT, exchange))
    })
}

fn udp_end<'a>(config: &'a NetConfig, place: &'a Place, flows: &'a [u32]) -> Open<'a> {
    let (len, verify, think) = (config.len, config.run.verify, config.run.think_ns);
    let (own, remote) = (address(config.ip, place.own), address(config.ip, place.other));
    let decides = place.role == Role::Client;
    let payload = |flow: u32| Payload::new(config.run.seed.wrapping_add(flow.into()));
    Box::new(move |_, s| {
        if place.sends(config) {
            let flow = |&f| (open_udp(s, own, len, f), (remote, port(f)), payload(f));
            let flows = flows.iter().map(flow).collect();
            return Box::new(datagrams::Sender::new(flows, len, verify, think, decides));
        }
        let flows = flows.iter().map(|&f| (open_udp(s, own, len, f), payload(f))).collect();
        Box::new(datagrams::Receiver::new(flows, len, verify, decides))
    })
}

/// Frames a stack takes in one turn.
fn budget(config: &NetConfig) -> usize {
    config.run.batch as usize * 2
}

/// A TCP socket for each flow: connecting on the client's side, listening on the server's.
fn open_tcp(
    iface: &mut Interface,
    sockets: &mut SocketSet<'static>,
    config: &NetConfig,
    place: &Place,
    flows: &[u32],
) -> Vec<SocketHandle> {
    let remote = address(config.ip, place.other);
    let open = |&flow: &u32| {
        let mut socket = tcp_socket(config.window);
        let flow = u16::try_from(flow).unwrap_or(u16::MAX);
        let opened = match place.role {
            Role::Client => socket
                .connect(iface.context(), (remote, PORT + flow), CLIENT_PORT + flow)
                .map_err(|e| e.to_string()),
            Role::Server => socket.listen(PORT + flow).map_err(|e| e.to_string()),
        };
        if let Err(error) = opened {
            tracing::error!(flow, error, "cannot open a socket");
        }
        sockets.add(socket)
    };
    flows.iter().map(open).collect()
}

/// Where the server of a UDP flow is, and its client.
fn port(flow: u32) -> u16 {
    PORT.saturating_add(u16::try_from(flow).unwrap_or(u16::MAX))
}

fn open_udp(
    sockets: &mut SocketSet<'static>,
    own: IpAddress,
    len: usize,
    flow: u32,
) -> SocketHandle {
    let buffer = || {
        let slots = vec![udp::PacketMetadata::EMPTY; DATAGRAMS];
        udp::PacketBuffer::new(slots, vec![0; DATAGRAMS * len])
    };
    let mut socket = udp::Socket::new(buffer(), buffer());
    if let Err(error) = socket.bind((own, port(flow))) {
        tracing::error!(flow, %error, "cannot open a socket");
    }
    sockets.add(socket)
}
