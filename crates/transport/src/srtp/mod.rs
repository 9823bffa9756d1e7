//! SRTP (RFC 3711, RFC 7714) with keys from a DTLS handshake (RFC 5764): the security of a browser's leg.
//!
//! Unlike a native session it has a key for each direction, so no packet of ours can come back as one of the peer's. The
//! number of an RTP packet, with how often the 16 bits on the wire have rolled over, is part of its nonce, and so is its
//! SSRC; both ends count the rollovers for themselves, from zero.

mod aes_cm;
mod derive;
mod gcm;
mod profile;
mod sources;

use rtp_wire::{FIXED_HEADER_LEN, Packet, RtpError, RtpHeader, SeqNo, Ssrc, rtcp};

use crate::cipher::Forged;
use crate::mode::RTCP_CLEAR_LEN;
use crate::{OpenError, Opened, ReplayWindow, Replayed, SealError};
use aes_cm::AesCm;
use derive::{Label, Master};
use gcm::Gcm;
use profile::RTCP_INDEX_LEN;
use sources::RtcpSources;

pub use profile::{SrtpProfile, UnknownProfile};
pub use sources::{RTCP_SOURCES_MAX, RtcpSource};

/// Says in an RTCP packet's index word that the packet is encrypted.
const ENCRYPTED: u32 = 1 << 31;
/// Every packet of a stream has one of these, and no more exist for a key (RFC 3711 section 3.3.1).
const RTP_INDEX_END: u64 = 1 << 48;

/// Which end of the DTLS handshake we were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DtlsRole {
    Client,
    Server,
}

/// Not as many bytes as the profile takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("keying material of a wrong length")]
pub struct BadKeyingMaterial;

/// What a restart must carry besides the keys and the windows of the peer's RTP streams.
///
/// If packets may have been sent since this was taken, whoever restores it first moves `next_rtcp` beyond them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SrtpState {
    /// The index that our next RTCP packet gets.
    pub next_rtcp: u32,
    /// Whose RTCP the peer has sent, the latest first.
    pub rtcp_sources: [Option<RtcpSource>; RTCP_SOURCES_MAX],
}

/// Both directions with one peer.
pub struct Srtp {
    profile: SrtpProfile,
    ours: Direction,
    theirs: Direction,
    next_rtcp: u32,
    sources: RtcpSources,
}

/// The keys of one direction.
struct Direction {
    rtp: Cipher,
    rtcp: Cipher,
}

#[expect(
    clippy::large_enum_variant,
    reason = "a leg has four of one kind, and a packet should not follow a pointer"
)]
enum Cipher {
    Gcm(Gcm),
    AesCm(AesCm),
}

impl Srtp {
    /// `keying_material` is as the handshake exports it (RFC 5764 section 4.2): the client's key, the server's key, the
    /// client's salt, the server's salt.
    pub fn new(
        profile: SrtpProfile,
        keying_material: &[u8],
        ours: DtlsRole,
    ) -> Result<Self, BadKeyingMaterial> {
        if keying_material.len() != profile.keying_material_len() {
            return Err(BadKeyingMaterial);
        }
        let (keys, salts) = keying_material.split_at(2 * profile.key_len());
        let (client_key, server_key) = keys.split_at(profile.key_len());
        let (client_salt, server_salt) = salts.split_at(profile.salt_len());
        let client = Direction::new(profile, &Master { key: client_key, salt: client_salt });
        let server = Direction::new(profile, &Master { key: server_key, salt: server_salt });
        let (ours, theirs) = match ours {
            DtlsRole::Client => (client, server),
            DtlsRole::Server => (server, client),
        };
        Ok(Self { profile, ours, theirs, next_rtcp: 0, sources: RtcpSources::default() })
    }

    #[must_use]
    pub fn profile(&self) -> SrtpProfile {
        self.profile
    }

    /// Reads what [`Self::seal_rtp`] will read, so that it is at hand by then. The result means nothing.
    #[inline]
    #[must_use]
    pub fn touch(&self) -> u64 {
        self.profile as u64
            ^ match &self.ours.rtp {
                Cipher::Gcm(gcm) => gcm.touch(),
                Cipher::AesCm(aes_cm) => aes_cm.touch(),
            }
    }

    /// Encrypts the RTP packet in `buf[..plain_len]` and says how long it is now. Behind it there must be room for
    /// [`SrtpProfile::rtp_overhead`] bytes.
    ///
    /// `index` is the packet's extended sequence number, the rollovers counted from zero, and must agree with the
    /// number in the header. It makes the nonce: no two packets of one SSRC may have the same one, unless they are
    /// the same packet.
    pub fn seal_rtp(&mut self, buf: &mut [u8], plain_len: usize, index: SeqNo) -> Result<usize, SealError> {
        let packet = buf.get_mut(..plain_len + self.profile.rtp_overhead()).ok_or(SealError::NoRoom)?;
        let (header, header_len) = read_header(&packet[..plain_len]).map_err(|_| SealError::Malformed)?;
        if header.seq != index.wire() {
            return Err(SealError::Malformed);
        }
        self.seal_rtp_as(packet, header_len, (header.ssrc, index))
    }

