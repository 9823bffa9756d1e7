//! The protection profiles that a DTLS handshake may choose (RFC 5764 section 4.1.2, RFC 7714 section 14.2).

use std::fmt;

use super::derive::SALT_MAX_LEN;
use crate::mode::TAG_LEN as GCM_TAG_LEN;

/// HMAC-SHA1, cut to 80 bits.
pub(super) const CM_TAG_LEN: usize = 10;
/// The bit that says "encrypted", and the number of the packet.
pub(super) const RTCP_INDEX_LEN: usize = 4;
const GCM_SALT_LEN: usize = 12;

/// How packets between a browser and the server are encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SrtpProfile {
    AeadAes256Gcm,
    AeadAes128Gcm,
    /// The one that every browser must be able to do (RFC 8827 section 6.5).
    Aes128CmSha1_80,
}

impl SrtpProfile {
    /// Best first: AES-256-GCM costs hardly more than AES-128-GCM, and both far less than AES-CM with its SHA-1.
    pub const ALL: [SrtpProfile; 3] =
        [SrtpProfile::AeadAes256Gcm, SrtpProfile::AeadAes128Gcm, SrtpProfile::Aes128CmSha1_80];

    /// The most that any profile adds to an RTP or RTCP packet.
    pub const OVERHEAD_MAX: usize = GCM_TAG_LEN + RTCP_INDEX_LEN;
    /// The most keying material that any profile takes.
    pub const KEYING_MATERIAL_MAX_LEN: usize = 2 * (32 + GCM_SALT_LEN);

    /// As in the registry of DTLS-SRTP profiles.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            SrtpProfile::AeadAes256Gcm => "SRTP_AEAD_AES_256_GCM",
            SrtpProfile::AeadAes128Gcm => "SRTP_AEAD_AES_128_GCM",
            SrtpProfile::Aes128CmSha1_80 => "SRTP_AES128_CM_SHA1_80",
        }
    }

    pub fn from_name(name: &str) -> Result<Self, UnknownProfile> {
        Self::ALL.into_iter().find(|profile| profile.name() == name).ok_or(UnknownProfile)
    }

    /// How many bytes the handshake must export: two keys and two salts.
    #[must_use]
    pub fn keying_material_len(self) -> usize {
        2 * (self.key_len() + self.salt_len())
    }

    /// What sealing adds to an RTP packet.
    #[must_use]
    pub fn rtp_overhead(self) -> usize {
        match self {
            SrtpProfile::AeadAes256Gcm | SrtpProfile::AeadAes128Gcm => GCM_TAG_LEN,
            SrtpProfile::Aes128CmSha1_80 => CM_TAG_LEN,
        }
    }

    /// What sealing adds to a compound of RTCP packets.
    #[must_use]
    pub fn rtcp_overhead(self) -> usize {
        self.rtp_overhead() + RTCP_INDEX_LEN
    }

    /// How many bytes stand behind the word with the number of an RTCP packet: AES-CM authenticates the word as part of
    /// the packet and has its tag last, GCM has the word last.
    pub(super) fn behind_rtcp_index(self) -> usize {
        match self {
            SrtpProfile::AeadAes256Gcm | SrtpProfile::AeadAes128Gcm => 0,
            SrtpProfile::Aes128CmSha1_80 => CM_TAG_LEN,
        }
    }

    pub(super) fn key_len(self) -> usize {
        match self {
            SrtpProfile::AeadAes256Gcm => 32,
            SrtpProfile::AeadAes128Gcm | SrtpProfile::Aes128CmSha1_80 => 16,
        }
    }

    pub(super) fn salt_len(self) -> usize {
        match self {
            SrtpProfile::AeadAes256Gcm | SrtpProfile::AeadAes128Gcm => GCM_SALT_LEN,
            SrtpProfile::Aes128CmSha1_80 => SALT_MAX_LEN,
        }
    }
}

impl fmt::Display for SrtpProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The name of a profile that we do not speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown SRTP profile")]
pub struct UnknownProfile;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for profile in SrtpProfile::ALL {
            assert_eq!(SrtpProfile::from_name(profile.name()), Ok(profile));
        }
        assert_eq!(SrtpProfile::from_name("SRTP_NULL_SHA1_80"), Err(UnknownProfile));
    }

    #[test]
    fn lengths() {
        assert_eq!(SrtpProfile::ALL.map(SrtpProfile::keying_material_len), [88, 56, 60]);
        assert_eq!(SrtpProfile::ALL.map(SrtpProfile::rtp_overhead), [16, 16, 10]);
        assert_eq!(SrtpProfile::ALL.map(SrtpProfile::rtcp_overhead), [20, 20, 14]);
        assert_eq!(
            SrtpProfile::ALL.map(SrtpProfile::rtcp_overhead).into_iter().max(),
            Some(SrtpProfile::OVERHEAD_MAX)
        );
        let longest = SrtpProfile::ALL.map(SrtpProfile::keying_material_len).into_iter().max();
        assert_eq!(longest, Some(SrtpProfile::KEYING_MATERIAL_MAX_LEN));
    }
}
