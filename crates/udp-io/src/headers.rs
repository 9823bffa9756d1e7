//! Ethernet, IP and UDP headers as the kernel would write them for the socket, and their checksums.

use std::net::{IpAddr, SocketAddr};

/// Bytes before a datagram that are kept for its headers: the longest are 62.
pub(crate) const HEADROOM: usize = 64;

pub(crate) type Mac = [u8; 6];

const UDP_AT: usize = HEADROOM - 8;
/// IPv4 (RFC 791): where its header, and within the headroom its fields are.
const V4_AT: usize = UDP_AT - 20;
const V4_LENGTH: usize = V4_AT + 2;
const V4_CHECKSUM: usize = V4_AT + 10;
/// IPv6 (RFC 8200).
const V6_AT: usize = UDP_AT - 40;
const V6_LENGTH: usize = V6_AT + 4;
const ETHERNET: usize = 14;

const UDP: u8 = 17;
const DONT_FRAGMENT: u8 = 0x40;

/// What is the same for all datagrams of a socket to one destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ends {
    /// The device that they leave by.
    pub mac: Mac,
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub hop_limit: u8,
    pub traffic_class: u8,
    /// IPv6 only (RFC 6437); 20 bits.
    pub flow_label: u32,
}

/// All headers of one destination but what differs from datagram to datagram; they end where the datagram begins.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Headers {
    bytes: [u8; HEADROOM],
    starts_at: u8,
    /// Of the IPv4 header without its length.
    ip_sum: u32,
    /// Of pseudo header and UDP header without the lengths.
    udp_sum: u32,
}

impl Headers {
    pub const NONE: Self = Self { bytes: [0; HEADROOM], starts_at: 0, ip_sum: 0, udp_sum: 0 };

    /// None if the ends are of different families.
    pub fn new(ends: &Ends) -> Option<Self> {
        let mut bytes = [0; HEADROOM];
        bytes[UDP_AT..UDP_AT + 2].copy_from_slice(&ends.from.port().to_be_bytes());
        bytes[UDP_AT + 2..UDP_AT + 4].copy_from_slice(&ends.to.port().to_be_bytes());
        let (ip_at, ether_type, addresses) = match (ends.from.ip(), ends.to.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                // The identification stays 0, as of all datagrams that may not be fragmented (RFC 6864).
                bytes[V4_AT] = 0x45;
                bytes[V4_AT + 1] = ends.traffic_class;
                bytes[V4_AT + 6] = DONT_FRAGMENT;
                bytes[V4_AT + 8] = ends.hop_limit;
                bytes[V4_AT + 9] = UDP;
                bytes[V4_AT + 12..V4_AT + 16].copy_from_slice(&from.octets());
                bytes[V4_AT + 16..V4_AT + 20].copy_from_slice(&to.octets());
                (V4_AT, [0x08, 0x00], V4_AT + 12)
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                let first = 6 << 28 | u32::from(ends.traffic_class) << 20 | (ends.flow_label & 0xF_FFFF);
                bytes[V6_AT..V6_AT + 4].copy_from_slice(&first.to_be_bytes());
                bytes[V6_AT + 6] = UDP;
                bytes[V6_AT + 7] = ends.hop_limit;
                bytes[V6_AT + 8..V6_AT + 24].copy_from_slice(&from.octets());
                bytes[V6_AT + 24..V6_AT + 40].copy_from_slice(&to.octets());
                (V6_AT, [0x86, 0xDD], V6_AT + 8)
            }
            _ => return None,
        };
        let starts_at = ip_at - ETHERNET;
        bytes[starts_at + 6..starts_at + 12].copy_from_slice(&ends.mac);
        bytes[starts_at + 12..ip_at].copy_from_slice(&ether_type);
        let ip_sum = if ip_at == V4_AT { fold(sum(&bytes[V4_AT..UDP_AT])) } else { 0 };
        // Addresses and ports lie one behind the other.
        let udp_sum = fold(sum(&bytes[addresses..]) + u64::from(in_order(UDP.into())));
        Some(Self { bytes, starts_at: starts_at as u8, ip_sum: ip_sum.into(), udp_sum: udp_sum.into() })
    }

    /// Writes the headers before the datagram of this length that `frame` holds behind its headroom. Returns where they begin.
    pub fn write(&self, frame: &mut [u8], len: usize, next_hop: Mac) -> usize {
        let (head, rest) = frame.split_at_mut(HEADROOM);
        let datagram = &rest[..len];
        head.copy_from_slice(&self.bytes);
        let start = usize::from(self.starts_at);
        head[start..start + 6].copy_from_slice(&next_hop);
        let udp_length = (len + 8) as u16;
        if start + ETHERNET == V4_AT {
            let length = udp_length + 20;
            let checksum = !fold(u64::from(self.ip_sum) + u64::from(in_order(length)));
            head[V4_LENGTH..V4_LENGTH + 2].copy_from_slice(&length.to_be_bytes());
            head[V4_CHECKSUM..V4_CHECKSUM + 2].copy_from_slice(&checksum.to_ne_bytes());
        } else {
            head[V6_LENGTH..V6_LENGTH + 2].copy_from_slice(&udp_length.to_be_bytes());
        }
        // Once in the pseudo header, once in the UDP header.
        let lengths = 2 * u64::from(in_order(udp_length));
        let checksum = match !fold(u64::from(self.udp_sum) + lengths + sum(datagram)) {
            // 0 says that there is none (RFC 768), and IPv6 allows no such thing.
            0 => u16::MAX,
            checksum => checksum,
        };
        head[UDP_AT + 4..UDP_AT + 6].copy_from_slice(&udp_length.to_be_bytes());
        head[UDP_AT + 6..UDP_AT + 8].copy_from_slice(&checksum.to_ne_bytes());
        start
    }

    /// How long a datagram may be in a packet of so many bytes, from the IP header on.
    pub fn datagram_max(&self, mtu: usize) -> usize {
        mtu.saturating_sub(HEADROOM - usize::from(self.starts_at) - ETHERNET)
    }
}

