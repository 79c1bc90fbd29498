//! TCP requests and responses on connections that stay open.

use std::time::Instant;

use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp;

use super::meter::Meter;
use super::stack::{App, Net};
use super::think;

/// Asks, and waits for the answer.
pub(super) struct Client {
    flows: Vec<Flow>,
    sizes: (usize, usize),
    think_ns: u64,
    /// Requests sent, or begun.
    begun: u64,
}

struct Flow {
    handle: SocketHandle,
    /// When the request was sent that is being answered.
    asked: Option<Instant>,
    to_send: usize,
    to_come: usize,
    closed: bool,
}

/// Answers.
pub(super) struct Server {
    flows: Vec<Flow>,
    sizes: (usize, usize),
}

/// Requests and responses are made of this.
static BYTES: [u8; 4096] = [b'r'; 4096];

fn flows(sockets: Vec<SocketHandle>) -> Vec<Flow> {
    let flow = |handle| Flow { handle, asked: None, to_send: 0, to_come: 0, closed: false };
    sockets.into_iter().map(flow).collect()
}

/// Sends as much as fits of `left` bytes. Says whether any did.
pub(super) fn send_some(socket: &mut tcp::Socket<'_>, left: &mut usize) -> bool {
    let mut any = false;
    while *left > 0 && socket.can_send() {
        let Ok(sent) = socket.send_slice(&BYTES[..BYTES.len().min(*left)]) else { break };
        *left -= sent;
        any |= sent > 0;
    }
    any
}

/// Takes as much as is there of `left` bytes. Says whether any was, and how many were wrong.
pub(super) fn take_some(
    socket: &mut tcp::Socket<'_>,
    left: &mut usize,
    meter: &mut Meter,
) -> (bool, usize) {
    let (mut any, mut wrong) = (false, 0);
    while *left > 0 && socket.can_recv() {
        let most = *left;
        let taken = socket.recv(|bytes| {
            let len = bytes.len().min(most);
            meter.copy(&bytes[..len]);
            (len, (len, wrong_bytes(&bytes[..len])))
        });
        let Ok((len, bad)) = taken else { break };
        *left -= len;
        wrong += bad;
        any |= len > 0;
    }
    (any, wrong)
}

/// How many bytes are none of a request or response.
fn wrong_bytes(bytes: &[u8]) -> usize {
    // Comparing memory is fast; counting is for what should never be.
    let pieces = bytes.chunks(BYTES.len()).filter(|piece| **piece != BYTES[..piece.len()]);
    pieces.flatten().filter(|&&byte| byte != BYTES[0]).count()
}

impl Client {
    /// Requests of `sizes.0` bytes, responses of `sizes.1`.
    pub(super) fn new(sockets: Vec<SocketHandle>, sizes: (usize, usize), think_ns: u64) -> Self {
        Self { flows: flows(sockets), sizes, think_ns, begun: 0 }
    }
}

impl App for Client {
    fn poll(&mut self, net: &mut Net<'_>) -> bool {
        let mut any = false;
        for flow in &mut self.flows {
            let socket = net.sockets.get_mut::<tcp::Socket<'_>>(flow.handle);
            let (moved, wrong) = take_some(socket, &mut flow.to_come, net.meter);
            any |= moved;
            if wrong > 0 {
                net.meter.error(|| format!("{wrong} wrong bytes in a response"));
            }
            if flow.to_come == 0
                && let Some(asked) = flow.asked.take()
            {
                // The clock of this turn was read before the response was taken from the ring.
                let took = Instant::now().duration_since(asked);
                net.meter.tick(net.now);
                let report = &mut net.meter.report;
                report.ops += 1;
                report.bytes += (self.sizes.0 + self.sizes.1) as u64;
                let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
                report.latencies.get_or_insert_default().record(ns);
            }
            if flow.asked.is_none() && !flow.closed && socket.may_send() {
                net.meter.tick(net.now);
                if net.meter.is_over(net.now, self.begun) {
                    socket.close();
                    flow.closed = true;
                    any = true;
                    continue;
                }
                tracer::mark!(ITERATION, "round trip", number = self.begun & 0xffff_ffff);
                think(self.think_ns);
                (flow.to_send, flow.to_come) = self.sizes;
                flow.asked = Some(Instant::now());
                self.begun += 1;
            }
            any |= send_some(socket, &mut flow.to_send);
        }
        any
    }

    fn done(&self) -> bool {
        self.flows.iter().all(|flow| flow.closed)
    }
}

impl Server {
    /// Requests of `sizes.0` bytes, responses of `sizes.1`.
    pub(super) fn new(sockets: Vec<SocketHandle>, sizes: (usize, usize)) -> Self {
        let mut flows = flows(sockets);
        flows.iter_mut().for_each(|flow| flow.to_come = sizes.0);
        Self { flows, sizes }
    }
}

impl App for Server {
    fn poll(&mut self, net: &mut Net<'_>) -> bool {
        let mut any = false;
        for flow in &mut self.flows {
            let socket = net.sockets.get_mut::<tcp::Socket<'_>>(flow.handle);
            loop {
                let (moved, wrong) = take_some(socket, &mut flow.to_come, net.meter);
                any |= moved;
                if wrong > 0 {
                    net.meter.error(|| format!("{wrong} wrong bytes in a request"));
                }
                if flow.to_come == 0 && flow.to_send == 0 {
                    net.meter.tick(net.now);
                    net.meter.report.ops += 1;
                    flow.to_send = self.sizes.1;
                    flow.to_come = self.sizes.0;
                }
                any |= send_some(socket, &mut flow.to_send);
                if flow.to_send > 0 || !socket.can_recv() {
                    break;
                }
            }
            if !flow.closed && socket.state() == tcp::State::CloseWait {
                socket.close();
                flow.closed = true;
                any = true;
            }
        }
        any
    }

    fn done(&self) -> bool {
        self.flows.iter().all(|flow| flow.closed)
    }
}
