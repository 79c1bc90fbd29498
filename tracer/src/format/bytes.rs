//! Little-endian numbers and short strings in a row of bytes: the one place that takes foreign bytes
//! apart, so that nothing else can read past their end.

/// Reads from the front of some bytes. Each method is `None` when they end too early.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// What has not been read.
    pub(super) fn rest(self) -> &'a [u8] {
        self.0
    }

    pub(super) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(len)?;
        self.0 = tail;
        Some(head)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_le_bytes)
    }

    /// A length in 16 bits, then so many bytes; what is not UTF-8 is replaced.
    pub(super) fn text(&mut self) -> Option<String> {
        let len = self.u16()?;
        Some(String::from_utf8_lossy(self.take(len.into())?).into_owned())
    }
}

/// Appends what [`Reader`] reads.
#[derive(Clone, Debug, Default)]
pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    pub(super) fn u8(&mut self, value: u8) -> &mut Self {
        self.0.push(value);
        self
    }

    pub(super) fn u16(&mut self, value: u16) -> &mut Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    pub(super) fn u32(&mut self, value: u32) -> &mut Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    pub(super) fn u64(&mut self, value: u64) -> &mut Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    pub(super) fn i64(&mut self, value: i64) -> &mut Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    /// Cut to 65,535 bytes, at a character's border.
    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        let mut len = text.len().min(u16::MAX.into());
        while !text.is_char_boundary(len) {
            len -= 1;
        }
        self.u16(u16::try_from(len).unwrap_or(u16::MAX));
        self.0.extend(&text.as_bytes()[..len]);
        self
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend(bytes);
        self
    }

    /// Zeroes up to a multiple of 8.
    pub(super) fn pad(&mut self) -> &mut Self {
        self.0.resize(self.0.len().next_multiple_of(8), 0);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_no_more() {
        let mut w = Writer::default();
        w.u8(1).u16(2).u32(3).u64(4).i64(-5).text("six").pad();
        let mut r = Reader::new(&w.0);
        assert_eq!((r.u8(), r.u16(), r.u32(), r.u64()), (Some(1), Some(2), Some(3), Some(4)));
        assert_eq!((r.i64(), r.text().as_deref()), (Some(-5), Some("six")));
        assert!(r.rest().iter().all(|&b| b == 0) && r.rest().len() < 8);
        assert_eq!(Reader::new(&[5, 0, b'a']).text(), None, "shorter than it says");
        assert_eq!(Reader::new(&[1, 0, 0xff]).text().as_deref(), Some("\u{fffd}"));
    }

    #[test]
    fn a_text_too_long_is_cut_between_characters() {
        let mut w = Writer::default();
        w.text(&"ä".repeat(40_000));
        let text = Reader::new(&w.0).text().expect("a text");
        assert_eq!(text, "ä".repeat(32_767));
    }
}
