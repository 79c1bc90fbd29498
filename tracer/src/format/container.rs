//! The file: `NAME.pvtrace`, everything the host kept of a run, unaltered.
//!
//! ```text
//!   "PVTRACE\n"   u32 version, 1   u32 zero
//!   chunks:  4 octets type, u32 zero, u64 octets that follow, then those, padded to a multiple of 8
//! ```
//!
//! | type | how many | content |
//! |---|---|---|
//! | `CLOK` | 1, first | start and end anchor (each u64 ticks, monotonic ns, realtime ns, width), u64 steady, u64 event_ps, u64 read_ps |
//! | `RUN ` | 0 or 1 | text pairs: u16 number, then name and value of each |
//! | `PROC` | one for each process | u32 pid, u32 ended (0 unknown, 1 in good order, 2 died), u64 entries lost, then the entries of its journal |
//! | `THRD` | one for each thread, behind its process | u32 pid, u32 tid, u32 mode, u32 zero, u64 started, ended, written, lost, lost_busy, number of records, text name, padded to a multiple of 8, then the records, oldest first |
//! | `END ` | 1, last | nothing |
//!
//! A file without `END ` was cut off: what is there of it can be read, up to the last whole record or entry,
//! and says so. Chunks of other types are passed over. Multi-octet numbers are little-endian.

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::buffer::{Buffer, Full, Records, ThreadInfo, records};
use super::bytes::{Reader, Writer};
use super::clock::Clock;
use super::cut::CutOff;
use super::journal::{Entries, Journal, entries};
use super::record::RECORD;

/// How a file begins.
pub const MAGIC: [u8; 8] = *b"PVTRACE\n";
/// Version of the layout.
pub const VERSION: u32 = 1;
/// What the name of a file ends with.
pub const EXTENSION: &str = "pvtrace";

/// Why a file is not read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Unreadable {
    /// It has no bytes.
    Empty,
    /// It begins like something else; here is what it looks like.
    Foreign(&'static str),
    /// It is of a later version.
    Version(u32),
    /// It contradicts itself, at this octet.
    Corrupt(usize, &'static str),
}

impl std::fmt::Display for Unreadable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Empty => write!(f, "it is empty"),
            Self::Foreign(what) => write!(f, "it is no pvtrace file but looks like {what}"),
            Self::Version(version) => {
                write!(f, "it is of version {version}, this program knows version {VERSION}")
            }
            Self::Corrupt(at, what) => write!(f, "it is damaged at octet {at}: {what}"),
        }
    }
}

impl std::error::Error for Unreadable {}

/// How a process ended, as the host saw it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[repr(u32)]
pub enum Ended {
    /// It was still there.
    #[default]
    Unknown = 0,
    /// It said goodbye.
    Well = 1,
    /// It was killed, or crashed.
    Died = 2,
}

/// One thread of a trace.
#[derive(Clone, Debug)]
pub struct Thread<'a> {
    /// Who it is, and what is missing.
    pub info: ThreadInfo,
    /// Records behind the last one that the file was cut off before.
    pub missing: u64,
    octets: &'a [u8],
}

impl<'a> Thread<'a> {
    /// Its records, oldest first.
    #[must_use]
    pub fn records(&self) -> Records<'a> {
        records(self.octets)
    }

    /// The octets of its records, 16 each.
    #[must_use]
    pub fn octets(&self) -> &'a [u8] {
        self.octets
    }

    /// Records that were overwritten before the first one.
    #[must_use]
    pub fn overwritten(&self) -> u64 {
        let kept = self.missing.saturating_add(self.len());
        self.info.written.saturating_sub(kept)
    }

    fn len(&self) -> u64 {
        (self.octets.len() / RECORD) as u64
    }
}

/// One process of a trace.
#[derive(Clone, Debug)]
pub struct Process<'a> {
    /// Its number.
    pub pid: u32,
    /// How it ended.
    pub ended: Ended,
    /// Entries that its journal had no room for.
    pub lost: u64,
    /// Its threads.
    pub threads: Vec<Thread<'a>>,
    journal: &'a [u8],
}

impl<'a> Process<'a> {
    /// What its journal says.
    #[must_use]
    pub fn journal(&self) -> Entries<'a> {
        entries(self.journal)
    }
}

/// A file, taken apart. Records and journals stay where they are and are decoded when asked for.
#[derive(Clone, Debug)]
pub struct Trace<'a> {
    /// The clock of all stamps.
    pub clock: Clock,
    /// What was run: names and values.
    pub run: Vec<(String, String)>,
    /// The processes, in the order in which they began.
    pub processes: Vec<Process<'a>>,
    /// The file was cut off, and this is what there is of it.
    pub cut_off: Option<CutOff>,
}

