//! A server on a bridge makes itself known: its client may have asked for its address before it was
//! there, and smoltcp asks again only after a second.
//!
//! It asks who has the client's address; whoever hears that learns from whom it came (RFC 826).

use rings::frame::Meta;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol,
    EthernetRepr, Icmpv6Packet, Icmpv6Repr, IpAddress, IpProtocol, Ipv4Address, Ipv6Address,
    Ipv6Packet, Ipv6Repr, NdiscNeighborFlags, NdiscRepr,
};

use super::Nic;

/// Bytes of an Ethernet header.
const ETHERNET: usize = 14;
/// Bytes of an IPv6 header.
const IPV6: usize = 40;

/// Tells whoever has `other` that `own` is at `mac`.
pub(super) fn announce(nic: &mut impl Nic, mac: [u8; 6], own: IpAddress, other: IpAddress) {
    let mac = EthernetAddress(mac);
    match (own, other) {
        (IpAddress::Ipv4(own), IpAddress::Ipv4(other)) => who_has(nic, mac, own, other),
        (IpAddress::Ipv6(own), IpAddress::Ipv6(_)) => neighbour(nic, mac, own),
        _ => {}
    }
    nic.flush();
}

fn who_has(nic: &mut impl Nic, mac: EthernetAddress, own: Ipv4Address, other: Ipv4Address) {
    let arp = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Request,
        source_hardware_addr: mac,
        source_protocol_addr: own,
        target_hardware_addr: EthernetAddress::default(),
        target_protocol_addr: other,
    };
    // Without room for its first frame a ring would be no ring.
    nic.xmit(ETHERNET + arp.buffer_len(), Meta::default(), |bytes| {
        ethernet(bytes, mac, EthernetAddress::BROADCAST, EthernetProtocol::Arp);
        arp.emit(&mut ArpPacket::new_unchecked(&mut bytes[ETHERNET..]));
    });
}

fn neighbour(nic: &mut impl Nic, mac: EthernetAddress, own: Ipv6Address) {
    let all = Ipv6Address::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    let message = Icmpv6Repr::Ndisc(NdiscRepr::NeighborAdvert {
        flags: NdiscNeighborFlags::OVERRIDE,
        target_addr: own,
        lladdr: Some(mac.into()),
    });
    let ip = Ipv6Repr {
        src_addr: own,
        dst_addr: all,
        next_header: IpProtocol::Icmpv6,
        payload_len: message.buffer_len(),
        hop_limit: 255,
    };
    nic.xmit(ETHERNET + IPV6 + message.buffer_len(), Meta::default(), |bytes| {
        let everybody = EthernetAddress([0x33, 0x33, 0, 0, 0, 1]);
        ethernet(bytes, mac, everybody, EthernetProtocol::Ipv6);
        ip.emit(&mut Ipv6Packet::new_unchecked(&mut bytes[ETHERNET..]));
        let mut packet = Icmpv6Packet::new_unchecked(&mut bytes[ETHERNET + IPV6..]);
        message.emit(&own, &all, &mut packet, &ChecksumCapabilities::default());
    });
}

fn ethernet(bytes: &mut [u8], from: EthernetAddress, to: EthernetAddress, what: EthernetProtocol) {
    let header = EthernetRepr { src_addr: from, dst_addr: to, ethertype: what };
    header.emit(&mut EthernetFrame::new_unchecked(bytes));
}
