//! A TCP/IP stack over a nic, and an application on it: one task of a worker.

use std::time::{Duration, Instant};

use rings::DomainError;
use rings::worker::Task;
use rings_host::EpollWaiter;
use smoltcp::iface::{Config, Interface, PollIngressSingleResult, SocketSet};
use smoltcp::socket::tcp;
use smoltcp::time::Instant as StackInstant;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpAddress, IpCidr};
use tracer::traced;

use super::allowance::Allowance;
use super::meter::{Meter, SideReport};
use super::{Job, Nic};
use crate::counters::Counters;

impl App for Box<dyn App> {
    fn poll(&mut self, net: &mut Net<'_>) -> bool {
        (**self).poll(net)
    }

    fn sent(&mut self, net: &mut Net<'_>) -> bool {
        (**self).sent(net)
    }

    fn done(&self) -> bool {
        (**self).done()
    }
}

/// An application: what it does with its sockets.
pub(super) trait App: Send {
    /// Looks at its sockets and does what can be done. `true` if it did anything.
    fn poll(&mut self, net: &mut Net<'_>) -> bool;
    /// All the stack had to send is on the ring. `true` if there is more to do at once, even if
    /// nothing comes.
    fn sent(&mut self, _net: &mut Net<'_>) -> bool {
        false
    }
    /// Whether it has done all it was to do.
    fn done(&self) -> bool;
}

/// What an application sees of the stack.
pub(super) struct Net<'a> {
    /// For connecting.
    pub iface: &'a mut Interface,
    /// The sockets.
    pub sockets: &'a mut SocketSet<'static>,
    /// The clock, read once per turn.
    pub now: Instant,
    /// The meter.
    pub meter: &'a mut Meter,
    /// What may still be done in this turn.
    pub allowance: &'a mut Allowance,
}

/// Who this stack is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Identity {
    /// Ethernet address.
    pub mac: [u8; 6],
    /// IP address; the network is /24 or /64.
    pub ip: IpAddress,
    /// A second one, for a stack that talks to itself.
    pub also: Option<IpAddress>,
    /// Seed of initial sequence numbers.
    pub seed: u64,
}

/// A stack with its application, on a nic.
pub(super) struct Stack<N: Nic, A> {
    nic: N,
    iface: Interface,
    sockets: SocketSet<'static>,
    app: A,
    meter: Meter,
    origin: Instant,
    /// How long the other end may take until the first connection stands.
    patience: Option<Duration>,
    /// It took longer.
    unanswered: bool,
    /// Frames taken in one turn.
    budget: usize,
    /// Empty turns since the last look at the clock.
    idle: u32,
    /// The application has more to do, even if nothing comes.
    more: bool,
    /// The last turn did something: no sleep before one that did nothing.
    moved: bool,
    /// The last turn ended because the ring was full.
    blocked: bool,
    /// When the stack's next timer is due.
    due: Option<Instant>,
}

/// Bytes after which a turn takes no further frames: the other end waits for acknowledgements.
const TURN_BYTES: u64 = 1 << 16;
/// Turns at the end for what is still on the ring.
pub(crate) const FAREWELL_TURNS: u32 = 16;
/// Empty turns between two looks at the clock: it costs more than the turn.
const IDLE_TURNS_PER_CLOCK: u32 = 64;

