//! Text written fast: numbers, times and JSON strings into a buffer that empties itself.

use std::io::{self, Write};

/// Octets collected before they are written.
const ROOM: usize = 1 << 18;

/// A buffered writer that remembers its first failure, so that whoever writes need not look after
/// each word.
#[derive(Debug)]
pub(crate) struct Text<W> {
    to: W,
    octets: Vec<u8>,
    failed: Option<io::Error>,
    /// Octets written in all.
    written: u64,
}

impl<W: Write> Text<W> {
    pub(crate) fn new(to: W) -> Self {
        Self { to, octets: Vec::new(), failed: None, written: 0 }
    }

    #[inline]
    pub(crate) fn raw(&mut self, octets: impl AsRef<[u8]>) -> &mut Self {
        self.octets.extend_from_slice(octets.as_ref());
        self
    }

    /// To be called now and then, where nothing is half written.
    #[inline]
    pub(crate) fn flush_if_full(&mut self) {
        if self.octets.len() >= ROOM {
            self.flush();
        }
    }

    #[cold]
    fn flush(&mut self) {
        self.written += self.octets.len() as u64;
        if self.failed.is_none() {
            self.failed = self.to.write_all(&self.octets).err();
        }
        self.octets.clear();
    }

    /// A whole number.
    #[inline]
    pub(crate) fn number(&mut self, value: u64) -> &mut Self {
        let mut digits = [0_u8; 20];
        let mut at = digits.len();
        let mut left = value;
        loop {
            at -= 1;
            digits[at] = digit(left % 10);
            left /= 10;
            if left == 0 {
                break;
            }
        }
        self.raw(&digits[at..])
    }

    /// Nanoseconds as microseconds with three decimals, exactly: what the `ts` of Chrome's JSON is.
    #[inline]
    pub(crate) fn micros(&mut self, ns: i64) -> &mut Self {
        if ns < 0 {
            self.raw(b"-");
        }
        let ns = ns.unsigned_abs();
        let (whole, part) = (ns / 1000, ns % 1000);
        let decimals = [b'.', digit(part / 100), digit(part / 10 % 10), digit(part % 10)];
        self.number(whole).raw(decimals)
    }

    /// A string of JSON, with its quotation marks.
    pub(crate) fn string(&mut self, text: &str) -> &mut Self {
        self.raw(b"\"");
        for c in text.chars() {
            match c {
                '"' => self.raw(b"\\\""),
                '\\' => self.raw(b"\\\\"),
                c if c < ' ' => self.raw(format!("\\u{:04x}", u32::from(c))),
                c => self.raw(c.encode_utf8(&mut [0; 4])),
            };
        }
        self.raw(b"\"")
    }

    /// What has been collected, instead of writing it.
    pub(crate) fn into_octets(self) -> Vec<u8> {
        self.octets
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

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "below ten")]
fn digit(value: u64) -> u8 {
    b'0' + value as u8
}

/// A JSON string as octets, for what is written many times.
pub(crate) fn json(text: &str) -> Vec<u8> {
    let mut made = Text::new(io::sink());
    made.string(text);
    made.into_octets()
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
        for value in [0, 1, 9, 10, 1234, u64::MAX] {
            assert_eq!(written(|t| _ = t.number(value)), value.to_string());
        }
        for (ns, text) in [(0, "0.000"), (1, "0.001"), (1_234_567, "1234.567"), (-1500, "-1.500")] {
            assert_eq!(written(|t| _ = t.micros(ns)), text);
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
