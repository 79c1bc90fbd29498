//! What sending an event costs: to an end that sleeps and is woken, to one that has masked its port,
//! to one that has not yet looked. Two domains of one process, each with its thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use rings::cost::CostNs;
use rings::evtchn::Channel;
use rings::{DomId, Domain, Waiter};
use rings_host::{Connect, EpollWaiter, EventDoorbell, Host, HostConfig, HostDomain};

/// A lab of two domains with one channel between them.
struct Bed {
    // Domains first: they leave before their host ends.
    _domains: [HostDomain; 2],
    front: Channel<EventDoorbell>,
    back: Channel<EventDoorbell>,
    waiters: [EpollWaiter; 2],
    _host: Host,
}

impl Bed {
    fn new() -> Self {
        let host = Host::start(HostConfig::default()).expect("a host");
        let domain = |domid| {
            let (dir, cost) = (host.dir().to_owned(), CostNs::default());
            let domid = Some(DomId(domid));
            let connect = Connect { dir, domid, pool_frames: 1, name: "bench".into(), cost };
            HostDomain::connect(&connect).expect("a domain")
        };
        let domains = [domain(0), domain(1)];
        let front = domains[1].alloc_unbound(DomId::DOM0).expect("a port");
        let back = domains[0].bind_interdomain(DomId(1), front.port()).expect("a port");
        let waiters = [0, 1].map(|n: usize| domains[n].waiter().expect("a waiter"));
        Self { _domains: domains, front, back, waiters, _host: host }
    }
}

/// Sleeps until an event has come, as a worker does: unmask, look, sleep, mask, clear.
fn sleep_until_event(
    waiter: &mut EpollWaiter,
    channel: &Channel<EventDoorbell>,
    stop: &AtomicBool,
) {
    loop {
        if !channel.unmask() {
            waiter.wait(Duration::from_millis(50));
        }
        channel.mask();
        if channel.clear() || stop.load(Ordering::Relaxed) {
            return;
        }
    }
}

fn doorbell(c: &mut Criterion) {
    let mut group = c.benchmark_group("doorbell");
    let mut bed = Bed::new();
    bed.back.mask();
    group.bench_function("send, masked", |b| {
        b.iter(|| {
            bed.front.send();
            bed.back.clear()
        });
    });
    group.bench_function("send, pending", |b| b.iter(|| bed.front.send()));
    // Awake but unmasked: the doorbell is written, and nobody sleeps on it.
    group.bench_function("send, rings", |b| {
        b.iter(|| {
            bed.back.clear();
            let _ = bed.back.unmask();
            bed.front.send();
        });
    });

    let Bed { _domains, mut front, mut back, waiters: [mut below, mut above], _host } = bed;
    below.add(&back).expect("an epoll");
    above.add(&front).expect("an epoll");
    back.clear();
    let stop = Arc::new(AtomicBool::new(false));
    let echo = std::thread::spawn({
        let stop = Arc::clone(&stop);
        move || {
            while !stop.load(Ordering::Relaxed) {
                sleep_until_event(&mut below, &back, &stop);
                back.send();
            }
        }
    });
    group.bench_function("send to a sleeper and back, two threads", |b| {
        b.iter(|| {
            front.send();
            sleep_until_event(&mut above, &front, &stop);
        });
    });
    group.finish();
    stop.store(true, Ordering::Relaxed);
    front.send();
    echo.join().expect("the other end");
}

criterion_group!(benches, doorbell);
criterion_main!(benches);
