//! What a process asks of the host, byte by byte.
//!
//! The socket is `DIR/host.sock`, `AF_UNIX`, `SOCK_SEQPACKET`: one message is one packet of exactly
//! 64 bytes, all fields `u32` in the byte order of the machine. A request is answered by one message
//! with the same `kind` and `seq`; `status` is 0 or an errno number. File descriptors travel beside
//! the answer (`SCM_RIGHTS`), in the order given here. `rings/host/include/pvlab.h` says the same in
//! C.
//!
//! ```text
//!   0        4        8        12                                                     63   octet
//! +--------+--------+--------+--------+-------- - - - --------+--------+--------+--------+
//! |  kind  |  seq   | status | arg[0] | arg[1]                 | arg[10]| arg[11]| arg[12]|
//! +--------+--------+--------+--------+-------- - - - --------+--------+--------+--------+
//! ```
//!
//! | kind | request | answer | descriptors |
//! |---|---|---|---|
//! | 1 `HELLO` | version (3), domid or `ANY`, pool frames or 0, 0, arg[4..12] name, NUL-padded | domid, frames, first and number of grant frames, hold frame, console frame, store frame, first pool frame | memory, store connection |
//! | 2 `ALLOC_UNBOUND` | domid that may bind | port | event page, epoll of own doorbell, other end's doorbell |
//! | 3 `BIND_INTERDOMAIN` | domid, its port | port | event page, epoll of own doorbell, other end's doorbell |
//! | 4 `CLOSE` | port | | |
//! | 5 `FOREIGN` | domid of a frontend | hold line, frames, first and number of grant frames, hold frame, life | its memory |
//! | 6 `RELEASE` | domid, hold line, life | | |
//! | 7 `STORE` | | | another store connection |
//! | 8 `STATS` | kind (1 front, 2 back, 3 other), worker | block number in the statistics segment | |
//! | 9 `GOODBYE` | exit status | | |
//! | 10 `TRACE` | | | the tracer's switch, trace connection |
//! | 11 `OPEN_PORT` | a port of ours that the toolstack made (the console's) | the port, domid that may bind | event page, epoll of own doorbell, other end's doorbell |
//! | 12 `INSPECT` | [`Held`]: 1 ports, 2 grants | bytes | text: who holds what, a line each |
//! | 13 `RECORD`, of no domain | 0 off, 1 on | [`Recorded`]: 0 never, 1 off, 2 on, 3 over | |
//!
//! A life is a number that the host gives to a domain when it registers, and to no other: who gives back
//! a hold line of one that is gone does not take it from another that has the same domid by then.
//!
//! The first message must be `HELLO`, or `INSPECT` or `RECORD` of whoever only looks on. A connection that ends without `GOODBYE` is a death. What the
//! words in the event page mean is said in `rings::evtchn::EventPage`, the layout of memory in
//! `rings::grant::Layout`.
//!
//! A process that wants to be traced asks `TRACE`, once. The switch is a page that it can map for
//! reading only: its first word says whether to record. The trace connection is of the same kind as the
//! first one, but one-way: what the process records lies in memory of its own making, sealed against
//! shrinking and growing, which it hands over there and which the host keeps when the process is
//! gone. Nothing is answered. What lies in that memory is said in `tracer::format`.
//!
//! | [`TraceKind`] | message | descriptors |
//! |---|---|---|
//! | 1 `JOURNAL` | | the process's journal, the first that comes |
//! | 2 `THREAD` | | the buffer of one of its threads |
//! | 3 `SLOW` | ring, index, ticks (low and high half), duration in ticks (low and high half) | |

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Version of this message set.
pub const VERSION: u32 = 3;
/// As a domid: the next free guest number.
pub const ANY: u32 = u32::MAX;
/// Most descriptors in one message.
pub const MAX_FDS: usize = 3;

/// Kinds of message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Kind {
    /// Register as a domain.
    Hello = 1,
    /// Make a port.
    AllocUnbound = 2,
    /// Bind to another domain's port.
    BindInterdomain = 3,
    /// Close a port.
    Close = 4,
    /// Get the memory of a frontend one serves.
    Foreign = 5,
    /// Give it back.
    Release = 6,
    /// Get another store connection.
    Store = 7,
    /// Get a block in the statistics segment.
    Stats = 8,
    /// Leave in good order.
    Goodbye = 9,
    /// Get the tracer's switch, and where to hand over what is recorded.
    Trace = 10,
    /// Get our end of a port that the toolstack made for us.
    OpenPort = 11,
    /// Look who holds what.
    Inspect = 12,
    /// Switch recording on or off, in all domains at once: for whoever only looks on.
    Record = 13,
}

