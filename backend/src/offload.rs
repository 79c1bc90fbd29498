//! Cutting a frame into segments for a receiver that takes no GSO.

use rings::csum;
use rings::frame::{ETH_HLEN, Headers};
use smoltcp::wire::Ipv4Packet;

/// Offset of the TCP flags, and the two of them that only the last segment carries.
const TCP_FLAGS: usize = 13;
const FIN_PSH: u8 = 0x01 | 0x08;

/// Cuts a TCPv4 frame into segments of at most `size` payload bytes, each with its own lengths,
/// sequence number, IP identification and complete checksums, and gives them to `send` one by one.
/// `buf` is room for one segment. `false`, with nothing sent, if the frame is not TCPv4.
pub fn segments(
    frame: &[u8],
    size: usize,
    buf: &mut Vec<u8>,
    mut send: impl FnMut(&mut [u8]),
) -> bool {
    let Some(h) = Headers::find(frame).filter(Headers::is_tcp4) else { return false };
    let tcp_header = usize::from(frame[h.l4 + 12] >> 4) * 4;
    let payload_at = h.l4 + tcp_header;
    if size == 0 || tcp_header < 20 || payload_at > h.end {
        return false;
    }
    let sequence = be32(&frame[h.l4 + 4..]);
    let identification = u16::from_be_bytes([frame[ETH_HLEN + 4], frame[ETH_HLEN + 5]]);
    let payload = &frame[payload_at..h.end];
    let count = payload.len().div_ceil(size).max(1);
    for (index, part) in
        (0..count).map(|i| (i, &payload[i * size..payload.len().min((i + 1) * size)]))
    {
        buf.clear();
        buf.extend_from_slice(&frame[..payload_at]);
        buf.extend_from_slice(part);
        let total = u16::try_from(buf.len() - ETH_HLEN).unwrap_or(u16::MAX);
        let done = u32::try_from(index * size).unwrap_or(u32::MAX);
        let id = identification.wrapping_add(u16::try_from(index).unwrap_or(u16::MAX));
        buf[ETH_HLEN + 2..ETH_HLEN + 4].copy_from_slice(&total.to_be_bytes());
        buf[ETH_HLEN + 4..ETH_HLEN + 6].copy_from_slice(&id.to_be_bytes());
        buf[h.l4 + 4..h.l4 + 8].copy_from_slice(&sequence.wrapping_add(done).to_be_bytes());
        if index + 1 < count {
            buf[h.l4 + TCP_FLAGS] &= !FIN_PSH;
        }
        Ipv4Packet::new_unchecked(&mut buf[ETH_HLEN..]).fill_checksum();
        let headers = Headers { end: buf.len(), ..h };
        csum::complete(buf, &headers);
        send(buf);
    }
    true
}

fn be32(bytes: &[u8]) -> u32 {
    u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}
