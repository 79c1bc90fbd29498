//! Hostile backends against the real netfront: one test for each lie of the conformance list.
//!
//! Each ends in one of two outcomes, and the rig checks all of it: the device is broken, with the
//! reason in the store and everything taken back, or it is as good as before. That each attack would
//! bite without the check is shown by `hostile_weakened`; lies to netback are in `hostile_frontend`.

mod rig;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering as Std};
use std::time::{Duration, Instant};

use frontend::{Config, Misbehaviour, Netfront, Nic, Queue, Wanted};
use rig::back::Attack;
use rig::{Lab, Random, WATCHDOG, until};
use rings::Domain;
use rings::evtchn::{Spin, WaitPolicy};
use rings::frame::Meta;
use rings::io::netif::{
    Extra, ExtraInfo, GsoType, RSP_DROPPED, RSP_NULL, RX_SLOT, RxFlags, RxResponse, TX_SLOT,
};
use rings::ring::{Index, ProdOverflow, SringMem};
use rings::store::{Nodes, XenbusState, xenbus};
use rings::sync::Ordering;
use rings::worker::{Task, Worker};
use rings_host::HostDomain;
use smoltcp::iface::{Config as StackConfig, Interface, SocketSet};
use smoltcp::time::Instant as StackInstant;
use smoltcp::wire::EthernetAddress;

const MORE: u16 = RxFlags::MORE_DATA.bits();
const EXTRA: u16 = RxFlags::EXTRA_INFO.bits();

/// What is no lie, but too little: whoever writes a backend finds out what is missing.
#[test]
fn what_a_backend_or_a_toolstack_has_left_out_is_named() {
    for missing in ["feature-rx-copy", "mac"] {
        let lab = Lab::new();
        let mut store = lab.dom0.store().unwrap();
        let back = "/local/domain/0/backend/vif/1/0";
        if missing == "mac" {
            store.write(&format!("{back}/feature-rx-copy"), "1").unwrap();
            store.rm("/local/domain/1/device/vif/0/mac").unwrap();
        }
        xenbus::switch_state(&mut store, back, XenbusState::InitWait).unwrap();
        let wanted = Wanted { csum_tx: true, csum_rx: true, gso: true, sg: true, queues: 1 };
        let config =
            Config { handle: 0, wanted, always_notify: false, index_base: 0, timeout: WATCHDOG };
        let why = Netfront::connect(&lab.guests[0], &config).unwrap_err().to_string();
        assert!(why.contains(missing) && !why.contains('\n'), "{missing}: {why}");
    }
}

/// Line 1.
#[test]
fn a_response_producer_that_cannot_be_breaks_the_device() {
    for jump in [2, 257, 1 << 31, u32::MAX] {
        let mut attack = Attack::new();
        attack.send(60);
        attack.back.claim_tx(jump);
        assert_eq!(attack.queue.reap(), 0);
        let lie = ProdOverflow { index: Index::RspProd, seen: 0, claimed: jump, limit: 1 };
        attack.breaks(Misbehaviour::Ring(lie));
    }
}

/// Line 1.
#[test]
fn a_response_producer_that_moves_backwards_breaks_the_device() {
    let mut attack = Attack::new();
    let ids = attack.send(60);
    attack.back.answer_all(&ids);
    assert_eq!(attack.queue.reap(), 1);
    attack.back.claim_tx(0);
    assert_eq!(attack.queue.reap(), 0);
    let lie = ProdOverflow { index: Index::RspProd, seen: 1, claimed: 0, limit: 0 };
    attack.breaks(Misbehaviour::Ring(lie));
}

/// Line 1, on the ring of buffers.
#[test]
fn more_frames_than_buffers_break_the_device() {
    let mut attack = Attack::new();
    attack.back.claim_rx(257);
    assert_eq!(attack.frames(), []);
    let lie = ProdOverflow { index: Index::RspProd, seen: 0, claimed: 257, limit: 256 };
    attack.breaks(Misbehaviour::Ring(lie));
}

