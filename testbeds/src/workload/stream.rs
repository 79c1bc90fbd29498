//! TCP streams: a sender that fills its window, a receiver that takes and compares. Either may be
//! the one that connects.

use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp;

use super::source::{Out, Source};
use super::stack::{App, Net};

/// One flow's progress.
struct Flow {
    handle: SocketHandle,
    offset: u64,
    source: Source,
    closed: bool,
}

/// Sends.
pub(super) struct Sender {
    flows: Vec<Flow>,
    chunk: usize,
    think_ns: u64,
    total: u64,
    /// Whose turn it is: the one after whoever had the last of the allowance.
    next: usize,
}

/// Receives.
pub(super) struct Receiver {
    flows: Vec<Flow>,
    out: Out,
}

fn flows(sockets: Vec<(SocketHandle, Source)>) -> Vec<Flow> {
    let flow = |(handle, source)| Flow { handle, offset: 0, source, closed: false };
    sockets.into_iter().map(flow).collect()
}

impl Sender {
    /// Sends on these sockets, in writes of `chunk` bytes.
    pub(super) fn new(sockets: Vec<(SocketHandle, Source)>, chunk: usize, think_ns: u64) -> Self {
        Self { flows: flows(sockets), chunk, think_ns, total: 0, next: 0 }
    }
}

