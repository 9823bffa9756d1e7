//! Account tokens: random, shown once, kept as a hash.
//!
//! `<user id>.<issued at>.<32 random bytes>`, each base64url: the three parts some client libraries insist on. Only the random
//! part is secret; the database holds the SHA-256 of the whole, so a stolen database signs nobody in.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cluster_wire::guilds::TokenMark;
use model::{UnixMs, UserId};

use crate::limits::TOKEN_CHARS_MAX;

pub(crate) fn new_token(user: UserId, now: UnixMs) -> String {
    let issued_at_s = (now.0 / 1000) as u32;
    let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let id = part(user.to_string().as_bytes());
    format!("{id}.{}.{}", part(&issued_at_s.to_be_bytes()), part(&random::<32>()))
}

/// Bots send "Bot TOKEN", people the bare token, some "Bearer TOKEN".
pub(crate) fn strip_prefix(token: &str) -> &str {
    let token = token.trim();
    ["Bot ", "Bearer "].iter().find_map(|prefix| token.strip_prefix(prefix)).unwrap_or(token).trim_start()
}

/// None for what cannot be a token.
pub(crate) fn hash(token: &str) -> Option<[u8; 32]> {
    let plausible = !token.is_empty() && token.len() <= TOKEN_CHARS_MAX;
    plausible.then(|| sha256(token.as_bytes()))
}

/// What tells a user's tokens apart.
pub(crate) fn mark(hash: [u8; 32]) -> TokenMark {
    TokenMark(*hash.first_chunk().expect("a hash has 32 bytes"))
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    digest(&SHA256, bytes).as_ref().try_into().expect("SHA-256 has 32 bytes")
}

pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system's random generator works");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_have_three_parts_carry_the_user_and_never_repeat() {
        let (user, now) = (UserId(u64::MAX), UnixMs(1_795_381_607_123));
        let token = new_token(user, now);
        assert_ne!(token, new_token(user, now));
        assert!(token.len() <= TOKEN_CHARS_MAX, "{} characters", token.len());
        let parts: Vec<&str> = token.split('.').collect();
        assert_eq!(parts.len(), 3);
        let id = URL_SAFE_NO_PAD.decode(parts[0]).unwrap();
        assert_eq!(String::from_utf8(id).unwrap(), user.to_string());
        assert_eq!(URL_SAFE_NO_PAD.decode(parts[2]).unwrap().len(), 32);
    }

    #[test]
    fn prefixes_are_optional() {
        for text in ["abc", "Bot abc", "Bearer abc", " Bot  abc "] {
            assert_eq!(strip_prefix(text), "abc", "{text:?}");
        }
        assert_eq!(hash(""), None);
        assert_eq!(hash(&"x".repeat(TOKEN_CHARS_MAX + 1)), None);
        assert_eq!(hash("abc"), hash("abc"));
        assert_ne!(hash("abc"), hash("abd"));
    }
}
