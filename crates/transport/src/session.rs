//! One key with one peer: sealing what we send, opening what comes.

use std::ops::Range;

use rtp_wire::{FIXED_HEADER_LEN, Packet, RtpError, RtpHeader, SeqNo};

use crate::cipher::{Cipher, Forged};
use crate::guard::{CounterGuard, Place};
use crate::mode::{COUNTER_LEN, LONG_NONCE_LEN, NonceSource, RTCP_CLEAR_LEN, TAG_LEN};
use crate::nonce::NonceState;
use crate::{Key, Mode, NonceCounter, ReplayWindow, Replayed, WindowState};

/// Why a packet of ours could not be sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum SealError {
    #[error("the buffer has no room for what the mode adds")]
    NoRoom,
    #[error("not a packet of the announced length")]
    Malformed,
    #[error("every nonce of this key has been used")]
    NoncesUsedUp,
    /// `xsalsa20_poly1305` takes the eight readable bytes of RTCP as its nonce, and those repeat. So in that
    /// mode only RTCP without a body is sealed, which is the empty receiver report that keeps a path open:
    /// the same packet every time.
    #[error("this mode has no nonces for RTCP with a body")]
    NonceWouldRepeat,
}

/// Why a packet was not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum OpenError {
    #[error("shorter than the mode's header, tag and nonce")]
    TooShort,
    #[error("not RTP version 2")]
    Version,
    #[error("seen before, or too old to tell")]
    Replay,
    #[error("one of our own packets, sent back")]
    Reflected,
    #[error("does not authenticate")]
    Auth,
    /// Authentic, but broken: the peer's own doing.
    #[error("the decrypted packet contradicts its header")]
    Malformed,
}

/// An RTP packet that was opened. In the buffer, `..len` is now an ordinary unencrypted RTP packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    pub header: RtpHeader,
    /// The sequence number, extended by the stream's replay window.
    pub seq: SeqNo,
    pub len: usize,
    /// Header, CSRCs and the whole extension.
    pub header_len: usize,
    /// The payload without padding; it begins at `header_len`.
    pub body: Range<usize>,
    /// The peer's counter, in the modes that have one.
    pub nonce: Option<u32>,
}

/// One key, used in both directions with one peer.
pub struct Session {
    mode: Mode,
    cipher: Cipher,
    nonces: NonceCounter,
    long_nonces: LongNonces,
    /// The peer's counters, where nothing else protects against replays: of RTCP, which has no number of its
    /// own, and of RTP in the modes where the header with its number is not authenticated.
    counters_seen: CounterGuard,
}

/// What a restart must carry of a server's session besides the key and the windows of the peer's RTP streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SessionState {
    pub nonces: NonceState,
    /// Of the long nonces: their random part, and how many were used.
    pub salt: [u8; 16],
    pub long_used: u64,
    /// The windows of the peer's counters: of its newest run, and of the one before.
    pub counters_seen: [Option<WindowState>; 2],
}

/// In a session's progress: it is that of long nonces.
const LONG: u64 = 1 << 62;

impl SessionState {
    /// The same session later, when its [progress](Session::progress) was another.
    #[must_use]
    pub fn later(mut self, progress: u64) -> Self {
        match progress & LONG {
            0 => self.nonces = self.nonces.later(progress),
            _ => self.long_used = progress & !LONG,
        }
        self
    }
}

/// Nonces of 24 bytes that never repeat: 16 random ones for the session, then a count.
struct LongNonces {
    salt: [u8; 16],
    used: u64,
}

impl LongNonces {
    fn take(&mut self) -> [u8; LONG_NONCE_LEN] {
        let mut nonce = [0; LONG_NONCE_LEN];
        nonce[..16].copy_from_slice(&self.salt);
        nonce[16..].copy_from_slice(&self.used.to_be_bytes());
        self.used += 1;
        nonce
    }
}

impl Session {
    /// `salt` must be fresh random bytes every time, after a restart too unless it is [restored](Self::restore): the long nonces are made of it.
    #[must_use]
    pub fn new(mode: Mode, key: &Key, nonces: NonceCounter, salt: [u8; 16]) -> Self {
        Self {
            mode,
            cipher: Cipher::new(mode.algorithm(), key),
            // A counter that does not move is a client's, whose peer is a server.
            counters_seen: CounterGuard::new(!nonces.moves()),
            nonces,
            long_nonces: LongNonces { salt, used: 0 },
        }
    }

    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Our counter, which tells whether a new key is due.
    #[must_use]
    pub fn nonces(&self) -> &NonceCounter {
        &self.nonces
    }

    #[must_use]
    pub fn state(&self) -> SessionState {
        SessionState {
            nonces: self.nonces.state(),
            salt: self.long_nonces.salt,
            long_used: self.long_nonces.used,
            counters_seen: self.counters_seen.state(),
        }
    }

    /// All that changes of the state when a packet is sealed, in one number. What changes when one is opened is to be written down before it.
    #[inline]
    #[must_use]
    pub fn progress(&self) -> u64 {
        match self.long_nonces.used {
            0 => self.nonces.progress(),
            used => LONG | used,
        }
    }

    /// Goes on where another one with the same mode and key stopped; not for one that has sealed anything by itself.
    pub fn restore(&mut self, state: &SessionState) {
        self.nonces.restore(state.nonces);
        self.long_nonces = LongNonces { salt: state.salt, used: state.long_used };
        self.counters_seen.restore(state.counters_seen);
    }

    /// Encrypts the RTP packet in `buf[..plain_len]` and says how long it is now. Behind it there must be
    /// room for [`Mode::overhead`] bytes.
    pub fn seal_rtp(&mut self, buf: &mut [u8], plain_len: usize) -> Result<usize, SealError> {
        let plain = buf.get(..plain_len).ok_or(SealError::NoRoom)?;
        let header = RtpHeader::parse(plain).map_err(|_| SealError::Malformed)?;
        let clear_len = self.mode.rtp_clear_len(&header);
        self.seal(buf, clear_len, plain_len)
    }