/// Line 2.
#[test]
fn an_event_index_of_garbage_costs_the_liar_events_and_nothing_else() {
    let mut attack = Attack::new();
    let mut random = Random(2);
    for _ in 0..1000 {
        let garbage = random.next().to_le_bytes();
        let garbage = u32::from_le_bytes([garbage[0], garbage[1], garbage[2], garbage[3]]);
        attack.back.tx.store(Index::ReqEvent, garbage, Ordering::Relaxed);
        attack.back.tx.store(Index::RspEvent, !garbage, Ordering::Relaxed);
        let ids = attack.send(60);
        attack.back.answer_all(&ids);
        assert_eq!(attack.queue.reap(), 1);
    }
    let stats = *attack.queue.stats();
    assert_eq!(stats.notifies + stats.suppressed, 1000);
    attack.survives();
}

/// Line 3.
#[test]
fn ten_thousand_frames_pass_the_wrap_of_the_indices() {
    let mut attack = Attack::from_index(u32::MAX - 3);
    for _ in 0..100 {
        for _ in 0..100 {
            let ids = attack.send(60);
            attack.back.answer_all(&ids);
            attack.back.deliver(&[3; 60], 0, |_| ());
        }
        assert_eq!(attack.frames(), vec![60; 100]);
        assert_eq!(attack.queue.reap(), 100);
        attack.queue.flush();
    }
    attack.survives();
}

/// Line 4.
#[test]
fn slots_that_change_under_the_reader_never_get_past_the_checks() {
    for seed in 1..=4 {
        let mut attack = Attack::new();
        let (ring, stop) = (attack.back.rx.clone(), Arc::new(AtomicBool::new(false)));
        let (flips, stopped) = (Arc::new(AtomicU64::new(0)), Arc::clone(&stop));
        let flipped = Arc::clone(&flips);
        let flipper = std::thread::spawn(move || {
            let mut random = Random(seed);
            while !stopped.load(Std::Relaxed) {
                let slot = u32::try_from(random.below(256)).unwrap();
                let mut bytes: [u8; RX_SLOT] = ring.read(slot);
                let at = usize::try_from(random.below(RX_SLOT as u64)).unwrap();
                bytes[at] ^= 1 << random.below(8);
                ring.write(slot, bytes);
                flipped.fetch_add(1, Std::Relaxed);
            }
        });
        until("the flipper", || (flips.load(Std::Relaxed) > 0).then_some(()));
        for _ in 0..2000 {
            let id = u16::try_from(attack.back.rx_prod & 255).unwrap();
            attack.back.put_rx(RxResponse { id, offset: 0, flags: 0, status: 100 });
            for len in attack.frames() {
                assert!((1..=18 * 4096).contains(&len));
            }
            attack.queue.flush();
            if attack.queue.broken().is_some() {
                break;
            }
        }
        stop.store(true, Std::Relaxed);
        flipper.join().unwrap();
        if let Some(lie) = attack.queue.broken() {
            attack.breaks(lie);
        }
    }
}

/// Line 5.
#[test]
fn an_answer_for_a_page_that_does_not_exist_breaks_the_device() {
    for id in [528, 0x7fff, u16::MAX] {
        let mut attack = Attack::new();
        attack.send(60);
        attack.back.answer(id, 0);
        attack.queue.reap();
        attack.breaks(Misbehaviour::TxIdRange(id));
    }
}

/// Line 5.
#[test]
fn an_answer_for_a_page_that_is_not_in_flight_breaks_the_device() {
    let mut attack = Attack::new();
    let ids = attack.send(60);
    let idle = if ids[0] == 100 { 101 } else { 100 };
    attack.back.answer(idle, 0);
    attack.queue.reap();
    attack.breaks(Misbehaviour::TxIdIdle(idle));
}

/// Line 5.
#[test]
fn an_answer_given_twice_breaks_the_device() {
    let mut attack = Attack::new();
    let ids = [attack.send(60), attack.send(60)].concat();
    attack.back.answer_all(&[ids[0], ids[0]]);
    attack.queue.reap();
    attack.breaks(Misbehaviour::TxIdIdle(ids[0]));
}

/// Line 5, on the ring of buffers.
#[test]
fn a_frame_in_another_buffer_than_its_slots_breaks_the_device() {
    let mut attack = Attack::new();
    attack.back.deliver(&[3; 60], 0, |response| response.id = 77);
    assert_eq!(attack.frames(), []);
    attack.breaks(Misbehaviour::RxId(77, 0));
}

