//! Hostile frontends against the real netback: one test for each lie of the conformance list.
//!
//! Each ends in one of two outcomes, and the rig checks all of it: the vif breaks, with the reason in
//! the store and everything given back, or it is as good as before; the neighbour never notices. That
//! each attack would bite without the check is shown by `hostile_weakened`; lies to netfront are in
//! `hostile_backend`; what has no ring in it (slots as frames) is in `backend/tests`.

mod rig;

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering as Std};
use std::time::{Duration, Instant};

use backend::wire::Reflect;
use backend::{Config, Netback, Nic, Rogue, VifId};
use rig::front::{Attack, CANARY, CONFIG, Front, Offer, Slot, connected, dir, wait_for};
use rig::{Lab, Random, until};
use rings::evtchn::{Spin, WaitPolicy};
use rings::frame::{Csum, Meta};
use rings::grant::{CopyOp, GntStatus};
use rings::io::netif::{
    Extra, ExtraInfo, GsoType, RSP_ERROR, RSP_NULL, RSP_OKAY, TX_SLOT, TxFlags, TxRequest,
};
use rings::ring::{Index, ProdOverflow, SringMem};
use rings::store::{Nodes, XenbusState};
use rings::sync::Ordering;
use rings::worker::Worker;
use rings::{DomId, Domain, Foreign, GrantMode, Gref, PAGE_SIZE};
use smoltcp::phy::Device;
use smoltcp::time::Instant as StackInstant;

/// All ways to a granted page.
const MODES: [GrantMode; 3] = [GrantMode::Copy, GrantMode::Map, GrantMode::Persistent];

/// What a guest writes into its keys.
#[test]
fn a_key_of_garbage_costs_its_guest_the_vif_and_nobody_else() {
    for key in [
        "tx-ring-ref",
        "rx-ring-ref",
        "event-channel-tx",
        "event-channel-rx",
        "feature-rx-notify",
        "feature-sg",
        "feature-gso-tcpv4",
        "feature-no-csum-offload",
        "feature-ipv6-csum-offload",
        "request-rx-copy",
        "multi-queue-num-queues",
    ] {
        for value in [&b""[..], b"\xff\xfe", &[b'9'; 2048]] {
            let lab = Lab::new();
            let mut netback = Netback::new(&lab.dom0, CONFIG).unwrap();
            let mut front = Front::new(&lab.guests[0], &Offer::default());
            let mut neighbour = Front::new(&lab.guests[1], &Offer::default());
            wait_for(&mut netback, 1, XenbusState::InitWait);
            front.publish(&Offer::default());
            front.store.write(&format!("device/vif/0/{key}"), value).unwrap();
            let rogue = VifId { front: DomId(1), handle: 0 };
            wait_for(&mut netback, 1, XenbusState::Closing);
            let error = format!("error/{}/error", dir(rogue));
            let error = netback.store().read_string(&error).unwrap();
            assert!(
                error.contains(key) || error.contains("port"),
                "{key}: the store says {error:?}"
            );
            wait_for(&mut netback, 2, XenbusState::InitWait);
            neighbour.publish(&Offer::default());
            connected(&mut netback).close();
            front.leave();
            neighbour.leave();
        }
    }
}

/// Whoever writes its own driver finds out which one it forgot.
#[test]
fn a_key_that_is_missing_is_named() {
    for key in ["tx-ring-ref", "rx-ring-ref", "event-channel-tx", "event-channel-rx"] {
        let lab = Lab::new();
        let mut netback = Netback::new(&lab.dom0, CONFIG).unwrap();
        let mut front = Front::new(&lab.guests[0], &Offer::default());
        wait_for(&mut netback, 1, XenbusState::InitWait);
        front.publish_without(&Offer::default(), Some(key));
        wait_for(&mut netback, 1, XenbusState::Closing);
        let error = format!("error/{}/error", dir(VifId { front: DomId(1), handle: 0 }));
        let error = netback.store().read_string(&error).unwrap();
        assert!(error.contains(key), "{key}: the store says {error:?}");
        front.leave();
    }
}