    /// The same for a packet whose header is the fixed one alone, which every mode leaves readable.
    #[inline]
    pub fn seal_plain_rtp(&mut self, buf: &mut [u8], plain_len: usize) -> Result<usize, SealError> {
        if plain_len < FIXED_HEADER_LEN {
            return Err(SealError::Malformed);
        }
        self.seal(buf, FIXED_HEADER_LEN, plain_len)
    }

    /// The same for a compound of RTCP packets.
    pub fn seal_rtcp(&mut self, buf: &mut [u8], plain_len: usize) -> Result<usize, SealError> {
        if plain_len < RTCP_CLEAR_LEN {
            return Err(SealError::Malformed);
        }
        if self.mode.nonce_source() == NonceSource::Header && plain_len > RTCP_CLEAR_LEN {
            return Err(SealError::NonceWouldRepeat);
        }
        self.seal(buf, RTCP_CLEAR_LEN, plain_len)
    }

    fn seal(&mut self, buf: &mut [u8], clear_len: usize, plain_len: usize) -> Result<usize, SealError> {
        let buf = buf.get_mut(..plain_len + self.mode.overhead()).ok_or(SealError::NoRoom)?;
        let (packet, suffix) = buf.split_at_mut(plain_len + TAG_LEN);
        let (header, text) = packet.split_at_mut(clear_len);
        let mut nonce = [0; LONG_NONCE_LEN];
        match self.mode.nonce_source() {
            NonceSource::Counter => {
                let counter = self.nonces.take().ok_or(SealError::NoncesUsedUp)?.to_be_bytes();
                nonce[..COUNTER_LEN].copy_from_slice(&counter);
                suffix.copy_from_slice(&counter);
            }
            NonceSource::Long => {
                nonce = self.long_nonces.take();
                suffix.copy_from_slice(&nonce);
            }
            NonceSource::Header => nonce[..clear_len].copy_from_slice(header),
        }
        self.cipher.seal(&nonce, header, text);
        Ok(buf.len())
    }

    /// Decrypts the RTP packet that fills `buf`. `window` is that of the packet's SSRC; for an SSRC not seen
    /// before, hand in a new one and keep it only if this succeeds. After a failure `buf` holds nothing of
    /// use.
    pub fn open_rtp(&mut self, buf: &mut [u8], window: &mut ReplayWindow) -> Result<Opened, OpenError> {
        let header = RtpHeader::parse(buf).map_err(|error| match error {
            RtpError::Version => OpenError::Version,
            RtpError::TooShort | RtpError::Padding => OpenError::TooShort,
        })?;
        let seq = window.extend(header.seq);
        window.check(seq).map_err(|Replayed| OpenError::Replay)?;
        let guard = !self.mode.authenticates_header();
        let (len, nonce) = self.open(buf, self.mode.rtp_clear_len(&header), guard)?;
        window.commit(seq);
        let packet = Packet::parse(&buf[..len]).map_err(|_| OpenError::Malformed)?;
        let body = packet.payload_range();
        Ok(Opened { header, seq, len, header_len: body.start, body, nonce })
    }

    /// Decrypts the RTCP compound that fills `buf` and says how long it is now.
    ///
    /// RTCP has no number of its own. In the modes with a counter, the counter tells a replay; in the other
    /// two nothing does, so what a report or a request sets in motion must bear being set in motion twice.
    pub fn open_rtcp(&mut self, buf: &mut [u8]) -> Result<usize, OpenError> {
        let (len, _) = self.open(buf, RTCP_CLEAR_LEN, true)?;
        Ok(len)
    }

    /// Opens a packet with `clear_len` readable bytes; with `guard`, each counter is taken only once.
    fn open(
        &mut self,
        buf: &mut [u8],
        clear_len: usize,
        guard: bool,
    ) -> Result<(usize, Option<u32>), OpenError> {
        let plain_len = buf.len().checked_sub(self.mode.overhead()).ok_or(OpenError::TooShort)?;
        if plain_len < clear_len {
            return Err(OpenError::TooShort);
        }
        let (packet, suffix) = buf.split_at_mut(plain_len + TAG_LEN);
        let (header, text) = packet.split_at_mut(clear_len);
        let mut nonce = [0; LONG_NONCE_LEN];
        let mut counter = None;
        match self.mode.nonce_source() {
            NonceSource::Counter => {
                let bytes = *suffix.first_chunk::<COUNTER_LEN>().ok_or(OpenError::TooShort)?;
                let value = u32::from_be_bytes(bytes);
                counter = Some((value, self.check_counter(value, guard)?));
                nonce[..COUNTER_LEN].copy_from_slice(&bytes);
            }
            NonceSource::Long => nonce.copy_from_slice(suffix),
            NonceSource::Header => nonce[..clear_len].copy_from_slice(header),
        }
        self.cipher.open(&nonce, header, text).map_err(|Forged| OpenError::Auth)?;
        let counter = counter.map(|(value, place)| {
            self.nonces.observe(value);
            if let Some(place) = place {
                self.counters_seen.commit(value, place);
            }
            value
        });
        Ok((plain_len, counter))
    }

    fn check_counter(&self, counter: u32, guard: bool) -> Result<Option<Place>, OpenError> {
        if self.nonces.is_ours(counter) {
            return Err(OpenError::Reflected);
        }
        match guard {
            true => self.counters_seen.check(counter).map(Some).map_err(|Replayed| OpenError::Replay),
            false => Ok(None),
        }
    }
}
