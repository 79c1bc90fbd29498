//! A guest and a console daemon that lie to one another, storm, fall silent or go: line 25 of the
//! conformance list, on both sides of the ring.
//!
//! The attacked end is always the real one. That the attack would bite without the check is shown by
//! `hostile_weakened`; whole processes that die are in `console_death`.

mod rig;

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::{Duration, Instant};

use console::back::{Config, ConsoleEvent, Consoled, Limit, Session, Sink};
use console::front::{Console, OnFull, Written};
use nix::fcntl::OFlag;
use rig::{Lab, Random, until};
use rings::bytes::ConsolePage;
use rings::evtchn::Channel;
use rings::io::console::{IN_CONS, IN_PROD, IN_SIZE, OUT_CONS, OUT_PROD, OUT_SIZE};
use rings::mem::Region;
use rings::store::Nodes;
use rings::{DomId, Domain, Pfn, Port};
use rings_host::{EventDoorbell, HostDomain};

/// Both guests' consoles, served.
struct Served {
    lab: Lab,
    _consoled: Consoled<HostDomain>,
    sessions: BTreeMap<DomId, Session<HostDomain>>,
}

/// What a session reads.
fn read(session: &mut Session<HostDomain>) -> Vec<u8> {
    let mut all = Vec::new();
    session.disarm();
    session.work(&mut |bytes| all.extend_from_slice(bytes));
    all
}

impl Served {
    fn new(limit: Option<Limit>) -> Self {
        Self::with(Config { limit, sink: Sink::Null, ..Config::default() })
    }

    fn with(config: Config) -> Self {
        let lab = Lab::new();
        let mut consoled = Consoled::new(&lab.dom0, config).expect("a store");
        let mut sessions = BTreeMap::new();
        until("both consoles", || {
            for event in consoled.step(Duration::from_millis(10)).expect("a store") {
                let ConsoleEvent::Connected(front, session) = event else { continue };
                sessions.insert(front, *session);
            }
            (sessions.len() == 2).then_some(())
        });
        Self { lab, _consoled: consoled, sessions }
    }

    fn session(&mut self, front: u16) -> &mut Session<HostDomain> {
        self.sessions.get_mut(&DomId(front)).expect("served")
    }

    /// The page of a guest, as it has it: to write anything into.
    fn page(&self, guest: usize) -> Region {
        let memory = self.lab.guests[guest].memory();
        memory.page(Pfn(memory.layout().console)).expect("a page")
    }

    fn port(&self, guest: usize) -> Channel<EventDoorbell> {
        self.lab.guests[guest].open_port(Port(1)).expect("the toolstack made it")
    }

    /// The other guest's console is as good as ever.
    fn neighbour_is_well(&mut self) {
        let mut neighbour = Console::open(&self.lab.guests[1]).expect("a console");
        assert_eq!(neighbour.put(b"well"), Ok(4));
        assert_eq!(read(self.session(2)), b"well");
    }
}

#[test]
fn a_guest_that_claims_more_than_the_ring_holds_is_ignored() {
    assert_eq!(OUT_SIZE, 2048);
    for claim in [2049, 1 << 31, u32::MAX, u32::MAX - 2000] {
        let mut served = Served::new(None);
        let page = served.page(0);
        page.write(OUT_PROD, claim);
        served.port(0).send();
        assert_eq!(read(served.session(1)), b"", "{claim}");
        assert!(served.session(1).stats().illegal > 0, "{claim}");
        served.neighbour_is_well();
        // As soon as it tells the truth it is believed.
        page.copy_in(rings::io::console::OUT, b"true");
        page.write(OUT_PROD, 4_u32);
        served.port(0).send();
        assert_eq!(read(served.session(1)), b"true", "{claim}");
    }
}

#[test]
fn a_guest_that_moves_backwards_is_ignored() {
    let mut served = Served::new(None);
    let mut guest = Console::open(&served.lab.guests[0]).expect("a console");
    assert_eq!(guest.put(b"0123456789"), Ok(10));
    assert_eq!(read(served.session(1)), b"0123456789");
    served.page(0).write(OUT_PROD, 3_u32);
    assert_eq!(read(served.session(1)), b"");
    assert!(served.session(1).stats().illegal > 0);
    // What it says of how far we are is not asked.
    let page = served.page(0);
    page.write(OUT_CONS, 77_u32);
    page.write(OUT_PROD, 10_u32);
    assert_eq!(read(served.session(1)), b"");
    served.neighbour_is_well();
}

