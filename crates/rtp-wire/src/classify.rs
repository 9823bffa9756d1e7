//! Telling apart what arrives on one UDP socket (RFC 7983 section 7, plus the native clients' own packets).

use crate::bytes::{u16_at, u32_at};
use crate::control::{DISCOVERY_BODY_LEN, DISCOVERY_LEN, DISCOVERY_REQUEST, PING_LEN, PING_MAGIC};

/// The magic cookie at offset 4 of every STUN message (RFC 8489 section 5).
///
/// No stream may ever be given this number as its SSRC: a discovery request for it would look like STUN.
pub const STUN_COOKIE: u32 = 0x2112_A442;

/// Nothing encrypted is as short as this; clients' keepalives are (4 and 8 bytes are seen).
const KEEPALIVE_MAX_LEN: usize = 16;
/// A DTLS record header (RFC 6347 section 4.1).
const DTLS_HEADER_LEN: usize = 13;
const STUN_HEADER_LEN: usize = 20;

/// What a datagram claims to be. Nothing but its first bytes and length has been looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    Discovery,
    Stun,
    Dtls,
    Rtp,
    Rtcp,
    Ping,
    Keepalive,
    Unknown,
}

#[must_use]
pub fn classify(datagram: &[u8]) -> Kind {
    let Some(&first) = datagram.first() else { return Kind::Unknown };
    // An unencrypted DTLS alert has 15 bytes, so this goes before keepalives.
    if matches!(first, 20..=63) && datagram.len() >= DTLS_HEADER_LEN && datagram[1] == 0xFE {
        return Kind::Dtls;
    }
    if datagram.len() <= KEEPALIVE_MAX_LEN {
        let ping = datagram.len() == PING_LEN && u32_at(datagram, 0) == Some(PING_MAGIC);
        return if ping { Kind::Ping } else { Kind::Keepalive };
    }
    match first {
        0..=3 if datagram.len() >= STUN_HEADER_LEN && u32_at(datagram, 4) == Some(STUN_COOKIE) => Kind::Stun,
        0..=3 if is_discovery(datagram) => Kind::Discovery,
        // RFC 5761 section 4: packet types 192 to 223 are RTCP's, and no RTP payload type is chosen there.
        // From version 1.3 on, encrypted records have a header of their own (RFC 9147 section 4).
        32..=63 => Kind::Dtls,
        128..=191 if matches!(datagram[1], 192..=223) => Kind::Rtcp,
        128..=191 => Kind::Rtp,
        _ => Kind::Unknown,
    }
}

fn is_discovery(datagram: &[u8]) -> bool {
    datagram.len() == DISCOVERY_LEN
        && u16_at(datagram, 0) == Some(DISCOVERY_REQUEST)
        && u16_at(datagram, 2) == Some(DISCOVERY_BODY_LEN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(prefix: &[u8], len: usize, expect: Kind) {
        let mut datagram = prefix.to_vec();
        datagram.resize(len, 0);
        assert_eq!(classify(&datagram), expect);
    }

    #[test]
    fn every_kind() {
        check(&[], 0, Kind::Unknown);
        check(&[0, 1, 0, 70], 74, Kind::Discovery);
        check(&[0, 1, 0, 70], 73, Kind::Unknown);
        check(&[0, 2, 0, 70], 74, Kind::Unknown);
        check(&[0, 1, 0, 70, 0x21, 0x12, 0xA4, 0x42], 74, Kind::Stun);
        check(&[0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42], 20, Kind::Stun);
        check(&[0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42], 19, Kind::Unknown);
        check(&[22, 0xFE, 0xFD], 200, Kind::Dtls);
        check(&[21, 0xFE, 0xFD], 15, Kind::Dtls);
        check(&[21, 0xFE, 0xFD], 12, Kind::Keepalive);
        check(&[0x2E, 1], 40, Kind::Dtls);
        check(&[0x3F, 1], 17, Kind::Dtls);
        check(&[0x3F, 1], 16, Kind::Keepalive);
        check(&[0x40, 1], 40, Kind::Unknown);
        check(&[0x1F, 1], 40, Kind::Unknown);
        check(&[0x80, 120], 60, Kind::Rtp);
        check(&[0x90, 0x80 | 120], 60, Kind::Rtp);
        check(&[0x80, 201], 28, Kind::Rtcp);
        check(&[0x80, 192], 28, Kind::Rtcp);
        check(&[0x80, 223], 28, Kind::Rtcp);
        check(&[0x80, 224], 28, Kind::Rtp);
        check(&[0x80, 191], 28, Kind::Rtp);
        check(&[0x13, 0x37, 0xCA, 0xFE], 8, Kind::Ping);
        check(&[0x13, 0x37, 0xCA, 0xFE], 9, Kind::Keepalive);
        check(&[0x13, 0x37, 0xF0, 0x0D], 8, Kind::Keepalive);
        check(&[0x80, 120, 1, 2], 4, Kind::Keepalive);
        check(&[1, 0, 0, 0], 8, Kind::Keepalive);
        check(&[0xC0], 40, Kind::Unknown);
        check(&[0x40], 40, Kind::Unknown);
    }
}