    /// The same for a packet whose header is the plainest there is, without CSRCs and extension, and names `ssrc`; the number in it is the index's.
    #[inline]
    pub fn seal_plain_rtp(
        &mut self,
        buf: &mut [u8],
        plain_len: usize,
        (ssrc, index): (Ssrc, SeqNo),
    ) -> Result<usize, SealError> {
        let packet = buf.get_mut(..plain_len + self.profile.rtp_overhead()).ok_or(SealError::NoRoom)?;
        if plain_len < FIXED_HEADER_LEN {
            return Err(SealError::Malformed);
        }
        packet[2..4].copy_from_slice(&index.wire().to_be_bytes());
        self.seal_rtp_as(packet, FIXED_HEADER_LEN, (ssrc, index))
    }

    #[inline]
    fn seal_rtp_as(
        &self,
        packet: &mut [u8],
        header_len: usize,
        (ssrc, index): (Ssrc, SeqNo),
    ) -> Result<usize, SealError> {
        if index.0 >= RTP_INDEX_END {
            return Err(SealError::NoncesUsedUp);
        }
        match &self.ours.rtp {
            Cipher::Gcm(gcm) => gcm.seal_rtp(packet, header_len, ssrc, index.0),
            Cipher::AesCm(aes_cm) => aes_cm.seal_rtp(packet, header_len, ssrc, index.0),
        }
        Ok(packet.len())
    }

    /// Encrypts the compound of RTCP packets in `buf[..plain_len]` and says how long it is now. Behind it there must be
    /// room for [`SrtpProfile::rtcp_overhead`] bytes.
    pub fn seal_rtcp(&mut self, buf: &mut [u8], plain_len: usize) -> Result<usize, SealError> {
        let packet = buf.get_mut(..plain_len + self.profile.rtcp_overhead()).ok_or(SealError::NoRoom)?;
        if plain_len < RTCP_CLEAR_LEN {
            return Err(SealError::Malformed);
        }
        let ssrc = rtcp::peek_ssrc(packet).ok_or(SealError::Malformed)?;
        let index = self.next_rtcp;
        if index >= ENCRYPTED {
            return Err(SealError::NoncesUsedUp);
        }
        self.next_rtcp += 1;
        let word_at = packet.len() - self.profile.behind_rtcp_index() - RTCP_INDEX_LEN;
        packet[word_at..word_at + RTCP_INDEX_LEN].copy_from_slice(&(ENCRYPTED | index).to_be_bytes());
        match &self.ours.rtcp {
            Cipher::Gcm(gcm) => gcm.seal_rtcp(packet, ssrc, index),
            Cipher::AesCm(aes_cm) => aes_cm.seal_rtcp(packet, ssrc, index),
        }
        Ok(packet.len())
    }

    /// Decrypts the RTP packet that fills `buf`. `window` is that of the packet's SSRC; for an SSRC not seen before,
    /// hand in a new one and keep it only if this succeeds. After a failure `buf` holds nothing of use.
    ///
    /// A window's first number lands in the first cycle here, not in the second, because the peer's count of rollovers
    /// began at zero. So a window that a native session filled is of no use.
    pub fn open_rtp(&mut self, buf: &mut [u8], window: &mut ReplayWindow) -> Result<Opened, OpenError> {
        let len = buf.len().checked_sub(self.profile.rtp_overhead()).ok_or(OpenError::TooShort)?;
        let (header, header_len) = read_header(&buf[..len]).map_err(|error| match error {
            RtpError::Version => OpenError::Version,
            RtpError::TooShort | RtpError::Padding => OpenError::TooShort,
        })?;
        let seq = window.extend_from_zero(header.seq);
        window.check(seq).map_err(|Replayed| OpenError::Replay)?;
        let opened = match &self.theirs.rtp {
            Cipher::Gcm(gcm) => gcm.open_rtp(buf, header_len, header.ssrc, seq.0),
            Cipher::AesCm(aes_cm) => aes_cm.open_rtp(buf, header_len, header.ssrc, seq.0),
        };
        opened.map_err(|Forged| OpenError::Auth)?;
        window.commit(seq);
        let packet = Packet::parse(&buf[..len]).map_err(|_| OpenError::Malformed)?;
        let body = packet.payload_range();
        Ok(Opened { header, seq, len, header_len, body, nonce: None })
    }

