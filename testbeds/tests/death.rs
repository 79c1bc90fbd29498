//! What if a process dies, or stops? SIGKILL and SIGSTOP of each process of a lab at ten points of a
//! run: start-up, handshake, traffic, teardown. Nobody hangs, one line says what happened, nothing is
//! left behind. By default each process is hit in the midst of traffic and at one other point, which the
//! six combinations share out among them; with `PVLAB_SOAK=1` at all of them.

mod common;

use std::time::{Duration, Instant};

use common::{Ended, Process, Scratch, WATCHDOG, within};
use nix::sys::signal::Signal;
use rings::store::{Nodes, XsClient};
use rings_host::UnixTransport;

/// Points of a run: the k-th change of a state in the store (there are nine when all goes well:
/// 1 1 2 4 4 5 5 6 6), or traffic.
const POINTS: u32 = 10;
/// The point that is traffic and no change of state.
const TRAFFIC: u32 = 9;
/// From this change of state on the run is over, and may have been good.
const TEARDOWN: u32 = 5;
/// How long a run goes on that comes to its end by itself.
const RUN: &str = "0.2";
/// One that does not.
const ENDLESS: &str = "600";

/// How long a run goes on in which something happens at this point that nobody gets over: only where it is
/// over anyway may it come to its end.
fn run_until(point: u32) -> &'static str {
    if is_over(point) { RUN } else { ENDLESS }
}

