//! STUN (RFC 8489) as far as ICE's checks use it (RFC 8445 section 7): binding requests are read, their answers written.
//!
//! No key is known here: what must be authenticated is handed out as [`Integrity`], and a builder asks its caller for the code.

mod crc;
mod write;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::STUN_COOKIE;
use crate::bytes::{u16_at, u32_at, u64_at};

pub use write::StunBuilder;

/// Type, length, cookie, transaction id.
pub const HEADER_LEN: usize = 20;
/// The code of MESSAGE-INTEGRITY: HMAC-SHA1.
pub const MAC_LEN: usize = 20;
/// So many attributes that we do not know are named in an answer; who sends more gets told of these.
pub const UNKNOWN_NAMED_MAX: usize = 4;

/// An attribute's type and length.
const ATTRIBUTE_HEADER_LEN: usize = 4;
const INTEGRITY_LEN: usize = ATTRIBUTE_HEADER_LEN + MAC_LEN;

pub(crate) const BINDING_REQUEST: u16 = 0x0001;
const BINDING_INDICATION: u16 = 0x0011;
pub(crate) const BINDING_SUCCESS: u16 = 0x0101;
pub(crate) const BINDING_ERROR: u16 = 0x0111;

const MAPPED_ADDRESS: u16 = 0x0001;
const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const ERROR_CODE: u16 = 0x0009;
const UNKNOWN_ATTRIBUTES: u16 = 0x000A;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const PRIORITY: u16 = 0x0024;
const USE_CANDIDATE: u16 = 0x0025;
const FINGERPRINT: u16 = 0x8028;
const ICE_CONTROLLED: u16 = 0x8029;
const ICE_CONTROLLING: u16 = 0x802A;
/// From here on an attribute may be ignored by who does not know it (RFC 8489 section 14).
const OPTIONAL_FROM: u16 = 0x8000;

const FAMILY_V4: u8 = 1;
const FAMILY_V6: u8 = 2;

/// RFC 8489 section 14.7.
const FINGERPRINT_XOR: u32 = 0x5354_554E;

/// Why something is not a STUN message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum StunError {
    #[error("shorter than a header")]
    TooShort,
    #[error("no STUN cookie")]
    Cookie,
    #[error("the length is not that of the datagram, or no multiple of four")]
    Length,
    #[error("an attribute that overruns the message, or stands behind the fingerprint")]
    Attribute,
}

/// A message whose attributes all lie within it. What stands between MESSAGE-INTEGRITY and FINGERPRINT, and so is not
/// authenticated, counts for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StunMessage<'a> {
    bytes: &'a [u8],
    /// Where the attributes end that count.
    end: usize,
    integrity_at: Option<usize>,
    fingerprint_at: Option<usize>,
}

/// What MESSAGE-INTEGRITY is computed over, in two parts, and what it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Integrity<'a> {
    /// With the length that the message would have if it ended here (RFC 8489 section 14.5).
    pub header: [u8; HEADER_LEN],
    pub body: &'a [u8],
    pub mac: [u8; MAC_LEN],
}

/// Types of required attributes that we do not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UnknownRequired {
    types: [u16; UNKNOWN_NAMED_MAX],
    len: usize,
}

impl<'a> StunMessage<'a> {
    pub fn parse(bytes: &'a [u8]) -> Result<Self, StunError> {
        let header = bytes.first_chunk::<HEADER_LEN>().ok_or(StunError::TooShort)?;
        if header[0] & 0xC0 != 0 || u32_at(header, 4) != Some(STUN_COOKIE) {
            return Err(StunError::Cookie);
        }
        let body_len = usize::from(u16::from_be_bytes([header[2], header[3]]));
        if !body_len.is_multiple_of(4) || bytes.len() != HEADER_LEN + body_len {
            return Err(StunError::Length);
        }
        let mut message = Self { bytes, end: bytes.len(), integrity_at: None, fingerprint_at: None };
        message.find_ends()?;
        Ok(message)
    }

    fn find_ends(&mut self) -> Result<(), StunError> {
        let mut at = HEADER_LEN;
        while at < self.bytes.len() {
            let (kind, value, next) = attribute_at(self.bytes, at).ok_or(StunError::Attribute)?;
            match kind {
                MESSAGE_INTEGRITY if self.integrity_at.is_none() => {
                    if value.len() != MAC_LEN {
                        return Err(StunError::Attribute);
                    }
                    self.integrity_at = Some(at);
                    self.end = next;
                }
                FINGERPRINT => {
                    if value.len() != 4 || next != self.bytes.len() {
                        return Err(StunError::Attribute);
                    }
                    self.fingerprint_at = Some(at);
                    self.end = self.end.min(at);
                }
                _ => {}
            }
            at = next;
        }
        Ok(())
    }

    #[must_use]
    pub fn is_binding_request(&self) -> bool {
        self.kind() == BINDING_REQUEST
    }

    #[must_use]
    pub fn is_binding_indication(&self) -> bool {
        self.kind() == BINDING_INDICATION
    }

    #[must_use]
    pub fn is_binding_success(&self) -> bool {
        self.kind() == BINDING_SUCCESS
    }

    #[must_use]
    pub fn is_binding_error(&self) -> bool {
        self.kind() == BINDING_ERROR
    }

    fn kind(&self) -> u16 {
        u16_at(self.bytes, 0).unwrap_or_default()
    }

    #[must_use]
    pub fn transaction_id(&self) -> [u8; 12] {
        self.bytes[8..].first_chunk().copied().unwrap_or_default()
    }

