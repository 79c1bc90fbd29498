//! What a domain records is its host's: it survives the domain, and the host says when to record.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rings_host::{Connect, Host, HostConfig, HostDomain, News};
use tracer::format::{Ended, Entry, Event, Mapped, Trace};

/// In the environment of a victim: the run directory, and the file in which it counts.
const VICTIM: &str = "PVLAB_TEST_VICTIM";
const COUNT: &str = "PVLAB_TEST_COUNT";

/// Threads of a victim.
const THREADS: u64 = 2;

/// Not a test but a domain, when it is started as one: each of its threads counts until it is killed, and records
/// each step after having said that it will.
#[test]
fn victim() {
    let Some(dir) = std::env::var_os(VICTIM) else { return };
    let domain = HostDomain::connect(&Connect {
        dir: dir.into(),
        domid: None,
        pool_frames: 1,
        name: "victim".into(),
        cost: rings::cost::CostNs::default(),
    });
    let domain = domain.expect("registered");
    rings_host::trace(&domain, "victim").expect("traced");
    let count = File::create(std::env::var_os(COUNT).expect("given")).expect("a file");
    count.set_len(4 * THREADS).expect("sized");
    println!("\nready");
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let name = std::thread::Builder::new().name(format!("counter-{thread}"));
            let count = &count;
            let counts = move || {
                for n in 0_u32.. {
                    count.write_all_at(&n.to_le_bytes(), 4 * thread).expect("written");
                    tracer::mark!("step", number = n);
                }
            };
            name.spawn_scoped(scope, counts).expect("a thread");
        }
    });
}

struct Lab {
    host: Host,
    folder: tempfile::TempDir,
}