#[test]
fn a_guest_that_scribbles_on_every_index_hurts_itself_alone() {
    let mut served = Served::new(Some(Limit::default()));
    let (page, mut port, mut random) = (served.page(0), served.port(0), Random(25));
    let (mut cons, mut believed) = (0_u32, 0);
    for _ in 0..2000 {
        let all = [IN_CONS, IN_PROD, OUT_CONS, OUT_PROD];
        let at = all.into_iter().cycle().nth(usize::try_from(random.below(4)).expect("below 4"));
        let [low @ .., _, _, _, _] = random.next().to_le_bytes();
        page.write(at.expect("endless"), u32::from_le_bytes(low));
        port.send();
        let claimed = page.read::<u32>(OUT_PROD).wrapping_sub(cons) as usize;
        let read = read(served.session(1));
        // All that is said to wait, if so much can; nothing at the limit, and of a lie.
        assert!(read.is_empty() || (read.len() == claimed && claimed <= OUT_SIZE), "{claimed}");
        cons = cons.wrapping_add(u32::try_from(read.len()).expect("a ring's worth"));
        believed += u32::from(!read.is_empty());
    }
    assert!(believed < 2000, "most of it cannot be");
    served.neighbour_is_well();
}

#[test]
fn a_daemon_that_lies_is_an_error_for_the_guest_and_nothing_is_written() {
    for (at, lie) in [(OUT_CONS, 1_u32), (OUT_CONS, 1 << 31), (OUT_CONS, u32::MAX - 4000)] {
        let lab = Lab::new();
        let memory = lab.guests[0].memory();
        let page = memory.page(Pfn(memory.layout().console)).expect("a page");
        // Before the guest looks for the first time: what room it knows of it does not ask for again.
        page.write(at, lie);
        let mut guest = Console::open(&lab.guests[0]).expect("a console");
        assert!(guest.put(b"text").is_err(), "{lie}");
        assert_eq!(page.read::<u32>(OUT_PROD), 0, "{lie}");
        page.write(at, 0_u32);
        assert_eq!(guest.put(b"text"), Ok(4), "{lie}: it is over when it is over");
    }
    assert_eq!(IN_SIZE, 1024);
    for lie in [1025, 1 << 31, u32::MAX] {
        let lab = Lab::new();
        let mut guest = Console::open(&lab.guests[0]).expect("a console");
        let memory = lab.guests[0].memory();
        let page = memory.page(Pfn(memory.layout().console)).expect("a page");
        page.write(IN_PROD, lie);
        let mut typed = [0; 80];
        assert!(guest.get(&mut typed).is_err(), "{lie}");
        assert_eq!((typed, page.read::<u32>(IN_CONS)), ([0; 80], 0), "{lie}");
        assert_eq!(guest.put(b"text"), Ok(4), "{lie}: the other ring is another ring");
    }
}

#[test]
fn a_storm_of_events_is_taken_at_the_limit() {
    let limit = Limit { events: 30, period: Duration::from_secs(3600) };
    let mut served = Served::new(Some(limit));
    let mut port = served.port(0);
    for _ in 0..10_000 {
        port.send();
        read(served.session(1));
    }
    let stats = *served.session(1).stats();
    assert_eq!((stats.events, stats.drains, stats.limited), (30, 0, 1));
    served.neighbour_is_well();
}

#[test]
fn at_the_limit_the_port_stays_masked_and_no_doorbell_rings() {
    let limit = Limit { events: 30, period: Duration::from_secs(3600) };
    let mut served = Served::new(Some(limit));
    let mut port = served.port(0);
    let mut rings = |served: &mut Served| {
        served.session(1).arm(Instant::now());
        let before = port.counters().rung;
        port.send();
        port.counters().rung > before
    };
    // That the port was bound has been an event already.
    read(served.session(1));
    for event in 1..30 {
        assert_eq!(served.session(1).stats().events, event);
        assert!(rings(&mut served), "{event}: the daemon listens");
        read(served.session(1));
    }
    assert!(served.session(1).limited());
    for _ in 0..3 {
        assert!(!rings(&mut served), "masked");
        read(served.session(1));
    }
    assert_eq!(served.session(1).stats().events, 30);
    served.neighbour_is_well();
}

#[test]
fn each_event_is_answered_whether_or_not_there_was_anything_in_the_ring() {
    let mut served = Served::new(Some(Limit::default()));
    let mut port = served.port(0);
    for text in [&b""[..], b"text", b""] {
        served.page(0).copy_in(rings::io::console::OUT, text);
        let len = u32::try_from(text.len()).expect("short");
        served.page(0).write(OUT_PROD, served.page(0).read::<u32>(OUT_CONS) + len);
        read(served.session(1));
        port.clear();
        port.send();
        read(served.session(1));
        assert!(port.clear(), "{text:?}: the guest may wait for just that");
    }
}

