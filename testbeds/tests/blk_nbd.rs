//! The NBD server between a client and a backend that a test plays both: what the one asks, what reaches the
//! ring of it, and when it is answered.

mod blk_rig;
mod common;

use std::fs::OpenOptions;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use blk_rig::back::{Attack, Back};
use blk_rig::{Lab, WATCHDOG, until};
use common::{Scratch, within};
use nix::sys::signal::Signal;
use rings::io::blkif::{Op, Request, Response};
use rings::worker::Task as _;
use testbeds::config::RunConfig;
use testbeds::workload::Job as _;
use testbeds::workload::blk::Change;
use testbeds::workload::nbd::{Clerk, Desk, Export, serve};

/// Commands and flags of NBD's transmission phase.
const READ: u16 = 0;
const WRITE: u16 = 1;
const FLUSH: u16 = 3;
const TRIM: u16 = 4;
const FUA: u16 = 1;
/// Bytes of the disk.
const DISK: u64 = 2048 * 512;
/// What a client is told of a request that cannot be.
const EINVAL: u32 = 22;

/// The server, with a client before it and a backend behind it.
struct Served {
    client: UnixStream,
    clerk: Clerk,
    desk: Desk,
    back: Back,
    /// Requests seen on the ring.
    seen: u32,
    cookie: u64,
    socket: PathBuf,
    _name: Box<dyn std::any::Any>,
    _lab: Lab,
}

impl Served {
    /// With so many operations at once.
    fn new(slots: u32) -> Self {
        let keys = [("sectors", "2048"), ("feature-discard", "1"), ("discard-granularity", "512")];
        let Attack { queue, back, lab, .. } = Attack::describing(&keys).unwrap();
        let socket = lab.dir.path().join("nbd");
        let desk = Desk::new(Arc::new(|| ()));
        let export = Export::of(queue.disk());
        let clerk = Clerk::new(queue, desk.clone(), export.clone(), slots, &RunConfig::default());
        let name = Box::new(serve(&socket, export, vec![desk.clone()]).unwrap());
        let (client, bytes) = greeted(&socket);
        assert_eq!(bytes, DISK);
        Self { client, clerk, desk, back, seen: 0, cookie: 0, socket, _name: name, _lab: lab }
    }

    /// The client asks. Returns the cookie that the reply must have.
    fn ask(&mut self, flags: u16, command: u16, offset: u64, length: u32, data: &[u8]) -> u64 {
        self.cookie += 1;
        self.client.write_all(&header(flags, command, self.cookie, offset, length)).unwrap();
        self.client.write_all(data).unwrap();
        self.cookie
    }

    /// Lets the server work until so many requests more are on the ring.
    fn requests(&mut self, count: usize) -> Vec<Request> {
        let found = until("requests on the ring", || {
            self.clerk.work();
            let found = self.back.requests(self.seen);
            (found.len() >= count).then_some(found)
        });
        assert_eq!(found.len(), count, "{found:?}");
        self.seen = self.seen.wrapping_add(u32::try_from(count).unwrap());
        found
    }

    /// The backend answers a request of 11 segments at most, and the server hears of it.
    fn answer(&mut self, request: &Request, status: i16) {
        self.answer_as(request, request.operation, status);
    }

    /// The same, as what the request is when its segments are elsewhere.
    fn answer_as(&mut self, request: &Request, operation: u8, status: i16) {
        self.back.answer(Response::new(request.id, operation, status));
        self.clerk.work();
    }

    /// The client's next reply: its error and its cookie.
    fn reply(&mut self) -> (u32, u64) {
        reply(&mut self.client)
    }

    fn end(self) {
        drop(self.client);
        self.back.leave();
        Box::new(self.clerk).finish();
    }
}