/// A guest of the time when pages were exchanged.
#[test]
fn a_guest_that_does_not_ask_for_copies_is_refused_by_name() {
    for request in [None, Some("0")] {
        let lab = Lab::new();
        let mut netback = Netback::new(&lab.dom0, CONFIG).unwrap();
        let mut front = Front::new(&lab.guests[0], &Offer::default());
        wait_for(&mut netback, 1, XenbusState::InitWait);
        front.publish(&Offer::default());
        let key = "device/vif/0/request-rx-copy";
        match request {
            Some(value) => front.store.write(key, value).unwrap(),
            None => front.store.rm(key).unwrap(),
        }
        wait_for(&mut netback, 1, XenbusState::Closing);
        let error = format!("error/{}/error", dir(VifId { front: DomId(1), handle: 0 }));
        let error = netback.store().read_string(&error).unwrap();
        assert!(error.contains("request-rx-copy"), "the store says {error:?}");
        front.leave();
    }
}

/// Line 1.
#[test]
fn a_request_producer_that_cannot_be_breaks_the_vif() {
    for jump in [257, 1 << 31, u32::MAX] {
        let mut attack = Attack::new();
        attack.front.claim(jump);
        assert_eq!(attack.frames().len(), 0);
        let lie = ProdOverflow { index: Index::ReqProd, seen: 0, claimed: jump, limit: 256 };
        attack.breaks(Rogue::Ring(lie));
    }
}

/// Line 1.
#[test]
fn a_request_producer_that_moves_backwards_breaks_the_vif() {
    let mut attack = Attack::new();
    let frame = attack.front.data(0, 60, false);
    attack.front.put_data(&[frame; 4]);
    assert_eq!(attack.frames().len(), 4);
    attack.front.claim(3);
    assert_eq!(attack.frames().len(), 0);
    let lie = ProdOverflow { index: Index::ReqProd, seen: 4, claimed: 3, limit: 256 };
    attack.breaks(Rogue::Ring(lie));
}

/// Line 1, on the ring of buffers.
#[test]
fn more_buffers_than_the_ring_has_break_the_vif() {
    let mut attack = Attack::new();
    attack.front.rx.store(Index::ReqProd, 1 << 31, Ordering::Release);
    assert!(!attack.queue.has_room(60, Meta::default()));
    let lie = ProdOverflow { index: Index::ReqProd, seen: 0, claimed: 1 << 31, limit: 256 };
    attack.breaks(Rogue::Ring(lie));
}

/// Line 2.
#[test]
fn an_event_index_of_garbage_costs_the_liar_events_and_nothing_else() {
    let mut attack = Attack::new();
    let mut random = Random(2);
    for _ in 0..1000 {
        let garbage = random.next().to_le_bytes();
        let garbage = u32::from_le_bytes([garbage[0], garbage[1], garbage[2], garbage[3]]);
        attack.front.tx.store(Index::RspEvent, garbage, Ordering::Relaxed);
        attack.front.tx.store(Index::ReqEvent, !garbage, Ordering::Relaxed);
        let frame = attack.front.data(0, 60, false);
        attack.front.put_data(&[frame]);
        assert_eq!(attack.frames().len(), 1, "served without being told");
        assert_eq!(attack.front.answers(), [RSP_OKAY]);
    }
    let stats = *attack.queue.stats();
    assert_eq!(stats.notifies + stats.suppressed, 1000);
    attack.survives();
}

/// Line 3.
#[test]
fn ten_thousand_frames_pass_the_wrap_of_the_indices() {
    let mut attack = Attack::offering(&Offer { base: u32::MAX - 3, ..Offer::default() });
    for _ in 0..100 {
        let frame = attack.front.data(0, 60, false);
        attack.front.put_data(&[frame; 100]);
        assert_eq!(attack.frames().len(), 100);
        assert_eq!(attack.front.answers(), [RSP_OKAY; 100]);
    }
    attack.survives();
}

