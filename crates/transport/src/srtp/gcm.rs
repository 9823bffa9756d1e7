//! AES-GCM as SRTP uses it (RFC 7714): one key with its salt, for the RTP or for the RTCP of one direction.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, Algorithm, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use rtp_wire::Ssrc;

use super::derive::{Label, Master};
use super::profile::RTCP_INDEX_LEN;
use super::xor;
use crate::cipher::Forged;
use crate::mode::{RTCP_CLEAR_LEN, TAG_LEN};

pub(super) struct Gcm {
    key: LessSafeKey,
    salt: [u8; NONCE_LEN],
}

impl Gcm {
    pub fn new(master: &Master<'_>, cipher: Label, salt: Label) -> Self {
        let salt = master.derive(salt);
        match master.key.len() {
            32 => Self::from_keys(&AES_256_GCM, &master.derive::<32>(cipher), salt),
            _ => Self::from_keys(&AES_128_GCM, &master.derive::<16>(cipher), salt),
        }
    }

    fn from_keys(algorithm: &'static Algorithm, key: &[u8], salt: [u8; NONCE_LEN]) -> Self {
        let unbound = UnboundKey::new(algorithm, key).expect("a key has its algorithm's length");
        Self { key: LessSafeKey::new(unbound), salt }
    }

    /// See [`super::Srtp::touch`].
    #[inline]
    pub fn touch(&self) -> u64 {
        std::ptr::from_ref(self.key.algorithm()).addr() as u64 ^ u64::from(self.salt[0])
    }

    /// `packet` ends with room for a tag.
    pub fn seal_rtp(&self, packet: &mut [u8], header_len: usize, ssrc: Ssrc, index: u64) {
        let (header, text) = packet.split_at_mut(header_len);
        self.seal(self.nonce(ssrc, index), header, text);
    }

    pub fn open_rtp(
        &self,
        packet: &mut [u8],
        header_len: usize,
        ssrc: Ssrc,
        index: u64,
    ) -> Result<(), Forged> {
        let (header, text) = packet.split_at_mut(header_len);
        self.open(self.nonce(ssrc, index), header, text)
    }

    /// `packet` ends with room for a tag and the word with the index, which is already there.
    pub fn seal_rtcp(&self, packet: &mut [u8], ssrc: Ssrc, index: u32) {
        let (aad, text) = rtcp_parts(packet);
        self.seal(self.nonce(ssrc, u64::from(index)), &aad, text);
    }

    pub fn open_rtcp(&self, packet: &mut [u8], ssrc: Ssrc, index: u32) -> Result<(), Forged> {
        let (aad, text) = rtcp_parts(packet);
        self.open(self.nonce(ssrc, u64::from(index)), &aad, text)
    }

    fn seal(&self, nonce: Nonce, aad: &[u8], text: &mut [u8]) {
        let (body, tag) = text.split_at_mut(text.len() - TAG_LEN);
        let sealed = self
            .key
            .seal_in_place_separate_tag(nonce, Aad::from(aad), body)
            .expect("a datagram is far below the cipher's limit");
        tag.copy_from_slice(sealed.as_ref());
    }

    fn open(&self, nonce: Nonce, aad: &[u8], text: &mut [u8]) -> Result<(), Forged> {
        let (body, tag) = text.split_at_mut(text.len() - TAG_LEN);
        self.key.open_in_place_separate_tag(nonce, Aad::from(aad), tag, body).map_err(|_| Forged)?;
        Ok(())
    }

    /// Two zeros, the SSRC, and the index in 48 bits, all added to the salt (RFC 7714 sections 8.1 and 9.1).
    fn nonce(&self, ssrc: Ssrc, index: u64) -> Nonce {
        let mut nonce = self.salt;
        xor(&mut nonce[2..6], &ssrc.0.to_be_bytes());
        xor(&mut nonce[6..12], &index.to_be_bytes()[2..]);
        Nonce::assume_unique_for_key(nonce)
    }
}

