//! The encryption modes and how each lays out a packet.

use std::fmt;
use std::str::FromStr;

use rtp_wire::{FIXED_HEADER_LEN, RtpHeader};

pub(crate) const TAG_LEN: usize = 16;
pub(crate) const COUNTER_LEN: usize = 4;
pub(crate) const LONG_NONCE_LEN: usize = 24;
/// RTCP leaves its first header and the sender's SSRC readable, in every mode.
pub(crate) const RTCP_CLEAR_LEN: usize = 8;

/// How packets between a native client and the server are encrypted.
///
/// `rtpsize` in a name: the whole RTP header is readable, with its CSRCs and the four bytes that open an
/// extension; without it, only the first twelve bytes are, and the rest is encrypted with the payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// AES-256-GCM; header authenticated; ciphertext, tag, counter.
    Aes256GcmRtpsize,
    /// XChaCha20-Poly1305; header authenticated; ciphertext, tag, counter. Every client must be able to do
    /// it.
    XChaCha20Poly1305Rtpsize,
    /// XSalsa20-Poly1305; header not authenticated; tag, ciphertext, counter.
    XSalsa20Poly1305LiteRtpsize,
    /// The same with twelve readable bytes.
    XSalsa20Poly1305Lite,
    /// XSalsa20-Poly1305; header not authenticated; tag, ciphertext, 24 random bytes.
    XSalsa20Poly1305Suffix,
    /// XSalsa20-Poly1305 with the header as the nonce; tag, ciphertext.
    XSalsa20Poly1305,
    /// AES-256-GCM with twelve readable bytes. Understood, never offered.
    Aes256Gcm,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Algorithm {
    Aes256Gcm,
    XChaCha20Poly1305,
    XSalsa20Poly1305,
}

/// Where a packet's nonce comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NonceSource {
    /// A 32-bit counter behind the packet, padded with zeros.
    Counter,
    /// 24 bytes behind the packet.
    Long,
    /// The readable header, padded with zeros.
    Header,
}

impl Mode {
    /// What a server offers, best first: clients that do not know better take the first they understand.
    pub const ALL: [Mode; 6] = [
        Mode::Aes256GcmRtpsize,
        Mode::XChaCha20Poly1305Rtpsize,
        Mode::XSalsa20Poly1305LiteRtpsize,
        Mode::XSalsa20Poly1305Lite,
        Mode::XSalsa20Poly1305Suffix,
        Mode::XSalsa20Poly1305,
    ];

    /// The most that any mode adds to a packet.
    pub const OVERHEAD_MAX: usize = TAG_LEN + LONG_NONCE_LEN;

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Mode::Aes256GcmRtpsize => "aead_aes256_gcm_rtpsize",
            Mode::XChaCha20Poly1305Rtpsize => "aead_xchacha20_poly1305_rtpsize",
            Mode::XSalsa20Poly1305LiteRtpsize => "xsalsa20_poly1305_lite_rtpsize",
            Mode::XSalsa20Poly1305Lite => "xsalsa20_poly1305_lite",
            Mode::XSalsa20Poly1305Suffix => "xsalsa20_poly1305_suffix",
            Mode::XSalsa20Poly1305 => "xsalsa20_poly1305",
            Mode::Aes256Gcm => "aead_aes256_gcm",
        }
    }

    /// What sealing adds to a packet.
    #[must_use]
    pub fn overhead(self) -> usize {
        TAG_LEN
            + match self.nonce_source() {
                NonceSource::Counter => COUNTER_LEN,
                NonceSource::Long => LONG_NONCE_LEN,
                NonceSource::Header => 0,
            }
    }

    pub(crate) fn algorithm(self) -> Algorithm {
        match self {
            Mode::Aes256GcmRtpsize | Mode::Aes256Gcm => Algorithm::Aes256Gcm,
            Mode::XChaCha20Poly1305Rtpsize => Algorithm::XChaCha20Poly1305,
            Mode::XSalsa20Poly1305LiteRtpsize
            | Mode::XSalsa20Poly1305Lite
            | Mode::XSalsa20Poly1305Suffix
            | Mode::XSalsa20Poly1305 => Algorithm::XSalsa20Poly1305,
        }
    }

    pub(crate) fn nonce_source(self) -> NonceSource {
        match self {
            Mode::Aes256GcmRtpsize
            | Mode::XChaCha20Poly1305Rtpsize
            | Mode::XSalsa20Poly1305LiteRtpsize
            | Mode::XSalsa20Poly1305Lite
            | Mode::Aes256Gcm => NonceSource::Counter,
            Mode::XSalsa20Poly1305Suffix => NonceSource::Long,
            Mode::XSalsa20Poly1305 => NonceSource::Header,
        }
    }

    /// Whether a changed header makes a packet fail to authenticate.
    pub(crate) fn authenticates_header(self) -> bool {
        self.algorithm() != Algorithm::XSalsa20Poly1305 || self.nonce_source() == NonceSource::Header
    }

    /// How many bytes of an RTP packet stay readable.
    pub(crate) fn rtp_clear_len(self, header: &RtpHeader) -> usize {
        match self {
            Mode::Aes256GcmRtpsize | Mode::XChaCha20Poly1305Rtpsize | Mode::XSalsa20Poly1305LiteRtpsize => {
                header.rtpsize_len()
            }
            Mode::XSalsa20Poly1305Lite
            | Mode::XSalsa20Poly1305Suffix
            | Mode::XSalsa20Poly1305
            | Mode::Aes256Gcm => FIXED_HEADER_LEN,
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The name of a mode that we do not speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown encryption mode")]
pub struct UnknownMode;

impl FromStr for Mode {
    type Err = UnknownMode;

    fn from_str(name: &str) -> Result<Self, UnknownMode> {
        let known = Mode::ALL.into_iter().chain([Mode::Aes256Gcm]);
        known.into_iter().find(|mode| mode.name() == name).ok_or(UnknownMode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for mode in Mode::ALL.into_iter().chain([Mode::Aes256Gcm]) {
            assert_eq!(mode.name().parse(), Ok(mode));
            assert!(mode.overhead() <= Mode::OVERHEAD_MAX);
        }
        assert_eq!("plain".parse::<Mode>(), Err(UnknownMode));
        assert_eq!("AEAD_AES256_GCM_RTPSIZE".parse::<Mode>(), Err(UnknownMode));
    }

    #[test]
    fn overheads() {
        assert_eq!(Mode::ALL.map(Mode::overhead), [20, 20, 20, 20, 40, 16]);
    }
}
