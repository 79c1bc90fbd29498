//! One record: sixteen bytes, what happened and when.
//!
//! ```text
//!   0                          8                  12                 16   octet, little-endian
//! +---------------------------+------------------+------------------+
//! |   ticks of the clock      |       tag        |       arg        |
//! +---------------------------+------------------+------------------+
//!      31  29 28    24 23            12 11             0   bit of the tag
//!     +------+--------+----------------+----------------+
//!     | flags|  kind  |              id                 |    most kinds
//!     | flags|  kind  |     ring       |     count      |    pushes and pops
//!     | flags|  kind  |     ring       |   id's low 12  |    request and response ids
//!     +------+--------+----------------+----------------+
//! ```
//!
//! | kind | name | id | arg | flags |
//! |---|---|---|---|---|
//! | 1 | enter | site | the site's argument | |
//! | 2 | exit | site | the site's result | |
//! | 3 | mark | site | the site's argument | |
//! | 4 | counter | site | value | |
//! | 5 | spin | site | | |
//! | 6 | function entered | function | | |
//! | 7 | function left | function | | |
//! | 8 | function left by a tail call | function | | |
//! | 9 | function called (`mcount`: entry only) | stack pointer / 16, low 24 bits | address - module's base | |
//! | 10 | requests pushed | ring, count | index of the first | bit 0: the other end asked to be woken |
//! | 11 | requests seen | ring, count | index of the first | |
//! | 12 | responses pushed | ring, count | index of the first | bit 0: as above |
//! | 13 | responses seen | ring, count | index of the first | |
//! | 14 | ring full | ring | | |
//! | 15 | ring has room again | ring | | |
//! | 16 | event sent | port | | 0 doorbell rung, 1 pending already, 2 masked |
//! | 17 | event received | port | | |
//! | 18 | request's id | ring, id | its index | |
//! | 19 | response's id | ring, id | its index | |
//! | 20 | slot taken (feature `trace-fine`) | ring | its index | bit 0: a response |
//! | 21 | recording began or went on | | | |
//!
//! Sites, functions, rings and ports are numbers of this *process*; its journal says what they are.
//! Indices are the free-running ones of the ring. A *spin* has no end of its own: it lasts until the
//! next record of its thread, because a thread that spins records nothing. Within a thread stamps
//! never go back, but for the few nanoseconds by which the clocks of two CPUs differ.

/// Bytes in a record.
pub const RECORD: usize = 16;
/// Most slots one record can speak of; a larger batch makes several.
pub const MOST_SLOTS: u32 = (1 << 12) - 1;
/// Sites, functions and ports a process can have.
pub const MOST_IDS: u32 = 1 << 24;
/// Rings a process can have.
pub const MOST_RINGS: u32 = 1 << 12;

/// Which of the two kinds of slot.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Slot {
    /// Frontend to backend.
    Request,
    /// Backend to frontend.
    Response,
}

/// Slots of a ring, side by side.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slots {
    /// Which ring of this process.
    pub ring: u32,
    /// Requests or responses.
    pub slot: Slot,
    /// Free-running index of the first.
    pub first: u32,
    /// How many.
    pub count: u32,
}

/// What became of an event that was sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sent {
    /// The doorbell was rung: a system call.
    Rung,
    /// The port was pending already.
    Pending,
    /// The port is masked: its owner is awake.
    Masked,
}