impl App for Sender {
    fn poll(&mut self, net: &mut Net<'_>) -> bool {
        let (mut any, mut last) = (false, None);
        for n in 0..self.flows.len() {
            let at = (self.next + n) % self.flows.len();
            let flow = &mut self.flows[at];
            let socket = net.sockets.get_mut::<tcp::Socket<'_>>(flow.handle);
            if flow.closed || !socket.may_send() {
                continue;
            }
            net.meter.tick(net.now);
            if net.meter.is_over(net.now, self.total) {
                break;
            }
            while socket.can_send() {
                let left = net.meter.left(self.total);
                if left == 0 {
                    break;
                }
                if !net.allowance.is_left() {
                    break;
                }
                last = Some(at);
                net.allowance.think(self.think_ns);
                let most = usize::try_from(left).unwrap_or(usize::MAX).min(self.chunk);
                let (source, offset) = (&mut flow.source, flow.offset);
                let sent = socket.send(|room| {
                    let len = room.len().min(most);
                    match source.fill(offset, &mut room[..len]) {
                        Ok(len) => (len, Ok(len)),
                        Err(error) => (0, Err(error)),
                    }
                });
                match sent {
                    Ok(Ok(len)) => {
                        net.allowance.take(len);
                        flow.offset += len as u64;
                        self.total += len as u64;
                        net.meter.report.sent += len as u64;
                        any = true;
                    }
                    Ok(Err(error)) => {
                        net.meter.error(|| format!("--file: {error}"));
                        // The other end is told, and nobody waits for this flow any more.
                        socket.abort();
                        (flow.closed, any) = (true, true);
                        break;
                    }
                    Err(_) => break,
                }
            }
        }
        self.next = net.allowance.next(self.next, last);
        if !self.flows.is_empty() && net.meter.is_over(net.now, self.total) {
            for flow in self.flows.iter_mut().filter(|flow| !flow.closed) {
                net.sockets.get_mut::<tcp::Socket<'_>>(flow.handle).close();
                flow.closed = true;
                any = true;
            }
        }
        self.flows.retain(|flow| {
            !(flow.closed && ended(net.sockets.get::<tcp::Socket<'_>>(flow.handle)))
        });
        any
    }

    fn done(&self) -> bool {
        self.flows.is_empty()
    }
}

impl Receiver {
    /// Receives on these sockets.
    pub(super) fn new(sockets: Vec<(SocketHandle, Source)>, out: Out) -> Self {
        Self { flows: flows(sockets), out }
    }
}

impl App for Receiver {
    fn poll(&mut self, net: &mut Net<'_>) -> bool {
        let mut any = false;
        for flow in &mut self.flows {
            let socket = net.sockets.get_mut::<tcp::Socket<'_>>(flow.handle);
            while socket.can_recv() {
                net.meter.tick(net.now);
                let (source, offset, out) = (&mut flow.source, flow.offset, &mut self.out);
                let meter = &mut *net.meter;
                let taken = socket.recv(|bytes| {
                    let good = source.check(offset, bytes);
                    meter.copy(bytes);
                    let written = out.write(bytes).map_err(|e| format!("--out: {e}"));
                    (bytes.len(), (bytes.len(), good.and(written)))
                });
                let Ok((len, outcome)) = taken else { break };
                let report = &mut net.meter.report;
                report.bytes += len as u64;
                report.verified += if flow.source.checks() { len as u64 } else { 0 };
                flow.offset += len as u64;
                any = true;
                if let Err(what) = outcome {
                    net.meter.error(|| what);
                }
            }
            // The sender has closed, and everything is taken, be it nothing at all: so do we.
            if !flow.closed && begun(socket) && !socket.may_recv() {
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

/// Whether there is, or was, a connection.
fn begun(socket: &tcp::Socket<'_>) -> bool {
    use tcp::State::{Listen, SynReceived, SynSent};
    !matches!(socket.state(), Listen | SynSent | SynReceived)
}

/// Whether a socket that was closed has nothing more to say: TIME-WAIT is not waited for.
fn ended(socket: &tcp::Socket<'_>) -> bool {
    matches!(socket.state(), tcp::State::Closed | tcp::State::TimeWait)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use smoltcp::iface::{Config, Interface, SocketSet};
    use smoltcp::phy::{Loopback, Medium};
    use smoltcp::time::Instant as StackInstant;
    use smoltcp::wire::{EthernetAddress, HardwareAddress, IpAddress, IpCidr};

    use super::*;
    use crate::config::RunConfig;
    use crate::workload::Meter;
    use crate::workload::allowance::Allowance;
    use crate::workload::stack::tcp_socket;

    const OWN: IpAddress = IpAddress::v4(10, 0, 0, 1);

    /// So many connections of a stack with itself, and the ends that connected.
    fn connected(flows: u16, window: usize) -> (Interface, SocketSet<'static>, Vec<SocketHandle>) {
        let mut device = Loopback::new(Medium::Ethernet);
        let address = HardwareAddress::Ethernet(EthernetAddress([2, 0, 0, 0, 0, 1]));
        let mut iface = Interface::new(Config::new(address), &mut device, StackInstant::ZERO);
        iface.update_ip_addrs(|all| all.push(IpCidr::new(OWN, 24)).expect("room"));
        let mut sockets = SocketSet::new(Vec::new());
        let mut open = |n: u16| {
            let (mut server, mut client) = (tcp_socket(window), tcp_socket(window));
            server.listen(5201 + n).expect("it is new");
            client.connect(iface.context(), (OWN, 5201 + n), 49_152 + n).expect("it is new");
            sockets.add(server);
            sockets.add(client)
        };
        let clients: Vec<SocketHandle> = (0..flows).map(&mut open).collect();
        for ms in 0..1000 {
            iface.poll(StackInstant::from_millis(ms), &mut device, &mut sockets);
        }
        (iface, sockets, clients)
    }

    /// With buffers that hold much more than that, as a guest may ask for.
    #[test]
    fn a_turn_makes_no_more_than_its_allowance_and_every_flow_has_its_turn() {
        const CHUNK: usize = 128 << 10;
        let (mut iface, mut sockets, clients) = connected(3, 16 << 20);
        let flows = clients.iter().map(|&client| (client, Source::Any)).collect();
        let mut sender = Sender::new(flows, CHUNK, 0);
        let mut meter = Meter::new(&RunConfig::default(), 0, 1);
        let mut before = 0;
        for turn in 0..3 {
            let (iface, sockets, meter) = (&mut iface, &mut sockets, &mut meter);
            let (now, mut allowance) = (Instant::now(), Allowance::of_a_turn());
            let allowance = &mut allowance;
            // A stack asks until nothing moves.
            while sender.poll(&mut Net { iface, sockets, now, meter, allowance }) {}
            assert!(!allowance.is_left());
            let queued =
                |client: &SocketHandle| sockets.get::<tcp::Socket<'_>>(*client).send_queue();
            let all: Vec<usize> = clients.iter().map(queued).collect();
            let sum: usize = all.iter().sum();
            assert!((1..=(1 << 20) + CHUNK).contains(&(sum - before)), "turn {turn}: {all:?}");
            assert_eq!(all.iter().filter(|&&bytes| bytes > 0).count(), turn + 1, "{all:?}");
            before = sum;
        }
    }

    #[test]
    fn a_turn_thinks_no_longer_than_its_allowance() {
        let (mut iface, mut sockets, clients) = connected(2, 4 << 20);
        let flows = clients.iter().map(|&client| (client, Source::Any)).collect();
        // Two million writes have room.
        let mut sender = Sender::new(flows, 1, 1_000_000);
        let mut meter = Meter::new(&RunConfig::default(), 0, 1);
        let (iface, sockets, meter) = (&mut iface, &mut sockets, &mut meter);
        let (now, allowance) = (Instant::now(), &mut Allowance::of_a_turn());
        while sender.poll(&mut Net { iface, sockets, now, meter, allowance }) {}
        assert_eq!(meter.report.sent, 10);
    }
}
