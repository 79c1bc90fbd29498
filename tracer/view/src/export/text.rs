//! Text written fast: numbers, times and JSON strings into a buffer that empties itself.
//!
//! Whole chunks of a length that the compiler knows are copied, and what of them is too much is written
//! over by what comes next: a copy of eight octets is one instruction, a copy of five is a call.

use std::io::{self, Write};

/// Octets collected before they are written.
const ROOM: usize = 1 << 18;
/// Octets copied at once of what is written often.
const CHUNK: usize = 32;

/// A buffered writer that remembers its first failure, so that whoever writes need not look after
/// each word.
#[derive(Debug)]
pub(crate) struct Text<W> {
    to: W,
    /// Those before `end` have not been written yet.
    octets: Box<[u8]>,
    end: usize,
    failed: Option<io::Error>,
    /// Octets written in all.
    written: u64,
}

/// Octets that are written often.
#[derive(Debug, Default)]
pub(crate) struct Piece {
    chunks: Box<[[u8; CHUNK]]>,
    length: usize,
}

impl Piece {
    /// These, one after the other.
    pub(crate) fn new(parts: &[&[u8]]) -> Self {
        let mut octets = parts.concat();
        let length = octets.len();
        octets.resize(length.next_multiple_of(CHUNK), 0);
        Self { chunks: octets.as_chunks().0.into(), length }
    }

    /// Whether there is nothing in it.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.length == 0
    }
}

impl<W: Write> Text<W> {
    pub(crate) fn new(to: W) -> Self {
        Self { to, octets: vec![0; ROOM].into(), end: 0, failed: None, written: 0 }
    }

    #[inline(always)]
    pub(crate) fn raw(&mut self, octets: impl AsRef<[u8]>) -> &mut Self {
        let octets = octets.as_ref();
        match self.octets.get_mut(self.end..self.end + octets.len()) {
            Some(room) => {
                room.copy_from_slice(octets);
                self.end += octets.len();
            }
            None => self.raw_after_flush(octets),
        }
        self
    }

    #[cold]
    fn raw_after_flush(&mut self, octets: &[u8]) {
        for part in octets.chunks(ROOM) {
            self.flush();
            self.octets[..part.len()].copy_from_slice(part);
            self.end = part.len();
        }
    }

    /// The same of what is written often.
    #[inline(always)]
    pub(crate) fn piece(&mut self, piece: &Piece) -> &mut Self {
        let whole = piece.chunks.len() * CHUNK;
        let Some(room) = self.octets.get_mut(self.end..self.end + whole) else {
            self.raw_after_flush(&piece.chunks.as_flattened()[..piece.length]);
            return self;
        };
        for (to, from) in room.as_chunks_mut().0.iter_mut().zip(&piece.chunks) {
            *to = *from;
        }
        self.end += piece.length;
        self
    }

    #[cold]
    fn flush(&mut self) {
        self.written += self.end as u64;
        if self.failed.is_none() {
            self.failed = self.to.write_all(&self.octets[..self.end]).err();
        }
        self.end = 0;
    }

    /// The first so many of eight octets.
    #[inline(always)]
    fn eight(&mut self, octets: u64, length: usize) {
        let octets = octets.to_le_bytes();
        match self.octets.get_mut(self.end..self.end + octets.len()) {
            Some(room) => {
                room.copy_from_slice(&octets);
                self.end += length;
            }
            None => self.raw_after_flush(&octets[..length]),
        }
    }

    /// A whole number.
    #[inline(always)]
    pub(crate) fn number(&mut self, value: u64) -> &mut Self {
        match u32::try_from(value) {
            Ok(value) if value < EIGHT_DIGITS => self.short(value),
            _ => self.long(value),
        }
        self
    }

    /// One of at most eight digits.
    #[inline(always)]
    fn short(&mut self, value: u32) {
        let digits = digits(value);
        // The first octets are the lowest; nought has one digit.
        let noughts = (digits.trailing_zeros() / 8).min(7);
        self.eight((digits | NOUGHTS) >> (noughts * 8), 8 - noughts as usize);
    }

    fn long(&mut self, value: u64) {
        let (high, low) = (value / u64::from(EIGHT_DIGITS), value % u64::from(EIGHT_DIGITS));
        self.number(high);
        self.eight(digits(u32::try_from(low).unwrap_or_default()) | NOUGHTS, 8);
    }

    /// Nanoseconds as microseconds with three decimals, exactly: what the `ts` of Chrome's JSON is.
    #[inline(always)]
    pub(crate) fn micros(&mut self, ns: i64) -> &mut Self {
        if ns < 0 {
            self.raw(b"-");
        }
        let ns = ns.unsigned_abs();
        let part = u32::try_from(ns % 1000).unwrap_or_default();
        self.number(ns / 1000);
        // Of the eight digits the last four, of which the first is a nought.
        let decimals = (digits(part) | NOUGHTS) >> 32;
        self.eight((decimals & !0xff) | u64::from(b'.'), 4);
        self
    }

