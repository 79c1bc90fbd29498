//! A process's journal: what the numbers in its records mean, and what it said in words.
//!
//! One memfd for each process, kept by the host as the buffers are, so that it outlives the process.
//! It only grows:
//!
//! ```text
//! octet   0  "PVJOURNL"
//!         8  u32  version, 1
//!        12  u32  process
//!        16  u64  octets of entries that are whole; moved (Release) when an entry has been written
//!        24  u64  entries left out because there was no room
//!        64  the entries, one behind the other:
//!              u16 type, u16 zero, u32 octets that follow, then those, padded to a multiple of 8
//! ```
//!
//! | type | entry | fields |
//! |---|---|---|
//! | 1 | [`Process`] | u32 domid (2^32 - 1: the host), u32 pid, i64 clock offset, u64 ticks, text name, text program |
//! | 2 | [`Site`] | u32 id, u32 line, text name, text category, text module, text file, text argument, text result |
//! | 3 | [`Ring`] | u32 id, u8 half (0 front, 1 back), u8 in order, u16 zero, u32 size, u32 base, u64 ticks, text name |
//! | 4 | [`Port`] | u32 id, u32 local port, u32 remote domid, u32 allocator's domid, u32 allocator's port, u64 ticks, text name |
//! | 5 | [`Note`] | u64 ticks, u32 thread, u8 level, u8 what, u16 number of fields, text target, text words, then for each field text name, text value |
//! | 6 | [`Anchor`] | u64 ticks, u64 monotonic, u64 realtime (ns), u64 width |
//! | 7 | [`Module`] | u64 base, text path, text build id (hexadecimal) |
//! | 8 | [`Function`] | u32 id, u32 zero, u64 address less the module's base, text name (may be empty) |
//!
//! A text is a u16 length and so many octets of UTF-8. Entries of other types are skipped, and what
//! follows the known fields of an entry too, so that later versions can add to both.

mod codec;

use super::bytes::Reader;
use super::clock::Anchor;

/// How a journal begins.
pub const MAGIC: [u8; 8] = *b"PVJOURNL";
/// Version of the layout.
pub const VERSION: u32 = 1;
/// Octet where the entries begin.
pub const ENTRIES_AT: usize = 64;
/// As a domid: the process that plays the host.
pub const HOST: u32 = u32::MAX;

/// Octets of the header's words, for the one who writes them.
pub(crate) mod at {
    pub(crate) const VERSION: usize = 8;
    pub(crate) const PID: usize = 12;
    pub(crate) const CURSOR: usize = 16;
    pub(crate) const LOST: usize = 24;
}

/// Who writes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Process {
    /// Its domain; [`HOST`] for the host.
    pub domid: u32,
    /// Its process.
    pub pid: u32,
    /// To be added to its stamps: a guest may have a clock of its own. 0 in a lab.
    pub clock_offset: i64,
    /// When it began to record. Ticks.
    pub started: u64,
    /// What it is: `netfront`, `netback`, ...
    pub name: String,
    /// Its program.
    pub program: String,
}

/// A place in the source that records.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Site {
    /// Its number.
    pub id: u32,
    /// Line in the file.
    pub line: u32,
    /// Name of the function or span.
    pub name: String,
    /// What it tells about; see [`category`](super::category).
    pub category: String,
    /// Module of the source.
    pub module: String,
    /// File of the source.
    pub file: String,
    /// What the argument at the beginning is; empty if it has none.
    pub arg: String,
    /// What the argument at the end is; empty if it has none.
    pub result: String,
}

/// Which half of a ring.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub enum Half {
    /// Puts requests, takes responses.
    #[default]
    Front,
    /// Takes requests, puts responses.
    Back,
}

/// One half of a ring. Both halves of one have the same name; see the module `format` for which
/// belong together.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Ring {
    /// Its number in this process.
    pub id: u32,
    /// Which half.
    pub half: Half,
    /// Whether the response of a request has the request's index. If not, ids tell.
    pub in_order: bool,
    /// Slots.
    pub size: u32,
    /// Index of its first request.
    pub base: u32,
    /// When it was attached to. Ticks.
    pub ticks: u64,
    /// As Linux calls it: `vif1.0-q0-tx`.
    pub name: String,
}