impl Lab {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let dir = Some(folder.path().join("lab"));
        let config = HostConfig { dir, trace_buffer: 64 << 20, ..HostConfig::default() };
        Self { host: Host::start(config).expect("a host"), folder }
    }

    fn victim(&self) -> Child {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "victim", "--nocapture"])
            .env(VICTIM, self.host.dir())
            .env(COUNT, self.count())
            .stdout(Stdio::piped())
            .spawn()
            .expect("started");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let ready = lines.map_while(Result::ok).any(|line| line == "ready");
        assert!(ready, "the victim did not come up");
        child
    }

    fn count(&self) -> std::path::PathBuf {
        self.folder.path().join("count")
    }

    /// What a thread of the victim said it would record last.
    fn announced_by(&self, thread: u64) -> u32 {
        let mut bytes = [0; 4];
        let file = File::open(self.count());
        file.and_then(|f| f.read_exact_at(&mut bytes, 4 * thread)).expect("counted");
        u32::from_le_bytes(bytes)
    }

    /// What its first thread did.
    fn announced(&self) -> u32 {
        self.announced_by(0)
    }

    fn wait_for(&self, wanted: impl Fn(&News) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(100);
        while Instant::now() < deadline {
            if self.host.news(Duration::from_millis(100)).is_some_and(|news| wanted(&news)) {
                return;
            }
        }
        panic!("the host never said so");
    }

    /// Waits until each thread of the victim has made so many more steps.
    fn steps(&self, more: u32) {
        (0..THREADS).for_each(|thread| self.steps_of(thread, more));
    }

    fn steps_of(&self, thread: u64, more: u32) {
        let from = self.announced_by(thread);
        let deadline = Instant::now() + Duration::from_secs(100);
        while self.announced_by(thread) < from + more {
            assert!(Instant::now() < deadline, "the victim does not move");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn file<R>(&self, look: impl FnOnce(&Trace<'_>) -> R) -> R {
        let path = self.folder.path().join("out.pvtrace");
        self.host.tracer().write(&path, &[]).expect("written");
        look(&Trace::parse(&Mapped::open(&path).expect("there")).expect("a trace"))
    }
}

/// The numbers that a thread of the victim recorded.
fn numbers_of(trace: &Trace<'_>, thread: u64) -> Vec<u32> {
    let name = format!("counter-{thread}");
    let mine = trace.threads().filter(|thread| thread.info.name == name);
    let events = mine.flat_map(tracer::format::Thread::records).map(|r| r.event());
    events.filter_map(|e| if let Event::Mark { arg, .. } = e { Some(arg) } else { None }).collect()
}

/// Those of its first thread.
fn numbers(trace: &Trace<'_>) -> Vec<u32> {
    numbers_of(trace, 0)
}

#[test]
fn a_killed_domain_loses_at_most_the_record_in_flight_of_each_thread() {
    let lab = Lab::new();
    lab.host.tracer().set(true);
    let mut victim = lab.victim();
    lab.steps(10_000);
    victim.kill().expect("killed");
    victim.wait().expect("ended");
    lab.wait_for(|news| matches!(news, News::Gone(_, None)));
    lab.host.tracer().set(false);
    lab.file(|trace| {
        assert_eq!(trace.processes.len(), 1);
        let process = &trace.processes[0];
        assert_eq!((process.pid, process.ended), (victim.id(), Ended::Died));
        let Some(Entry::Process(who)) = process.journal().next() else { panic!("who is it?") };
        assert_eq!((who.domid, who.name.as_str()), (1, "victim"));
        for thread in 0..THREADS {
            let (numbers, announced) = (numbers_of(trace, thread), lab.announced_by(thread));
            let last = *numbers.last().expect("it recorded");
            assert!(numbers.iter().copied().eq(0..=last), "none is missing in between");
            let near = last == announced || last + 1 == announced;
            assert!(near, "thread {thread} recorded {last}, was at {announced}");
        }
    });
}

#[test]
fn the_host_switches_a_running_domain() {
    let lab = Lab::new();
    let mut victim = lab.victim();
    lab.steps(1000);
    assert_eq!(lab.file(numbers), [], "off until it is switched on");
    let begin = lab.announced();
    lab.host.tracer().set(true);
    lab.steps(1000);
    lab.host.tracer().set(false);
    // It is seen at once; the victim may be in the middle of a step.
    let end = lab.announced() + 1;
    lab.steps(1000);
    lab.host.tracer().set(true);
    lab.steps(1000);
    lab.host.tracer().set(false);
    victim.kill().expect("killed");
    victim.wait().expect("ended");
    // What it had told of its buffers before has been heard by then.
    lab.wait_for(|news| matches!(news, News::Gone(_, None)));
    let numbers = lab.file(numbers);
    assert!(numbers[0] >= begin && numbers.is_sorted());
    let gaps: Vec<_> = numbers.windows(2).filter(|two| two[1] != two[0] + 1).collect();
    assert_eq!(gaps.len(), 1, "one pause");
    assert!(gaps[0][0] <= end && gaps[0][1] > end + 500, "{gaps:?}");
}

#[test]
fn memory_that_its_maker_could_cut_off_is_not_kept() {
    use tracer::Memory;
    let lab = Lab::new();
    let keeper = lab.host.tracer();
    let file = || OwnedFd::from(tempfile::tempfile().expect("a file"));
    assert!(keeper.keep(7, Memory::Thread, file()).is_err());
    assert!(keeper.keep(7, Memory::Journal, file()).is_err());
    let (pipe, _other) = nix::unistd::pipe().expect("a pipe");
    assert!(keeper.keep(7, Memory::Journal, pipe).is_err());
    lab.file(|trace| assert!(trace.processes.is_empty()));
}

#[test]
fn a_lie_on_the_trace_connection_hurts_nobody() {
    use rings_host::proto::{ANY, Kind, Message, TraceKind, VERSION};
    let lab = Lab::new();
    let mut rogue = raw::Connection::open(&lab.host.dir().join("host.sock"));
    rogue.call(Message::request(Kind::Hello, &[VERSION, ANY, 1]));
    let (answer, mut fds) = rogue.call(Message::request(Kind::Trace, &[]));
    assert_eq!((answer.status, fds.len()), (0, 2));
    let again = rogue.call(Message::request(Kind::Trace, &[])).0.status;
    assert_eq!(again, nix::errno::Errno::EBUSY as u32, "one for each domain");
    let (connection, switch) = (raw::Connection(fds.remove(1)), fds.remove(0));
    let message = |kind: u32| Message { kind, ..Message::default() };
    let junk = tempfile::tempfile().expect("a file");
    for kind in [TraceKind::Journal as u32, TraceKind::Thread as u32, 77] {
        connection.send(&message(kind), &[]);
        connection.send(&message(kind), &[junk.as_raw_fd(), junk.as_raw_fd()]);
    }
    let mut slow = message(TraceKind::Slow as u32);
    slow.arg = [u32::MAX; 13];
    connection.send(&slow, &[]);
    // It cannot switch itself on.
    let written = nix::unistd::write(&switch, &[1, 0, 0, 0]);
    assert!(written.is_err() && !lab.host.tracer().is_on());
    drop((rogue, connection));
    lab.wait_for(|news| matches!(news, News::Gone(..)));
    lab.file(|trace| assert!(trace.processes.is_empty() && trace.run.is_empty()));
    let mut victim = lab.victim();
    victim.kill().expect("the host serves others as before");
    victim.wait().expect("ended");
}

/// Messages to the host as anybody could send them.
mod raw {
    use super::*;
    use nix::sys::socket::{
        AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr,
        connect, recvmsg, sendmsg, socket,
    };
    use rings_host::proto::{MAX_FDS, Message};
    use std::io::{IoSlice, IoSliceMut};
    use std::os::fd::{BorrowedFd, RawFd};
    use zerocopy::{FromBytes, IntoBytes};

    pub(super) struct Connection(pub(super) OwnedFd);

    impl Connection {
        pub(super) fn open(path: &Path) -> Self {
            let kind = SockType::SeqPacket;
            let fd = socket(AddressFamily::Unix, kind, SockFlag::SOCK_CLOEXEC, None);
            let fd = fd.expect("a socket");
            connect(fd.as_raw_fd(), &UnixAddr::new(path).expect("short")).expect("a host");
            Self(fd)
        }

        pub(super) fn send(&self, message: &Message, fds: &[RawFd]) {
            let data = [IoSlice::new(message.as_bytes())];
            let rights = [ControlMessage::ScmRights(fds)];
            let control = if fds.is_empty() { &[][..] } else { &rights };
            let flags = MsgFlags::MSG_NOSIGNAL;
            sendmsg::<()>(self.0.as_raw_fd(), &data, control, flags, None).expect("sent");
        }

        pub(super) fn call(&mut self, message: Message) -> (Message, Vec<OwnedFd>) {
            self.send(&message, &[]);
            let mut bytes = [0; size_of::<Message>()];
            let mut control = nix::cmsg_space!([RawFd; MAX_FDS]);
            let mut data = [IoSliceMut::new(&mut bytes)];
            let flags = MsgFlags::MSG_CMSG_CLOEXEC;
            let got = recvmsg::<()>(self.0.as_raw_fd(), &mut data, Some(&mut control), flags);
            let raw: Vec<RawFd> = got
                .expect("an answer")
                .cmsgs()
                .expect("whole")
                .flat_map(
                    |c| if let ControlMessageOwned::ScmRights(fds) = c { fds } else { vec![] },
                )
                .collect();
            // SAFETY: the kernel has just installed them for this message; they are never closed, so
            // that the copies made here are of what they were.
            let own = |fd| unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned();
            let fds = raw.into_iter().map(|fd| own(fd).expect("a copy")).collect();
            (Message::read_from_bytes(&bytes).expect("64 octets"), fds)
        }
    }
}
