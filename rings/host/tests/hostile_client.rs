//! What a process can do to the host through its socket: nothing, whatever it sends.
//!
//! Each test ends with a look at a domain that minds its own business and at the descriptors of this
//! process, which is the host's too. So the tests run one after the other. Not here: lies in shared
//! memory (frontend, backend) and in the store's protocol (`store`).

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::epoll::{Epoll, EpollEvent, EpollTimeout};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr,
    connect, recvmsg, sendmsg, setsockopt, socket, sockopt::ReceiveTimeout,
};
use nix::sys::time::TimeVal;
use nix::unistd::write;
use rings::cost::CostNs;
use rings::store::Nodes;
use rings::{DomId, Domain, Port};
use rings_host::proto::{ANY, Kind, Message, Recorded, VERSION};
use rings_host::{Connect, Host, HostConfig, HostDomain};
use zerocopy::{FromBytes, IntoBytes};

/// Only a hang takes as long.
const WATCHDOG: Duration = Duration::from_secs(120);
/// Domains of the lab: the attacker's, the bystander's, and one to spare.
const ATTACKER: u32 = 1;
const BYSTANDER: DomId = DomId(2);

/// A lab with somebody in it who must notice nothing.
struct Lab {
    host: Host,
    bystander: HostDomain,
    fds: usize,
    _alone: MutexGuard<'static, ()>,
}

/// A client that sends whatever it likes.
struct Client(OwnedFd);

fn open_fds() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("Linux").count()
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + WATCHDOG;
    while !done() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

impl Lab {
    fn new() -> Self {
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let host = Host::start(HostConfig { guests: 3, ..HostConfig::default() }).expect("a host");
        let bystander = HostDomain::connect(&Connect {
            dir: host.dir().to_owned(),
            domid: Some(BYSTANDER),
            pool_frames: 1,
            name: "bystander".into(),
            cost: CostNs::default(),
        });
        let lab = Self { host, bystander: bystander.expect("a domain"), fds: 0, _alone: alone };
        lab.bystander_is_well();
        Self { fds: open_fds(), ..lab }
    }

    fn dir(&self) -> &Path {
        self.host.dir()
    }

    fn client(&self) -> Client {
        Client::connect(self.dir()).expect("the host listens")
    }

    /// A client that is domain 1.
    fn attacker(&self) -> Client {
        let mut client = None;
        until("domain 1 is free", || {
            let new = self.client();
            let status = new.ask(&hello(ATTACKER)).status;
            assert!(status == 0 || status == errno(Errno::EBUSY), "errno {status}");
            client = (status == 0).then_some(new);
            client.is_some()
        });
        client.expect("just made")
    }

    /// Ports and store of somebody else work.
    fn bystander_is_well(&self) {
        let port = self.bystander.alloc_unbound(DomId::DOM0).expect("a port");
        drop(port);
        let mut store = self.bystander.store().expect("a store");
        store.write("data/well", "yes").expect("its own node");
        assert_eq!(store.read("data/well").expect("just written"), b"yes");
    }

    /// The host lives, others are unaffected, and what was opened is closed.
    fn ends_unharmed(self) {
        self.bystander_is_well();
        drop(self.attacker());
        until("descriptors are closed", || open_fds() <= self.fds);
        self.bystander_is_well();
    }
}

impl Client {
    fn connect(dir: &Path) -> nix::Result<Self> {
        let fd = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?;
        connect(fd.as_raw_fd(), &UnixAddr::new(&dir.join("host.sock"))?)?;
        setsockopt(&fd, ReceiveTimeout, &TimeVal::new(120, 0))?;
        Ok(Self(fd))
    }

    fn send(&self, bytes: &[u8], fds: &[RawFd]) -> nix::Result<()> {
        let data = [IoSlice::new(bytes)];
        let rights = [ControlMessage::ScmRights(fds)];
        let control = if fds.is_empty() { &[][..] } else { &rights };
        let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
        sendmsg::<()>(self.0.as_raw_fd(), &data, control, flags, None).map(|_| ())
    }

    /// The next answer; `None` if the host has closed the connection.
    fn receive(&self) -> Option<Message> {
        self.receive_all().map(|(message, _)| message)
    }