/// One end of an event channel.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Port {
    /// Its number in the records of this process.
    pub id: u32,
    /// Its number as a port.
    pub port: u32,
    /// The domain at the other end.
    pub remote: u32,
    /// The domain that allocated the channel. Together with `allocator_port` it is what both ends
    /// know.
    pub allocator: u32,
    /// Its port there.
    pub allocator_port: u32,
    /// When it was made. Ticks.
    pub ticks: u64,
    /// What it is for: `vif1.0-q0-tx`; may be empty.
    pub name: String,
}

/// How serious a note is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
#[repr(u8)]
pub enum Level {
    /// An error.
    Error = 1,
    /// A warning.
    Warn = 2,
    /// Good to know.
    #[default]
    Info = 3,
    /// For whoever looks closely.
    Debug = 4,
    /// For whoever looks very closely.
    Trace = 5,
}

/// What a note marks.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[repr(u8)]
pub enum NoteKind {
    /// A moment.
    #[default]
    Event = 0,
    /// The beginning of something on this thread.
    Begin = 1,
    /// Its end.
    End = 2,
}

/// Something said in words: a handshake, a change of state, a warning (crate `tracing`).
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Note {
    /// When. Ticks.
    pub ticks: u64,
    /// On which thread.
    pub tid: u32,
    /// How serious.
    pub level: Level,
    /// A moment, a beginning or an end.
    pub kind: NoteKind,
    /// Module it comes from.
    pub target: String,
    /// The words.
    pub words: String,
    /// Names and values.
    pub fields: Vec<(String, String)>,
}

/// A program in memory, for the addresses of functions.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Module {
    /// Where it is.
    pub base: u64,
    /// Its file.
    pub path: String,
    /// Its build id, if it has one.
    pub build_id: String,
}

/// A function that the compiler instrumented.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Function {
    /// Its number in the records of this process; for those of `mcount`, which have none, 0.
    pub id: u32,
    /// Its address, less the module's base.
    pub address: u64,
    /// Its name, demangled; empty if unknown.
    pub name: String,
}

/// An entry of a journal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Entry {
    /// Who writes.
    Process(Process),
    /// A place in the source.
    Site(Site),
    /// Half a ring.
    Ring(Ring),
    /// An end of an event channel.
    Port(Port),
    /// Words.
    Note(Note),
    /// A reading of both clocks.
    Anchor(Anchor),
    /// The program.
    Module(Module),
    /// A function in it.
    Function(Function),
}

/// The entries in these octets: what stands in a journal behind its header. Unknown ones are left
/// out; it ends at the first that is cut off.
#[must_use]
pub fn entries(octets: &[u8]) -> Entries<'_> {
    Entries(Reader::new(octets))
}

/// See [`entries`].
#[derive(Clone, Debug)]
pub struct Entries<'a>(Reader<'a>);

impl Iterator for Entries<'_> {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        loop {
            let number = self.0.u16()?;
            let _ = self.0.u16()?;
            let len = usize::try_from(self.0.u32()?).ok()?;
            let body = self.0.take(len)?;
            // The last one's padding may be missing.
            let _ = self.0.take(len.next_multiple_of(8) - len);
            if let Some(entry) = Entry::read(number, &mut Reader::new(body)) {
                return Some(entry);
            }
        }
    }
}

/// A journal's content.
#[derive(Clone, Copy, Debug)]
pub struct Journal<'a> {
    /// Process.
    pub pid: u32,
    /// Entries left out because there was no room.
    pub lost: u64,
    /// The octets of the entries.
    pub octets: &'a [u8],
}

