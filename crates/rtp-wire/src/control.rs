//! The small unencrypted packets of native clients: IP discovery and pings.

use std::net::{IpAddr, Ipv4Addr};

use crate::bytes::{Writer, u16_at, u32_at};
use crate::{NoRoom, Ssrc};

/// Request and response have the same length, so that answering a forged request amplifies nothing.
pub const DISCOVERY_LEN: usize = 74;
/// Length of a ping and of its answer.
pub const PING_LEN: usize = 8;

pub(crate) const DISCOVERY_REQUEST: u16 = 1;
pub(crate) const DISCOVERY_RESPONSE: u16 = 2;
/// The length field counts what follows it.
pub(crate) const DISCOVERY_BODY_LEN: u16 = 70;
const ADDRESS_LEN: usize = 64;
const PORT_AT: usize = 8 + ADDRESS_LEN;

pub(crate) const PING_MAGIC: u32 = 0x1337_CAFE;
pub(crate) const PONG_MAGIC: u32 = 0x1337_F00D;

/// "Which address do you see me at?": type, length, SSRC, and room for the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiscoveryRequest {
    pub ssrc: Ssrc,
}

/// The answer: the address as NUL-terminated text, and the port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiscoveryResponse {
    pub ssrc: Ssrc,
    pub ip: IpAddr,
    pub port: u16,
}

impl DiscoveryRequest {
    #[must_use]
    pub fn parse(datagram: &[u8]) -> Option<Self> {
        parse_ssrc(datagram, DISCOVERY_REQUEST).map(|ssrc| Self { ssrc })
    }

    pub fn write(self, buf: &mut [u8]) -> Result<usize, NoRoom> {
        let buf = buf.get_mut(..DISCOVERY_LEN).ok_or(NoRoom)?;
        buf.fill(0);
        let mut w = Writer::new(buf);
        w.u16(DISCOVERY_REQUEST)?;
        w.u16(DISCOVERY_BODY_LEN)?;
        w.u32(self.ssrc.0)?;
        Ok(DISCOVERY_LEN)
    }
}

impl DiscoveryResponse {
    #[must_use]
    pub fn parse(datagram: &[u8]) -> Option<Self> {
        let ssrc = parse_ssrc(datagram, DISCOVERY_RESPONSE)?;
        let address = datagram.get(8..PORT_AT)?;
        let text = address.split(|byte| *byte == 0).next()?;
        let ip = std::str::from_utf8(text).ok()?.parse().ok()?;
        Some(Self { ssrc, ip, port: u16_at(datagram, PORT_AT)? })
    }

    /// Writes the answer. An IPv4 address seen through an IPv6 socket is written as IPv4, which is all that
    /// clients read.
    pub fn write(self, buf: &mut [u8]) -> Result<usize, NoRoom> {
        use std::io::Write as _;
        let buf = buf.get_mut(..DISCOVERY_LEN).ok_or(NoRoom)?;
        buf.fill(0);
        let mut w = Writer::new(buf);
        w.u16(DISCOVERY_RESPONSE)?;
        w.u16(DISCOVERY_BODY_LEN)?;
        w.u32(self.ssrc.0)?;
        // The longest IPv6 text has 45 bytes, so that a NUL always follows it.
        write!(&mut buf[8..PORT_AT], "{}", self.ip.to_canonical()).map_err(|_| NoRoom)?;
        buf[PORT_AT..].copy_from_slice(&self.port.to_be_bytes());
        Ok(DISCOVERY_LEN)
    }
}

impl Default for DiscoveryResponse {
    fn default() -> Self {
        Self { ssrc: Ssrc(0), ip: IpAddr::V4(Ipv4Addr::UNSPECIFIED), port: 0 }
    }
}

fn parse_ssrc(datagram: &[u8], kind: u16) -> Option<Ssrc> {
    let right = datagram.len() == DISCOVERY_LEN
        && u16_at(datagram, 0)? == kind
        && u16_at(datagram, 2)? == DISCOVERY_BODY_LEN;
    right.then_some(Ssrc(u32_at(datagram, 4)?))
}

