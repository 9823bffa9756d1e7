//! The voice token: what a client carries from guilds to its voice server.
//!
//! Signed with the cluster's secret (HMAC-SHA-256, truncated to 16 bytes), so that voice signalling checks it by itself. It may be
//! used again for as long as the voice session lives: libraries identify a second time with the same token.

use aws_lc_rs::hmac;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use base64::Engine as _;
use model::{ChannelId, GuildId, ServerId, SessionId, UnixMs, UserId};
use prost::Message as _;

const TAG_BYTES: usize = 16;
/// No valid token is longer; anything longer is refused unread.
pub const TOKEN_CHARS_MAX: usize = 256;

/// The cluster's secret.
#[derive(Clone)]
pub struct TokenKey(hmac::Key);

impl std::fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenKey(…)")
    }
}

impl TokenKey {
    pub fn new(secret: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VoiceToken {
    pub user: UserId,
    pub session: SessionId,
    pub guild: GuildId,
    pub channel: ChannelId,
    pub server: ServerId,
    pub expires_at: UnixMs,
    /// Grows with every token minted for the same guild, so that a move's new token outranks the old one.
    pub serial: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("the token is not of this server's form")]
    Malformed,
    #[error("the token's signature is wrong")]
    Forged,
    #[error("the token has expired")]
    Expired,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Wire {
    #[prost(fixed64, tag = "1")]
    user: u64,
    #[prost(bytes = "vec", tag = "2")]
    session: Vec<u8>,
    #[prost(fixed64, tag = "3")]
    guild: u64,
    #[prost(fixed64, tag = "4")]
    channel: u64,
    #[prost(string, tag = "5")]
    server: String,
    #[prost(uint64, tag = "6")]
    expires_at: u64,
    #[prost(uint64, tag = "7")]
    serial: u64,
}

impl VoiceToken {
    pub fn sign(&self, key: &TokenKey) -> String {
        let mut bytes = Wire {
            user: self.user.0,
            session: self.session.0.to_be_bytes().to_vec(),
            guild: self.guild.0,
            channel: self.channel.0,
            server: self.server.0.clone(),
            expires_at: self.expires_at.0,
            serial: self.serial,
        }
        .encode_to_vec();
        let tag = hmac::sign(&key.0, &bytes);
        bytes.extend_from_slice(&tag.as_ref()[..TAG_BYTES]);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    pub fn verify(token: &str, key: &TokenKey, now: UnixMs) -> Result<Self, TokenError> {
        if token.len() > TOKEN_CHARS_MAX {
            return Err(TokenError::Malformed);
        }
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| TokenError::Malformed)?;
        let at = bytes.len().checked_sub(TAG_BYTES).ok_or(TokenError::Malformed)?;
        let (body, tag) = bytes.split_at(at);
        let expected = hmac::sign(&key.0, body);
        aws_lc_rs::constant_time::verify_slices_are_equal(&expected.as_ref()[..TAG_BYTES], tag)
            .map_err(|_| TokenError::Forged)?;
        let wire = Wire::decode(body).map_err(|_| TokenError::Malformed)?;
        let session: [u8; 16] = wire.session.try_into().map_err(|_| TokenError::Malformed)?;
        if wire.expires_at <= now.0 {
            return Err(TokenError::Expired);
        }
        Ok(Self {
            user: UserId(wire.user),
            session: SessionId(u128::from_be_bytes(session)),
            guild: GuildId(wire.guild),
            channel: ChannelId(wire.channel),
            server: ServerId(wire.server),
            expires_at: UnixMs(wire.expires_at),
            serial: wire.serial,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> VoiceToken {
        VoiceToken {
            user: UserId(u64::MAX),
            session: SessionId(u128::MAX),
            guild: GuildId(u64::MAX),
            channel: ChannelId(u64::MAX),
            server: ServerId("voice-12".to_owned()),
            expires_at: UnixMs(1_795_381_607_123),
            serial: 9,
        }
    }

    #[test]
    fn a_token_survives_the_way_and_stays_short() {
        let key = TokenKey::new(b"secret");
        let text = token().sign(&key);
        assert!(text.len() <= 130, "{} characters", text.len());
        assert_eq!(VoiceToken::verify(&text, &key, UnixMs(1)), Ok(token()));
    }

    #[test]
    fn every_changed_character_and_another_key_are_refused() {
        let key = TokenKey::new(b"secret");
        let text = token().sign(&key);
        for i in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[i] = if bytes[i] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            assert!(VoiceToken::verify(&changed, &key, UnixMs(1)).is_err(), "character {i}");
        }
        assert_eq!(VoiceToken::verify(&text, &TokenKey::new(b"other"), UnixMs(1)), Err(TokenError::Forged));
        assert_eq!(VoiceToken::verify(&text, &key, token().expires_at), Err(TokenError::Expired));
        assert_eq!(VoiceToken::verify("", &key, UnixMs(1)), Err(TokenError::Malformed));
        assert_eq!(VoiceToken::verify(&"A".repeat(300), &key, UnixMs(1)), Err(TokenError::Malformed));
    }
}