/// Line 6. All of them but NULL mean that the frame is over, and its page free.
#[test]
fn every_status_there_is_ends_its_frame_and_no_more() {
    let mut attack = Attack::new();
    let mut failed = 0;
    for status in (i16::MIN..=i16::MAX).filter(|&status| status != RSP_NULL) {
        let ids = attack.send(60);
        attack.back.answer(ids[0], status);
        assert_eq!(attack.queue.reap(), 1);
        failed += u64::from(status != 0);
    }
    assert_eq!(attack.queue.stats().tx_errors, failed);
    attack.survives();
}

/// Line 6. NULL answers an extra info; for a frame it would keep the page for ever.
#[test]
fn an_answer_without_meaning_to_a_frame_breaks_the_device() {
    let mut attack = Attack::new();
    let ids = attack.send(60);
    attack.back.answer(ids[0], RSP_NULL);
    attack.queue.reap();
    attack.breaks(Misbehaviour::TxNull);
}

/// Line 6, on the ring of buffers.
#[test]
fn a_frame_with_an_error_is_skipped_and_its_buffers_are_posted_again() {
    let mut attack = Attack::new();
    for status in [RSP_DROPPED, -1, i16::MIN, 0] {
        for _ in 0..300 {
            attack.back.deliver(&[3; 60], 0, |response| response.status = status);
            assert_eq!(attack.frames(), []);
            attack.queue.flush();
        }
    }
    assert_eq!(attack.queue.stats().rx_errors, 1200);
    // An error in the midst of a frame fails all of it.
    attack.back.deliver(&[3; 60], MORE, |_| ());
    attack.back.deliver(&[3; 60], MORE, |response| response.status = -1);
    attack.back.deliver(&[3; 60], 0, |_| ());
    attack.back.deliver(&[3; 61], 0, |_| ());
    assert_eq!(attack.frames(), [61]);
    attack.survives();
}

/// Line 7.
#[test]
fn eighteen_slots_make_a_frame_and_the_next_breaks_the_device() {
    for slots in [1, 18, 19, 20, 200] {
        let mut attack = Attack::new();
        for n in 1..=slots {
            attack.back.deliver(&[3; 4096], if n < slots { MORE } else { 0 }, |_| ());
        }
        let frames = attack.frames();
        if slots <= 18 {
            assert_eq!(frames, [slots * 4096]);
            attack.survives();
        } else {
            assert_eq!(frames, []);
            attack.breaks(Misbehaviour::RxSlots(18));
        }
    }
}

/// Line 7.
#[test]
fn a_chain_cut_by_the_end_of_the_ring_breaks_the_device() {
    let mut attack = Attack::new();
    attack.back.deliver(&[3; 60], 0, |_| ());
    attack.back.deliver(&[3; 60], MORE, |_| ());
    assert_eq!(attack.frames(), [60], "the frame before is whole");
    attack.breaks(Misbehaviour::RxCut);
}

/// Line 8.
#[test]
fn extra_infos_that_do_not_exist_break_the_device() {
    for kind in [0, 5, 255] {
        let mut attack = Attack::new();
        attack.back.deliver(&[3; 60], EXTRA, |_| ());
        attack.back.put_rx(ExtraInfo { kind, flags: 0, body: [0; 6] });
        assert_eq!(attack.frames(), []);
        attack.breaks(Misbehaviour::RxExtra(kind));
    }
}

/// Line 8.
#[test]
fn extra_infos_without_end_break_the_device() {
    let mut attack = Attack::new();
    attack.back.deliver(&[3; 60], EXTRA, |_| ());
    for _ in 0..200 {
        attack.back.put_rx(gso(1448).encode(true));
    }
    assert_eq!(attack.frames(), []);
    attack.breaks(Misbehaviour::RxExtra(5));
}

/// Line 8.
#[test]
fn segments_of_no_size_break_the_device_and_of_two_sizes_the_last_counts() {
    let mut attack = Attack::new();
    attack.back.deliver(&[3; 60], EXTRA, |_| ());
    attack.back.put_rx(gso(500).encode(true));
    attack.back.put_rx(gso(1000).encode(false));
    // Its checksum is not vouched for, but it is none.
    assert_eq!(attack.queue.receive(|_, meta| meta.gso), Some(1000));
    attack.back.deliver(&[3; 60], EXTRA, |_| ());
    attack.back.put_rx(gso(0).encode(false));
    assert_eq!(attack.frames(), []);
    attack.breaks(Misbehaviour::RxGso(0, 1));
}

