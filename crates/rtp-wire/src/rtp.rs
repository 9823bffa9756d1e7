//! RTP packets (RFC 3550 section 5.1): the header alone, which is all that is readable before decryption, and
//! the whole packet after it.

use crate::bytes::{Writer, u16_at, u32_at};
use crate::ext::Extensions;
use crate::{NoRoom, PayloadType, RtpTime, Ssrc};

/// The part of the header that every packet has.
pub const FIXED_HEADER_LEN: usize = 12;

const VERSION: u8 = 2;
const MAX_CSRCS: usize = 15;

/// Why something is not an RTP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum RtpError {
    #[error("shorter than its header says")]
    TooShort,
    #[error("not RTP version 2")]
    Version,
    #[error("more padding than packet, or none where some is announced")]
    Padding,
}

/// The fixed header. The sequence number is as on the wire; whoever knows the stream extends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RtpHeader {
    pub padding: bool,
    pub extension: bool,
    pub csrc_count: u8,
    pub marker: bool,
    pub payload_type: PayloadType,
    pub seq: u16,
    pub time: RtpTime,
    pub ssrc: Ssrc,
}

impl RtpHeader {
    /// Reads the header and checks that the CSRCs it counts and the extension preamble it announces are
    /// there. Everything behind them may still be encrypted.
    pub fn parse(buf: &[u8]) -> Result<Self, RtpError> {
        let fixed = buf.first_chunk::<FIXED_HEADER_LEN>().ok_or(RtpError::TooShort)?;
        if fixed[0] >> 6 != VERSION {
            return Err(RtpError::Version);
        }
        let header = Self {
            padding: fixed[0] & 0x20 != 0,
            extension: fixed[0] & 0x10 != 0,
            csrc_count: fixed[0] & 0x0F,
            marker: fixed[1] & 0x80 != 0,
            payload_type: PayloadType(fixed[1] & 0x7F),
            seq: u16::from_be_bytes([fixed[2], fixed[3]]),
            time: RtpTime(u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]])),
            ssrc: Ssrc(u32::from_be_bytes([fixed[8], fixed[9], fixed[10], fixed[11]])),
        };
        if buf.len() < header.rtpsize_len() { Err(RtpError::TooShort) } else { Ok(header) }
    }

    /// The SSRC of anything that looks like RTP, for finding its leg before anything else is known.
    #[must_use]
    pub fn peek_ssrc(buf: &[u8]) -> Option<Ssrc> {
        u32_at(buf, 8).map(Ssrc)
    }

    /// Length of the header with its CSRCs, without any extension.
    #[must_use]
    pub fn header_len(&self) -> usize {
        FIXED_HEADER_LEN + 4 * usize::from(self.csrc_count)
    }

    /// Length of what the `rtpsize` encryption modes leave readable: the header, its CSRCs, and the four
    /// bytes that open an extension, but not the extension's body.
    #[must_use]
    pub fn rtpsize_len(&self) -> usize {
        self.header_len() + if self.extension { 4 } else { 0 }
    }

    /// Writes the header and its CSRCs; `csrc_count` is taken from `csrcs`. When `extension` is set, the
    /// extension must be written right behind (see [`crate::ExtensionWriter`]).
    pub fn write(&self, csrcs: &[Ssrc], buf: &mut [u8]) -> Result<usize, NoRoom> {
        if csrcs.len() > MAX_CSRCS {
            return Err(NoRoom);
        }
        let mut w = Writer::new(buf);
        let flags = u8::from(self.padding) << 5 | u8::from(self.extension) << 4;
        w.u8(VERSION << 6 | flags | csrcs.len() as u8)?;
        w.u8(u8::from(self.marker) << 7 | (self.payload_type.0 & 0x7F))?;
        w.u16(self.seq)?;
        w.u32(self.time.0)?;
        w.u32(self.ssrc.0)?;
        for csrc in csrcs {
            w.u32(csrc.0)?;
        }
        Ok(w.len())
    }
}

/// A whole unencrypted packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    pub header: RtpHeader,
    csrcs: &'a [u8],
    extensions: Option<Extensions<'a>>,
    payload: &'a [u8],
    /// Everything in front of the payload.
    payload_at: usize,
    padding_len: usize,
}

impl<'a> Packet<'a> {
    pub fn parse(buf: &'a [u8]) -> Result<Self, RtpError> {
        let header = RtpHeader::parse(buf)?;
        let csrcs = buf.get(FIXED_HEADER_LEN..header.header_len()).ok_or(RtpError::TooShort)?;
        let mut payload_at = header.header_len();
        let mut extensions = None;
        if header.extension {
            let profile = u16_at(buf, payload_at).ok_or(RtpError::TooShort)?;
            let words = u16_at(buf, payload_at + 2).ok_or(RtpError::TooShort)?;
            let body_at = payload_at + 4;
            payload_at = body_at + 4 * usize::from(words);
            let body = buf.get(body_at..payload_at).ok_or(RtpError::TooShort)?;
            extensions = Some(Extensions { profile, body });
        }
        let rest = buf.get(payload_at..).ok_or(RtpError::TooShort)?;
        let padding_len = if header.padding { padding_len(rest)? } else { 0 };
        let payload = &rest[..rest.len() - padding_len];
        Ok(Self { header, csrcs, extensions, payload, payload_at, padding_len })
    }

