//! TCP connect, request, response, close: a connection for each transaction, all of it on the wire.
//!
//! The clock runs from connect() until the client has sent its FIN. TIME-WAIT is cut short on the
//! client after its last ACK: the socket is replaced, and the next connection has another port.

use std::time::Instant;

use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp;
use smoltcp::wire::IpAddress;

use super::exchange::{Exchange, Way};
use super::stack::{App, Net, tcp_socket};

/// Buffers of a connection that carries one request and one response.
const LEAST_WINDOW: usize = 256;

/// How a connection's buffers are sized.
#[must_use]
pub(super) fn window(sizes: (usize, usize)) -> usize {
    sizes.0.max(sizes.1).max(LEAST_WINDOW)
}

/// Connects, asks, closes, over and over.
pub(super) struct Client {
    flows: Vec<Flow>,
    sizes: (usize, usize),
    remote: (IpAddress, u16),
    think_ns: u64,
    exchange: Exchange,
    /// Connections begun.
    begun: u64,
    /// Whose turn it is: the one after whoever had the last of the allowance.
    next: usize,
}

struct Flow {
    handle: SocketHandle,
    phase: Phase,
    began: Instant,
    to_send: Way,
    to_come: Way,
    /// Ports of this flow: `first_port..first_port + PORTS`.
    first_port: u16,
    turn: u16,
}

/// Local ports each flow goes through.
const PORTS: u16 = 256;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Without a connection.
    Idle,
    /// Connecting, asking, or waiting for the answer.
    Open,
    /// About to send the FIN.
    Closing,
    /// The FIN is sent; the server's has not come.
    Closed,
    /// The last ACK is about to be sent: the next connection begins when it is.
    Leaving,
    /// No connection follows.
    Finished,
}

impl Client {
    /// Connections from these sockets to `remote`.
    pub(super) fn new(
        sockets: Vec<SocketHandle>,
        sizes: (usize, usize),
        remote: (IpAddress, u16),
        think_ns: u64,
        exchange: Exchange,
    ) -> Self {
        let ports = (32_768..).step_by(PORTS.into());
        let flow = |(handle, first_port)| Flow {
            handle,
            phase: Phase::Idle,
            began: Instant::now(),
            to_send: Way::of_requests(first_port, 0),
            to_come: Way::of_responses(first_port, 0),
            first_port,
            turn: 0,
        };
        let flows = sockets.into_iter().zip(ports).map(flow).collect();
        Self { flows, sizes, remote, think_ns, exchange, begun: 0, next: 0 }
    }

    fn connect(
        flow: &mut Flow,
        sizes: (usize, usize),
        remote: (IpAddress, u16),
        net: &mut Net<'_>,
    ) {
        let socket = net.sockets.get_mut::<tcp::Socket<'_>>(flow.handle);
        // A fresh socket: smoltcp has no other way out of TIME-WAIT but ten seconds or a RST.
        *socket = tcp_socket(window(sizes));
        let port = flow.first_port + flow.turn % PORTS;
        flow.turn = flow.turn.wrapping_add(1);
        flow.began = Instant::now();
        tracer::mark!(ITERATION, "connection");
        if let Err(error) = socket.connect(net.iface.context(), remote, port) {
            net.meter.error(|| format!("connect: {error}"));
            flow.phase = Phase::Finished;
            return;
        }
        // Both ends know a connection by the client's port.
        flow.to_send = Way::of_requests(port, sizes.0);
        flow.to_come = Way::of_responses(port, sizes.1);
        flow.phase = Phase::Open;
    }
}