    /// A string of JSON, with its quotation marks.
    pub(crate) fn string(&mut self, text: &str) -> &mut Self {
        self.raw(json(text))
    }

    /// Writes what is left; gives the writer back, and how many octets there were.
    pub(crate) fn finish(mut self) -> io::Result<(W, u64)> {
        self.flush();
        match self.failed {
            Some(why) => Err(why),
            None => {
                self.to.flush()?;
                Ok((self.to, self.written))
            }
        }
    }
}

/// The first number of nine digits.
const EIGHT_DIGITS: u32 = 100_000_000;
/// What makes digits characters.
const NOUGHTS: u64 = 0x3030_3030_3030_3030;

/// The eight decimal digits of a number below [`EIGHT_DIGITS`], an octet each, the first one lowest: halves,
/// then quarters, then digits, of all parts at once.
#[inline(always)]
fn digits(value: u32) -> u64 {
    let value = u64::from(value);
    let fours = (value / 10_000) | ((value % 10_000) << 32);
    let hundreds = ((fours * 10_486) >> 20) & 0x7f_0000_007f;
    let twos = hundreds | ((fours - hundreds * 100) << 16);
    let tens = ((twos * 103) >> 10) & 0x000f_000f_000f_000f;
    tens | ((twos - tens * 10) << 8)
}

/// A JSON string as octets, with its quotation marks.
pub(crate) fn json(text: &str) -> Vec<u8> {
    let mut made = String::with_capacity(text.len() + 2);
    made.push('"');
    for c in text.chars() {
        match c {
            '"' => made.push_str("\\\""),
            '\\' => made.push_str("\\\\"),
            c if c < ' ' => made += &format!("\\u{:04x}", u32::from(c)),
            c => made.push(c),
        }
    }
    made.push('"');
    made.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Text<Vec<u8>>)) -> String {
        let mut text = Text::new(Vec::new());
        write(&mut text);
        String::from_utf8(text.finish().expect("a Vec takes everything").0).expect("text")
    }

    #[test]
    fn numbers_are_what_format_says() {
        let mut values = vec![0, 1, 9, 10, 1234, u64::MAX, u64::MAX - 1];
        for digits in 1..20 {
            let power = 10_u64.pow(digits);
            values.extend([power - 1, power, power + 1, power / 7, power / 3 * 2]);
        }
        values.extend((0..EIGHT_DIGITS).step_by(99_991).map(u64::from));
        for value in values {
            assert_eq!(written(|t| _ = t.number(value)), value.to_string());
            let ns = i64::try_from(value >> 1).expect("63 bits");
            let micros = format!("{}.{:03}", ns / 1000, ns % 1000);
            assert_eq!(written(|t| _ = t.micros(ns)), micros);
        }
        for (ns, text) in [(0, "0.000"), (1, "0.001"), (1_234_567, "1234.567"), (-1500, "-1.500")] {
            assert_eq!(written(|t| _ = t.micros(ns)), text);
        }
    }

    #[test]
    fn nothing_is_lost_or_doubled_where_the_buffer_ends() {
        let long = "x".repeat(2 * ROOM + 5);
        for before in (ROOM - 80..ROOM).chain([0, 1]) {
            let (piece, start) =
                (Piece::new(&[b"a piece of more ", b"than one chunk"]), "y".repeat(before));
            let text = written(|t| {
                t.raw(&start)
                    .piece(&piece)
                    .number(12_345_678_901)
                    .micros(-7)
                    .piece(&piece)
                    .raw("z");
            });
            let piece = "a piece of more than one chunk";
            assert_eq!(text, format!("{start}{piece}12345678901-0.007{piece}z"));
            let text = written(|t| _ = t.raw(&start).raw(&long).number(1));
            assert_eq!(text.len(), before + long.len() + 1);
        }
    }

    #[test]
    fn strings_come_back_from_a_json_parser() {
        for text in ["", "plain", "a\"b\\c\n\t\u{0}\u{1f}", "ä\u{2028}😀"] {
            let json = written(|t| _ = t.string(text));
            assert_eq!(serde_json::from_str::<String>(&json).expect("JSON"), text);
        }
    }

    #[test]
    fn the_first_failure_is_told_at_the_end() {
        #[derive(Debug)]
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut text = Text::new(Full);
        text.raw("x");
        assert_eq!(text.finish().expect_err("full").kind(), io::ErrorKind::StorageFull);
    }
}