impl<N: Nic, A: App> Stack<N, A> {
    /// A stack named `identity` over `nic`, with an application whose sockets `open` makes.
    pub(super) fn new(
        mut nic: N,
        identity: Identity,
        budget: usize,
        meter: Meter,
        open: impl FnOnce(&mut Interface, &mut SocketSet<'static>) -> A,
    ) -> Self {
        let mut config = Config::new(HardwareAddress::Ethernet(EthernetAddress(identity.mac)));
        config.random_seed = identity.seed;
        let mut iface = Interface::new(config, &mut nic, StackInstant::from_micros(0));
        let prefix = if matches!(identity.ip, IpAddress::Ipv4(_)) { 24 } else { 64 };
        iface.update_ip_addrs(|addresses| {
            // There is room for two.
            for ip in [Some(identity.ip), identity.also].into_iter().flatten() {
                let _ = addresses.push(IpCidr::new(ip, prefix));
            }
        });
        let mut sockets = SocketSet::new(Vec::new());
        let app = open(&mut iface, &mut sockets);
        Self {
            nic,
            iface,
            sockets,
            app,
            meter,
            origin: Instant::now(),
            patience: None,
            unanswered: false,
            budget,
            idle: 0,
            more: false,
            moved: false,
            blocked: false,
            due: None,
        }
    }

    /// The same, for who connects: that the other end does not answer for so long is a failure.
    pub(super) fn answered_within(mut self, patience: Duration) -> Self {
        self.patience = Some(patience);
        self
    }

    /// The stack's clock.
    fn stack_time(&self, now: Instant) -> StackInstant {
        let micros = now.duration_since(self.origin).as_micros();
        StackInstant::from_micros(i64::try_from(micros).unwrap_or(i64::MAX))
    }

    fn turn(&mut self, now: Instant) -> bool {
        let time = self.stack_time(now);
        // The turn in which measuring begins belongs to it.
        let base = (!self.meter.begun()).then(|| self.nic.counters());
        let mut any = false;
        let enough = self.nic.taken() + TURN_BYTES;
        let mut span = tracer::quiet_span!(GUEST, "stack_ingress");
        for _ in 0..self.budget {
            if self.nic.taken() >= enough {
                break;
            }
            match self.iface.poll_ingress_single(time, &mut self.nic, &mut self.sockets) {
                PollIngressSingleResult::None => break,
                _ => any = true,
            }
        }
        span.keep_if(any);
        drop(span);
        let before = self.nic.sent();
        self.blocked = false;
        let mut allowance = Allowance::of_a_turn();
        // What leaves makes room for more, of which smoltcp takes a frame of each socket at a time.
        for round in 0..self.budget {
            let moved = self.poll_app(now, &mut allowance);
            any |= moved;
            if self.blocked || (round > 0 && !moved) {
                break;
            }
            self.egress(time);
            self.blocked = self.nic.sent().1 != before.1;
        }
        any |= self.nic.sent().0 != before.0;
        self.nic.flush();
        let Self { iface, sockets, meter, .. } = self;
        let cut = !allowance.is_left();
        let allowance = &mut allowance;
        let more =
            !self.blocked && self.app.sent(&mut Net { iface, sockets, now, meter, allowance });
        self.more = more || (cut && !self.blocked);
        self.moved = any;
        if let Some(patience) = self.patience
            && !self.meter.started()
        {
            self.unanswered = now.duration_since(self.origin) > patience;
        }
        if self.meter.wants_base() {
            self.meter.set_base(base.unwrap_or_default());
        }
        any
    }

    /// The application looks at its sockets.
    fn poll_app(&mut self, now: Instant, allowance: &mut Allowance) -> bool {
        let mut span = tracer::quiet_span!(GUEST, "app");
        let Self { iface, sockets, meter, .. } = self;
        let moved = self.app.poll(&mut Net { iface, sockets, now, meter, allowance });
        span.keep_if(moved);
        moved
    }

    /// The stack sends what it can.
    fn egress(&mut self, time: StackInstant) {
        let (mut span, before) = (tracer::quiet_span!(GUEST, "stack_egress"), self.nic.sent().0);
        let _ = self.iface.poll_egress(time, &mut self.nic, &mut self.sockets);
        span.keep_if(self.nic.sent().0 != before);
    }

    fn job_counters(&self) -> Counters {
        self.nic.counters().plus(&self.meter.counters())
    }
}

impl<N: Nic, A: App> Task for Stack<N, A> {
    #[traced(quiet)]
    fn work(&mut self) -> bool {
        if !self.nic.poll() && !self.more {
            // Nothing came: only a timer, or the application's own time, can make work.
            self.idle += 1;
            if !self.idle.is_multiple_of(IDLE_TURNS_PER_CLOCK) {
                return false;
            }
        }
        self.idle = 0;
        self.turn(Instant::now())
    }

    fn arm(&mut self, now: Instant) -> bool {
        let time = self.stack_time(now);
        let delay = self.iface.poll_delay(time, &self.sockets);
        self.due = delay.map(|d| now + Duration::from_micros(d.total_micros()));
        self.nic.arm(self.blocked, now) | self.moved
    }

    fn disarm(&mut self) -> bool {
        // Whatever woke us, the next turn is to look at everything.
        self.idle = IDLE_TURNS_PER_CLOCK - 1;
        self.nic.disarm()
    }

    fn settle(&mut self, worked: bool, now: Instant) {
        self.nic.settle(worked, now);
    }

    fn missed(&mut self) -> bool {
        self.nic.missed()
    }

    fn patience(&self, now: Instant) -> Duration {
        // A full ring makes the stack's timer due at once; what ends that wait is an event.
        let timer = match self.due {
            Some(due) if !self.blocked => due.saturating_duration_since(now),
            _ => Duration::MAX,
        };
        self.nic.patience(now).min(timer)
    }

    fn finished(&self) -> bool {
        self.app.done() || self.unanswered || self.nic.failure().is_some()
    }
}

impl<N: Nic, A: App> Job for Stack<N, A> {
    fn counters(&self) -> Counters {
        self.job_counters()
    }

    fn failure(&self) -> Option<String> {
        let seconds = self.patience.unwrap_or_default().as_secs_f64();
        let silence = || {
            format!(
                "no connection within {seconds} s: nothing at the other end answers; \
                 look meanwhile with pvlab ls what reaches it, or wait longer with --stall-timeout"
            )
        };
        self.nic.failure().or_else(|| self.unanswered.then(silence))
    }

    fn begun(&self) -> bool {
        self.meter.begun()
    }

    fn stalled(&self) -> bool {
        self.nic.stalled()
    }

    fn watch(&self, waiter: &mut EpollWaiter) -> Result<(), DomainError> {
        self.nic.watch(waiter)
    }

    fn unwatch(&self, waiter: &mut EpollWaiter) {
        self.nic.unwatch(waiter);
    }

    fn finish(mut self: Box<Self>) -> SideReport {
        // What is on the ring has arrived: datagrams are not waited for by who sent them.
        for _ in 0..FAREWELL_TURNS {
            if !self.nic.poll() {
                break;
            }
            self.turn(Instant::now());
        }
        let counters = self.job_counters();
        self.nic.close();
        self.meter.finish(counters)
    }
}

/// A TCP socket as all workloads want it: no delay of acknowledgements, no waiting for more data.
#[must_use]
pub(super) fn tcp_socket(window: usize) -> tcp::Socket<'static> {
    let buffer = || tcp::SocketBuffer::new(vec![0; window]);
    let mut socket = tcp::Socket::new(buffer(), buffer());
    socket.set_nagle_enabled(false);
    socket.set_ack_delay(None);
    socket
}