    /// Decrypts the RTCP compound that fills `buf` and says how long it is now. One that says of itself that it is not
    /// encrypted is refused, though RFC 3711 would have it authenticated: no browser sends any.
    ///
    /// Each packet opens once. Only the [`RTCP_SOURCES_MAX`] sources heard last are remembered, though, so what a report
    /// or a request sets in motion must bear being set in motion twice.
    pub fn open_rtcp(&mut self, buf: &mut [u8]) -> Result<usize, OpenError> {
        let len = buf.len().checked_sub(self.profile.rtcp_overhead()).ok_or(OpenError::TooShort)?;
        if len < RTCP_CLEAR_LEN {
            return Err(OpenError::TooShort);
        }
        let ssrc = rtcp::peek_ssrc(buf).ok_or(OpenError::TooShort)?;
        let word_at = buf.len() - self.profile.behind_rtcp_index() - RTCP_INDEX_LEN;
        let word =
            buf[word_at..].first_chunk().map(|word| u32::from_be_bytes(*word)).ok_or(OpenError::TooShort)?;
        if word & ENCRYPTED == 0 {
            return Err(OpenError::Auth);
        }
        let index = word & !ENCRYPTED;
        self.sources.check(ssrc, index).map_err(|Replayed| OpenError::Replay)?;
        let opened = match &self.theirs.rtcp {
            Cipher::Gcm(gcm) => gcm.open_rtcp(buf, ssrc, index),
            Cipher::AesCm(aes_cm) => aes_cm.open_rtcp(buf, ssrc, index),
        };
        opened.map_err(|Forged| OpenError::Auth)?;
        self.sources.commit(ssrc, index);
        Ok(len)
    }

    #[must_use]
    pub fn state(&self) -> SrtpState {
        SrtpState { next_rtcp: self.next_rtcp, rtcp_sources: self.sources.0 }
    }

    /// The index that our next RTCP packet gets: all that changes of the state when one is sealed.
    #[must_use]
    pub fn next_rtcp(&self) -> u32 {
        self.next_rtcp
    }

    /// Goes on where another one with the same keys stopped. Our index never goes back.
    pub fn restore(&mut self, state: SrtpState) {
        self.next_rtcp = self.next_rtcp.max(state.next_rtcp);
        self.sources = RtcpSources(state.rtcp_sources);
    }
}

impl Direction {
    fn new(profile: SrtpProfile, master: &Master<'_>) -> Self {
        use Label::{RtcpAuth, RtcpCipher, RtcpSalt, RtpAuth, RtpCipher, RtpSalt};
        match profile {
            SrtpProfile::AeadAes256Gcm | SrtpProfile::AeadAes128Gcm => Self {
                rtp: Cipher::Gcm(Gcm::new(master, RtpCipher, RtpSalt)),
                rtcp: Cipher::Gcm(Gcm::new(master, RtcpCipher, RtcpSalt)),
            },
            SrtpProfile::Aes128CmSha1_80 => Self {
                rtp: Cipher::AesCm(AesCm::new(master, RtpCipher, RtpAuth, RtpSalt)),
                rtcp: Cipher::AesCm(AesCm::new(master, RtcpCipher, RtcpAuth, RtcpSalt)),
            },
        }
    }
}

/// The header of a packet, and how long it is with its CSRCs and its whole extension: all of that stays readable.
fn read_header(packet: &[u8]) -> Result<(RtpHeader, usize), RtpError> {
    let header = RtpHeader::parse(packet)?;
    let mut len = header.rtpsize_len();
    if header.extension {
        // The preamble's second half counts the words behind it.
        let words = packet[..len].last_chunk::<2>().ok_or(RtpError::TooShort)?;
        len += 4 * usize::from(u16::from_be_bytes(*words));
    }
    if packet.len() < len { Err(RtpError::TooShort) } else { Ok((header, len)) }
}

/// Adds `mask` to `bytes` without carries.
fn xor(bytes: &mut [u8], mask: &[u8]) {
    bytes.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3711 lets a peer authenticate RTCP without encrypting it; ours takes none such, or plain text would be decrypted.
    #[test]
    fn authentic_reports_that_are_not_encrypted_are_refused() {
        for profile in SrtpProfile::ALL {
            let material = [9; SrtpProfile::KEYING_MATERIAL_MAX_LEN];
            let material = &material[..profile.keying_material_len()];
            for (encrypted, expect) in [(ENCRYPTED, Ok(8)), (0, Err(OpenError::Auth))] {
                let client = Srtp::new(profile, material, DtlsRole::Client).unwrap();
                let mut server = Srtp::new(profile, material, DtlsRole::Server).unwrap();
                let mut packet = [0; 8 + SrtpProfile::OVERHEAD_MAX];
                rtcp::write_receiver_report(rtp_wire::Ssrc(5), &[], &mut packet).unwrap();
                let packet = &mut packet[..8 + profile.rtcp_overhead()];
                let word_at = packet.len() - profile.behind_rtcp_index() - RTCP_INDEX_LEN;
                packet[word_at..word_at + 4].copy_from_slice(&(encrypted | 3).to_be_bytes());
                match &client.ours.rtcp {
                    Cipher::Gcm(gcm) => gcm.seal_rtcp(packet, rtp_wire::Ssrc(5), 3),
                    Cipher::AesCm(aes_cm) => aes_cm.seal_rtcp(packet, rtp_wire::Ssrc(5), 3),
                }
                assert_eq!(server.open_rtcp(packet), expect, "{profile}");
            }
        }
    }
}
