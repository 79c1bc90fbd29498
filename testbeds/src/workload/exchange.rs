//! What requests and responses are made of: each connection has two streams of the seeded payload, one for
//! each way, that go on from one exchange to the next; so what is stale, shifted or another connection's is
//! found. With verify off nobody looks. Who asks and who answers is `rr`'s and `crr`'s.

use smoltcp::socket::tcp;

use super::meter::Meter;
use crate::config::RunConfig;
use crate::payload::{Mismatch, Payload};

/// Bytes of the payload from one connection to the next: more than goes over one.
const CONNECTION: u64 = 1 << 40;
/// Where those of responses begin.
const RESPONSES: u64 = 1 << 62;

/// Makes requests and responses, and compares them.
pub(super) struct Exchange(Option<Payload>);

/// One way of a connection.
pub(super) struct Way {
    /// Where in the payload the next byte stands.
    offset: u64,
    /// Bytes of this request or response that are still to go.
    pub(super) left: usize,
}

impl Way {
    /// Requests over the connection of this number, the first of which has `left` bytes.
    pub(super) fn of_requests(connection: impl Into<u64>, left: usize) -> Self {
        Self { offset: connection.into() * CONNECTION, left }
    }

    /// Responses, as with requests.
    pub(super) fn of_responses(connection: impl Into<u64>, left: usize) -> Self {
        Self { offset: RESPONSES + connection.into() * CONNECTION, left }
    }

    fn name(&self) -> &'static str {
        if self.offset < RESPONSES { "request" } else { "response" }
    }

    fn went(&mut self, len: usize) {
        self.offset += len as u64;
        self.left -= len;
    }
}

impl Exchange {
    /// What this run exchanges.
    pub(super) fn of(run: &RunConfig) -> Self {
        Self(run.verify.then(|| Payload::new(run.seed)))
    }

    /// Sends as much as fits of what is left. Says whether any did.
    pub(super) fn send_some(&self, socket: &mut tcp::Socket<'_>, way: &mut Way) -> bool {
        let mut any = false;
        while way.left > 0 && socket.can_send() {
            let sent = socket.send(|room| {
                let len = room.len().min(way.left);
                self.fill(way, &mut room[..len]);
                (len, len)
            });
            let Ok(len) = sent else { break };
            way.went(len);
            any |= len > 0;
        }
        any
    }

    /// Takes as much as is there of what is left, and compares it. Says whether any was.
    pub(super) fn take_some(
        &self,
        socket: &mut tcp::Socket<'_>,
        way: &mut Way,
        meter: &mut Meter,
    ) -> bool {
        let mut any = false;
        while way.left > 0 && socket.can_recv() {
            let taken = socket.recv(|bytes| {
                let bytes = &bytes[..bytes.len().min(way.left)];
                meter.copy(bytes);
                (bytes.len(), (bytes.len(), self.check(way, bytes)))
            });
            let Ok((len, good)) = taken else { break };
            if let Err(wrong) = good {
                meter.error(|| format!("a {}: {wrong}", way.name()));
            }
            way.went(len);
            any |= len > 0;
        }
        any
    }

    /// The next bytes of this way.
    #[inline]
    fn fill(&self, way: &Way, room: &mut [u8]) {
        if let Some(payload) = &self.0 {
            payload.fill(way.offset, room);
        }
    }

    /// Whether these are the next bytes of this way.
    #[inline]
    fn check(&self, way: &Way, bytes: &[u8]) -> Result<(), Mismatch> {
        self.0.as_ref().map_or(Ok(()), |payload| payload.check(way.offset, bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_next_on_its_own_way_is_right() {
        let run = |verify, seed| RunConfig { verify, seed, ..RunConfig::default() };
        let exchange = Exchange::of(&run(true, 1));
        let (mut way, mut bytes) = (Way::of_requests(3_u16, 100), [0; 16]);
        exchange.fill(&way, &mut bytes);
        assert_eq!(exchange.check(&way, &bytes), Ok(()));
        for other in [Way::of_requests(4_u16, 100), Way::of_responses(3_u16, 100)] {
            exchange.check(&other, &bytes).expect_err("another way's");
        }
        exchange.check(&way, &bytes[1..]).expect_err("shifted");
        Exchange::of(&run(true, 2)).check(&way, &bytes).expect_err("another seed's");
        way.went(16);
        exchange.check(&way, &bytes).expect_err("stale");
        assert_eq!(Exchange::of(&run(false, 1)).check(&way, &bytes), Ok(()), "nobody looks");
    }
}
