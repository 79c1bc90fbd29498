//! Which application runs on a queue: a `NetConfig` and a [`Place`] made into a [`Job`].

use smoltcp::iface::{Interface, SocketHandle, SocketSet};
use smoltcp::socket::udp;
use smoltcp::wire::{IpAddress, Ipv4Address, Ipv6Address};

use super::source::{Out, Source};
use super::stack::{Identity, Stack, tcp_socket};
use super::{Job, Meter, Nic, Role, crr, pktgen, rr, stream, udp as datagrams};
use crate::config::{Mode, NetConfig};
use crate::payload::Payload;

/// Where servers listen; UDP's first port.
const PORT: u16 = 5201;
/// Where clients of stream and rr begin.
const CLIENT_PORT: u16 = 49_152;
/// Datagrams that wait in a UDP socket.
const DATAGRAMS: usize = 64;

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
        Identity { mac: self.mac, ip, seed }
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
    nic: N,
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
    let busy_queues = u64::from(config.parallel.min(place.queue.1));
    let meter = Meter::new(&config.run, busy_queues);
    let stack = StackMaker { nic, config, place, meter, flows };
    Ok(Some(match config.mode {
        Mode::Stream | Mode::Maerts => stack.stream()?,
        Mode::Rr => stack.rr(),
        Mode::Crr => stack.crr(),
        Mode::Udp | Mode::Pktgen => stack.udp(),
    }))
}

fn bare_frames<N: Nic + 'static>(nic: N, config: &NetConfig, place: &Place) -> Box<dyn Job> {
    let run = &config.run;
    let meter = Meter::new(run, place.queue.1.into());
    let seed = run.seed.wrapping_add(place.queue.0.into());
    let payload = run.verify.then(|| Payload::new(seed));
    let batch = run.batch as usize;
    let decides = place.role == Role::Client;
    if place.sends(config) {
        let addresses = (place.mac, place.other_mac);
        let shape = (config.len, batch, run.think_ns);
        Box::new(pktgen::Sender::new(nic, meter, payload, addresses, shape, decides))
    } else {
        // What the ring holds is looked at in one turn: four batches of the usual size.
        Box::new(pktgen::Receiver::new(nic, meter, payload, batch * 4, decides))
    }
}

struct StackMaker<'a, N> {
    nic: N,
    config: &'a NetConfig,
    place: &'a Place,
    meter: Meter,
    flows: Vec<u32>,
}

impl<N: Nic + 'static> StackMaker<'_, N> {
    fn stream(self) -> anyhow::Result<Box<dyn Job>> {
        let Self { nic, config, place, meter, flows } = self;
        let sends = place.sends(config);
        let sources: Vec<Source> = flows
            .iter()
            .map(|&flow| Source::of(config, flow.into()))
            .collect::<anyhow::Result<_>>()?;
        let out = Out::of(config.out.as_deref().filter(|_| !sends))?;
        let (chunk, think) = (config.len, config.run.think_ns);
        let identity = place.identity(config);
        if sends {
            return Ok(Box::new(Stack::new(nic, identity, budget(config), meter, |i, s| {
                let sockets = open_tcp(i, s, config, place, &flows);
                stream::Sender::new(sockets.into_iter().zip(sources).collect(), chunk, think)
            })));
        }
        Ok(Box::new(Stack::new(nic, identity, budget(config), meter, |i, s| {
            let sockets = open_tcp(i, s, config, place, &flows);
            stream::Receiver::new(sockets.into_iter().zip(sources).collect(), out)
        })))
    }

    fn rr(self) -> Box<dyn Job> {
        let Self { nic, config, place, meter, flows } = self;
        let (sizes, think) = ((config.rr_req, config.rr_resp), config.run.think_ns);
        let identity = place.identity(config);
        if place.role == Role::Client {
            return Box::new(Stack::new(nic, identity, budget(config), meter, |i, s| {
                rr::Client::new(open_tcp(i, s, config, place, &flows), sizes, think)
            }));
        }
        Box::new(Stack::new(nic, identity, budget(config), meter, |i, s| {
            rr::Server::new(open_tcp(i, s, config, place, &flows), sizes)
        }))
    }

    fn crr(self) -> Box<dyn Job> {
        let Self { nic, config, place, meter, flows } = self;
        let (sizes, think) = ((config.rr_req, config.rr_resp), config.run.think_ns);
        let identity = place.identity(config);
        let window = crr::window(sizes);
        if place.role == Role::Client {
            let remote = (address(config.ip, place.other), PORT);
            return Box::new(Stack::new(nic, identity, budget(config), meter, |_, s| {
                let sockets = flows.iter().map(|_| s.add(tcp_socket(window))).collect();
                crr::Client::new(sockets, sizes, remote, think)
            }));
        }
        Box::new(Stack::new(nic, identity, budget(config), meter, |_, s| {
            let sockets = (0..flows.len() * crr::READY).map(|_| s.add(tcp_socket(window)));
            crr::Server::new(sockets.collect(), sizes, PORT)
        }))
    }

    fn udp(self) -> Box<dyn Job> {
        let Self { nic, config, place, meter, flows } = self;
        let identity = place.identity(config);
        let (len, verify, think) = (config.len, config.run.verify, config.run.think_ns);
        let seed = config.run.seed;
        let payload = |flow: u32| Payload::new(seed.wrapping_add(flow.into()));
        if place.sends(config) {
            let remote = (address(config.ip, place.other), PORT);
            return Box::new(Stack::new(nic, identity, budget(config), meter, |_, s| {
                let sockets = flows.iter().map(|&f| (open_udp(s, len, f), payload(f))).collect();
                let decides = place.role == Role::Client;
                datagrams::Sender::new(sockets, remote, len, verify, think, decides)
            }));
        }
        Box::new(Stack::new(nic, identity, budget(config), meter, |_, s| {
            let sockets = flows.iter().map(|&f| (open_udp(s, len, f), payload(f))).collect();
            datagrams::Receiver::new(sockets, verify, place.role == Role::Client)
        }))
    }
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

fn open_udp(sockets: &mut SocketSet<'static>, len: usize, flow: u32) -> SocketHandle {
    let buffer = || {
        let slots = vec![udp::PacketMetadata::EMPTY; DATAGRAMS];
        udp::PacketBuffer::new(slots, vec![0; DATAGRAMS * len])
    };
    let mut socket = udp::Socket::new(buffer(), buffer());
    let port = PORT + u16::try_from(flow).unwrap_or(u16::MAX);
    if let Err(error) = socket.bind(port) {
        tracing::error!(flow, %error, "cannot open a socket");
    }
    sockets.add(socket)
}