impl App for Client {
    fn poll(&mut self, net: &mut Net<'_>) -> bool {
        let (mut any, mut last) = (false, None);
        for n in 0..self.flows.len() {
            let at = (self.next + n) % self.flows.len();
            let flow = &mut self.flows[at];
            let socket = net.sockets.get_mut::<tcp::Socket<'_>>(flow.handle);
            match flow.phase {
                Phase::Open => {
                    // The time of a run begins with its first connection.
                    if !net.meter.started() && stands(socket.state()) {
                        net.meter.tick(net.now);
                    }
                    any |= self.exchange.send_some(socket, &mut flow.to_send);
                    any |= self.exchange.take_some(socket, &mut flow.to_come, net.meter);
                    if flow.to_come.left == 0 {
                        socket.close();
                        flow.phase = Phase::Closing;
                        any = true;
                    } else if socket.state() == tcp::State::Closed {
                        net.meter.error(|| "a connection was refused or reset".to_owned());
                        flow.phase = Phase::Idle;
                    }
                }
                Phase::Closed if left(socket.state()) => {
                    net.meter.tick(net.now);
                    net.meter.report.ops += 1;
                    net.meter.report.bytes += (self.sizes.0 + self.sizes.1) as u64;
                    flow.phase = Phase::Leaving;
                    any = true;
                }
                Phase::Idle => {
                    if net.meter.started() {
                        net.meter.tick(net.now);
                    }
                    if net.meter.is_over(net.now, self.begun) {
                        flow.phase = Phase::Finished;
                    } else if !net.allowance.is_left() {
                        continue;
                    } else {
                        last = Some(at);
                        net.allowance.think(self.think_ns);
                        Self::connect(flow, self.sizes, self.remote, net);
                        self.begun += 1;
                    }
                    any = true;
                }
                Phase::Closing | Phase::Closed | Phase::Leaving | Phase::Finished => {}
            }
        }
        self.next = net.allowance.next(self.next, last);
        any
    }

    fn sent(&mut self, net: &mut Net<'_>) -> bool {
        let mut more = false;
        for flow in &mut self.flows {
            match flow.phase {
                Phase::Closing => {
                    let ns = u64::try_from(flow.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
                    net.meter.report.latencies.get_or_insert_default().record(ns);
                    flow.phase = Phase::Closed;
                }
                Phase::Leaving => {
                    flow.phase = Phase::Idle;
                    more = true;
                }
                _ => {}
            }
        }
        more
    }

    fn done(&self) -> bool {
        self.flows.iter().all(|flow| flow.phase == Phase::Finished)
    }
}

/// Whether the other end has answered, and not by refusing.
fn stands(state: tcp::State) -> bool {
    !matches!(state, tcp::State::SynSent | tcp::State::Closed)
}

/// Whether the client's part is over: everything acknowledged, both FINs seen.
fn left(state: tcp::State) -> bool {
    matches!(state, tcp::State::TimeWait | tcp::State::Closed)
}

/// Accepts, answers, closes.
pub(super) struct Server {
    flows: Vec<Served>,
    sizes: (usize, usize),
    port: u16,
    exchange: Exchange,
}

struct Served {
    handle: SocketHandle,
    /// Both ways, once there is a connection.
    ways: Option<(Way, Way)>,
}

impl Server {
    /// Listens on all these sockets at `port`.
    pub(super) fn new(
        sockets: Vec<SocketHandle>,
        sizes: (usize, usize),
        port: u16,
        exchange: Exchange,
    ) -> Self {
        let flows = sockets.into_iter().map(|handle| Served { handle, ways: None }).collect();
        Self { flows, sizes, port, exchange }
    }
}

impl App for Server {
    fn poll(&mut self, net: &mut Net<'_>) -> bool {
        let mut any = false;
        for Served { handle, ways } in &mut self.flows {
            let socket = net.sockets.get_mut::<tcp::Socket<'_>>(*handle);
            match socket.state() {
                tcp::State::Listen | tcp::State::SynReceived => continue,
                // LAST-ACK is over when the client says so; the socket is needed before that.
                tcp::State::Closed => {
                    *ways = None;
                    if socket.listen(self.port).is_err() {
                        net.meter.error(|| "listen".to_owned());
                    }
                    any = true;
                    continue;
                }
                _ => {}
            }
            let (to_come, to_send) = ways.get_or_insert_with(|| {
                let port = socket.remote_endpoint().map_or(0, |remote| remote.port);
                (Way::of_requests(port, self.sizes.0), Way::of_responses(port, 0))
            });
            if to_come.left > 0 {
                any |= self.exchange.take_some(socket, to_come, net.meter);
                if to_come.left == 0 {
                    net.meter.tick(net.now);
                    net.meter.report.ops += 1;
                    to_send.left = self.sizes.1;
                }
            }
            any |= self.exchange.send_some(socket, to_send);
            if socket.state() == tcp::State::CloseWait && to_send.left == 0 {
                socket.close();
                any = true;
            }
        }
        any
    }

    fn done(&self) -> bool {
        false
    }
}