/// A client that has been let in, and the length of the disk that it was told. Bytes.
fn greeted(socket: &Path) -> (UnixStream, u64) {
    let mut client = UnixStream::connect(socket).unwrap();
    client.set_read_timeout(Some(WATCHDOG)).unwrap();
    let mut hello = [0; 18];
    client.read_exact(&mut hello).unwrap();
    client.write_all(&3_u32.to_be_bytes()).unwrap();
    let name = [&0x4948_4156_454f_5054_u64.to_be_bytes()[..], &1_u32.to_be_bytes(), &[0; 4]];
    client.write_all(&name.concat()).unwrap();
    let mut export = [0; 10];
    client.read_exact(&mut export).unwrap();
    (client, u64::from_be_bytes(*export.first_chunk().unwrap()))
}

/// A client's next reply: its error and its cookie.
fn reply(client: &mut UnixStream) -> (u32, u64) {
    let mut head = [0; 16];
    client.read_exact(&mut head).unwrap();
    let word = |at: usize| u32::from_be_bytes(*head[at..].first_chunk().unwrap());
    assert_eq!(word(0), 0x6744_6698, "a reply");
    (word(4), u64::from_be_bytes(*head[8..].first_chunk().unwrap()))
}

fn header(flags: u16, command: u16, cookie: u64, offset: u64, length: u32) -> Vec<u8> {
    let mut bytes = Vec::from(0x2560_9513_u32.to_be_bytes());
    bytes.extend([flags, command].iter().flat_map(|n| n.to_be_bytes()));
    bytes.extend([cookie, offset].iter().flat_map(|n| n.to_be_bytes()));
    bytes.extend(length.to_be_bytes());
    bytes
}

fn operations(requests: &[Request]) -> Vec<u8> {
    requests.iter().map(|request| request.operation).collect()
}

/// FUA: nothing is answered before the flush is, whatever it is that must be durable.
#[test]
fn what_must_be_durable_is_flushed_before_it_is_answered() {
    let mut served = Served::new(2);
    for (command, op, data) in [(TRIM, Op::Discard, &[][..]), (WRITE, Op::Write, &[7; 4096])] {
        let cookie = served.ask(FUA, command, 8192, 4096, data);
        let first = served.requests(1);
        assert_eq!(operations(&first), [op as u8]);
        served.answer(&first[0], 0);
        let flush = served.requests(1);
        assert_eq!(operations(&flush), [Op::FlushDiskcache as u8]);
        served.answer(&flush[0], 0);
        assert_eq!(served.reply(), (0, cookie));
    }
    // Where one of the two fails, so does the whole.
    let cookie = served.ask(FUA, TRIM, 0, 512, &[]);
    let trim = served.requests(1);
    served.answer(&trim[0], -1);
    assert_eq!(served.reply(), (5, cookie));
    let cookie = served.ask(FUA, TRIM, 0, 512, &[]);
    let trim = served.requests(1);
    served.answer(&trim[0], 0);
    let flush = served.requests(1);
    served.answer(&flush[0], -1);
    assert_eq!(served.reply(), (5, cookie));
    // And nothing is flushed that need not be.
    let cookies = [served.ask(0, TRIM, 0, 512, &[]), served.ask(0, FLUSH, 0, 0, &[])];
    let both = served.requests(2);
    assert_eq!(operations(&both), [Op::Discard as u8, Op::FlushDiskcache as u8]);
    served.answer(&both[0], 0);
    served.answer(&both[1], 0);
    assert_eq!([served.reply(), served.reply()], cookies.map(|cookie| (0, cookie)));
    served.end();
}

/// What a client may ask for is what the disk has now, whatever it had when the client came.
#[test]
fn a_disk_that_grows_grows_for_its_clients() {
    let mut served = Served::new(2);
    let cookie = served.ask(0, READ, DISK, 4096, &[]);
    assert_eq!(served.reply(), (EINVAL, cookie), "past the end");
    served.clerk.change(Box::new(Change::Resize(4096)));
    let cookie = served.ask(0, WRITE, DISK, 4096, &[7; 4096]);
    let write = served.requests(1);
    assert_eq!((operations(&write), write[0].sector_number), (vec![Op::Write as u8], 2048));
    served.answer(&write[0], 0);
    assert_eq!(served.reply(), (0, cookie));
    let (_another, bytes) = greeted(&served.socket);
    assert_eq!(bytes, 4096 * 512, "whoever comes later is told so");
    served.clerk.change(Box::new(Change::Resize(1024)));
    let cookie = served.ask(0, READ, DISK - 4096, 4096, &[]);
    assert_eq!(served.reply(), (EINVAL, cookie), "and what is cut is cut");
    served.end();
}