    /// Two user name fragments with a colon between them, that of whoever gets the message first (RFC 8445 section 7.2.2).
    #[must_use]
    pub fn username(&self) -> Option<&'a str> {
        std::str::from_utf8(self.get(USERNAME)?).ok()
    }

    #[must_use]
    pub fn use_candidate(&self) -> bool {
        self.get(USE_CANDIDATE).is_some()
    }

    /// The tie-breaker of a sender that thinks it is controlling.
    #[must_use]
    pub fn controlling(&self) -> Option<u64> {
        u64_at(self.get(ICE_CONTROLLING)?, 0)
    }

    /// The tie-breaker of a sender that thinks it is controlled.
    #[must_use]
    pub fn controlled(&self) -> Option<u64> {
        u64_at(self.get(ICE_CONTROLLED)?, 0)
    }

    #[must_use]
    pub fn priority(&self) -> Option<u32> {
        u32_at(self.get(PRIORITY)?, 0)
    }

    /// Whether the fingerprint is right, if there is one.
    #[must_use]
    pub fn fingerprint_ok(&self) -> Option<bool> {
        let at = self.fingerprint_at?;
        let sent = u32_at(self.bytes, at + ATTRIBUTE_HEADER_LEN)?;
        Some(crc::crc32(&self.bytes[..at]) ^ FINGERPRINT_XOR == sent)
    }

    #[must_use]
    pub fn integrity(&self) -> Option<Integrity<'a>> {
        let at = self.integrity_at?;
        let mut header = *self.bytes.first_chunk::<HEADER_LEN>()?;
        let len = u16::try_from(at + INTEGRITY_LEN - HEADER_LEN).ok()?;
        header[2..4].copy_from_slice(&len.to_be_bytes());
        let mac = *self.bytes.get(at + ATTRIBUTE_HEADER_LEN..)?.first_chunk::<MAC_LEN>()?;
        Some(Integrity { header, body: self.bytes.get(HEADER_LEN..at)?, mac })
    }

    /// The first few attributes that must be known to understand the message and that we do not know.
    #[must_use]
    pub fn unknown_required(&self) -> UnknownRequired {
        let mut unknown = UnknownRequired::default();
        for (kind, _) in self.attributes() {
            let known = matches!(
                kind,
                MAPPED_ADDRESS
                    | USERNAME
                    | MESSAGE_INTEGRITY
                    | ERROR_CODE
                    | UNKNOWN_ATTRIBUTES
                    | XOR_MAPPED_ADDRESS
                    | PRIORITY
                    | USE_CANDIDATE
            );
            if kind < OPTIONAL_FROM && !known {
                unknown.add(kind);
            }
        }
        unknown
    }

    /// Where the other side says that our request came from.
    #[must_use]
    pub fn xor_mapped_address(&self) -> Option<SocketAddr> {
        let value = self.get(XOR_MAPPED_ADDRESS)?;
        let port = u16_at(value, 2)? ^ (STUN_COOKIE >> 16) as u16;
        let ip = match (value.get(1)?, value.len()) {
            (&FAMILY_V4, 8) => IpAddr::from(Ipv4Addr::from_bits(u32_at(value, 4)? ^ STUN_COOKIE)),
            (&FAMILY_V6, 20) => {
                let bytes = *value.get(4..)?.first_chunk::<16>()?;
                IpAddr::from(xor_v6(bytes, &self.transaction_id()))
            }
            _ => return None,
        };
        Some(SocketAddr::new(ip, port))
    }

    /// The number of an error answer, such as 401.
    #[must_use]
    pub fn error_code(&self) -> Option<u16> {
        let value = self.get(ERROR_CODE)?;
        let (class, number) = (u16::from(value.get(2)? & 7), u16::from(*value.get(3)?));
        Some(class * 100 + number)
    }

    /// The attribute of this type; of several, the first (RFC 8489 section 14).
    fn get(&self, kind: u16) -> Option<&'a [u8]> {
        self.attributes().find(|(found, _)| *found == kind).map(|(_, value)| value)
    }

    fn attributes(&self) -> impl Iterator<Item = (u16, &'a [u8])> + use<'a> {
        let (bytes, end) = (self.bytes, self.end);
        let mut at = HEADER_LEN;
        std::iter::from_fn(move || {
            let (kind, value, next) = attribute_at(bytes.get(..end)?, at)?;
            at = next;
            Some((kind, value))
        })
    }
}

impl UnknownRequired {
    fn add(&mut self, kind: u16) {
        if let Some(slot) = self.types.get_mut(self.len) {
            *slot = kind;
            self.len += 1;
        }
    }

    #[must_use]
    pub fn types(&self) -> &[u16] {
        &self.types[..self.len]
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// Type, value, and where the next attribute begins: values are filled up to a multiple of four.
fn attribute_at(bytes: &[u8], at: usize) -> Option<(u16, &[u8], usize)> {
    let kind = u16_at(bytes, at)?;
    let len = usize::from(u16_at(bytes, at + 2)?);
    let value_at = at + ATTRIBUTE_HEADER_LEN;
    let next = value_at + len.next_multiple_of(4);
    let value = bytes.get(value_at..next)?.get(..len)?;
    Some((kind, value, next))
}

/// An IPv6 address is hidden, and shown again, with the cookie and the transaction id (RFC 8489 section 14.2).
fn xor_v6(mut address: [u8; 16], transaction: &[u8; 12]) -> [u8; 16] {
    let mask = STUN_COOKIE.to_be_bytes().into_iter().chain(*transaction);
    address.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
    address
}

#[cfg(test)]
mod tests;
