//! As much of protobuf's encoding as a trace needs: numbers, octets, messages in messages.

/// A message in the making.
#[derive(Debug, Default, Clone)]
pub(super) struct Message(pub(super) Vec<u8>);

impl Message {
    #[inline]
    fn varint(&mut self, mut value: u64) {
        while value > 0x7f {
            self.0.push(low(value) | 0x80);
            value >>= 7;
        }
        self.0.push(low(value));
    }

    /// A number.
    #[inline]
    pub(super) fn number(&mut self, field: u64, value: u64) -> &mut Self {
        self.varint(field << 3);
        self.varint(value);
        self
    }

    /// A number of eight octets, whatever its value.
    #[inline]
    pub(super) fn fixed(&mut self, field: u64, value: u64) -> &mut Self {
        self.varint(field << 3 | 1);
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    /// Octets: a text, or a message.
    #[inline]
    pub(super) fn octets(&mut self, field: u64, octets: impl AsRef<[u8]>) -> &mut Self {
        let octets = octets.as_ref();
        self.varint(field << 3 | 2);
        self.varint(octets.len() as u64);
        self.0.extend_from_slice(octets);
        self
    }

    /// A message inside.
    #[inline]
    pub(super) fn message(&mut self, field: u64, fill: impl FnOnce(&mut Self)) -> &mut Self {
        let mut inner = Self(Vec::with_capacity(32));
        fill(&mut inner);
        self.octets(field, &inner.0)
    }
}

#[inline]
fn low(value: u64) -> u8 {
    (value & 0x7f) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_octets_are_those_of_the_encoding_guide() {
        let mut message = Message::default();
        message.number(1, 150).octets(2, "testing").message(3, |inner| {
            inner.number(1, 150);
        });
        let expected = b"\x08\x96\x01\x12\x07testing\x1a\x03\x08\x96\x01";
        assert_eq!(message.0, expected);
    }
}
