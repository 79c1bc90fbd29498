//! What travels with a frame besides its bytes, and where its transport header is.
//!
//! Both ends of a vif need it: netfront to flag what it sends, netback to complete what the
//! receiver cannot take. Sums are in [`csum`](crate::csum); segmentation is netback's.

/// What is known about a frame's TCP or UDP checksum.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Csum {
    /// Nothing: the receiver checks it.
    #[default]
    None,
    /// Known to be right (`data_validated`).
    Validated,
    /// Not filled in beyond the pseudo header (`csum_blank`): right by construction, to be completed
    /// by whoever takes the frame out of the machine.
    Blank,
}

/// What travels with a frame besides its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Meta {
    /// The state of the checksum.
    pub csum: Csum,
    /// TCPv4 payload bytes of each segment this frame stands for (GSO); 0 if it is one segment.
    pub gso: u16,
}

/// Bytes of an Ethernet header (`ETH_HLEN`).
pub const ETH_HLEN: usize = 14;

/// The protocols whose checksum can be left to others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// Where the transport header of a frame is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Headers {
    /// IPv6 rather than IPv4.
    pub v6: bool,
    /// Offset of the transport header from the start of the frame. Bytes.
    pub l4: usize,
    /// End of the IP packet: behind it is only Ethernet padding.
    pub end: usize,
    /// Which transport.
    pub transport: Transport,
}

impl Headers {
    /// Whether this is a packet of TCP over IPv4, as GSO cuts them.
    #[must_use]
    pub fn is_tcp4(&self) -> bool {
        !self.v6 && self.transport == Transport::Tcp
    }

    /// Offset of the checksum field.
    #[must_use]
    pub fn checksum_at(&self) -> usize {
        self.l4 + if self.transport == Transport::Tcp { 16 } else { 6 }
    }

    /// Finds the transport header, if this is an unfragmented TCP or UDP packet whose headers and
    /// announced length are all there. Any bytes may be passed.
    #[must_use]
    pub fn find(frame: &[u8]) -> Option<Self> {
        let ip = frame.get(ETH_HLEN..)?;
        let (v6, protocol, header, total) = match be16(frame, 12)? {
            0x0800 => {
                let first = *ip.first()?;
                let header = usize::from(first & 15) * 4;
                let fragment = be16(ip, 6)? & 0x3fff;
                if first >> 4 != 4 || header < 20 || fragment != 0 {
                    return None;
                }
                (false, *ip.get(9)?, header, usize::from(be16(ip, 2)?))
            }
            0x86dd if *ip.first()? >> 4 == 6 => {
                (true, *ip.get(6)?, 40, 40 + usize::from(be16(ip, 4)?))
            }
            _ => return None,
        };
        let (transport, least) = match protocol {
            6 => (Transport::Tcp, 20),
            17 => (Transport::Udp, 8),
            _ => return None,
        };
        if total > ip.len() || header + least > total {
            return None;
        }
        Some(Self { v6, l4: ETH_HLEN + header, end: ETH_HLEN + total, transport })
    }
}

/// The big-endian number at `at`.
fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    let pair = bytes.get(at..at + 2)?;
    Some(u16::from_be_bytes([pair[0], pair[1]]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp4() -> Vec<u8> {
        let mut f = vec![0; ETH_HLEN + 40 + 6];
        f[12..14].copy_from_slice(&[8, 0]);
        f[14] = 0x45;
        f[16..18].copy_from_slice(&40_u16.to_be_bytes());
        f[23] = 6;
        f
    }

    #[test]
    fn tcp_over_ipv4_is_found_and_its_padding_is_not_part_of_it() {
        let found = Headers::find(&tcp4()).unwrap();
        let expected = Headers { v6: false, l4: 34, end: 54, transport: Transport::Tcp };
        assert_eq!(found, expected);
        assert_eq!(found.checksum_at(), 50);
    }

    #[test]
    fn what_is_no_whole_tcp_or_udp_packet_is_not_found() {
        type Spoil = fn(&mut Vec<u8>);
        let broken: [(&str, Spoil); 6] = [
            ("arp", |f| f[13] = 6),
            ("icmp", |f| f[23] = 1),
            ("fragment", |f| f[21] = 1),
            ("header too short", |f| f[14] = 0x44),
            ("longer than the frame", |f| f[16] = 1),
            ("no room for tcp", |f| f[17] = 39),
        ];
        for (what, spoil) in broken {
            let mut f = tcp4();
            spoil(&mut f);
            assert_eq!(Headers::find(&f), None, "{what}");
        }
        for cut in 0..54 {
            assert_eq!(Headers::find(&tcp4()[..cut]), None, "cut at {cut}");
        }
    }
}