/// A number as it lies in a packet. Sums of such do not depend on the machine's order of bytes (RFC 1071 section 2).
fn in_order(number: u16) -> u16 {
    u16::from_ne_bytes(number.to_be_bytes())
}

/// Sums for the Internet checksum (RFC 1071), four bytes at a time; what is missing to the last four is zero.
fn sum(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<4>();
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    let sum: u64 = words.iter().map(|word| u64::from(u32::from_ne_bytes(*word))).sum();
    sum + u64::from(u32::from_ne_bytes(last))
}

fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xFFFF_FFFF) + (sum >> 32);
    let sum = (sum & 0xFFFF) + (sum >> 16);
    let sum = (sum & 0xFFFF) + (sum >> 16);
    ((sum & 0xFFFF) + (sum >> 16)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEXT: Mac = [2, 0, 0, 0, 0, 9];

    fn ends(from: &str, to: &str) -> Ends {
        Ends {
            mac: [2, 0, 0, 0, 0, 1],
            from: from.parse().unwrap(),
            to: to.parse().unwrap(),
            hop_limit: 64,
            traffic_class: 0xB8,
            flow_label: 0x12345,
        }
    }

    fn packet(ends: &Ends, datagram: &[u8]) -> Vec<u8> {
        let mut frame = vec![0xEE; HEADROOM + datagram.len()];
        frame[HEADROOM..].copy_from_slice(datagram);
        let start = Headers::new(ends).unwrap().write(&mut frame, datagram.len(), NEXT);
        frame.split_off(start)
    }

    /// The checksum as RFC 1071 says it, two bytes at a time in the network's order.
    fn plain(parts: &[&[u8]]) -> u16 {
        let bytes = parts.concat();
        let sum: u32 = bytes
            .chunks(2)
            .map(|two| u32::from(two[0]) << 8 | u32::from(two.get(1).copied().unwrap_or(0)))
            .sum();
        let sum = (sum & 0xFFFF) + (sum >> 16);
        ((sum & 0xFFFF) + (sum >> 16)) as u16
    }

    /// Checksums are from another implementation.
    #[track_caller]
    fn check(from: &str, to: &str, datagram: &[u8], expect: &str) {
        let hex: String = packet(&ends(from, to), datagram).iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, expect.replace(' ', ""));
    }

    #[test]
    fn whole_packets() {
        check(
            "192.168.0.1:50000",
            "192.168.0.199:4242",
            b"abc",
            "020000000009 020000000001 0800 45b8001f00004000 4011b7fd c0a80001 c0a800c7 c3501092 000b e579 616263",
        );
        check(
            "[2001:db8::1]:50000",
            "[2001:db8::2]:4242",
            b"abcd",
            "020000000009 020000000001 86dd 6b812345 000c 11 40 20010db8000000000000000000000001 20010db8000000000000000000000002 c3501092 000c 0bb8 61626364",
        );
    }

    #[test]
    fn checksums_hold_for_any_length_and_content() {
        let mut random = 0x2545_F491_4F6C_DD1D_u64;
        for len in (0..300).chain([1_199, 1_200, 1_472]) {
            let datagram: Vec<u8> = std::iter::repeat_with(|| {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                random as u8
            })
            .take(len)
            .collect();
            let v4 = packet(&ends("10.255.0.1:1", "10.0.255.2:65535"), &datagram);
            let (ip, udp) = v4[14..].split_at(20);
            assert_eq!(plain(&[ip]), 0xFFFF, "IPv4 header, {len} bytes");
            let length = ((len + 8) as u16).to_be_bytes();
            assert_eq!(plain(&[&ip[12..20], &[0, UDP], &length, udp]), 0xFFFF, "IPv4, {len} bytes");
            let v6 = packet(&ends("[fd00::1]:1", "[fd00:ffff::2]:65535"), &datagram);
            let (ip, udp) = v6[14..].split_at(40);
            assert_eq!(plain(&[&ip[8..40], &[0, UDP], &length, udp]), 0xFFFF, "IPv6, {len} bytes");
            for udp in [&v4[34..], &v6[54..]] {
                assert_eq!((udp[4..6].to_vec(), &udp[8..]), (length.to_vec(), &datagram[..]));
            }
        }
    }

    #[test]
    fn a_checksum_of_zero_is_written_as_the_other_zero() {
        let ends = ends("10.0.0.1:1", "10.0.0.2:2");
        // What makes the sum whole: the checksum that the datagram would have with nothing in this place.
        let without = packet(&ends, &[0, 0]);
        let datagram = [without[40], without[41]];
        let with = packet(&ends, &datagram);
        assert_eq!(with[40..42], [0xFF, 0xFF]);
    }

    #[test]
    fn lengths_that_fit() {
        let of = |from, to| Headers::new(&ends(from, to)).unwrap().datagram_max(1_500);
        assert_eq!(of("10.0.0.1:1", "10.0.0.2:2"), 1_472);
        assert_eq!(of("[fd00::1]:1", "[fd00::2]:2"), 1_452);
        assert!(Headers::new(&ends("10.0.0.1:1", "[fd00::2]:2")).is_none());
    }
}