    pub fn csrcs(&self) -> impl ExactSizeIterator<Item = Ssrc> + use<'a> {
        self.csrcs.as_chunks::<4>().0.iter().map(|bytes| Ssrc(u32::from_be_bytes(*bytes)))
    }

    #[must_use]
    pub fn extensions(&self) -> Option<Extensions<'a>> {
        self.extensions
    }

    /// The payload, without padding.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// Where the payload lies in the buffer that was parsed.
    #[must_use]
    pub fn payload_range(&self) -> std::ops::Range<usize> {
        self.payload_at..self.payload_at + self.payload.len()
    }

    #[must_use]
    pub fn padding_len(&self) -> usize {
        self.padding_len
    }
}

/// The last byte says how many bytes of padding there are, itself included.
fn padding_len(rest: &[u8]) -> Result<usize, RtpError> {
    let len = usize::from(*rest.last().ok_or(RtpError::Padding)?);
    if len == 0 || len > rest.len() { Err(RtpError::Padding) } else { Ok(len) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ext::{ExtensionForm, ExtensionWriter};
    use proptest::prelude::*;

    #[track_caller]
    fn check(bytes: &[u8], expect: Result<(&[u8], usize), RtpError>) {
        assert_eq!(Packet::parse(bytes).map(|p| (p.payload(), p.padding_len())), expect);
    }

    #[test]
    fn packets() {
        let fixed = [0x80, 120, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3];
        let with = |first: u8, tail: &[u8]| {
            let mut bytes = fixed.to_vec();
            bytes[0] = first;
            bytes.extend_from_slice(tail);
            bytes
        };
        check(&[], Err(RtpError::TooShort));
        check(&fixed[..11], Err(RtpError::TooShort));
        check(&fixed, Ok((&[], 0)));
        check(&with(0x40, &[]), Err(RtpError::Version));
        check(&with(0x80, &[9, 9]), Ok((&[9, 9], 0)));
        check(&with(0xA0, &[]), Err(RtpError::Padding));
        check(&with(0xA0, &[7, 0]), Err(RtpError::Padding));
        check(&with(0xA0, &[7, 3]), Err(RtpError::Padding));
        check(&with(0xA0, &[7, 2]), Ok((&[], 2)));
        check(&with(0xA0, &[7, 1]), Ok((&[7], 1)));
        check(&with(0x82, &[0; 7]), Err(RtpError::TooShort));
        check(&with(0x82, &[0, 0, 0, 1, 0, 0, 0, 2, 5]), Ok((&[5], 0)));
        check(&with(0x90, &[0xBE, 0xDE, 0]), Err(RtpError::TooShort));
        check(&with(0x90, &[0xBE, 0xDE, 0, 1, 0, 0, 0]), Err(RtpError::TooShort));
        check(&with(0x90, &[0xBE, 0xDE, 0, 0, 5]), Ok((&[5], 0)));
        check(&with(0x90, &[0xBE, 0xDE, 0, 1, 0x10, 9, 0, 0, 5]), Ok((&[5], 0)));
    }

    #[test]
    fn lengths() {
        let header = RtpHeader { csrc_count: 3, extension: true, ..RtpHeader::default() };
        assert_eq!(header.header_len(), 24);
        assert_eq!(header.rtpsize_len(), 28);
    }

    #[test]
    fn too_many_csrcs_are_refused() {
        let mut buf = [0; 128];
        assert_eq!(RtpHeader::default().write(&[Ssrc(1); 16], &mut buf), Err(NoRoom));
        assert_eq!(RtpHeader::default().write(&[Ssrc(1); 15], &mut buf), Ok(72));
        assert_eq!(RtpHeader::default().write(&[Ssrc(1); 15], &mut buf[..71]), Err(NoRoom));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            marker: bool, pt in 0u8..128, seq: u16, time: u32, ssrc: u32,
            csrcs in proptest::collection::vec(any::<u32>(), 0..=15),
            exts in proptest::collection::vec((1u8..=14, proptest::collection::vec(any::<u8>(), 1..=16)), 0..4),
            payload in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let csrcs: Vec<Ssrc> = csrcs.into_iter().map(Ssrc).collect();
            let header = RtpHeader {
                padding: false, extension: !exts.is_empty(), csrc_count: csrcs.len() as u8, marker,
                payload_type: PayloadType(pt), seq, time: RtpTime(time), ssrc: Ssrc(ssrc),
            };
            let mut buf = [0xAA; 512];
            let mut len = header.write(&csrcs, &mut buf).unwrap();
            if header.extension {
                let mut w = ExtensionWriter::new(ExtensionForm::OneByte, &mut buf[len..]).unwrap();
                for (id, data) in &exts {
                    w.push(*id, data).unwrap();
                }
                len += w.finish().unwrap();
            }
            buf[len..len + payload.len()].copy_from_slice(&payload);
            let packet = Packet::parse(&buf[..len + payload.len()]).unwrap();
            prop_assert_eq!(packet.header, header);
            prop_assert_eq!(packet.csrcs().collect::<Vec<_>>(), csrcs);
            prop_assert_eq!(packet.payload(), &payload[..]);
            prop_assert_eq!(packet.payload_range(), len..len + payload.len());
            let read: Vec<(u8, Vec<u8>)> = packet.extensions().map(|all| {
                all.iter().map(|e| (e.id, e.data.to_vec())).collect()
            }).unwrap_or_default();
            prop_assert_eq!(read, exts);
        }
    }
}