#[test]
fn without_a_limit_a_storm_is_slowed() {
    let mut served = Served::new(None);
    let mut port = served.port(0);
    for _ in 0..10 {
        port.send();
        let session = served.session(1);
        let came = session.disarm();
        let worked = session.work(&mut |_| {});
        if came {
            session.settle(worked, Instant::now());
        }
    }
    assert!(served.session(1).storm_delays() > 0);
    served.neighbour_is_well();
}

#[test]
fn a_flood_is_served_one_ring_at_a_time() {
    let mut served = Served::new(None);
    let mut flood = Console::open(&served.lab.guests[0]).expect("a console");
    let mut quiet = Console::open(&served.lab.guests[1]).expect("a console");
    for turn in 0..100 {
        assert_eq!(flood.put(&[b'x'; 3000]), Ok(OUT_SIZE), "turn {turn}");
        assert_eq!(quiet.put(b"hello"), Ok(5));
        // Each gets its turn, however much the one before it has to say.
        assert_eq!(read(served.session(1)).len(), OUT_SIZE);
        assert_eq!(read(served.session(2)), b"hello");
    }
    assert_eq!(served.session(1).stats().bytes, 100 * OUT_SIZE as u64);
}

#[test]
fn whoever_writes_while_it_is_read_is_read_again_in_its_next_turn() {
    for limit in [None, Some(Limit::default())] {
        let mut served = Served::new(limit);
        let mut flood = Console::open(&served.lab.guests[0]).expect("a console");
        // That the port was bound has been an event.
        read(served.session(1));
        assert_eq!(flood.put(&[b'x'; 900]), Ok(900));
        for turn in 1..10 {
            let mut found = 0;
            let session = served.session(1);
            session.disarm();
            session.work(&mut |bytes| {
                found += bytes.len();
                // As much again, but not for ever: a daemon that reads on would not end.
                if found < 9000 {
                    assert_eq!(flood.put(&[b'x'; 900]), Ok(900));
                }
            });
            assert_eq!((found, session.stats().drains), (900, turn), "turn {turn}, {limit:?}");
        }
        served.neighbour_is_well();
    }
}

#[test]
fn what_is_typed_waits_for_room_in_the_ring_and_arrives_whole() {
    let mut served = Served::with(Config { limit: None, ..Config::default() });
    let mut guest = Console::open(&served.lab.guests[0]).expect("a console");
    let typed: Vec<u8> = (0..750).flat_map(|n| format!("{n:03} ").into_bytes()).collect();
    let tty = served.session(1).outlet().path().expect("a terminal").to_owned();
    let keyboard = OpenOptions::new().write(true).custom_flags(OFlag::O_NOCTTY.bits()).open(tty);
    keyboard.expect("a terminal").write_all(&typed).expect("the terminal keeps as much");
    let page = served.page(0);
    let waits = || page.read::<u32>(IN_PROD).wrapping_sub(page.read(IN_CONS)) as usize;
    until("a full ring", || {
        read(served.session(1));
        (waits() == IN_SIZE).then_some(())
    });
    for _ in 0..50 {
        read(served.session(1));
        assert_eq!(waits(), IN_SIZE, "no more than fits");
    }
    let mut got = Vec::new();
    until("the rest", || {
        let mut some = [0; 100];
        let len = guest.get(&mut some).expect("true indices");
        got.extend_from_slice(&some[..len]);
        read(served.session(1));
        (got.len() >= typed.len()).then_some(())
    });
    assert_eq!(String::from_utf8_lossy(&got), String::from_utf8_lossy(&typed));
    assert_eq!(served.session(1).stats().typed, 3000);
}

#[test]
fn a_guest_at_its_limit_does_not_cost_its_neighbour_an_event() {
    let limit = Limit { events: 30, period: Duration::from_secs(3600) };
    let mut served = Served::new(Some(limit));
    let mut flood = Console::open(&served.lab.guests[0]).expect("a console");
    for _ in 0..100 {
        let _ = flood.put(b"line\n");
        read(served.session(1));
    }
    assert_eq!(served.session(1).stats().events, 30);
    let filled = flood.put(&[b'x'; 3000]).expect("true indices");
    assert!(filled <= OUT_SIZE && flood.room() == Ok(0), "the ring fills, and that is all");
    served.neighbour_is_well();
    // In the end everything that was in the ring is read, whatever the limit says.
    let (mut session, mut last) = (served.sessions.remove(&DomId(1)).expect("served"), Vec::new());
    session.drain_all(&mut |bytes| last.extend_from_slice(bytes));
    assert_eq!(last.len(), OUT_SIZE);
    session.close();
    assert!(!flood.connected() && flood.closed());
}