/// What [`Kind::Inspect`] asks for. Fields are separated by tabs; `-` stands for what there is not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Held {
    /// `DOMID PORT REMOTE REMOTE-PORT WORDS` for each port; words: `pending`, `masked`, `closed`, with
    /// commas.
    Ports = 1,
    /// `DOMID GREF TO FRAME ACCESS USE` for each grant; access: `ro`, `rw`; use: `mapped` while the
    /// other side has it mapped.
    Grants = 2,
}

/// What [`Kind::Record`] is answered: whether the lab is recorded now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Recorded {
    /// Nor will it be: its host was not asked for a trace.
    Never = 0,
    /// Not now.
    Off = 1,
    /// It is.
    On = 2,
    /// It was, and will not be again: the run has ended, or there was a slow request.
    Over = 3,
}

impl Recorded {
    /// The answer with this number.
    #[must_use]
    pub fn from_number(n: u32) -> Option<Self> {
        [Self::Never, Self::Off, Self::On, Self::Over]
            .into_iter()
            .find(|&answer| answer as u32 == n)
    }
}

impl Kind {
    /// The kind with this number.
    #[must_use]
    pub fn from_number(n: u32) -> Option<Self> {
        [
            Self::Hello,
            Self::AllocUnbound,
            Self::BindInterdomain,
            Self::Close,
            Self::Foreign,
            Self::Release,
            Self::Store,
            Self::Stats,
            Self::Goodbye,
            Self::Trace,
            Self::OpenPort,
            Self::Inspect,
            Self::Record,
        ]
        .into_iter()
        .find(|&kind| kind as u32 == n)
    }
}

/// Kinds of message on a trace connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum TraceKind {
    /// Here is the process's journal.
    Journal = 1,
    /// Here is the buffer of a thread.
    Thread = 2,
    /// A request was slow: this is worth keeping.
    Slow = 3,
}

impl TraceKind {
    /// The kind with this number.
    #[must_use]
    pub fn from_number(n: u32) -> Option<Self> {
        [Self::Journal, Self::Thread, Self::Slow].into_iter().find(|&kind| kind as u32 == n)
    }
}

/// One message.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Message {
    /// Which request, see the table.
    pub kind: u32,
    /// Chosen by the asker, echoed in the answer.
    pub seq: u32,
    /// In an answer: 0 or an errno.
    pub status: u32,
    /// See the table.
    pub arg: [u32; 13],
}

const _: () = assert!(size_of::<Message>() == 64);

impl Message {
    /// A request.
    #[must_use]
    pub fn request(kind: Kind, args: &[u32]) -> Self {
        let mut message = Self { kind: kind as u32, ..Self::default() };
        message.arg[..args.len()].copy_from_slice(args);
        message
    }

    /// The answer to this message.
    #[must_use]
    pub fn answer(&self, args: &[u32]) -> Self {
        let mut message = Self { kind: self.kind, seq: self.seq, ..Self::default() };
        message.arg[..args.len()].copy_from_slice(args);
        message
    }

    /// The refusal of this message.
    #[must_use]
    pub fn refusal(&self, errno: nix::errno::Errno) -> Self {
        let status = (errno as i32).unsigned_abs();
        Self { kind: self.kind, seq: self.seq, status, ..Self::default() }
    }

    /// Puts a name into arg[4..12], cut to 31 bytes.
    pub fn set_name(&mut self, name: &str) {
        let mut bytes = [0_u8; 32];
        let len = name.len().min(31);
        bytes[..len].copy_from_slice(&name.as_bytes()[..len]);
        for (word, four) in self.arg[4..12].iter_mut().zip(bytes.chunks_exact(4)) {
            *word = u32::from_ne_bytes([four[0], four[1], four[2], four[3]]);
        }
    }

    /// The name in arg[4..12], with anything unprintable replaced: it ends up in terminals.
    #[must_use]
    pub fn name(&self) -> String {
        let bytes = self.arg[4..12].iter().flat_map(|word| word.to_ne_bytes());
        bytes
            .take_while(|&b| b != 0)
            .map(|b| if b.is_ascii_graphic() { char::from(b) } else { '?' })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_survives_and_a_nasty_one_is_tamed() {
        let mut m = Message::request(Kind::Hello, &[VERSION, ANY]);
        m.set_name("netfront");
        assert_eq!(m.name(), "netfront");
        m.set_name("a\x1b[31m-and-far-more-than-thirty-one-bytes");
        assert_eq!(m.name().len(), 31);
        assert!(m.name().starts_with("a?[31m"));
    }
}
