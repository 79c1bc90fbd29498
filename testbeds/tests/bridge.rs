//! What a bridge does with the frames of its guests: whom it gives them to, whose address is where, and
//! what becomes of a destination without buffers. That the frames are whole is told by `offers`.

mod rig;

use std::cell::Cell;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use backend::wire::{Bridge, BridgePort};
use rig::front::{Given, Offer, Vifs};
use rings::io::netif::TxFlags;
use rings_host::HostDomain;

type Mac = [u8; 6];

/// The address of a guest, counted from 0, or one that a guest has made up.
fn mac(n: u8) -> Mac {
    [2, 0, 0, 0, 0, n]
}

const BROADCAST: Mac = [0xff; 6];
const MULTICAST: Mac = [0x33, 0x33, 0, 0, 0, 1];

/// Guests on one bridge, whose clock the test turns.
struct Net {
    vifs: Vifs,
    ports: Vec<BridgePort<HostDomain>>,
    start: Instant,
    after: Cell<Duration>,
}

impl Net {
    /// Guests with so many buffers each.
    fn of(buffers: &[usize]) -> Self {
        let (mut vifs, queues) = Vifs::connect(&vec![Offer::default(); buffers.len()]);
        for (guest, &count) in vifs.guests.iter_mut().zip(buffers) {
            guest.post(count);
        }
        let bridge = Arc::new(Mutex::new(Bridge::new()));
        let ports = queues.into_iter().map(|queue| BridgePort::join(&bridge, queue)).collect();
        Self { vifs, ports, start: Instant::now(), after: Cell::new(Duration::ZERO) }
    }

    /// One guest sends one frame.
    fn send(&mut self, from: usize, source: Mac, to: Mac) {
        let mut frame = [0; 60];
        frame[..6].copy_from_slice(&to);
        frame[6..12].copy_from_slice(&source);
        self.vifs.guests[from].send(&frame, TxFlags::empty(), 0);
        self.turn();
    }

    /// Each port once.
    fn turn(&mut self) {
        let now = || self.start + self.after.get();
        for port in &mut self.ports {
            port.work_at(now);
        }
    }

    /// Which guests got a frame since the last look.
    fn reached(&mut self) -> Vec<usize> {
        let mut all = Vec::new();
        for (n, guest) in self.vifs.guests.iter_mut().enumerate() {
            all.extend(guest.given().iter().map(|_: &Given| n));
        }
        all
    }

    /// Sends a frame, and says whom it reached.
    fn goes_to(&mut self, from: usize, source: Mac, to: Mac) -> Vec<usize> {
        self.send(from, source, to);
        self.reached()
    }

    fn dropped(&self, at: usize) -> u64 {
        self.ports[at].with(|queue| queue.stats().rx_dropped).expect("on the bridge")
    }

    fn leave(self) {
        for port in self.ports {
            port.leave().expect("on the bridge").close();
        }
        self.vifs.leave();
    }
}

#[test]
fn what_is_for_an_unknown_address_goes_to_all_others_and_then_to_its_own_alone() {
    let mut net = Net::of(&[16; 3]);
    assert_eq!(net.goes_to(0, mac(0), mac(1)), [1, 2], "nobody has been heard yet");
    assert_eq!(net.goes_to(1, mac(1), mac(0)), [0], "the first one has");
    assert_eq!(net.goes_to(0, mac(0), mac(1)), [1]);
    assert_eq!(net.goes_to(2, mac(2), mac(1)), [1]);
    assert_eq!(net.goes_to(0, mac(0), mac(0)), [], "its own is nobody else's business");
    net.leave();
}

#[test]
fn what_is_for_many_goes_to_all_others_whatever_was_learned() {
    let mut net = Net::of(&[16; 3]);
    for (n, own) in (0..).zip([mac(0), mac(1), mac(2)]) {
        net.goes_to(n, own, BROADCAST);
    }
    assert_eq!(net.goes_to(0, mac(0), BROADCAST), [1, 2]);
    assert_eq!(net.goes_to(1, mac(1), MULTICAST), [0, 2]);
    // Nobody is where an address for many is.
    assert_eq!(net.goes_to(2, MULTICAST, mac(1)), [1]);
    assert_eq!(net.goes_to(0, mac(0), MULTICAST), [1, 2]);
    net.leave();
}

#[test]
fn an_address_that_moves_is_followed() {
    let mut net = Net::of(&[16; 3]);
    net.goes_to(1, mac(9), BROADCAST);
    assert_eq!(net.goes_to(0, mac(0), mac(9)), [1]);
    net.goes_to(2, mac(9), BROADCAST);
    assert_eq!(net.goes_to(0, mac(0), mac(9)), [2]);
    net.leave();
}

#[test]
fn a_guest_that_makes_up_addresses_uses_up_its_own_share() {
    let mut net = Net::of(&[4, 31, 31]);
    net.goes_to(1, mac(201), BROADCAST);
    // To itself, which costs nobody buffers.
    for n in 0..=64 {
        assert_eq!(net.goes_to(0, mac(n), mac(0)), [], "{n}");
    }
    assert_eq!(net.goes_to(2, mac(202), mac(63)), [0], "the 64th is known");
    assert_eq!(net.goes_to(2, mac(202), mac(64)), [0, 1], "the 65th is not");
    assert_eq!(net.goes_to(2, mac(202), mac(201)), [1], "nor has anybody else's gone");
    net.leave();
}

#[test]
fn a_guest_without_buffers_holds_a_source_shortly_and_the_others_never_lose_a_frame() {
    let mut net = Net::of(&[16, 0, 16]);
    net.send(0, mac(0), BROADCAST);
    for ms in [0, 1, 49] {
        net.after.set(Duration::from_millis(ms));
        net.turn();
        assert_eq!((net.reached(), net.dropped(1)), (vec![], 0), "held for {ms} ms");
    }
    // Whoever has nothing for it is not held.
    assert_eq!(net.goes_to(2, mac(2), mac(0)), [0]);
    net.after.set(Duration::from_millis(50));
    net.turn();
    assert_eq!((net.reached(), net.dropped(1)), (vec![2], 1), "dropped for the one, and counted");
    assert_eq!(net.goes_to(0, mac(0), BROADCAST), [2], "it is waited for no more");
    assert_eq!(net.dropped(1), 2);
    net.vifs.guests[1].post(4);
    assert_eq!(net.goes_to(0, mac(0), BROADCAST), [1, 2], "until it has some");
    for n in 0..3 {
        assert_eq!(net.dropped(n), if n == 1 { 2 } else { 0 });
    }
    net.leave();
}

#[test]
fn the_addresses_of_a_guest_that_leaves_are_forgotten() {
    let mut net = Net::of(&[16; 3]);
    net.goes_to(1, mac(1), BROADCAST);
    assert_eq!(net.goes_to(0, mac(0), mac(1)), [1]);
    net.ports.remove(1).leave().expect("on the bridge").close();
    let gone = net.vifs.guests.remove(1);
    assert_eq!(net.goes_to(0, mac(0), mac(1)), [1], "the one that was the third");
    gone.front.leave();
    net.leave();
}
