//! A thread's buffer: the memfd that the thread writes records into and the host keeps.
//!
//! ```text
//! octet   0  "PVTHREAD"
//!         8  u32  version, 1
//!        12  u32  octet where the records begin, 4096
//!        16  u64  records it can hold, a power of two
//!        24  u32  mode: 1 stop when full, 2 overwrite the oldest
//!        28  u32  process
//!        32  u32  thread
//!        36  u32  state: 0 lives, 1 has ended
//!        40  u64  ticks when it began
//!        48  u64  ticks when it ended, or 0
//!        56  32 octets  the thread's name, NUL-padded
//!       128  u64  cursor: records written so far; the last at (cursor - 1) modulo the capacity
//!       136  u64  events left out because the buffer was full
//!       144  u64  events left out because they came, in a signal handler, in the middle of another
//!      4096  the records, 16 octets each
//! ```
//!
//! A record is written first and the cursor moved then (Release), so that whatever ends the thread
//! loses at most the record it was writing. A span that turns out to be empty moves the cursor back:
//! when overwriting, that has spoilt the oldest [`SPOILT`] records at most, which are not read.

use super::bytes::Reader;
use super::record::{RECORD, Record};

/// How a buffer begins.
pub const MAGIC: [u8; 8] = *b"PVTHREAD";
/// Version of the layout.
pub const VERSION: u32 = 1;
/// Octet where the records begin.
pub const RECORDS_AT: usize = 4096;
/// The oldest records of a buffer that goes round, which are not to be trusted.
pub const SPOILT: u64 = 64;

/// Octets of the header's words, for the one who writes them.
pub(crate) mod at {
    pub(crate) const VERSION: usize = 8;
    pub(crate) const RECORDS: usize = 12;
    pub(crate) const CAPACITY: usize = 16;
    pub(crate) const MODE: usize = 24;
    pub(crate) const PID: usize = 28;
    pub(crate) const TID: usize = 32;
    pub(crate) const STATE: usize = 36;
    pub(crate) const STARTED: usize = 40;
    pub(crate) const ENDED: usize = 48;
    pub(crate) const NAME: usize = 56;
    pub(crate) const NAME_LEN: usize = 32;
    pub(crate) const CURSOR: usize = 128;
    pub(crate) const LOST: usize = 136;
    pub(crate) const LOST_BUSY: usize = 144;
}

/// What is done when a buffer is full.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u32)]
pub enum Full {
    /// Nothing more is recorded: the beginning is kept.
    #[default]
    Stop = 1,
    /// The oldest records are overwritten: the end is kept.
    Overwrite = 2,
}

impl Full {
    /// The one with this number.
    #[must_use]
    pub fn from_number(n: u32) -> Option<Self> {
        [Self::Stop, Self::Overwrite].into_iter().find(|&mode| mode as u32 == n)
    }
}

/// What a buffer says of its thread.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ThreadInfo {
    /// Process.
    pub pid: u32,
    /// Thread.
    pub tid: u32,
    /// What it is called.
    pub name: String,
    /// When it began to record. Ticks.
    pub started: u64,
    /// When it ended in good order; 0 if it did not. Ticks.
    pub ended: u64,
    /// What was done when its buffer was full.
    pub full: Full,
    /// Records it wrote; some may have been overwritten.
    pub written: u64,
    /// Events left out because the buffer was full, all after the last record.
    pub lost: u64,
    /// Events left out because they came in the middle of another.
    pub lost_busy: u64,
}

/// Why bytes are no buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoBuffer;

/// A buffer's content, in the order of time.
#[derive(Clone, Debug)]
pub struct Buffer<'a> {
    /// Of which thread.
    pub info: ThreadInfo,
    /// Octets of the older records, then those of the newer.
    pub records: [&'a [u8]; 2],
}

impl<'a> Buffer<'a> {
    /// Takes a buffer apart.
    ///
    /// # Errors
    /// If these bytes are none of this version.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, NoBuffer> {
        Self::read(bytes).ok_or(NoBuffer)
    }

    fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut head = Reader::new(bytes);
        if head.take(8)? != MAGIC || head.u32()? != VERSION {
            return None;
        }
        let records_at = usize::try_from(head.u32()?).ok()?;
        let capacity = head.u64()?;
        let full = Full::from_number(head.u32()?)?;
        let (pid, tid, _state) = (head.u32()?, head.u32()?, head.u32()?);
        let (started, ended) = (head.u64()?, head.u64()?);
        let name = head.take(at::NAME_LEN)?.split(|&b| b == 0).next()?;
        let mut words = Reader::new(bytes.get(at::CURSOR..)?);
        let (written, lost, lost_busy) = (words.u64()?, words.u64()?, words.u64()?);
        let all = bytes.get(records_at..)?;
        let room = usize::try_from(capacity).ok()?.checked_mul(RECORD)?;
        let all = all.get(..room).filter(|_| capacity.is_power_of_two())?;
        let name = String::from_utf8_lossy(name).into_owned();
        let info = ThreadInfo { pid, tid, name, started, ended, full, written, lost, lost_busy };
        Some(Self { info, records: in_order(all, capacity, written, full) })
    }
}

