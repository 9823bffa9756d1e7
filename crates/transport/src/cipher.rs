//! The three ciphers behind the modes, in place and without allocation.
//!
//! The key schedule of AES-GCM is computed once. XChaCha20-Poly1305 derives a new key from every nonce, so
//! there is nothing to keep but the key; the same goes for XSalsa20-Poly1305, which is NaCl's secretbox.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use dryoc::classic::crypto_aead_xchacha20poly1305_ietf as xchacha;
use dryoc::classic::crypto_secretbox as secretbox;

use crate::Key;
use crate::mode::{Algorithm, LONG_NONCE_LEN, TAG_LEN};

/// The packet did not authenticate.
pub(crate) struct Forged;

pub(crate) enum Cipher {
    Aes256Gcm(LessSafeKey),
    XChaCha20Poly1305([u8; Key::LEN]),
    XSalsa20Poly1305([u8; Key::LEN]),
}

impl Cipher {
    pub(crate) fn new(algorithm: Algorithm, key: &Key) -> Self {
        match algorithm {
            Algorithm::Aes256Gcm => {
                let unbound = UnboundKey::new(&AES_256_GCM, key.expose()).expect("the key has 32 bytes");
                Cipher::Aes256Gcm(LessSafeKey::new(unbound))
            }
            Algorithm::XChaCha20Poly1305 => Cipher::XChaCha20Poly1305(*key.expose()),
            Algorithm::XSalsa20Poly1305 => Cipher::XSalsa20Poly1305(*key.expose()),
        }
    }

    /// Encrypts `text`, which begins with the plaintext and ends with [`TAG_LEN`] bytes of room. Afterwards
    /// the AEADs have the tag at its end and secretbox has it at its beginning.
    pub(crate) fn seal(&self, nonce: &[u8; LONG_NONCE_LEN], header: &[u8], text: &mut [u8]) {
        let plain_len = text.len() - TAG_LEN;
        match self {
            Cipher::Aes256Gcm(key) => {
                let (body, tag) = text.split_at_mut(plain_len);
                let sealed = key
                    .seal_in_place_separate_tag(gcm_nonce(nonce), Aad::from(header), body)
                    .expect("a datagram is far below the cipher's limit");
                tag.copy_from_slice(sealed.as_ref());
            }
            Cipher::XChaCha20Poly1305(key) => {
                let (body, tag) = text.split_at_mut(plain_len);
                let tag = tag.first_chunk_mut::<TAG_LEN>().expect("the text ends with room for a tag");
                xchacha::crypto_aead_xchacha20poly1305_ietf_encrypt_detached_inplace(
                    body,
                    tag,
                    Some(header),
                    nonce,
                    key,
                )
                .expect("a datagram is far below the cipher's limit");
            }
            Cipher::XSalsa20Poly1305(key) => {
                secretbox::crypto_secretbox_easy_inplace(text, nonce, key)
                    .expect("the text has room for a tag");
            }
        }
    }

    /// Decrypts `text`; if it authenticates, the plaintext is at its beginning, [`TAG_LEN`] shorter.
    pub(crate) fn open(
        &self,
        nonce: &[u8; LONG_NONCE_LEN],
        header: &[u8],
        text: &mut [u8],
    ) -> Result<(), Forged> {
        let plain_len = text.len().checked_sub(TAG_LEN).ok_or(Forged)?;
        match self {
            Cipher::Aes256Gcm(key) => {
                let (body, tag) = text.split_at_mut(plain_len);
                key.open_in_place_separate_tag(gcm_nonce(nonce), Aad::from(header), tag, body)
                    .map_err(|_| Forged)?;
            }
            Cipher::XChaCha20Poly1305(key) => {
                let (body, tag) = text.split_at_mut(plain_len);
                let tag = tag.first_chunk::<TAG_LEN>().ok_or(Forged)?;
                xchacha::crypto_aead_xchacha20poly1305_ietf_decrypt_detached_inplace(
                    body,
                    tag,
                    Some(header),
                    nonce,
                    key,
                )
                .map_err(|_| Forged)?;
            }
            Cipher::XSalsa20Poly1305(key) => {
                secretbox::crypto_secretbox_open_easy_inplace(text, nonce, key).map_err(|_| Forged)?;
            }
        }
        Ok(())
    }
}

fn gcm_nonce(nonce: &[u8; LONG_NONCE_LEN]) -> Nonce {
    let short = nonce.first_chunk::<NONCE_LEN>().expect("12 is less than 24");
    Nonce::assume_unique_for_key(*short)
}
