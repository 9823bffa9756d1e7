//! From a master key and its salt to the keys of one direction (RFC 3711 section 4.3, RFC 6188, RFC 7714 section 11).
//!
//! The key derivation rate is zero, as DTLS-SRTP has it: keys are derived once.

use aes::cipher::KeyInit;
use aes::{Aes128, Aes256};

use super::aes_cm::counter_mode;

/// A salt of AES-CM; the shorter ones of GCM are filled up with zeros from the right.
pub(super) const SALT_MAX_LEN: usize = 14;
/// Where the label stands within the salt it is added to: seven bytes from the right.
const LABEL_AT: usize = SALT_MAX_LEN - 7;
const FITS: &str = "profiles have keys of 16 and of 32 bytes";

/// What a key is for (RFC 3711 sections 4.3.1 and 4.3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Label {
    RtpCipher = 0,
    RtpAuth = 1,
    RtpSalt = 2,
    RtcpCipher = 3,
    RtcpAuth = 4,
    RtcpSalt = 5,
}

/// The secret of one direction, as the handshake exported it.
#[derive(Clone, Copy)]
pub(super) struct Master<'a> {
    /// 16 or 32 bytes.
    pub key: &'a [u8],
    /// At most [`SALT_MAX_LEN`].
    pub salt: &'a [u8],
}

impl Master<'_> {
    pub fn derive<const N: usize>(&self, label: Label) -> [u8; N] {
        let mut iv = [0; 16];
        iv[..self.salt.len()].copy_from_slice(self.salt);
        iv[LABEL_AT] ^= label as u8;
        let mut derived = [0; N];
        match self.key.len() {
            32 => counter_mode(Aes256::new_from_slice(self.key).expect(FITS), &iv, &mut derived),
            _ => counter_mode(Aes128::new_from_slice(self.key).expect(FITS), &iv, &mut derived),
        }
        derived
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3711 appendix B.3.
    #[test]
    fn the_vectors_of_the_standard() {
        let key = hex::decode("E1F97A0D3E018BE0D64FA32C06DE4139").unwrap();
        let salt = hex::decode("0EC675AD498AFEEBB6960B3AABE6").unwrap();
        let master = Master { key: &key, salt: &salt };
        let check = |got: &[u8], expect: &str| assert_eq!(hex::encode_upper(got), expect);
        check(&master.derive::<16>(Label::RtpCipher), "C61E7A93744F39EE10734AFE3FF7A087");
        check(&master.derive::<14>(Label::RtpSalt), "30CBBC08863D8C85D49DB34A9AE1");
        check(
            &master.derive::<94>(Label::RtpAuth),
            "CEBE321F6FF7716B6FD4AB49AF256A156D38BAA48F0A0ACF3C34E2359E6CDBCEE049646C43D9327AD175578EF7227098\
             6371C10C9A369AC2F94A8C5FBCDDDC256D6E919A48B610EF17C2041E474035766B68642C59BBFC2F34DB60DBDFB2",
        );
    }

    /// RFC 6188 section 7.2.
    #[test]
    fn the_vectors_of_the_standard_for_long_keys() {
        let key = hex::decode("f0f04914b513f2763a1b1fa130f10e2998f6f6e43e4309d1e622a0e332b9f1b6").unwrap();
        let salt = hex::decode("3b04803de51ee7c96423ab5b78d2").unwrap();
        let master = Master { key: &key, salt: &salt };
        let check = |got: &[u8], expect: &str| assert_eq!(hex::encode(got), expect);
        check(
            &master.derive::<32>(Label::RtpCipher),
            "5ba1064e30ec51613cad926c5a28ef731ec7fb397f70a960653caf06554cd8c4",
        );
        check(&master.derive::<14>(Label::RtpSalt), "fa31791685ca444a9e07c6c64e93");
        check(&master.derive::<20>(Label::RtpAuth), "fd9c32d39ed5fbb5a9dc96b30818454d1313dc05");
    }
}
