//! One process's memory, as it was handed over, and what of it comes into a file.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt as _;

use super::Written;
use crate::format::buffer::{self, Buffer};
use crate::format::record::RECORD;
use crate::format::{Ended, Journal, TraceWriter, journal};

/// One process's memory.
#[derive(Debug)]
pub(super) struct Kin {
    pub(super) pid: u32,
    pub(super) journal: Option<File>,
    pub(super) threads: Vec<File>,
    /// Threads whose buffers were not taken any more.
    pub(super) refused: u64,
    pub(super) ended: Ended,
    /// It will hand over no more.
    pub(super) closed: bool,
}

impl Kin {
    pub(super) fn write(
        &self,
        to: &mut TraceWriter<impl Write>,
        written: &mut Written,
    ) -> io::Result<()> {
        let Some(journal) = &self.journal else { return Ok(()) };
        // A journal that is none, or cannot be read, comes from a process that is none of ours; it must
        // not cost the others their trace.
        let Ok(octets) = read(journal, journal_octets) else { return Ok(()) };
        let Some(journal) = Journal::parse(&octets) else { return Ok(()) };
        // Which process it is the kernel knows better.
        let journal = Journal { pid: self.pid, ..journal };
        to.process(&journal, self.ended)?;
        written.processes += 1;
        written.entries = written.entries.saturating_add(journal.lost);
        for thread in &self.threads {
            let Ok(octets) = read(thread, buffer_octets) else { continue };
            let Ok(mut buffer) = Buffer::parse(&octets) else { continue };
            buffer.info.pid = journal.pid;
            let records =
                buffer.records.iter().map(|part| part.len() / RECORD).sum::<usize>() as u64;
            written.records += records;
            written.lost = written.lost.saturating_add(buffer.info.lost);
            written.busy = written.busy.saturating_add(buffer.info.lost_busy);
            let older = buffer.info.written.saturating_sub(records);
            written.overwritten = written.overwritten.saturating_add(older);
            to.thread(&buffer)?;
        }
        Ok(())
    }
}

/// Reads the part of a memfd that is in use, which its first page tells.
fn read(file: &File, used: impl Fn(&[u8]) -> u64) -> io::Result<Vec<u8>> {
    let size = file.metadata()?.len();
    let mut head = vec![0; usize::try_from(size.min(4096)).unwrap_or(0)];
    // SYNC entries are whole: with the Release store in JournalWriter::append.
    file.read_exact_at(&mut head, 0)?;
    let len = used(&head).min(size);
    // SYNC records are whole: with the Release stores in `put` and `take_back` of a thread: this comes
    // to the cursor before it comes to the records.
    let mut all = vec![0; usize::try_from(len).map_err(io::Error::other)?];
    file.read_exact_at(&mut all, 0)?;
    Ok(all)
}

fn journal_octets(head: &[u8]) -> u64 {
    word(head, journal::at::CURSOR).saturating_add(journal::ENTRIES_AT as u64)
}

/// All slots are asked for, used or not: a buffer without them would be none.
fn buffer_octets(head: &[u8]) -> u64 {
    let records = word(head, buffer::at::CAPACITY);
    records.saturating_mul(RECORD as u64).saturating_add(buffer::RECORDS_AT as u64)
}

fn word(head: &[u8], at: usize) -> u64 {
    head.get(at..).and_then(|b| b.first_chunk()).map_or(0, |b| u64::from_le_bytes(*b))
}
