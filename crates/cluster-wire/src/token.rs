//! The voice token: what a client carries from guilds to its voice server.
//!
//! Signed with the cluster's secret (HMAC-SHA-256, truncated to 16 bytes), so that voice signalling checks it by itself. It may be
//! used again for as long as the voice session lives: libraries identify a second time with the same token.
//!
//! A token is part of every join, and a join shall cost few bytes. So guild and session are signed but not carried: whoever shows a
//! token names both beside it, in IDENTIFY as in RESUME.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use model::{ChannelId, GuildId, ServerId, SessionId, UnixMs, UserId};

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

/// What a token carries before its tag: user, channel, milliseconds, serial, and then the server's name.
const FIXED_BYTES: usize = 8 + 8 + 6 + 8;
/// Milliseconds are written in six bytes, which last for nine thousand years.
const MS_MAX: u64 = (1 << 48) - 1;

impl VoiceToken {
    pub fn sign(&self, key: &TokenKey) -> String {
        let mut bytes = Vec::with_capacity(FIXED_BYTES + self.server.0.len() + TAG_BYTES);
        bytes.extend_from_slice(&self.user.0.to_be_bytes());
        bytes.extend_from_slice(&self.channel.0.to_be_bytes());
        bytes.extend_from_slice(&self.expires_at.0.min(MS_MAX).to_be_bytes()[2..]);
        bytes.extend_from_slice(&self.serial.to_be_bytes());
        bytes.extend_from_slice(self.server.0.as_bytes());
        let tag = tag(key, &bytes, self.guild, self.session);
        bytes.extend_from_slice(&tag);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads a token shown for this guild and session; for any other it is forged.
    pub fn verify(
        token: &str,
        key: &TokenKey,
        now: UnixMs,
        guild: GuildId,
        session: SessionId,
    ) -> Result<Self, TokenError> {
        if token.len() > TOKEN_CHARS_MAX {
            return Err(TokenError::Malformed);
        }
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| TokenError::Malformed)?;
        let at = bytes.len().checked_sub(TAG_BYTES).ok_or(TokenError::Malformed)?;
        let (body, shown) = bytes.split_at(at);
        aws_lc_rs::constant_time::verify_slices_are_equal(&tag(key, body, guild, session), shown)
            .map_err(|_| TokenError::Forged)?;
        let mut rest = body;
        let user = number::<8>(&mut rest)?;
        let channel = number::<8>(&mut rest)?;
        let expires_at = UnixMs(number::<6>(&mut rest)?);
        let serial = number::<8>(&mut rest)?;
        let server = std::str::from_utf8(rest).map_err(|_| TokenError::Malformed)?;
        if expires_at <= now {
            return Err(TokenError::Expired);
        }
        Ok(Self {
            user: UserId(user),
            session,
            guild,
            channel: ChannelId(channel),
            server: ServerId(server.to_owned()),
            expires_at,
            serial,
        })
    }
}

/// Over everything that is carried, and what is named beside it. Both of those have a fixed length, so that nothing can be
/// shifted from one part to another.
fn tag(key: &TokenKey, body: &[u8], guild: GuildId, session: SessionId) -> [u8; TAG_BYTES] {
    let mut context = hmac::Context::with_key(&key.0);
    context.update(&guild.0.to_be_bytes());
    context.update(&session.0.to_be_bytes());
    context.update(body);
    let whole = context.sign();
    *whole.as_ref().first_chunk().expect("SHA-256 gives 32 bytes")
}

fn number<const N: usize>(rest: &mut &[u8]) -> Result<u64, TokenError> {
    let (bytes, after) = rest.split_first_chunk::<N>().ok_or(TokenError::Malformed)?;
    *rest = after;
    Ok(bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
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

    fn verify(text: &str, key: &TokenKey, now: UnixMs) -> Result<VoiceToken, TokenError> {
        VoiceToken::verify(text, key, now, token().guild, token().session)
    }

    #[test]
    fn a_token_survives_the_way_and_stays_short() {
        let key = TokenKey::new(b"secret");
        let text = token().sign(&key);
        assert!(text.len() <= 72, "{} characters", text.len());
        assert_eq!(verify(&text, &key, UnixMs(1)), Ok(token()));
    }

    #[test]
    fn a_token_is_for_one_guild_and_session() {
        let key = TokenKey::new(b"secret");
        let (text, right) = (token().sign(&key), token());
        let other_guild = VoiceToken::verify(&text, &key, UnixMs(1), GuildId(5), right.session);
        assert_eq!(other_guild, Err(TokenError::Forged));
        let other_session = VoiceToken::verify(&text, &key, UnixMs(1), right.guild, SessionId(5));
        assert_eq!(other_session, Err(TokenError::Forged));
    }

    #[test]
    fn every_changed_character_and_another_key_are_refused() {
        let key = TokenKey::new(b"secret");
        let text = token().sign(&key);
        for i in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[i] = if bytes[i] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            assert!(verify(&changed, &key, UnixMs(1)).is_err(), "character {i}");
        }
        assert_eq!(verify(&text, &TokenKey::new(b"other"), UnixMs(1)), Err(TokenError::Forged));
        assert_eq!(verify(&text, &key, token().expires_at), Err(TokenError::Expired));
        assert_eq!(verify("", &key, UnixMs(1)), Err(TokenError::Malformed));
        assert_eq!(verify(&"A".repeat(300), &key, UnixMs(1)), Err(TokenError::Malformed));
    }
}
