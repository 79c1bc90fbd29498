//! TCP streams: a sender that fills its window, a receiver that takes and compares. Either may be
//! the one that connects.

use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp;

use super::source::{Out, Source};
use super::stack::{App, Net};
use super::think;

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
        Self { flows: flows(sockets), chunk, think_ns, total: 0 }
    }
}

impl App for Sender {
    fn poll(&mut self, net: &mut Net<'_>) -> bool {
        let mut any = false;
        for flow in &mut self.flows {
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
                think(self.think_ns);
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
                        flow.offset += len as u64;
                        self.total += len as u64;
                        net.meter.report.sent += len as u64;
                        any = true;
                    }
                    Ok(Err(error)) => {
                        net.meter.error(|| format!("--file: {error}"));
                        socket.abort();
                    }
                    Err(_) => break,
                }
            }
        }
        if !self.flows.is_empty() && net.meter.is_over(net.now, self.total) {
            for flow in self.flows.iter_mut().filter(|flow| !flow.closed) {
                        // The other end is told, and nobody waits for this flow any more.
                net.sockets.get_mut::<tcp::Socket<'_>>(flow.handle).close();
                        (flow.closed, any) = (true, true);
                        break;
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