/// Line 9.
#[test]
fn more_bytes_than_a_page_has_break_the_device() {
    for (offset, status) in [(0, 4097), (4090, 7), (u16::MAX, 1), (0, i16::MAX)] {
        let mut attack = Attack::new();
        attack.back.deliver(&[3; 60], 0, |response| {
            (response.offset, response.status) = (offset, status);
        });
        assert_eq!(attack.frames(), []);
        attack.breaks(Misbehaviour::RxBounds(offset, status));
    }
}

/// Line 10.
#[test]
fn frames_without_a_whole_header_are_no_harm_to_a_stack() {
    let Attack { lab, netfront, queue, mut back, before } = Attack::new();
    let mut nic = Nic::new(queue, 0);
    let mac = EthernetAddress(nic.queue.features().mac);
    let mut stack = Interface::new(StackConfig::new(mac.into()), &mut nic, StackInstant::ZERO);
    let mut sockets = SocketSet::new(Vec::new());
    let mut frame = [0xff; 14];
    frame[12..].copy_from_slice(&[8, 0]);
    for len in 1..=14 {
        back.deliver(&frame[..len], 0, |_| ());
        stack.poll(StackInstant::ZERO, &mut nic, &mut sockets);
    }
    assert_eq!(nic.queue.stats().rx_frames, 14, "taken, and told to nobody");
    assert_eq!(nic.queue.outstanding(), 0, "nothing was said to it");
    Attack { lab, netfront, queue: nic.queue, back, before }.survives();
}

/// Lines 10 and 11: what may be short is short, and what is empty is nothing.
#[test]
fn slots_of_no_bytes_are_taken_wherever_they_stand() {
    for at in 0..18 {
        let mut attack = Attack::new();
        for n in 0..18 {
            let bytes = if n == at { &[][..] } else { &[3; 10][..] };
            attack.back.deliver(bytes, if n < 17 { MORE } else { 0 }, |_| ());
        }
        assert_eq!(attack.frames(), [170]);
        attack.survives();
    }
}

/// Line 13.
#[test]
fn pages_that_the_backend_keeps_mapped_are_not_used_before_it_lets_go() {
    let mut attack = Attack::new();
    let first = attack.back.buffer();
    let page = attack.back.map(first.gref);
    let Attack { lab, netfront: _netfront, queue, back, .. } = attack;
    assert_eq!(queue.close(), 3, "both rings and the page");
    let memory = lab.guests[0].memory();
    assert_eq!(memory.active_grants(), 3);
    let free = memory.free_frames();
    memory.free(memory.alloc(1).expect("there are others"));
    assert_eq!((memory.free_frames(), memory.active_grants()), (free, 3), "asked for in vain");
    drop(page);
    back.leave();
    // Who takes or gives back something asks again.
    memory.free(memory.alloc(1).expect("there are others"));
    assert!(memory.free_frames() > free, "they come back");
    assert_eq!(memory.active_grants(), 0);
}

/// Line 17.
#[test]
fn a_request_carries_nothing_but_itself() {
    let mut attack = Attack::new();
    let meta = Meta { gso: 1000, ..Meta::default() };
    attack.queue.xmit(3000, meta, |bytes| bytes.fill(0x22)).expect("room");
    attack.queue.flush();
    let [low, high] = 1000_u16.to_ne_bytes();
    let extra: [u8; TX_SLOT] = attack.back.tx.read(1);
    assert_eq!(extra, [1, 0, low, high, 1, 0, 0, 0, 0, 0, 0, 0]);
    for slot in 0..256 {
        let buffer: [u8; RX_SLOT] = attack.back.rx.read(slot);
        assert_eq!(buffer[2..4], [0, 0], "the pad of a posted buffer");
    }
    let first = attack.back.request(0).id;
    attack.back.answer_all(&[first]);
    attack.back.answer(0, RSP_NULL);
    assert_eq!(attack.queue.reap(), 2);
    attack.survives();
}