impl<'a> Journal<'a> {
    /// Takes a journal apart; `None` if these bytes are none of this version.
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let mut head = Reader::new(bytes);
        if head.take(8)? != MAGIC || head.u32()? != VERSION {
            return None;
        }
        let pid = head.u32()?;
        let (whole, lost) = (head.u64()?, head.u64()?);
        let all = bytes.get(ENTRIES_AT..)?;
        let whole = usize::try_from(whole).unwrap_or(usize::MAX).min(all.len());
        Some(Self { pid, lost, octets: &all[..whole] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Entry> {
        let text = |s: &str| s.to_owned();
        vec![
            Entry::Process(Process {
                domid: 1,
                pid: 2,
                clock_offset: -3,
                started: 4,
                name: text("netfront"),
                program: text("/bin/pvlab"),
            }),
            Entry::Site(Site {
                id: 5,
                line: 6,
                name: text("xmit"),
                category: text("function"),
                module: text("frontend::queue"),
                file: text("queue.rs"),
                arg: text("bytes"),
                result: text(""),
            }),
            Entry::Ring(Ring {
                id: 7,
                half: Half::Back,
                in_order: true,
                size: 256,
                base: 0xffff_fffc,
                ticks: 8,
                name: text("vif1.0-q0-tx"),
            }),
            Entry::Ring(Ring { half: Half::Front, name: text("r"), ..Ring::default() }),
            Entry::Port(Port {
                id: 9,
                port: 10,
                remote: 0,
                allocator: 1,
                allocator_port: 11,
                ticks: 12,
                name: text("vif1.0-q0-tx"),
            }),
            Entry::Note(Note {
                ticks: 13,
                tid: 14,
                level: Level::Warn,
                kind: NoteKind::Begin,
                target: text("backend::connect"),
                words: text("vif broken"),
                fields: vec![(text("front"), text("1")), (text("lie"), text("ä"))],
            }),
            Entry::Anchor(Anchor { ticks: 1, monotonic_ns: 2, realtime_ns: 3, width: 4 }),
            Entry::Module(Module { base: 15, path: text("/p"), build_id: text("abcd") }),
            Entry::Function(Function { id: 16, address: 17, name: text("core::fmt::write") }),
        ]
    }

    #[test]
    fn entries_come_back_as_they_were_and_unknown_ones_are_passed_over() {
        let mut octets = Vec::new();
        for entry in all() {
            octets.extend(entry.to_bytes());
            octets.extend([0xff, 0xff, 0, 0, 3, 0, 0, 0, 1, 2, 3, 0, 0, 0, 0, 0]);
        }
        assert!(octets.len().is_multiple_of(8));
        assert_eq!(entries(&octets).collect::<Vec<_>>(), all());
    }

    #[test]
    fn a_later_version_may_add_fields() {
        let mut bytes = Entry::Anchor(Anchor::default()).to_bytes();
        bytes[4] += 8;
        bytes.extend([0xaa; 8]);
        bytes.extend(all()[0].to_bytes());
        assert_eq!(entries(&bytes).count(), 2);
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let octets: Vec<u8> = all().iter().flat_map(Entry::to_bytes).collect();
        for len in 0..octets.len() {
            let whole = entries(&octets[..len]).count();
            assert!(whole <= all().len());
        }
        for at in 0..octets.len() {
            let mut bad = octets.clone();
            bad[at] = !bad[at];
            let _ = entries(&bad).count();
        }
        assert!(Journal::parse(&octets).is_none(), "entries are no journal");
    }

    #[test]
    fn a_journal_ends_where_its_cursor_says() {
        let entry = all()[0].to_bytes();
        let mut bytes = vec![0; ENTRIES_AT];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[at::VERSION] = 1;
        bytes[at::PID] = 7;
        bytes[at::CURSOR..at::CURSOR + 8].copy_from_slice(&(entry.len() as u64).to_le_bytes());
        bytes[at::LOST] = 2;
        bytes.extend(&entry);
        bytes.extend(&entry);
        let journal = Journal::parse(&bytes).expect("a journal");
        assert_eq!((journal.pid, journal.lost), (7, 2));
        assert_eq!(entries(journal.octets).count(), 1);
        bytes[at::CURSOR + 7] = 0xff;
        assert_eq!(entries(Journal::parse(&bytes).expect("still one").octets).count(), 2);
    }
}
