//! UDP datagrams in one direction: each carries its number, and the receiver counts what is missing.

use smoltcp::iface::SocketHandle;
use smoltcp::socket::udp;
use smoltcp::wire::IpAddress;

use super::stack::{App, Net};
use crate::payload::Payload;

/// Bytes of the number at the head of each datagram: the shortest there is.
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
    /// Whose turn it is: the one after whoever had the last of the allowance.
    next: usize,
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
    /// Bytes that came or were lost.
    seen: u64,
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
        let (total, next, over, begun) = (0, 0, false, false);
        Self { flows, len, verify, think_ns, total, decides, over, begun, next }
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
        let (mut any, mut last) = (false, None);
        // Whoever does not decide may have nothing left to send all the same.
        let timed_out = self.decides && net.meter.is_over(net.now, self.total);
        let ending = timed_out || net.meter.left(self.total) == 0;
        for n in 0..self.flows.len() {
            if ending {
                break;
            }
            let at = (self.next + n) % self.flows.len();
            let Outgoing { handle, remote, number, payload } = &mut self.flows[at];
            let socket = net.sockets.get_mut::<udp::Socket<'_>>(*handle);
            while socket.can_send() {
                let (full, len) = (self.len as u64, length(self.len, net.meter.left(self.total)));
                if len == 0 {
                    break;
                }
                if !net.allowance.is_left() {
                    break;
                }
                last = Some(at);
                net.allowance.think(self.think_ns);
                let (verify, n) = (self.verify, *number);
                let sent = socket.send_with(len, *remote, |room| {
                    room[..HEAD].copy_from_slice(&n.to_be_bytes());
                    if verify {
                        payload.fill(n.wrapping_mul(full), &mut room[HEAD..len]);
                    }
                    len
                });
                if sent.is_err() {
                    break;
                }
                *number += 1;
                net.allowance.take(len);
                self.total += len as u64;
                net.meter.report.sent += len as u64;
                any = true;
            }
        }
        self.next = net.allowance.next(self.next, last);
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

/// Bytes of the next datagram of `len` where `left` bytes are to be sent. The last one is shorter; if what is left
/// for it could not hold its number, the one before it leaves it some more.
fn length(len: usize, left: u64) -> usize {
    match usize::try_from(left).unwrap_or(usize::MAX) {
        left if left <= len => left,
        left if left < len + HEAD => left - HEAD,
        _ => len,
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
        Self { flows, len, seen: 0, verify, decides, over: false }
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
                let lost = number.saturating_sub(*next);
                // The number is what the other end says: it may say anything.
                report.lost = report.lost.saturating_add(lost);
                let gone = lost.saturating_mul(self.len as u64);
                self.seen = self.seen.saturating_add(gone).saturating_add(bytes.len() as u64);
                *next = number.wrapping_add(1);
                if !self.verify {
                    continue;
                }
                match payload.check(number.wrapping_mul(self.len as u64), rest) {
                    // The number too: another one would want another payload.
                    Ok(()) => report.verified += bytes.len() as u64,
                    Err(wrong) => net.meter.error(|| format!("datagram {number}: {wrong}")),
                }
            }
        }
        self.over = self.decides && net.meter.is_over(net.now, self.seen);
        any
    }

    fn done(&self) -> bool {
        self.over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_add_up_and_hold_their_numbers() {
        for len in [16, 17, 1472] {
            for all in (16..200).chain([1_471, 1_472, 1_473, 1_479, 1_480, 100_001]) {
                let (mut left, mut lengths) = (all, Vec::new());
                while left > 0 {
                    lengths.push(length(len, left));
                    left -= lengths[lengths.len() - 1] as u64;
                }
                assert!(
                    lengths.iter().all(|l| (HEAD..=len).contains(l)),
                    "{all} by {len}: {lengths:?}"
                );
                let least = usize::try_from(all).expect("small").div_ceil(len);
                assert_eq!(lengths.len(), least, "{all} by {len}: no more than needed");
            }
        }
        assert_eq!(length(1472, u64::MAX), 1472);
    }
}
