//! Eight guests of one worker, one of which sends without end: the others are served all the same, and
//! soon.

mod rig;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use backend::wire::{Bridge, BridgePort, Reflect};
use rig::front::{CONFIG, Offer, Vifs};
use rings::Domain;
use rings::evtchn::{Spin, WaitPolicy};
use rings::io::netif::{RSP_OKAY, TxRequest};
use rings::worker::{Task, Worker};
use testbeds::config::NetConfig;
use testbeds::workload::{Place, Role, build};

const GUESTS: usize = 8;
/// Turns of the worker after which everybody must have been served: one in which it was looked at, and
/// one more for whoever sent behind its back.
const SOON: usize = 2;

/// Lets the first guest fill its ring before each turn, and the others send a frame now and then.
fn assert_fair<T: Task>(vifs: &mut Vifs, tasks: &mut [T]) {
    let waiter = vifs.lab.dom0.waiter().unwrap();
    let spin = Spin::new(WaitPolicy::Poll, Duration::ZERO, false);
    let mut worker = Worker::new(waiter, spin, vifs.lab.dom0.cost().clone());
    let mut flood = 0;
    for round in 0..20 {
        for guest in &mut vifs.guests[1..] {
            let frame = guest.front.data(0, 60, false);
            guest.front.put_data(&[frame]);
        }
        for _ in 0..SOON {
            let answered = flooded(vifs);
            assert!(answered <= CONFIG.batch, "{answered} frames of one guest in one turn");
            flood += answered;
            worker.turn(tasks);
        }
        for (n, guest) in vifs.guests[1..].iter_mut().enumerate() {
            assert_eq!(
                guest.front.answers(),
                [RSP_OKAY],
                "guest {n} behind the flood, round {round}"
            );
        }
    }
    flood += flooded(vifs);
    assert_eq!(flood, 20 * SOON * CONFIG.batch, "the flood fills what it may");
}

/// Fills the first guest's rings again. Says how many frames had been answered.
fn flooded(vifs: &mut Vifs) -> usize {
    let front = &mut vifs.guests[0].front;
    let answers = front.answers();
    assert!(answers.iter().all(|&status| status == RSP_OKAY));
    let room = 256 - front.tx_prod.wrapping_sub(front.tx_seen) as usize;
    let frame: TxRequest = front.data(0, 60, false);
    front.put_data(&vec![frame; room]);
    // As many buffers as there are frames: what is reflected needs them.
    let taken = front.received(0).len();
    let posted = front.rx_prod as usize;
    let gref = front.grefs[1];
    front.post(&vec![gref; 256 - (posted - taken)]);
    answers.len()
}

fn eight() -> (Vifs, Vec<backend::Queue<rings_host::HostDomain>>) {
    let (mut vifs, queues) = Vifs::connect(&[Offer::default(); GUESTS]);
    for guest in &mut vifs.guests[1..] {
        guest.post(31);
    }
    (vifs, queues)
}

#[test]
fn a_reflector_serves_everybody_beside_a_flood() {
    let (mut vifs, queues) = eight();
    let mut tasks: Vec<_> = queues.into_iter().map(Reflect::new).collect();
    assert_fair(&mut vifs, &mut tasks);
    tasks.into_iter().for_each(|task| task.queue.close());
    vifs.leave();
}

/// The stack of a guest that asked for as much as one may, flooded with frames that are for nobody.
#[test]
fn a_stack_leaves_the_others_their_turn() {
    let (mut vifs, queues) = eight();
    let mut config = NetConfig { parallel: 4, window: 64 << 20, ..NetConfig::default() };
    // A stack takes two batches in a turn.
    config.run.batch = u32::try_from(CONFIG.batch / 2).expect("small");
    let mut tasks: Vec<Box<dyn Task>> = Vec::new();
    for (n, queue) in (1..).zip(queues) {
        if n > 1 {
            tasks.push(Box::new(Reflect::new(queue)));
            continue;
        }
        let (own, other, role) = (0, n, Role::Server);
        let place = Place { role, own, other, mac: [2; 6], other_mac: [4; 6], queue: (0, 1) };
        let nic = backend::Nic::new(queue, config.gso, config.mtu);
        tasks.push(build(nic, &config, &place).expect("no files").expect("a flow"));
    }
    assert_fair(&mut vifs, &mut tasks);
    drop(tasks);
    vifs.leave();
}

/// All frames are for the address they come from: nobody's buffers are in the way.
#[test]
fn a_bridge_serves_everybody_beside_a_flood() {
    let (mut vifs, queues) = eight();
    for (n, guest) in (0..).zip(&vifs.guests) {
        let own = [[2, 0, 0, 0, 0, n]; 2].concat();
        guest.front.pages.region().copy_in(0, &own);
    }
    let bridge = Arc::new(Mutex::new(Bridge::new()));
    let mut tasks: Vec<_> =
        queues.into_iter().map(|queue| BridgePort::join(&bridge, queue)).collect();
    assert_fair(&mut vifs, &mut tasks);
    tasks.into_iter().for_each(|task| task.leave().expect("on the bridge").close());
    vifs.leave();
}
