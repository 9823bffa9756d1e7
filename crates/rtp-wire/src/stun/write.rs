//! Writing messages. The length in the header is right after every attribute, so a message may end anywhere.

use std::net::{IpAddr, SocketAddr};

use super::{
    BINDING_ERROR, BINDING_REQUEST, BINDING_SUCCESS, ERROR_CODE, FAMILY_V4, FAMILY_V6, FINGERPRINT,
    FINGERPRINT_XOR, HEADER_LEN, ICE_CONTROLLED, ICE_CONTROLLING, INTEGRITY_LEN, MAC_LEN, MESSAGE_INTEGRITY,
    PRIORITY, UNKNOWN_ATTRIBUTES, USE_CANDIDATE, USERNAME, XOR_MAPPED_ADDRESS, crc, xor_v6,
};
use crate::bytes::Writer;
use crate::{NoRoom, STUN_COOKIE};

/// What FINGERPRINT adds, its header included.
const FINGERPRINT_LEN: usize = 8;

/// Writes a binding request, or the answer to one.
pub struct StunBuilder<'b> {
    w: Writer<'b>,
    transaction: [u8; 12],
}

impl<'b> StunBuilder<'b> {
    pub fn request(transaction: [u8; 12], buf: &'b mut [u8]) -> Result<Self, NoRoom> {
        Self::new(BINDING_REQUEST, transaction, buf)
    }

    /// Answers the request with this transaction id.
    pub fn success(transaction: [u8; 12], buf: &'b mut [u8]) -> Result<Self, NoRoom> {
        Self::new(BINDING_SUCCESS, transaction, buf)
    }

    /// Refuses it; the first attribute should be [`Self::error`].
    pub fn refusal(transaction: [u8; 12], buf: &'b mut [u8]) -> Result<Self, NoRoom> {
        Self::new(BINDING_ERROR, transaction, buf)
    }

    fn new(kind: u16, transaction: [u8; 12], buf: &'b mut [u8]) -> Result<Self, NoRoom> {
        let mut w = Writer::new(buf);
        w.u16(kind)?;
        w.u16(0)?;
        w.u32(STUN_COOKIE)?;
        w.put(&transaction)?;
        Ok(Self { w, transaction })
    }

    /// An IPv4 address that arrived as an IPv6 one is written as what it is.
    pub fn xor_mapped_address(&mut self, address: SocketAddr) -> Result<(), NoRoom> {
        let port = address.port() ^ (STUN_COOKIE >> 16) as u16;
        let transaction = self.transaction;
        match address.ip().to_canonical() {
            IpAddr::V4(ip) => self.attribute(XOR_MAPPED_ADDRESS, 8, |w| {
                w.put(&[0, FAMILY_V4])?;
                w.u16(port)?;
                w.u32(ip.to_bits() ^ STUN_COOKIE)
            }),
            IpAddr::V6(ip) => self.attribute(XOR_MAPPED_ADDRESS, 20, |w| {
                w.put(&[0, FAMILY_V6])?;
                w.u16(port)?;
                w.put(&xor_v6(ip.octets(), &transaction))
            }),
        }
    }

    /// `code` is 300 to 699; no other can be expressed (RFC 8489 section 14.8).
    pub fn error(&mut self, code: u16, reason: &str) -> Result<(), NoRoom> {
        let class = u8::try_from(code / 100).ok().filter(|class| (3..=6).contains(class)).ok_or(NoRoom)?;
        self.attribute(ERROR_CODE, 4 + reason.len(), |w| {
            w.put(&[0, 0, class, (code % 100) as u8])?;
            w.put(reason.as_bytes())
        })
    }

    pub fn unknown_attributes(&mut self, types: &[u16]) -> Result<(), NoRoom> {
        self.attribute(UNKNOWN_ATTRIBUTES, 2 * types.len(), |w| {
            types.iter().try_for_each(|kind| w.u16(*kind))
        })
    }

    pub fn username(&mut self, name: &str) -> Result<(), NoRoom> {
        self.attribute(USERNAME, name.len(), |w| w.put(name.as_bytes()))
    }

    pub fn priority(&mut self, priority: u32) -> Result<(), NoRoom> {
        self.attribute(PRIORITY, 4, |w| w.u32(priority))
    }

    pub fn use_candidate(&mut self) -> Result<(), NoRoom> {
        self.attribute(USE_CANDIDATE, 0, |_| Ok(()))
    }

    pub fn controlling(&mut self, tie_breaker: u64) -> Result<(), NoRoom> {
        self.attribute(ICE_CONTROLLING, 8, |w| w.u64(tie_breaker))
    }

    pub fn controlled(&mut self, tie_breaker: u64) -> Result<(), NoRoom> {
        self.attribute(ICE_CONTROLLED, 8, |w| w.u64(tie_breaker))
    }

    /// Authenticates what was written so far. `mac` gets the header, whose length already counts this attribute, and
    /// everything behind it, and says their HMAC-SHA1.
    pub fn integrity(
        &mut self,
        mac: impl FnOnce(&[u8; HEADER_LEN], &[u8]) -> [u8; MAC_LEN],
    ) -> Result<(), NoRoom> {
        self.set_len(self.w.len() + INTEGRITY_LEN)?;
        let written = self.w.written();
        let (header, body) = written.split_first_chunk::<HEADER_LEN>().ok_or(NoRoom)?;
        let mac = mac(header, body);
        self.attribute(MESSAGE_INTEGRITY, MAC_LEN, |w| w.put(&mac))
    }

    /// Must be the last attribute.
    pub fn fingerprint(&mut self) -> Result<(), NoRoom> {
        self.set_len(self.w.len() + FINGERPRINT_LEN)?;
        let crc = crc::crc32(self.w.written()) ^ FINGERPRINT_XOR;
        self.attribute(FINGERPRINT, 4, |w| w.u32(crc))
    }

    /// How many bytes the message has.
    #[must_use]
    pub fn finish(self) -> usize {
        self.w.len()
    }

    fn attribute(
        &mut self,
        kind: u16,
        len: usize,
        value: impl FnOnce(&mut Writer<'b>) -> Result<(), NoRoom>,
    ) -> Result<(), NoRoom> {
        self.w.u16(kind)?;
        self.w.u16(u16::try_from(len).map_err(|_| NoRoom)?)?;
        value(&mut self.w)?;
        self.w.align()?;
        self.set_len(self.w.len())
    }

    /// Writes into the header that the message has `len` bytes, header included.
    fn set_len(&mut self, len: usize) -> Result<(), NoRoom> {
        self.w.patch_u16(2, u16::try_from(len - HEADER_LEN).map_err(|_| NoRoom)?)
    }
}
