//! Numbered lines of one length, `00042xxx\n`: the guest makes them, the daemon looks whether they
//! arrive whole, once, and in their order.
//!
//! A line that a guest has dropped has had its number too, so that a gap shows what was lost. Numbers
//! have as many digits as the line has room for, at most ten, and begin again after the last.

use serde::{Deserialize, Serialize};

/// Digits of a number, where the line is long enough.
const DIGITS: usize = 10;

/// A line, and the next, and the next.
#[derive(Debug, Clone)]
pub struct Lines {
    line: Vec<u8>,
    digits: usize,
}

impl Lines {
    /// Lines of `len` bytes, their end included, from number 0 on.
    #[must_use]
    pub fn new(len: usize) -> Self {
        let len = len.max(1);
        let digits = (len - 1).min(DIGITS);
        let mut line = vec![b'x'; len];
        line[..digits].fill(b'0');
        line[len - 1] = b'\n';
        Self { line, digits }
    }

    /// The line as it stands now.
    #[inline(always)]
    #[must_use]
    pub fn line(&self) -> &[u8] {
        &self.line
    }

    /// The next one.
    #[inline(always)]
    pub fn advance(&mut self) {
        for digit in self.line[..self.digits].iter_mut().rev() {
            if *digit < b'9' {
                *digit += 1;
                return;
            }
            *digit = b'0';
        }
    }

    /// How many numbers there are before they begin again.
    fn numbers(&self) -> u64 {
        10_u64.pow(u32::try_from(self.digits).unwrap_or(0))
    }

    /// How many lines may have been dropped for a step back still to be told from a gap. Lines of one
    /// byte have no numbers.
    #[must_use]
    pub fn tellable(len: usize) -> u64 {
        Self::new(len).numbers() / 2
    }

    /// The number of the line as it stands now.
    fn number(&self) -> u64 {
        self.line[..self.digits].iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'))
    }

    /// Goes on from this line, if it is one, and says how many lines that is further on: numbers begin
    /// again, so that a step back is one of more than half of them.
    fn adopt(&mut self, line: &[u8]) -> Option<u64> {
        let (number, rest) = line.split_at(self.digits);
        if !number.iter().all(u8::is_ascii_digit) || rest != &self.line[self.digits..] {
            return None;
        }
        let (expected, all) = (self.number(), self.numbers());
        self.line[..self.digits].copy_from_slice(number);
        Some((self.number() + all - expected) % all)
    }
}

/// What has arrived.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    /// Whole lines.
    pub lines: u64,
    /// Of them, lines before which some are missing.
    pub gaps: u64,
    /// Of them, lines that came before, or should have. A gap of more than [`Lines::tellable`] lines
    /// looks the same.
    pub back: u64,
    /// Pieces of a line's length that are no line.
    pub bad: u64,
}

/// Looks at lines that arrive in pieces.
#[derive(Debug)]
pub(super) struct Check {
    expected: Lines,
    /// The beginning of a line whose end has not come.
    part: Vec<u8>,
    pub(super) checked: Checked,
}

impl Check {
    /// Looks at lines of `len` bytes.
    pub(super) fn new(len: usize) -> Self {
        let expected = Lines::new(len);
        let part = Vec::with_capacity(expected.line.len());
        Self { expected, part, checked: Checked::default() }
    }

    /// Looks at what has come.
    #[inline]
    pub(super) fn look(&mut self, mut bytes: &[u8]) {
        let len = self.expected.line.len();
        if !self.part.is_empty() {
            let (end, rest) = bytes.split_at(bytes.len().min(len - self.part.len()));
            self.part.extend_from_slice(end);
            bytes = rest;
            if self.part.len() < len {
                return;
            }
            let part = std::mem::take(&mut self.part);
            self.line(&part);
            self.part = part;
            self.part.clear();
        }
        let mut lines = bytes.chunks_exact(len);
        for line in &mut lines {
            self.line(line);
        }
        self.part.extend_from_slice(lines.remainder());
    }

    #[inline(always)]
    fn line(&mut self, line: &[u8]) {
        if line != self.expected.line {
            self.unexpected(line);
        } else {
            self.checked.lines += 1;
        }
        self.expected.advance();
    }

    #[cold]
    fn unexpected(&mut self, line: &[u8]) {
        let Some(further) = self.expected.adopt(line) else {
            self.checked.bad += 1;
            return;
        };
        self.checked.lines += 1;
        let is_back = further > self.expected.numbers() / 2;
        self.checked.gaps += u64::from(!is_back);
        self.checked.back += u64::from(is_back);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn text(len: usize, count: usize) -> Vec<u8> {
        let mut lines = Lines::new(len);
        let mut all = Vec::new();
        for _ in 0..count {
            all.extend_from_slice(lines.line());
            lines.advance();
        }
        all
    }

    #[test]
    fn lines_are_those_of_the_experiment() {
        assert_eq!(text(6, 3), b"00000\n00001\n00002\n");
        assert_eq!(text(1, 3), b"\n\n\n");
        assert_eq!(text(2, 12), b"0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n0\n1\n");
        assert_eq!(&text(14, 2)[14..], b"0000000001xxx\n");
    }

    #[test]
    fn what_is_lost_doubled_or_torn_is_seen() {
        let all = text(6, 10);
        let check = |bytes: &[u8]| {
            let mut check = Check::new(6);
            check.look(bytes);
            check.checked
        };
        let found = |lines, gaps, back| Checked { lines, gaps, back, bad: 0 };
        assert_eq!(check(&all), found(10, 0, 0));
        let line = |n: usize| &all[6 * n..6 * (n + 1)];
        let lost = [&all[..12], &all[18..]].concat();
        assert_eq!(check(&lost), found(9, 1, 0));
        let doubled = [&all[..12], line(1), &all[12..]].concat();
        assert_eq!(check(&doubled), found(11, 0, 1));
        let swapped = [&all[..12], line(3), line(2), &all[24..]].concat();
        assert_eq!(check(&swapped), found(10, 2, 1));
        // Where numbers begin again the next one is no step back, and the one before is one.
        let many = text(6, 100_003);
        assert_eq!(check(&many), found(100_003, 0, 0));
        let end = many.len();
        let doubled = [&many[..end - 12], &many[end - 24..]].concat();
        assert_eq!(check(&doubled), found(100_005, 0, 1));
        let lost = [&many[..end - 24], &many[end - 12..]].concat();
        assert_eq!(check(&lost), found(100_001, 1, 0));
        let torn = [&all[..9], &all[10..]].concat();
        assert!(check(&torn).bad > 0);
    }

    proptest! {
        #[test]
        fn however_it_is_cut(len in 1usize..40, count in 0usize..200, cuts in vec(1usize..50, 1..50)) {
            let (all, mut check) = (text(len, count), Check::new(len));
            let (mut left, mut cuts) = (&all[..], cuts.iter().cycle());
            while !left.is_empty() {
                let (piece, rest) = left.split_at(left.len().min(*cuts.next().expect("endless")));
                check.look(piece);
                left = rest;
            }
            prop_assert_eq!(check.checked, Checked { lines: count as u64, ..Checked::default() });
        }
    }
}