/// The records that are there, oldest first.
fn in_order(all: &[u8], capacity: u64, written: u64, full: Full) -> [&[u8]; 2] {
    let octets =
        |records: u64| usize::try_from(records).unwrap_or(usize::MAX).saturating_mul(RECORD);
    if full == Full::Stop || written.saturating_add(SPOILT) <= capacity {
        return [&all[..octets(written.min(capacity))], &[]];
    }
    if written <= capacity {
        // Not round yet, but what is being written, or was taken back, may lie at the beginning.
        let spoilt = (written + SPOILT - capacity).min(written);
        return [&all[octets(spoilt)..octets(written)], &[]];
    }
    let oldest = written.wrapping_add(SPOILT.min(capacity)) & (capacity - 1);
    let next = written & (capacity - 1);
    if SPOILT >= capacity {
        [&[], &[]]
    } else if oldest <= next {
        [&all[octets(oldest)..octets(next)], &[]]
    } else {
        [&all[octets(oldest)..], &all[..octets(next)]]
    }
}

/// Records out of octets. What is left over, less than a record, is ignored.
#[must_use]
pub fn records(octets: &[u8]) -> Records<'_> {
    Records(octets.as_chunks().0.iter())
}

/// See [`records`].
#[derive(Clone, Debug)]
pub struct Records<'a>(std::slice::Iter<'a, [u8; RECORD]>);

impl Iterator for Records<'_> {
    type Item = Record;

    #[inline]
    fn next(&mut self) -> Option<Record> {
        self.0.next().map(Record::from_bytes)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }

    fn nth(&mut self, n: usize) -> Option<Record> {
        self.0.nth(n).map(Record::from_bytes)
    }
}

impl DoubleEndedIterator for Records<'_> {
    fn next_back(&mut self) -> Option<Record> {
        self.0.next_back().map(Record::from_bytes)
    }
}

impl ExactSizeIterator for Records<'_> {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::record::Event;

    fn buffer(capacity: u64, full: Full, written: u64) -> Vec<u8> {
        let mut bytes = vec![0; RECORDS_AT + usize::try_from(capacity).unwrap() * RECORD];
        let mut put = |at: usize, with: &[u8]| bytes[at..at + with.len()].copy_from_slice(with);
        put(0, &MAGIC);
        put(at::VERSION, &VERSION.to_le_bytes());
        put(at::RECORDS, &u32::try_from(RECORDS_AT).unwrap().to_le_bytes());
        put(at::CAPACITY, &capacity.to_le_bytes());
        put(at::MODE, &(full as u32).to_le_bytes());
        put(at::PID, &7_u32.to_le_bytes());
        put(at::TID, &8_u32.to_le_bytes());
        put(at::NAME, b"worker-0");
        put(at::CURSOR, &written.to_le_bytes());
        let stop = if full == Full::Stop { written.min(capacity) } else { written };
        for n in 0..stop {
            let record = Record::new(n + 1, Event::FunctionEnter(3));
            let slot = usize::try_from(n % capacity).unwrap();
            put(RECORDS_AT + slot * RECORD, &record.to_bytes());
        }
        bytes
    }

    fn stamps(bytes: &[u8]) -> Vec<u64> {
        let buffer = Buffer::parse(bytes).expect("a buffer");
        assert_eq!((buffer.info.pid, buffer.info.tid), (7, 8));
        assert_eq!(buffer.info.name, "worker-0");
        buffer.records.into_iter().flat_map(records).map(|r| r.ticks).collect()
    }

    #[test]
    fn a_buffer_that_stops_keeps_the_beginning() {
        assert_eq!(stamps(&buffer(128, Full::Stop, 0)), []);
        assert_eq!(stamps(&buffer(128, Full::Stop, 3)), [1, 2, 3]);
        assert_eq!(stamps(&buffer(128, Full::Stop, 128)).len(), 128);
        assert_eq!(stamps(&buffer(128, Full::Stop, 4000)).len(), 128);
    }

    #[test]
    fn a_buffer_that_goes_round_keeps_the_end_in_order() {
        for written in 0..400 {
            let oldest = (written + SPOILT).saturating_sub(128);
            let expected: Vec<u64> = (oldest + 1..=written).collect();
            assert_eq!(stamps(&buffer(128, Full::Overwrite, written)), expected);
        }
        assert_eq!(stamps(&buffer(32, Full::Overwrite, 100)), [], "smaller than what is spoilt");
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let good = buffer(128, Full::Overwrite, 1000);
        assert!(Buffer::parse(&[]).is_err());
        for len in 0..RECORDS_AT + 8 {
            assert!(Buffer::parse(&good[..len]).is_err());
        }
        for at in 0..160 {
            for bits in [0x01, 0x80, 0xff] {
                let mut bad = good.clone();
                bad[at] ^= bits;
                if let Ok(buffer) = Buffer::parse(&bad) {
                    let _ = buffer.records.into_iter().flat_map(records).map(Record::event).count();
                }
            }
        }
    }
}
