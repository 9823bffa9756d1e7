//! AES in counter mode with HMAC-SHA1 (RFC 3711 sections 4.1.1 and 4.2.1): the keys for the RTP or for the RTCP of one
//! direction.

use aes::Aes128;
use aes::cipher::consts::U16;
use aes::cipher::{
    BlockCipherEncrypt, BlockSizeUser, InnerIvInit, KeyInit, StreamCipher, StreamCipherCoreWrapper,
};
use ctr::{CtrCore, flavors};
use hmac::{Hmac, Mac};
use rtp_wire::Ssrc;
use sha1::Sha1;

use super::derive::{Label, Master, SALT_MAX_LEN};
use super::profile::{CM_TAG_LEN, RTCP_INDEX_LEN};
use super::xor;
use crate::cipher::Forged;
use crate::mode::RTCP_CLEAR_LEN;

const AUTH_KEY_LEN: usize = 20;

pub(super) struct AesCm {
    cipher: Aes128,
    /// Has taken in the key and nothing else; copied for each packet.
    mac: Hmac<Sha1>,
    salt: [u8; SALT_MAX_LEN],
}

impl AesCm {
    pub fn new(master: &Master<'_>, cipher: Label, auth: Label, salt: Label) -> Self {
        let auth = master.derive::<AUTH_KEY_LEN>(auth);
        Self {
            cipher: Aes128::new(&master.derive::<16>(cipher).into()),
            mac: Hmac::new_from_slice(&auth).expect("HMAC takes keys of any length"),
            salt: master.derive(salt),
        }
    }

    /// See [`super::Srtp::touch`].
    #[inline]
    pub fn touch(&self) -> u64 {
        self.salt[0].into()
    }

    /// `packet` ends with room for a tag.
    pub fn seal_rtp(&self, packet: &mut [u8], header_len: usize, ssrc: Ssrc, index: u64) {
        let (packet, tag) = packet.split_at_mut(packet.len() - CM_TAG_LEN);
        self.encrypt(&mut packet[header_len..], ssrc, index);
        put_tag(self.rtp_mac(packet, index), tag);
    }

    pub fn open_rtp(
        &self,
        packet: &mut [u8],
        header_len: usize,
        ssrc: Ssrc,
        index: u64,
    ) -> Result<(), Forged> {
        let (packet, tag) = packet.split_at_mut(packet.len() - CM_TAG_LEN);
        self.rtp_mac(packet, index).verify_truncated_left(tag).map_err(|_| Forged)?;
        self.encrypt(&mut packet[header_len..], ssrc, index);
        Ok(())
    }

    /// `packet` ends with the word with the index and room for a tag.
    pub fn seal_rtcp(&self, packet: &mut [u8], ssrc: Ssrc, index: u32) {
        let (packet, tag) = packet.split_at_mut(packet.len() - CM_TAG_LEN);
        let end = packet.len() - RTCP_INDEX_LEN;
        self.encrypt(&mut packet[RTCP_CLEAR_LEN..end], ssrc, u64::from(index));
        put_tag(self.mac_of(packet), tag);
    }

    pub fn open_rtcp(&self, packet: &mut [u8], ssrc: Ssrc, index: u32) -> Result<(), Forged> {
        let (packet, tag) = packet.split_at_mut(packet.len() - CM_TAG_LEN);
        self.mac_of(packet).verify_truncated_left(tag).map_err(|_| Forged)?;
        let end = packet.len() - RTCP_INDEX_LEN;
        self.encrypt(&mut packet[RTCP_CLEAR_LEN..end], ssrc, u64::from(index));
        Ok(())
    }

    /// Decrypts as well.
    fn encrypt(&self, text: &mut [u8], ssrc: Ssrc, index: u64) {
        let mut iv = [0; 16];
        iv[..SALT_MAX_LEN].copy_from_slice(&self.salt);
        xor(&mut iv[4..8], &ssrc.0.to_be_bytes());
        xor(&mut iv[8..14], &index.to_be_bytes()[2..]);
        counter_mode(&self.cipher, &iv, text);
    }

    /// The rollover counter is authenticated but not sent.
    fn rtp_mac(&self, packet: &[u8], index: u64) -> Hmac<Sha1> {
        let rollovers = (index >> 16) as u32;
        self.mac_of(packet).chain_update(rollovers.to_be_bytes())
    }

    fn mac_of(&self, packet: &[u8]) -> Hmac<Sha1> {
        self.mac.clone().chain_update(packet)
    }
}

/// Adds the blocks that `cipher` makes of `iv` and its successors to `text`. A reference to a cipher is one as well, so the
/// key schedule stays where it is.
pub(super) fn counter_mode<C>(cipher: C, iv: &[u8; 16], text: &mut [u8])
where
    C: BlockCipherEncrypt + BlockSizeUser<BlockSize = U16>,
{
    let core = CtrCore::<C, flavors::Ctr128BE>::inner_iv_init(cipher, iv.into());
    StreamCipherCoreWrapper::from_core(core).apply_keystream(text);
}

fn put_tag(mac: Hmac<Sha1>, tag: &mut [u8]) {
    tag.copy_from_slice(&mac.finalize().into_bytes()[..CM_TAG_LEN]);
}
