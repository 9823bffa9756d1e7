//! What protects one leg's packets: a native client's session, or a browser's transport.

use rtp_wire::PayloadType;
use sfu_wire::WebRtc;
use transport::{Key, Mode, NonceCounter, Session, Srtp, SrtpProfile};

use crate::browser::Browser;
use crate::control::Refused;
use crate::seed::Random;

// A native leg's session stands in the leg itself: most legs are native, and each packet looks at it.
#[allow(clippy::large_enum_variant)]
pub enum Security {
    Native(Native),
    Browser(Box<Browser>),
}

/// A key and its session.
pub struct Native {
    mode: Mode,
    key: Key,
    pub session: Session,
}

impl Native {
    #[must_use]
    pub fn new(mode: Mode, key: Key, nonces: NonceCounter, salt: [u8; 16]) -> Self {
        let session = Session::new(mode, &key, nonces, salt);
        Self { mode, key, session }
    }

    #[must_use]
    pub fn is(&self, mode: Mode, key: &Key) -> bool {
        self.mode == mode && self.key.expose() == key.expose()
    }
}

impl Security {
    /// A number that tells these keys from others. Not one that tells anything about them: a transport's name is new with its keys, and of a
    /// native key's 256 bits 64 are left, mixed.
    #[must_use]
    pub fn mark(&self) -> u64 {
        let of = match self {
            Self::Native(native) => [native.mode.name().as_bytes(), native.key.expose()].concat(),
            Self::Browser(browser) => browser.ufrag().as_bytes().to_vec(),
        };
        Random::new(&of).next_u64()
    }

    /// All that a packet changes of it when it is sealed, but for the numbers that a browser's streams have: a native session's progress, or the
    /// index of a browser's next RTCP.
    #[inline]
    #[must_use]
    pub fn progress(&self) -> u64 {
        match self {
            Self::Native(native) => native.session.progress(),
            Self::Browser(browser) => browser.srtp.as_ref().map_or(0, |srtp| srtp.next_rtcp().into()),
        }
    }

    /// Whether audio can be sealed for it: a browser's keys come only with the end of its handshake.
    #[inline]
    #[must_use]
    pub fn is_ready(&self) -> bool {
        match self {
            Self::Native(_) => true,
            Self::Browser(browser) => browser.srtp.is_some(),
        }
    }
}

/// What signalling wants, found to be well-formed.
pub enum Wanted<'a> {
    Nothing,
    Native(Mode, Key),
    Browser(&'a WebRtc, Option<Box<Srtp>>),
}

impl<'a> Wanted<'a> {
    pub fn parse(leg: &'a sfu_wire::Leg) -> Result<Self, Refused> {
        if let Some(webrtc) = &leg.webrtc {
            return Self::parse_browser(leg.id, webrtc);
        }
        let Some(native) = &leg.native else { return Ok(Self::Nothing) };
        let key = <[u8; Key::LEN]>::try_from(native.key.as_slice())
            .map_err(|_| Refused::KeyLength(leg.id, native.key.len()))?;
        let mode = native.mode.parse().map_err(|_| Refused::UnknownMode(leg.id))?;
        Ok(Self::Native(mode, Key::new(key)))
    }

    fn parse_browser(id: u64, webrtc: &'a WebRtc) -> Result<Self, Refused> {
        if payload_type(webrtc.opus_payload_type).is_none()
            || webrtc.ufrag.is_empty()
            || webrtc.pwd.is_empty()
        {
            return Err(Refused::Transport(id));
        }
        let Some(srtp) = &webrtc.srtp else { return Ok(Self::Browser(webrtc, None)) };
        let profile = SrtpProfile::from_name(&srtp.profile).map_err(|_| Refused::UnknownMode(id))?;
        let srtp = Srtp::new(profile, &srtp.keying_material, transport::DtlsRole::Server)
            .map_err(|_| Refused::KeyLength(id, srtp.keying_material.len()))?;
        Ok(Self::Browser(webrtc, Some(Box::new(srtp))))
    }
}

/// A payload type that is not reserved for RTCP (RFC 5761 section 4).
#[must_use]
pub fn payload_type(number: u32) -> Option<PayloadType> {
    u8::try_from(number).ok().filter(|number| *number < 128 && !(64..=95).contains(number)).map(PayloadType)
}