impl<'a> Trace<'a> {
    /// Takes a file apart. Whatever the bytes are, there is an answer and no panic.
    ///
    /// # Errors
    /// If they are not a trace, or one that contradicts itself. One that merely ends early is read as
    /// far as it goes, see [`cut_off`](Self::cut_off).
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Unreadable> {
        let mut from = Reader::new(bytes);
        recognise(bytes, &mut from)?;
        let mut trace = Parts::default();
        let mut cut_off = None;
        loop {
            let at = bytes.len() - from.rest().len();
            match chunk(&mut from) {
                Some(Chunk { kind: b"END ", whole: true, .. }) => break,
                Some(chunk) if chunk.whole => {
                    trace.take(&chunk).map_err(|what| Unreadable::Corrupt(at, what))?;
                }
                part => {
                    cut_off = Some(trace.cut(at, part.as_ref()));
                    break;
                }
            }
        }
        let clock = trace.clock.ok_or(Unreadable::Corrupt(16, "it has no clock"))?;
        Ok(Self { clock, run: trace.run, processes: trace.processes, cut_off })
    }

    /// All threads.
    pub fn threads(&self) -> impl Iterator<Item = &Thread<'a>> {
        self.processes.iter().flat_map(|p| &p.threads)
    }
}

fn recognise(bytes: &[u8], from: &mut Reader<'_>) -> Result<(), Unreadable> {
    if bytes.is_empty() {
        return Err(Unreadable::Empty);
    }
    let begins = from.take(MAGIC.len()).unwrap_or(bytes);
    if begins != MAGIC {
        return Err(Unreadable::Foreign(match begins {
            [b'{' | b'[', ..] => "JSON",
            [0x1f, 0x8b, ..] => "a gzip file",
            [0x7f, b'E', b'L', b'F', ..] => "a program",
            [0x0a, ..] => "a Perfetto trace",
            _ => "something else",
        }));
    }
    match (from.u32(), from.u32()) {
        (Some(VERSION), Some(_)) => Ok(()),
        (Some(version), Some(_)) => Err(Unreadable::Version(version)),
        _ => Err(Unreadable::Corrupt(MAGIC.len(), "it ends in its first line")),
    }
}

/// A chunk, or what there is of the last one.
struct Chunk<'a> {
    kind: &'a [u8; 4],
    body: &'a [u8],
    whole: bool,
}

/// The next chunk; `None` if not even its length is there.
fn chunk<'a>(from: &mut Reader<'a>) -> Option<Chunk<'a>> {
    let kind = from.take(4)?.first_chunk()?;
    let _ = from.u32()?;
    let len = usize::try_from(from.u64()?).unwrap_or(usize::MAX);
    let Some(body) = from.take(len) else {
        return Some(Chunk { kind, body: from.rest(), whole: false });
    };
    let _ = from.take(len.next_multiple_of(8) - len);
    Some(Chunk { kind, body, whole: true })
}

#[derive(Default)]
struct Parts<'a> {
    clock: Option<Clock>,
    run: Vec<(String, String)>,
    processes: Vec<Process<'a>>,
    /// Where in `processes` each is.
    at: BTreeMap<u32, usize>,
}

impl<'a> Parts<'a> {
    fn take(&mut self, chunk: &Chunk<'a>) -> Result<(), &'static str> {
        let mut from = Reader::new(chunk.body);
        match chunk.kind {
            b"CLOK" => {
                self.clock = Some(Clock::read(&mut from).ok_or("a clock that is cut off")?);
            }
            b"RUN " => self.run = read_run(&mut from).ok_or("a description that is cut off")?,
            b"PROC" => {
                let process = read_process(&mut from).ok_or("a process that is cut off")?;
                if self.at.insert(process.pid, self.processes.len()).is_some() {
                    return Err("the same process twice");
                }
                self.processes.push(process);
            }
            b"THRD" => {
                let thread = read_thread(&mut from).ok_or("a thread that is cut off")?;
                if chunk.whole && thread.missing > 0 {
                    return Err("a thread that is cut off");
                }
                let process = self.at.get(&thread.info.pid).ok_or("a thread without a process")?;
                self.processes[*process].threads.push(thread);
            }
            _ => {}
        }
        Ok(())
    }

    /// The file ends in this chunk, or before it: what can be read of it is taken all the same.
    fn cut(&mut self, at: usize, part: Option<&Chunk<'a>>) -> CutOff {
        if let Some(part) = part {
            let _ = self.take(part);
        }
        let threads = || self.processes.iter().flat_map(|process| &process.threads);
        let within = threads().find(|thread| thread.missing > 0);
        CutOff {
            at,
            processes: self.processes.len(),
            threads: threads().filter(|thread| thread.missing == 0).count(),
            within: within.map(|thread| (thread.len(), thread.len() + thread.missing)),
        }
    }
}

fn read_run(from: &mut Reader<'_>) -> Option<Vec<(String, String)>> {
    let count = from.u16()?;
    (0..count).map(|_| Some((from.text()?, from.text()?))).collect()
}

fn read_process<'a>(from: &mut Reader<'a>) -> Option<Process<'a>> {
    let pid = from.u32()?;
    let ended = match from.u32()? {
        1 => Ended::Well,
        2 => Ended::Died,
        _ => Ended::Unknown,
    };
    let lost = from.u64()?;
    Some(Process { pid, ended, lost, threads: Vec::new(), journal: from.rest() })
}

