//! One job: which block is next, what was written to it last, and whether what was read is that.

use std::time::{Duration, Instant};

use super::block::{Found, look, stamp};
use super::saved::Saved;
use crate::config::{BlkConfig, Rw};
use crate::units::{float, round_u64};

/// Blocks whose writes are remembered, at most: a quarter of a gigabyte of counters. The backend says how
/// long the disk is, and must not decide how much memory we take.
const MOST: u64 = 1 << 26;

/// A job's part of the disk.
#[derive(Debug)]
pub(super) struct Stream {
    /// First byte.
    start: u64,
    blocks: u64,
    bs: u64,
    next: u64,
    random: u64,
    rw: Rw,
    reads_of_256: u64,
    seed: u64,
    /// For each block, its last write that was answered; empty where nothing is checked.
    written: Vec<u32>,
    /// What would survive, where backends die and take unsaved writes along.
    saved: Option<Saved>,
    /// Blocks in flight: two operations on one block would have no order.
    busy: Vec<u64>,
    zeros_first: bool,
    fsync: u32,
    since_flush: u32,
    /// Operations per second, and what has been begun since when.
    rate: Option<f64>,
    began: Option<Instant>,
    begun: u64,
    /// What keeps the next operation is the rate, and nothing else.
    early: bool,
}

/// What to do next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Next {
    Read(u64),
    Write(u64),
    Flush,
    /// Nothing now: the block that is next is in flight, or it would be too fast.
    Wait,
}

impl Stream {
    /// The `index`-th of `count` jobs on a disk of so many bytes.
    pub(super) fn new(config: &BlkConfig, index: u64, count: u64, bytes: u64) -> Self {
        let bs = config.bs as u64;
        let verify = config.run.verify;
        let blocks = (bytes / count.max(1)) / bs;
        let blocks = if verify { blocks.min(MOST) } else { blocks }.max(1);
        let seed = config.run.seed;
        let remembered = if verify { usize::try_from(blocks).unwrap_or(0) } else { 0 };
        let ordered = verify || config.rw.writes();
        let bits = blocks.min(MOST).next_power_of_two();
        let words = if ordered { usize::try_from(bits.div_ceil(64)).unwrap_or(0) } else { 0 };
        Self {
            start: index * (bytes / count.max(1) / bs * bs),
            blocks,
            bs,
            next: 0,
            random: (seed ^ (index + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)) | 1,
            rw: config.rw,
            reads_of_256: u64::from(config.rwmixread) * 256 / 100,
            seed,
            written: vec![0; remembered],
            saved: (verify && config.disk.disk.forgets()).then(|| Saved::new(remembered)),
            busy: vec![0; words],
            zeros_first: config.disk.disk.starts_as_zeros() && !config.disk.used,
            fsync: config.fsync,
            since_flush: 0,
            rate: config.rate_iops,
            began: None,
            begun: 0,
            early: false,
        }
    }