    /// The next answer and what came with it.
    fn receive_all(&self) -> Option<(Message, Vec<OwnedFd>)> {
        let mut bytes = [0; 65];
        let mut control = nix::cmsg_space!([RawFd; 3]);
        let mut data = [IoSliceMut::new(&mut bytes)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let got = match recvmsg::<()>(self.0.as_raw_fd(), &mut data, Some(&mut control), flags) {
            Err(Errno::ECONNRESET) => return None,
            got => got.expect("an answer"),
        };
        let mut kept = Vec::new();
        for message in got.cmsgs().expect("three descriptors at most") {
            if let ControlMessageOwned::ScmRights(fds) = message {
                // SAFETY: just received, and nobody else knows the numbers.
                kept.extend(fds.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
            }
        }
        let len = got.bytes;
        (len > 0).then(|| (Message::read_from_bytes(&bytes[..len]).expect("64 bytes"), kept))
    }

    fn ask(&self, message: &Message) -> Message {
        self.send(message.as_bytes(), &[]).expect("sent");
        let answer = self.receive().expect("an answer");
        assert_eq!((answer.kind, answer.seq), (message.kind, message.seq));
        answer
    }

    /// Asks for something that is to be refused.
    fn refused(&self, message: &Message, errno_of: Errno) {
        let answer = self.ask(message);
        assert_eq!(answer.status, errno(errno_of), "to {message:?}");
        assert_eq!(answer.arg, [0; 13], "nothing is told with a refusal");
    }
}

fn errno(errno: Errno) -> u32 {
    (errno as i32).unsigned_abs()
}

fn hello(domid: u32) -> Message {
    Message::request(Kind::Hello, &[VERSION, domid, 1])
}

fn kinds() -> impl Iterator<Item = Kind> {
    (0..32).filter_map(Kind::from_number)
}

#[test]
fn packets_of_every_length_and_content() {
    let lab = Lab::new();
    let mut noise = 0x9e37_79b9_7f4a_7c15_u64;
    for len in (0..=200).chain([4096, 65_536]) {
        let bytes: Vec<u8> = (0..len)
            .map(|_| {
                noise ^= noise << 13;
                noise ^= noise >> 7;
                noise ^= noise << 17;
                noise.to_le_bytes()[0]
            })
            .collect();
        let strangers = [lab.client(), lab.attacker()];
        for client in strangers {
            client.send(&bytes, &[]).expect("sent");
            match client.receive() {
                // Sixteen numbers are a request, and these ask for nothing there is.
                Some(answer) => assert_eq!((len, answer.status), (64, errno(Errno::EPROTO))),
                None => assert_ne!(len, 64, "a refusal is an answer"),
            }
        }
    }
    lab.ends_unharmed();
}

#[test]
fn requests_out_of_turn_are_refused() {
    let lab = Lab::new();
    let stranger = lab.client();
    // Whoever only looks on need not be a domain.
    let own = [Kind::Hello, Kind::Inspect, Kind::Record];
    for kind in kinds().filter(|kind| !own.contains(kind)) {
        stranger.refused(&Message::request(kind, &[1, 1]), Errno::EPROTO);
    }
    let attacker = lab.attacker();
    attacker.refused(&hello(ATTACKER), Errno::EPROTO);
    attacker.refused(&hello(ANY), Errno::EPROTO);
    assert_eq!(stranger.ask(&Message::request(Kind::Inspect, &[1])).status, 0);
    stranger.refused(&Message::request(Kind::Record, &[2]), Errno::EINVAL);
    // Nobody writes a trace here, and no guest has a say in it.
    assert_eq!(stranger.ask(&Message::request(Kind::Record, &[1])).arg[0], Recorded::Never as u32);
    attacker.refused(&Message::request(Kind::Record, &[1]), Errno::EPROTO);
    for kind in [0, 14, 255, 256, u32::MAX] {
        let unknown = Message { kind, seq: 77, ..Message::default() };
        attacker.refused(&unknown, Errno::EPROTO);
    }
    for kind in [Kind::Close, Kind::OpenPort, Kind::Inspect] {
        attacker.refused(&Message::request(kind, &[u32::MAX]), Errno::EINVAL);
    }
    assert_eq!(attacker.ask(&Message::request(Kind::Store, &[])).status, 0, "still a domain");
    drop((attacker, stranger));
    lab.ends_unharmed();
}

#[test]
fn a_hello_that_asks_too_much_is_refused_and_may_ask_again() {
    let lab = Lab::new();
    let client = lab.client();
    for (args, why) in [
        ([VERSION - 1, ATTACKER, 1], Errno::EPROTO),
        ([VERSION + 1, ATTACKER, 1], Errno::EPROTO),
        ([u32::MAX, ATTACKER, 1], Errno::EPROTO),
        ([VERSION, 0x7ff0, 1], Errno::EINVAL),
        ([VERSION, 0x7fff, 1], Errno::EINVAL),
        ([VERSION, 0x10001, 1], Errno::EINVAL),
        ([VERSION, 4, 1], Errno::ENOSPC),
        ([VERSION, BYSTANDER.0.into(), 1], Errno::EBUSY),
        ([VERSION, ATTACKER, 65_537], Errno::EINVAL),
        ([VERSION, ATTACKER, u32::MAX - 15], Errno::EINVAL),
        ([VERSION, ATTACKER, u32::MAX], Errno::EINVAL),
    ] {
        client.refused(&Message::request(Kind::Hello, &args), why);
    }
    let largest = client.ask(&Message::request(Kind::Hello, &[VERSION, ATTACKER, 65_536]));
    assert_eq!(largest.status, 0, "memory is taken when it is used");
    drop(client);
    lab.ends_unharmed();
}

#[test]
fn there_is_an_end_to_ports_stores_and_blocks() {
    let lab = Lab::new();
    let attacker = lab.attacker();
    for (request, most) in [
        // One more is the console's.
        (Message::request(Kind::AllocUnbound, &[0]), 1022),
        (Message::request(Kind::Store, &[]), 64),
        (Message::request(Kind::Stats, &[1, 0]), 64),
    ] {
        let mut kept = Vec::new();
        let mut given = 0;
        for _ in 0..1100 {
            attacker.send(request.as_bytes(), &[]).expect("sent");
            let (answer, fds) = attacker.receive_all().expect("an answer");
            match answer.status {
                0 => given += 1,
                no => assert_eq!(no, errno(Errno::ENOSPC), "after {given} of {request:?}"),
            }
            // Ports cost this test three descriptors each; the host has its own.
            kept.extend(fds.into_iter().filter(|_| request.kind == Kind::Store as u32));
        }
        assert_eq!(given, most, "{request:?}");
        lab.bystander_is_well();
    }
    drop(attacker);
    lab.ends_unharmed();
}

#[test]
fn statistics_do_not_run_out_with_the_years() {
    let lab = Lab::new();
    for n in 0..300 {
        let status = lab.attacker().ask(&Message::request(Kind::Stats, &[1, 0])).status;
        assert_eq!(status, 0, "the {n}th domain");
    }
    lab.ends_unharmed();
}

#[test]
fn memory_of_others_is_for_their_backends_alone() {
    let lab = Lab::new();
    let attacker = lab.attacker();
    for of in [BYSTANDER.0.into(), ATTACKER, 0, 3] {
        attacker.refused(&Message::request(Kind::Foreign, &[of]), Errno::EPERM);
    }
    attacker.refused(&Message::request(Kind::Foreign, &[0x7ff0]), Errno::EINVAL);

    let backend = lab.client();
    assert_eq!(backend.ask(&hello(0)).status, 0);
    let foreign = Message::request(Kind::Foreign, &[BYSTANDER.0.into()]);
    let line = backend.ask(&foreign);
    assert_eq!(line.status, 0, "domain 0 serves everybody");
    let (line, life) = (line.arg[0], line.arg[5]);
    let release = |line, life| Message::request(Kind::Release, &[BYSTANDER.0.into(), line, life]);
    for other in [line, line + 1, 64, u32::MAX] {
        attacker.refused(&release(other, life), Errno::EINVAL);
    }
    for none in [0, 1000, u32::MAX] {
        backend.refused(&release(line, none), Errno::EINVAL);
    }
    let release = release(line, life);
    assert_eq!(backend.ask(&release).status, 0, "it still was domain 0's");
    backend.refused(&release, Errno::EINVAL);
    drop((attacker, backend));
    lab.ends_unharmed();
}

#[test]
fn descriptors_sent_to_the_host_are_not_kept() {
    let lab = Lab::new();
    let attacker = lab.attacker();
    let null = std::fs::File::open("/dev/null").expect("everywhere");
    // Its answer says that HELLO's descriptors are closed on the host's side.
    attacker.refused(&Message::request(Kind::Close, &[u32::MAX]), Errno::EINVAL);
    let before = open_fds();
    for count in [1, 3, 4, 5, 100, 253] {
        let fds = vec![null.as_raw_fd(); count];
        let close = Message::request(Kind::Close, &[u32::MAX]);
        attacker.send(close.as_bytes(), &fds).expect("sent");
        let answer = attacker.receive().expect("answered as if they were not there");
        assert_eq!(answer.status, errno(Errno::EINVAL));
        // What HELLO passed on may have been counted in `before` still.
        until("what was sent is closed again", || open_fds() <= before);
    }
    drop((attacker, null));
    lab.ends_unharmed();
}

/// Flags of a descriptor belong to all that have it, and an eventfd that is full makes its writers wait if they say
/// so: neither the host nor the other end must write into one that the sleeper has.
#[test]
fn whoever_is_rung_cannot_make_the_ringer_wait() {
    let lab = Lab::new();
    let attacker = lab.attacker();
    let alloc = Message::request(Kind::AllocUnbound, &[BYSTANDER.0.into()]);
    attacker.send(alloc.as_bytes(), &[]).expect("sent");
    let (answer, fds) = attacker.receive_all().expect("an answer");
    let spoil = |fd: &OwnedFd| {
        fcntl(fd, FcntlArg::F_SETFL(OFlag::empty())).expect("its own");
        // What is no eventfd does not take it.
        let _ = write(fd, &(u64::MAX - 1).to_ne_bytes());
    };
    fds[1..].iter().for_each(spoil);
    let own = Epoll(fds[1].try_clone().expect("a descriptor"));
    let rung = || own.wait(&mut [EpollEvent::empty(); 2], EpollTimeout::ZERO).expect("an epoll");
    let mut bound = lab.bystander.bind_interdomain(DomId(1), Port(answer.arg[0])).expect("bound");
    for _ in 0..3 {
        // Its pending word is as it was: each event rings.
        let page = std::fs::File::from(fds[0].try_clone().expect("a descriptor"));
        page.write_all_at(&[0; 8], 0).expect("its own");
        bound.send();
        assert_eq!(rung(), 1, "it hears it all the same");
    }
    drop(bound);
    until("it is told that the other end is closed", || rung() == 1);
    drop((own, fds, attacker));
    lab.ends_unharmed();
}

#[test]
fn answers_that_nobody_reads_do_not_hold_the_host_up() {
    let lab = Lab::new();
    for request in [
        Message::request(Kind::AllocUnbound, &[0]),
        Message::request(Kind::Store, &[]),
        Message::request(Kind::Close, &[0]),
    ] {
        let attacker = lab.attacker();
        until("the host has enough of it", || {
            let outcome = attacker.send(request.as_bytes(), &[]);
            matches!(outcome, Err(Errno::EPIPE | Errno::ECONNRESET))
        });
        lab.bystander_is_well();
    }
    lab.ends_unharmed();
}

#[test]
fn a_thousand_come_and_go() {
    let lab = Lab::new();
    for n in 0..1000 {
        let attacker = lab.attacker();
        if n % 3 == 0 {
            attacker.ask(&Message::request(Kind::AllocUnbound, &[0]));
        }
        if n % 2 == 0 {
            attacker.ask(&Message::request(Kind::Goodbye, &[0]));
        }
    }
    lab.ends_unharmed();
}

#[test]
fn a_crowd_that_says_nothing_is_sent_away() {
    let lab = Lab::new();
    let crowd: Vec<_> = (0..500).filter_map(|_| Client::connect(lab.dir()).ok()).collect();
    lab.bystander_is_well();
    let turned_away = crowd.iter().filter(|client| {
        let outcome = client.send(hello(0x7ff0).as_bytes(), &[]);
        outcome.is_err() || client.receive().is_none()
    });
    assert!(turned_away.count() >= 400, "most of them");
    drop(crowd);
    lab.ends_unharmed();
}