/// Line 4.
#[test]
fn slots_that_change_under_the_reader_never_get_past_the_checks() {
    for seed in 1..=4 {
        let mut attack = Attack::new();
        let (ring, stop) = (attack.front.tx.clone(), Arc::new(AtomicBool::new(false)));
        let (flips, stopped) = (Arc::new(AtomicU64::new(0)), Arc::clone(&stop));
        let flipped = Arc::clone(&flips);
        let flipper = std::thread::spawn(move || {
            let mut random = Random(seed);
            while !stopped.load(Std::Relaxed) {
                let slot = u32::try_from(random.below(256)).unwrap();
                let mut bytes: [u8; TX_SLOT] = ring.read(slot);
                let at = usize::try_from(random.below(TX_SLOT as u64)).unwrap();
                bytes[at] ^= 1 << random.below(8);
                ring.write(slot, bytes);
                flipped.fetch_add(1, Std::Relaxed);
            }
        });
        until("the flipper", || (flips.load(Std::Relaxed) > 0).then_some(()));
        for _ in 0..2000 {
            let frames = [attack.front.data(1, 200, true), attack.front.data(2, 100, false)];
            attack.front.put_data(&frames);
            for frame in attack.frames() {
                assert!((14..=65_535).contains(&frame.len()));
                assert!(!frame.contains(&CANARY), "bytes of a page that was not granted");
            }
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

/// Line 7.
#[test]
fn eighteen_slots_make_a_frame_nineteen_fail_and_twenty_break_the_vif() {
    for (slots, outcome) in
        [(1, Ok(RSP_OKAY)), (18, Ok(RSP_OKAY)), (19, Ok(RSP_ERROR)), (20, Err(()))]
    {
        let mut attack = Attack::new();
        attack.front.put_data(&chain(&attack, slots));
        let frames = attack.frames().len();
        match outcome {
            Ok(status) => {
                assert_eq!(frames, usize::from(status == RSP_OKAY), "{slots} slots");
                assert_eq!(attack.front.answers(), vec![status; slots], "{slots} slots");
                attack.survives();
            }
            Err(()) => attack.breaks(Rogue::Slots(20)),
        }
    }
}

/// Line 7.
#[test]
fn a_chain_as_long_as_the_ring_breaks_the_vif() {
    let mut attack = Attack::new();
    let endless = [attack.front.data(0, 10, true); 256];
    attack.front.put_data(&endless);
    assert_eq!(attack.frames().len(), 0);
    attack.breaks(Rogue::Slots(20));
}

/// Line 7.
#[test]
fn a_chain_cut_by_the_end_of_the_ring_breaks_the_vif_and_nothing_half_made_gets_out() {
    let mut attack = Attack::new();
    let whole = attack.front.data(0, 60, false);
    let cut = attack.front.data(1, 60, true);
    attack.front.put_data(&[whole, cut]);
    assert_eq!(attack.frames().len(), 0, "planned, and not copied when the lie came to light");
    attack.breaks(Rogue::Cut);
}

/// Line 8.
#[test]
fn extra_infos_that_do_not_exist_break_the_vif() {
    for kind in [0, 5, 255] {
        let mut attack = Attack::new();
        let extra = ExtraInfo { kind, flags: 0, body: [0; 6] };
        attack.front.put(&[with_extra(&attack), Slot::Extra(extra)]);
        assert_eq!(attack.frames().len(), 0);
        attack.breaks(Rogue::Extra(kind));
    }
}

/// Line 8.
#[test]
fn extra_infos_without_end_break_the_vif() {
    let mut attack = Attack::new();
    let mut slots = vec![with_extra(&attack)];
    slots.extend([Slot::Extra(gso(1448).encode(true)); 200]);
    attack.front.put(&slots);
    assert_eq!(attack.frames().len(), 0);
    attack.breaks(Rogue::Extras);
}

/// Line 8.
#[test]
fn segments_of_no_size_break_the_vif() {
    let mut attack = Attack::new();
    attack.front.put(&[with_extra(&attack), Slot::Extra(gso(0).encode(false))]);
    assert_eq!(attack.frames().len(), 0);
    attack.breaks(Rogue::Gso(0, 1));
}

/// Each segment gets a checksum of its own: that of the whole need not be there.
#[test]
fn a_frame_of_segments_counts_as_blank_whatever_its_flags_say() {
    let mut attack = Attack::new();
    attack.front.put(&[with_extra(&attack), Slot::Extra(gso(1448).encode(false))]);
    let meta = attack.queue.receive(|_, meta| meta);
    assert_eq!(meta, Some(Meta { csum: Csum::Blank, gso: 1448 }));
    assert_eq!(attack.front.answers().first(), Some(&RSP_OKAY));
    attack.survives();
}

/// Line 8.
#[test]
fn of_two_extra_infos_of_one_type_the_last_counts() {
    let mut attack = Attack::new();
    let twice = [Slot::Extra(gso(500).encode(true)), Slot::Extra(gso(1000).encode(false))];
    attack.front.put(&[with_extra(&attack), twice[0], twice[1]]);
    assert_eq!(attack.queue.receive(|_, meta| meta.gso), Some(1000));
    assert_eq!(attack.front.answers(), [RSP_OKAY, RSP_NULL, RSP_NULL]);
    attack.survives();
}

/// Line 9.
#[test]
fn a_slot_that_leaves_its_page_breaks_the_vif() {
    for (offset, size) in [(4090, 60), (0, 4097), (u16::MAX, 60), (4096, 60)] {
        let mut attack = Attack::new();
        let frame = TxRequest { offset, ..attack.front.data(0, size, false) };
        attack.front.put_data(&[frame]);
        assert_eq!(attack.frames().len(), 0);
        attack.breaks(Rogue::Bounds(offset, size));
    }
}

/// Line 9.
#[test]
fn slots_longer_than_the_frame_fail_that_frame_alone() {
    let mut attack = Attack::new();
    let front = &attack.front;
    let slots = [front.data(0, 100, true), front.data(1, 101, false), front.data(2, 60, false)];
    attack.front.put_data(&slots);
    assert_eq!(attack.frames().len(), 1);
    assert_eq!(attack.front.answers(), [RSP_ERROR, RSP_ERROR, RSP_OKAY]);
    attack.survives();
}

/// Line 10.
#[test]
fn a_frame_shorter_than_its_header_fails_alone() {
    let mut attack = Attack::new();
    let slots: Vec<_> = [0, 1, 13, 14].map(|size| attack.front.data(0, size, false)).into();
    attack.front.put_data(&slots);
    assert_eq!(attack.frames().len(), 1);
    assert_eq!(attack.front.answers(), [RSP_ERROR, RSP_ERROR, RSP_ERROR, RSP_OKAY]);
    attack.survives();
}

/// Line 10.
#[test]
fn the_largest_frame_there_is_passes() {
    let mut attack = Attack::new();
    let mut slots: Vec<_> = (0..16).map(|n| attack.front.data(n, 4096, n < 15)).collect();
    (slots[0].size, slots[15].size) = (65_535, 4095);
    attack.front.put_data(&slots);
    assert_eq!(attack.frames().iter().map(Vec::len).collect::<Vec<_>>(), [65_535]);
    assert_eq!(attack.front.answers(), [RSP_OKAY; 16]);
    attack.survives();
}

/// Line 11.
#[test]
fn slots_of_no_bytes_are_answered_wherever_they_stand() {
    let mut attack = Attack::new();
    for at in 1..18 {
        let mut slots = chain(&attack, 18);
        // What a slot does not carry the first one does.
        slots[at].size = 0;
        // Never touched, so it may be anything.
        slots[at].gref = u32::MAX;
        attack.front.put_data(&slots);
        assert_eq!(attack.frames().len(), 1);
        assert_eq!(attack.front.answers(), [RSP_OKAY; 18]);
    }
    let mut slots = [attack.front.data(0, 0, true); 18];
    slots[0].size = 60;
    slots[17].flags = 0;
    attack.front.put_data(&slots);
    assert_eq!(attack.frames().len(), 1);
    assert_eq!(attack.front.answers(), [RSP_OKAY; 18]);
    attack.survives();
}

/// Line 12.
#[test]
fn a_grant_that_leads_nowhere_fails_its_frame_alone() {
    MODES.into_iter().for_each(bad_grants_of_frames);
}

fn bad_grants_of_frames(grant: GrantMode) {
    let mut attack = Attack::with(&Offer::default(), Config { grant, ..CONFIG });
    let guest = attack.lab.guests[0].clone();
    let memory = guest.memory();
    let page = memory.alloc(1).unwrap();
    let foreign = memory.grant_access(DomId(2), &page, 0, false).unwrap();
    let revoked = attack.front.grefs[5];
    memory.end_access(revoked).unwrap();
    let good = attack.front.data(0, 60, false);
    let with = |gref| TxRequest { gref, ..good };
    let bad = [with(u32::MAX), with(8191), with(foreign.0), with(revoked.0)];
    attack.front.put_data(&[good, bad[0], good, bad[1], good, bad[2], good, bad[3], good]);
    assert_eq!(attack.frames().len(), 5);
    let (okay, error) = (RSP_OKAY, RSP_ERROR);
    let expected = [okay, error, okay, error, okay, error, okay, error, okay];
    assert_eq!(attack.front.answers(), expected);
    memory.end_access(foreign).unwrap();
    memory.free(page);
    attack.survives();
}

/// Line 12.
#[test]
fn a_grant_that_is_taken_back_while_its_request_waits_fails_that_frame_alone() {
    for grant in MODES {
        let mut attack = Attack::with(&Offer::default(), Config { grant, ..CONFIG });
        let guest = attack.lab.guests[0].clone();
        let memory = guest.memory();
        let page = memory.alloc(1).unwrap();
        page.region().copy_in(0, &[CANARY; PAGE_SIZE]);
        let gref = memory.grant_access(DomId::DOM0, &page, 0, false).unwrap();
        let good = attack.front.data(0, 60, false);
        attack.front.put_data(&[good, TxRequest { gref: gref.0, ..good }, good]);
        assert_eq!(memory.end_access(gref), Ok(()), "nobody has looked at it yet");
        let frames = attack.frames();
        assert_eq!(frames.len(), 2, "{grant:?}");
        assert!(frames.iter().all(|frame| !frame.contains(&CANARY)), "{grant:?}");
        assert_eq!(attack.front.answers(), [RSP_OKAY, RSP_ERROR, RSP_OKAY], "{grant:?}");
        memory.free(page);
        attack.survives();
    }
}

/// Line 12.
#[test]
fn each_bad_grant_of_a_batch_gets_xens_own_status() {
    let attack = Attack::new();
    let guest = attack.lab.guests[0].clone();
    let memory = guest.memory();
    let page = memory.alloc(2).unwrap();
    let readonly = memory.grant_access(DomId::DOM0, &page, 0, true).unwrap();
    let other = memory.grant_access(DomId(2), &page, 1, false).unwrap();
    let mut foreign = attack.lab.dom0.foreign(DomId(1), GrantMode::Copy).unwrap();
    let op = |gref, offset, len| CopyOp { gref, offset, len, ..CopyOp::default() };
    let good = attack.front.grefs[0];
    let mut ops = [
        op(good, 0, 4096),
        op(Gref(u32::MAX), 0, 1),
        op(other, 0, 1),
        op(readonly, 0, 1),
        op(good, 1, 4096),
        op(Gref(u32::MAX), 0, 0),
        op(good, 4095, 1),
    ];
    foreign.copy_to(&mut ops, &[7; PAGE_SIZE]);
    let got: Vec<_> = ops.iter().map(|op| op.status).collect();
    use GntStatus::{BadCopyArg, BadGntref, GeneralError, Okay};
    assert_eq!(got, [Okay, BadGntref, GeneralError, GeneralError, BadCopyArg, Okay, Okay]);
    assert!(attack.front.canaries_live());
    drop(foreign);
    memory.end_access(readonly).unwrap();
    memory.end_access(other).unwrap();
    memory.free(page);
    attack.survives();
}

/// Line 12.
#[test]
fn the_129th_pin_of_a_grant_is_refused_and_the_128_before_come_back() {
    let attack = Attack::new();
    let mut foreign = attack.lab.dom0.foreign(DomId(1), GrantMode::Copy).unwrap();
    let gref = attack.front.grefs[0];
    let maps: Vec<_> = (0..128).map(|_| foreign.map(gref).unwrap()).collect();
    assert_eq!(foreign.map(gref).unwrap_err(), GntStatus::GeneralError);
    assert!(attack.lab.guests[0].memory().end_access(gref).is_err(), "in use");
    drop(maps);
    assert!(foreign.map(gref).is_ok());
    attack.survives();
}

/// A process may have some 65,000 mappings; one that has no more can serve no guest.
#[test]
fn pages_that_stay_mapped_are_as_many_as_a_queue_may_keep() {
    let persistent = Config { grant: GrantMode::Persistent, ..CONFIG };
    let mut attack = Attack::with(&Offer::default(), persistent);
    let grefs = attack.grants_of_one_page(4000);
    attack.use_each(&grefs);
    let grants = attack.queue.grants();
    assert_eq!((grants.maps, grants.maps - grants.unmaps), (4000, 1056));
    let guest = attack.lab.guests[0].clone();
    let memory = guest.memory();
    let (gone, kept) = grefs.split_at(4000 - 1056);
    for gref in gone {
        assert_eq!(memory.end_access(*gref), Ok(()), "unmapped, and not only forgotten");
    }
    assert!(kept.iter().all(|gref| memory.end_access(*gref).is_err()), "in use");
    let Attack { lab, netback, front, queue, neighbour, other } = attack;
    queue.close();
    for gref in kept {
        assert_eq!(memory.end_access(*gref), Ok(()), "all are given back");
    }
    drop((netback, neighbour, other));
    front.leave();
    drop(lab);
}

/// Line 12, on the ring of buffers.
#[test]
fn a_buffer_that_may_not_be_written_fails_its_frame_alone() {
    MODES.into_iter().for_each(bad_grants_of_buffers);
}

fn bad_grants_of_buffers(grant: GrantMode) {
    let mut attack = Attack::with(&Offer::default(), Config { grant, ..CONFIG });
    let guest = attack.lab.guests[0].clone();
    let memory = guest.memory();
    let page = memory.alloc(1).unwrap();
    page.region().copy_in(0, &[CANARY; PAGE_SIZE]);
    let readonly = memory.grant_access(DomId::DOM0, &page, 0, true).unwrap();
    let good = attack.front.grefs[0];
    attack.front.post(&[good, readonly, Gref(u32::MAX), good]);
    for _ in 0..4 {
        assert!(attack.queue.xmit(60, Meta::default(), |bytes| bytes.fill(9)).is_some());
    }
    attack.queue.flush();
    let statuses: Vec<_> = attack.front.received(0).iter().map(|r| r.status).collect();
    assert_eq!(statuses, [60, RSP_ERROR, RSP_ERROR, 60]);
    let mut bytes = [0; PAGE_SIZE];
    page.region().copy_out(0, &mut bytes);
    assert_eq!(bytes, [CANARY; PAGE_SIZE], "a page granted for reading was written");
    memory.end_access(readonly).unwrap();
    memory.free(page);
    attack.survives();
}

/// Line 13.
#[test]
fn a_ring_that_is_mapped_cannot_be_taken_back_until_the_vif_is_closed() {
    let attack = Attack::new();
    for gref in attack.front.ring_grefs {
        assert!(attack.lab.guests[0].memory().end_access(gref).is_err());
    }
    // `leave`, in here, takes them back for good.
    attack.survives();
}

/// Line 17.
#[test]
fn a_response_carries_nothing_but_itself() {
    let mut attack = Attack::new();
    let mut slot = [0xee; TX_SLOT];
    let request = TxRequest { offset: 7, ..attack.front.data(3, 60, false) };
    attack.front.put_data(&[request]);
    assert_eq!(attack.frames().len(), 1);
    let raw: [u8; TX_SLOT] = attack.front.tx.read(0);
    slot[..4].copy_from_slice(&[3, 0, 0, 0]);
    let own: [u8; TX_SLOT] = zerocopy::IntoBytes::as_bytes(&request).try_into().unwrap();
    slot[4..].copy_from_slice(&own[4..]);
    assert_eq!(raw, slot, "id, status, and the rest as the guest itself left it");

    let grefs = attack.front.grefs.clone();
    attack.front.post(&grefs[..4]);
    let meta = Meta { gso: 1000, ..Meta::default() };
    assert!(attack.queue.xmit(3000, meta, |bytes| bytes.fill(9)).is_some());
    attack.queue.flush();
    let extra: [u8; 8] = attack.front.rx.read(1);
    let [low, high] = 1000_u16.to_ne_bytes();
    assert_eq!(extra, [1, 0, low, high, 1, 0, 0, 0], "the pad of an extra info is zero");
    attack.survives();
}

/// Line 18. A million events within a second of a clock that the test turns.
#[test]
fn a_million_events_without_work_cost_a_few_looks() {
    let mut attack = Attack::new();
    let looks = storm(&mut attack);
    assert!(looks < 50, "{looks} looks");
    assert!(attack.queue.storm_delays() > 0, "counted");
    attack.survives();
}

/// Looks that a million events cost, one each microsecond.
fn storm(attack: &mut Attack) -> u64 {
    let (start, mut looks) = (Instant::now(), 0);
    for event in 0..1_000_000 {
        let now = start + Duration::from_micros(event);
        let awake = attack.queue.patience(now) == Duration::MAX;
        if awake {
            assert!(!attack.queue.arm(false, now), "nothing forbids the sleep");
        }
        attack.front.tx_port.send();
        if awake {
            assert!(attack.queue.disarm(), "the event was not lost");
            let worked = attack.queue.poll();
            attack.queue.settle_event(worked, now);
            looks += 1;
        }
    }
    looks
}

/// Line 19.
#[test]
fn a_guest_that_never_sends_events_is_served_and_noticed() {
    let Attack { lab, netback, mut front, queue, neighbour, other } = Attack::new();
    let grefs = front.grefs.clone();
    front.post(&grefs);
    let mut waiter = lab.dom0.waiter().unwrap();
    queue.watch(&mut waiter).unwrap();
    let spin = Spin::new(WaitPolicy::Event, Duration::ZERO, false);
    let cost = lab.dom0.cost().clone();
    let (stop, lost) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&lost));
    let serving = std::thread::spawn(move || {
        let mut worker = Worker::new(waiter, spin, cost);
        let mut tasks = [Reflect::new(queue)];
        while !stopped.load(Std::Relaxed) {
            worker.turn(&mut tasks);
            counted.store(worker.lost_wakeups(), Std::Relaxed);
        }
        tasks
    });
    let request = front.data(0, 60, false);
    let (mut sent, mut answered) = (0, 0);
    until("frames that nobody tells of to be served, and the silence to be noticed", || {
        if sent == answered && sent < 200 {
            front.put_data(&[request]);
            sent += 1;
        }
        std::thread::sleep(Duration::from_millis(1));
        answered += front.answers().len();
        (lost.load(Std::Relaxed) > 0 && answered > 0).then_some(())
    });
    stop.store(true, Std::Relaxed);
    let tasks = serving.join().unwrap();
    let [task] = tasks;
    let attack = Attack { lab, netback, front, queue: task.queue, neighbour, other };
    attack.survives();
}

/// Line 20.
#[test]
fn frames_for_a_guest_without_buffers_are_held_then_dropped_and_it_counts_as_stalled() {
    let Attack { lab, netback, mut front, queue, neighbour, other } = Attack::new();
    let mut wire = Reflect::new(queue);
    let frame = front.data(0, 60, false);
    front.put_data(&[frame; 200]);
    let (start, after) = (Instant::now(), Cell::new(Duration::ZERO));
    let now = || start + after.get();
    for seconds in [0, 1, 9] {
        after.set(Duration::from_secs(seconds));
        wire.work_at(now);
        assert_eq!(wire.queue.stats().rx_dropped, 0, "held for {seconds} s, and not lost");
    }
    assert_eq!(front.answers().len(), 64, "one batch is held, the rest stays the guest's");
    after.set(Duration::from_secs(10));
    until("all frames to be dropped", || {
        wire.work_at(now);
        (wire.queue.stats().rx_dropped == 200).then_some(())
    });
    assert!(!wire.queue.stalled());
    front.put_data(&[frame; 10]);
    after.set(Duration::from_secs(60));
    wire.work_at(now);
    assert!(wire.queue.stalled(), "a minute without a buffer");
    front.answers();
    let grefs = front.grefs.clone();
    front.post(&grefs);
    front.put_data(&[frame]);
    wire.work_at(now);
    assert!(!wire.queue.stalled() && front.received(0).len() == 1, "served again");
    let attack = Attack { lab, netback, front, queue: wire.queue, neighbour, other };
    attack.survives();
}

/// Line 20: a frame that can never be given to this guest is not waited for.
#[test]
fn segments_that_the_guest_cannot_take_do_not_hold_the_queue() {
    let offer = Offer { gso: false, sg: false, ..Offer::default() };
    for size in [1, 60_000] {
        let Attack { lab, netback, mut front, queue, neighbour, other } = Attack::offering(&offer);
        let grefs = front.grefs.clone();
        front.post(&grefs);
        let mut slots = vec![Slot::Data(TxRequest {
            flags: (TxFlags::EXTRA_INFO | TxFlags::MORE_DATA).bits(),
            size: 8000,
            ..front.data(0, 0, true)
        })];
        front.pages.region().copy_in(0, &tcp4(8000));
        slots.push(Slot::Extra(gso(size).encode(false)));
        slots.push(Slot::Data(front.data(1, 4000, false)));
        front.put(&slots);
        let mut wire = Reflect::new(queue);
        wire.work_at(Instant::now);
        assert_eq!(front.answers(), [RSP_OKAY, RSP_NULL, RSP_OKAY]);
        assert_eq!(wire.queue.stats().rx_errors, 1);
        assert_eq!(front.received(0).len(), 0);
        let attack = Attack { lab, netback, front, queue: wire.queue, neighbour, other };
        attack.survives();
    }
}

/// A blank checksum has no place in what is neither TCP nor UDP, and only TCP over IPv4 is cut: Linux drops
/// such frames, and a guest that believed us would too.
#[test]
fn what_cannot_be_said_of_a_frame_is_not_handed_on() {
    let mut arp = [0; 60];
    arp[12..14].copy_from_slice(&[8, 6]);
    let mut icmp = tcp4(60);
    icmp[23] = 1;
    let mut udp = tcp4(60);
    udp[23] = 17;
    let blank = TxFlags::CSUM_BLANK | TxFlags::DATA_VALIDATED;
    for (frame, size) in [(arp, None), (icmp, None), (udp, Some(1000))] {
        let Attack { lab, netback, mut front, queue, neighbour, other } = Attack::new();
        let grefs = front.grefs.clone();
        front.post(&grefs[8..]);
        front.pages.region().copy_in(0, &frame);
        let mut flags = blank;
        flags.set(TxFlags::EXTRA_INFO, size.is_some());
        let slot = TxRequest { flags: flags.bits(), ..front.data(0, 60, false) };
        let mut slots = vec![Slot::Data(slot)];
        slots.extend(size.map(|size| Slot::Extra(gso(size).encode(false))));
        front.put(&slots);
        let mut wire = Reflect::new(queue);
        wire.work_at(Instant::now);
        assert_eq!(front.answers()[0], RSP_OKAY);
        assert_eq!((wire.queue.stats().rx_errors, front.received(0).len()), (1, 0));
        // The same frame without the lie goes through.
        front.put_data(&[front.data(0, 60, false)]);
        wire.work_at(Instant::now);
        assert_eq!(front.received(0).len(), 1);
        assert_eq!(front.answers(), [RSP_OKAY]);
        // Nor does a stack of ours get to see it.
        let mut nic = Nic::new(wire.queue, 0, 1500);
        let flags = blank.bits();
        front.put_data(&[TxRequest { flags, ..front.data(0, 60, false) }]);
        assert_eq!(nic.receive(StackInstant::ZERO).is_some(), size.is_some(), "UDP may be blank");
        assert_eq!(nic.queue.stats().tx_errors, u64::from(size.is_none()));
        front.answers();
        let attack = Attack { lab, netback, front, queue: nic.queue, neighbour, other };
        attack.survives();
    }
}

/// XSA-39: a guest that puts new lies behind those that are dropped has its turn, and then others have theirs.
#[test]
fn lies_without_end_are_looked_at_in_turns() {
    let Attack { lab, netback, mut front, queue, neighbour, other } = Attack::new();
    // A stack takes nothing that it might not be able to answer.
    let grefs = front.grefs.clone();
    front.post(&grefs[8..]);
    let mut arp = [0; 60];
    arp[12..14].copy_from_slice(&[8, 6]);
    front.pages.region().copy_in(0, &arp);
    let flags = (TxFlags::CSUM_BLANK | TxFlags::DATA_VALIDATED).bits();
    let lies: Vec<_> = (0..200).map(|_| TxRequest { flags, ..front.data(0, 60, false) }).collect();
    front.put_data(&lies);
    let mut nic = Nic::new(queue, 0, 1500);
    let mut turns = 0;
    while nic.queue.stats().tx_errors < 200 {
        let before = nic.queue.stats().tx_errors;
        assert!(nic.receive(StackInstant::ZERO).is_none(), "there is nothing else");
        let after = nic.queue.stats().tx_errors;
        assert!((1..=64).contains(&(after - before)), "one batch, not {}", after - before);
        turns += 1;
    }
    assert!(turns >= 4);
    front.answers();
    let attack = Attack { lab, netback, front, queue: nic.queue, neighbour, other };
    attack.survives();
}

/// The headers of a TCPv4 frame of `len` bytes, and nothing in it.
fn tcp4(len: u16) -> [u8; 60] {
    let mut frame = [0; 60];
    frame[12] = 8;
    frame[14] = 0x45;
    frame[16..18].copy_from_slice(&(len - 14).to_be_bytes());
    frame[23] = 6;
    frame[46] = 0x50;
    frame
}

fn gso(size: u16) -> Extra {
    Extra::Gso { size, kind: GsoType::TcpV4, features: 0 }
}

/// A first slot behind which an extra info follows.
fn with_extra(attack: &Attack) -> Slot {
    let flags = TxFlags::EXTRA_INFO.bits();
    Slot::Data(TxRequest { flags, ..attack.front.data(0, 100, false) })
}

/// A frame of so many slots of ten bytes.
fn chain(attack: &Attack, slots: usize) -> Vec<TxRequest> {
    let mut all: Vec<_> = (0..slots).map(|n| attack.front.data(n, 10, n + 1 < slots)).collect();
    all[0].size = u16::try_from(slots * 10).unwrap().max(14);
    all
}