    #[inline]
    fn chance(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    /// From here on what was written is read again. Says how many blocks that is.
    pub(super) fn read_back(&mut self) -> u64 {
        self.next = 0;
        self.written.iter().filter(|&&last| last > 0).count() as u64
    }

    /// The next block that was written, for reading it again; taken.
    pub(super) fn next_back(&mut self) -> Next {
        let from = usize::try_from(self.next).unwrap_or(usize::MAX);
        let rest = self.written.get(from..).unwrap_or_default();
        let Some(ahead) = rest.iter().position(|&last| last > 0) else {
            self.next = self.blocks;
            return Next::Wait;
        };
        let block = self.next + ahead as u64;
        if !self.take(block) {
            return Next::Wait;
        }
        self.next = block + 1;
        Next::Read(block)
    }

    /// Decides what is next, and takes the block.
    #[inline]
    pub(super) fn next(&mut self, now: Instant) -> Next {
        if let Some(rate) = self.rate {
            let began = *self.began.get_or_insert(now);
            let due = now.duration_since(began).as_secs_f64() * rate;
            self.early = self.begun > round_u64(due).unwrap_or(u64::MAX);
            if self.early {
                return Next::Wait;
            }
        }
        if self.fsync > 0 && self.since_flush >= self.fsync {
            self.since_flush = 0;
            return Next::Flush;
        }
        let Some(block) = self.pick() else { return Next::Wait };
        self.begun += 1;
        let reads = match self.rw {
            Rw::Read | Rw::RandRead => true,
            Rw::Write | Rw::RandWrite => false,
            Rw::RandRw => (self.chance() >> 32) & 0xff < self.reads_of_256,
        };
        if reads {
            Next::Read(block)
        } else {
            self.since_flush += 1;
            Next::Write(block)
        }
    }

    /// A block that is not in flight; marked as in flight.
    #[inline]
    fn pick(&mut self) -> Option<u64> {
        // Usually the first try: a disk has many more blocks than are in flight.
        for _ in 0..8 {
            let block = if self.rw.sequential() {
                self.next
            } else {
                let wide = u128::from(self.chance()) * u128::from(self.blocks);
                u64::try_from(wide >> 64).unwrap_or(0)
            };
            if self.take(block) {
                self.next = (block + 1) % self.blocks;
                return Some(block);
            }
            if self.rw.sequential() {
                return None;
            }
        }
        None
    }

    /// Where it stands whether a block is in flight: the word and the bit. On a disk of more blocks than
    /// there are bits, those that share one count as one. Nowhere if nobody asks.
    #[inline]
    fn place(&mut self, block: u64) -> Option<(&mut u64, u64)> {
        // There are as many words as a power of two.
        let mask = self.busy.len().wrapping_sub(1);
        let word = self.busy.get_mut(usize::try_from(block / 64).unwrap_or(0) & mask)?;
        Some((word, 1 << (block % 64)))
    }

    #[inline]
    fn take(&mut self, block: u64) -> bool {
        let Some((word, bit)) = self.place(block) else { return true };
        let free = *word & bit == 0;
        *word |= bit;
        free
    }

    /// The operation on a block is over.
    #[inline]
    pub(super) fn release(&mut self, block: u64) {
        if let Some((word, bit)) = self.place(block) {
            *word &= !bit;
        }
    }

    /// First byte of a block.
    #[inline]
    pub(super) fn offset(&self, block: u64) -> u64 {
        self.start + block * self.bs
    }

    /// Whether blocks are stamped and checked.
    pub(super) fn verifies(&self) -> bool {
        !self.written.is_empty()
    }

    fn generation(&self, block: u64) -> u32 {
        usize::try_from(block).ok().and_then(|at| self.written.get(at)).copied().unwrap_or(0)
    }

    /// Writes what is to be written to a block next.
    pub(super) fn fill(&self, block: u64, bytes: &mut [u8]) {
        stamp(bytes, self.seed, self.offset(block), u64::from(self.generation(block)) + 1);
    }

    /// A write of a block was answered.
    pub(super) fn wrote(&mut self, block: u64) {
        let Ok(at) = usize::try_from(block) else { return };
        let Some(last) = self.written.get_mut(at) else { return };
        *last = last.wrapping_add(1);
        if let Some(saved) = &mut self.saved {
            saved.wrote(at, *last);
        }
    }

    /// A flush was begun.
    pub(super) fn flush_begins(&mut self, tag: u32) {
        if let Some(saved) = &mut self.saved {
            saved.flush_begins(tag);
        }
    }

    /// A flush is over.
    pub(super) fn flushed(&mut self, tag: u32, good: bool) {
        if let Some(saved) = &mut self.saved {
            saved.flushed(tag, good);
        }
    }

    /// Another backend has taken the place of one that died.
    pub(super) fn backend_died(&mut self) {
        if let Some(saved) = &mut self.saved {
            saved.backend_died();
        }
    }

    /// What was read from a block may be an older write than the last, if its backend died before a flush
    /// saved that one: then that is what the block holds from now on.
    fn settle_unsure(&mut self, block: u64, found: Found) {
        let (Ok(at), Some(saved)) = (usize::try_from(block), &mut self.saved) else { return };
        let Some(oldest) = saved.oldest(at) else { return };
        let holds = match found {
            Found::Write(got) => u32::try_from(got).unwrap_or(u32::MAX),
            _ => 0,
        };
        // Where nothing was ever saved, an earlier run's block is there again.
        let holds = if oldest == 0 && holds > self.written[at] { 0 } else { holds };
        if (oldest..=self.written[at]).contains(&holds) {
            self.written[at] = holds;
            saved.found(at, holds);
        }
    }

    /// A write of a block failed: what stands there now is anybody's guess.
    pub(super) fn spoil(&mut self, block: u64) {
        if let Some(last) = usize::try_from(block).ok().and_then(|at| self.written.get_mut(at)) {
            *last = 0;
            self.zeros_first = false;
        }
    }

    /// Checks what was read from a block. How many bytes could be checked, or what is wrong.
    pub(super) fn check(&mut self, block: u64, bytes: &[u8]) -> Result<u64, String> {
        let offset = self.offset(block);
        let found = look(bytes, self.seed, offset);
        self.settle_unsure(block, found);
        let expected = self.generation(block);
        let right = match (found, expected) {
            (Found::Write(got), n) if n > 0 => got == u64::from(n),
            // What others have left there cannot be checked.
            (Found::Zeros | Found::Foreign | Found::Torn, 0) if !self.zeros_first => return Ok(0),
            (Found::Zeros, 0) => true,
            (Found::Write(_), 0) => !self.zeros_first,
            _ => false,
        };
        if right {
            return Ok(bytes.len() as u64);
        }
        let found = match found {
            Found::Write(n) => format!("write {n} of it"),
            Found::Zeros => "zeros".to_owned(),
            Found::Foreign => "something that was never written".to_owned(),
            Found::Elsewhere(place) => format!("the block of byte {place}"),
            Found::Torn => "a torn block".to_owned(),
        };
        Err(format!("byte {offset}: {found} instead of write {expected}"))
    }

    /// The backend does not flush: nobody asks for it any more.
    pub(super) fn no_more_flushes(&mut self) {
        self.fsync = 0;
    }

    /// How long until the rate allows the next operation, if it was the rate that did not.
    pub(super) fn due_in(&self, now: Instant) -> Option<Duration> {
        let (rate, began) = (self.rate.filter(|_| self.early)?, self.began?);
        let due = float(self.begun) / rate - now.duration_since(began).as_secs_f64();
        Some(Duration::try_from_secs_f64(due.max(0.0)).unwrap_or(Duration::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::DiskConfig;

    /// A backend may claim any length.
    #[test]
    fn the_longest_disk_there_is_takes_little_memory() {
        let config = BlkConfig { rw: Rw::RandWrite, ..BlkConfig::default() };
        for verify in [false, true] {
            let run = crate::config::RunConfig { verify, ..config.run.clone() };
            let config = BlkConfig { run, ..config.clone() };
            let mut stream = Stream::new(&config, 0, 1, u64::MAX / 512 * 512);
            let bits = u64::try_from(stream.busy.len()).unwrap() * 64;
            assert_eq!(bits, MOST, "a bit for each, or for many");
            let last = stream.blocks - 1;
            assert!(stream.take(last) && !stream.take(last));
            assert!(!stream.take(last % bits), "what shares its bit waits");
            stream.release(last);
            assert!(stream.take(last % bits));
        }
    }

    /// Blocks of a disk with a bit for each do not get into each other's way.
    #[test]
    fn blocks_of_a_usual_disk_are_told_apart() {
        let config = BlkConfig { rw: Rw::RandWrite, ..BlkConfig::default() };
        let mut stream = Stream::new(&config, 0, 1, 1000 * 4096);
        assert!((0..1000).all(|block| stream.take(block)));
        assert!((0..1000).all(|block| !stream.take(block)));
        stream.release(63);
        assert!(stream.take(63) && !stream.take(64));
    }

    /// An operation that is late because its block is in flight is no reason to look again at once.
    #[test]
    fn what_an_answer_keeps_does_not_wait_for_the_clock() {
        let config = BlkConfig { rw: Rw::Write, rate_iops: Some(10.0), ..BlkConfig::default() };
        let mut stream = Stream::new(&config, 0, 1, 4096);
        let start = Instant::now();
        assert_eq!(stream.next(start), Next::Write(0));
        assert_eq!(stream.next(start), Next::Wait);
        assert_eq!(stream.due_in(start), Some(Duration::from_millis(100)), "by the rate");
        let late = start + Duration::from_secs(1);
        assert_eq!(stream.next(late), Next::Wait);
        assert_eq!(stream.due_in(late), None, "by its only block");
    }

    /// A block with its write `generation`.
    fn written(stream: &Stream, generation: u64) -> Vec<u8> {
        let mut block = vec![0; 4096];
        stamp(&mut block, stream.seed, 0, generation);
        block
    }

    #[test]
    fn what_was_written_is_read_again_once() {
        let mut config = BlkConfig { rw: Rw::RandWrite, ..BlkConfig::default() };
        config.run.verify = true;
        let mut stream = Stream::new(&config, 0, 1, 100 * 4096);
        for block in [7, 3, 99, 7, 50] {
            stream.wrote(block);
        }
        stream.spoil(50);
        assert_eq!(stream.read_back(), 3);
        let all: Vec<_> = std::iter::repeat_with(|| stream.next_back()).take(5).collect();
        assert_eq!(all, [Next::Read(3), Next::Read(7), Next::Read(99), Next::Wait, Next::Wait]);
    }

    #[test]
    fn after_a_death_a_block_holds_what_was_saved_or_something_newer() {
        let disk = "faulty:cache:file=x".parse().expect("a disk");
        let mut config = BlkConfig {
            disk: DiskConfig { disk, ..DiskConfig::default() },
            ..BlkConfig::default()
        };
        config.run.verify = true;
        let mut stream = Stream::new(&config, 0, 1, 1 << 20);
        let [old, first, second] = [9, 1, 2].map(|n| written(&stream, n));
        stream.wrote(0);
        assert!(stream.check(0, &old).is_err(), "nobody has died");
        stream.backend_died();
        assert_eq!(stream.check(0, &old), Ok(4096), "what an earlier run has left");
        stream.wrote(0);
        stream.flush_begins(5);
        stream.flushed(5, true);
        stream.wrote(0);
        stream.backend_died();
        assert!(stream.check(0, &old).is_err(), "the first was saved");
        assert_eq!(stream.check(0, &first), Ok(4096), "the second was not");
        assert!(stream.check(0, &second).is_err(), "and does not come back");
    }
}
