//! TCP and UDP checksums as both ends of a vif need them: left blank for somebody else, filled in for
//! whoever takes no blank ones, checked where nobody vouches for them.
//!
//! Which of these is done, and to which frames, is the drivers' business; where a frame's headers are
//! is found in [`frame`](crate::frame).

use crate::frame::{Csum, ETH_HLEN, Headers, Transport};

/// Of which packets the other end takes blank checksums.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Blank {
    /// Those over IPv4.
    pub v4: bool,
    /// Those over IPv6.
    pub v6: bool,
}

impl Blank {
    /// Whether such a packet's may be left blank.
    #[inline(always)]
    #[must_use]
    pub fn takes(self, headers: &Headers) -> bool {
        if headers.v6 { self.v6 } else { self.v4 }
    }

    /// Whether any may.
    #[inline(always)]
    #[must_use]
    pub fn any(self) -> bool {
        self.v4 || self.v6
    }
}

/// Makes a frame ready whose maker has left TCP and UDP checksums to others. One that the other end
/// takes blank carries the sum of its pseudo header, as Linux sends it; any other is filled in. What is
/// neither TCP nor UDP (ARP, ICMP, a fragment) has nothing to leave out, and nothing is said of it.
#[inline]
pub fn hand_over(frame: &mut [u8], blank: Blank) -> Csum {
    let Some(headers) = Headers::find(frame) else { return Csum::None };
    if blank.takes(&headers) {
        seed(frame, &headers);
        Csum::Blank
    } else {
        complete(frame, &headers);
        Csum::Validated
    }
}

/// Puts the sum of the pseudo header where the checksum belongs: summing the transport packet from
/// there gives the checksum. `frame` is the one in which `headers` were found.
#[inline]
pub fn seed(frame: &mut [u8], headers: &Headers) {
    let sum = pseudo_header(frame, headers);
    put(frame, headers, sum);
}

/// Fills in the checksum. `frame` is the one in which `headers` were found.
pub fn complete(frame: &mut [u8], headers: &Headers) {
    let _span = tracer::span!("checksum", bytes = frame.len());
    put(frame, headers, 0);
    let mut sum = !total(frame, headers);
    // In UDP a sum of zero means "none" (RFC 768); its other spelling means zero.
    if sum == 0 && headers.transport == Transport::Udp {
        sum = 0xffff;
    }
    put(frame, headers, sum);
}

/// Whether the checksum of a frame that nobody vouches for is right. A frame without one is, too; a UDP
/// packet over IPv4 may go without (RFC 768).
#[must_use]
pub fn is_right(frame: &[u8]) -> bool {
    let Some(headers) = Headers::find(frame) else { return true };
    let at = headers.checksum_at();
    if headers.transport == Transport::Udp && !headers.v6 && frame[at..at + 2] == [0, 0] {
        return true;
    }
    let _span = tracer::span!("checksum", bytes = frame.len());
    total(frame, &headers) == 0xffff
}