/// Line 18. A million events within a second of a clock that the test turns.
#[test]
fn a_million_events_without_work_cost_a_few_looks() {
    let mut attack = Attack::new();
    let (start, mut looks) = (Instant::now(), 0);
    for event in 0..1_000_000 {
        let now = start + Duration::from_micros(event);
        let awake = attack.queue.patience(now) == Duration::MAX;
        if awake {
            assert!(!attack.queue.arm(false, now), "nothing forbids the sleep");
        }
        attack.back.tx_port.send();
        attack.back.rx_port.send();
        if awake {
            assert!(attack.queue.disarm(), "the event was not lost");
            let worked = attack.queue.poll();
            attack.queue.settle_event(worked, now);
            looks += 1;
        }
    }
    assert!(looks < 50, "{looks} looks");
    assert!(attack.queue.storm_delays() > 0, "counted");
    attack.survives();
}

/// Line 19: of frames that come, and of answers that a sender without room waits for.
#[test]
fn a_backend_that_never_sends_events_is_noticed() {
    for sends in [false, true] {
        let Attack { lab, netfront, queue, mut back, before } = Attack::new();
        let mut waiter = lab.guests[0].waiter().unwrap();
        queue.watch(&mut waiter).unwrap();
        let spin = Spin::new(WaitPolicy::Event, Duration::ZERO, false);
        let cost = lab.guests[0].cost().clone();
        let (stop, lost) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&lost));
        let working = std::thread::spawn(move || {
            let mut worker = Worker::new(waiter, spin, cost);
            let mut tasks = [Guest { queue, sends, frames: 0 }];
            while !stopped.load(Std::Relaxed) {
                worker.turn(&mut tasks);
                counted.store(worker.lost_wakeups(), Std::Relaxed);
            }
            tasks
        });
        until("the silence to be noticed", || {
            std::thread::sleep(Duration::from_millis(1));
            back.answer_waiting();
            if !sends && back.has_buffer() {
                back.deliver(&[3; 60], 0, |_| ());
            }
            (lost.load(Std::Relaxed) > 0).then_some(())
        });
        stop.store(true, Std::Relaxed);
        let [task] = working.join().unwrap();
        back.answer_waiting();
        let mut attack = Attack { lab, netfront, queue: task.queue, back, before };
        attack.frames();
        attack.queue.reap();
        assert!(task.frames > 0 || sends, "served without being told");
        attack.survives();
    }
}

/// A guest that takes what comes, and sends as much as there is room for, or nothing.
struct Guest {
    queue: Queue<HostDomain>,
    sends: bool,
    frames: u64,
}

impl Task for Guest {
    fn work(&mut self) -> bool {
        let mut any = false;
        while self.queue.receive(|_, _| ()).is_some() {
            (self.frames, any) = (self.frames + 1, true);
        }
        while self.sends && self.queue.has_room() {
            any |= self.queue.xmit(60, Meta::default(), |bytes| bytes.fill(0x22)).is_some();
        }
        self.queue.flush();
        any
    }

    fn arm(&mut self, now: Instant) -> bool {
        self.queue.arm(self.sends, now)
    }

    fn disarm(&mut self) -> bool {
        self.queue.disarm()
    }

    fn settle(&mut self, worked: bool, now: Instant) {
        self.queue.settle_event(worked, now);
    }

    fn patience(&self, now: Instant) -> Duration {
        self.queue.patience(now)
    }

    fn missed(&mut self) -> bool {
        self.queue.missed()
    }

    fn finished(&self) -> bool {
        false
    }
}

/// Line 20.
#[test]
fn a_backend_that_answers_nothing_costs_what_the_ring_holds_and_no_more() {
    let mut attack = Attack::new();
    let mut ids = Vec::new();
    while attack.queue.has_room() {
        ids.extend(attack.send(60));
    }
    // Whoever does not ask for room gets the last slots, and that is all, however often it is tried.
    let tries = (0..1000).filter(|_| attack.queue.xmit(60, Meta::default(), |_| ()).is_some());
    assert!(ids.len() + tries.count() <= 256, "held, not queued elsewhere");
    assert!(!attack.queue.has_room());
    // It needs no event to be believed when it answers after all.
    attack.back.answer_all(&ids);
    assert!(attack.queue.has_room());
    attack.survives();
}

fn gso(size: u16) -> Extra {
    Extra::Gso { size, kind: GsoType::TcpV4, features: 0 }
}