fn read_thread<'a>(from: &mut Reader<'a>) -> Option<Thread<'a>> {
    let begin = from.rest().len();
    let (pid, tid) = (from.u32()?, from.u32()?);
    let full = Full::from_number(from.u32()?)?;
    let _ = from.u32()?;
    let (started, ended) = (from.u64()?, from.u64()?);
    let (written, lost, lost_busy, count) = (from.u64()?, from.u64()?, from.u64()?, from.u64()?);
    let name = from.text()?;
    let read = begin - from.rest().len();
    from.take(read.next_multiple_of(8) - read)?;
    let there = (from.rest().len() / RECORD) as u64;
    let octets = from.take(usize::try_from(there.min(count)).ok()? * RECORD)?;
    let info = ThreadInfo { pid, tid, name, started, ended, full, written, lost, lost_busy };
    Some(Thread { info, missing: count.saturating_sub(there), octets })
}

/// Writes a file, chunk by chunk.
#[derive(Debug)]
pub struct TraceWriter<W> {
    to: W,
}

impl<W: Write> TraceWriter<W> {
    /// Begins a file.
    ///
    /// # Errors
    /// As writing to `to`, here and in all methods.
    pub fn new(mut to: W, clock: &Clock, run: &[(String, String)]) -> io::Result<Self> {
        let mut head = Writer::default();
        head.bytes(&MAGIC).u32(VERSION).u32(0);
        to.write_all(&head.0)?;
        let mut me = Self { to };
        let mut body = Writer::default();
        clock.write(&mut body);
        me.chunk(b"CLOK", &body.0, [&[], &[]])?;
        let mut body = Writer::default();
        body.u16(u16::try_from(run.len()).unwrap_or(u16::MAX));
        for (name, value) in run.iter().take(u16::MAX.into()) {
            body.text(name).text(value);
        }
        me.chunk(b"RUN ", &body.0, [&[], &[]])?;
        Ok(me)
    }

    /// A process, before its threads.
    ///
    /// # Errors
    /// See [`new`](Self::new).
    pub fn process(&mut self, journal: &Journal<'_>, ended: Ended) -> io::Result<()> {
        let mut head = Writer::default();
        head.u32(journal.pid).u32(ended as u32).u64(journal.lost);
        self.chunk(b"PROC", &head.0, [journal.octets, &[]])
    }

    /// A thread of a process that has been written.
    ///
    /// # Errors
    /// See [`new`](Self::new).
    pub fn thread(&mut self, buffer: &Buffer<'_>) -> io::Result<()> {
        let info = &buffer.info;
        let octets = buffer.records.iter().map(|part| part.len()).sum::<usize>();
        let mut head = Writer::default();
        head.u32(info.pid).u32(info.tid).u32(info.full as u32).u32(0);
        head.u64(info.started).u64(info.ended).u64(info.written).u64(info.lost);
        head.u64(info.lost_busy).u64((octets / RECORD) as u64).text(&info.name).pad();
        self.chunk(b"THRD", &head.0, buffer.records)
    }

    /// Ends the file.
    ///
    /// # Errors
    /// See [`new`](Self::new).
    pub fn finish(mut self) -> io::Result<W> {
        self.chunk(b"END ", &[], [&[], &[]])?;
        self.to.flush()?;
        Ok(self.to)
    }

