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

    /// Goes on from this line, if it is one.
    fn adopt(&mut self, line: &[u8]) -> bool {
        let (number, rest) = line.split_at(self.digits);
        let is_one = number.iter().all(u8::is_ascii_digit) && rest == &self.line[self.digits..];
        if is_one {
            self.line[..self.digits].copy_from_slice(number);
        }
        is_one
    }
}

/// What has arrived.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    /// Whole lines.
    pub lines: u64,
    /// Of them, lines whose number was not the next one's.
    pub gaps: u64,
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
        if self.expected.adopt(line) {
            self.checked.lines += 1;
            self.checked.gaps += 1;
        } else {
            self.checked.bad += 1;
        }
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
        assert_eq!(check(&all), Checked { lines: 10, gaps: 0, bad: 0 });
        let lost = [&all[..12], &all[18..]].concat();
        assert_eq!(check(&lost), Checked { lines: 9, gaps: 1, bad: 0 });
        let doubled = [&all[..12], &all[6..]].concat();
        assert_eq!(check(&doubled), Checked { lines: 11, gaps: 1, bad: 0 });
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
            prop_assert_eq!(check.checked, Checked { lines: count as u64, gaps: 0, bad: 0 });
        }
    }
}
