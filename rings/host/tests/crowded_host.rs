//! A host of which too much is wanted: by a guest that floods its store connections, by processes
//! that come and say nothing, and by so many that no descriptor is left. It serves the others, and
//! sleeps when there is nothing it can do.
//!
//! Lies in its messages are in `hostile_client`; what the store itself makes of floods is in
//! `writers`.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, setrlimit};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use rings::cost::CostNs;
use rings::io::xs_wire::{XsdSockmsg, XsdType};
use rings::store::{Nodes, frame};
use rings::{DomId, Domain};
use rings_host::{Connect, Host, HostConfig, HostDomain};

/// Only a hang takes as long.
const WATCHDOG: Duration = Duration::from_secs(120);

/// A host, the only one of this process.
struct Lab {
    host: Host,
    _alone: MutexGuard<'static, ()>,
}

fn lab() -> Lab {
    static ALONE: Mutex<()> = Mutex::new(());
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let host = Host::start(HostConfig { guests: 3, ..HostConfig::default() }).expect("a host");
    Lab { host, _alone: alone }
}

fn domain(host: &Host, domid: u16) -> HostDomain {
    HostDomain::connect(&Connect {
        dir: host.dir().to_owned(),
        domid: Some(DomId(domid)),
        pool_frames: 1,
        name: format!("domain {domid}"),
        cost: CostNs::default(),
    })
    .expect("a domain")
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + WATCHDOG;
    while !done() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// What the system tells of the host's thread: its status, open before no descriptor is left.
struct Sleeper(File);

impl Sleeper {
    fn find() -> Self {
        let of_host = |dir: &PathBuf| {
            std::fs::read_to_string(dir.join("comm")).is_ok_and(|name| name.trim() == "host")
        };
        let mut found = None;
        until("it has its name", || {
            let tasks = std::fs::read_dir("/proc/self/task").expect("Linux");
            found = tasks.flatten().map(|task| task.path()).find(of_host);
            found.is_some()
        });
        Self(File::open(found.expect("just found").join("status")).expect("it runs"))
    }

    /// How often it has left its CPU because it had nothing to do.
    fn sleeps(&self) -> u64 {
        let mut text = [0; 4096];
        let len = self.0.read_at(&mut text, 0).expect("it runs");
        let status = String::from_utf8_lossy(&text[..len]);
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.expect("Linux").trim().parse().expect("a number")
    }

    /// It waits, whatever is wanted of it: a loop that only tries again and again never leaves its CPU of
    /// its own will.
    fn sleeps_well(&self) {
        let before = self.sleeps();
        until("it sleeps", || self.sleeps() > before + 3);
    }
}

fn write_request() -> Vec<u8> {
    let mut bytes = Vec::new();
    let header = XsdSockmsg { r#type: XsdType::WRITE.number(), ..Default::default() };
    frame::append(&mut bytes, header, &[b"data/x\0y"]);
    bytes
}

/// Two connections of one guest write as fast as they are answered: both get all done in the end, and
/// while they are held nobody else is.
#[test]
fn a_flood_is_served_in_the_end_and_nobody_else_waits_for_it() {
    // More than the reserve has.
    const WRITES: u32 = 600;
    let Lab { _alone, host } = lab();
    let (writer, bystander) = (domain(&host, 1), domain(&host, 2));
    let floods = [1, 2].map(|_| {
        let mut store = writer.store().expect("a store");
        std::thread::spawn(move || {
            (0..WRITES).for_each(|_| store.write("data/x", "y").expect("slowed, not refused"));
        })
    });
    let mut store = bystander.store().expect("a store");
    store.write("data", "").expect("its own node");
    let mut served = 0;
    while floods.iter().any(|flood| !flood.is_finished()) {
        store.transaction(|tx| tx.read("data").map(|_| ())).expect("others are served");
        served += 1;
    }
    // The floods owe more than a second's worth: were others held with them, this would be one or two.
    assert!(served > 10, "{served} transactions beside the floods");
    floods.into_iter().for_each(|flood| flood.join().expect("all is written"));
}

/// Processes that say nothing keep nobody out.
#[test]
fn whoever_says_hello_is_let_in_however_many_say_nothing() {
    let Lab { _alone, host } = lab();
    let silent = || {
        let fd = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?;
        connect(fd.as_raw_fd(), &UnixAddr::new(&host.dir().join("host.sock"))?).map(|()| fd)
    };
    let crowd: Vec<_> = (0..200).map(|_| silent().expect("the host listens")).collect();
    let late = domain(&host, 1);
    late.store().expect("a store").write("data/well", "yes").expect("its own node");
    drop(crowd);
}

const CHILD: &str = "PVLAB_TEST_NO_DESCRIPTORS";

/// In a process of its own: the limit holds for all tests of one.
#[test]
fn without_descriptors_the_host_sleeps_and_serves_those_who_are_there() {
    if std::env::var_os(CHILD).is_some() {
        return run_out_of_descriptors();
    }
    let name = "without_descriptors_the_host_sleeps_and_serves_those_who_are_there";
    let me = std::env::current_exe().expect("a test");
    let child = Command::new(me).args(["--exact", name, "--nocapture"]).env(CHILD, "1").output();
    let output = child.expect("itself");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn run_out_of_descriptors() {
    let Lab { _alone, host } = lab();
    let bystander = domain(&host, 1);
    let mut store = bystander.store().expect("a store");
    let sleeper = Sleeper::find();
    let limit = |most| setrlimit(Resource::RLIMIT_NOFILE, most, 4096).expect("below the old one");
    let highest = File::open("/dev/null").expect("everywhere").as_raw_fd();
    let most = u64::try_from(highest).expect("a number") + 20;
    limit(most);
    let mut taken: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    // For this one connection, and none for the host's end of it.
    taken.pop();
    // The host may be looking into /proc with it just now.
    let mut waiting = None;
    until("it is in the queue", || {
        waiting = UnixStream::connect(host.dir().join("xenstored.sock")).ok();
        waiting.is_some()
    });
    let mut waiting = waiting.expect("just made");
    assert!(File::open("/dev/null").is_err(), "none is left");
    sleeper.sleeps_well();
    store.write("data/well", "yes").expect("who is there is served");

    drop(taken);
    waiting.write_all(&write_request()).expect("sent");
    let mut answer = [0; size_of::<XsdSockmsg>() + 3];
    waiting.read_exact(&mut answer).expect("let in when there is room");
    assert!(answer.ends_with(b"OK\0"));
}
