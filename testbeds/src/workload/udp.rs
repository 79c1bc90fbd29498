//! UDP datagrams in one direction: each carries its number, and the receiver counts what is missing.

use smoltcp::iface::SocketHandle;
use smoltcp::socket::udp;
use smoltcp::wire::IpAddress;

use super::stack::{App, Net};
use super::think;
use crate::payload::Payload;

/// Bytes of the number at the head of each datagram.
const HEAD: usize = 8;

/// Sends.
pub(super) struct Sender {
    flows: Vec<Outgoing>,
    len: usize,
    verify: bool,
    think_ns: u64,
    total: u64,
    /// Whether this end decides when its time is over.
    decides: bool,
    over: bool,
    /// The first datagrams have left.
    begun: bool,
}

/// One flow of a sender: its socket, whom it sends to, its next number, its bytes.
struct Outgoing {
    handle: SocketHandle,
    remote: (IpAddress, u16),
    number: u64,
    payload: Payload,
}

/// Receives.
pub(super) struct Receiver {
    flows: Vec<(SocketHandle, u64, Payload)>,
    len: usize,
    verify: bool,
    /// Whether this end decides when it is over.
    decides: bool,
    over: bool,
}

impl Sender {
    /// Datagrams of `len` bytes from these sockets, each to its own end.
    pub(super) fn new(
        flows: Vec<(SocketHandle, (IpAddress, u16), Payload)>,
        len: usize,
        verify: bool,
        think_ns: u64,
        decides: bool,
    ) -> Self {
        let flow = |(handle, remote, payload)| Outgoing { handle, remote, number: 0, payload };
        let flows = flows.into_iter().map(flow).collect();
        Self { flows, len, verify, think_ns, total: 0, decides, over: false, begun: false }
    }
}

impl Sender {
    /// Whether datagrams leave: the first ones wait until the stack has learned where to send them,
    /// which belongs to no measurement.
    fn on_its_way(&mut self, net: &Net<'_>) -> bool {
        let waits = |flow: &Outgoing| {
            let socket = net.sockets.get::<udp::Socket<'_>>(flow.handle);
            flow.number > 0 && socket.send_queue() > 0
        };
        self.begun = self.begun || (self.total > 0 && !self.flows.iter().any(waits));
        self.begun || self.total == 0
    }
}

impl App for Sender {
    fn poll(&mut self, net: &mut Net<'_>) -> bool {
        if self.over || !self.on_its_way(net) {
            return false;
        }
        if self.begun {
            net.meter.tick(net.now);
        }
        let mut any = false;
        let counted_out = net.meter.left(self.total) < self.len as u64;
        let ending = counted_out || (self.decides && net.meter.is_over(net.now, self.total));
        for Outgoing { handle, remote, number, payload } in &mut self.flows {
            if ending {
                break;
            }
            let socket = net.sockets.get_mut::<udp::Socket<'_>>(*handle);
            while net.meter.left(self.total) >= self.len as u64 && socket.can_send() {
                think(self.think_ns);
                let (len, verify, n) = (self.len, self.verify, *number);
                let sent = socket.send_with(len, *remote, |room| {
                    room[..HEAD].copy_from_slice(&n.to_be_bytes());
                    if verify {
                        payload.fill(n.wrapping_mul(len as u64), &mut room[HEAD..]);
                    }
                    len
                });
                if sent.is_err() {
                    break;
                }
                *number += 1;
                self.total += len as u64;
                any = true;
            }
        }
        // Ends when the sockets are empty too, so that the last datagrams leave.
        if ending {
            self.over = self
                .flows
                .iter()
                .all(|flow| net.sockets.get::<udp::Socket<'_>>(flow.handle).send_queue() == 0);
        }
        any
    }

    fn done(&self) -> bool {
        self.over
    }
}

impl Receiver {
    /// Receives datagrams of `len` bytes on these sockets. With `decides` it is this end that ends
    /// the run.
    pub(super) fn new(
        flows: Vec<(SocketHandle, Payload)>,
        len: usize,
        verify: bool,
        decides: bool,
    ) -> Self {
        let flows = flows.into_iter().map(|(handle, payload)| (handle, 0, payload)).collect();
        Self { flows, len, verify, decides, over: false }
    }
}

impl App for Receiver {
    fn poll(&mut self, net: &mut Net<'_>) -> bool {
        let mut any = false;
        for (handle, next, payload) in &mut self.flows {
            let socket = net.sockets.get_mut::<udp::Socket<'_>>(*handle);
            while let Ok((bytes, _)) = socket.recv() {
                any = true;
                net.meter.tick(net.now);
                let Some((head, rest)) = bytes.split_first_chunk::<HEAD>() else {
                    net.meter.error(|| "a datagram without its number".to_owned());
                    continue;
                };
                let number = u64::from_be_bytes(*head);
                net.meter.copy(bytes);
                let report = &mut net.meter.report;
                report.bytes += bytes.len() as u64;
                report.ops += 1;
                report.lost += number.saturating_sub(*next);
                *next = number.wrapping_add(1);
                if !self.verify {
                    continue;
                }
                match payload.check(number.wrapping_mul(bytes.len() as u64), rest) {
                    // The number too: another one would want another payload.
                    Ok(()) => report.verified += bytes.len() as u64,
                    Err(wrong) => net.meter.error(|| format!("datagram {number}: {wrong}")),
                }
            }
        }
        let report = &net.meter.report;
        let seen = report.bytes + report.lost * (report.bytes / report.ops.max(1));
        // The sender sends no part of a datagram.
        let all = net.meter.left(seen) < self.len as u64;
        self.over = self.decides && (all || net.meter.is_over(net.now, seen));
        any
    }

    fn done(&self) -> bool {
        self.over
    }
}