fn is_over(point: u32) -> bool {
    (TEARDOWN..TRAFFIC).contains(&point)
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Victim {
    Host,
    Netback,
    Netfront,
}

const VICTIMS: [Victim; 3] = [Victim::Host, Victim::Netback, Victim::Netfront];

/// Points of the combinations that run now, for the n-th victim and signal.
fn points(n: u32) -> impl Iterator<Item = u32> {
    (0..POINTS)
        .filter(move |&point| common::soak() || point == TRAFFIC || point == (n * 2 + 1) % TRAFFIC)
}

/// Waits for a point of the run in the lab at `dir`; `false` if it ended before. `over` says so.
fn wait_for(dir: &str, point: u32, mut over: impl FnMut() -> bool) -> bool {
    let socket = std::path::Path::new(dir).join("xenstored.sock");
    let mut transport = None;
    within(WATCHDOG, || {
        transport = UnixTransport::connect(&socket).ok();
        transport.is_some() || over()
    });
    let Some(transport) = transport else { return false };
    let mut store = XsClient::new(transport);
    if store.watch("/local/domain", "states").is_err() {
        return false;
    }
    let (mut changes, deadline) = (0, Instant::now() + WATCHDOG);
    while Instant::now() < deadline && !over() {
        match store.next_event(Some(Duration::from_millis(5))) {
            Ok(Some(event)) => changes += u32::from(event.path.ends_with("/state")),
            Ok(None) => {}
            Err(_) => return false,
        }
        // Whoever came late has missed some.
        changes = changes.max(changes_so_far(&mut store));
        if point == TRAFFIC && changes >= TEARDOWN {
            std::thread::sleep(Duration::from_millis(50));
            return true;
        }
        if point < TRAFFIC && changes > point {
            return true;
        }
    }
    false
}

/// Waits for a point of the run in the lab at `dir`, or for the end of `run`, which may come before.
fn reach(dir: &str, point: u32, run: &mut Process, what: &str) {
    let there = wait_for(dir, point, || run.has_ended());
    // A host that ends answers no more a moment before its run has ended.
    let mut over = || within(WATCHDOG, || run.has_ended());
    assert!(there || over(), "{what}: the point was not reached");
}

/// Nobody but the children is left to say that the host was killed, and one line of theirs is enough. In the
/// midst of traffic there are some.
fn assert_host_missed(ended: &Ended, what: &str, point: u32) {
    let lines: Vec<&str> = ended.stderr.lines().collect();
    assert!(lines.len() == 1 || (lines.is_empty() && point != TRAFFIC), "{what}: {ended:?}");
    let named = |line: &&str| line.starts_with("error: the host of ") && line.contains(" is gone");
    assert!(lines.iter().all(named), "{what}: {ended:?}");
}

/// Changes that have led to the states of both ends, as they are now.
fn changes_so_far(store: &mut XsClient<UnixTransport>) -> u32 {
    let mut state = |of: &str| store.read_if_present(&format!("/local/domain/{of}/state")).ok()?;
    match (state("1/device/vif/0").as_deref(), state("0/backend/vif/1/0").as_deref()) {
        (Some("1"), Some("1")) => 2,
        (Some("1"), Some("2")) => 3,
        (Some("4"), Some("2")) => 4,
        (Some("4"), Some("4")) => 5,
        (Some("5"), Some("4")) => 6,
        (Some("5"), Some("5")) => 7,
        (Some("6"), Some("5")) => 8,
        (Some("6"), Some("6")) => 9,
        _ => 0,
    }
}

/// The processes of `pvlab net` in this scratch directory.
fn find(scratch: &Scratch, victim: Victim, host: i32) -> Option<i32> {
    let name = match victim {
        Victim::Host => return Some(host),
        Victim::Netback => "netback",
        Victim::Netfront => "netfront",
    };
    scratch.processes().into_iter().find(|&pid| common::name(pid) == name)
}

fn start_net(scratch: &Scratch, run: &str, stall: &str) -> Process {
    let dir = scratch.text("lab");
    scratch.start(&["net", "-t", run, "--quiet", "--dir", &dir, "--stall-timeout", stall])
}

/// A run in this directory goes well: whatever was left there is no obstacle.
fn assert_usable(scratch: &Scratch, what: &str) {
    let net = scratch.start(&["net", "-n", "64K", "--quiet", "--dir", &scratch.text("lab")]);
    let pid = net.pid();
    let ended = net.end();
    assert!(ended.status.success(), "{what}: the next run: {ended:?}");
    scratch.assert_clean(&[pid], what);
}

/// One line that names the domain's process, exit 1; or, when the run was over already, success.
fn assert_told(ended: &Ended, what: &str, point: u32, parts: &[&str]) {
    if ended.status.success() && is_over(point) {
        assert_eq!(ended.stderr, "", "{what}");
    } else {
        ended.assert_one_line(what, 1, parts);
    }
}

#[test]
fn a_process_of_a_run_is_killed() {
    for (n, victim) in (0..).zip(VICTIMS) {
        for point in points(n) {
            let _turn = common::turn();
            let what = format!("SIGKILL of {victim:?} at point {point}");
            let scratch = Scratch::new();
            let mut net = start_net(&scratch, run_until(point), "100s");
            let host = net.pid();
            reach(&scratch.text("lab"), point, &mut net, &what);
            let found =
                within(WATCHDOG, || net.has_ended() || find(&scratch, victim, host).is_some());
            assert!(found, "{what}: nobody to kill");
            let pid = find(&scratch, victim, host);
            if let Some(pid) = pid {
                common::signal(pid, Signal::SIGKILL);
            }
            let ended = net.end();
            if victim == Victim::Host {
                assert_host_missed(&ended, &what, point);
                let gone = within(WATCHDOG, || scratch.processes().is_empty());
                assert!(gone, "{what}: still there: {:?}", scratch.remains(&[host]));
            } else {
                let name = format!("{victim:?}").to_lowercase();
                let process = pid.map(|pid| format!("process {pid}")).unwrap_or_default();
                assert_told(&ended, &what, point, &[&name, &process, "died"]);
            }
            scratch.assert_clean(&[host], &what);
            assert_usable(&scratch, &what);
        }
    }
}

#[test]
fn a_process_of_a_run_is_stopped() {
    for (n, victim) in (3..).zip(VICTIMS) {
        for point in points(n) {
            let _turn = common::turn();
            let what = format!("SIGSTOP of {victim:?} at point {point}");
            let scratch = Scratch::new();
            let run = if victim == Victim::Host { RUN } else { run_until(point) };
            let mut net = start_net(&scratch, run, "4s");
            let host = net.pid();
            reach(&scratch.text("lab"), point, &mut net, &what);
            let mut pid = None;
            within(WATCHDOG, || {
                pid = find(&scratch, victim, host);
                pid.is_some() || net.has_ended()
            });
            if let Some(pid) = pid {
                common::signal(pid, Signal::SIGSTOP);
            }
            if victim == Victim::Host {
                // As with Ctrl-Z: it is the user's to let it go on, and then it does.
                std::thread::sleep(Duration::from_millis(300));
                net.signal(Signal::SIGCONT);
            }
            let ended = net.end();
            if victim == Victim::Host {
                assert!(ended.status.success(), "{what}: {ended:?}");
            } else {
                let name = format!("{victim:?}").to_lowercase();
                let process = pid.map(|pid| format!("process {pid}")).unwrap_or_default();
                assert_told(&ended, &what, point, &[&name, &process, "stalled"]);
            }
            scratch.assert_clean(&[host], &what);
        }
    }
}

#[test]
fn a_child_is_stopped_at_birth() {
    for name in [Victim::Netback, Victim::Netfront] {
        let _turn = common::turn();
        let scratch = Scratch::new();
        let net = start_net(&scratch, ENDLESS, "4s");
        let host = net.pid();
        let mut pid = None;
        within(WATCHDOG, || {
            pid = find(&scratch, name, host);
            pid.is_some()
        });
        common::signal(pid.expect("a child"), Signal::SIGSTOP);
        let what = format!("{name:?} stopped at birth");
        let ended = net.end();
        ended.assert_one_line(
            &what,
            1,
            &[&format!("process {}", pid.expect("a child")), "stalled"],
        );
        scratch.assert_clean(&[host], &what);
    }
}

#[test]
fn stopped_children_of_a_killed_host_end() {
    let _turn = common::turn();
    let scratch = Scratch::new();
    let mut net = start_net(&scratch, ENDLESS, "100s");
    let host = net.pid();
    assert!(wait_for(&scratch.text("lab"), TRAFFIC, || net.has_ended()), "no traffic");
    for child in scratch.processes().into_iter().filter(|&pid| pid != host) {
        common::signal(child, Signal::SIGSTOP);
    }
    net.signal(Signal::SIGKILL);
    let ended = net.end();
    assert_host_missed(&ended, "stopped children", TRAFFIC);
    scratch.assert_clean(&[host], "stopped children of a killed host");
}

#[test]
fn what_a_kill_of_all_leaves_the_next_start_sweeps() {
    let _turn = common::turn();
    let scratch = Scratch::new();
    let dir = scratch.text("lab");
    for own in [vec!["--dir", &dir], vec![]] {
        let net = scratch.start(&[&["net", "-t", "60", "--quiet"], &own[..]].concat());
        let host = net.pid();
        let both = || scratch.processes().len() == 3 && !common::segments(&[host]).is_empty();
        assert!(within(WATCHDOG, both), "no lab");
        let all = scratch.processes();
        // Nobody may see another die: all of them stop first, and the host is killed last, whose death
        // would wake the others.
        all.iter().for_each(|&pid| common::signal(pid, Signal::SIGSTOP));
        all.iter()
            .filter(|&&pid| pid != host)
            .for_each(|&pid| common::signal(pid, Signal::SIGKILL));
        common::signal(host, Signal::SIGKILL);
        let _ = net.end();
        assert!(within(WATCHDOG, || scratch.processes().is_empty()));
        assert!(!common::segments(&[host]).is_empty(), "nothing was left to sweep");
        let next = scratch.run(&[&["net", "-n", "64K", "--quiet"], &own[..]].concat());
        assert!(next.status.success(), "{next:?}");
        scratch.assert_clean(&[host], "kill of all");
        assert!(!scratch.path("lab").exists(), "the directory stayed");
    }
}

#[test]
fn ctrl_c_ends_a_run_with_one_word() {
    for point in [0, 2, TRAFFIC] {
        let _turn = common::turn();
        let scratch = Scratch::new();
        let dir = scratch.text("lab");
        let mut net = scratch.start(&["net", "-t", "60", "--quiet", "--dir", &dir]);
        let host = net.pid();
        assert!(wait_for(&dir, point, || net.has_ended()), "point {point} was not reached");
        // As a terminal does it: to the whole process group.
        let group = nix::unistd::Pid::from_raw(host);
        nix::sys::signal::killpg(group, Signal::SIGINT).expect("a process group");
        let what = format!("Ctrl-C at point {point}");
        net.end().assert_one_line(&what, 1, &["interrupted"]);
        scratch.assert_clean(&[host], &what);
    }
}

/// Three terminals.
struct Trio {
    scratch: Scratch,
    host: Process,
    netback: Process,
    netfront: Process,
}

impl Trio {
    fn start(run: &str, stall: &str) -> Self {
        let scratch = Scratch::new();
        let dir = scratch.text("lab");
        let stall = ["--dir", &dir, "--stall-timeout", stall];
        let host = scratch.host(&stall[2..]);
        let netback = scratch.start(&[&["netback"], &stall[..]].concat());
        let netfront = scratch.start(&[&["netfront", "-t", run], &stall[..]].concat());
        Self { scratch, host, netback, netfront }
    }

    fn of(&mut self, victim: Victim) -> &mut Process {
        match victim {
            Victim::Host => &mut self.host,
            Victim::Netback => &mut self.netback,
            Victim::Netfront => &mut self.netfront,
        }
    }
}

#[test]
fn a_process_by_hand_is_killed() {
    for (n, victim) in (1..).zip(VICTIMS) {
        for point in points(n) {
            let _turn = common::turn();
            let what = format!("by hand: SIGKILL of {victim:?} at point {point}");
            let mut trio = Trio::start(run_until(point), "5s");
            let hosts = [trio.host.pid()];
            reach(&trio.scratch.text("lab"), point, &mut trio.netfront, &what);
            trio.of(victim).signal(Signal::SIGKILL);
            let Trio { scratch, mut host, mut netback, netfront } = trio;
            let front = netfront.end();
            match victim {
                Victim::Host => assert_told(&front, &what, point, &["domain 1", "host"]),
                Victim::Netback => assert_told(&front, &what, point, &["backend"]),
                Victim::Netfront => {}
            }
            match victim {
                Victim::Host => {
                    netback.end().assert_one_line(
                        &what,
                        1,
                        &["domain 0 (netback, process", "host"],
                    );
                    host.end();
                }
                Victim::Netback | Victim::Netfront => {
                    if victim == Victim::Netfront {
                        assert!(!netback.has_ended(), "{what}: netback does not outlive its guest");
                    }
                    netback.signal(Signal::SIGTERM);
                    let back = netback.end();
                    assert_eq!(back.stderr, "", "{what}");
                    assert!(!host.has_ended(), "{what}: the host does not outlive its domains");
                    host.signal(Signal::SIGTERM);
                    let told = host.end();
                    assert!(told.status.success() && told.stderr.is_empty(), "{what}: {told:?}");
                    // Where the run is over the guest may have been quicker than its end.
                    let left = victim == Victim::Netfront && is_over(point);
                    let seen =
                        told.stdout.contains(") died") || (left && told.stdout.contains(") left"));
                    assert!(seen, "{what}: {told:?}");
                }
            }
            scratch.assert_clean(&hosts, &what);
        }
    }
}

/// Netback and the host end as they should, and leave nothing.
fn leave(netback: Process, host: Process, scratch: &Scratch, what: &str) {
    let hosts = [host.pid()];
    for process in [netback, host] {
        process.signal(Signal::SIGTERM);
        assert_good(&process.end(), what);
    }
    scratch.assert_clean(&hosts, what);
}

fn assert_good(ended: &Ended, what: &str) {
    assert!(ended.status.success() && ended.stderr.is_empty(), "{what}: {ended:?}");
}

#[test]
fn a_process_by_hand_is_stopped_and_goes_on() {
    for (n, victim) in (4..).zip(VICTIMS) {
        for point in points(n) {
            let _turn = common::turn();
            let what = format!("by hand: SIGSTOP of {victim:?} at point {point}");
            let mut trio = Trio::start(RUN, "100s");
            reach(&trio.scratch.text("lab"), point, &mut trio.netfront, &what);
            trio.of(victim).signal(Signal::SIGSTOP);
            std::thread::sleep(Duration::from_millis(300));
            trio.of(victim).signal(Signal::SIGCONT);
            let Trio { scratch, host, netback, netfront } = trio;
            let front = netfront.end();
            assert!(front.status.success(), "{what}: {front:?}");
            leave(netback, host, &scratch, &what);
        }
    }
}

#[test]
fn a_process_by_hand_that_stays_stopped_ends_its_guest() {
    for victim in [Victim::Host, Victim::Netback] {
        for point in [2, TRAFFIC] {
            let _turn = common::turn();
            let what = format!("by hand: {victim:?} stopped for good at point {point}");
            let mut trio = Trio::start(ENDLESS, "4s");
            reach(&trio.scratch.text("lab"), point, &mut trio.netfront, &what);
            let process = format!("process {})", trio.of(victim).pid());
            trio.of(victim).signal(Signal::SIGSTOP);
            let Trio { scratch, host, netback, netfront } = trio;
            let ended = netfront.end();
            // Who waits for the handshake may be tired of it first, and says where it is stuck.
            if point != TRAFFIC && ended.stderr.contains("stuck in") {
                ended.assert_one_line(&what, 1, &["vif 0", "/state", "expected"]);
            } else if point != TRAFFIC && ended.stderr.contains("no reply") {
                ended.assert_one_line(&what, 1, &["the host stands still"]);
            } else {
                ended.assert_one_line(&what, 1, &[&process, "stalled", "--stall-timeout"]);
            }
            let hosts = [host.pid()];
            for process in [&host, &netback] {
                process.signal(Signal::SIGCONT);
            }
            netback.signal(Signal::SIGTERM);
            // So may netback have been, if it asked the host for something.
            let back = netback.end();
            if victim == Victim::Host && back.stderr.contains("no reply") {
                back.assert_one_line(&what, 1, &["the host stands still"]);
            } else {
                assert_good(&back, &what);
            }
            host.signal(Signal::SIGTERM);
            assert_good(&host.end(), &what);
            scratch.assert_clean(&hosts, &what);
        }
    }
}