/// What happened, as plain values.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// A traced function or span begins.
    Enter {
        /// Which.
        site: u32,
        /// What its site says that this is.
        arg: u32,
    },
    /// It ends.
    Exit {
        /// Which.
        site: u32,
        /// Its result, if its site says that it has one.
        arg: u32,
    },
    /// A moment.
    Mark {
        /// Which.
        site: u32,
        /// What its site says that this is.
        arg: u32,
    },
    /// A value from now on.
    Counter {
        /// Of what.
        site: u32,
        /// The value.
        value: u32,
    },
    /// The thread looks for work and finds none, until its next record.
    Spin {
        /// Where.
        site: u32,
    },
    /// A function with a sled begins.
    FunctionEnter(u32),
    /// It ends.
    FunctionExit(u32),
    /// It ends with a call, which is the next function to begin.
    FunctionTail(u32),
    /// A function begins, as `mcount` sees it: there is no end. Frames whose stack pointer is lower
    /// have ended.
    Called {
        /// Stack pointer / 16, modulo 2^24.
        stack: u32,
        /// An address in the function, less the module's base.
        address: u32,
    },
    /// Slots became visible to the other end.
    Push {
        /// Which.
        slots: Slots,
        /// The other end's event index asks for a notification.
        notify: bool,
    },
    /// Slots that the other end pushed were seen.
    Pop(Slots),
    /// A sender found no room in this ring.
    Full {
        /// Which.
        ring: u32,
    },
    /// It found room again.
    Room {
        /// Which.
        ring: u32,
    },
    /// An event was sent.
    Send {
        /// Through which port of this process.
        port: u32,
        /// What became of it.
        sent: Sent,
    },
    /// An event had come, and was cleared.
    Receive {
        /// On which port.
        port: u32,
    },
    /// The `id` field of a slot, for rings that are answered out of order.
    Id {
        /// Which ring.
        ring: u32,
        /// Request or response.
        slot: Slot,
        /// Its index.
        index: u32,
        /// Low 12 bits of the id.
        id: u32,
    },
    /// One slot was taken out.
    Take {
        /// Which ring.
        ring: u32,
        /// Request or response.
        slot: Slot,
        /// Its index.
        index: u32,
    },
    /// Recording began here, or goes on after it had been switched off.
    Resume,
    /// A kind this version does not know.
    Unknown {
        /// The whole tag.
        tag: u32,
        /// The argument.
        arg: u32,
    },
}

/// A record as it lies in memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Record {
    /// When, in ticks of the clock.
    pub ticks: u64,
    /// Kind, flags and id, see the module.
    pub tag: u32,
    /// The argument.
    pub arg: u32,
}

const _: () = assert!(size_of::<Record>() == RECORD);

impl Record {
    /// Something that happened at `ticks`.
    #[must_use]
    pub fn new(ticks: u64, event: Event) -> Self {
        let (tag, arg) = event.encode();
        Self { ticks, tag, arg }
    }

    /// The record in these bytes.
    #[inline]
    #[must_use]
    pub fn from_bytes(bytes: &[u8; RECORD]) -> Self {
        let (ticks, rest) = bytes.split_first_chunk().unwrap_or((&[0; 8], &[]));
        let (tag, rest) = rest.split_first_chunk().unwrap_or((&[0; 4], &[]));
        let arg = rest.first_chunk().unwrap_or(&[0; 4]);
        Self {
            ticks: u64::from_le_bytes(*ticks),
            tag: u32::from_le_bytes(*tag),
            arg: u32::from_le_bytes(*arg),
        }
    }

    /// Its bytes.
    #[must_use]
    pub fn to_bytes(self) -> [u8; RECORD] {
        let mut bytes = [0; RECORD];
        bytes[..8].copy_from_slice(&self.ticks.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.tag.to_le_bytes());
        bytes[12..].copy_from_slice(&self.arg.to_le_bytes());
        bytes
    }

    /// What happened.
    #[inline(always)]
    #[must_use]
    pub fn event(self) -> Event {
        Event::decode(self.tag, self.arg)
    }

    /// Whether that is [`Event::Pop`].
    #[inline]
    #[must_use]
    pub fn is_pop(self) -> bool {
        matches!(self.tag >> 24 & 31, kind::REQ_POP | kind::RSP_POP)
    }
}

