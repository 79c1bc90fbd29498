//! A byte stream cut into messages, and messages turned into bytes. The same for both ends.
//!
//! Nothing here knows what a message means. A header that announces more than a payload may hold
//! is refused before a byte of that payload is kept (XSA-72), so an [`Inbox`] never holds more
//! than what was pushed since the last message was taken.

use zerocopy::{FromBytes, IntoBytes};

use crate::io::xs_wire::{XENSTORE_PAYLOAD_MAX, XsdSockmsg};

/// A message announced a payload longer than [`XENSTORE_PAYLOAD_MAX`]; its length in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("payload of {0} bytes exceeds 4096")]
pub struct TooLong(pub u32);

/// Bytes received and not yet taken as messages.
#[derive(Debug, Default)]
pub struct Inbox {
    bytes: Vec<u8>,
    /// How many of `bytes` are taken already.
    taken: usize,
}

impl Inbox {
    /// Adds bytes as they came, cut anywhere.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.taken);
        self.taken = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// Bytes waiting to be taken.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len() - self.taken
    }

    /// Whether nothing waits to be taken.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes the next message if all of it has come.
    ///
    /// # Errors
    /// [`TooLong`], again on every later call: there is no way to find the next message.
    pub fn take(&mut self) -> Result<Option<(XsdSockmsg, Vec<u8>)>, TooLong> {
        let Ok((header, rest)) = XsdSockmsg::read_from_prefix(&self.bytes[self.taken..]) else {
            return Ok(None);
        };
        let len = match usize::try_from(header.len) {
            Ok(len) if len <= XENSTORE_PAYLOAD_MAX => len,
            _ => return Err(TooLong(header.len)),
        };
        let Some(payload) = rest.get(..len) else { return Ok(None) };
        let payload = payload.to_vec();
        self.taken += XsdSockmsg::SIZE + len;
        Ok(Some((header, payload)))
    }
}

/// Appends a message whose payload is `parts` in a row to `out`. The header's `len` is computed.
/// Returns the bytes appended, or `None` and leaves `out` alone if the payload would be too long.
pub fn append(out: &mut Vec<u8>, mut header: XsdSockmsg, parts: &[&[u8]]) -> Option<usize> {
    let len = parts.iter().map(|part| part.len()).sum::<usize>();
    if len > XENSTORE_PAYLOAD_MAX {
        return None;
    }
    header.len = u32::try_from(len).ok()?;
    out.extend_from_slice(header.as_bytes());
    parts.iter().for_each(|part| out.extend_from_slice(part));
    Some(XsdSockmsg::SIZE + len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_out_whole_however_the_stream_was_cut() {
        let mut stream = Vec::new();
        let header = XsdSockmsg { r#type: 2, req_id: 7, tx_id: 0, len: 99 };
        assert_eq!(append(&mut stream, header, &[b"ab", b"c\0"]), Some(20));
        assert_eq!(append(&mut stream, header, &[]), Some(16));
        for cut in 1..stream.len() {
            let mut inbox = Inbox::default();
            let mut got = Vec::new();
            for chunk in stream.chunks(cut) {
                inbox.push(chunk);
                while let Some((_, payload)) = inbox.take().unwrap() {
                    got.push(payload);
                }
            }
            assert_eq!(got, [b"abc\0".to_vec(), vec![]]);
            assert!(inbox.is_empty());
        }
    }

    #[test]
    fn a_payload_over_the_limit_is_neither_sent_nor_awaited() {
        let mut out = Vec::new();
        assert_eq!(append(&mut out, XsdSockmsg::default(), &[&[0; 4097]]), None);
        assert!(out.is_empty());
        for len in [4097, u32::MAX] {
            let mut inbox = Inbox::default();
            inbox.push(XsdSockmsg { len, ..Default::default() }.as_bytes());
            assert_eq!(inbox.take(), Err(TooLong(len)));
            assert_eq!(inbox.take(), Err(TooLong(len)));
        }
    }
}
