//! Both ends of a workload on one stack: what a guest says to itself over netback's reflector.
//!
//! The stack has two addresses, one for each end. Every frame goes to netback and comes back with its
//! Ethernet addresses exchanged, which are the same; nothing is delivered on a short cut.

use std::time::{Duration, Instant};

use super::meter::Meter;
use super::stack::{App, Net};

/// How long nothing must have come before what is missing counts as lost.
const QUIET: Duration = Duration::from_millis(500);

/// Two applications, of which one is measured.
pub(super) struct Both {
    client: Box<dyn App>,
    server: Box<dyn App>,
    /// The meter of the end that is not measured.
    other: Meter,
    /// Whether the server is the one that is.
    server_counts: bool,
    /// Whether what was sent may still be on its way when the client is done.
    trails: bool,
    quiet_since: Option<Instant>,
    settled: bool,
}

impl Both {
    /// `client` and `server`, of which the stack's meter measures one and `other` the other.
    pub(super) fn new(
        client: Box<dyn App>,
        server: Box<dyn App>,
        other: Meter,
        server_counts: bool,
        trails: bool,
    ) -> Self {
        Self { client, server, other, server_counts, trails, quiet_since: None, settled: !trails }
    }
}

impl App for Both {
    fn poll(&mut self, net: &mut Net<'_>) -> bool {
        let Net { iface, sockets, now, meter, allowance } = net;
        let (client, server) = match self.server_counts {
            true => (&mut self.other, &mut **meter),
            false => (&mut **meter, &mut self.other),
        };
        let now = *now;
        let mut any = self.server.poll(&mut Net { iface, sockets, now, meter: server, allowance });
        any |= self.client.poll(&mut Net { iface, sockets, now, meter: client, allowance });
        meter.report.sent += std::mem::take(&mut self.other.report.sent);
        // An error is one whoever finds it.
        let found = std::mem::take(&mut self.other.report.errors);
        if found > 0 {
            meter.report.errors += found;
            let first = self.other.report.first_error.take();
            meter.report.first_error = meter.report.first_error.take().or(first);
        }
        if self.trails && self.client.done() {
            if any {
                self.quiet_since = None;
            }
            let since = *self.quiet_since.get_or_insert(now);
            self.settled = now.duration_since(since) >= QUIET;
        }
        any
    }

    fn sent(&mut self, net: &mut Net<'_>) -> bool {
        let Net { iface, sockets, now, meter, allowance } = net;
        let (client, server) = match self.server_counts {
            true => (&mut self.other, &mut **meter),
            false => (&mut **meter, &mut self.other),
        };
        let now = *now;
        let more = self.server.sent(&mut Net { iface, sockets, now, meter: server, allowance });
        more | self.client.sent(&mut Net { iface, sockets, now, meter: client, allowance })
    }

    fn done(&self) -> bool {
        self.client.done() && self.settled
    }
}