/// Numbers of kinds; [`Event`] is what to use.
pub(crate) mod kind {
    pub(crate) const ENTER: u32 = 1;
    pub(crate) const EXIT: u32 = 2;
    pub(crate) const MARK: u32 = 3;
    pub(crate) const COUNTER: u32 = 4;
    pub(crate) const SPIN: u32 = 5;
    pub(crate) const FN_ENTER: u32 = 6;
    pub(crate) const FN_EXIT: u32 = 7;
    pub(crate) const FN_TAIL: u32 = 8;
    pub(crate) const CALLED: u32 = 9;
    pub(crate) const REQ_PUSH: u32 = 10;
    pub(crate) const REQ_POP: u32 = 11;
    pub(crate) const RSP_PUSH: u32 = 12;
    pub(crate) const RSP_POP: u32 = 13;
    pub(crate) const FULL: u32 = 14;
    pub(crate) const ROOM: u32 = 15;
    pub(crate) const SEND: u32 = 16;
    pub(crate) const RECEIVE: u32 = 17;
    pub(crate) const REQ_ID: u32 = 18;
    pub(crate) const RSP_ID: u32 = 19;
    pub(crate) const TAKE: u32 = 20;
    pub(crate) const RESUME: u32 = 21;
}

/// A tag of one id.
#[inline(always)]
pub(crate) const fn tag(kind: u32, id: u32) -> u32 {
    kind << 24 | id & (MOST_IDS - 1)
}

/// A tag of a ring and a number of 12 bits.
#[inline(always)]
pub(crate) const fn ring_tag(kind: u32, ring: u32, low: u32) -> u32 {
    kind << 24 | (ring & (MOST_RINGS - 1)) << 12 | low & MOST_SLOTS
}

/// Flags in a tag.
#[inline(always)]
pub(crate) const fn flags(flags: u32) -> u32 {
    flags << 29
}

impl Event {
    /// Tag and argument.
    #[must_use]
    pub fn encode(self) -> (u32, u32) {
        match self {
            Self::Enter { site, arg } => (tag(kind::ENTER, site), arg),
            Self::Exit { site, arg } => (tag(kind::EXIT, site), arg),
            Self::Mark { site, arg } => (tag(kind::MARK, site), arg),
            Self::Counter { site, value } => (tag(kind::COUNTER, site), value),
            Self::Spin { site } => (tag(kind::SPIN, site), 0),
            Self::FunctionEnter(id) => (tag(kind::FN_ENTER, id), 0),
            Self::FunctionExit(id) => (tag(kind::FN_EXIT, id), 0),
            Self::FunctionTail(id) => (tag(kind::FN_TAIL, id), 0),
            Self::Called { stack, address } => (tag(kind::CALLED, stack), address),
            Self::Push { slots, notify } => {
                let kind =
                    if slots.slot == Slot::Request { kind::REQ_PUSH } else { kind::RSP_PUSH };
                (ring_tag(kind, slots.ring, slots.count) | flags(notify.into()), slots.first)
            }
            Self::Pop(slots) => {
                let kind = if slots.slot == Slot::Request { kind::REQ_POP } else { kind::RSP_POP };
                (ring_tag(kind, slots.ring, slots.count), slots.first)
            }
            Self::Full { ring } => (ring_tag(kind::FULL, ring, 0), 0),
            Self::Room { ring } => (ring_tag(kind::ROOM, ring, 0), 0),
            Self::Send { port, sent } => (tag(kind::SEND, port) | flags(sent as u32), 0),
            Self::Receive { port } => (tag(kind::RECEIVE, port), 0),
            Self::Id { ring, slot, index, id } => {
                let kind = if slot == Slot::Request { kind::REQ_ID } else { kind::RSP_ID };
                (ring_tag(kind, ring, id), index)
            }
            Self::Take { ring, slot, index } => {
                let response = u32::from(slot == Slot::Response);
                (ring_tag(kind::TAKE, ring, 0) | flags(response), index)
            }
            Self::Resume => (tag(kind::RESUME, 0), 0),
            Self::Unknown { tag, arg } => (tag, arg),
        }
    }

