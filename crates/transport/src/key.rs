//! The secret of one session.

use std::fmt;

/// What the protocol calls `secret_key`: 32 bytes, told to the client in SESSION DESCRIPTION.
#[derive(Clone)]
pub struct Key([u8; Key::LEN]);

impl Key {
    pub const LEN: usize = 32;

    #[must_use]
    pub fn new(bytes: [u8; Key::LEN]) -> Self {
        Self(bytes)
    }

    /// The bytes themselves, for the two places that must send them on: to the client and to the relay.
    #[must_use]
    pub fn expose(&self) -> &[u8; Key::LEN] {
        &self.0
    }
}

/// Never shows the key.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_not_printed() {
        assert_eq!(format!("{:?}", Key::new([0xAB; 32])), "Key(redacted)");
    }
}