/// What one of the two ping packets says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ping {
    Ping(u32),
    Pong(u32),
}

#[must_use]
pub fn parse_ping(datagram: &[u8]) -> Option<Ping> {
    if datagram.len() != PING_LEN {
        return None;
    }
    let value = u32_at(datagram, 4)?;
    match u32_at(datagram, 0)? {
        PING_MAGIC => Some(Ping::Ping(value)),
        PONG_MAGIC => Some(Ping::Pong(value)),
        _ => None,
    }
}

pub fn write_ping(value: u32, buf: &mut [u8]) -> Result<usize, NoRoom> {
    write_magic(PING_MAGIC, value, buf)
}

pub fn write_pong(value: u32, buf: &mut [u8]) -> Result<usize, NoRoom> {
    write_magic(PONG_MAGIC, value, buf)
}

fn write_magic(magic: u32, value: u32, buf: &mut [u8]) -> Result<usize, NoRoom> {
    let mut w = Writer::new(buf);
    w.u32(magic)?;
    w.u32(value)?;
    Ok(w.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(ip: &str, expect_text: &str) {
        let response = DiscoveryResponse { ssrc: Ssrc(7), ip: ip.parse().unwrap(), port: 50_001 };
        let mut buf = [0xAA; DISCOVERY_LEN];
        assert_eq!(response.write(&mut buf), Ok(DISCOVERY_LEN));
        assert_eq!(&buf[..8], &[0, 2, 0, 70, 0, 0, 0, 7]);
        assert_eq!(&buf[8..8 + expect_text.len()], expect_text.as_bytes());
        assert!(buf[8 + expect_text.len()..72].iter().all(|byte| *byte == 0));
        assert_eq!(&buf[72..], &50_001_u16.to_be_bytes());
        let parsed = DiscoveryResponse::parse(&buf).unwrap();
        assert_eq!(parsed, DiscoveryResponse { ip: expect_text.parse().unwrap(), ..response });
    }

    #[test]
    fn responses_carry_the_address_as_text() {
        check("127.0.0.1", "127.0.0.1");
        check("255.255.255.255", "255.255.255.255");
        check("::ffff:10.1.2.3", "10.1.2.3");
        check("2001:db8:1111:2222:3333:4444:5555:6666", "2001:db8:1111:2222:3333:4444:5555:6666");
    }

    #[test]
    fn a_response_needs_an_address() {
        let mut buf = [0; DISCOVERY_LEN];
        DiscoveryResponse::default().write(&mut buf).unwrap();
        buf[8] = b'x';
        assert_eq!(DiscoveryResponse::parse(&buf), None);
        // A field without a NUL is read to its end and is no address.
        buf[8..72].fill(b'1');
        assert_eq!(DiscoveryResponse::parse(&buf), None);
    }

    #[test]
    fn requests_round_trip_and_are_no_responses() {
        let mut buf = [0xAA; 80];
        let request = DiscoveryRequest { ssrc: Ssrc(0xDEAD_BEEF) };
        assert_eq!(request.write(&mut buf), Ok(DISCOVERY_LEN));
        assert_eq!(DiscoveryRequest::parse(&buf[..DISCOVERY_LEN]), Some(request));
        assert_eq!(DiscoveryResponse::parse(&buf[..DISCOVERY_LEN]), None);
        assert_eq!(DiscoveryRequest::parse(&buf), None);
        assert_eq!(request.write(&mut buf[..73]), Err(NoRoom));
    }

    #[test]
    fn pings() {
        let mut buf = [0; 8];
        write_ping(5, &mut buf).unwrap();
        assert_eq!(parse_ping(&buf), Some(Ping::Ping(5)));
        write_pong(5, &mut buf).unwrap();
        assert_eq!(buf, [0x13, 0x37, 0xF0, 0x0D, 0, 0, 0, 5]);
        assert_eq!(parse_ping(&buf), Some(Ping::Pong(5)));
        assert_eq!(parse_ping(&buf[..7]), None);
        assert_eq!(write_pong(5, &mut buf[..7]), Err(NoRoom));
    }
}
