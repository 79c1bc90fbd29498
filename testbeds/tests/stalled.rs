//! A guest without buffers, on every wire that sends to one guest: its source is held, then frames are
//! dropped and counted, then the carrier is off, and buffers end it. The reflector's part is in
//! `hostile_frontend` (line 20), the two times as such in `backend`.

mod rig;

use std::time::Duration;

use backend::wire::Reflect;
use backend::{Config, Nic, Timers, VifEvent};
use rig::front::{Attack, CONFIG, Offer, dir};
use rig::until;
use rings::Domain;
use rings::evtchn::{Spin, WaitPolicy};
use rings::frame::Meta;
use rings::io::netif::RSP_OKAY;
use rings::store::Nodes;
use rings::worker::Worker;
use smoltcp::phy::{Device, TxToken};
use smoltcp::time::Instant as StackInstant;

/// Times that a test can wait for. That they are kept to the letter is told by `backend`'s own tests.
const SOON: Config = Config {
    timers: Timers { drain: Duration::from_millis(20), stall: Duration::from_millis(60) },
    ..CONFIG
};
const NOW: StackInstant = StackInstant::ZERO;

#[test]
fn a_source_of_bare_frames_is_held_then_its_frames_are_dropped_and_buffers_end_it() {
    let mut attack = Attack::with(&Offer::default(), SOON);
    let send = |attack: &mut Attack| attack.queue.xmit(60, Meta::default(), |bytes| bytes.fill(3));
    assert!(send(&mut attack).is_none(), "held");
    assert_eq!((attack.queue.stats().ring_full, attack.queue.stats().rx_dropped), (1, 0));
    until("a frame to be dropped", || send(&mut attack));
    assert_eq!(attack.queue.stats().rx_dropped, 1);
    until("the stall", || {
        send(&mut attack);
        attack.queue.stalled().then_some(())
    });
    assert_eq!(attack.queue.stalls(), 1);
    let dropped = attack.queue.stats().rx_dropped;
    let grefs = attack.front.grefs.clone();
    attack.front.post(&grefs);
    assert!(send(&mut attack).is_some());
    attack.queue.flush();
    assert!(!attack.queue.stalled());
    assert_eq!(attack.queue.stats().rx_dropped, dropped);
    assert_eq!(attack.front.received(0).len(), 1);
    attack.survives();
}

#[test]
fn a_stack_is_held_until_there_are_buffers() {
    let timers = Timers { drain: Duration::from_secs(3600), ..Timers::LINUX };
    let Attack { lab, netback, mut front, queue, neighbour, other } =
        Attack::with(&Offer::default(), Config { timers, ..CONFIG });
    let frame = front.data(0, 60, false);
    front.put_data(&[frame]);
    let mut nic = Nic::new(queue, 0, 1500);
    assert!(nic.transmit(NOW).is_none(), "held");
    assert!(nic.receive(NOW).is_none(), "what could not be answered waits too");
    let grefs = front.grefs.clone();
    front.post(&grefs);
    let (_, answer) = nic.receive(NOW).expect("the frame that waited");
    answer.consume(60, |bytes| bytes.fill(4));
    nic.queue.flush();
    assert_eq!((front.received(0).len(), front.answers()), (1, vec![RSP_OKAY]));
    assert_eq!(nic.queue.stats().rx_dropped, 0);
    Attack { lab, netback, front, queue: nic.queue, neighbour, other }.survives();
}