#[inline(always)]
fn put(frame: &mut [u8], headers: &Headers, sum: u16) {
    let at = headers.checksum_at();
    frame[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

/// The sum of the pseudo header and all that the transport packet has.
fn total(frame: &[u8], headers: &Headers) -> u16 {
    let packet = sum(&frame[headers.l4..headers.end]);
    fold(u64::from(pseudo_header(frame, headers)) + packet)
}

/// The sum of the pseudo header: both addresses, the protocol and the transport packet's length
/// (RFC 9293 3.1, RFC 8200 8.1).
#[inline(always)]
fn pseudo_header(frame: &[u8], headers: &Headers) -> u16 {
    let (from, to) = if headers.v6 { (8, 40) } else { (12, 20) };
    let protocol = match headers.transport {
        Transport::Tcp => 6,
        Transport::Udp => 17,
    };
    let len = (headers.end - headers.l4) as u64;
    fold(sum(&frame[ETH_HLEN + from..ETH_HLEN + to]) + protocol + len)
}

/// The sum of the big-endian 16-bit words of `bytes`, the last of which may lack its second half
/// (RFC 1071), as a number that [`fold`] makes one of 16 bits.
#[inline(always)]
fn sum(bytes: &[u8]) -> u64 {
    // Sums of words whose bytes are exchanged have their bytes exchanged, and two words may be added at
    // once (RFC 1071 2.B and 2.C): that leaves the compiler additions it can do side by side.
    let (words, rest) = bytes.as_chunks::<4>();
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    let sum: u64 = words.iter().map(|word| u64::from(u32::from_ne_bytes(*word))).sum();
    u64::from(u16::from_be(fold(sum + u64::from(u32::from_ne_bytes(last)))))
}

/// End-around carries, until 16 bits are left.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "what is above was added to what is below")]
fn fold(mut sum: u64) -> u16 {
    sum = (sum >> 32) + (sum & 0xffff_ffff);
    sum = (sum >> 32) + (sum & 0xffff_ffff);
    sum = (sum >> 16) + (sum & 0xffff);
    sum = (sum >> 16) + (sum & 0xffff);
    sum = (sum >> 16) + (sum & 0xffff);
    sum as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    /// UDP from 10.0.0.1:1000 to 10.0.0.2:80 with these bytes.
    fn udp(payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; ETH_HLEN + 28];
        frame[12] = 8;
        frame[14..24].copy_from_slice(&[0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17]);
        let total = u16::try_from(28 + payload.len()).unwrap();
        frame[16..18].copy_from_slice(&total.to_be_bytes());
        frame[26..34].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
        frame[34..38].copy_from_slice(&[3, 232, 0, 80]);
        frame[38..40].copy_from_slice(&(total - 20).to_be_bytes());
        frame.extend(payload);
        frame
    }

    /// Word by word, as RFC 1071 says it first.
    fn slowly(bytes: &[u8]) -> u16 {
        bytes.chunks(2).fold(0, |sum: u16, pair| {
            let word = u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]);
            let (sum, carry) = sum.overflowing_add(word);
            sum + u16::from(carry)
        })
    }

    #[test]
    fn a_sum_is_that_of_its_words_whatever_its_length() {
        let bytes: Vec<u8> =
            (0..70_000_u32).map(|n| n.wrapping_mul(n).to_le_bytes()[1] | 0xc0).collect();
        for len in (0..40).chain([1499, 1500, 65_533, 65_534, 65_535]) {
            assert_eq!(fold(sum(&bytes[..len])), slowly(&bytes[..len]), "{len} bytes");
        }
        assert_eq!(fold(sum(&[0xff; 65_535])), slowly(&[0xff; 65_535]), "every carry there is");
    }

    #[test]
    fn a_blank_checksum_starts_from_the_pseudo_header_and_any_other_is_right() {
        let mut frame = udp(b"hello");
        assert_eq!(hand_over(&mut frame, Blank { v4: true, v6: false }), Csum::Blank);
        // 0a00 + 0001 + 0a00 + 0002 + 17 + 13
        assert_eq!(frame[40..42], 0x1421_u16.to_be_bytes());
        assert!(!is_right(&frame));
        assert_eq!(hand_over(&mut frame, Blank { v4: false, v6: true }), Csum::Validated);
        assert!(is_right(&frame));
        let whole = frame.clone();
        frame[45] ^= 1;
        assert!(!is_right(&frame));
        frame.clone_from(&whole);
        // Summing on from the seed gives the same, complemented.
        seed(&mut frame, &Headers::find(&whole).unwrap());
        assert_eq!((!slowly(&frame[34..])).to_be_bytes(), whole[40..42]);
    }

    #[test]
    fn nothing_is_said_of_what_is_neither_tcp_nor_udp() {
        let all = Blank { v4: true, v6: true };
        let mut icmp = udp(b"ping");
        icmp[23] = 1;
        let mut arp = vec![0; 60];
        arp[12..14].copy_from_slice(&[8, 6]);
        let mut fragment = udp(b"the first of many");
        fragment[20] = 0x20;
        for mut frame in [icmp, arp, fragment] {
            let before = frame.clone();
            assert_eq!(hand_over(&mut frame, all), Csum::None);
            assert_eq!(frame, before);
        }
    }
}