/// What is authenticated only, the first eight bytes and the word with the index, and what is encrypted too (RFC 7714
/// section 9.2).
fn rtcp_parts(packet: &mut [u8]) -> ([u8; RTCP_CLEAR_LEN + RTCP_INDEX_LEN], &mut [u8]) {
    let (packet, word) = packet.split_at_mut(packet.len() - RTCP_INDEX_LEN);
    let (header, text) = packet.split_at_mut(RTCP_CLEAR_LEN);
    let mut aad = [0; RTCP_CLEAR_LEN + RTCP_INDEX_LEN];
    aad[..RTCP_CLEAR_LEN].copy_from_slice(header);
    aad[RTCP_CLEAR_LEN..].copy_from_slice(word);
    (aad, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_standard(key_len: usize) -> Gcm {
        let key: Vec<u8> = (0..32).take(key_len).collect();
        let algorithm = if key_len == 32 { &AES_256_GCM } else { &AES_128_GCM };
        Gcm::from_keys(algorithm, &key, *b"Quid pro quo")
    }

    /// RFC 7714 sections 16.1.1 and 16.2.1.
    #[test]
    fn the_rtp_vectors_of_the_standard() {
        let check = |key_len, expect: &str| {
            let gcm = from_standard(key_len);
            let header = hex::decode("8040f17b8041f8d35501a0b2").unwrap();
            let plain = [&header[..], b"Gallia est omnis divisa in partes tres"].concat();
            let mut packet = [&plain[..], &[0; TAG_LEN]].concat();
            gcm.seal_rtp(&mut packet, header.len(), Ssrc(0x5501_A0B2), 0xF17B);
            assert_eq!(hex::encode(&packet[header.len()..]), expect);
            assert!(gcm.open_rtp(&mut packet, header.len(), Ssrc(0x5501_A0B2), 0xF17B).is_ok());
            assert_eq!(packet[..plain.len()], plain);
        };
        check(
            16,
            "f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f42a5f47a51c7d19b36de3adf8833899d7f27beb16a9152cf\
             765ee4390cce",
        );
        check(
            32,
            "32b1de78a822fe12ef9f78fa332e33aab18012389a58e2f3b50b2a0276ffae0f1ba63799b87b7aa3db36dfffd6b0f9bb\
             7878d7a76c13",
        );
    }

    /// RFC 7714 sections 17.1 and 17.3.
    #[test]
    fn the_rtcp_vectors_of_the_standard() {
        let check = |key_len, expect: &str| {
            let gcm = from_standard(key_len);
            let report = "81c8000d4d6172734e5450314e545032525450200000042a0000e9304c756e61";
            let plain = hex::decode(report.to_owned() + &"deadbeef".repeat(5)).unwrap();
            let mut packet = [&plain[..], &[0; TAG_LEN], &[0x80, 0, 5, 0xD4]].concat();
            gcm.seal_rtcp(&mut packet, Ssrc(0x4D61_7273), 0x5D4);
            assert_eq!(hex::encode(&packet[RTCP_CLEAR_LEN..packet.len() - RTCP_INDEX_LEN]), expect);
            assert!(gcm.open_rtcp(&mut packet, Ssrc(0x4D61_7273), 0x5D4).is_ok());
            assert_eq!(packet[..plain.len()], plain);
        };
        check(
            16,
            "63e94885dcdab67ca727d7662f6b7e997ff5c0f76c06f32dc676a5f1730d6fda4ce09b4686303ded0bb9275bc84aa458\
             96cf4d2fc5abf87245d9eade",
        );
        check(
            32,
            "d50ae4d1f5ce5d304ba297e47d470c282c3ece5dbffe0a50a2eaa5c1110555be8415f658c61de0476f1b6fad1d1eb30c\
             4446839f57ff6f6cb26ac3be",
        );
    }
}
