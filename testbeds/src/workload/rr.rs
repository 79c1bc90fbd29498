//! TCP requests and responses on connections that stay open.

use std::time::Instant;

use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp;

use super::exchange::{Exchange, Way};
use super::stack::{App, Net};

/// Asks, and waits for the answer.
pub(super) struct Client {
    flows: Vec<Flow>,
    sizes: (usize, usize),
    think_ns: u64,
    exchange: Exchange,
    /// Requests sent, or begun.
    begun: u64,
    /// Whose turn it is: the one after whoever had the last of the allowance.
    next: usize,
}

struct Flow {
    handle: SocketHandle,
    /// When the request was sent that is being answered.
    asked: Option<Instant>,
    to_send: Way,
    to_come: Way,
    closed: bool,
}

/// Answers.
pub(super) struct Server {
    flows: Vec<Flow>,
    sizes: (usize, usize),
    exchange: Exchange,
}

impl Client {
    /// On these sockets, each with its number: requests of `sizes.0` bytes, responses of `sizes.1`.
    pub(super) fn new(
        sockets: Vec<(SocketHandle, u32)>,
        sizes: (usize, usize),
        think_ns: u64,
        exchange: Exchange,
    ) -> Self {
        let flow = |(handle, number)| {
            let (to_send, to_come) = (Way::of_requests(number, 0), Way::of_responses(number, 0));
            Flow { handle, asked: None, to_send, to_come, closed: false }
        };
        let flows = sockets.into_iter().map(flow).collect();
        Self { flows, sizes, think_ns, exchange, begun: 0, next: 0 }
    }
}

impl App for Client {
    fn poll(&mut self, net: &mut Net<'_>) -> bool {
        let (mut any, mut last) = (false, None);
        for n in 0..self.flows.len() {
            let at = (self.next + n) % self.flows.len();
            let flow = &mut self.flows[at];
            let socket = net.sockets.get_mut::<tcp::Socket<'_>>(flow.handle);
            any |= self.exchange.take_some(socket, &mut flow.to_come, net.meter);
            if flow.to_come.left == 0
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
                if !net.allowance.is_left() {
                    continue;
                }
                last = Some(at);
                tracer::mark!(ITERATION, "round trip", number = self.begun & 0xffff_ffff);
                net.allowance.think(self.think_ns);
                (flow.to_send.left, flow.to_come.left) = self.sizes;
                flow.asked = Some(Instant::now());
                self.begun += 1;
            }
            any |= self.exchange.send_some(socket, &mut flow.to_send);
        }
        self.next = net.allowance.next(self.next, last);
        any
    }

    fn done(&self) -> bool {
        self.flows.iter().all(|flow| flow.closed)
    }
}

impl Server {
    /// On these sockets, each with its number: requests of `sizes.0` bytes, responses of `sizes.1`.
    pub(super) fn new(
        sockets: Vec<(SocketHandle, u32)>,
        sizes: (usize, usize),
        exchange: Exchange,
    ) -> Self {
        let flow = |(handle, number)| {
            let to_come = Way::of_requests(number, sizes.0);
            let to_send = Way::of_responses(number, 0);
            Flow { handle, asked: None, to_send, to_come, closed: false }
        };
        Self { flows: sockets.into_iter().map(flow).collect(), sizes, exchange }
    }
}

impl App for Server {
    fn poll(&mut self, net: &mut Net<'_>) -> bool {
        let mut any = false;
        for flow in &mut self.flows {
            let socket = net.sockets.get_mut::<tcp::Socket<'_>>(flow.handle);
            loop {
                any |= self.exchange.take_some(socket, &mut flow.to_come, net.meter);
                if flow.to_come.left == 0 && flow.to_send.left == 0 {
                    net.meter.tick(net.now);
                    net.meter.report.ops += 1;
                    (flow.to_come.left, flow.to_send.left) = self.sizes;
                }
                any |= self.exchange.send_some(socket, &mut flow.to_send);
                if flow.to_send.left > 0 || !socket.can_recv() {
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
