//! Checksums on the guest's side: the sum that a blank one starts from, and the check of one that
//! nobody vouches for.

use rings::frame::{Headers, Transport};

use smoltcp::wire::{EthernetFrame, IpAddress, IpProtocol, Ipv4Packet, Ipv6Packet, checksum};

/// Puts the sum of the pseudo header where the checksum belongs: what a frame with `csum_blank`
/// carries, so that summing the transport packet from there gives the checksum.
#[inline]
pub(crate) fn seed(frame: &mut [u8], headers: &Headers) {
    let sum = pseudo_header(frame, headers);
    let at = headers.checksum_at();
    frame[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

/// Whether the checksum is right. A UDP packet over IPv4 may go without one (RFC 768).
pub(crate) fn is_right(frame: &[u8], headers: &Headers) -> bool {
    let at = headers.checksum_at();
    if headers.transport == Transport::Udp && !headers.v6 && frame[at..at + 2] == [0, 0] {
        return true;
    }
    let _span = tracer::span!("checksum", bytes = frame.len());
    let packet = checksum::data(&frame[headers.l4..headers.end]);
    checksum::combine(&[pseudo_header(frame, headers), packet]) == 0xffff
}

fn pseudo_header(frame: &[u8], headers: &Headers) -> u16 {
    let ip = EthernetFrame::new_unchecked(frame).payload();
    let (src, dst) = if headers.v6 {
        let p = Ipv6Packet::new_unchecked(ip);
        (IpAddress::Ipv6(p.src_addr()), IpAddress::Ipv6(p.dst_addr()))
    } else {
        let p = Ipv4Packet::new_unchecked(ip);
        (IpAddress::Ipv4(p.src_addr()), IpAddress::Ipv4(p.dst_addr()))
    };
    let protocol = match headers.transport {
        Transport::Tcp => IpProtocol::Tcp,
        Transport::Udp => IpProtocol::Udp,
    };
    let len = u32::try_from(headers.end - headers.l4).unwrap_or(0);
    checksum::pseudo_header(&src, &dst, protocol, len)
}