    fn chunk(&mut self, kind: &[u8; 4], head: &[u8], body: [&[u8]; 2]) -> io::Result<()> {
        let len = head.len() + body[0].len() + body[1].len();
        self.to.write_all(kind)?;
        self.to.write_all(&[0; 4])?;
        self.to.write_all(&(len as u64).to_le_bytes())?;
        for part in [head, body[0], body[1]] {
            self.to.write_all(part)?;
        }
        self.to.write_all(&[0; 8][..len.next_multiple_of(8) - len])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::journal::{self, Entry};
    use crate::format::record::{Event, Record};

    fn octets(count: u32) -> Vec<u8> {
        (0..count)
            .flat_map(|n| Record::new(n.into(), Event::Enter { site: 1, arg: n }).to_bytes())
            .collect()
    }

    fn file() -> Vec<u8> {
        let clock = Clock { event_ps: 12_000, ..Clock::default() };
        let run = [("command".to_owned(), "pvlab net".to_owned())];
        let mut w = TraceWriter::new(Vec::new(), &clock, &run).expect("a Vec takes everything");
        for pid in [10, 11] {
            let entry = Entry::Process(journal::Process { pid, ..Default::default() }).to_bytes();
            w.process(&Journal { pid, lost: 0, octets: &entry }, Ended::Died).expect("written");
            let info = ThreadInfo { pid, tid: pid, written: 7, ..Default::default() };
            let (old, new) = (octets(2), octets(3));
            w.thread(&Buffer { info, records: [&old, &new] }).expect("written");
        }
        w.finish().expect("written")
    }

    #[test]
    fn a_file_comes_back_as_it_was() {
        let file = file();
        let trace = Trace::parse(&file).expect("a trace");
        assert_eq!(trace.cut_off, None);
        assert_eq!(trace.clock.event_ps, 12_000);
        assert_eq!(trace.run[0].1, "pvlab net");
        assert_eq!(trace.processes.iter().map(|p| p.pid).collect::<Vec<_>>(), [10, 11]);
        for process in &trace.processes {
            assert_eq!((process.ended, process.journal().count()), (Ended::Died, 1));
            let thread = &process.threads[0];
            assert_eq!((thread.records().len(), thread.overwritten()), (5, 2));
            let stamps: Vec<u64> = thread.records().map(|r| r.ticks).collect();
            assert_eq!(stamps, [0, 1, 0, 1, 2]);
        }
    }

    #[test]
    fn a_file_that_ends_early_is_read_as_far_as_it_goes() {
        let file = file();
        for len in 0..file.len() {
            match Trace::parse(&file[..len]) {
                Ok(trace) => {
                    let cut = trace.cut_off.unwrap_or_else(|| panic!("{len} octets"));
                    assert_eq!(cut.processes, trace.processes.len());
                    assert_eq!(
                        cut.threads + usize::from(cut.within.is_some()),
                        trace.threads().count()
                    );
                    assert!(trace.threads().all(|thread| thread.overwritten() == 2), "{len}");
                }
                Err(_) => assert!(len < 200, "cut at {len}"),
            }
        }
    }

    #[test]
    fn of_a_thread_that_ends_early_there_is_what_was_written() {
        let file = file();
        // The end is 16 octets, and so is each record before it.
        for (gone, within) in
            [(16, None), (17, Some((4, 5))), (32, Some((4, 5))), (48, Some((3, 5)))]
        {
            let trace = Trace::parse(&file[..file.len() - gone]).expect("a trace");
            let cut = trace.cut_off.expect("cut off");
            let threads = if within.is_some() { 1 } else { 2 };
            assert_eq!((cut.processes, cut.threads, cut.within), (2, threads, within), "{gone}");
            let last = &trace.processes[1].threads[0];
            assert_eq!(last.records().len() as u64, within.map_or(5, |(there, _)| there));
        }
        let whole = Trace::parse(&file[..file.len() - 16]).expect("a trace").cut_off;
        let words = whole.expect("its end is missing").to_string();
        assert!(words.contains("2 processes and 2 whole threads; what came"), "{words}");
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let file = file();
        for at in 0..file.len() {
            for bits in [1, 0x80, 0xff] {
                let mut bad = file.clone();
                bad[at] ^= bits;
                if let Ok(trace) = Trace::parse(&bad) {
                    let _ = trace.threads().flat_map(Thread::records).count();
                    let _ = trace.processes.iter().flat_map(Process::journal).count();
                }
            }
        }
    }

    #[test]
    fn what_is_no_trace_is_called_what_it_is() {
        let why = |bytes: &[u8]| Trace::parse(bytes).expect_err("no trace").to_string();
        assert_eq!(why(b""), "it is empty");
        assert!(why(b"{\"traceEvents\":[]}").ends_with("JSON"));
        assert!(why(b"\x1f\x8b\x08").ends_with("a gzip file"));
        assert!(why(b"hello, world").ends_with("something else"));
        assert!(why(b"PVTRACE\n\x09\0\0\0\0\0\0\0").contains("version 9"));
        assert!(why(b"PVTRACE\n").contains("damaged at octet 8"));
        assert!(why(b"PVTRACE\n\x01\0\0\0\0\0\0\0").contains("no clock"));
    }
}