/// The same with all there is between a client and a file.
#[test]
fn a_file_that_grows_is_written_at_its_new_end() {
    let scratch = Scratch::new();
    let _turn = common::turn();
    let (file, socket) = (scratch.path("disk.img"), scratch.path("nbd"));
    let resize = |bytes| {
        let file = OpenOptions::new().create(true).write(true).truncate(false).open(&file);
        file.and_then(|file| file.set_len(bytes)).expect("ours");
    };
    resize(DISK);
    let (disk, nbd) = (format!("file={}", file.display()), format!("unix:{}", socket.display()));
    let server = scratch.start(&["blk", "--disk", &disk, "--nbd", &nbd, "--quiet"]);
    assert!(within(common::WATCHDOG, || UnixStream::connect(&socket).is_ok()), "nobody listens");
    let (mut first, bytes) = greeted(&socket);
    assert_eq!(bytes, DISK);
    resize(2 * DISK);
    assert!(within(common::WATCHDOG, || greeted(&socket).1 == 2 * DISK), "nobody is told");
    let at = 2 * DISK - 4096;
    first.write_all(&header(FUA, WRITE, 1, at, 4096)).unwrap();
    first.write_all(&[7; 4096]).unwrap();
    assert_eq!(reply(&mut first), (0, 1), "it came when the disk was shorter");
    first.write_all(&header(0, READ, 2, at, 4096)).unwrap();
    assert_eq!(reply(&mut first), (0, 2));
    let mut data = [0; 4096];
    first.read_exact(&mut data).unwrap();
    assert_eq!(data, [7; 4096]);
    server.signal(Signal::SIGINT);
    let ended = server.end();
    assert!(ended.status.success(), "{ended:?}");
    let written = std::fs::read(&file).expect("ours");
    assert_eq!(written[usize::try_from(at).unwrap()..], [7; 4096]);
    scratch.assert_clean(&[], "a server");
}

/// A request of more bytes than one operation takes is answered after the last of them.
#[test]
fn a_long_read_is_answered_once() {
    let mut served = Served::new(1);
    let cookie = served.ask(0, READ, 0, 512 << 10, &[]);
    // Two operations of 256 KiB, each two requests of 32 pages, one operation at once.
    for _ in 0..2 {
        for request in served.requests(2) {
            served.answer_as(&request, Op::Read as u8, 0);
        }
    }
    assert_eq!(served.reply(), (0, cookie));
    let mut data = vec![1; 512 << 10];
    served.client.read_exact(&mut data).unwrap();
    assert!(data.iter().all(|&byte| byte == 0));
    served.end();
}

/// Memory is what the server says, not what the client asks for: one that asks for much waits until it has
/// taken what it was told.
#[test]
fn a_client_has_its_share_of_memory_and_no_more() {
    let mut served = Served::new(2);
    let (asked, share) = (70, 64);
    for _ in 0..asked {
        served.ask(0, READ, 0, 1 << 20, &[]);
    }
    let waiting = |served: &Served| format!("{:?}", served.desk);
    until("requests on the desk", || {
        (waiting(&served) == format!("Desk({share} requests)")).then_some(())
    });
    // Any more of them would be here soon.
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(waiting(&served), format!("Desk({share} requests)"));
    let mut data = vec![0; 1 << 20];
    for cookie in 1..=asked {
        // Two operations of 256 KiB at once, each two requests of 32 pages.
        for _ in 0..2 {
            for request in served.requests(4) {
                served.back.answer(Response::new(request.id, Op::Read as u8, 0));
            }
        }
        served.clerk.work();
        assert_eq!(served.reply(), (0, cookie));
        served.client.read_exact(&mut data).unwrap();
    }
    served.end();
}