#[test]
fn a_stack_that_was_held_serves_the_guest_without_being_heard() {
    let Attack { lab, netback, mut front, queue, neighbour, other } =
        Attack::with(&Offer::default(), SOON);
    let frame = front.data(0, 60, false);
    front.put_data(&[frame]);
    let mut nic = Nic::new(queue, 0, 1500);
    until("the stack to be let go on", || {
        nic.transmit(NOW).map(|token| token.consume(60, |bytes| bytes.fill(3)))
    });
    assert_eq!(nic.queue.stats().rx_dropped, 1);
    let (_, answer) = nic.receive(NOW).expect("the frame that waited");
    answer.consume(60, |bytes| bytes.fill(4));
    assert_eq!(nic.queue.stats().rx_dropped, 2);
    assert_eq!(front.answers(), [RSP_OKAY]);

    // Some buffers, though not enough for any frame there may be: what fits goes.
    let few = front.grefs[..2].to_vec();
    front.post(&few);
    nic.transmit(NOW).expect("given up").consume(60, |bytes| bytes.fill(5));
    nic.transmit(NOW).expect("given up").consume(9000, |bytes| bytes.fill(6));
    nic.queue.flush();
    assert_eq!(front.received(0).len(), 1);
    assert_eq!(nic.queue.stats().rx_dropped, 3);

    let rest = front.grefs[2..].to_vec();
    front.post(&rest);
    nic.transmit(NOW).expect("room").consume(9000, |bytes| bytes.fill(7));
    nic.queue.flush();
    assert_eq!(front.received(0).len(), 1 + 3);
    assert!(!nic.queue.stalled());
    Attack { lab, netback, front, queue: nic.queue, neighbour, other }.survives();
}

#[test]
fn a_guest_that_does_not_tell_of_buffers_is_waited_for_shortly_and_never_stalls() {
    let offer = Offer { rx_notify: false, ..Offer::default() };
    let timers = Timers { stall: Duration::from_millis(1), ..Timers::LINUX };
    let mut attack = Attack::with(&offer, Config { timers, ..CONFIG });
    until("a frame to be dropped, not after ten seconds", || {
        attack.queue.xmit(60, Meta::default(), |_| ())
    });
    assert!(!attack.queue.stalled());
    attack.survives();
}

#[test]
fn carrier_goes_off_with_the_first_queue_that_stalls_and_back_on_with_the_last() {
    let mut attack = Attack::new();
    let id = attack.queue.vif();
    let key = format!("{}/carrier", dir(id));
    let told = |attack: &mut Attack, stalled| {
        attack.netback.stalled(id, stalled).unwrap();
        attack.netback.store().read_if_present(&key).unwrap()
    };
    let (off, on) = (Some("0".to_owned()), Some("1".to_owned()));
    assert_eq!(told(&mut attack, true), off);
    assert_eq!(told(&mut attack, true), off);
    assert_eq!(told(&mut attack, false), off, "another queue is");
    assert_eq!(told(&mut attack, false), on);
    assert_eq!(told(&mut attack, true), off);
    attack.front.key("state", 6);
    until("the queues to be asked back", || {
        let events = attack.netback.step(Duration::from_millis(10)).unwrap();
        events.iter().any(|event| matches!(event, VifEvent::Disconnect(_))).then_some(())
    });
    attack.netback.disconnected(id).unwrap();
    assert_eq!(attack.netback.store().read_if_present(&key).unwrap(), None, "the next guest's");
    attack.survives();
}

/// It does nothing but fill its ring.
#[test]
fn a_guest_without_buffers_costs_netback_no_time() {
    let Attack { lab, netback, mut front, queue, neighbour, other } = Attack::new();
    let frame = front.data(0, 60, false);
    front.put_data(&[frame; 200]);
    let mut waiter = lab.dom0.waiter().unwrap();
    queue.watch(&mut waiter).unwrap();
    let spin = Spin::new(WaitPolicy::Event, Duration::ZERO, false);
    let mut worker = Worker::new(waiter, spin, lab.dom0.cost().clone());
    let mut tasks = [Reflect::new(queue)];
    until("netback to go to sleep", || {
        worker.turn(&mut tasks);
        (worker.wakeups() > 0).then_some(())
    });
    let grefs = front.grefs.clone();
    front.post(&grefs);
    front.rx_port.send();
    until("frames to come back", || {
        worker.turn(&mut tasks);
        (front.received(0).len() == grefs.len()).then_some(())
    });
    assert_eq!(worker.lost_wakeups(), 0, "frames that are held were told of");
    let [task] = tasks;
    let mut attack = Attack { lab, netback, front, queue: task.queue, neighbour, other };
    while attack.queue.receive(|_, _| ()).is_some() {}
    attack.front.answers();
    attack.survives();
}