    /// The event of a tag and an argument. Any bits are one.
    // In the loops over millions of records the event itself then never comes to be.
    #[inline(always)]
    #[must_use]
    pub fn decode(tag: u32, arg: u32) -> Self {
        let (id, flags) = (tag & (MOST_IDS - 1), tag >> 29);
        let (ring, low) = (id >> 12, id & MOST_SLOTS);
        let slots = |slot| Slots { ring, slot, first: arg, count: low };
        let notify = flags & 1 != 0;
        match tag >> 24 & 31 {
            kind::ENTER => Self::Enter { site: id, arg },
            kind::EXIT => Self::Exit { site: id, arg },
            kind::MARK => Self::Mark { site: id, arg },
            kind::COUNTER => Self::Counter { site: id, value: arg },
            kind::SPIN => Self::Spin { site: id },
            kind::FN_ENTER => Self::FunctionEnter(id),
            kind::FN_EXIT => Self::FunctionExit(id),
            kind::FN_TAIL => Self::FunctionTail(id),
            kind::CALLED => Self::Called { stack: id, address: arg },
            kind::REQ_PUSH => Self::Push { slots: slots(Slot::Request), notify },
            kind::RSP_PUSH => Self::Push { slots: slots(Slot::Response), notify },
            kind::REQ_POP => Self::Pop(slots(Slot::Request)),
            kind::RSP_POP => Self::Pop(slots(Slot::Response)),
            kind::FULL => Self::Full { ring },
            kind::ROOM => Self::Room { ring },
            kind::SEND => match flags {
                0 => Self::Send { port: id, sent: Sent::Rung },
                1 => Self::Send { port: id, sent: Sent::Pending },
                2 => Self::Send { port: id, sent: Sent::Masked },
                _ => Self::Unknown { tag, arg },
            },
            kind::RECEIVE => Self::Receive { port: id },
            kind::REQ_ID => Self::Id { ring, slot: Slot::Request, index: arg, id: low },
            kind::RSP_ID => Self::Id { ring, slot: Slot::Response, index: arg, id: low },
            kind::TAKE => {
                let slot = if flags & 1 == 0 { Slot::Request } else { Slot::Response };
                Self::Take { ring, slot, index: arg }
            }
            kind::RESUME => Self::Resume,
            _ => Self::Unknown { tag, arg },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One of each kind, with every field at its limit.
    fn all() -> Vec<Event> {
        let id = MOST_IDS - 1;
        let (ring, arg) = (MOST_RINGS - 1, u32::MAX);
        let mut all = vec![
            Event::Enter { site: id, arg },
            Event::Exit { site: id, arg },
            Event::Mark { site: id, arg },
            Event::Counter { site: id, value: arg },
            Event::Spin { site: id },
            Event::FunctionEnter(id),
            Event::FunctionExit(id),
            Event::FunctionTail(id),
            Event::Called { stack: id, address: arg },
            Event::Full { ring },
            Event::Room { ring },
            Event::Send { port: id, sent: Sent::Rung },
            Event::Send { port: id, sent: Sent::Pending },
            Event::Send { port: id, sent: Sent::Masked },
            Event::Receive { port: id },
            Event::Resume,
        ];
        for slot in [Slot::Request, Slot::Response] {
            let slots = Slots { ring, slot, first: arg, count: MOST_SLOTS };
            all.extend([
                Event::Push { slots, notify: true },
                Event::Push { slots, notify: false },
                Event::Pop(slots),
                Event::Id { ring, slot, index: arg, id: MOST_SLOTS },
                Event::Take { ring, slot, index: arg },
            ]);
        }
        all
    }

    #[test]
    fn every_kind_comes_back_as_it_was() {
        for event in all() {
            let record = Record::new(u64::MAX, event);
            assert_eq!(Record::from_bytes(&record.to_bytes()), record);
            assert_eq!(record.is_pop(), matches!(event, Event::Pop(_)));
            assert_eq!(record.event(), event);
        }
    }

    #[test]
    fn the_bytes_are_those_of_the_table() {
        let slots = Slots { ring: 3, slot: Slot::Response, first: 0xffff_fffc, count: 8 };
        let bytes = Record::new(0x0102, Event::Push { slots, notify: true }).to_bytes();
        let expected = [2, 1, 0, 0, 0, 0, 0, 0, 8, 0x30, 0, 0x2c, 0xfc, 0xff, 0xff, 0xff];
        assert_eq!(bytes, expected);
    }

    #[test]
    fn any_bits_are_an_event() {
        for kind in 0..=255_u32 {
            let tag = kind << 24 | 0x00ab_cdef;
            if let Event::Unknown { tag: same, arg } = Event::decode(tag, 7) {
                assert_eq!((same, arg), (tag, 7));
            }
        }
    }
}