#[test]
fn a_guest_that_nobody_reads_is_not_held() {
    let lab = Lab::new();
    let mut guest = Console::open(&lab.guests[0]).expect("a console");
    let mut waiter = lab.guests[0].waiter().expect("a waiter");
    guest.watch(&mut waiter).expect("a doorbell");
    assert!(!guest.connected(), "so the toolstack has said");
    let text = [b'x'; OUT_SIZE + 100];
    for on_full in [OnFull::Block, OnFull::Spin] {
        // The first fills the ring; nobody has to wait for whoever does not read.
        let written = guest.write(&mut waiter, &text, on_full, || true).expect("true indices");
        assert!(written.dropped >= 100 && written.put + written.dropped == text.len());
    }
    // Somebody says that he reads, and does not: patience ends it.
    let memory = lab.guests[0].memory();
    let page = memory.page(Pfn(memory.layout().console)).expect("a page");
    ConsolePage::new(page).set_connected(true);
    let mut looks = 0;
    let patient = || {
        looks += 1;
        looks < 3
    };
    let written = guest.write(&mut waiter, b"text", OnFull::Block, patient);
    assert_eq!(written, Ok(Written { put: 0, dropped: 4 }));
    assert!(!guest.flush(&mut waiter, Duration::from_millis(1)));
}

#[test]
fn whoever_drops_drops_whole_writes() {
    let lab = Lab::new();
    let mut guest = Console::open(&lab.guests[0]).expect("a console");
    let mut waiter = lab.guests[0].waiter().expect("a waiter");
    let mut write = |text: &[u8]| guest.write(&mut waiter, text, OnFull::Drop, || true);
    assert_eq!(write(&[b'x'; OUT_SIZE - 3]), Ok(Written { put: OUT_SIZE - 3, dropped: 0 }));
    assert_eq!(write(b"four"), Ok(Written { put: 0, dropped: 4 }));
    assert_eq!(write(b"two"), Ok(Written { put: 3, dropped: 0 }));
}

#[test]
fn a_last_word_is_said_over_a_write_that_was_interrupted() {
    let mut served = Served::new(None);
    let mut guest = Console::open(&served.lab.guests[0]).expect("a console");
    let mut emergency = guest.emergency().expect("a handle");
    assert_eq!(guest.put(b"line\n"), Ok(5));
    // As if the guest had died while it copied: bytes without an index that says so.
    served.page(0).copy_in(rings::io::console::OUT + 5, b"half a li");
    assert_eq!(emergency.write(b"*** the end\r\n"), 13);
    assert_eq!(read(served.session(1)), b"line\n*** the end\r\n");
    // A ring that is full, and nobody reads: it gives up.
    served.sessions.remove(&DomId(1)).expect("served").close();
    assert_eq!(emergency.write(&[b'x'; 3 * OUT_SIZE]), OUT_SIZE);
}

#[test]
fn a_console_without_keys_costs_itself_alone() {
    let lab = Lab::new();
    let mut store = lab.dom0.store().expect("a store");
    store.write("/local/domain/1/console/port", "no number").expect("domain 0 may");
    let config = Config { sink: Sink::Null, ..Config::default() };
    let mut consoled = Consoled::new(&lab.dom0, config).expect("a store");
    let events = consoled.step(Duration::from_secs(1)).expect("a store");
    let fronts: Vec<DomId> = events
        .iter()
        .filter_map(|event| match event {
            ConsoleEvent::Connected(front, _) => Some(*front),
            ConsoleEvent::Disconnect(_) => None,
        })
        .collect();
    assert_eq!(fronts, [DomId(2)]);
}

#[test]
fn a_guest_may_not_write_the_keys_of_its_console() {
    let lab = Lab::new();
    let mut store = lab.guests[0].store().expect("a store");
    for key in ["tty", "port", "ring-ref", "limit", "type", "output", "backend", "logfile"] {
        let outcome = store.write(&format!("console/{key}"), "/etc/passwd");
        assert!(outcome.is_err(), "{key}");
    }
    assert_eq!(store.read_string("console/type").expect("it may read"), "xenconsoled");
}

#[test]
fn only_the_daemons_domain_may_bind_a_consoles_port() {
    let lab = Lab::new();
    assert!(lab.guests[1].bind_interdomain(DomId(1), Port(1)).is_err());
    assert!(lab.guests[1].foreign(DomId(1), rings::GrantMode::Map).is_err());
    assert!(lab.dom0.bind_interdomain(DomId(1), Port(1)).is_ok());
}
